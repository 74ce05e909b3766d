"""The report as sections of text, tables and named pictures, made of the published tables alone.

How it looks as Markdown is here; as a page it is drawn elsewhere, from the same sections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from dagster_project.core.calibration.evidence import DRIVES
from dagster_project.core.calibration.rates import class_order
from dagster_project.core.escaping import markdown

Row = Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        title: Its heading.
        text: Paragraphs, Markdown without headings and tables.
        rows: A table, cell by column; every row has the columns of the first.
        picture: Which chart belongs here, one of `PICTURES`, or nothing.
    """

    title: str
    text: str
    rows: Sequence[Row] = ()
    picture: str = ""


PICTURES = ("classes", "deciles", "gains", "reliability", "capacity", "signals", "coverage")


@dataclass(frozen=True)
class Published:
    """The published tables of one model version, users only, as frames.

    Attributes:
        rates: `marts.calibration`.
        summary: By metric: value, low, high, note.
        curves, signals, drift, coverage, suggestions: As published.
        feedback: Of all models.
    """

    rates: pl.DataFrame
    summary: Mapping[str, Mapping[str, object]]
    curves: pl.DataFrame
    signals: pl.DataFrame
    drift: pl.DataFrame
    coverage: pl.DataFrame
    suggestions: pl.DataFrame
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
        tables: Frames by `rates, summary, curves, signals, drift, coverage, suggestions, feedback`.
        model_version: The model.
    """
    mine = pl.col("model_version") == model_version
    users = mine & (pl.col("subject_type") == "user")
    of_model = ("rates", "signals", "drift", "coverage", "suggestions")
    return Published(
        summary={row["metric"]: row for row in tables["summary"].filter(users).iter_rows(named=True)},
        curves=tables["curves"].filter(users).sort("curve", "position"),
        feedback=tables["feedback"],
        **{name: tables[name].filter(mine) for name in of_model},
    )


def report(found: Published) -> list[Section]:
    """The sections, in the order in which somebody wants to know: is it any good, where, what is missed, what to do."""
    if not found.number("leads"):
        return [_nothing_yet(found)]
    return [
        _verdict(found),
        _by_class(found),
        Section(
            "Close rate by score",
            "Ten groups of equal size by score, 10 the best. Scores that rank well climb from left to right; the line "
            "is the close rate of everybody.",
            _rate_rows(found, "decile", "Decile", numeric=True),
            "deciles",
        ),
        Section(
            "How much the best hold",
            "Going down the list from the best score: what share of all won leads has been seen by then. Chance is the "
            "diagonal.",
            _gains_rows(found),
            "gains",
        ),
        _capacity(found),
        _reliability(found),
        _signals(found),
        *_dimension(found, "segment", "By segment", "Segment"),
        *_dimension(found, "trigger", "By trigger", "Trigger"),
        _coverage(found),
        _drift(found),
        *_feedback(found),
        _suggestion(found),
    ]


def as_markdown(sections: Sequence[Section], title: str) -> str:
    """The report without its pictures."""
    parts = [f"# {title}"]
    for section in sections:
        parts += [f"## {section.title}", section.text]
        if section.rows:
            parts.append(markdown_rows(section.rows))
    return "\n\n".join(parts) + "\n"


def markdown_rows(rows: Sequence[Row]) -> str:
    """A table; what somebody typed stays in its cell."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(markdown(row[name]) for name in names)} |" for row in rows]
    return "\n".join(lines)


# --- numbers as people write them ------------------------------------------------------------------


def percent(value: float | None, decimals: int = 1) -> str:
    """0.123 -> 12.3 %."""
    return "" if value is None else f"{100 * value:.{decimals}f} %"


def between(low: float | None, high: float | None) -> str:
    """An interval of shares."""
    return "" if low is None or high is None else f"{100 * low:.1f}-{100 * high:.1f} %"


def times(value: float | None) -> str:
    """A lift."""
    return "" if value is None else f"{value:.2f}x"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


# --- sections --------------------------------------------------------------------------------------


def _nothing_yet(found: Published) -> Section:
    waiting = _count(found.number("censored")) or "0"
    return Section(
        "Nothing to judge yet",
        f"No score is old enough: an outcome counts once all its days have passed. {waiting} samples are waiting "
        f"({found.note('censored') or 'no past day has been scored'}). Score past days with `pls backfill`, or wait.",
    )


