"""Weights, points, bounds of tiers and classes from the company's own outcomes, in the words of ``scoring.yml``.

A user's score is linear in its points until the cap, so a logistic regression on points times the fit multiplier, with
coefficients of at least 0, is a playbook: the coefficients of the components become weights, those of intent signals
become points. Signals without evidence are left out. Class bounds keep as many people in each class as there were:
sellers get other people, not more of them.

Whether tiers should begin elsewhere (`tiers`) is a question of its own, asked after the weights: of samples whose
measures were kept, on top of the weights where these are suggested. The confidence is that of both answers together.

How much better that is, is told by accounts and periods that the fit has not seen: each part of the accounts is scored,
in the later periods, by what was fitted on the other parts' earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from dagster_project.core.calibration.evidence import DRIVES, EVIDENCE, verdicts
from dagster_project.core.calibration.fitting import (
    HOW_TO_INSTALL,
    Cases,
    best_strength,
    is_available,
    monotone_logistic,
)
from dagster_project.core.calibration.intervals import Interval, Numbers, by_drawing
from dagster_project.core.calibration.points import (
    measured_ones,
    most_points,
    multiplier,
    rescored,
    signals_of,
    with_points,
)
from dagster_project.core.calibration.ranking import Ranked, auc_interval
from dagster_project.core.calibration.samples import Samples, fold_of, group_codes, later_periods
from dagster_project.core.calibration.tiers import fitted_tiers, with_tiers
from dagster_project.core.calibration_rules import CalibrationRules
from dagster_project.core.scoring_rules import CLASSES, ScoringRules

_STEPS = 20
"""Weights are multiples of 1 / 20: more digits would say more than anybody knows."""
COMPONENTS = ("usage", "engagement", "intent")


@dataclass(frozen=True)
class Advice:
    """What calibration has to say about the scoring rules.

    Attributes:
        rules: The suggestion, or None.
        reason: Why there is one, or none; a sentence.
        evidence: `EVIDENCE` without model version, one row per signal; empty when too little has happened.
        now: The AUC of the live scores in the held-out periods.
        suggested: That of the suggested ones.
        gain: The difference.
        bounds_reason: Why other bounds of tiers are in it, or not; a sentence.
        bounds_gain: The difference that they make; None when they could not be tried.
    """

    rules: ScoringRules | None
    reason: str
    evidence: pl.DataFrame
    now: Interval | None = None
    suggested: Interval | None = None
    gain: Interval | None = None
    bounds_reason: str = ""
    bounds_gain: Interval | None = None


def shortage(samples: Samples, rules: CalibrationRules) -> str:
    """What is missing before anything can be suggested, and how much of it; empty when nothing is."""
    matured, least = samples.matured, rules.minimum
    won = samples.won_accounts()
    lost = matured.filter(~pl.col("won"))["group"].n_unique()
    late = matured.filter(later_periods(matured, rules.holdout_share))
    missing = []
    if won < least.won_accounts:
        missing.append(f"{least.won_accounts} accounts that won a deal within {rules.label_days} days, there are {won}")
    if lost < least.lost_accounts:
        missing.append(f"{least.lost_accounts} accounts that did not, there are {lost}")
    if matured["period"].n_unique() < 2:
        missing.append(
            f"two periods of {rules.period_days} days whose outcomes have matured, to judge the later one by the "
            f"earlier, there are {matured['period'].n_unique()}"
        )
    elif (later := samples.won_accounts(late)) < least.holdout_won_accounts:
        missing.append(f"{least.holdout_won_accounts} accounts that won in the later periods, there are {later}")
    return "; ".join(missing)


def advise(samples: Samples, live: ScoringRules, rules: CalibrationRules) -> Advice:
    """Suggest other scoring rules, if accounts and periods that were held out are foretold better by them.

    Args:
        samples: Of users, scored under `live`, with a column of points per signal.
        live: The rules that hold.
        rules: `calibration.yml`.
    """
    nothing = EVIDENCE.to_frame().drop("model_version")
    if lacking := shortage(samples, rules):
        return Advice(None, f"Too little has happened to suggest anything. Needed: {lacking}.", nothing)
    matured = samples.matured
    found = _evidence(matured, live, rules)
    if not is_available():
        return Advice(None, f"No suggestion: {HOW_TO_INSTALL}.", found)
    rules = rules.model_copy(update={"confidence": rules.confidence**0.5})  # two questions
    trial = _trial(matured, rules, as_it_is, lambda seen: fitted_rules(seen, live, rules), live)
    fitted, reason = fitted_rules(matured, live, rules), "No suggestion: no signal foretells deals."
    if fitted is not None and not trial.is_better:
        reason = f"other weights change the AUC by {trial.change}, which may be chance."
        fitted, reason = None, f"No suggestion: on accounts and periods held out, {reason}"
    elif fitted is not None:
        reason = f"On accounts and periods held out, these weights raise the AUC {trial.raised}."
    bounds = _bounds(samples, live, rules, with_weights=fitted is not None)
    best = bounds.rules or fitted
    return Advice(
        best,
        reason,
        _with_points(found, live, best),
        now=trial.now,
        suggested=trial.new,
        gain=trial.gain,
        bounds_reason=bounds.reason,
        bounds_gain=bounds.gain,
    )


@dataclass(frozen=True)
class _Bounds:
    """The rules with other bounds, or None, for a reason."""

    rules: ScoringRules | None
    reason: str
    gain: Interval | None = None


def _bounds(samples: Samples, live: ScoringRules, rules: CalibrationRules, *, with_weights: bool) -> _Bounds:
    """Whether other bounds of tiers foretell deals better than the weights alone, suggested or as they are."""
    measured = replace(samples, matured=measured_ones(samples.matured))
    if lacking := shortage(measured, rules):
        kept = f"{measured.matured.height:,} of {samples.matured.height:,} samples"
        return _Bounds(
            None, f"Bounds of tiers are not judged: of {kept} is known what was measured. Needed: {lacking}."
        )

    def weighted(seen: pl.DataFrame) -> ScoringRules | None:
        return fitted_rules(seen, live, rules) if with_weights else None

    def bounded(seen: pl.DataFrame) -> ScoringRules | None:
        tiers = fitted_tiers(seen, live, rules)
        if not tiers:
            return weighted(seen)
        base = with_tiers(live, tiers)
        if not with_weights:
            return _with_class_bounds(base, seen, live)
        return fitted_rules(with_points(seen, live, base), base, rules)

    if not fitted_tiers(measured.matured, live, rules):
        return _Bounds(None, "Bounds of tiers: no others are suggested, none explain more deals than chance would.")
    trial = _trial(measured.matured, rules, weighted, bounded, live)
    if not trial.is_better:
        reason = (
            f"Bounds of tiers: no others are suggested, they change the AUC by {trial.change}, which may be chance."
        )
        return _Bounds(None, reason, trial.gain)
    more = "raise it further" if with_weights else "raise the AUC"
    return _Bounds(bounded(measured.matured), f"Other bounds of tiers {more} {trial.raised}.", trial.gain)


def as_it_is(seen: pl.DataFrame) -> ScoringRules | None:
    """Whatever happened: no other rules."""
    return None


def evidence_of(samples: Samples, scoring: ScoringRules, rules: CalibrationRules) -> pl.DataFrame:
    """What each signal of a model says by itself, as `Advice.evidence`; nothing while too little has happened."""
    if shortage(samples, rules):
        return EVIDENCE.to_frame().drop("model_version")
    return _with_points(_evidence(samples.matured, scoring, rules), scoring, None)


def _outcomes(samples: pl.DataFrame) -> Numbers:
    return samples["won"].cast(pl.Float64).to_numpy()


def _evidence(samples: pl.DataFrame, live: ScoringRules, rules: CalibrationRules) -> pl.DataFrame:
    names = signals_of(live.pql)
    return verdicts(
        samples.select(names).to_numpy(),
        _outcomes(samples),
        group_codes(samples),
        names,
        rules=rules,
    )


def _with_points(evidence: pl.DataFrame, live: ScoringRules, suggested: ScoringRules | None) -> pl.DataFrame:
    """The evidence with the most points that each signal adds to a score, now and as suggested."""

    def worth(rules: ScoringRules | None) -> pl.Expr:
        known = share_of_score(rules) if rules else {}
        return pl.col("signal").replace_strict(known, default=None if rules is None else 0.0, return_dtype=pl.Float64)

    return evidence.with_columns(points_now=worth(live), points_suggested=worth(suggested)).select(
        pl.col(name).cast(kind) for name, kind in EVIDENCE.items() if name != "model_version"
    )


def share_of_score(rules: ScoringRules) -> dict[str, float]:
    """What each signal at its best adds to a score of at most 100, before the fit multiplier."""
    pql = rules.pql
    worth: dict[str, float] = {}
    for part in COMPONENTS:
        names = list(getattr(pql, part))
        most = sum(most_points(name, rules) for name in names)
        worth |= {name: 100 * getattr(pql.weights, part) * most_points(name, rules) / most for name in names}
    return worth


@dataclass(frozen=True)
class _Trial:
    now: Interval
    new: Interval
    gain: Interval

    @property
    def is_better(self) -> bool:
        return self.gain.low > 0 and self.new.low > 0.5

    @property
    def change(self) -> str:
        return f"{self.gain.estimate:+.3f} ({self.gain.low:+.3f} to {self.gain.high:+.3f})"

    @property
    def raised(self) -> str:
        return f"from {self.now.estimate:.3f} to {self.new.estimate:.3f}: {self.change}"


Fit = Callable[[pl.DataFrame], ScoringRules | None]
"""What samples suggest; None for the rules that hold."""


def _trial(samples: pl.DataFrame, rules: CalibrationRules, old: Fit, new: Fit, live: ScoringRules) -> _Trial:
    """Score the later periods of each part of the accounts by what the other parts' earlier ones suggest, twice."""
    marked = samples.with_columns(
        late=later_periods(samples, rules.holdout_share), fold=fold_of(samples["group"], rules.folds)
    )
    parts = []
    for fold in range(rules.folds):
        held = marked.filter(pl.col("late") & (pl.col("fold") == fold))
        seen = marked.filter(~pl.col("late") & (pl.col("fold") != fold))
        by = [held if (found := fit(seen)) is None else rescored(held, live, found) for fit in (old, new)]
        parts.append(held.with_columns(score=by[0]["score"], tried=by[1]["score"]))
    return compared(pl.concat(parts), rules)


