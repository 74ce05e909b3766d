"""Silences as they are read off the loaded events."""

from datetime import datetime, timedelta

from landing_folder import Landing, event

from dagster_project.core.feeds import Silence
from dagster_project.core.source_rules import FeedSilence
from dagster_project.landing.feeds import known_silences, update_silences

RULES = FeedSilence(look_back_days=14, daily_share=0.9)


def deliver(landing: Landing, name: str, first: int, last: int, month: str = "2026-06") -> None:
    """One event at noon on each of these days of a month."""
    days = [event(f"{name}-{day}", timestamp=f"{month}-{day:02d}T12:00:00Z") for day in range(first, last + 1)]
    landing.events(name, *days)
    landing.load()


def look(landing: Landing, day: int, hour: int = 13) -> list[Silence]:
    return update_silences(landing.connection, datetime(2026, 6, day, hour), RULES)


def test_a_folder_is_a_feed_and_dated_folders_are_none(landing: Landing) -> None:
    deliver(landing, "web/a.ndjson", 1, 20)
    deliver(landing, "dt=2026-06-01/b.ndjson", 1, 22)
    deliver(landing, "2026/c.ndjson", 21, 22)
    assert look(landing, 22) == [Silence("web", datetime(2026, 6, 20, 12))]
    assert known_silences(landing.connection) == look(landing, 22)


def test_events_later_than_the_moment_scored_end_no_silence(landing: Landing) -> None:
    deliver(landing, "a.ndjson", 1, 18)
    deliver(landing, "b.ndjson", 25, 25)
    assert look(landing, 22) == [Silence("events", datetime(2026, 6, 18, 12))]
    assert look(landing, 26) == [Silence("events", datetime(2026, 6, 18, 12), datetime(2026, 6, 25, 12))]


def test_it_is_looked_at_once_a_day_and_as_long_as_a_feed_is_silent(landing: Landing) -> None:
    deliver(landing, "a.ndjson", 1, 20)
    assert look(landing, 20) == []
    landing.connection.execute("delete from raw.events")
    assert look(landing, 20, hour=23) == []
    deliver(landing, "again.ndjson", 1, 20)
    [open_one] = look(landing, 22)
    assert open_one.until is None
    deliver(landing, "back.ndjson", 22, 22)
    assert look(landing, 22, hour=14)[0].until == datetime(2026, 6, 22, 12)
    assert timedelta(days=1) < look(landing, 22)[0].until - open_one.since  # type: ignore[operator]
