"""The statistics against scikit-learn and SciPy, and against what can be counted by hand."""

import numpy as np
import polars as pl
import pytest
from calibration_frames import RULES
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from dagster_project.core.calibration.drift import stability_index
from dagster_project.core.calibration.fitting import (
    Cases,
    best_strength,
    expected_rate,
    expected_rates,
    log_loss,
    monotone_logistic,
)
from dagster_project.core.calibration.intervals import by_drawing, close_rate, effective_leads, wilson
from dagster_project.core.calibration.ranking import (
    Ranked,
    auc,
    auc_interval,
    brier,
    cumulative_gains,
    precision_at,
)
from dagster_project.core.calibration.suggestions import matching_bound

outcomes = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({won for _, won in rows}) == 2
)


def arrays(rows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores, won = zip(*rows, strict=True)
    return np.array(scores, dtype=float), np.array(won, dtype=float)


def simulated(seed: int = 1, accounts: int = 200, people: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, outcomes and accounts: people of one account share its deal."""
    rng = np.random.default_rng(seed)
    pull = rng.normal(size=accounts)
    won = rng.random(accounts) < 1 / (1 + np.exp(1.5 - pull))
    groups = np.repeat(np.arange(accounts), people)
    return np.round(pull[groups] + rng.normal(size=len(groups)), 1), won[groups].astype(float), groups


@given(leads=st.integers(1, 500), share=st.floats(0, 1))
def test_wilsons_interval_is_scipys(leads, share):
    won = round(leads * share)
    found, expected = wilson(won, leads, 0.95), binomtest(won, leads).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_nobody_is_no_rate():
    assert (wilson(0, 0, 0.95).low, wilson(0, 0, 0.95).high) == (0, 1)


@given(st.lists(st.booleans(), min_size=3, max_size=60).filter(lambda won: len(set(won)) == 2))
def test_people_of_accounts_of_their_own_are_worth_one_lead_each(won):
    values = np.array(won, dtype=float)
    assert effective_leads(values, np.arange(len(won))) == pytest.approx(len(won), rel=2 / len(won))


def test_colleagues_who_share_a_deal_are_worth_one_lead_together():
    won, accounts = np.repeat([1.0, 0.0, 0.0, 1.0, 0.0] * 10, 20), np.repeat(np.arange(50), 20)
    assert effective_leads(won, accounts) == pytest.approx(50, rel=0.03)
    alone, shared = close_rate(won[::20], np.arange(50), 0.95), close_rate(won, accounts, 0.95)
    assert shared.high - shared.low == pytest.approx(alone.high - alone.low, rel=0.03)


@given(outcomes)
def test_the_auc_is_scikit_learns(rows):
    scores, won = arrays(rows)
    assert auc(scores, won) == pytest.approx(roc_auc_score(won, scores))


@given(outcomes, st.lists(st.integers(1, 4), min_size=40, max_size=40))
def test_a_weight_is_how_often_a_row_is_there(rows, weights):
    scores, won = arrays(rows)
    often = np.array(weights[: len(rows)])
    assert Ranked(scores, won).auc(often.astype(float)) == pytest.approx(
        roc_auc_score(np.repeat(won, often), np.repeat(scores, often))
    )


def test_one_outcome_has_no_auc():
    assert np.isnan(auc(np.array([1.0, 2.0]), np.array([1.0, 1.0])))


def test_the_aucs_interval_is_about_the_one_of_companies_drawn_again():
    scores, won, groups = simulated()
    found = auc_interval(scores, won, groups, 0.95)
    ranked = Ranked(scores, won)
    drawn = by_drawing(ranked.auc, groups, RULES.bootstrap, 0.95)
    assert (found.low, found.high) == pytest.approx((drawn.low, drawn.high), abs=0.02)
    assert found.low > 0.5


def test_of_companies_without_information_about_one_in_twenty_seems_to_have_some():
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(200):
        won, groups = np.repeat(rng.random(80) < 0.3, 3).astype(float), np.repeat(np.arange(80), 3)
        scores = np.repeat(rng.normal(size=80), 3) + rng.normal(size=240)
        found = auc_interval(scores, won, groups, 0.95)
        missed += not found.low < 0.5 < found.high
    assert 3 <= missed <= 20


def test_colleagues_do_not_make_an_auc_surer():
    scores, won, groups = simulated(people=1)
    once = auc_interval(scores, won, groups, 0.95)
    copied = auc_interval(np.repeat(scores, 9), np.repeat(won, 9), np.repeat(groups, 9), 0.95)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_the_same_seed_draws_the_same_companies():
    scores, won, groups = simulated()
    one, two = (by_drawing(Ranked(scores, won).auc, groups, RULES.bootstrap, 0.95) for _ in range(2))
    other = by_drawing(Ranked(scores, won).auc, groups, RULES.bootstrap.model_copy(update={"seed": 8}), 0.95)
    assert one == two != other


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40))
def test_the_brier_score_is_scikit_learns(rows):
    expected, won = np.array([e for e, _ in rows]), np.array([w for _, w in rows], dtype=float)
    assert brier(expected, won) == pytest.approx(brier_score_loss(won, expected, pos_label=1))


def test_gains_count_from_the_best():
    gains = cumulative_gains(np.array([90.0, 80.0, 80.0, 10.0]), np.array([1.0, 1.0, 0.0, 0.0]))
    assert gains.taken.tolist() == [0, 0.25, 0.75, 1]
    assert gains.found.tolist() == [0, 0.5, 1, 1]


@given(outcomes)
def test_the_area_below_the_gains_is_the_auc(rows):
    scores, won = arrays(rows)
    gains, rate = cumulative_gains(scores, won), won.mean()
    area = np.trapezoid(gains.found, gains.taken)
    assert (area - rate / 2) / (1 - rate) == pytest.approx(roc_auc_score(won, scores))


def test_those_who_tie_for_the_last_places_count_on_average():
    scores, won = np.array([9.0, 5.0, 5.0, 5.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0, 1.0])
    assert precision_at(scores, won, 2) == pytest.approx((1 + 1 / 3) / 2)
    assert precision_at(scores, won, 99) == pytest.approx(3 / 5)


def test_the_logistic_fit_is_scikit_learns_where_all_signals_help():
    rng = np.random.default_rng(3)
    columns = rng.random((800, 3))
    won = (rng.random(800) < 1 / (1 + np.exp(2 - columns @ [2.0, 1.0, 3.0]))).astype(float)
    ours = monotone_logistic(Cases(columns, won, np.ones(len(won), dtype=int)), 0.01)
    theirs = LogisticRegression(C=1 / (800 * 0.01), tol=1e-10, max_iter=10_000).fit(columns, won)
    assert ours.coefficients == pytest.approx(theirs.coef_[0], abs=1e-3)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=1e-3)
    assert ours.chance(columns) == pytest.approx(theirs.predict_proba(columns)[:, 1], abs=1e-3)


def test_people_who_look_alike_can_be_one_row():
    rng = np.random.default_rng(6)
    columns, often = rng.integers(0, 3, (60, 2)) / 2, rng.integers(1, 5, 60)
    won = (rng.random(60) < 0.2 + 0.3 * columns[:, 0]).astype(float)
    counted = monotone_logistic(Cases(columns, won, often), 0.01)
    written = Cases(np.repeat(columns, often, axis=0), np.repeat(won, often), np.ones(often.sum(), dtype=int))
    assert counted.coefficients == pytest.approx(monotone_logistic(written, 0.01).coefficients, abs=1e-5)


def test_a_signal_that_points_the_wrong_way_is_worth_nothing():
    rng = np.random.default_rng(4)
    columns = rng.random((500, 2))
    won = (rng.random(500) < 1 / (1 + np.exp(3 * columns[:, 0] - 3 * columns[:, 1]))).astype(float)
    assert monotone_logistic(Cases(columns, won, np.ones(len(won), dtype=int)), 0.01).coefficients[0] == 0


@pytest.mark.parametrize(("second_part", "strength"), [((0.0, 1.0), 0.01), ((1.0, 0.0), 10.0)])
def test_the_penalty_is_the_one_that_foretells_accounts_best_that_were_not_seen(
    second_part: tuple[float, float], strength: float
) -> None:
    """A signal that says the same of both parts of a company deserves trust, one that contradicts itself none."""
    columns = np.array([[0.0], [1.0], *([value] for value in second_part)])
    cases = Cases(columns, np.array([0.0, 1.0, 0.0, 1.0]), np.array([50, 50, 20, 20]))
    assert best_strength(cases, np.array([0, 0, 1, 1]), (10.0, 0.01)) == strength
    assert best_strength(cases, np.array([0, 0, 1, 1]), (1.0,)) == 1.0


def test_the_log_loss_is_scikit_learns_and_being_sure_of_what_is_not_so_is_no_infinite_one() -> None:
    chance, won, often = np.array([0.2, 0.9, 0.5]), np.array([0.0, 1.0, 1.0]), np.array([1, 2, 5])
    cases = Cases(np.zeros((3, 1)), won, often)
    assert log_loss(chance, cases) == pytest.approx(sklearn_log_loss(won, chance, sample_weight=often))
    assert log_loss(1 - won, cases) == pytest.approx(-np.log(1e-9))


def test_a_step_with_just_enough_accounts_that_won_stands_by_itself() -> None:
    scores, won = np.array([10.0, 10, 10, 10, 90, 90]), np.array([1.0, 1, 0, 0, 1, 1])
    assert expected_rates(scores, won, np.arange(6), 2).rows() == [(0.0, 0.5), (90.0, 1.0)]
    assert expected_rates(scores, won, np.arange(6), 3).rows() == [(0.0, pytest.approx(4 / 6))]


@given(outcomes)
def test_the_expected_rate_is_the_isotonic_one_and_never_falls(rows):
    scores, won = arrays(rows)
    steps = expected_rates(scores, won, np.arange(len(won)), 0)
    assert steps["expected_close_rate"].is_sorted()
    assert steps["score_from"][0] == 0
    assert expected_rate(steps, scores) == pytest.approx(IsotonicRegression().fit(scores, won).predict(scores))


@given(outcomes, st.integers(1, 4))
def test_each_step_of_the_expected_rate_stands_on_enough_accounts(rows, least):
    scores, won = arrays(rows)
    groups = np.arange(len(won)) // 2
    steps = expected_rates(scores, won, groups, least)
    rates, starts = (steps[name].to_numpy() for name in ("expected_close_rate", "score_from"))
    assert (np.diff(rates) >= -1e-12).all()
    place = np.searchsorted(starts, scores, side="right") - 1
    base = len(np.unique(groups[won > 0])) / len(np.unique(groups))
    for number, rate in enumerate(rates):
        inside = place == number
        assert rate == pytest.approx(won[inside].mean())
        accounts, winners = (len(np.unique(groups[rows])) for rows in (inside, inside & (won > 0)))
        # Winners are those of the whole: an account may have won in another step only.
        of_winners = len(np.intersect1d(groups[inside], groups[won > 0]))
        assert max(winners, of_winners, accounts * base) >= least or len(steps) == 1


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30), st.integers(2, 4))
def test_the_same_shares_are_no_drift(values, times):
    assert stability_index(pl.Series(values), pl.Series(values * times)) == pytest.approx(0, abs=1e-9)


def test_drift_grows_with_the_distance():
    even, skewed = pl.Series(["a", "b"] * 50), pl.Series(["a"] * 80 + ["b"] * 20)
    worked = (0.8 - 0.5) * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5)
    assert stability_index(even, skewed) == pytest.approx(worked)
    assert stability_index(even, pl.Series(["c"] * 100)) > 1


@pytest.mark.parametrize(("bound", "found", "in_room"), [(50.0, 50, 70), (51.0, 61, 70), (5.0, 5, 70), (99.0, 99, 89)])
def test_a_class_keeps_as_many_people_and_its_bound_moves_no_further_than_it_must(
    bound: float, found: int, in_room: int
) -> None:
    now, then = np.array([10.0, 50, 90]), np.array([20.0, 60, 95])
    assert matching_bound(now, then, bound, range(1, 101)) == found
    assert matching_bound(now, then, bound, range(70, 90)) == in_room
