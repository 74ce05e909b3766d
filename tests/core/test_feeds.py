"""When a feed has fallen silent, and what must not be believed because of it."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.core.feeds import Silence, hold_reason, judges_otherwise, may_have_been_active, silences
from dagster_project.core.source_rules import FeedSilence

RULES = FeedSilence(hours=24, look_back_days=14, daily_share=0.9, given_up_days=30)
FIRST = date(2026, 5, 1)
LAST_AT = datetime(2026, 5, 20, 18)


def delivered(days: list[int], feed: str = "web") -> pl.DataFrame:
    """Days after `FIRST` on which a feed delivered, each from 8 to 18 o'clock."""
    moments = [datetime(2026, 5, 1) + timedelta(days=day) for day in days]
    return pl.DataFrame(
        {
            "feed": [feed] * len(days),
            "day": [moment.date() for moment in moments],
            "first_at": [moment + timedelta(hours=8) for moment in moments],
            "last_at": [moment + timedelta(hours=18) for moment in moments],
        }
    )


DAILY = delivered(list(range(20)))  # until May 20


@pytest.mark.parametrize(("hours", "is_silent"), [(1, False), (24, False), (24.1, True), (72, True)])
def test_a_daily_feed_is_silent_after_24_hours(hours: float, is_silent: bool) -> None:
    as_of = LAST_AT + timedelta(hours=hours)
    found = silences(DAILY, as_of, RULES)
    assert found == ([Silence("web", LAST_AT)] if is_silent else [])
    assert (hold_reason(found, as_of, RULES) is not None) == is_silent


def test_a_feed_that_rests_on_weekends_is_never_silent() -> None:
    weekdays = [day for day in range(20) if (date(2026, 5, 1) + timedelta(days=day)).weekday() < 5]
    assert silences(delivered(weekdays), LAST_AT + timedelta(days=3), RULES) == []


def test_a_young_feed_is_not_known_to_be_daily_yet() -> None:
    assert silences(delivered(list(range(10, 20))), LAST_AT + timedelta(days=3), RULES) == []


def test_one_missing_day_of_fourteen_is_still_daily() -> None:
    days = [day for day in range(20) if day != 16]
    found = silences(delivered(days), LAST_AT + timedelta(days=3), RULES)
    assert [(silence.since.day, silence.until and silence.until.day) for silence in found] == [(16, 18), (20, None)]


def test_it_ends_with_the_first_event_and_is_remembered() -> None:
    both = pl.concat([DAILY, delivered([25, 26])])
    as_of = datetime(2026, 5, 27, 20)
    [silence] = silences(both, as_of, RULES)
    assert (silence.since, silence.until) == (LAST_AT, datetime(2026, 5, 26, 8))
    assert hold_reason([silence], as_of, RULES) is None


def test_events_that_come_in_later_fill_the_gap() -> None:
    assert silences(delivered(list(range(27))), datetime(2026, 5, 27, 20), RULES) == []


def test_each_feed_is_judged_by_itself() -> None:
    app = delivered(list(range(24)), feed="app")
    found = silences(pl.concat([app, DAILY]), datetime(2026, 5, 24, 20), RULES)
    assert [silence.feed for silence in found] == ["web"]
    assert str(hold_reason(found, datetime(2026, 5, 24, 20), RULES)).startswith(
        "web has delivered nothing since 2026-05-20"
    )


def test_after_a_month_it_counts_as_a_feed_that_there_is_no_more() -> None:
    as_of = LAST_AT + timedelta(days=31)
    assert hold_reason(silences(DAILY, as_of, RULES), as_of, RULES) is None


@pytest.mark.parametrize(
    ("last_day", "returned_at", "is_doubtful"),
    [
        (date(2026, 4, 1), datetime(2026, 5, 19), False),
        (date(2026, 4, 25), datetime(2026, 5, 26, 9), True),
        (date(2026, 4, 10), datetime(2026, 5, 26, 9), False),  # away for long enough before it began
        (date(2026, 5, 1), datetime(2026, 6, 24), True),
        (date(2026, 5, 1), datetime(2026, 6, 25), False),  # or after it ended
        (None, None, False),
    ],
)
def test_who_returns_may_never_have_been_gone_where_a_silence_explains_it(
    last_day: date | None, returned_at: datetime | None, is_doubtful: bool
) -> None:
    user = pl.DataFrame({"at": [returned_at], "day": [last_day]}, schema={"at": pl.Datetime("us"), "day": pl.Date})

    def doubts(*found: Silence) -> bool:
        return bool(user.select(may_have_been_active(pl.col("at"), pl.col("day"), found, 30)).item())

    silence = Silence("web", LAST_AT, datetime(2026, 5, 26, 8))
    assert doubts(silence) == is_doubtful
    assert doubts(silence, Silence("app", LAST_AT - timedelta(hours=40), LAST_AT)) == is_doubtful
    assert not doubts()


def test_two_silences_leave_too_little_between_them() -> None:
    user = pl.DataFrame({"at": [datetime(2026, 6, 30, 9)], "day": [date(2026, 4, 20)]})
    first = Silence("web", datetime(2026, 5, 10), datetime(2026, 5, 12))
    second = Silence("web", datetime(2026, 6, 5), None)
    at, day = pl.col("at"), pl.col("day")
    assert user.select(may_have_been_active(at, day, [second, first], 30)).item()
    assert not user.select(may_have_been_active(at, day, [second], 30)).item()
    nobody = user.clear().cast({"at": pl.Datetime("us"), "day": pl.Date})
    never = pl.concat([nobody, pl.DataFrame({"at": [None], "day": [None]}, schema=nobody.schema)])
    assert never.select(may_have_been_active(at, day, [second, first], 30)).to_series().to_list() == [False]


@pytest.mark.parametrize(
    ("found", "is_news"),
    [
        ([Silence("web", LAST_AT)], False),
        ([Silence("web", LAST_AT, datetime(2026, 5, 26, 8))], False),
        ([Silence("web", LAST_AT, datetime(2026, 5, 25, 8))], True),
        ([Silence("web", LAST_AT + timedelta(hours=30))], True),
        ([Silence("web", LAST_AT), Silence("app", LAST_AT)], True),
        ([], True),
    ],
)
def test_other_silences_judge_otherwise_but_one_that_ends_today_does_not(found: list[Silence], is_news: bool) -> None:
    known = [Silence("web", LAST_AT)]
    assert judges_otherwise(found, known, datetime(2026, 5, 26, 9)) == is_news


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(0, 90))
def test_silences_never_overlap_and_only_the_last_is_open(days: set[int], later: int) -> None:
    as_of = datetime(2026, 5, 1, 23) + timedelta(days=max(days) + later)
    found = silences(delivered(sorted(days)), as_of, RULES)
    for one, after in zip(found, found[1:], strict=False):
        assert one.until is not None and one.until <= after.since
    assert all((s.until or as_of) - s.since > timedelta(hours=24) for s in found)
