"""Where the tiers of a signal should begin: the bounds at which its points tell most of who will buy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from dagster_project.core.calibration.intervals import Codes, Numbers, effective_leads
from dagster_project.core.calibration.points import column_of, numeric_rules
from dagster_project.core.calibration.samples import group_codes
from dagster_project.core.calibration_rules import CalibrationRules
from dagster_project.core.explanation import graded
from dagster_project.core.scoring_rules import ScoringRules, TierPoints, Tiers

_STEPS = 30
"""Among about so many values a bound is looked for; they are quantiles, rounded to two digits."""
_NEWTON = 30


def fitted_tiers(samples: pl.DataFrame, live: ScoringRules, rules: CalibrationRules) -> dict[str, Tiers]:
    """Signals whose medium and high tiers should begin elsewhere, and where; where low begins stays.

    Each signal by itself: of all pairs of bounds the one whose points, in a logistic regression, make what happened
    most likely. It is taken when it explains more than chance would among so many signals (a likelihood ratio test,
    leads counted as independent ones), and when both tiers hold enough deals.

    Args:
        samples: Labelled, with what was measured (`column_of`) nowhere null.
        live: The rules that hold.
        rules: `calibration.yml`.
    """
    from scipy.stats import chi2

    won, groups = samples["won"].cast(pl.Float64).to_numpy(), group_codes(samples)
    tiers = numeric_rules(live.pql)
    enough = float(chi2.ppf(rules.confidence ** (1 / max(1, len(tiers))), 2))
    found = {}
    for name, now in tiers.items():
        better = _best(
            samples[column_of(name)],
            now,
            live.points,
            won=won,
            groups=groups,
            enough=enough,
            least=rules.minimum.won_with_signal,
        )
        if better is not None:
            found[name] = better
    return found


def with_tiers(live: ScoringRules, tiers: dict[str, Tiers]) -> ScoringRules:
    """The rules with other tiers for some signals."""
    scoring = live.model_dump(by_alias=True)
    for part in ("usage", "engagement"):
        for name in scoring["pql"][part]:
            if name in tiers:
                scoring["pql"][part][name] = tiers[name].model_dump()
    return ScoringRules.model_validate(scoring)


def _best(
    measured: pl.Series, now: Tiers, points: TierPoints, *, won: Numbers, groups: Codes, enough: float, least: int
) -> Tiers | None:
    """The bounds that explain deals so much better, with so many deals in each tier; None when none do."""
    values = measured.to_numpy()
    effect = len(won) / max(1.0, effective_leads(won, groups))
    tier = measured.to_frame().select(graded(pl.col(measured.name), now)).to_series()
    worth = np.array([0.0, points.low, points.medium, points.high]) / points.high
    kinds = np.array([{"none": 0, "low": 1, "medium": 2, "high": 3}.get(name, 0) for name in tier.to_list()])
    standing = np.array([[np.sum(kinds == k), won[kinds == k].sum()] for k in range(4)])
    starts = _candidates(values[kinds > 0], now.start("low"))
    if len(starts) < 2:
        return None
    pairs = np.array(list(combinations(range(len(starts)), 2)))
    place = np.searchsorted(starts, values[kinds > 0], side="right")
    leads = np.cumsum(np.bincount(place, minlength=len(starts) + 1))
    wins = np.cumsum(np.bincount(place, weights=won[kinds > 0], minlength=len(starts) + 1))
    counts = np.stack([_by_tier(cumulated, pairs) for cumulated in (leads, wins)], axis=2)
    counts = np.concatenate([np.broadcast_to(standing[:1], (len(pairs), 1, 2)), counts], axis=1)
    holds = np.maximum(counts[:, 2:, 1], counts[:, 2:, 0] * won.mean()).min(axis=1) >= least * effect
    likely = np.where(holds, log_likelihoods(counts, worth), -np.inf)
    best = int(likely.argmax())
    gain = 2 * (likely[best] - log_likelihoods(standing[None, :, :], worth)[0]) / effect
    if not holds[best] or gain < enough:
        return None
    medium, high = starts[pairs[best]].tolist()
    if (medium, high) == (now.start("medium"), now.start("high")):
        return None
    return Tiers.model_validate({"low": now.model_dump()["low"], "medium": medium, "high": high})


def _candidates(values: Numbers, above: float) -> Numbers:
    """Round numbers between which the values spread, above where low begins."""
    if not len(values):
        return np.empty(0)
    quantiles = np.quantile(values, np.linspace(0, 1, _STEPS + 1))
    digits = 1 - np.floor(np.log10(np.maximum(np.abs(quantiles), 1e-9)))
    rounded = np.array([round(value, int(places)) for value, places in zip(quantiles, digits, strict=True)])
    return np.unique(rounded[rounded > above])


def _by_tier(cumulated: npt.NDArray[np.number], pairs: npt.NDArray[np.int64]) -> Numbers:
    """Low, medium and high of each pair of bounds, from sums up to each place."""
    at_medium, at_high = (cumulated[pairs[:, n]] for n in (0, 1))
    return np.stack([at_medium, at_high - at_medium, cumulated[-1] - at_high], axis=1).astype(np.float64)


def log_likelihoods(counts: Numbers, worth: Numbers) -> Numbers:
    """Of a logistic regression on points with a slope of at least 0, for many ways to count leads and wins by tier.

    Args:
        counts: Way, tier, leads and wins.
        worth: The points of each tier.
    """
    leads, wins = counts[:, :, 0], counts[:, :, 1]
    rate = np.clip(wins.sum(axis=1) / leads.sum(axis=1), 1e-6, 1 - 1e-6)
    intercept, slope = np.log(rate / (1 - rate)), np.zeros(len(counts))
    for _ in range(_NEWTON):
        chance = 1 / (1 + np.exp(-(intercept[:, None] + slope[:, None] * worth)))
        off, spread = wins - leads * chance, leads * chance * (1 - chance)
        first, second = off.sum(axis=1), (off * worth).sum(axis=1) - 1e-6 * slope
        a, b, c = spread.sum(axis=1) + 1e-9, (spread * worth).sum(axis=1), (spread * worth**2).sum(axis=1) + 1e-6
        size = a * c - b * b
        steeper = slope + np.clip((a * second - b * first) / size, -2, 2)
        # Where the slope is kept at 0, the intercept has to be the best one without a slope.
        higher = np.where(steeper > 0, (c * first - b * second) / size, first / a)
        intercept, slope = intercept + np.clip(higher, -2, 2), np.clip(steeper, 0, 30)
    log_odds = intercept[:, None] + slope[:, None] * worth
    return np.asarray((wins * log_odds - leads * np.logaddexp(0, log_odds)).sum(axis=1))
