"""Labels: who counts, from when on, and who is in whose part of the company."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from calibration_frames import RULES

from dagster_project.core.calibration.coverage import coverage
from dagster_project.core.calibration.drift import drift, stability_index
from dagster_project.core.calibration.rates import FIRED, rates, trigger_rates, with_decile
from dagster_project.core.calibration.samples import (
    DAILY_SCORES,
    OUTCOMES,
    Samples,
    fold_of,
    later_periods,
    take_samples,
)
from dagster_project.core.challenger_rules import JudgedOn

DAY = date(2026, 1, 1)
END_OF_DAY = datetime(2026, 1, 2)
LATE = datetime(2026, 12, 1)


def scores(*rows: tuple[str, str | None, date], classification: str = "warm") -> pl.DataFrame:
    """Scores of people: who, of which account, on which day."""
    return pl.DataFrame(
        [("user", who, account, day, "m1", 65.0, classification, "smb", []) for who, account, day in rows],
        schema=DAILY_SCORES,
        orient="row",
    )


def deals(*rows: tuple[str, datetime], known_from: datetime | None = None) -> pl.DataFrame:
    """Won deals: account and when."""
    return pl.DataFrame(
        [(account, None, f"o_{n}", at, at, known_from or at) for n, (account, at) in enumerate(rows)],
        schema=OUTCOMES,
        orient="row",
    )


def taken(of: pl.DataFrame, won: pl.DataFrame, *, observed: datetime = LATE) -> Samples:
    return take_samples(of, won, RULES, observed_until=observed)


def test_a_deal_within_the_labels_days_after_the_score_is_a_win():
    samples = taken(scores(("u", "a", DAY)), deals(("a", END_OF_DAY + timedelta(days=90, seconds=-1))))
    assert samples.matured["won"].to_list() == [True]


def test_a_deal_in_the_moment_of_the_score_comes_after_it():
    samples = taken(scores(("u", "a", DAY)), deals(("a", END_OF_DAY)))
    assert (samples.left_out, samples.matured["won"].to_list()) == (0, [True])


def test_a_deal_of_which_nobody_knows_since_when_it_is_known_counts():
    won = deals(("a", datetime(2026, 1, 5))).with_columns(known_from=pl.lit(None, pl.Datetime("us")))
    assert taken(scores(("u", "a", DAY)), won).matured["won"].to_list() == [True]


def test_a_later_deal_is_none_of_this_score():
    samples = taken(scores(("u", "a", DAY)), deals(("a", END_OF_DAY + timedelta(days=90))))
    assert samples.matured["won"].to_list() == [False]
    assert samples.matured["won_at"].to_list() == [None]


def test_who_had_won_before_is_a_customer_and_no_lead():
    samples = taken(scores(("u", "a", DAY), ("v", "b", DAY)), deals(("a", END_OF_DAY - timedelta(hours=1))))
    assert (samples.left_out, samples.matured["subject_id"].to_list()) == (1, ["v"])


def test_only_matured_scores_count_also_where_the_deal_is_won_already():
    observed = END_OF_DAY + timedelta(days=90, seconds=-1)
    samples = taken(scores(("u", "a", DAY), ("v", "b", DAY)), deals(("a", datetime(2026, 1, 5))), observed=observed)
    assert samples.matured.is_empty()
    assert samples.censored["won"].to_list() == [True, False]
    both = taken(
        scores(("u", "a", DAY), ("u", "a", date(2026, 3, 1))), deals(), observed=observed + timedelta(seconds=1)
    )
    assert (both.matured["day"].to_list(), both.censored["day"].to_list()) == ([DAY], [date(2026, 3, 1)])


def test_what_became_known_after_the_moment_is_not_looked_at():
    observed = END_OF_DAY + timedelta(days=100)
    late = deals(("a", datetime(2026, 1, 5)), known_from=observed + timedelta(days=1))
    assert taken(scores(("u", "a", DAY)), late, observed=observed).matured["won"].to_list() == [False]
    just = deals(("a", datetime(2026, 1, 5)), known_from=observed)
    assert taken(scores(("u", "a", DAY)), just, observed=observed).matured["won"].to_list() == [True]
    ahead = deals(("a", datetime(2026, 1, 20)), known_from=datetime(2026, 1, 5))
    assert taken(scores(("u", "a", DAY)), ahead, observed=datetime(2026, 1, 10)).censored["won"].to_list() == [False]


def test_each_score_has_the_next_deal_in_whatever_order_they_come():
    days = [date(2026, 5, 1), date(2026, 3, 2), DAY]
    won = deals(("a", datetime(2026, 5, 20)), ("a", datetime(2026, 1, 20)), ("b", datetime(2026, 3, 20)))
    of = scores(*((who, who, day) for day in days for who in ("b", "a")))
    samples = take_samples(of, won, RULES, observed_until=LATE, judged_on=JudgedOn(deals="all"))
    assert samples.matured.select("day", "subject_id", "won_at").rows() == [
        (DAY, "a", datetime(2026, 1, 20)),
        (DAY, "b", datetime(2026, 3, 20)),
        (days[1], "a", datetime(2026, 5, 20)),
        (days[1], "b", datetime(2026, 3, 20)),
        (days[0], "a", datetime(2026, 5, 20)),
        (days[0], "b", None),
    ]


def test_samples_are_of_the_rows_that_are_asked_for():
    of = pl.concat([scores(("v", "b", DAY)).with_columns(model_version=pl.lit("m0")), scores(("u", "a", DAY))])
    samples = take_samples(of, deals(), RULES, observed_until=LATE, of={"model_version": "m1"})
    assert samples.matured.select("subject_id", "model_version").rows() == [("u", "m1")]


def test_everybody_is_looked_at_once_a_period_on_the_same_day():
    days = [DAY + timedelta(days=n) for n in range(60)]
    samples = taken(scores(*(("u", "a", day) for day in days), ("new", "b", days[10])), deals())
    assert samples.matured["day"].min() == DAY
    by_who = samples.matured.group_by("subject_id").len().sort("subject_id")
    assert by_who.rows() == [("u", samples.matured["period"].n_unique())]
    assert samples.matured.group_by("period").len()["len"].to_list() == [1] * samples.matured["period"].n_unique()


def test_people_without_an_account_are_their_own_group_and_never_win():
    samples = taken(scores(("u", None, DAY)), deals(("a", datetime(2026, 1, 5))))
    assert samples.matured.select("group", "won").rows() == [("u", False)]


def test_won_accounts_are_counted_once():
    samples = taken(scores(("u", "a", DAY), ("v", "a", DAY)), deals(("a", datetime(2026, 1, 5))))
    assert (samples.matured["won"].sum(), samples.won_accounts()) == (2, 1)


def test_later_periods_are_later_and_never_all():
    samples = pl.DataFrame({"period": [1, 2, 3, 4, 5]})
    assert samples.filter(later_periods(samples, 0.4))["period"].to_list() == [4, 5]
    assert samples.filter(later_periods(samples, 0.01))["period"].to_list() == [5]
    crowded = pl.DataFrame({"period": [1, 1, 1, 1, 2, 3]})
    assert crowded.filter(later_periods(crowded, 0.4))["period"].to_list() == [3]
    assert not samples.head(1).select(later_periods(samples.head(1), 0.4)).to_series().any()


def test_an_account_is_always_in_the_same_part():
    few, many = pl.Series(["a_7", "a_1"]), pl.Series([f"a_{n}" for n in range(200)])
    parts = fold_of(many, 5)
    assert fold_of(few, 5).to_list() == [parts[7], parts[1]]
    assert parts.n_unique() == 5


def test_an_account_is_in_the_part_tomorrow_that_it_is_in_today():
    assert fold_of(pl.Series(["a_1", "a_2", "a_3", "a_4"]), 5).to_list() == [2, 1, 0, 2]


def test_a_deal_is_qualified_seen_or_unseen():
    hot = scores(("u", "a", DAY))
    cold = scores(("v", "b", DAY), classification="not_ready")
    after = scores(("w", "c", DAY + timedelta(days=20)))
    won = deals(*((account, datetime(2026, 1, 11)) for account in "abc"))
    found = coverage(pl.concat([hot, cold, after]), won, {"hot", "warm"})
    assert found.select("account_id", "path", "days_ahead").sort("account_id").rows() == [
        ("a", "qualified", 10),
        ("b", "seen", None),
        ("c", "unseen", None),
    ]


def test_only_days_before_a_deal_tell_whether_it_was_seen_coming():
    """By the first day on which somebody was a PQL; of a deal before which nothing was scored nobody can tell."""
    days = [DAY + timedelta(days=n) for n in range(4)]
    cold = scores(("u", "a", days[0]), classification="not_ready").with_columns(score=pl.lit(90.0))
    warm = scores(*(("u", "a", day) for day in days[1:]), ("v", "b", days[2]), ("w", "c", days[0]))
    late = datetime(2026, 1, 3, 12)
    won = deals(("a", datetime(2026, 1, 4, 12)), ("b", late), ("c", datetime(2026, 1, 1, 12)))
    nobodys = won.with_columns(account_id=pl.lit(None, pl.String))
    found = coverage(pl.concat([cold, warm]), pl.concat([won, nobodys]), {"hot", "warm"})
    assert found.select("account_id", "path", "qualified_on", "days_ahead", "best_score").rows() == [
        ("b", "unseen", None, None, None),
        ("a", "qualified", days[1], 2, 90.0),
    ]


# --- close rates -----------------------------------------------------------------------------------


def test_as_many_scores_are_in_each_decile():
    for size in range(10, 200, 10):
        counts = with_decile(pl.DataFrame({"score": [float(n) for n in range(size)]}))["decile"].value_counts()
        assert counts.height == 10 and set(counts["count"]) == {size // 10}, size


def test_the_tenth_decile_is_the_best_and_one_score_is_in_one_decile():
    found = with_decile(pl.DataFrame({"score": [float(n) for n in range(20)]}))["decile"].to_list()
    assert (found[:2], found[-2:]) == (["1", "1"], ["10", "10"])
    assert found == sorted(found, key=int)
    assert with_decile(pl.DataFrame({"score": [5.0, 5.0, 5.0, 90.0]}))["decile"].to_list() == ["5", "5", "5", "10"]


def test_a_close_rate_says_of_whom_and_when_and_what_it_is_against_all():
    later = DAY + timedelta(days=30)
    of = scores(("u", "a", DAY), ("v", "a", DAY), ("s", "b", DAY), ("u", "a", later), ("x", None, later))
    matured = taken(of, deals(("a", datetime(2026, 3, 1)))).matured
    value = pl.col("account_id").replace_strict({"b": "one", "a": "many"}, default=None)
    columns = ("value", "leads", "won", "accounts", "close_rate", "lift", "from_date", "to_date")
    assert rates(matured, "segment", value, RULES).select(columns).rows() == [
        ("many", 3, 3, 1, 1.0, pytest.approx(5 / 3), DAY, later),
        ("one", 1, 0, 1, 0.0, 0.0, DAY, DAY),
    ]
    nobody = taken(of, deals()).matured
    assert rates(nobody, "segment", value, RULES)["lift"].to_list() == [None, None]


# --- triggers --------------------------------------------------------------------------------------

FIRST = datetime(2026, 1, 1, 12)
LABEL = timedelta(days=RULES.label_days)


def fired(*at: datetime, account: str | None = "a") -> pl.DataFrame:
    rows = [("u", account, "hot_pql", "m1", moment) for moment in at]
    return pl.DataFrame(rows, schema=FIRED, orient="row")


def judged(firings: pl.DataFrame, won: pl.DataFrame, *, observed: datetime = LATE) -> list[tuple[int, int]]:
    """Leads and wins of the trigger."""
    found = trigger_rates(firings, won, taken(scores(("u", "a", DAY)), won, observed=observed), RULES)
    return found.select("leads", "won").rows()


@pytest.mark.parametrize(
    ("firings", "won_at", "expected"),
    [
        ([FIRST], [FIRST + LABEL - timedelta(seconds=1)], (1, 1)),
        ([FIRST], [FIRST + LABEL], (1, 0)),
        ([FIRST], [], (1, 0)),
        # In one period only the first firing counts, in another one the next.
        ([FIRST, FIRST + timedelta(days=4)], [FIRST + LABEL + timedelta(days=2)], (1, 0)),
        ([FIRST, FIRST + timedelta(days=40)], [], (2, 0)),
        # Customers are nobody to be won.
        ([FIRST], [FIRST - timedelta(days=1), FIRST + timedelta(days=1)], None),
        ([FIRST], [FIRST], None),
    ],
)
def test_a_firing_is_a_lead_once_a_period(
    firings: list[datetime], won_at: list[datetime], expected: tuple[int, int] | None
) -> None:
    assert judged(fired(*firings), deals(*(("a", at) for at in won_at))) == ([expected] if expected else [])


def test_a_firing_is_judged_when_its_labels_days_are_over_by_what_is_known_then():
    assert judged(fired(FIRST), deals(), observed=FIRST + LABEL) == [(1, 0)]
    assert judged(fired(FIRST), deals(), observed=FIRST + LABEL - timedelta(seconds=1)) == []
    late = deals(("a", FIRST + timedelta(days=1)), known_from=LATE + timedelta(days=1))
    assert judged(fired(FIRST), late) == [(1, 0)]
    unknown = late.with_columns(known_from=pl.lit(None, pl.Datetime("us")))
    assert judged(fired(FIRST), unknown) == [(1, 1)]
    assert judged(fired(FIRST, account=None), unknown) == [(1, 0)]


def test_the_lift_of_a_trigger_is_against_all_leads_whether_it_fired_for_them_or_not():
    won = deals(("a", FIRST + timedelta(days=1)))
    samples = taken(scores(*((f"u_{name}", name, DAY) for name in "abcd")), won)
    found = trigger_rates(fired(FIRST), won, samples, RULES)
    assert found.select("close_rate", "lift").rows() == [(1.0, 4.0)]


# --- drift -----------------------------------------------------------------------------------------


def of_period(day: date, *rows: tuple[float, float]) -> pl.DataFrame:
    """Scores and points of one signal."""
    said = {"model_version": "m1", "day": day}
    return pl.DataFrame([{**said, "score": score, "actions": points} for score, points in rows])


def test_each_period_is_set_against_the_one_before_it_and_what_moved_most_comes_first():
    days = [DAY + timedelta(days=30 * n) for n in range(3)]
    alike = [(100.0, 1.0)] * 10
    periods = [of_period(days[0], *alike), of_period(days[1], *[(92.0, 3.0)] * 10), of_period(days[2], *alike)]
    found = drift(periods, ["actions"], RULES)
    assert found.select("feature", "before_day", "day", "before_mean", "mean", "verdict").rows() == [
        ("actions", days[0], days[1], 1.0, 3.0, "moved"),
        ("score", days[0], days[1], 100.0, 92.0, "steady"),  # 100 is of the same ten as 92
        ("actions", days[1], days[2], 3.0, 1.0, "moved"),
        ("score", days[1], days[2], 92.0, 100.0, "steady"),
    ]


@pytest.mark.parametrize(
    ("watch", "moved", "verdict"), [(0.5, 1.0, "moved"), (1.0, 2.0, "watch"), (1.5, 2.0, "steady")]
)
def test_what_reaches_a_level_of_drift_has_its_name(watch: float, moved: float, verdict: str) -> None:
    periods = [of_period(DAY, *[(10.0, 1.0)] * 6, *[(10.0, 3.0)] * 4), of_period(DAY, *[(10.0, 3.0)] * 7, (10.0, 1.0))]
    index = stability_index(*(period["actions"] for period in periods))
    levels = RULES.drift.model_copy(update={"watch": watch * index, "moved": moved * index})
    found = drift(periods, ["actions"], RULES.model_copy(update={"drift": levels}))
    assert found.filter(feature="actions")["verdict"].to_list() == [verdict]
