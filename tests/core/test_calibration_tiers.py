"""Bounds of tiers: where the truth has a line, it is found; where it has none, none is drawn."""

from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
from calibration_frames import DRIVERS, OBSERVED, RULES, SCORING, Pull, measured_company, samples_of
from scoring_frames import PLAYBOOK

from dagster_project.core.calibration.changes import changed_text, changes_of
from dagster_project.core.calibration.findings import Past, find
from dagster_project.core.calibration.points import rescored, untried, with_measures, with_points
from dagster_project.core.calibration.rates import FIRED
from dagster_project.core.calibration.samples import Samples
from dagster_project.core.calibration.suggestions import Advice, advise
from dagster_project.core.calibration.tiers import fitted_tiers, log_likelihoods, with_tiers
from dagster_project.core.models import Model
from dagster_project.core.playbook import FILES, load_playbook
from dagster_project.core.pql import classification
from dagster_project.core.scoring_rules import Tiers
from dagster_project.playbook_files import PACKAGED

SEEDS = (0,)
LINE = 24


def busy(users: pl.DataFrame, _: pl.DataFrame) -> np.ndarray:
    """Who acts often buys; the playbook's high tier begins at 15, far below."""
    return 6.0 * (users["actions"].to_numpy() >= LINE)


def nothing(users: pl.DataFrame, _: pl.DataFrame) -> np.ndarray:
    return np.zeros(len(users))


def as_it_is(users: pl.DataFrame, points: pl.DataFrame) -> np.ndarray:
    """The playbook's tiers are the truth."""
    best = np.array([max(points[name].max(), 1) for name in DRIVERS])
    return points.select(list(DRIVERS)).to_numpy() / best @ np.array(list(DRIVERS.values()))


@cache
def company(seed: int, pull: Pull, base: float) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    return measured_company(seed, pull, accounts=1500, base=base, steady=True)


def samples(seed: int, pull: Pull, base: float) -> Samples:
    scores, outcomes, measures = company(seed, pull, base)
    found = samples_of(scores, outcomes)
    return replace(found, matured=with_measures(found.matured, measures))


@cache
def told(seed: int) -> Advice:
    return advise(samples(seed, busy, -8.0), SCORING, RULES)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_line_that_the_truth_has_is_found(seed: int) -> None:
    found = fitted_tiers(samples(seed, busy, -8.0).matured, SCORING, RULES)
    assert set(found) == {"actions"}
    assert found["actions"].low == SCORING.pql.usage["actions"].low
    bounds = found["actions"].start("medium"), found["actions"].start("high")
    assert min(abs(bound - LINE) for bound in bounds) <= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_other_bounds_are_suggested_with_what_they_gain_out_of_time(seed: int) -> None:
    advice = told(seed)
    assert advice.rules.pql.usage["actions"] != SCORING.pql.usage["actions"]
    assert advice.bounds_gain.low > 0
    assert "Other bounds of tiers raise" in advice.bounds_reason
    assert f"{advice.bounds_gain.estimate:+.3f} (" in advice.bounds_reason


@pytest.mark.parametrize("seed", SEEDS)
def test_where_nothing_drives_deals_no_bound_is_suggested(seed: int) -> None:
    advice = advise(samples(seed, nothing, -3.5), SCORING, RULES)
    assert advice.rules is None
    assert "no others are suggested" in advice.bounds_reason


@pytest.mark.parametrize("seed", SEEDS)
def test_bounds_that_are_right_stay(seed: int) -> None:
    advice = advise(samples(seed, as_it_is, -7.5), SCORING, RULES)
    kept = {**advice.rules.pql.usage, **advice.rules.pql.engagement}
    assert all(rule == {**SCORING.pql.usage, **SCORING.pql.engagement}[name] for name, rule in kept.items())


def test_with_too_few_measured_deals_it_says_what_is_needed() -> None:
    scores, outcomes, measures = company(1, busy, -8.0)
    first = measures.filter(pl.col("day") == measures["day"].min())
    known = samples_of(scores, outcomes)
    advice = advise(replace(known, matured=with_measures(known.matured, first)), SCORING, RULES)
    assert advice.bounds_gain is None
    assert "Bounds of tiers are not judged: of 3,000 of" in advice.bounds_reason
    assert "Needed: two periods" in advice.bounds_reason


def test_the_proposal_is_a_playbook_with_the_suggested_bounds() -> None:
    scores, outcomes, measures = company(1, busy, -8.0)
    past = Past(scores, scores.drop("signals"), outcomes, FIRED.to_frame(), measures)
    found = find(past, [Model("champion", "m1", PLAYBOOK)], observed_until=OBSERVED)
    changes = changes_of(found.suggestions)
    assert any(change.key[:3] == ("pql", "usage", "actions") for change in changes)
    texts = {name: (PACKAGED / name).read_text(encoding="utf-8") for name in FILES}
    for file in {change.file for change in changes}:
        texts[file] = changed_text(texts[file], [change for change in changes if change.file == file])
    assert load_playbook(texts).scoring == told(1).rules


def test_measures_give_the_points_that_other_bounds_would_have_given() -> None:
    matured = samples(2, busy, -8.0).matured
    tiers = {"actions": Tiers(low=1, medium=9, high=21), "minutes_per_week": Tiers(low=2, medium=11, high=25)}
    other = with_tiers(SCORING, tiers)
    points = with_points(matured, SCORING, other)
    acted = pl.col("measured actions")
    by_hand = pl.when(acted >= 21).then(5.0).when(acted >= 9).then(3.0).when(acted >= 1).then(1.0).otherwise(0.0)
    assert points["actions"].to_list() == matured.select(by_hand).to_series().to_list()
    assert points["team_invites"].to_list() == matured["team_invites"].to_list()
    tried = rescored(matured, SCORING, other)
    assert (
        tried["classification"].to_list() == tried.select(classification(pl.col("score"), other)).to_series().to_list()
    )
    assert tried.filter(pl.col("score") != matured["score"]).height > 100
    assert untried(SCORING, other, is_measured=True) == []
    assert untried(SCORING, other) == ["pql.usage.minutes_per_week", "pql.usage.actions"]


def test_likelihoods_of_many_ways_at_once_are_those_of_a_library_one_by_one() -> None:
    """Of a logistic regression on the points of a tier; where more points win less, of its intercept alone."""
    optimize = pytest.importorskip("scipy.optimize")
    worth = np.array([0.0, 0.3, 0.6, 1.0])
    draw = np.random.default_rng(3)
    leads = draw.integers(20, 400, size=(40, 4)).astype(float)
    wins = draw.binomial(leads.astype(int), draw.uniform(0.02, 0.6, size=(40, 4))).astype(float)

    def surprise(fit: np.ndarray, lost: np.ndarray, won: np.ndarray) -> float:
        log_odds = fit[0] + fit[1] * worth
        return float((won * np.logaddexp(0, -log_odds) + lost * np.logaddexp(0, log_odds)).sum())

    bounds = [(None, None), (0, None)]
    expected = [
        -optimize.minimize(surprise, [0.0, 1.0], args=(lost, won), bounds=bounds).fun
        for lost, won in zip(leads - wins, wins, strict=True)
    ]
    assert log_likelihoods(np.stack([leads, wins], axis=2), worth) == pytest.approx(expected, abs=1e-3)
