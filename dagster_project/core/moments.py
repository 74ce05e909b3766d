"""Which moments a run scores: the one asked for, and on the first run the one that shows what is old news."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta


@dataclass(frozen=True)
class Moment:
    """A moment to compute features for.

    Attributes:
        as_of: Naive UTC; nothing later counts.
        is_live: Whether its scores are the ones to publish.
    """

    as_of: datetime
    is_live: bool

    @property
    def day(self) -> date:
        """The UTC day that ends the window."""
        return self.as_of.date()


def end_of_day(day: date) -> datetime:
    """The last microsecond of a UTC day."""
    return datetime.combine(day, time.max)


def resolve_as_of(requested: datetime | None, now: datetime) -> datetime:
    """The moment a run stands for; one on a day that is already over means the end of that day.

    Args:
        requested: Naive UTC, or None for now.
        now: Naive UTC.
    """
    as_of = requested or now
    return end_of_day(as_of.date()) if as_of.date() < now.date() else as_of


def scoring_moments(as_of: datetime, *, baseline_days: int | None) -> list[Moment]:
    """The moments of one run, oldest first.

    Args:
        as_of: The live moment, naive UTC.
        baseline_days: On the first run, how many days before it the baseline stands; None otherwise.
    """
    live = Moment(as_of, is_live=True)
    if baseline_days is None:
        return [live]
    return [Moment(end_of_day(as_of.date() - timedelta(days=baseline_days)), is_live=False), live]
