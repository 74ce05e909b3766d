"""The report on one model, made of the published tables alone: which sections, in which order."""

from __future__ import annotations

from dagster_project.core.calibration import report_evidence as evidence
from dagster_project.core.calibration import report_scores as scores
from dagster_project.core.calibration.challenger_report import challengers
from dagster_project.core.calibration.published import Published
from dagster_project.core.sections import Section

PICTURES = ("classes", "deciles", "gains", "reliability", "capacity", "challengers", "signals", "coverage")
"""The pictures that sections name."""


def report(found: Published) -> list[Section]:
    """The sections, in the order in which somebody wants to know: is it any good, where, what is missed, what to do."""
    if not found.number("leads"):
        return [scores.nothing_yet(found), *challengers(found)]
    return [
        scores.verdict(found),
        scores.by_class(found),
        Section(
            "Close rate by score",
            "Ten groups of equal size by score, 10 the best. Scores that rank well climb from left to right; the line "
            "is the close rate of everybody.",
            scores.rate_rows(found, "decile", "Decile", numeric=True),
            "deciles",
        ),
        Section(
            "How much the best hold",
            "Going down the list from the best score: what share of all won leads has been seen by then. Chance is the "
            "diagonal.",
            scores.gains_rows(found),
            "gains",
        ),
        scores.capacity(found),
        *challengers(found),
        scores.reliability(found),
        evidence.signals(found),
        *scores.dimension(found, "segment", "By segment", "Segment"),
        *scores.dimension(found, "trigger", "By trigger", "Trigger"),
        evidence.coverage(found),
        evidence.drift(found),
        *evidence.feedback(found),
        evidence.suggestion(found),
    ]
