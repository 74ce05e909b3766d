"""The PQL score of users: usage, engagement and intent, times the fit of their account.

Source of the formula: section 3 of the specification. Frames in, frames out; the segment that sets the fit is
``segments``' business, the stage of a user ``stages``'.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from dagster_project.core.causes import Kind
from dagster_project.core.explanation import (
    Signal,
    component,
    entry,
    explanation,
    seen_signal,
    signal_entries,
    tiered_signal,
)
from dagster_project.core.numbers import number_text, rounded, settled
from dagster_project.core.scoring_rules import CLASSES, PqlRules, ScoringRules

MEASURES = {
    "sessions_per_week": pl.col("sessions_per_week"),
    "features_used": pl.col("features_used").list.len(),
    "minutes_per_week": pl.col("minutes_per_week"),
    "actions": pl.col("actions"),
    "team_invites": pl.col("team_invites"),
    "integrations": pl.col("integrations"),
    "setup_share": pl.col("setup_share"),
    "data_imported": pl.col("data_imported"),
}
"""Measures of the playbook in terms of user features."""
BEST = 100.0
PARTS = ("usage", "engagement", "intent", "fit", "cap", "rounding")
"""What a score is the sum of, in the order of the column `parts`."""


def score_users(users: pl.DataFrame, rules: ScoringRules) -> pl.DataFrame:
    """Score every user on their own.

    Args:
        users: User features with `fit_tier` (enterprise, mid-market, smb or consumer).
        rules: `scoring.yml`.

    Returns:
        The same rows and columns with `usage_score, engagement_score, intent_score` (0..100, one decimal),
        `fit_multiplier`, `pql_score` (0..100, one decimal), `classification`, `usage_tier`, `explanation` and `parts`
        (what each of `PARTS` adds to the score).
    """
    signals = _signals(rules, MEASURES)
    every = [signal for group in signals.values() for signal in group]
    weights = {name: getattr(rules.pql.weights, name) for name in signals}
    scored = _scored(users, signals, rules).with_columns(
        *(rounded(pl.col(name)).alias(f"{name}_score") for name in signals)
    )
    scored = scored.with_columns(usage_tier=_usage_tier(rules))
    fit = pl.col("multiplied") - pl.col("weighted")
    cap = pl.col("capped") - pl.col("multiplied")
    rounding = pl.col("pql_score") - pl.col("capped")
    entries = [line for name, group in signals.items() for line in signal_entries(group, weights[name])]
    entries += [
        entry(
            "fit_multiplier",
            value=number_text(pl.col("fit_multiplier")),
            tier=pl.col("fit_tier"),
            contribution=fit,
        ),
        entry("cap", value=pl.lit("100"), contribution=cap),
        entry("rounding", contribution=rounding),
    ]
    parts = pl.concat_list(*(pl.col(name) * weight for name, weight in weights.items()), fit, cap, rounding)
    working = [*(signal.points_column for signal in every), *signals, "weighted", "multiplied", "capped"]
    return scored.with_columns(explanation(scored, entries), parts=parts.list.eval(settled(pl.element()))).drop(working)


def grade_users(users: pl.DataFrame, rules: ScoringRules) -> pl.DataFrame:
    """The same scores without their explanations, for many days at once.

    Args:
        users: What `score_users` takes; `features_used` is how many.
        rules: `scoring.yml`.

    Returns:
        The same rows with `score`, `classification` and a column per signal: the points that it earned.
    """
    signals = _signals(rules, MEASURES | {"features_used": pl.col("features_used")})
    points = {signal.points_column: signal.name for group in signals.values() for signal in group}
    scored = _scored(users, signals, rules)
    return scored.select(score="pql_score", classification="classification", **{n: c for c, n in points.items()})


def kinds(rules: ScoringRules) -> list[Kind]:
    """What each entry of an explanation is of."""
    activity: list[Kind] = ["activity" for group in _signals(rules, MEASURES).values() for _ in group]
    return [*activity, "multiplier", "cap", "rounding"]


def _scored(users: pl.DataFrame, signals: Mapping[str, Sequence[Signal]], rules: ScoringRules) -> pl.DataFrame:
    """Users with the points of their signals, what the score is made of, the score and its class."""
    pql = rules.pql
    return (
        users.with_columns(fit_multiplier=_multiplier(pql))
        .with_columns(signal.points.alias(signal.points_column) for group in signals.values() for signal in group)
        .with_columns(component(group).alias(name) for name, group in signals.items())
        .with_columns(weighted=pl.sum_horizontal(pl.col(name) * getattr(pql.weights, name) for name in signals))
        .with_columns(multiplied=pl.col("weighted") * pl.col("fit_multiplier"))
        .with_columns(capped=pl.min_horizontal("multiplied", pl.lit(BEST)))
        .with_columns(pql_score=rounded(pl.col("capped")))
        .with_columns(classification=classification(pl.col("pql_score"), rules))
    )


def classification(score: pl.Expr, rules: ScoringRules) -> pl.Expr:
    """The class of a rounded score, of a user or an account."""
    found = pl.lit(CLASSES[-1])
    for name in reversed(CLASSES[:-1]):
        found = pl.when(score >= getattr(rules.classes, name).start).then(pl.lit(name)).otherwise(found)
    return found


def _signals(rules: ScoringRules, measures: Mapping[str, pl.Expr]) -> dict[str, list[Signal]]:
    pql = rules.pql
    return {
        "usage": [tiered_signal(name, measures[name], rule, rules.points) for name, rule in pql.usage.items()],
        "engagement": [
            tiered_signal(name, measures[name], rule, rules.points) for name, rule in pql.engagement.items()
        ],
        "intent": [seen_signal(name, pl.col(name), worth) for name, worth in pql.intent.items()],
    }


def _multiplier(pql: PqlRules) -> pl.Expr:
    return pl.col("fit_tier").replace_strict(
        {str(tier): float(factor) for tier, factor in pql.fit_multiplier.items()}, return_dtype=pl.Float64
    )


def _usage_tier(rules: ScoringRules) -> pl.Expr:
    usage, tiers = pl.col("usage_score"), rules.usage_tiers
    return (
        pl.when(usage >= tiers.high)
        .then(pl.lit("high"))
        .when(usage >= tiers.medium)
        .then(pl.lit("medium"))
        .otherwise(pl.lit("low"))
    )
