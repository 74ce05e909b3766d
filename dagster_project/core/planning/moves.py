"""Who enters or leaves a class when the playbook changes, and which part of the score makes them move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dagster_project.core.calibration.rates import class_order
from dagster_project.core.scoring_rules import CLASSES

_VISIBLE = 0.05
_TOLD = 4


@dataclass(frozen=True)
class Mover:
    """One user or account whose class changes."""

    name: str
    before: float
    after: float
    was: str
    becomes: str
    reason: str


@dataclass(frozen=True)
class Moves:
    """What happens to one kind of subject.

    Attributes:
        subjects: How many there are.
        moved: How many change their class.
        classes: Class, size before, size after, how many enter, how many leave; the best class first.
        top: The movers whose scores change most.
        segments: Segments from and to, and how many move so.
    """

    subjects: int
    moved: int
    classes: Sequence[tuple[str, int, int, int, int]]
    top: Sequence[Mover]
    segments: Sequence[tuple[str, str, int]]


def moves(before: pl.DataFrame, after: pl.DataFrame, *, key: str, name: str, score: str, most: int) -> Moves:
    """Compare scores of the same subjects under two playbooks.

    Args:
        before: Scored as it is: `key, name, score, classification, segment, explanation`.
        after: Scored as it would be.
        key: The column of the id.
        name: The column by which people know it; the id where it is null.
        score: The column of the score.
        most: How many movers are named.
    """
    columns = {"score": score, "classification": "classification", "segment": "segment", "explanation": "explanation"}
    joined = before.select(key, name=pl.coalesce(name, key), **columns).join(
        after.select(key, **columns), on=key, how="inner", suffix="_after"
    )
    moved = joined.filter(pl.col("classification") != pl.col("classification_after"))
    change = (pl.col("score_after") - pl.col("score")).abs()
    best = pl.max_horizontal(-class_order(pl.col("classification")), -class_order(pl.col("classification_after")))
    top = moved.sort(best, change, key, descending=[True, True, False]).head(most)
    return Moves(
        subjects=joined.height,
        moved=moved.height,
        classes=[_sizes(joined, moved, name) for name in CLASSES],
        top=[_mover(row) for row in top.iter_rows(named=True)],
        segments=joined.filter(pl.col("segment") != pl.col("segment_after"))
        .group_by("segment", "segment_after")
        .len()
        .sort("segment", "segment_after")
        .rows(),
    )


def _sizes(joined: pl.DataFrame, moved: pl.DataFrame, name: str) -> tuple[str, int, int, int, int]:
    was, becomes = pl.col("classification") == name, pl.col("classification_after") == name
    return (
        name,
        joined.filter(was).height,
        joined.filter(becomes).height,
        moved.filter(becomes).height,
        moved.filter(was).height,
    )


def _mover(row: Mapping[str, Any]) -> Mover:
    return Mover(
        name=row["name"],
        before=row["score"],
        after=row["score_after"],
        was=row["classification"],
        becomes=row["classification_after"],
        reason=_reason(row),
    )


def _reason(row: Mapping[str, Any]) -> str:
    """The contributions that changed most, as `upgrade_click 6.2 -> 12.5`; the bound where only that has moved."""
    before, after = (
        {entry["signal"]: entry["contribution"] for entry in row[name] or []}
        for name in ("explanation", "explanation_after")
    )
    names = [*before, *(name for name in after if name not in before)]
    changed = {name: after.get(name, 0.0) - before.get(name, 0.0) for name in names if name != "rounding"}
    told = sorted(
        (name for name in names if abs(changed.get(name, 0)) >= _VISIBLE), key=lambda name: -abs(changed[name])
    )
    if not told:
        return "the class begins elsewhere"
    parts = [f"{name} {before.get(name, 0.0):.1f} -> {after.get(name, 0.0):.1f}" for name in told[:_TOLD]]
    more = len(told) - _TOLD
    return ", ".join(parts) + (f", {more} more" if more > 0 else "")
