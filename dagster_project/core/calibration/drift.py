"""Whether the people scored are still of the kind that was judged: each period against the one before."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import polars as pl

from dagster_project.core.calibration_rules import CalibrationRules

DRIFT = pl.Schema(
    {
        **dict.fromkeys(("model_version", "feature"), pl.String()),
        **dict.fromkeys(("before_day", "day"), pl.Date()),
        **dict.fromkeys(("before_mean", "mean", "stability_index"), pl.Float64()),
        "verdict": pl.String(),
    }
)
"""One row per feature and period but the first; `stability_index` is the population stability index."""
_BIN = 10
_RARE = 0.5
"""What an empty bin counts as, in leads: a bin that nobody is in has no logarithm."""


def stability_index(before: pl.Series, after: pl.Series) -> float:
    """The population stability index of two samples of categories: sum of (q - p) ln(q / p); 0 for the same shares."""
    then = pl.DataFrame({"bin": before}).group_by("bin").agg(p=pl.len())
    now = pl.DataFrame({"bin": after}).group_by("bin").agg(q=pl.len())
    both = then.join(now, on="bin", how="full", coalesce=True, nulls_equal=True)
    # Sorted, so that the sum is the same to the last digit whatever order the bins came in.
    counts = both.sort("bin").with_columns(pl.col("p", "q").fill_null(0).cast(pl.Float64))
    p, q = (np.maximum(counts[name].to_numpy(), _RARE) for name in ("p", "q"))
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def drift(periods: Iterable[pl.DataFrame], names: list[str], rules: CalibrationRules) -> pl.DataFrame:
    """Drift of the score (in tens) and of each signal's points, between one period and the next.

    Args:
        periods: The samples of one model version, matured or not, with a column of points per signal: a frame per
            period, the oldest first.
        names: The signals.
        rules: `calibration.yml`.

    Returns:
        `DRIFT`, the latest period last, within it what moved most first.
    """
    rows = [_row(name, before, after, rules) for before, after in pairwise(periods) for name in ("score", *names)]
    found = pl.DataFrame(rows, schema=DRIFT, orient="row")
    return found.sort("day", "stability_index", "feature", descending=[False, True, False])


def _row(name: str, before: pl.DataFrame, after: pl.DataFrame, rules: CalibrationRules) -> dict[str, object]:
    def bins(frame: pl.DataFrame) -> pl.Series:
        return (frame[name] // _BIN).clip(upper_bound=9) if name == "score" else frame[name]

    index = stability_index(bins(before), bins(after))
    levels = rules.drift
    return {
        "model_version": after["model_version"][0],
        "feature": name,
        "before_day": before["day"][0],
        "day": after["day"][0],
        "before_mean": before[name].mean(),
        "mean": after[name].mean(),
        "stability_index": index,
        "verdict": "moved" if index >= levels.moved else "watch" if index >= levels.watch else "steady",
    }
