"""The two fits, done by scikit-learn and SciPy: a logistic regression that never rewards less of a signal, and the
isotonic mapping from a score to the close rate to expect.

Both come with the extra `calibration`; whoever calls asks `is_available` first and says what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import polars as pl

from dagster_project.core.calibration.intervals import Codes, Numbers

HOW_TO_INSTALL = "scikit-learn is not installed: .venv/bin/pip install -e '.[calibration]'"
EXPECTED_RATES = pl.Schema(
    {"model_version": pl.String(), "score_from": pl.Float64(), "expected_close_rate": pl.Float64()}
)
"""Steps of the mapping. One row per model version and score at which a step begins; the first begins at 0."""


def is_available() -> bool:
    """Whether scikit-learn and with it SciPy are installed."""
    return find_spec("sklearn") is not None and find_spec("scipy") is not None


@dataclass(frozen=True)
class Fit:
    """Log-odds: `intercept` plus each column's value times its coefficient, none of which is negative."""

    intercept: float
    coefficients: Numbers

    def log_odds(self, columns: Numbers) -> Numbers:
        """Of every row."""
        return self.intercept + columns @ self.coefficients

    def chance(self, columns: Numbers) -> Numbers:
        """Of every row, 0..1."""
        return 1 / (1 + np.exp(-self.log_odds(columns)))


@dataclass(frozen=True)
class Cases:
    """What a fit learns from.

    Attributes:
        columns: One row per kind of people, one column per signal, all about 0..1.
        won: 1 or 0.
        often: How many samples each row stands for.
    """

    columns: Numbers
    won: Numbers
    often: Codes

    def where(self, rows: npt.NDArray[np.bool_]) -> Cases:
        """Some of them."""
        return Cases(self.columns[rows], self.won[rows], self.often[rows])


def monotone_logistic(cases: Cases, strength: float) -> Fit:
    """Logistic regression with coefficients of at least 0 and an L2 penalty on them, not on the intercept.

    Args:
        cases: What to learn from.
        strength: The penalty: mean log loss + strength / 2 x sum of squared coefficients. In scikit-learn's words
            C = 1 / (samples x strength).
    """
    from scipy.optimize import minimize

    won, share = cases.won, cases.often / cases.often.sum()
    rows = np.column_stack([np.ones(len(won)), cases.columns])
    penalty = np.concatenate([[0.0], np.full(cases.columns.shape[1], strength)])

    def loss(at: Numbers) -> tuple[float, Numbers]:
        log_odds = rows @ at
        value = share @ (np.logaddexp(0, log_odds) - won * log_odds) + (penalty * at**2).sum() / 2
        slope = rows.T @ (share * (1 / (1 + np.exp(-log_odds)) - won)) + penalty * at
        return float(value), slope

    rate = np.clip(share @ won, 1e-6, 1 - 1e-6)
    start = np.concatenate([[np.log(rate / (1 - rate))], np.zeros(cases.columns.shape[1])])
    bounds = [(None, None), *[(0.0, None)] * cases.columns.shape[1]]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-8})
    return Fit(float(found.x[0]), found.x[1:])


def log_loss(chance: Numbers, cases: Cases) -> float:
    """The mean surprise at what happened."""
    kept = np.clip(chance, 1e-9, 1 - 1e-9)
    surprise = -(cases.won * np.log(kept) + (1 - cases.won) * np.log(1 - kept))
    return float(np.average(surprise, weights=cases.often))


def best_strength(cases: Cases, folds: Codes, strengths: tuple[float, ...]) -> float:
    """The strength whose fits foretell the accounts best that they have not seen.

    Args:
        cases: What to learn from.
        folds: The part of the company that each row is in.
        strengths: The ones to try.
    """
    if len(strengths) == 1:
        return strengths[0]

    def surprise(strength: float) -> float:
        chances = np.empty(len(cases.won))
        for fold in np.unique(folds):
            held = folds == fold
            chances[held] = monotone_logistic(cases.where(~held), strength).chance(cases.columns[held])
        return log_loss(chances, cases)

    return min(strengths, key=surprise)


def expected_rates(scores: Numbers, won: Numbers, groups: Codes, least: int) -> pl.DataFrame:
    """The isotonic mapping from score to close rate, as steps that each stand on enough.

    By itself the mapping ends in extremes: the few best scores of one account that won are a step of 100 %.

    Args:
        scores: 0..100.
        won: 1 or 0.
        groups: The account of each, as a code from 0.
        least: A step holds so many accounts that won, or would at the close rate of all; smaller ones join the next.

    Returns:
        `score_from, expected_close_rate`, both growing; empty without samples.
    """
    from sklearn.isotonic import IsotonicRegression

    if not len(scores):
        return pl.DataFrame(schema={"score_from": pl.Float64, "expected_close_rate": pl.Float64})
    values = np.unique(scores)
    rates = IsotonicRegression(increasing=True).fit(scores, won).predict(values)
    starts = values[np.concatenate([[True], np.diff(rates) > 0])]
    step = np.searchsorted(starts, scores, side="right") - 1
    kept = _large_enough(step, won, groups, least)
    # A step's rate is that of its samples: so says the isotonic mapping, and steps that joined still grow.
    joined = np.searchsorted(kept, step, side="right") - 1
    found = np.bincount(joined, weights=won) / np.bincount(joined)
    starts[0] = 0.0
    return pl.DataFrame({"score_from": starts[kept], "expected_close_rate": found})


def _large_enough(step: Codes, won: Numbers, groups: Codes, least: int) -> Codes:
    """Which steps still begin after small ones have joined: from the best down, what is left joins the lowest."""
    winners = np.unique(groups[won > 0])
    base = len(winners) / len(np.unique(groups))
    kept: list[int] = []
    held = np.empty(0, dtype=np.int64)
    for number in range(int(step.max()), -1, -1):
        held = np.union1d(held, groups[step == number])
        if max(int(np.isin(held, winners).sum()), len(held) * base) >= least:
            kept.append(number)
            held = np.empty(0, dtype=np.int64)
    return np.array([0, *sorted(kept)[1:]] if kept else [0], dtype=np.int64)


def expected_rate(steps: pl.DataFrame, scores: Numbers) -> Numbers:
    """What a mapping (`score_from, expected_close_rate`) says of scores."""
    starts = steps["score_from"].to_numpy()
    place = np.searchsorted(starts, scores, side="right") - 1
    return np.asarray(steps["expected_close_rate"].to_numpy()[np.maximum(place, 0)], dtype=np.float64)
