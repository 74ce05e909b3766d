"""What was published about one model, as reports and pictures read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Published:
    """The published tables of one model version, users only, as frames.

    Attributes:
        rates: `marts.calibration`.
        summary: By metric: value, low, high, note.
        curves, signals, drift, coverage, suggestions: As published.
        challengers: What compares this model with another, users only: all challengers of a champion, or the one.
        feedback: Of all models.
    """

    rates: pl.DataFrame
    summary: Mapping[str, Mapping[str, object]]
    curves: pl.DataFrame
    signals: pl.DataFrame
    drift: pl.DataFrame
    coverage: pl.DataFrame
    suggestions: pl.DataFrame
    challengers: pl.DataFrame
    feedback: pl.DataFrame

    def number(self, metric: str) -> float | None:
        """The value of a metric, None where there is none."""
        value = self.summary.get(metric, {}).get("value")
        return None if value is None else float(value)  # type: ignore[arg-type]

    def note(self, metric: str) -> str:
        """What is said about a metric."""
        return str(self.summary.get(metric, {}).get("note") or "")

    @property
    def model_version(self) -> str:
        """Of the model that the report is about."""
        return str(self.summary.get("leads", {}).get("model_version") or "")


def published_of(tables: Mapping[str, pl.DataFrame], model_version: str) -> Published:
    """What was published about one model version.

    Args:
        tables: Frames by `rates, summary, curves, signals, drift, coverage, suggestions, challengers, feedback`.
        model_version: The model.
    """
    mine = pl.col("model_version") == model_version
    users = mine & (pl.col("subject_type") == "user")
    of_model = ("rates", "signals", "drift", "coverage", "suggestions")
    return Published(
        summary={row["metric"]: row for row in tables["summary"].filter(users).iter_rows(named=True)},
        curves=tables["curves"].filter(users).sort("curve", "position"),
        feedback=tables["feedback"],
        challengers=tables["challengers"]
        .filter((mine | (pl.col("champion_version") == model_version)) & (pl.col("subject_type") == "user"))
        .sort("challenger", maintain_order=True),
        **{name: tables[name].filter(mine) for name in of_model},
    )
