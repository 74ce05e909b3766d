"""Which won deals the scores saw coming, and which they missed."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

QUALIFIED, SEEN, UNSEEN = "qualified", "seen", "unseen"
COVERAGE = pl.Schema(
    {
        **dict.fromkeys(("model_version", "opportunity_id", "account_id"), pl.String()),
        "won_at": pl.Datetime("us"),
        "path": pl.String(),
        "best_score": pl.Float64(),
        "qualified_on": pl.Date(),
        "days_ahead": pl.Int64(),
    }
)
"""Won deals and whether somebody of the account was a PQL before. One row per model version and deal."""


def coverage(scores: pl.DataFrame, outcomes: pl.DataFrame, pql_classes: Collection[str]) -> pl.DataFrame:
    """The path of every won deal whose days before it were scored.

    Args:
        scores: `DAILY_SCORES` of users and one model version.
        outcomes: Won deals (`OUTCOMES`).
        pql_classes: The classes that make somebody a PQL.

    Returns:
        `COVERAGE`. `path` is `qualified` (somebody of the account was a PQL on a scored day before the deal was won),
        `seen` (it had users, none of whom was one) or `unseen` (the product knew nobody of it).
    """
    if scores.is_empty():
        return COVERAGE.to_frame()
    first_day = scores["day"].min()
    deals = outcomes.drop_nulls(["won_at", "account_id"]).filter(pl.col("won_at").dt.date() > first_day)
    told = deals.select("opportunity_id", "account_id", "won_at")
    before = told.join(scores.select("account_id", "day", "score", "classification"), on="account_id").filter(
        pl.col("day") < pl.col("won_at").dt.date()
    )
    qualified = pl.col("classification").is_in(list(pql_classes))
    seen = before.group_by("opportunity_id").agg(
        best_score=pl.col("score").max(), qualified_on=pl.col("day").filter(qualified).min()
    )
    path = (
        pl.when(pl.col("qualified_on").is_not_null())
        .then(pl.lit(QUALIFIED))
        .when(pl.col("best_score").is_not_null())
        .then(pl.lit(SEEN))
        .otherwise(pl.lit(UNSEEN))
    )
    return (
        told.join(seen, on="opportunity_id", how="left")
        .with_columns(
            model_version=pl.lit(scores["model_version"][0]),
            path=path,
            days_ahead=(pl.col("won_at").dt.date() - pl.col("qualified_on")).dt.total_days(),
        )
        .select(pl.col(name).cast(kind) for name, kind in COVERAGE.items())
        .sort("won_at", "opportunity_id")
    )
