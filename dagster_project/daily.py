"""When everything is run that only a run of everything does: once a UTC day, whoever does it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from dagster_project.pauses import doubled

AGAIN = 3600.0
"""Seconds before a run of everything that was due is tried again."""
AGAIN_AFTER_FAILURE = 300.0
"""The same where it failed: doubled with each failure in a row, up to the above."""


def everything_at(data_dir: Path) -> str:
    """The ledger's key for when the last run of everything on a data folder began that has published, naive UTC.

    Args:
        data_dir: Several may share a ledger.
    """
    return f"everything_at {data_dir}"


@dataclass
class Daily:
    """Whether everything is to be run now: windows slide, and outcomes are looked at.

    Attributes:
        done_on: The last day on which it was, None for never.
        known: What that said the last time.
        failures: Tries in a row that failed.
        tried_at: When the last one began.
    """

    done_on: Callable[[], date | None]
    known: date | None = None
    failures: int = 0
    tried_at: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether it is to be run now."""
        if self._was_tried(now):
            return False
        if self.known != _day(now):
            self.known = self.done_on()
        return self.known != _day(now)

    def tried(self, now: float, *, succeeded: bool) -> None:
        """It was run."""
        self.tried_at = now
        self.failures = 0 if succeeded else self.failures + 1

    def _was_tried(self, now: float) -> bool:
        """Whether that was too short ago for another try; yesterday's says nothing, nor that of a clock set back."""
        if self.tried_at is None or _day(now) != _day(self.tried_at) or now < self.tried_at:
            return False
        pause = doubled(AGAIN_AFTER_FAILURE, self.failures, longest=AGAIN) if self.failures else AGAIN
        return now - self.tried_at < pause


def _day(now: float) -> date:
    return datetime.fromtimestamp(now, UTC).date()
