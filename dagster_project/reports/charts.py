"""The pictures of the calibration report. Numbers come from the published tables; nothing is computed here."""

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dagster_project.core.calibration.challenger_report import auc_rows
from dagster_project.core.calibration.evidence import BACKWARDS, DRIVES
from dagster_project.core.calibration.published import Published
from dagster_project.core.calibration.rates import class_order
from dagster_project.core.calibration.report import PICTURES

_ACCENT, _SOFT, _INK, _MUTED, _WARN, _GRID = "#4f46e5", "#c7d2fe", "#1f2937", "#6b7280", "#dc2626", "#e5e7eb"
_STYLE: Any = {
    "font.size": 9.5,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _GRID,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "pls",
}
_WIDTH = 6.6


def pictures(found: Published) -> dict[str, Figure]:
    """All pictures that there are numbers for, by name."""
    drawing: Mapping[str, Callable[[Published], Figure | None]] = {
        "classes": _classes,
        "deciles": _deciles,
        "gains": _gains,
        "reliability": _reliability,
        "capacity": _capacity,
        "challengers": _challengers,
        "signals": _signals,
        "coverage": _coverage,
    }
    with rc_context(_STYLE):
        drawn = {name: drawing[name](found) for name in PICTURES}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def as_svg(figure: Figure) -> str:
    """A picture as an SVG element that stands in a page."""
    written = io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    return text[text.index("<svg") :]


def as_png(figure: Figure, dots_per_inch: int = 110) -> bytes:
    """A picture as a file."""
    written = io.BytesIO()
    with rc_context(_STYLE):
        figure.savefig(written, format="png", dpi=dots_per_inch)
    return written.getvalue()


