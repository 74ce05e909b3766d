"""How sure a number is: intervals of rates, and of whatever is computed from a company that is drawn again from itself.

People of one account share its deals. Everything here counts accounts where it matters: a hundred colleagues who all
won with one contract are evidence of one win.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from dagster_project.core.calibration_rules import Bootstrap

Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """An estimate and where the truth probably lies."""

    estimate: float
    low: float
    high: float


def normal_quantile(confidence: float) -> float:
    """How many standard errors an interval of this confidence reaches to each side."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(won: float, leads: float, confidence: float) -> Interval:
    """Wilson's score interval of a rate; without leads it says nothing, 0 to 1.

    Args:
        won: Successes; may be a fraction, of an effective number of leads.
        leads: Tries.
        confidence: Such as 0.95.
    """
    if leads <= 0:
        return Interval(float("nan"), 0.0, 1.0)
    z, rate = normal_quantile(confidence), won / leads
    middle = (rate + z * z / (2 * leads)) / (1 + z * z / leads)
    half = z / (1 + z * z / leads) * sqrt(rate * (1 - rate) / leads + z * z / (4 * leads * leads))
    return Interval(rate, max(0.0, middle - half), min(1.0, middle + half))


def effective_leads(won: Numbers, groups: Codes) -> float:
    """How many independent leads the leads of some accounts are worth, by Kish's design effect.

    Args:
        won: 1 or 0 per lead.
        groups: The account of each, as a code from 0.
    """
    leads = len(won)
    accounts = len(np.unique(groups))
    rate = float(won.mean()) if leads else 0.0
    if accounts < 2 or rate in (0.0, 1.0):
        return float(accounts)
    off = np.bincount(groups, weights=won - rate)
    between = float((off**2).sum()) / leads**2 * accounts / (accounts - 1)
    effect = between / (rate * (1 - rate) / leads)
    return leads / effect if effect > 1 else float(leads)


def close_rate(won: Numbers, groups: Codes, confidence: float) -> Interval:
    """The share that won, with Wilson's interval for the number of independent leads."""
    worth = effective_leads(won, groups)
    rate = float(won.mean()) if len(won) else 0.0
    found = wilson(rate * worth, worth, confidence)
    return Interval(rate if len(won) else float("nan"), found.low, found.high)


def by_drawing(statistic: Callable[[Numbers], float], groups: Codes, rules: Bootstrap, confidence: float) -> Interval:
    """A bootstrap interval: accounts are drawn with replacement, and the same seed draws the same ones.

    Args:
        statistic: From the weight of each row (how often its account was drawn) to a number; NaN draws don't count.
        groups: The account of each row, as a code from 0.
        rules: How many draws, from which seed.
        confidence: Of the interval, by percentiles.
    """
    return all_by_drawing(lambda weights: np.array([statistic(weights)]), groups, rules, confidence)[0]


def all_by_drawing(
    statistics: Callable[[Numbers], Numbers], groups: Codes, rules: Bootstrap, confidence: float
) -> list[Interval]:
    """`by_drawing` of several numbers at once, from the same draws."""
    drawing = np.random.default_rng(rules.seed)
    accounts = int(groups.max()) + 1 if len(groups) else 0
    estimates = statistics(np.ones(len(groups))).tolist()
    if accounts < 2:
        return [Interval(estimate, float("nan"), float("nan")) for estimate in estimates]
    drawn = np.empty((rules.draws, len(estimates)))
    for number in range(rules.draws):
        often = np.bincount(drawing.integers(0, accounts, accounts), minlength=accounts)
        drawn[number] = statistics(often[groups].astype(float))
    return [_percentiles(*found, confidence) for found in zip(estimates, drawn.T, strict=True)]


def _percentiles(estimate: float, drawn: Numbers, confidence: float) -> Interval:
    kept: Any = drawn[np.isfinite(drawn)]
    if not len(kept):
        return Interval(estimate, float("nan"), float("nan"))
    low, high = np.quantile(kept, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high))