def compared(samples: pl.DataFrame, rules: CalibrationRules) -> _Trial:
    """The AUC of two scores of the same samples, `score` and `tried`, and of their difference."""
    won, groups = _outcomes(samples), group_codes(samples)
    old, new = (samples[name].to_numpy() for name in ("score", "tried"))
    before, after = Ranked(old, won), Ranked(new, won)
    return _Trial(
        now=auc_interval(old, won, groups, rules.confidence),
        new=auc_interval(new, won, groups, rules.confidence),
        gain=by_drawing(
            lambda weights: after.auc(weights) - before.auc(weights), groups, rules.bootstrap, rules.confidence
        ),
    )


def fitted_rules(samples: pl.DataFrame, live: ScoringRules, rules: CalibrationRules) -> ScoringRules | None:
    """The rules that these samples' outcomes suggest; None when no signal foretells them.

    Args:
        samples: Labelled, with a column of points per signal.
        live: The rules that gave the points; whatever is not fitted stays as it is there.
        rules: `calibration.yml`.
    """
    won = _outcomes(samples)
    if won.min() == won.max():
        return None
    evidence = _evidence(samples, live, rules)
    driving = set(evidence.filter(pl.col("verdict") == DRIVES)["signal"])
    kept = {part: [name for name in getattr(live.pql, part) if name in driving] for part in COMPONENTS}
    fitted = _columns(kept, live)
    if not fitted:
        return None
    # Many people look alike: one row per kind of people, and how many they are, gives the same fit in less time.
    alike = (
        samples.select(**fitted, won=pl.col("won").cast(pl.Float64), fold=fold_of(samples["group"], rules.folds))
        .group_by(pl.all())
        .len()
        .sort(pl.all())
    )
    cases = Cases(alike.select(list(fitted)).to_numpy(), alike["won"].to_numpy(), alike["len"].to_numpy())
    strength = best_strength(cases, alike["fold"].to_numpy(), rules.strengths)
    worth = dict(zip(fitted, monotone_logistic(cases, strength).coefficients.tolist(), strict=True))
    if not sum(worth.values()):
        return None
    changed = _as_playbook(worth, kept, live, most=rules.suggested_points)
    return _with_class_bounds(changed, samples, live)