def as_markdown_image(figure: Figure, title: str) -> str:
    """A picture inside Markdown, without a file."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(as_png(figure)).decode()})"


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _errors(rows: pl.DataFrame, value: str, low: str, high: str) -> list[list[float]]:
    below = (rows[value] - rows[low]).clip(lower_bound=0).to_list()
    above = (rows[high] - rows[value]).clip(lower_bound=0).to_list()
    return [below, above]


def _top(rows: pl.DataFrame, high: str) -> float:
    """Where an axis of rates ends: a single very unsure value must not press all others flat."""
    return min(1.0, max(0.02, float(rows[high].quantile(0.9, "higher") or 0) * 1.15))


def _of(found: Published, dimension: str) -> pl.DataFrame:
    return found.rates.filter(pl.col("dimension") == dimension)


def _base_line(axes: Axes, found: Published, *, upright: bool, place: Any) -> None:
    base = found.number("close_rate")
    if base is None:
        return
    draw = axes.axvline if upright else axes.axhline
    draw(base, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1, label=f"everybody: {100 * base:.1f} %")
    axes.legend(frameon=False, loc=place, fontsize=8.5)


def _classes(found: Published) -> Figure | None:
    rows = _of(found, "classification").sort(class_order(pl.col("value")))
    if rows.is_empty():
        return None
    figure, axes = _figure(0.7 + 0.42 * rows.height)
    axes.barh(rows["value"].to_list(), rows["close_rate"].to_list(), color=_SOFT, height=0.62)
    axes.errorbar(
        rows["close_rate"].to_list(),
        rows["value"].to_list(),
        xerr=_errors(rows, "close_rate", "close_rate_low", "close_rate_high"),
        fmt="o",
        color=_ACCENT,
        markersize=5,
        capsize=3,
        linewidth=1.4,
    )
    axes.invert_yaxis()
    axes.set_xlim(0, min(1.0, float(rows["close_rate_high"].max() or 1) * 1.08))  # type: ignore[arg-type]
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("close rate")
    axes.grid(axis="x")
    _base_line(axes, found, upright=True, place="lower right")
    return figure


def _deciles(found: Published) -> Figure | None:
    rows = _of(found, "decile").sort(pl.col("value").cast(pl.Int64))
    if rows.is_empty():
        return None
    figure, axes = _figure(2.7)
    places = rows["value"].cast(pl.Int64).to_list()
    axes.bar(places, rows["close_rate"].to_list(), color=_SOFT, width=0.72)
    axes.errorbar(
        places,
        rows["close_rate"].to_list(),
        yerr=_errors(rows, "close_rate", "close_rate_low", "close_rate_high"),
        fmt="o",
        color=_ACCENT,
        markersize=4.5,
        capsize=3,
        linewidth=1.3,
    )
    axes.set_xticks(range(1, 11))
    axes.set_xlim(0.4, 10.6)
    axes.set_ylim(0, _top(rows, "close_rate_high"))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("tenth of the leads by score, 10 the best")
    axes.set_ylabel("close rate")
    axes.grid(axis="y")
    _base_line(axes, found, upright=False, place="upper left")
    return figure


def _gains(found: Published) -> Figure | None:
    rows = found.curves.filter(pl.col("curve") == "gains").sort("position")
    if rows.is_empty() or not found.number("won"):
        return None
    figure, axes = _figure(3.1)
    axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), label="chance")
    axes.plot(rows["x"].to_list(), rows["y"].to_list(), color=_ACCENT, linewidth=2, label="by score")
    axes.fill_between(rows["x"].to_list(), rows["x"].to_list(), rows["y"].to_list(), color=_SOFT, alpha=0.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("leads taken, the best scores first")
    axes.set_ylabel("of the won found")
    axes.grid()
    axes.legend(frameon=False, loc="lower right", fontsize=8.5)
    return figure


def _reliability(found: Published) -> Figure | None:
    rows = found.curves.filter(pl.col("curve") == "reliability").sort("x")
    if rows.is_empty():
        return None
    figure, axes = _figure(3.1)
    end = max(_top(rows, "y_high"), float(rows["x"].max() or 0) * 1.1)  # type: ignore[arg-type]
    axes.plot([0, end], [0, end], color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), label="as expected")
    axes.errorbar(
        rows["x"].to_list(),
        rows["y"].to_list(),
        yerr=_errors(rows, "y", "y_low", "y_high"),
        fmt="o",
        color=_ACCENT,
        ecolor=_SOFT,
        markersize=5.5,
        capsize=0,
        elinewidth=3,
        label="groups of leads",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    axes.set_xlabel("close rate expected of the score")
    axes.set_ylabel("close rate that came")
    axes.grid()
    axes.legend(frameon=False, loc="upper left", fontsize=8.5)
    return figure


def _capacity(found: Published) -> Figure | None:
    rows = found.curves.filter(pl.col("curve") == "capacity").sort("x")
    if rows.is_empty():
        return None
    figure, axes = _figure(2.4)
    places = list(range(rows.height))
    axes.bar(places, rows["y"].to_list(), color=_SOFT, width=0.5)
    axes.errorbar(
        places, rows["y"].to_list(), yerr=_errors(rows, "y", "y_low", "y_high"), fmt="o", color=_ACCENT, capsize=3
    )
    axes.set_xticks(places, [f"{each:.0f}" for each in rows["x"].to_list()])
    axes.set_ylim(0, min(1.0, float(rows["y_high"].max() or 1) * 1.1))  # type: ignore[arg-type]
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("leads that sellers take a week")
    axes.set_ylabel("of these close")
    axes.grid(axis="y")
    _base_line(axes, found, upright=False, place="upper right")
    return figure


def _challengers(found: Published) -> Figure | None:
    rows = auc_rows(found)
    if rows.is_empty():
        return None
    figure, axes = _figure(0.9 + 0.5 * rows.height)
    axes.axvline(0.5, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for whose, colour, shift in (("champion", "#9ca3af", -0.13), ("challenger", _ACCENT, 0.13)):
        axes.errorbar(
            rows[f"{whose}_value"].to_list(),
            [place + shift for place in range(rows.height)],
            xerr=_errors(rows, f"{whose}_value", f"{whose}_low", f"{whose}_high"),
            fmt="o",
            color=colour,
            capsize=3,
            linewidth=1.6,
            label=whose,
        )
    axes.set_yticks(range(rows.height), rows["challenger"].to_list())
    axes.set_ylim(rows.height - 0.5, -0.5)
    axes.set_xlabel("AUC on whom the challenger is judged on; 0.5 is a coin")
    axes.grid(axis="x")
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8.5)
    return figure


def _signals(found: Published) -> Figure | None:
    rows = (
        found.signals.drop_nulls("auc")
        .filter(pl.col("auc").is_finite())
        .sort("auc", "signal", descending=[False, True])
    )
    if rows.is_empty():
        return None
    figure, axes = _figure(0.8 + 0.27 * rows.height)
    axes.axvline(0.5, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for place, row in enumerate(rows.iter_rows(named=True)):
        colour = {DRIVES: _ACCENT, BACKWARDS: _WARN}.get(row["verdict"], "#9ca3af")
        axes.plot([row["auc_low"], row["auc_high"]], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot([row["auc"]], [place], "o", color=colour, markersize=5.5)
    axes.set_yticks(range(rows.height), rows["signal"].to_list())
    axes.set_ylim(-0.7, rows.height - 0.3)
    axes.set_xlabel("AUC of the signal alone; blue: foretells deals, grey: no evidence")
    axes.grid(axis="x")
    return figure


def _coverage(found: Published) -> Figure | None:
    if found.coverage.is_empty():
        return None
    figure, axes = _figure(1.35)
    counts = dict(found.coverage.group_by("path").len().iter_rows())
    start = 0
    for path, label, colour in (
        ("qualified", "a PQL before", _ACCENT),
        ("seen", "users, none a PQL", "#f59e0b"),
        ("unseen", "nobody known", "#d1d5db"),
    ):
        size = int(counts.get(path, 0))
        axes.barh([0], [size], left=start, color=colour, label=f"{label}: {size}", height=0.6)
        start += size
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("won deals")
    axes.set_xlim(0, max(1, start))
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8.5)
    return figure
