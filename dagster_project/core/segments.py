"""Segment and motion of accounts and users. Source of the rule: section 5 of the specification."""

import polars as pl

from dagster_project.core.segment_rules import SEGMENTS, SegmentRule, SegmentRules

COLUMNS = ("segment", "motion", "segment_source")
_LIMITS = {
    "employees_above": "employee_count",
    "acv_above": "estimated_acv",
    "team_above": "active_users_30d",
}


def segment_accounts(accounts: pl.DataFrame, rules: SegmentRules) -> pl.DataFrame:
    """Account features with `segment`, `motion` and `segment_source`.

    The source is `override` where the CRM says the segment, `unknown` where size and value are unknown and the team
    says nothing, so that the last segment is an assumption, else `computed`. An override that names no segment is none.
    """
    said = pl.col("segment_override").str.strip_chars().str.to_lowercase().str.replace_all(r"[\s_]+", "-")
    override = pl.when(said.is_in(list(SEGMENTS))).then(said)
    computed = pl.lit(SEGMENTS[-1])
    for name in reversed(SEGMENTS[:-1]):
        computed = pl.when(_exceeds(rules.segments[name])).then(pl.lit(name)).otherwise(computed)
    size_unknown = pl.col("employee_count").is_null() & pl.col("estimated_acv").is_null()
    return accounts.with_columns(
        segment=pl.coalesce(override, computed),
        segment_source=pl.when(override.is_not_null())
        .then(pl.lit("override"))
        .when(size_unknown & (computed == SEGMENTS[-1]))
        .then(pl.lit("unknown"))
        .otherwise(pl.lit("computed")),
    ).with_columns(motion=_motion(rules))


def segment_users(users: pl.DataFrame, accounts: pl.DataFrame, rules: SegmentRules) -> pl.DataFrame:
    """User features with the segment of their account; without one they are consumers.

    Adds `segment`, `motion`, `segment_source` and `fit_tier` (the segment, or `consumer`).
    """
    placed = users.join(
        accounts.select("account_id", "segment", "segment_source"), on="account_id", how="left", maintain_order="left"
    )
    return placed.with_columns(
        fit_tier=pl.col("segment").fill_null("consumer"),
        segment=pl.col("segment").fill_null(rules.consumer),
        segment_source=pl.col("segment_source").fill_null("computed"),
    ).with_columns(motion=_motion(rules))


def _exceeds(rule: SegmentRule) -> pl.Expr:
    """Whether one of the limits is exceeded; what is unknown exceeds nothing."""
    over = [
        (pl.col(column) > limit).fill_null(False)
        for name, column in _LIMITS.items()
        if (limit := getattr(rule, name)) is not None
    ]
    return pl.any_horizontal(over)


def _motion(rules: SegmentRules) -> pl.Expr:
    motions = {str(name): str(rule.motion) for name, rule in rules.segments.items()}
    return pl.col("segment").replace_strict(motions, return_dtype=pl.String)
