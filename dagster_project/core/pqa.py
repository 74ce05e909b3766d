"""The PQA score of accounts: breadth, depth, fit and momentum, and the quadrant of usage and fit.

Source of the formula: section 4 of the specification. Frames in, frames out.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from dagster_project.core.causes import Kind
from dagster_project.core.explanation import (
    Signal,
    component,
    entry,
    explanation,
    graded,
    graded_signal,
    signal_entries,
    tiered_signal,
)
from dagster_project.core.numbers import number_text, rounded, settled
from dagster_project.core.pql import classification
from dagster_project.core.scoring_rules import PqaRules, ScoringRules, Tiers

DIMENSIONS = ("breadth", "depth", "fit", "momentum")
PARTS = (*DIMENSIONS, "rounding")
"""What a score is the sum of, in the order of the column `parts`."""


def score_accounts(accounts: pl.DataFrame, rules: ScoringRules) -> pl.DataFrame:
    """Score every account on its own.

    Args:
        accounts: Account features.
        rules: `scoring.yml`.

    Returns:
        The same rows and columns with `breadth_score, depth_score, fit_score, momentum_score, usage_score, pqa_score`
        (0..100, one decimal), `classification`, `quadrant`, `explanation` and `parts` (what each of `PARTS` adds to
        the score). What is unknown earns nothing and has the tier `missing`.
    """
    pqa = rules.pqa
    signals = {name: _signals(name, rules) for name in DIMENSIONS}
    weights = {name: getattr(pqa.weights, name) for name in DIMENSIONS}
    every = [signal for group in signals.values() for signal in group]
    usage_weight = weights["breadth"] + weights["depth"]
    scored = (
        _scored(accounts, signals, rules)
        .with_columns(
            usage=(pl.col("breadth") * weights["breadth"] + pl.col("depth") * weights["depth"]) / usage_weight
        )
        .with_columns(rounded(pl.col(name)).alias(f"{name}_score") for name in (*DIMENSIONS, "usage"))
        .with_columns(quadrant=_quadrant(pqa))
    )
    rounding = pl.col("pqa_score") - pl.col("weighted")
    entries = [line for name in DIMENSIONS for line in signal_entries(signals[name], weights[name])]
    entries.append(entry("rounding", contribution=rounding))
    parts = pl.concat_list(*(pl.col(name) * weight for name, weight in weights.items()), rounding)
    working = [*(signal.points_column for signal in every), *DIMENSIONS, "weighted", "usage"]
    return scored.with_columns(explanation(scored, entries), parts=parts.list.eval(settled(pl.element()))).drop(working)


def grade_accounts(accounts: pl.DataFrame, rules: ScoringRules) -> pl.DataFrame:
    """The same scores without their explanations, for many days at once.

    Args:
        accounts: What `score_accounts` takes.
        rules: `scoring.yml`.

    Returns:
        The same rows with `score`, `classification` and a column per signal: the points that it earned.
    """
    signals = {name: _signals(name, rules) for name in DIMENSIONS}
    points = {signal.points_column: signal.name for group in signals.values() for signal in group}
    scored = _scored(accounts, signals, rules)
    return scored.select(score="pqa_score", classification="classification", **{n: c for c, n in points.items()})


def kinds(rules: ScoringRules) -> list[Kind]:
    """What each entry of an explanation is of."""
    signals: list[Kind] = ["fit" if name == "fit" else "activity" for name in DIMENSIONS for _ in _signals(name, rules)]
    return [*signals, "rounding"]


def _scored(accounts: pl.DataFrame, signals: Mapping[str, Sequence[Signal]], rules: ScoringRules) -> pl.DataFrame:
    """Accounts with the points of their signals, what the score is made of, the score and its class."""
    weighted = pl.sum_horizontal(pl.col(name) * getattr(rules.pqa.weights, name) for name in signals)
    return (
        accounts.with_columns(
            signal.points.alias(signal.points_column) for group in signals.values() for signal in group
        )
        .with_columns(component(group).alias(name) for name, group in signals.items())
        .with_columns(weighted=weighted)
        .with_columns(pqa_score=rounded(pl.col("weighted")))
        .with_columns(classification=classification(pl.col("pqa_score"), rules))
    )


def _signals(dimension: str, rules: ScoringRules) -> list[Signal]:
    pqa = rules.pqa
    measures = _measures(pqa)
    found = []
    for name, rule in getattr(pqa, dimension).items():
        if name == "user_growth" and isinstance(rule, Tiers):
            found.append(graded_signal(name, _growth_text(), _growth_tier(rule, pqa), rules.points))
        else:
            found.append(tiered_signal(name, measures[name], rule, rules.points))
    return found


def _measures(pqa: PqaRules) -> dict[str, pl.Expr]:
    """Measures of the playbook in terms of account features; null is unknown."""
    profile = pqa.ideal_profile
    return {
        "active_users": pl.col("active_users_30d"),
        "departments": pl.col("departments"),
        "feature_adoption": _ratio(pl.col("catalogue_features_used"), pl.col("catalogue_features")),
        "usage_intensity": pl.col("mean_sessions_per_week"),
        "employees": pl.col("employee_count"),
        "industry": _industry(profile.target_industries, profile.adjacent_industries),
        "tech_stack": _matches(profile.technologies),
        "expansion_signals": pl.col("expansion_signals"),
    }


def _ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(part / whole).otherwise(0.0)


def _lowered(names: Sequence[str]) -> list[str]:
    return [name.strip().lower() for name in names]


def _industry(target: Sequence[str], adjacent: Sequence[str]) -> pl.Expr:
    name = pl.col("industry").str.strip_chars().str.to_lowercase()
    return (
        pl.when(name.is_null() | (name == ""))
        .then(pl.lit(None, pl.String))
        .when(name.is_in(_lowered(target)))
        .then(pl.lit("target"))
        .when(name.is_in(_lowered(adjacent)))
        .then(pl.lit("adjacent"))
        .otherwise(pl.lit("other"))
    )


def _matches(technologies: Sequence[str]) -> pl.Expr:
    """How many technologies of the ideal profile a known stack has; an empty stack is an unknown one."""
    stack = pl.col("tech_stack").list.eval(pl.element().str.strip_chars().str.to_lowercase())
    known = pl.lit(pl.Series([_lowered(technologies)], dtype=pl.List(pl.String)))
    return pl.when(stack.list.len() > 0).then(stack.list.set_intersection(known).list.len())


def _growth_tier(tiers: Tiers, pqa: PqaRules) -> pl.Expr:
    now, before = pl.col("active_users_30d"), pl.col("active_users_before")
    new = pqa.growth_from_none
    return (
        pl.when(now <= 0)
        .then(pl.lit("none"))
        .when(before > 0)
        .then(graded((now - before) / before, tiers))
        .when(now >= new.active_users)
        .then(pl.lit(new.reached))
        .otherwise(pl.lit(new.below))
    )


def _growth_text() -> pl.Expr:
    now, before = pl.col("active_users_30d"), pl.col("active_users_before")
    return (
        pl.when(before > 0)
        .then(number_text((now - before) / before))
        .when(now > 0)
        .then(pl.lit("from none"))
        .otherwise(pl.lit("0"))
    )


def _quadrant(pqa: PqaRules) -> pl.Expr:
    much = pl.col("usage_score") >= pqa.matrix.usage_from
    fits = pl.col("fit_score") >= pqa.matrix.fit_from
    return (
        pl.when(fits & much)
        .then(pl.lit("hot_pqa"))
        .when(fits)
        .then(pl.lit("develop"))
        .when(much)
        .then(pl.lit("self_serve"))
        .otherwise(pl.lit("deprioritize"))
    )
