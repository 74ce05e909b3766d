"""What sellers said of handoffs, beside what became of the deals: a label of its own, which may be wrong too."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from dagster_project.core.calibration.intervals import close_rate
from dagster_project.core.calibration.samples import group_codes
from dagster_project.core.calibration_rules import CalibrationRules

FEEDBACK = pl.Schema({"handoff_id": pl.String(), "label": pl.String()})
"""What sellers said, of everything that is known about it. One row per handoff and thing said."""
COMPARED = pl.Schema(
    {
        "label": pl.String(),
        **dict.fromkeys(("handoffs", "matured", "won"), pl.Int64()),
        **dict.fromkeys(("close_rate", "close_rate_low", "close_rate_high"), pl.Float64()),
    }
)
"""One row per label, and one for handoffs of which nobody said anything."""
SILENCE = "nothing said"


def feedback_against_deals(
    feedback: pl.DataFrame,
    handoffs: pl.DataFrame,
    outcomes: pl.DataFrame,
    *,
    rules: CalibrationRules,
    observed_until: datetime,
) -> pl.DataFrame:
    """Close rates of handoffs by what their sellers said.

    Args:
        feedback: `FEEDBACK`.
        handoffs: `handoff_id, user_id, account_id, created_at`.
        outcomes: Won deals.
        rules: `calibration.yml`; a handoff was right when its account won within the label's days after it.
        observed_until: Up to when outcomes are known.

    Returns:
        `COMPARED`: `matured` of the `handoffs` are old enough to be judged; a label counts once per handoff.
    """
    first_won = pl.col("won_at").filter(pl.col("won_at") > pl.col("created_at")).min()
    deals = outcomes.drop_nulls("account_id").select("account_id", "won_at")
    judged = (
        handoffs.join(deals, on="account_id", how="left")
        .group_by("handoff_id", "user_id", "account_id", "created_at")
        .agg(won_at=first_won)
        .with_columns(matures=pl.col("created_at") + timedelta(days=rules.label_days))
        .with_columns(
            won=(pl.col("won_at") < pl.col("matures")).fill_null(False),
            is_mature=pl.col("matures") <= observed_until,
            group=pl.coalesce("account_id", "user_id"),
        )
    )
    said = feedback.select("handoff_id", "label").unique()
    labelled = judged.join(said, on="handoff_id", how="left").with_columns(pl.col("label").fill_null(SILENCE))
    rows = [_row(part, rules) for part in labelled.sort("label", "handoff_id").partition_by("label")]
    return pl.DataFrame(rows, schema=COMPARED, orient="row").sort("label")


def _row(part: pl.DataFrame, rules: CalibrationRules) -> dict[str, object]:
    mature = part.filter("is_mature")
    won = mature["won"].cast(pl.Float64).to_numpy()
    codes = group_codes(mature)
    found = close_rate(won, codes, rules.confidence)
    return {
        "label": part["label"][0],
        "handoffs": part.height,
        "matured": mature.height,
        "won": int(won.sum()),
        "close_rate": found.estimate if mature.height else None,
        "close_rate_low": found.low,
        "close_rate_high": found.high,
    }
