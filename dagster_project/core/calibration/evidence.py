"""Which signals foretell deals, by themselves and beside the others, and which say nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from dagster_project.core.calibration.intervals import Codes, Interval, Numbers
from dagster_project.core.calibration.ranking import auc_interval
from dagster_project.core.calibration_rules import CalibrationRules

DRIVES, NOTHING, BACKWARDS = "foretells deals", "no evidence", "points the wrong way"
RARE, SILENT = "too rare to tell", "never seen"
EVIDENCE = pl.Schema(
    {
        **dict.fromkeys(("model_version", "signal", "verdict"), pl.String()),
        **dict.fromkeys(("auc", "auc_low", "auc_high", "points_now", "points_suggested"), pl.Float64()),
        "share_seen": pl.Float64(),
    }
)
"""One row per model version and signal. `auc` is the signal's own: 0.5 says nothing of who will buy."""


def verdicts(
    points: Numbers, won: Numbers, groups: Codes, names: Sequence[str], *, rules: CalibrationRules
) -> pl.DataFrame:
    """What each signal says by itself.

    Args:
        points: One row per sample, one column per signal.
        won: 1 or 0.
        groups: The account of each sample, as a code from 0.
        names: Of the columns.
        rules: `calibration.yml`. Its confidence is that not one of all these verdicts is mere chance: each single
            interval is wider for it (Šidák).

    Returns:
        `signal, verdict, auc, auc_low, auc_high, share_seen`, in the order of the names.
    """
    each = rules.confidence ** (1 / max(1, len(names)))
    rows = []
    for name, column in zip(names, points.T, strict=True):
        found = auc_interval(column, won, groups, each)
        rows.append(
            {
                "signal": name,
                "verdict": _verdict(found, _with_signal(column, won, groups), least=rules.minimum.won_with_signal),
                "auc": found.estimate,
                "auc_low": found.low,
                "auc_high": found.high,
                "share_seen": float((column > 0).mean()) if len(column) else None,
            }
        )
    columns = ("signal", "verdict", "auc", "auc_low", "auc_high", "share_seen")
    return pl.DataFrame(rows, schema={name: EVIDENCE[name] for name in columns}, orient="row")


def _with_signal(column: Numbers, won: Numbers, groups: Codes) -> float | None:
    """How many accounts with more than the least of a signal won, or would if it said nothing; None if none has."""
    more = column > (column.min() if len(column) else 0.0)
    if not more.any():
        return None
    accounts, winners = np.unique(groups), np.unique(groups[won > 0])
    seen = np.unique(groups[more])
    return max(float(np.isin(seen, winners).sum()), len(seen) * len(winners) / len(accounts))


def _verdict(found: Interval, with_signal: float | None, *, least: int) -> str:
    if with_signal is None:
        return SILENT
    if with_signal < least:
        return RARE
    if found.low > 0.5:
        return DRIVES
    return BACKWARDS if found.high < 0.5 else NOTHING
