"""Labels: who counts, from when on, and who is in whose part of the company."""

from datetime import date, datetime, timedelta

import polars as pl
from calibration_frames import RULES

from dagster_project.core.calibration.coverage import coverage
from dagster_project.core.calibration.samples import (
    DAILY_SCORES,
    OUTCOMES,
    Samples,
    fold_of,
    later_periods,
    take_samples,
)

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
    assert taken(scores(("u", "a", DAY)), deals(), observed=observed + timedelta(seconds=1)).matured.height == 1


def test_what_became_known_after_the_moment_is_not_looked_at():
    observed = END_OF_DAY + timedelta(days=100)
    late = deals(("a", datetime(2026, 1, 5)), known_from=observed + timedelta(days=1))
    assert taken(scores(("u", "a", DAY)), late, observed=observed).matured["won"].to_list() == [False]


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
    assert not samples.head(1).select(later_periods(samples.head(1), 0.4)).to_series().any()


def test_an_account_is_always_in_the_same_part():
    few, many = pl.Series(["a_7", "a_1"]), pl.Series([f"a_{n}" for n in range(200)])
    parts = fold_of(many, 5)
    assert fold_of(few, 5).to_list() == [parts[7], parts[1]]
    assert parts.n_unique() == 5


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
