"""The report's first sections: whether scores are any good, by class, score and segment, and what a week finds."""

from __future__ import annotations

import polars as pl

from dagster_project.core.calibration.figures import between, count, decimal, percent, times
from dagster_project.core.calibration.published import Published
from dagster_project.core.calibration.rates import class_order
from dagster_project.core.sections import Row, Section


def nothing_yet(found: Published) -> Section:
    waiting = count(found.number("censored")) or "0"
    return Section(
        "Nothing to judge yet",
        f"No score is old enough: an outcome counts once all its days have passed. {waiting} samples are waiting "
        f"({found.note('censored') or 'no past day has been scored'}). "
        "Score past days with `pls backfill` and `pls run` after it, or wait.",
    )


def verdict(found: Published) -> Section:
    auc, low, high = (found.summary.get("auc", {}).get(name) for name in ("value", "low", "high"))
    needed = found.note("needed")
    if auc is None:
        ranks = "How well scores rank can't be told: all leads had the same outcome."
    elif needed:
        # The interval is made from so few winners that it is too narrow itself.
        ranks = (
            f"**It is too early to tell whether the scores carry information.** Of two leads of which one won, the "
            f"winner had the higher score in {percent(float(auc), 0)} of cases; that rests on few deals."  # type: ignore[arg-type]
        )
    elif low is not None and float(low) > 0.5:  # type: ignore[arg-type]
        ranks = (
            f"**The scores carry information.** Of two leads of which one won, the winner had the higher score in "
            f"{percent(float(auc), 0)} of cases ({between(low, high)}); a coin would give 50 %."  # type: ignore[arg-type]
        )
    else:
        ranks = (
            f"**The scores can't be told from a coin.** Of two leads of which one won, the winner had the higher "
            f"score in {percent(float(auc), 0)} of cases ({between(low, high)})."  # type: ignore[arg-type]
        )
    few = f"\n\n**Too little has happened** to suggest anything. Needed: {needed}." if needed else ""
    rows = [
        {"": label, "Value": shown, "Interval": _interval(found, metric), "Meaning": found.note(metric)}
        for metric, label, shown in (
            ("leads", "Leads", count(found.number("leads"))),
            ("won", "Won", count(found.number("won"))),
            ("won_accounts", "Accounts won", count(found.number("won_accounts"))),
            ("close_rate", "Close rate", percent(found.number("close_rate"))),
            ("auc", "AUC", decimal(found.number("auc"))),
            ("brier", "Brier score", decimal(found.number("brier"), 4)),
            ("brier_of_base_rate", "Brier, base rate", decimal(found.number("brier_of_base_rate"), 4)),
            ("censored", "Not judged yet", count(found.number("censored"))),
            ("left_out", "Left out", count(found.number("left_out"))),
        )
        if found.number(metric) is not None
    ]
    return Section("Were the scores right?", ranks + few, rows)


def _interval(found: Published, metric: str) -> str:
    low, high = (found.summary.get(metric, {}).get(name) for name in ("low", "high"))
    if low is None or high is None:
        return ""
    if metric == "close_rate":
        return between(float(low), float(high))  # type: ignore[arg-type]
    return f"{float(low):.3f} to {float(high):.3f}"  # type: ignore[arg-type]


def by_class(found: Published) -> Section:
    text = (
        "Close rate of the leads of each class, with the interval in which the true rate probably lies. It is wide "
        "where few accounts stand behind it: colleagues share one deal."
    )
    return Section("Close rate by class", text, rate_rows(found, "classification", "Class"), "classes")


def dimension(found: Published, dimension: str, title: str, label: str) -> list[Section]:
    rows = rate_rows(found, dimension, label)
    return [Section(title, f"The same by {dimension}.", rows)] if rows else []


def rate_rows(found: Published, dimension: str, label: str, *, numeric: bool = False) -> list[Row]:
    rows = found.rates.filter(pl.col("dimension") == dimension)
    order = pl.col("value").cast(pl.Int64, strict=False) if numeric else class_order(pl.col("value"))
    return [
        {
            label: row["value"],
            "Leads": count(row["leads"]),
            "Accounts": count(row["accounts"]),
            "Won": count(row["won"]),
            "Close rate": percent(row["close_rate"]),
            "Interval": between(row["close_rate_low"], row["close_rate_high"]),
            "Lift": times(row["lift"]),
        }
        for row in rows.sort(order, "value", descending=[numeric, False]).iter_rows(named=True)
    ]


def gains_rows(found: Published) -> list[Row]:
    gains = found.curves.filter(pl.col("curve") == "gains").sort("x")
    rows: list[Row] = []
    for share in (0.05, 0.1, 0.2, 0.3, 0.5):
        at = gains.filter(pl.col("x") >= share - 1e-9).head(1)
        for x, y in at.select("x", "y").iter_rows():
            rows.append({"Best": percent(x, 0), "hold of the won": percent(y, 0), "Lift": times(y / x if x else None)})
    return rows


def capacity(found: Published) -> Section:
    rows = [
        {
            "Taken a week": f"{row['x']:.0f}",
            "Close": percent(row["y"]),
            "Interval": between(row["y_low"], row["y_high"]),
            "That is, a week": f"{row['x'] * row['y']:.1f}",
        }
        for row in found.curves.filter(pl.col("curve") == "capacity").iter_rows(named=True)
    ]
    text = "If sellers take the best so many of the list as it stands: how many of these close."
    return Section("What a week's work finds", text, rows, "capacity")


def reliability(found: Published) -> Section:
    if found.curves.filter(pl.col("curve") == "reliability").is_empty():
        text = (
            "Not shown: it needs two periods with outcomes and scikit-learn (the extra `calibration`), which fits the "
            "close rate to expect of a score."
        )
        return Section("Expected and actual close rate", text)
    text = (
        "The close rate expected of a score, fitted on earlier periods of other accounts, and what came in later ones. "
        "On the diagonal, one in ten of those with an expected 10 % closed. Points above it: more closed than expected."
    )
    return Section("Expected and actual close rate", text, picture="reliability")
