"""One transaction's worth of event files: read, merged, recorded and committed together.

A file that turns out to be unreadable, or that changed while it was read, leaves no row behind and keeps no
other from being loaded.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from dagster_project.core.source_rules import EventMapping, SourceRules
from dagster_project.landing.discovery import LandedFile
from dagster_project.landing.event_fields import EventSource
from dagster_project.landing.event_merge import EventMerge
from dagster_project.landing.event_reading import ReadAnotherWay, event_batches, event_source, first_way
from dagster_project.landing.opening import UnreadableFile, plain_file
from dagster_project.landing.register import (
    Register,
    Writing,
    next_file_id,
    record_file,
    record_unreadable,
    record_waiting,
)
from dagster_project.landing.reports import FileOutcome, RowCounts
from dagster_project.landing.row_sources import Way

SLICE_ROWS = 400_000
SLICE_BYTES = 192 << 20
"""Rows, or bytes of them, that are held in memory and merged at a time."""


class _StartOver(Exception):
    """Rows of a file that must not count are merged already: the transaction begins anew without them."""


class EventGroup:
    """Loads a group of files; make a new one for each group.

    Args:
        connection: The warehouse, with no transaction begun.
        landing: The landing folder.
        rules: `sources.yml`.
        register: What was read before.
        batch_id: The ingest run.
        now: Naive UTC.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        landing: Path,
        rules: SourceRules,
        register: Register,
        *,
        batch_id: int,
        now: datetime,
    ) -> None:
        self._connection = connection
        self._events = landing / "events"
        self._rules = rules
        self._register = register
        self._batch_id = batch_id
        self._now = now
        self._ways: dict[Path, Way] = {}
        self._unreadable: dict[Path, str] = {}
        self._changed: set[Path] = set()

    def load(self, files: Sequence[LandedFile]) -> list[FileOutcome]:
        """Load the files in one transaction and say what became of them."""
        while True:
            self._connection.begin()
            try:
                outcomes = self._attempt(files)
                self._connection.commit()
                return outcomes
            except _StartOver:
                self._connection.rollback()
            except BaseException:
                self._connection.rollback()
                raise

    def _attempt(self, files: Sequence[LandedFile]) -> list[FileOutcome]:
        self._merge = EventMerge(self._connection, self._batch_id, self._now)
        self._ids = {file.path: number for number, file in enumerate(files, next_file_id(self._connection))}
        self._names = {self._ids[file.path]: file.name for file in files}
        self._columns: dict[Path, tuple[str, ...] | None] = {}
        self._staged: list[tuple[int, pa.RecordBatch]] = []
        for file in files:
            if file.path not in self._unreadable and file.path not in self._changed:
                self._read(file)
        self._merge_staged()
        self._merge.finish()
        return [outcome for file in files if (outcome := self._record(file)) is not None]

    def _read(self, file: LandedFile) -> None:
        try:
            with plain_file(file) as path:
                source = event_source(self._connection, file, path, self._mapping(file))
                if source is not None:
                    self._columns[file.path] = source.rows.columns
                    self._stage(file, source)
        except UnreadableFile as error:
            self._unreadable[file.path] = str(error)
        if not file.is_unchanged():
            self._unreadable.pop(file.path, None)
            self._changed.add(file.path)
        if file.path in self._unreadable or file.path in self._changed:
            self._forget(file)

    def _stage(self, file: LandedFile, source: EventSource) -> None:
        file_id = self._ids[file.path]
        while True:
            way = self._ways.setdefault(file.path, first_way(source))
            try:
                for batch in event_batches(self._connection, source, file_id=file_id, way=way):
                    self._staged.append((file_id, batch))
                    if self._is_full():
                        self._merge_staged()
                return
            except ReadAnotherWay as again:
                self._ways[file.path] = again.way
                self._forget(file)

    def _is_full(self) -> bool:
        rows = sum(batch.num_rows for _, batch in self._staged)
        return rows >= SLICE_ROWS or sum(batch.nbytes for _, batch in self._staged) >= SLICE_BYTES

    def _merge_staged(self) -> None:
        if self._staged:
            self._merge.add(pa.Table.from_batches([batch for _, batch in self._staged]), self._names)
            self._staged = []

    def _forget(self, file: LandedFile) -> None:
        file_id = self._ids[file.path]
        if file_id in self._merge.counts:
            raise _StartOver
        self._staged = [(owner, batch) for owner, batch in self._staged if owner != file_id]

    def _mapping(self, file: LandedFile) -> EventMapping | None:
        return self._rules.mapping_for(file.path.relative_to(self._events).as_posix())

    def _record(self, file: LandedFile) -> FileOutcome | None:
        writing = Writing(file_id=self._ids[file.path], batch_id=self._batch_id, now=self._now)
        if file.path in self._changed:
            return record_waiting(self._connection, file, writing)
        if file.path in self._unreadable:
            reason = self._unreadable[file.path]
            if self._register.last_detail(file) == reason:
                return None  # tried again because the playbook might have changed, and said before
            return record_unreadable(self._connection, file, writing, reason)
        counts = self._merge.counts.get(self._ids[file.path], RowCounts())
        outcome = FileOutcome(
            source=file.source,
            path=file.name,
            status="loaded" if counts.rows_in else "empty",
            rows_in=counts.rows_in,
            loaded=counts.loaded,
            duplicate=counts.duplicate,
            quarantined=counts.quarantined,
        )
        record_file(self._connection, file, outcome, writing, columns=self._columns.get(file.path))
        return outcome
