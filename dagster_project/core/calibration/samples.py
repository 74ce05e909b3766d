"""Past scores with what became of them: one sample per subject and period, labelled where enough time has passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from types import MappingProxyType

import numpy as np
import polars as pl

from dagster_project.core.calibration.intervals import Codes
from dagster_project.core.calibration_rules import CalibrationRules
from dagster_project.core.challenger_rules import JudgedOn

SIGNALS = pl.List(
    pl.Struct({"signal": pl.Categorical(pl.Categories("signals", physical=pl.UInt8)), "points": pl.Float64()})
)
"""The names are few, and everybody's points stand beside them: as texts they would be most of a frame's size."""
DAILY_SCORES = pl.Schema(
    {
        **dict.fromkeys(("subject_type", "subject_id", "account_id"), pl.String()),
        "day": pl.Date(),
        "model_version": pl.String(),
        "score": pl.Float64(),
        **dict.fromkeys(("classification", "segment"), pl.String()),
        "signals": SIGNALS,
    }
)
"""Scores as of the ends of past days, from what was known then. One row per subject, day and model version."""
OUTCOMES = pl.Schema(
    {
        **dict.fromkeys(("account_id", "contact_id", "opportunity_id"), pl.String()),
        **dict.fromkeys(("won_at", "created_at", "known_from"), pl.Datetime("us")),
    }
)
"""Won deals. One row per opportunity."""
_EPOCH = date(1970, 1, 1)
NEW_BUSINESS = JudgedOn()


@dataclass(frozen=True)
class Samples:
    """The samples of one model and kind of subject.

    Attributes:
        matured: `DAILY_SCORES` with `group` (the account, or whoever has none), `period` (a number that grows with
            time), `won` and `won_at` (the next deal won within the label's days, else null).
        censored: Samples too young to be labelled: `place` (the row of the scores), `subject_id`, `day`, and the same;
            `won` says what is known so far and counts nowhere.
        left_out: How many samples are left out for what their account had won before: as customers where new
            business is judged, as no customers where expansion is.
        observed_until: Up to when outcomes are known.
    """

    matured: pl.DataFrame
    censored: pl.DataFrame
    left_out: int
    observed_until: datetime

    def won_accounts(self, samples: pl.DataFrame | None = None) -> int:
        """How many accounts won, in all matured samples or in some of them: people of one account win one deal."""
        rows = self.matured if samples is None else samples
        return rows.filter("won")["group"].n_unique()


def take_samples(
    scores: pl.DataFrame,
    outcomes: pl.DataFrame,
    rules: CalibrationRules,
    *,
    observed_until: datetime,
    judged_on: JudgedOn = NEW_BUSINESS,
    of: Mapping[str, str] = MappingProxyType({}),
) -> Samples:
    """One sample per subject and period, with its outcome.

    Everybody is looked at on the same day of a period, the first that was scored: a day that was chosen by what the
    person did, or by when they bought, would tell of the outcome. A sample matures when all days of its label have
    passed before `observed_until`; younger ones are censored, also those that have won already, since their
    companions that will win later are not known yet.

    Args:
        scores: `DAILY_SCORES`.
        outcomes: `OUTCOMES`.
        rules: `calibration.yml`.
        observed_until: Naive UTC; later outcomes, or such as became known later, are not looked at.
        judged_on: Whose scores are compared with which deals.
        of: Values of columns of the rows that are looked at, of one model version and one kind of subject.
    """
    known = outcomes.filter(
        pl.col("won_at").is_not_null()
        & (pl.col("won_at") <= observed_until)
        & (pl.col("known_from") <= observed_until).fill_null(True)
        & pl.col("account_id").is_not_null()
    )
    # What the outcome doesn't depend on is most of the rows' size: it is added to those that are judged.
    rows = scores.lazy().with_row_index("place").filter(**of)
    if judged_on.segments:
        rows = rows.filter(pl.col("segment").is_in(judged_on.segments))
    slim = rows.select("place", "subject_id", "account_id", "day").sort("place").collect()
    taken = _one_per_period(slim, rules.period_days).with_columns(
        group=pl.coalesce("account_id", "subject_id"),
        scored_at=(pl.col("day").cast(pl.Datetime("us")) + timedelta(days=1)),
    )
    joined = _with_deals(taken, known)
    is_customer = (pl.col("first_won_at") < pl.col("scored_at")).fill_null(False)
    wanted = {"new_business": ~is_customer, "expansion": is_customer, "all": pl.lit(True)}[judged_on.deals]
    matures = pl.col("scored_at") + timedelta(days=rules.label_days)
    in_time = (pl.col("next_won_at") < matures).fill_null(False)
    leads = joined.filter(wanted).with_columns(
        won=in_time, won_at=pl.when(in_time).then("next_won_at"), is_mature=matures <= observed_until
    )
    kept = leads.sort("day", "subject_id").select(
        "place", "is_mature", "subject_id", "day", "period", "group", "won", "won_at"
    )
    matured = kept.filter("is_mature").drop("is_mature")
    return Samples(
        matured=pl.concat(
            [scores[matured["place"]], matured.select("period", "group", "won", "won_at")], how="horizontal"
        ),
        censored=kept.filter(~pl.col("is_mature")).drop("is_mature"),
        left_out=joined.height - leads.height,
        observed_until=observed_until,
    )


def _with_deals(taken: pl.DataFrame, won: pl.DataFrame) -> pl.DataFrame:
    """Samples with the first deal that their account ever won, and the next one after they were scored."""
    first = won.group_by("account_id").agg(first_won_at=pl.col("won_at").min())
    deals = won.select("account_id", scored_at="won_at", next_won_at="won_at").sort("scored_at")
    return (
        taken.join(first, on="account_id", how="left", maintain_order="left")
        .sort("scored_at", "subject_id")
        .join_asof(deals, on="scored_at", by="account_id", strategy="forward", check_sortedness=False)
    )


def _one_per_period(scores: pl.DataFrame, period_days: int) -> pl.DataFrame:
    numbered = scores.with_columns(period=(pl.col("day") - _EPOCH).dt.total_days() // period_days)
    return numbered.filter(pl.col("day") == pl.col("day").min().over("period"))


def later_periods(samples: pl.DataFrame, holdout_share: float) -> pl.Expr:
    """Which rows are held out because they are later in time; none when there is but one period."""
    periods = samples["period"].unique().sort().to_list()
    late = max(1, round(len(periods) * holdout_share)) if len(periods) > 1 else 0
    return pl.col("period").is_in(periods[len(periods) - late :] if late else [])


def equal_groups(column: str, groups: int) -> pl.Expr:
    """The group of each row, 1 for the lowest values, as many rows in each; rows with one value are in one group."""
    # In whole numbers: a tenth of them times ten may be a little more than it.
    twice = (pl.col(column).rank("average") * 2).cast(pl.Int64)
    whole = pl.len().cast(pl.Int64) * 2
    return ((twice * groups + whole - 1) // whole).clip(1, groups)


def fold_of(groups: pl.Series, folds: int) -> pl.Series:
    """The part of the company that each group is in: the same whatever else is in the frame, today and tomorrow."""
    known = groups.unique()
    parts = [int(sha256(name.encode()).hexdigest()[:8], 16) % folds for name in known.to_list()]
    return groups.replace_strict(known, pl.Series(parts, dtype=pl.Int64), return_dtype=pl.Int64).alias("fold")


def group_codes(samples: pl.DataFrame) -> Codes:
    """The `group` of each row as a code from 0, in the order in which groups appear."""
    known = samples.select(pl.col("group").unique(maintain_order=True)).with_row_index("code")
    codes = samples.select("group").join(known, on="group", how="left", maintain_order="left")["code"]
    return np.asarray(codes.to_numpy(), dtype=np.int64)
