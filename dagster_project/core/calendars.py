"""Working hours: whether somebody is at work, which day it is for them, and when so much of their time has passed.

Moments are naive UTC, as everywhere; what is local stays in here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from dagster_project.core.handoff_rules import WEEKDAYS, WorkingHours

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Calendar:
    """One person's working time. Without ``hours`` every hour of every day counts, in UTC."""

    hours: WorkingHours | None = None
    holidays: frozenset[date] = frozenset()

    def day(self, at: datetime) -> date:
        """The date there at a moment."""
        return self._local(at).date()

    def is_working(self, at: datetime) -> bool:
        """Whether somebody is at work."""
        return self.hours is None or self._opening(at) == at

    def due(self, start: datetime, hours: float) -> datetime:
        """When ``hours`` of this calendar have passed since ``start``.

        Whole days are working days, what is left are working hours: 24 is the same time on the next working day, 1 is
        one hour of work. What begins outside of working hours begins with the next of them.
        """
        if self.hours is None:
            return start + timedelta(hours=hours)
        days, rest = divmod(hours, 24)
        at = self._opening(start)
        for _ in range(int(days)):
            at = self._same_time_later(at)
        left = timedelta(hours=rest)
        while left > (room := self._closing(at) - at):
            left -= room
            at = self._opening(at + room)
        return at + left

    def text(self, at: datetime) -> str:
        """A moment as somebody there reads it."""
        if self.hours is None or self.hours.time_zone == "UTC":
            return f"{at:%Y-%m-%d %H:%M} UTC"
        local = self._local(at)
        return f"{local:%Y-%m-%d %H:%M} {local.tzname()} ({at:%H:%M} UTC)"

    def _local(self, at: datetime) -> datetime:
        zone = ZoneInfo(self.hours.time_zone) if self.hours else UTC
        return at.replace(tzinfo=UTC).astimezone(zone)

    def _bounds(self, day: date) -> tuple[datetime, datetime]:
        """First and last moment of a day's work."""
        assert self.hours is not None, "without hours every moment is one of work"
        until = day if self.hours.end > self.hours.start else day + _DAY
        return self._utc(day, self.hours.start), self._utc(until, self.hours.end)

    def _utc(self, day: date, at: time) -> datetime:
        assert self.hours is not None, "only local moments are turned into UTC"
        local = datetime.combine(day, at, tzinfo=ZoneInfo(self.hours.time_zone))
        return local.astimezone(UTC).replace(tzinfo=None)

    def _is_working_day(self, day: date) -> bool:
        assert self.hours is not None, "without hours every day is one of work"
        return WEEKDAYS[day.weekday()] in self.hours.days and day not in self.holidays

    def _opening(self, at: datetime) -> datetime:
        """The moment itself, or the next one at which work begins."""
        day = self.day(at)
        while True:
            begins, ends = self._bounds(day)
            if self._is_working_day(day) and at < ends:
                return max(at, begins)
            day += _DAY

    def _closing(self, at: datetime) -> datetime:
        return self._bounds(self.day(at))[1]

    def _same_time_later(self, at: datetime) -> datetime:
        local = self._local(at)
        day = local.date() + _DAY
        while not self._is_working_day(day):
            day += _DAY
        return self._utc(day, local.time())
