"""Working hours: due times are counted in them, and a day is the one that it is for whoever gets something."""

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.core.calendars import Calendar
from dagster_project.core.handoff_rules import WorkingHours

BERLIN = Calendar(WorkingHours(time_zone="Europe/Berlin"))
HOLIDAY = Calendar(WorkingHours(time_zone="Europe/Berlin"), frozenset({date(2026, 5, 1)}))
NIGHT = Calendar(WorkingHours(time_zone="Asia/Tokyo", start="18:00", end="00:00", days=("mon", "sat")))


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}")


@pytest.mark.parametrize(
    ("calendar", "start", "hours", "due"),
    [
        (Calendar(), "05-02T10:00", 1, "05-02T11:00"),
        (Calendar(), "05-02T10:00", 72, "05-05T10:00"),
        (BERLIN, "04-29T08:00", 1, "04-29T09:00"),  # Wednesday, 10:00 there
        (BERLIN, "04-29T14:30", 1, "04-30T07:30"),  # half an hour before and after the night
        (BERLIN, "04-29T03:00", 1, "04-29T08:00"),  # before work begins
        (BERLIN, "05-02T10:00", 1, "05-04T08:00"),  # Saturday
        (BERLIN, "04-29T08:00", 24, "04-30T08:00"),
        (BERLIN, "05-01T08:00", 24, "05-04T08:00"),  # over the weekend
        (BERLIN, "05-01T08:00", 72, "05-06T08:00"),
        (HOLIDAY, "04-30T08:00", 24, "05-04T08:00"),
        (BERLIN, "03-27T09:00", 24, "03-30T08:00"),  # the clocks went forward meanwhile
        (BERLIN, "04-29T08:00", 10, "04-30T10:00"),
        (NIGHT, "05-02T09:00", 1, "05-02T10:00"),  # 18:00 in Tokyo
        (NIGHT, "05-02T14:30", 1, "05-04T09:30"),
    ],
)
def test_due_times_are_counted_in_working_hours(calendar: Calendar, start: str, hours: float, due: str) -> None:
    assert calendar.due(at(start), hours) == at(due)


def test_who_is_at_work_and_which_day_it_is_there() -> None:
    moments = {"04-29T07:00": True, "04-29T06:59": False, "04-29T15:00": False, "05-02T08:00": False}
    assert {moment: BERLIN.is_working(at(moment)) for moment in moments} == moments
    assert Calendar().is_working(at("05-02T03:00"))
    assert BERLIN.day(at("04-29T22:30")) == date(2026, 4, 30)
    assert BERLIN.text(at("04-29T08:00")) == "2026-04-29 10:00 CEST (08:00 UTC)"
    assert Calendar().text(at("04-29T08:00")) == "2026-04-29 08:00 UTC"


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 1)),
    st.sampled_from([0.5, 1, 7, 8, 24, 30, 72]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"]),
    st.sampled_from([("09:00", "17:00"), ("00:00", "00:00"), ("22:15", "23:45")]),
)
def test_due_is_at_work_and_later_the_longer_it_takes(
    start: datetime, hours: float, zone: str, day: tuple[str, str]
) -> None:
    calendar = Calendar(WorkingHours(time_zone=zone, start=day[0], end=day[1]))
    due = calendar.due(start, hours)
    assert due >= start + timedelta(hours=hours % 24)
    assert calendar.is_working(due) or calendar.is_working(due - timedelta(microseconds=1))
    assert calendar.due(start, hours + 1) > due


def test_a_wrong_time_zone_or_an_end_before_the_start_is_named() -> None:
    with pytest.raises(ValueError, match=r"Europe/Atlantis.*expected a time zone"):
        WorkingHours(time_zone="Europe/Atlantis")
    with pytest.raises(ValueError, match=r"end is 08:00, expected a time after start \(09:00\)"):
        WorkingHours(time_zone="UTC", start="09:00", end="08:00")