def _columns(kept: dict[str, list[str]], live: ScoringRules) -> dict[str, pl.Expr]:
    """What is fitted: a component of graded signals as a whole (their tiers earn the same), each intent signal."""
    factor = multiplier(live.pql)
    found = {}
    for part in ("usage", "engagement"):
        if kept[part]:
            most = live.points.high * len(kept[part])
            found[part] = pl.sum_horizontal(kept[part]) / most * factor
    for name in kept["intent"]:
        found[name] = (pl.col(name) > 0).cast(pl.Float64) * factor
    return found


def _as_playbook(worth: dict[str, float], kept: dict[str, list[str]], live: ScoringRules, *, most: int) -> ScoringRules:
    intent = {name: worth[name] for name in kept["intent"] if worth[name] > 0}
    raw = {"usage": worth.get("usage", 0.0), "engagement": worth.get("engagement", 0.0), "intent": sum(intent.values())}
    weights = _rounded_shares(raw)
    scoring = live.model_dump(by_alias=True)
    pql = scoring["pql"]
    pql["weights"] = weights
    for part in ("usage", "engagement"):
        if weights[part]:  # a component without weight keeps its signals: they cost nothing, and a file needs one
            pql[part] = {name: rule for name, rule in pql[part].items() if name in kept[part]}
    if weights["intent"]:
        best = max(intent.values())
        pql["intent"] = {name: float(max(1, round(most * value / best))) for name, value in intent.items()}
    return ScoringRules.model_validate(scoring)


