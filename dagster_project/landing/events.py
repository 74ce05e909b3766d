"""Event files from landing into `raw.events`: which files, in which transactions, with which outcome.

A transaction holds a group of small files or one large one: rows, quarantine, touched days and the files'
records commit together, so that a run that is killed loses nothing and doubles nothing. How rows are read is
in `event_reading`, how they are merged in `event_merge`.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import duckdb

from dagster_project.core.source_rules import SourceRules
from dagster_project.landing.discovery import EVENTS, LandedFile, event_files, hashed, settle
from dagster_project.landing.event_group import EventGroup, mapping_version
from dagster_project.landing.event_merge import renew_keys
from dagster_project.landing.key_index import KeyIndex
from dagster_project.landing.register import (
    LoadedContent,
    Register,
    Writing,
    names_to_look_at,
    next_file_id,
    record_redelivered,
    record_unreadable,
    record_waiting,
)
from dagster_project.landing.reports import FileOutcome, LoadReport, Progress
from dagster_project.warehouse import MEMORY_ALONE, memory_limited, transaction

log = logging.getLogger(__name__)
GROUP_BYTES = 64 << 20
GROUP_FILES = 500


def begin_batch(connection: duckdb.DuckDBPyConnection, now: datetime) -> int:
    """Begin an ingest run.

    Args:
        connection: The warehouse.
        now: Naive UTC.

    Returns:
        The run's number: 1, 2, 3, ...
    """
    return connection.execute(
        "insert into raw.batches select coalesce(max(batch_id), 0) + 1, ? from raw.batches returning batch_id",
        [now],
    ).fetchall()[0][0]


def load_events(
    connection: duckdb.DuckDBPyConnection,
    landing: Path,
    rules: SourceRules,
    batch_id: int,
    now: datetime,
    progress: Progress | None = None,
    complete: Collection[str] | None = None,
    index: KeyIndex | None = None,
) -> LoadReport:
    """Load the event files that are new or changed.

    Files whose path, size and time are known are skipped at once, those whose content is known without being
    read (`redelivered`). A file that can't be read keeps no other from being loaded.

    Args:
        connection: The warehouse, with no transaction begun.
        landing: The landing folder.
        rules: `sources.yml`.
        batch_id: From `begin_batch`.
        now: Naive UTC; only written down, ages are measured with the clock that the files were written by.
        progress: Told of every file as soon as it is committed.
        complete: Versions of files that somebody saw completed: these alone are looked at, and those of which
            something is to be tried again.
        index: Of the keys of what is stored; by default the warehouse's own.

    Returns:
        What became of every file that was looked at.
    """
    with memory_limited(connection, MEMORY_ALONE):
        index = index or KeyIndex(connection)
        renew_keys(connection, index)
        mapping_of = partial(mapping_version, rules)
        only = None
        if complete is not None:
            only = names_to_look_at(connection, complete, EVENTS, mapping_of=mapping_of)
        register = Register(connection, EVENTS, only=only)
        found = [file for file in event_files(landing, only) if not register.is_done(file, mapping_of(file.name))]
        ready, waiting = settle(found, rules.settle_seconds, complete)
        outcomes: list[FileOutcome] = []

        def tell(finished: Iterable[FileOutcome]) -> None:
            for outcome in finished:
                outcomes.append(outcome)
                if progress:
                    progress(outcome)

        new, troubled = hashed(ready)
        tell(_recorded(connection, waiting, record_waiting, batch_id, now))
        for file, reason in troubled:
            tell(_recorded(connection, [file], partial(record_unreadable, reason=reason), batch_id, now))
        # A twin waits for the first of its kind: if that is loaded, nothing is left to read.
        firsts = {file.content_hash: file for file in reversed(new)}
        twins = [file for file in new if firsts[file.content_hash] is not file]
        for files in ([file for file in new if firsts[file.content_hash] is file], twins):
            seen = LoadedContent(connection, EVENTS, [file.content_hash for file in files])
            known = {file.path for file in files if seen.has(file, mapping_of(file.name))}
            again = [file for file in files if file.path in known]
            tell(_recorded(connection, again, record_redelivered, batch_id, now))
            for group in _groups([file for file in files if file.path not in known]):
                loading = EventGroup(connection, rules, register, index, batch_id=batch_id, now=now)
                tell(loading.load(group))
        try:
            index.extend()
        except OSError as error:
            # Nothing depends on it but how long the next loads take.
            log.warning(f"message keys were not written into {index.folder}, DuckDB searches them meanwhile: {error}")
        return LoadReport(tuple(outcomes))


def _groups(files: Sequence[LandedFile]) -> Iterator[list[LandedFile]]:
    """Files in their order, cut so that a group is one large file or many small ones."""
    group: list[LandedFile] = []
    size = 0
    for file in files:
        if group and (size + file.size > GROUP_BYTES or len(group) == GROUP_FILES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group


def _recorded(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[LandedFile],
    record: Callable[[duckdb.DuckDBPyConnection, LandedFile, Writing], FileOutcome],
    batch_id: int,
    now: datetime,
) -> list[FileOutcome]:
    """Record files of which nothing is read, in one transaction."""
    if not files:
        return []
    with transaction(connection):
        return [
            record(connection, file, Writing(file_id, batch_id, now))
            for file_id, file in enumerate(files, next_file_id(connection))
        ]
