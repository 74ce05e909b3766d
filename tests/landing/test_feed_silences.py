"""Silences as they are read off the loaded events."""

from datetime import datetime

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


def test_a_silence_begins_and_ends_with_the_moment_scored(landing: Landing) -> None:
    deliver(landing, "a.ndjson", 1, 20)
    assert look(landing, 21, hour=12) == []
    assert look(landing, 21, hour=13) == [Silence("events", datetime(2026, 6, 20, 12))]
    deliver(landing, "back.ndjson", 22, 22)
    assert [silence.until for silence in look(landing, 22, hour=11)] == [None]
    assert [silence.until for silence in look(landing, 22, hour=12)] == [datetime(2026, 6, 22, 12)]


def test_a_gap_that_late_events_fill_is_none(landing: Landing) -> None:
    deliver(landing, "a.ndjson", 1, 17)
    deliver(landing, "b.ndjson", 20, 22)
    assert look(landing, 22) == [Silence("events", datetime(2026, 6, 17, 12), datetime(2026, 6, 20, 12))]
    deliver(landing, "late.ndjson", 18, 19)
    assert look(landing, 22) == known_silences(landing.connection) == []


def test_an_event_whose_place_an_earlier_received_one_takes_delivers_nothing(landing: Landing) -> None:
    deliver(landing, "a.ndjson", 1, 22)
    assert look(landing, 22) == []
    better = {"timestamp": "2026-06-19T12:00:00Z", "received_at": "2026-06-01T10:00:00Z"}
    landing.events("b.ndjson", *(event(f"a.ndjson-{day}", **better) for day in (20, 21)))
    landing.load()
    assert look(landing, 22) == [Silence("events", datetime(2026, 6, 19, 12), datetime(2026, 6, 22, 12))]


def test_to_look_costs_as_much_as_what_has_come_since(landing: Landing) -> None:
    deliver(landing, "a.ndjson", 1, 20)
    assert look(landing, 20) == []
    landing.connection.execute("delete from raw.events; delete from raw.files")  # who reads them all finds nothing
    deliver(landing, "b.ndjson", 22, 22)
    assert look(landing, 22) == [Silence("events", datetime(2026, 6, 20, 12), datetime(2026, 6, 22, 12))]
