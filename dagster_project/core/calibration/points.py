"""What each signal earned on a past day, and what the same day would have scored under other rules.

Daily scores keep the points of each signal. Points tell the tier, so weights, the points of tiers and intent signals,
fit multipliers and class bounds can be tried on past days. What was measured is kept of the days that calibration looks
at: there other bounds of a tier can be tried too. Other signals or another measurement can't, and `untried` names them.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dagster_project.core.explanation import graded
from dagster_project.core.numbers import rounded
from dagster_project.core.pql import BEST, classification
from dagster_project.core.scoring_rules import TIERS, PqlRules, ScoringRules, TierPoints, Tiers

SEEN, NONE = "seen", "none"
MEASURED = (
    "sessions_per_week", "features_used", "minutes_per_week", "actions", "team_invites", "integrations", "setup_share",
)  # fmt: skip
"""The measures of users that are numbers."""
MEASURES = pl.Schema({"user_id": pl.String(), "day": pl.Date(), **dict.fromkeys(MEASURED, pl.Float64())})
"""What was measured of users, of the days that calibration looks at. One row per user and day."""
_PORTION = 50_000
"""Samples whose lists of points are taken apart at a time."""


def graded_signals(pql: PqlRules) -> list[str]:
    """The signals with tiers, usage first."""
    return [*pql.usage, *pql.engagement]


def signals_of(pql: PqlRules) -> list[str]:
    """All signals of a user's score, in the playbook's order."""
    return [*graded_signals(pql), *pql.intent]


def most_points(name: str, rules: ScoringRules) -> float:
    """The most that a signal can earn."""
    return float(rules.pql.intent.get(name, rules.points.high))  # type: ignore[call-overload]


def points_by_signal(samples: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The samples with a column of points per signal, instead of the list; 0 where a signal is not in it."""
    # A portion at a time: taken apart, the lists are several times as large.
    parts = [_points_by_signal(part, names) for part in samples.iter_slices(_PORTION)]
    return pl.concat(parts) if parts else _points_by_signal(samples, names)


