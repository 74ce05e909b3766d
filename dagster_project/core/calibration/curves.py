"""The curves: what close rate to expect and what came, how much of the won the best hold, what a week's work finds."""

from __future__ import annotations

import numpy as np
import polars as pl

from dagster_project.core.calibration.fitting import expected_rate, expected_rates, is_available
from dagster_project.core.calibration.intervals import Interval, close_rate, effective_leads, wilson
from dagster_project.core.calibration.ranking import cumulative_gains, precision_at
from dagster_project.core.calibration.samples import equal_groups, fold_of, group_codes, later_periods
from dagster_project.core.calibration_rules import CalibrationRules

RELIABILITY, GAINS, CAPACITY = "reliability", "gains", "capacity"
CURVES = pl.Schema(
    {
        **dict.fromkeys(("model_version", "subject_type", "curve"), pl.String()),
        "position": pl.Int64(),
        **dict.fromkeys(("x", "y", "y_low", "y_high"), pl.Float64()),
        "leads": pl.Int64(),
    }
)
"""One row per point. `reliability`: close rate expected (x) and seen (y) of a group of leads. `gains`: share of the
leads taken (x), share of the won found (y). `capacity`: leads taken a week (x), close rate of these (y)."""
_GROUPS = 10


def expected_out_of_time(samples: pl.DataFrame, rules: CalibrationRules) -> pl.DataFrame | None:
    """The later periods' samples with `expected`, from a mapping that saw neither them nor their accounts.

    None without scikit-learn, or when there is but one period.
    """
    marked = samples.with_columns(
        late=later_periods(samples, rules.holdout_share), fold=fold_of(samples["group"], rules.folds)
    )
    if not is_available() or not marked["late"].any():
        return None
    parts = []
    for fold in range(rules.folds):
        seen = marked.filter(~pl.col("late") & (pl.col("fold") != fold))
        held = marked.filter(pl.col("late") & (pl.col("fold") == fold))
        if held.is_empty() or seen.is_empty():
            continue
        steps = expected_rates(*_arrays(seen), group_codes(seen), rules.minimum.won_with_signal)
        parts.append(held.with_columns(expected=expected_rate(steps, held["score"].to_numpy())))
    return pl.concat(parts) if parts else None


def reliability(expected: pl.DataFrame, rules: CalibrationRules) -> list[tuple[float, Interval, int]]:
    """Groups of about as many leads by expected close rate: mean expected, what came, how many leads."""
    groups = (
        expected.with_columns(place=equal_groups("expected", _GROUPS))
        .sort("place")
        .partition_by("place", maintain_order=True)
    )
    found = []
    for group in groups:
        won = group["won"].cast(pl.Float64).to_numpy()
        codes = group_codes(group)
        mean = float(group["expected"].to_numpy().mean())
        found.append((mean, close_rate(won, codes, rules.confidence), group.height))
    return found


def capacity(samples: pl.DataFrame, rules: CalibrationRules) -> list[tuple[float, Interval, int]]:
    """If sellers took the best so many of the list that stood on each sampled day: how many closed."""
    days = samples.sort("day", "subject_id").partition_by("day", maintain_order=True)
    found = []
    for each in rules.capacity_per_week:
        rate = float(np.mean([precision_at(*_arrays(day), each) for day in days]))
        taken = pl.concat(day.filter(pl.col("score") >= day["score"].top_k(each).min()) for day in days)
        codes = group_codes(taken)
        # Who tied for the last place is among the taken; the interval is for as many as there are places.
        leads = sum(min(each, day.height) for day in days)
        worth = effective_leads(_arrays(taken)[1], codes) * min(1.0, leads / taken.height)
        interval = wilson(rate * worth, worth, rules.confidence)
        found.append((float(each), Interval(rate, interval.low, interval.high), leads))
    return found


def curves(samples: pl.DataFrame, expected: pl.DataFrame | None, rules: CalibrationRules) -> pl.DataFrame:
    """All curves of one model.

    Args:
        samples: Matured ones.
        expected: Of `expected_out_of_time`.
        rules: `calibration.yml`.

    Returns:
        `CURVES`; empty without samples.
    """
    if samples.is_empty():
        return CURVES.to_frame()
    gains = cumulative_gains(*_arrays(samples))
    points = {
        RELIABILITY: reliability(expected, rules) if expected is not None else [],
        GAINS: [
            (x, Interval(y, y, y), round(x * samples.height))
            for x, y in zip(gains.taken.tolist(), gains.found.tolist(), strict=True)
        ],
        CAPACITY: capacity(samples, rules),
    }
    told = {name: samples[name][0] for name in ("model_version", "subject_type")}
    rows = [
        {**told, "curve": curve, "position": n, "x": x, "y": y.estimate, "y_low": y.low, "y_high": y.high, "leads": k}
        for curve, found in points.items()
        for n, (x, y, k) in enumerate(found)
    ]
    return pl.DataFrame(rows, schema=CURVES, orient="row")


def _arrays(samples: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return samples["score"].to_numpy(), samples["won"].cast(pl.Float64).to_numpy()
