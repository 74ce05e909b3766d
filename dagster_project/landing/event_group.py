"""One transaction's worth of event files: read, merged, recorded and committed together.

A file that turns out to be unreadable, or that changed while it was read, leaves no row behind and keeps no
other from being loaded.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from dagster_project.core.source_rules import EventMapping, SourceRules
from dagster_project.landing.discovery import LandedFile
from dagster_project.landing.event_bulk import BulkFiles, can_be_whole, load_whole, unfit
from dagster_project.landing.event_fields import EventSource
from dagster_project.landing.event_merge import EventMerge
from dagster_project.landing.event_reading import (
    ReadAnotherWay,
    event_batches,
    event_source,
    first_way,
    first_words,
    is_machines_trouble,
    is_small,
    suspect_batches,
)
from dagster_project.landing.key_index import KeyIndex
from dagster_project.landing.opening import UnreadableFile, plain_file
from dagster_project.landing.register import (
    NO_MAPPING,
    Register,
    Writing,
    next_file_id,
    record_file,
    record_unreadable,
    record_waiting,
    refused_rows,
)
from dagster_project.landing.reports import FileOutcome, RowCounts
from dagster_project.landing.row_sources import Way
from dagster_project.landing.small_files import SmallFiles
from dagster_project.landing.text_rows import LONGEST_ROW
from dagster_project.warehouse import ALL_MEMORY, OUT_OF_MEMORY

log = logging.getLogger(__name__)
SLICE_ROWS = 400_000
SLICE_BYTES = 192 << 20
"""Rows, or bytes of them, that are held in memory and merged at a time."""


class _StartOver(Exception):
    """Rows of a file that must not count are merged already: the transaction begins anew without them."""


def mapping_version(rules: SourceRules, name: str) -> str:
    """The version of the mapping that an event file of this name is read with."""
    mapping = _mapping(rules, name)
    return mapping.version if mapping else NO_MAPPING


def _mapping(rules: SourceRules, name: str) -> EventMapping | None:
    return rules.mapping_for(name.removeprefix("events/"))


class EventGroup:
    """Loads a group of files; make a new one for each group.

    Args:
        connection: The warehouse, with no transaction begun.
        rules: `sources.yml`.
        register: What was read before.
        index: Of the keys of what is stored.
        batch_id: The ingest run.
        now: Naive UTC.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        rules: SourceRules,
        register: Register,
        index: KeyIndex,
        *,
        batch_id: int,
        now: datetime,
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._register = register
        self._index = index
        self._batch_id = batch_id
        self._now = now
        self._ways: dict[Path, Way] = {}
        self._unreadable: dict[Path, str] = {}
        self._changed: set[Path] = set()
        self._row_by_row: set[Path] = set()
        self._has_all_memory = False

    def load(self, files: Sequence[LandedFile]) -> list[FileOutcome]:
        """Load the files in one transaction and say what became of them."""
        [(limit,)] = self._connection.sql("select current_setting('memory_limit')").fetchall()
        try:
            return self._load(files)
        finally:
            if self._has_all_memory:
                self._connection.execute(f"set memory_limit = '{limit}'")

    def _load(self, files: Sequence[LandedFile]) -> list[FileOutcome]:
        while True:
            self._connection.begin()
            try:
                outcomes = self._attempt(files)
                self._connection.commit()
                return outcomes
            except _StartOver:
                self._connection.rollback()
            except BaseException as error:
                self._connection.rollback()
                if not first_words(error).startswith(OUT_OF_MEMORY) or self._has_all_memory:
                    raise
                log.warning("Rows as wide as these need more memory: the files are read again with all that there is.")
                self._has_all_memory = True
                self._connection.execute(f"set memory_limit = '{ALL_MEMORY}'")

    def _attempt(self, files: Sequence[LandedFile]) -> list[FileOutcome]:
        self._merge = EventMerge(self._connection, self._index, self._batch_id, self._now)
        self._ids = {file.path: number for number, file in enumerate(files, next_file_id(self._connection))}
        self._names = {self._ids[file.path]: file.name for file in files}
        self._columns: dict[Path, tuple[str, ...] | None] = {}
        self._staged: list[tuple[int | None, pa.RecordBatch]] = []
        self._staged_rows = self._staged_bytes = 0
        self._small = SmallFiles(self._connection)
        self._load_whole(files)
        for file in files:
            if not {file.path} & (self._whole | self._unreadable.keys() | self._changed):
                self._read(file)
                if self._small.size >= SLICE_BYTES:
                    self._stage_small()
        self._stage_small()
        self._merge_staged()
        self._merge.finish()
        return [outcome for file in files if (outcome := self._record(file)) is not None]

    def _load_whole(self, files: Sequence[LandedFile]) -> None:
        """Load the Parquet files that hold nothing but canonical rows, those of one shape together."""
        self._whole: set[Path] = set()
        passed_over = self._unreadable.keys() | self._changed | self._row_by_row
        shapes: dict[object, list[tuple[LandedFile, Path, EventSource]]] = {}
        with ExitStack() as opened:
            for file in files:
                if file.kind != ".parquet" or file.path in passed_over:
                    continue
                try:
                    path = opened.enter_context(plain_file(file))
                    source = event_source(self._connection, file, path, _mapping(self._rules, file.name))
                except (UnreadableFile, FileNotFoundError):
                    continue  # `_read` says why
                if source is not None and can_be_whole(source):
                    shape = (tuple(source.rows.types.items()), mapping_version(self._rules, file.name))
                    shapes.setdefault(shape, []).append((file, path, source))
            for alike in shapes.values():
                self._load_shape(alike)

    def _load_shape(self, alike: Sequence[tuple[LandedFile, Path, EventSource]]) -> None:
        by_id = {self._ids[file.path]: (file, source) for file, _, source in alike}
        bulk = BulkFiles({self._ids[file.path]: path for file, path, _ in alike}, alike[0][2])
        try:
            inserted, suspects = load_whole(
                self._connection, bulk, self._index, self._batch_id, is_touched=self._merge.is_touched
            )
        except duckdb.Error as error:
            if is_machines_trouble(error):
                raise
            guilty = unfit(self._connection, bulk) or set(by_id)
            self._row_by_row |= {by_id[file_id][0].path for file_id in guilty}
            raise _StartOver from error
        for file_id, rows in inserted.items():
            self._merge.counts[file_id] = RowCounts(rows_in=rows, loaded=rows)
        for file_id, (file, source) in by_id.items():
            self._whole.add(file.path)
            self._columns[file.path] = source.rows.columns
            if suspects.num_rows:
                for batch in suspect_batches(self._connection, source, file_id=file_id, suspects=suspects):
                    self._add(file_id, batch)
            if not file.is_unchanged():
                self._changed.add(file.path)
                raise _StartOver

    def _read(self, file: LandedFile) -> None:
        try:
            with plain_file(file) as path:
                source = event_source(self._connection, file, path, _mapping(self._rules, file.name))
                if source is not None:
                    self._columns[file.path] = source.rows.columns
                    self._stage(file, source)
        except UnreadableFile as error:
            self._unreadable[file.path] = str(error)
        except FileNotFoundError:
            if file.is_unchanged():
                raise
        if not file.is_unchanged():
            self._unreadable.pop(file.path, None)
            self._changed.add(file.path)
        if file.path in self._unreadable or file.path in self._changed:
            self._forget(file)

    def _stage(self, file: LandedFile, source: EventSource) -> None:
        file_id = self._ids[file.path]
        if is_small(source):
            self._small.add(file, file_id, source)
            return
        while True:
            way = self._ways.setdefault(file.path, first_way(source))
            try:
                rows = 0
                for batch in event_batches(self._connection, source, file_id=file_id, way=way):
                    self._add(file_id, batch)
                    rows += batch.num_rows
                # DuckDB says nothing of a line that is many times too long, an array in one line for example.
                is_odd = not rows and way != "by hand" and source.rows.slow_relation is not None
                if not is_odd or source.rows.path.stat().st_size <= LONGEST_ROW:
                    return
                self._ways[file.path] = "by hand"
            except ReadAnotherWay as again:
                self._ways[file.path] = again.way
                self._forget(file)

    def _stage_small(self) -> None:
        """Nothing that is staged here is forgotten later: the files were read to their ends before."""
        for judged in self._small.judged():
            if isinstance(judged, tuple):
                self._unreadable[judged[0].path] = str(judged[1])
                continue
            for batch in judged:
                self._add(None, batch)
        self._small = SmallFiles(self._connection)

    def _add(self, file_id: int | None, batch: pa.RecordBatch) -> None:
        self._staged.append((file_id, batch))
        self._staged_rows += batch.num_rows
        self._staged_bytes += batch.nbytes
        if self._staged_rows >= SLICE_ROWS or self._staged_bytes >= SLICE_BYTES:
            self._merge_staged()

    def _merge_staged(self) -> None:
        if self._staged:
            self._merge.add(pa.Table.from_batches([batch for _, batch in self._staged]), self._names)
            self._staged, self._staged_rows, self._staged_bytes = [], 0, 0

    def _forget(self, file: LandedFile) -> None:
        file_id = self._ids[file.path]
        if file_id in self._merge.counts:
            raise _StartOver
        self._small.forget(file)
        self._staged = [(owner, batch) for owner, batch in self._staged if owner != file_id]
        self._staged_rows = sum(batch.num_rows for _, batch in self._staged)
        self._staged_bytes = sum(batch.nbytes for _, batch in self._staged)

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
        mapping = mapping_version(self._rules, file.name)
        outcome = FileOutcome(
            source=file.source,
            path=file.name,
            status="loaded" if counts.rows_in else "empty",
            rows_in=counts.rows_in,
            loaded=counts.loaded,
            duplicate=counts.duplicate,
            quarantined=counts.quarantined,
            detail=refused_rows(counts.quarantined, mapping) if counts.quarantined else None,
        )
        columns = self._columns.get(file.path)
        record_file(self._connection, file, outcome, writing, columns=columns, mapping=mapping)
        return outcome
