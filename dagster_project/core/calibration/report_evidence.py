"""The report's later sections: which signals, what was missed, whether people are still the same, what to change."""

from __future__ import annotations

import polars as pl

from dagster_project.core.calibration.evidence import DRIVES
from dagster_project.core.calibration.figures import between, count, percent
from dagster_project.core.calibration.published import Published
from dagster_project.core.sections import Section


def signals(found: Published) -> Section:
    rows = [
        {
            "Signal": row["signal"],
            "Verdict": row["verdict"],
            "Own AUC": f"{row['auc']:.3f}",
            "Interval": f"{row['auc_low']:.3f} to {row['auc_high']:.3f}",
            "Seen": percent(row["share_seen"], 0),
            "Points now": f"{row['points_now']:.1f}",
            **({"Suggested": f"{row['points_suggested']:.1f}"} if row["points_suggested"] is not None else {}),
        }
        for row in found.signals.sort("auc", "signal", descending=[True, False]).iter_rows(named=True)
    ]
    if not rows:
        known = "Too little has happened to tell." if found.note("needed") else "Told of the models of today alone."
        return Section("Which signals foretell deals", known)
    driving = [row["Signal"] for row in rows if row["Verdict"] == DRIVES]
    text = (
        "Each signal by itself: 0.5 says nothing of who will buy. The intervals are wide enough that all verdicts hold "
        "together. Points are what the signal at its best adds to a score of 100."
    )
    named = f" {len(driving)} of {len(rows)} foretell deals." if driving else " None foretells deals."
    return Section("Which signals foretell deals", text + named, rows, "signals")


def coverage(found: Published) -> Section:
    total = found.coverage.height
    if not total:
        return Section("Deals that no score saw coming", "No deal was won after the first scored day.")
    rows = []
    for path, label in (
        ("qualified", "Somebody was a PQL before"),
        ("seen", "Used the product, nobody was a PQL"),
        ("unseen", "Nobody of the account is known"),
    ):
        part = found.coverage.filter(pl.col("path") == path)
        ahead = part["days_ahead"].median()
        rows.append(
            {
                "Won deals": label,
                "Count": count(part.height),
                "Share": percent(part.height / total, 0),
                "Median days ahead": count(ahead),  # type: ignore[arg-type]
            }
        )
    text = (
        "Won deals and whether the product saw them coming. The second row is the missed path: usage that no score "
        "rewarded."
    )
    return Section("Deals that no score saw coming", text, rows, "coverage")


def drift(found: Published) -> Section:
    latest = found.drift.filter(pl.col("day") == pl.col("day").max())
    if latest.is_empty():
        return Section(
            "Are these still the same people?", "One period has been scored; drift is told from the second on."
        )
    changed = latest.filter(pl.col("verdict") != "steady")
    rows = [
        {
            "Feature": row["feature"],
            "Mean before": f"{row['before_mean']:.2f}",
            "Mean now": f"{row['mean']:.2f}",
            "Stability index": f"{row['stability_index']:.3f}",
            "Verdict": row["verdict"],
        }
        for row in latest.sort("stability_index", descending=True).head(8).iter_rows(named=True)
    ]
    day, before = latest["day"][0], latest["before_day"][0]
    what = (
        f"{changed.height} of {latest.height} distributions changed visibly"
        if changed.height
        else f"None of {latest.height} distributions changed visibly"
    )
    text = (
        f"{what} between {before} and {day}. The further scores and signals drift, the less past close rates say of "
        "today."
    )
    return Section("Are these still the same people?", text, rows)


def feedback(found: Published) -> list[Section]:
    if found.feedback.is_empty():
        return []
    rows = [
        {
            "Sellers said": row["label"],
            "Handoffs": count(row["handoffs"]),
            "Old enough": count(row["matured"]),
            "Won": count(row["won"]),
            "Close rate": percent(row["close_rate"]),
            "Interval": between(row["close_rate_low"], row["close_rate_high"]),
        }
        for row in found.feedback.iter_rows(named=True)
    ]
    text = (
        "What sellers said of handoffs, beside the deals. `not_a_fit` that closes tells of sellers, one that never "
        "does of scores."
    )
    return [Section("What sellers say", text, rows)]


def suggestion(found: Published) -> Section:
    reason = found.note("suggestion") or "This is not the champion: suggestions are made for the champion alone."
    if bounds := found.note("suggestion_bounds"):
        reason += f"\n\n{bounds}"
    if found.suggestions.is_empty():
        return Section("What to change", reason)
    rows = [
        {
            "File": row["file"],
            "Key": row["key"],
            "Now": "" if row["value"] is None else f"{row['value']:g}",
            "Suggested": "removed" if row["suggested"] is None else f"{row['suggested']:g}",
        }
        for row in found.suggestions.iter_rows(named=True)
    ]
    text = (
        f"{reason}\n\nNothing is applied. `pls calibrate --propose DIR` writes these changes as a playbook, "
        "`pls plan --playbook DIR` shows what it would do."
    )
    return Section("What to change", text, rows)
