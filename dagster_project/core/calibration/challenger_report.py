"""The report's section on challengers: side by side with the champion, on the same people and deals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from dagster_project.core.calibration.comparison import AUC, LIFT
from dagster_project.core.calibration.figures import between, decimal, percent, times
from dagster_project.core.calibration.published import Published
from dagster_project.core.sections import Row, Section

_WHOSE = ("champion", "challenger", "difference")


def challengers(found: Published) -> list[Section]:
    """None where there are no challengers."""
    if found.challengers.is_empty():
        return []
    parts = found.challengers.partition_by("challenger", maintain_order=True)
    text = (
        "The same people on the same days, judged by the same deals. A challenger is only measured: the champion alone "
        "calls sales. Two intervals may overlap although the difference is certain, since both models see the same "
        "people: the last column counts. Its intervals hold for all challengers together."
    )
    told = "\n\n".join(_told(part.row(0, named=True)) for part in parts)
    rows = [_row(row) for row in _judged(found).iter_rows(named=True)]
    return [Section("Champion and challengers", f"{text}\n\n{told}", rows, "challengers")]


def auc_rows(found: Published) -> pl.DataFrame:
    """The AUC of champion and challenger, a row per challenger that is judged; for the picture."""
    return _judged(found).filter(pl.col("metric") == AUC)


def _judged(found: Published) -> pl.DataFrame:
    """What is shown in numbers: with too few deals they would say more than anybody knows."""
    return found.challengers.filter(
        pl.col("champion_value").is_not_null() & ~pl.col("note").str.starts_with("needed: ")
    )


def _told(row: Mapping[str, object]) -> str:
    """The verdict on one challenger, from its first row, that of the AUC."""
    about = f" ({row['about']})" if row["about"] else ""
    told = str(row["note"]) or "no two outcomes to tell apart yet"
    if told.startswith("needed: "):
        told = f"too early to tell. Needed: {told.removeprefix('needed: ')}"
    seen = f" ({row['leads']:,} scores; {row['won_accounts']:,} accounts won)" if row["leads"] else ""
    return f"**{row['challenger']}**{about}, judged on {row['judged_on']}{seen}: {told}."


def _row(row: Mapping[str, object]) -> Row:
    metric, per_week = str(row["metric"]), row["per_week"]
    formats: Mapping[str, Callable[[float | None], str]] = {AUC: decimal, LIFT: times}
    label = {AUC: "AUC", LIFT: "Lift of the best tenth"}.get(metric, f"Best {per_week} a week close")
    shown = formats.get(metric, percent)
    cells = {f"{whose}_{what}": row[f"{whose}_{what}"] for whose in _WHOSE for what in ("value", "low", "high")}
    of = {whose: _cell(whose, cells, shown, metric) for whose in _WHOSE}
    return {
        "Challenger": str(row["challenger"]),
        "": label,
        "Champion": of["champion"],
        "Challenger's": of["challenger"],
        "Difference": of["difference"],
    }


def _cell(whose: str, cells: Mapping[str, object], shown: Callable[[float | None], str], metric: str) -> str:
    value, low, high = (cells[f"{whose}_{what}"] for what in ("value", "low", "high"))
    if value is None:
        return ""
    sign = "+" if whose == "difference" and float(value) >= 0 else ""  # type: ignore[arg-type]
    if low is None or high is None:
        return f"{sign}{shown(value)}"  # type: ignore[arg-type]
    places = 3 if metric == AUC else 2
    if metric in (AUC, LIFT):
        return f"{sign}{shown(value)} ({decimal(low, places)} to {decimal(high, places)})"  # type: ignore[arg-type]
    if whose == "difference":
        ends = " to ".join(f"{100 * float(end):.1f}" for end in (low, high))  # type: ignore[arg-type]
        return f"{sign}{100 * float(value):.1f} points ({ends})"  # type: ignore[arg-type]
    return f"{shown(value)} ({between(low, high)})"  # type: ignore[arg-type]
