"""How well scores put those who will buy before those who won't, and how many of them a week's work finds."""

from dataclasses import dataclass

import numpy as np

from dagster_project.core.calibration.intervals import Codes, Interval, Numbers, normal_quantile


def auc(scores: Numbers, won: Numbers, weights: Numbers | None = None) -> float:
    """The chance that somebody who won had the higher score, ties counting half; NaN with one outcome only.

    Args:
        scores: Any numbers.
        won: 1 or 0.
        weights: How often each row counts.
    """
    return _auc_of_codes(np.unique(scores, return_inverse=True)[1], won, weights)


class Ranked:
    """Scores sorted once, so that their AUC with many weightings costs little."""

    def __init__(self, scores: Numbers, won: Numbers) -> None:
        self._codes = np.unique(scores, return_inverse=True)[1]
        self._won = won

    def auc(self, weights: Numbers) -> float:
        """`auc` with these weights."""
        return _auc_of_codes(self._codes, self._won, weights)

    def won_of_best(self, weights: Numbers, best: float) -> float:
        """The share that won of the best so many leads, `precision_at` with these weights; NaN without leads."""
        leads = np.cumsum(np.bincount(self._codes, weights=weights)[::-1])
        won = np.cumsum(np.bincount(self._codes, weights=weights * self._won)[::-1])
        taken = min(best, float(leads[-1])) if len(leads) else 0.0
        if taken <= 0:
            return float("nan")
        return float(np.interp(taken, np.append(0.0, leads), np.append(0.0, won)) / taken)


def _auc_of_codes(codes: Codes, won: Numbers, weights: Numbers | None) -> float:
    each = np.ones(len(won)) if weights is None else weights
    winners = np.bincount(codes, weights=each * won)
    losers = np.bincount(codes, weights=each * (1 - won))
    if not winners.sum() or not losers.sum():
        return float("nan")
    below = np.cumsum(losers) - losers
    return float((winners * (below + losers / 2)).sum() / (winners.sum() * losers.sum()))


def auc_interval(scores: Numbers, won: Numbers, groups: Codes, confidence: float) -> Interval:
    """The AUC with an interval that counts accounts: DeLong's placement values, summed by account."""
    found = auc(scores, won)
    if np.isnan(found):
        return Interval(found, 0.0, 1.0)
    values, codes = np.unique(scores, return_inverse=True)
    winners = np.bincount(codes, weights=won, minlength=len(values))
    losers = np.bincount(codes, weights=1 - won, minlength=len(values))
    losers_below = (np.cumsum(losers) - losers / 2) / losers.sum()
    winners_above = 1 - (np.cumsum(winners) - winners / 2) / winners.sum()
    influence = np.where(
        won > 0, (losers_below[codes] - found) / winners.sum(), (winners_above[codes] - found) / losers.sum()
    )
    error = float(np.sqrt((np.bincount(groups, weights=influence) ** 2).sum()))
    half = normal_quantile(confidence) * error
    return Interval(found, max(0.0, found - half), min(1.0, found + half))


def brier(expected: Numbers, won: Numbers) -> float:
    """The mean squared distance between an expected close rate (0..1) and what happened."""
    return float(np.mean((expected - won) ** 2)) if len(won) else float("nan")


@dataclass(frozen=True)
class Gains:
    """The best `taken` (share of leads) hold `found` (share of the won), point by point; both start at 0."""

    taken: Numbers
    found: Numbers


def cumulative_gains(scores: Numbers, won: Numbers, points: int = 100) -> Gains:
    """What share of the won is among the best. Leads with one score are one step: none of them is before another."""
    values, codes = np.unique(-scores, return_inverse=True)
    leads = np.bincount(codes, minlength=len(values))
    winners = np.bincount(codes, weights=won, minlength=len(values))
    taken = np.concatenate([[0.0], np.cumsum(leads) / max(1, len(codes))])
    found = np.concatenate([[0.0], np.cumsum(winners) / max(1.0, float(winners.sum()))])
    if len(taken) <= points:
        return Gains(taken, found)
    grid = np.linspace(0, 1, points + 1)
    return Gains(grid, np.interp(grid, taken, found))


def precision_at(scores: Numbers, won: Numbers, best: int) -> float:
    """The share that won of the best so many leads; of those who tie for the last places, the average."""
    if not len(scores) or best < 1:
        return float("nan")
    best = min(best, len(scores))
    edge = np.sort(scores)[::-1][best - 1]
    above, tied = scores > edge, scores == edge
    places = best - int(above.sum())
    return float((won[above].sum() + won[tied].mean() * places) / best)
