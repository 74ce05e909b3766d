"""What a load did, file by file, and how far one has come. Nothing here reads or writes."""

import time
from collections.abc import Callable
from dataclasses import dataclass

TELL_SECONDS = 5.0
QUARANTINED = "quarantined"
"""Under this name a run tells how many rows an asset could not read."""


@dataclass(frozen=True)
class RowCounts:
    """Rows of one file; `rows_in = loaded + duplicate + quarantined`."""

    rows_in: int = 0
    loaded: int = 0
    duplicate: int = 0
    quarantined: int = 0

    def plus(self, other: "RowCounts") -> "RowCounts":
        """The sum of both."""
        return RowCounts(
            self.rows_in + other.rows_in,
            self.loaded + other.loaded,
            self.duplicate + other.duplicate,
            self.quarantined + other.quarantined,
        )


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file.

    Attributes:
        source: `events`, `crm.accounts`, ... or `suppression`.
        path: Relative to the landing folder.
        status: loaded, empty, unreadable, redelivered, shrunk or waiting.
        rows_in: Rows found; an unreadable file counts as one. Always `loaded + duplicate + quarantined`.
        loaded: Rows that this file put into the table.
        duplicate: Rows whose key was there already, or stands better elsewhere in the load.
        quarantined: Rows that could not be read.
        detail: The cause, for people; None when all is well.
    """

    source: str
    path: str
    status: str
    rows_in: int = 0
    loaded: int = 0
    duplicate: int = 0
    quarantined: int = 0
    detail: str | None = None


@dataclass(frozen=True)
class LoadReport:
    """The outcomes of one load, in the order in which files were finished.

    Known files that did not change are absent.
    """

    files: tuple[FileOutcome, ...] = ()

    @property
    def rows_in(self) -> int:
        """Rows found in all files."""
        return sum(file.rows_in for file in self.files)

    @property
    def loaded(self) -> int:
        """Rows put into the table."""
        return sum(file.loaded for file in self.files)

    @property
    def duplicate(self) -> int:
        """Rows that were there already."""
        return sum(file.duplicate for file in self.files)

    @property
    def quarantined(self) -> int:
        """Rows that could not be read."""
        return sum(file.quarantined for file in self.files)


Progress = Callable[[FileOutcome], None]
"""Told of every finished file as soon as its rows are committed."""


def tell_at_times(say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Progress:
    """Tell how many files and rows are done, every few seconds.

    Args:
        say: Takes the message, such as a step's log.
        clock: Seconds.
    """
    files = rows = 0
    told_at = clock()

    def progress(outcome: FileOutcome) -> None:
        nonlocal files, rows, told_at
        files, rows = files + 1, rows + outcome.rows_in
        if clock() - told_at >= TELL_SECONDS:
            told_at = clock()
            say(f"{rows:,} events of {files:,} files")

    return progress