def _rounded_shares(raw: dict[str, float]) -> dict[str, float]:
    """Shares of the sum in whole steps that still sum to 1, by the largest remainders."""
    exact = {name: value / sum(raw.values()) * _STEPS for name, value in raw.items()}
    steps = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda name: steps[name] - exact[name])[: _STEPS - sum(steps.values())]:
        steps[name] += 1
    return {name: count / _STEPS for name, count in steps.items()}


def _with_class_bounds(changed: ScoringRules, samples: pl.DataFrame, live: ScoringRules) -> ScoringRules:
    """The rules with classes that hold about as many of the samples as the live ones' do."""
    now = samples["score"].to_numpy()
    then = rescored(samples, live, changed)["score"].to_numpy()
    scoring = changed.model_dump(by_alias=True)
    bound = 0
    for above, name in enumerate(reversed(CLASSES[:-1])):
        room = range(bound + 1, 101 - (len(CLASSES) - 2 - above))  # the classes above need a whole number each
        bound = matching_bound(now, then, getattr(live.classes, name).start, room)
        scoring["classes"][name]["from"] = float(bound)
    return ScoringRules.model_validate(scoring)


def matching_bound(now: Numbers, then: Numbers, bound: float, room: range) -> int:
    """The number in `room` that as many of the new scores reach as of the old ones reach `bound`."""
    wanted = int((now >= bound).sum())
    tried = np.array(room)
    ordered = np.sort(then)
    reached = len(ordered) - np.searchsorted(ordered, tried, side="left")
    # Of bounds that fit equally well the one nearest to the old one: nobody moves without a reason.
    return int(tried[np.lexsort((np.abs(tried - bound), np.abs(reached - wanted)))[0]])
