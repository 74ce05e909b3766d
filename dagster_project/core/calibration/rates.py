"""Close rates by class, decile, segment, signal and trigger: the rows of `marts.calibration`."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from dagster_project.core.calibration.intervals import close_rate
from dagster_project.core.calibration.samples import Samples, equal_groups, group_codes
from dagster_project.core.calibration_rules import CalibrationRules
from dagster_project.core.scoring_rules import CLASSES

CALIBRATION = pl.Schema(
    {
        **dict.fromkeys(("model_version", "dimension", "value"), pl.String()),
        **dict.fromkeys(("leads", "won"), pl.Int64()),
        **dict.fromkeys(("close_rate", "lift"), pl.Float64()),
        **dict.fromkeys(("from_date", "to_date"), pl.Date()),
        "accounts": pl.Int64(),
        **dict.fromkeys(("close_rate_low", "close_rate_high"), pl.Float64()),
    }
)
"""Section 12's columns, then ours: how many accounts the leads are of, and the interval of the close rate."""
FIRED = pl.Schema(
    {
        **dict.fromkeys(("subject_id", "account_id", "trigger", "model_version"), pl.String()),
        "fired_at": pl.Datetime("us"),
    }
)
"""What sales was, or would have been, called for. One row per subject, trigger and time that it fired."""
DECILES = 10


def with_decile(samples: pl.DataFrame) -> pl.DataFrame:
    """The samples with `decile`, 10 for the best; leads with one score are in one decile, so some may be empty."""
    return samples.with_columns(decile=equal_groups("score", DECILES).cast(pl.String))


def rates(samples: pl.DataFrame, dimension: str, value: pl.Expr, rules: CalibrationRules) -> pl.DataFrame:
    """Close rates by a value of each sample.

    Args:
        samples: `Samples.matured`, of one model version.
        dimension: What the values are of.
        value: The value of each sample; null values are left out.
        rules: `calibration.yml`.

    Returns:
        `CALIBRATION`. `lift` is against the close rate of all the samples; null where nobody has won.
    """
    if samples.is_empty():
        return CALIBRATION.to_frame()
    base = float(samples["won"].cast(pl.Float64).mean() or 0.0)  # type: ignore[arg-type]
    coded = samples.select("model_version", "day", "won", "group", value=value.cast(pl.String)).drop_nulls("value")
    rows = [_rate(part, base, rules) for part in coded.partition_by("value", maintain_order=True)]
    found = pl.DataFrame([{"dimension": dimension, **row} for row in rows], schema=CALIBRATION, orient="row")
    return found.sort("value")


def _rate(part: pl.DataFrame, base: float, rules: CalibrationRules) -> dict[str, object]:
    won = part["won"].cast(pl.Float64).to_numpy()
    groups = group_codes(part)
    found = close_rate(won, groups, rules.confidence)
    return {
        "model_version": part["model_version"][0],
        "value": part["value"][0],
        "leads": len(won),
        "won": int(won.sum()),
        "close_rate": found.estimate,
        "lift": found.estimate / base if base else None,
        "from_date": part["day"].min(),
        "to_date": part["day"].max(),
        "accounts": int(groups.max()) + 1,
        "close_rate_low": found.low,
        "close_rate_high": found.high,
    }


def trigger_rates(
    fired: pl.DataFrame, outcomes: pl.DataFrame, samples: Samples, rules: CalibrationRules
) -> pl.DataFrame:
    """Close rates of those for whom a trigger fired: one sample per subject, trigger and period.

    Args:
        fired: `FIRED`.
        outcomes: Won deals (`OUTCOMES`).
        samples: What the lift is measured against: all leads, whether a trigger fired for them or not.
        rules: `calibration.yml`.

    Returns:
        `CALIBRATION` of the dimension `trigger`.
    """
    matures = pl.col("fired_at") + timedelta(days=rules.label_days)
    is_known = (pl.col("known_from") <= samples.observed_until).fill_null(True)
    wins = outcomes.filter((pl.col("won_at") <= samples.observed_until) & is_known)
    first_won = wins.drop_nulls("account_id").group_by("account_id").agg(won_at=pl.col("won_at").min())
    labelled = (
        fired.filter(matures <= samples.observed_until)
        .join(first_won, on="account_id", how="left")
        .filter((pl.col("won_at") > pl.col("fired_at")).fill_null(True))
        .with_columns(
            day=pl.col("fired_at").dt.date(),
            group=pl.coalesce("account_id", "subject_id"),
            won=(pl.col("won_at") < matures).fill_null(False),
            period=pl.col("fired_at").dt.epoch("d") // rules.period_days,
        )
        .sort("fired_at")
        .unique(["subject_id", "trigger", "period", "model_version"], keep="first", maintain_order=True)
    )
    if labelled.is_empty():
        return CALIBRATION.to_frame()
    base = samples.matured["won"].cast(pl.Float64).mean() if samples.matured.height else None
    found = [
        rates(part, "trigger", pl.col("trigger"), rules)
        for part in labelled.partition_by("model_version", maintain_order=True)
    ]
    against = pl.lit(base, pl.Float64)
    lift = pl.when(against > 0).then(pl.col("close_rate") / against)
    return pl.concat(found).with_columns(lift=lift).select(CALIBRATION.names())


def class_order(value: pl.Expr) -> pl.Expr:
    """What classes are sorted by, the best first."""
    return value.replace_strict({name: place for place, name in enumerate(CLASSES)}, default=len(CLASSES))
