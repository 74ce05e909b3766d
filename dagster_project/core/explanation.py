"""Why a score is what it is: one entry per signal, whose contributions sum to the published score.

A score function describes its signals as `Signal` columns; this module turns tiers into points and entries into the
list that stands beside the score. What a signal is worth is the playbook's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from dagster_project.core.numbers import number_text, settled
from dagster_project.core.scoring_rules import TIERS, Above, TierPoints, Tiers
from dagster_project.core.scoring_rules import Signal as SignalRule

ENTRY = pl.Struct(
    {
        "signal": pl.String(),
        "value": pl.String(),
        "tier": pl.String(),
        "points": pl.Float64(),
        "contribution": pl.Float64(),
    }
)
EXPLANATION = pl.List(ENTRY)
NO_TIER, MISSING, UNKNOWN = "none", "missing", "unknown"
"""The tier below the lowest, the tier of a signal that nobody knows, and how its value is shown."""


@dataclass(frozen=True)
class Signal:
    """One line of a score.

    Attributes:
        name: As the playbook calls it.
        value: What was measured, as text.
        tier: The name of the tier.
        most: The points that it can earn.
    """

    name: str
    value: pl.Expr
    tier: pl.Expr
    points: pl.Expr
    most: float

    @property
    def points_column(self) -> str:
        """Where `points` is kept while a score is computed."""
        return f"points of {self.name}"


def tiered_signal(name: str, measure: pl.Expr, rule: SignalRule, points: TierPoints) -> Signal:
    """The signal of a measure: a number that a `Tiers` grades, or a word. A null measure is missing."""
    tier = graded(measure, rule) if isinstance(rule, Tiers) else _of_word(measure, rule)
    text = number_text(measure) if isinstance(rule, Tiers) else measure
    return graded_signal(name, text, tier, points)


def graded_signal(name: str, text: pl.Expr, tier: pl.Expr, points: TierPoints) -> Signal:
    """A signal whose tier is known already."""
    worth = {name: getattr(points, name) for name in TIERS}
    return Signal(
        name=name,
        value=text.fill_null(UNKNOWN),
        tier=tier,
        points=tier.replace_strict(worth, default=0.0, return_dtype=pl.Float64),
        most=points.high,
    )


def seen_signal(name: str, count: pl.Expr, worth: float) -> Signal:
    """A signal that counts once, however often it was seen."""
    seen = (count > 0).fill_null(False)
    return Signal(
        name=name,
        value=number_text(count.fill_null(0)),
        tier=pl.when(seen).then(pl.lit("seen")).otherwise(pl.lit(NO_TIER)),
        points=pl.when(seen).then(pl.lit(worth)).otherwise(pl.lit(0.0)),
        most=worth,
    )


def graded(measure: pl.Expr, tiers: Tiers) -> pl.Expr:
    """The name of the highest tier that a number reaches."""

    def reaches(bound: float | Above) -> pl.Expr:
        return measure > bound.above if isinstance(bound, Above) else measure >= bound

    return (
        pl.when(measure.is_null())
        .then(pl.lit(MISSING))
        .when(reaches(tiers.high))
        .then(pl.lit("high"))
        .when(reaches(tiers.medium))
        .then(pl.lit("medium"))
        .when(reaches(tiers.low))
        .then(pl.lit("low"))
        .otherwise(pl.lit(NO_TIER))
    )


def _of_word(measure: pl.Expr, tiers: Mapping[str, str]) -> pl.Expr:
    tier = measure.replace_strict(dict(tiers), default=NO_TIER, return_dtype=pl.String)
    return pl.when(measure.is_null()).then(pl.lit(MISSING)).otherwise(tier)


def component(signals: Sequence[Signal]) -> pl.Expr:
    """Points earned by points possible, 0..100, of signals whose points columns are there."""
    most = sum(signal.most for signal in signals)
    return pl.sum_horizontal(signal.points_column for signal in signals) * 100 / most


def signal_entries(signals: Sequence[Signal], weight: float) -> list[pl.Expr]:
    """The entries of one component with its weight in the score."""
    most = sum(signal.most for signal in signals)
    return [
        entry(
            signal.name,
            value=signal.value,
            tier=signal.tier,
            points=pl.col(signal.points_column),
            contribution=pl.col(signal.points_column) * (weight * 100 / most),
        )
        for signal in signals
    ]


def entry(
    signal: str,
    *,
    contribution: pl.Expr,
    value: pl.Expr | None = None,
    tier: pl.Expr | None = None,
    points: pl.Expr | None = None,
) -> pl.Expr:
    """One struct of the explanation."""
    return pl.struct(
        signal=pl.lit(signal),
        value=pl.lit("") if value is None else value,
        tier=pl.lit("") if tier is None else tier,
        points=pl.lit(0.0) if points is None else points,
        contribution=settled(contribution),
    )


def explanation(frame: pl.DataFrame, entries: Sequence[pl.Expr]) -> pl.Series:
    """The entries of every row as a list.

    Stacked and interleaved, because gathering structs into lists row by row is forty times slower.
    """
    if frame.is_empty():
        return pl.Series("explanation", [], EXPLANATION)
    stacked = pl.concat(frame.select(line.cast(ENTRY).alias("entry")) for line in entries)
    count, height = len(entries), frame.height
    position = pl.int_range(count * height, eager=True)
    return (
        stacked["entry"]
        .gather(position % count * height + position // count)
        .reshape((height, count))
        .arr.to_list()
        .alias("explanation")
    )