def _verdict(found: Published) -> Section:
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
            ("leads", "Leads", _count(found.number("leads"))),
            ("won", "Won", _count(found.number("won"))),
            ("won_accounts", "Accounts won", _count(found.number("won_accounts"))),
            ("close_rate", "Close rate", percent(found.number("close_rate"))),
            ("auc", "AUC", _decimal(found.number("auc"))),
            ("brier", "Brier score", _decimal(found.number("brier"), 4)),
            ("brier_of_base_rate", "Brier, base rate", _decimal(found.number("brier_of_base_rate"), 4)),
            ("censored", "Not judged yet", _count(found.number("censored"))),
            ("customers", "Customers already", _count(found.number("customers"))),
        )
        if found.number(metric) is not None
    ]
    return Section("Were the scores right?", ranks + few, rows)


def _decimal(value: float | None, decimals: int = 3) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _interval(found: Published, metric: str) -> str:
    low, high = (found.summary.get(metric, {}).get(name) for name in ("low", "high"))
    if low is None or high is None:
        return ""
    if metric == "close_rate":
        return between(float(low), float(high))  # type: ignore[arg-type]
    return f"{float(low):.3f} to {float(high):.3f}"  # type: ignore[arg-type]


def _rate_rows(found: Published, dimension: str, label: str, *, numeric: bool = False) -> list[Row]:
    rows = found.rates.filter(pl.col("dimension") == dimension)
    order = pl.col("value").cast(pl.Int64, strict=False) if numeric else class_order(pl.col("value"))
    return [
        {
            label: row["value"],
            "Leads": _count(row["leads"]),
            "Accounts": _count(row["accounts"]),
            "Won": _count(row["won"]),
            "Close rate": percent(row["close_rate"]),
            "Interval": between(row["close_rate_low"], row["close_rate_high"]),
            "Lift": times(row["lift"]),
        }
        for row in rows.sort(order, "value", descending=[numeric, False]).iter_rows(named=True)
    ]


def _by_class(found: Published) -> Section:
    text = (
        "Close rate of the leads of each class, with the interval in which the true rate probably lies. It is wide "
        "where few accounts stand behind it: colleagues share one deal."
    )
    return Section("Close rate by class", text, _rate_rows(found, "classification", "Class"), "classes")


def _dimension(found: Published, dimension: str, title: str, label: str) -> list[Section]:
    rows = _rate_rows(found, dimension, label)
    return [Section(title, f"The same by {dimension}.", rows)] if rows else []


def _gains_rows(found: Published) -> list[Row]:
    gains = found.curves.filter(pl.col("curve") == "gains").sort("x")
    rows: list[Row] = []
    for share in (0.05, 0.1, 0.2, 0.3, 0.5):
        at = gains.filter(pl.col("x") >= share - 1e-9).head(1)
        for x, y in at.select("x", "y").iter_rows():
            rows.append({"Best": percent(x, 0), "hold of the won": percent(y, 0), "Lift": times(y / x if x else None)})
    return rows


def _capacity(found: Published) -> Section:
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


def _reliability(found: Published) -> Section:
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


def _signals(found: Published) -> Section:
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
        return Section("Which signals foretell deals", "Too little has happened to tell.")
    driving = [row["Signal"] for row in rows if row["Verdict"] == DRIVES]
    text = (
        "Each signal by itself: 0.5 says nothing of who will buy. The intervals are wide enough that all verdicts hold "
        "together. Points are what the signal at its best adds to a score of 100."
    )
    named = f" {len(driving)} of {len(rows)} foretell deals." if driving else " None foretells deals."
    return Section("Which signals foretell deals", text + named, rows, "signals")


def _coverage(found: Published) -> Section:
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
                "Count": _count(part.height),
                "Share": percent(part.height / total, 0),
                "Median days ahead": _count(ahead),  # type: ignore[arg-type]
            }
        )
    text = (
        "Won deals and whether the product saw them coming. The second row is the missed path: usage that no score "
        "rewarded."
    )
    return Section("Deals that no score saw coming", text, rows, "coverage")


def _drift(found: Published) -> Section:
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


def _feedback(found: Published) -> list[Section]:
    if found.feedback.is_empty():
        return []
    rows = [
        {
            "Sellers said": row["label"],
            "Handoffs": _count(row["handoffs"]),
            "Old enough": _count(row["matured"]),
            "Won": _count(row["won"]),
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


def _suggestion(found: Published) -> Section:
    reason = found.note("suggestion") or "This is not the live model: suggestions are made for the live one."
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