def _points_by_signal(samples: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    entry = pl.element()
    columns = [
        pl.col("signals")
        .list.eval(entry.filter(entry.struct.field("signal") == name).struct.field("points"))
        .list.first()
        .fill_null(0.0)
        .alias(name)
        for name in names
    ]
    return samples.select(pl.exclude("signals"), *columns)


def tier_of(name: str, rules: ScoringRules) -> pl.Expr:
    """The tier that a signal's points (a column of its name) stand for: low, medium, high, seen or none."""
    points = pl.col(name)
    if name in rules.pql.intent:
        return pl.when(points > 0).then(pl.lit(SEEN)).otherwise(pl.lit(NONE))
    found = pl.lit(NONE)
    for tier in TIERS:
        found = pl.when(points >= _worth(tier, rules.points)).then(pl.lit(tier)).otherwise(found)
    return pl.when(points > 0).then(found).otherwise(pl.lit(NONE))


def fit_tier() -> pl.Expr:
    """The fit tier of a sample: its segment, and consumer for whoever has no account (section 2.4)."""
    return pl.when(pl.col("account_id").is_null()).then(pl.lit("consumer")).otherwise(pl.col("segment"))


def multiplier(pql: PqlRules) -> pl.Expr:
    """The fit multiplier of a sample; 1 where the segment is none that the playbook knows."""
    factors = {str(tier): float(factor) for tier, factor in pql.fit_multiplier.items()}
    return fit_tier().replace_strict(factors, default=1.0, return_dtype=pl.Float64)


def column_of(name: str) -> str:
    """The column of a sample that holds what was measured for a signal."""
    return f"measured {name}"


def numeric_rules(pql: PqlRules) -> dict[str, Tiers]:
    """The tiers of the signals that are numbers."""
    rules = {**pql.usage, **pql.engagement}
    return {name: rule for name, rule in rules.items() if isinstance(rule, Tiers) and name in MEASURED}


def with_measures(samples: pl.DataFrame, measures: pl.DataFrame) -> pl.DataFrame:
    """The samples with what was measured of each, null where it was not kept.

    Args:
        samples: `DAILY_SCORES` of users.
        measures: `MEASURES`.
    """
    named = measures.select("day", subject_id="user_id", **{column_of(name): pl.col(name) for name in MEASURED})
    return samples.join(named, on=["subject_id", "day"], how="left", maintain_order="left")


def measured_ones(samples: pl.DataFrame) -> pl.DataFrame:
    """The samples of which all measures were kept; none where none were read."""
    columns = [column_of(name) for name in MEASURED]
    return samples.drop_nulls(columns) if set(columns) <= set(samples.columns) else samples.clear()


def with_points(samples: pl.DataFrame, live: ScoringRules, proposed: ScoringRules) -> pl.DataFrame:
    """The samples with the points that signals would have earned under other rules."""
    names = signals_of(proposed.pql)
    return samples.with_columns(_as_points(name, live, proposed, samples.columns).alias(name) for name in names)


def untried(live: ScoringRules, proposed: ScoringRules, *, is_measured: bool = False) -> list[str]:
    """The keys of `scoring.yml` whose effect on past days can't be told.

    Args:
        live: The rules that gave the points.
        proposed: The rules to try.
        is_measured: Whether what was measured is known, and not the points alone.
    """
    found = []
    if live.measurement != proposed.measurement:
        found.append("measurement")
    if len({live.points.low, live.points.medium, live.points.high} - {0.0}) < len(TIERS):
        # Two tiers that earn the same can't be told apart by their points.
        found += ["points"] if live.points != proposed.points else []
    before = {**live.pql.usage, **live.pql.engagement}
    for part in ("usage", "engagement"):
        rules = getattr(proposed.pql, part)
        told = {*numeric_rules(live.pql)} & {*numeric_rules(proposed.pql)} if is_measured else set()
        found += [f"pql.{part}.{n}" for n, rule in rules.items() if before.get(n) != rule and n not in told]
    found += [f"pql.intent.{name}" for name in proposed.pql.intent if name not in live.pql.intent]
    return found


def rescored(samples: pl.DataFrame, live: ScoringRules, proposed: ScoringRules) -> pl.DataFrame:
    """The samples with `score` and `classification` as other rules would have had them (section 3).

    Args:
        samples: `DAILY_SCORES` of users, scored under `live`, with their points in columns (`points_by_signal`).
        live: The rules that gave the points.
        proposed: The rules to try; what `untried` names counts as it was measured.
    """
    pql = proposed.pql
    earned = {name: _as_points(name, live, proposed, samples.columns) for name in signals_of(pql)}
    weighted = pl.lit(0.0)
    for part in ("usage", "engagement", "intent"):
        names = list(getattr(pql, part))
        most = sum(most_points(name, proposed) for name in names)
        weighted = weighted + pl.sum_horizontal(earned[name] for name in names) * (
            100 * getattr(pql.weights, part) / most
        )
    score = rounded(pl.min_horizontal(weighted * multiplier(pql), pl.lit(BEST)))
    return samples.with_columns(score=score).with_columns(classification=classification(pl.col("score"), proposed))


def _as_points(name: str, live: ScoringRules, proposed: ScoringRules, columns: Sequence[str]) -> pl.Expr:
    if name in proposed.pql.intent:
        return pl.when(pl.col(name) > 0).then(pl.lit(proposed.pql.intent[name])).otherwise(pl.lit(0.0))  # type: ignore[index]
    worth = {tier: _worth(tier, proposed.points) for tier in TIERS}
    tier, rule = tier_of(name, live), numeric_rules(proposed.pql).get(name)
    if rule is not None and rule != numeric_rules(live.pql).get(name) and column_of(name) in columns:
        measure = pl.col(column_of(name))
        tier = pl.when(measure.is_null()).then(tier).otherwise(graded(measure, rule))
    return tier.replace_strict(worth, default=0.0, return_dtype=pl.Float64)


def _worth(tier: str, points: TierPoints) -> float:
    return float(getattr(points, tier))
