"""Champion and challenger on the same people and the same deals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from dagster_project.core.calibration.intervals import Interval, Numbers, all_by_drawing
from dagster_project.core.calibration.ranking import Ranked
from dagster_project.core.calibration.samples import Samples, group_codes, take_samples
from dagster_project.core.calibration.suggestions import shortage
from dagster_project.core.calibration_rules import CalibrationRules
from dagster_project.core.challenger_rules import JudgedOn
from dagster_project.core.models import Model

AUC, LIFT, PRECISION = "auc", "lift", "precision"
COMPARISON = pl.Schema(
    {
        **dict.fromkeys(
            ("challenger", "model_version", "champion_version", "subject_type", "about", "judged_on", "metric"),
            pl.String(),
        ),
        "per_week": pl.Int64(),
        **dict.fromkeys(
            (
                f"{whose}_{what}"
                for whose in ("champion", "challenger", "difference")
                for what in ("value", "low", "high")
            ),
            pl.Float64(),
        ),
        **dict.fromkeys(("leads", "won_accounts"), pl.Int64()),
        "note": pl.String(),
    }
)
"""One row per challenger, kind of subject, metric and, for `precision`, leads taken a week."""
_BEST = 0.1
BETTER, WORSE, UNTOLD = "ranks better", "ranks worse", "can't be told apart yet"


def compare(
    scores: pl.DataFrame,
    outcomes: pl.DataFrame,
    models: Sequence[Model],
    *,
    rules: CalibrationRules,
    observed_until: datetime,
) -> pl.DataFrame:
    """Every challenger against the champion, on the days that both have scored, judged as the challenger says.

    Args:
        scores: `DAILY_SCORES` of all models.
        outcomes: Won deals.
        models: The champion, then its challengers.
        rules: `calibration.yml`. Its confidence is that no verdict on any of the challengers is mere chance (Šidák).
        observed_until: Naive UTC, up to when outcomes are known.

    Returns:
        `COMPARISON`: `auc`; `lift`, of the best tenth; `precision`, the close rate of the best so many a week. Where
        too little has happened there are numbers as far as there can be, and a note that says what is missing. A kind
        of subject that both score alike is left out, unless that is all there is.
    """
    champion, *challengers = models
    rules = rules.model_copy(update={"confidence": rules.confidence ** (1 / max(1, len(challengers)))})
    found = [COMPARISON.to_frame()]
    for challenger in challengers:
        told = {
            "challenger": challenger.name,
            "model_version": challenger.version,
            "champion_version": champion.version,
            "about": challenger.about,
            "judged_on": in_words(challenger.judged_on),
        }
        for subject in ("user", "account"):
            both = _scored_by_both(scores.filter(subject_type=subject), champion.version, challenger.version)
            if subject == "account" and both.filter(pl.col("score") != pl.col("tried")).is_empty():
                continue
            samples = take_samples(both, outcomes, rules, observed_until=observed_until, judged_on=challenger.judged_on)
            found.append(_compared(samples, rules, {**told, "subject_type": subject}))
    return pl.concat(found)


def in_words(judged_on: JudgedOn) -> str:
    """Whom a model is judged on."""
    deals = {"new_business": "new business", "expansion": "expansion", "all": "all deals"}[judged_on.deals]
    return ", ".join([deals, *judged_on.segments])


def _scored_by_both(scores: pl.DataFrame, champion: str, challenger: str) -> pl.DataFrame:
    other = scores.filter(model_version=challenger).select("subject_id", "day", tried="score")
    return scores.filter(model_version=champion).join(other, on=["subject_id", "day"], how="inner")


def _compared(samples: Samples, rules: CalibrationRules, told: Mapping[str, str]) -> pl.DataFrame:
    matured = samples.matured
    missing = shortage(samples, rules)
    counted = {**told, "leads": matured.height, "won_accounts": samples.won_accounts()}
    if matured["won"].n_unique() < 2:
        return _frame([{**counted, "metric": AUC, "note": f"needed: {missing}" if missing else ""}])
    measures = _measures(matured, rules)
    won, count = matured["won"].cast(pl.Float64).to_numpy(), len(measures)
    by_model = [
        [measure(matured[name].to_numpy(), won) for measure in measures.values()] for name in ("score", "tried")
    ]

    def statistics(weights: Numbers) -> Numbers:
        old, new = (np.array([value(weights) for value in model]) for model in by_model)
        return np.concatenate([old, new, new - old])

    intervals = all_by_drawing(statistics, group_codes(matured), rules.bootstrap, rules.confidence)
    rows = [
        {
            **counted,
            "metric": metric,
            "per_week": per_week,
            **_columns("champion", intervals[n]),
            **_columns("challenger", intervals[n + count]),
            **_columns("difference", intervals[n + 2 * count]),
            "note": f"needed: {missing}" if missing else _verdict(intervals[n + 2 * count]),
        }
        for n, (metric, per_week) in enumerate(measures)
    ]
    return _frame(rows)


Measure = Callable[[Numbers, Numbers], Callable[[Numbers], float]]
"""Scores and outcomes to a number that depends on how often each sample counts."""


def _measures(samples: pl.DataFrame, rules: CalibrationRules) -> dict[tuple[str, int | None], Measure]:
    days = samples.select(pl.col("day").rank("dense")).to_series().to_numpy() - 1
    on_day = [np.flatnonzero(days == day) for day in range(int(days.max()) + 1)]

    def lift(scores: Numbers, won: Numbers) -> Callable[[Numbers], float]:
        ranked = Ranked(scores, won)
        return lambda weights: ranked.won_of_best(weights, _BEST * weights.sum()) / _mean(won, weights)

    def precision(each: int) -> Measure:
        def measure(scores: Numbers, won: Numbers) -> Callable[[Numbers], float]:
            lists = [(rows, Ranked(scores[rows], won[rows])) for rows in on_day]
            return lambda weights: float(np.mean([one.won_of_best(weights[rows], each) for rows, one in lists]))

        return measure

    found: dict[tuple[str, int | None], Measure] = {
        (AUC, None): lambda scores, won: Ranked(scores, won).auc,
        (LIFT, None): lift,
    }
    return found | {(PRECISION, each): precision(each) for each in rules.capacity_per_week}


def _mean(won: Numbers, weights: Numbers) -> float:
    rate = float(won @ weights / weights.sum()) if weights.sum() else 0.0
    return rate or float("nan")


def _verdict(difference: Interval) -> str:
    if difference.low > 0:
        return BETTER
    return WORSE if difference.high < 0 else UNTOLD


def _columns(whose: str, found: Interval) -> dict[str, float]:
    return {f"{whose}_value": found.estimate, f"{whose}_low": found.low, f"{whose}_high": found.high}


def _frame(rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=COMPARISON, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))
