"""The rows of one event file, canonical, as a stream of Arrow batches: memory does not grow with the file.

DuckDB reads and judges; Python splits rows only in text files that DuckDB's readers refuse.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dagster_project.core.source_rules import EventMapping
from dagster_project.landing.discovery import LandedFile
from dagster_project.landing.event_fields import EventSource, csv_source, ndjson_source, parquet_source
from dagster_project.landing.event_sql import canonical_rows, message_key
from dagster_project.landing.opening import UnreadableFile
from dagster_project.landing.row_sources import BLANK, SLOW_ROWS, Way

BATCH_ROWS = 50_000
SMALL_TEXT = 512 << 10
"""Bytes up to which a text file is split by hand: planning a query takes longer than that."""

LARGE_TEXT = 64 << 20
"""Bytes from which a text file is first read without row numbers, in the hope that it needs none."""

_FOLDERS = re.compile(r"(['\"])/[^'\"]*/")
"""Of a path in quotation marks."""
_MACHINES_TROUBLE = re.compile(
    r"(?:Out of Memory|INTERNAL|INTERRUPT|FATAL) Error\b|IO Error: .*No space left|\[Errno 28\]"
)


class ReadAnotherWay(Exception):
    """The file has to be read again from its start, the given way."""

    def __init__(self, way: Way) -> None:
        super().__init__(way)
        self.way = way


def event_source(
    connection: duckdb.DuckDBPyConnection, file: LandedFile, path: Path, mapping: EventMapping | None
) -> EventSource | None:
    """How to read a file; None if there is nothing in it.

    Args:
        connection: Any connection.
        file: The file.
        path: Its uncompressed content.
        mapping: Its entry in `sources.yml`.

    Raises:
        UnreadableFile: It is damaged or lacks the columns without which no event can be read.
    """
    mapping = mapping or EventMapping(files="*")
    if path.stat().st_size == 0:
        return None
    if file.kind == ".csv":
        return csv_source(path, mapping)
    if file.kind == ".parquet":
        try:
            return parquet_source(connection, path, mapping)
        except duckdb.Error as error:
            raise UnreadableFile(f"the Parquet file can't be read: {first_words(error)}") from error
    return ndjson_source(path, mapping)


def first_way(source: EventSource) -> Way:
    """The way to begin with."""
    if source.rows.slow_relation is None or source.rows.path.stat().st_size < LARGE_TEXT:
        return "in order"
    return "at once"


def is_small(source: EventSource) -> bool:
    """Whether a file is better read together with others."""
    return source.rows.slow_relation is not None and source.rows.path.stat().st_size <= SMALL_TEXT


def together(connection: duckdb.DuckDBPyConnection, sql: str, rows: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The canonical rows of files that the same SQL judges.

    Args:
        connection: The warehouse; the rows are judged beside its transaction.
        sql: `canonical_rows` by hand.
        rows: What `slow_rows` makes of all files.

    Raises:
        UnreadableFile: The rows of one of them can't be judged.
    """
    if not rows:
        return []
    with connection.cursor() as reader:
        reader.execute("set arrow_large_buffer_size = true")
        reader.register(SLOW_ROWS, pa.Table.from_batches(rows))
        try:
            return list(_without_blank(reader.sql(sql).to_arrow_reader(BATCH_ROWS)))
        except (duckdb.Error, pa.ArrowException) as error:
            if is_machines_trouble(error):
                raise
            raise UnreadableFile(f"the file can't be read: {first_words(error)}") from error


def event_batches(
    connection: duckdb.DuckDBPyConnection, source: EventSource, *, file_id: int, way: Way
) -> Iterator[pa.RecordBatch]:
    """The canonical rows of a file in batches.

    Args:
        connection: The warehouse; the file is read beside its transaction.
        source: From `event_source`.
        file_id: The file's id.
        way: How to split the rows.

    Raises:
        ReadAnotherWay: A row needs its number, or DuckDB can't split all rows.
        UnreadableFile: The rows can't be read at all.
    """
    with connection.cursor() as reader:
        reader.execute("set arrow_large_buffer_size = true")
        if way == "by hand":
            reader.register(SLOW_ROWS, source.rows.slow_rows(file_id))
        try:
            rows = reader.sql(canonical_rows(source, source.rows.read_with(way, file_id)))
            batches = _without_blank(rows.to_arrow_reader(BATCH_ROWS))
            yield from _unnumbered(batches) if way == "at once" else batches
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if is_machines_trouble(error):
                raise
            if way != "by hand" and source.rows.slow_relation is not None:
                raise ReadAnotherWay("by hand") from error
            raise UnreadableFile(f"the file can't be read: {first_words(error)}") from error


def suspect_batches(
    connection: duckdb.DuckDBPyConnection, source: EventSource, *, file_id: int, suspects: pa.Table
) -> Iterator[pa.RecordBatch]:
    """The canonical rows of a Parquet file whose message keys are among `suspects` (column `key`), in batches.

    Args:
        connection: The warehouse; the file is read beside its transaction.
        source: From `event_source`.
        file_id: The file's id.
        suspects: Which rows.
    """
    with connection.cursor() as reader:
        reader.execute("set arrow_large_buffer_size = true")
        reader.register("suspects", suspects)
        key = message_key(source.text["message_id"])
        rows = f"select * from ({source.rows.read_with('in order', file_id)}) where {key} in (select key from suspects)"
        yield from reader.sql(canonical_rows(source, rows)).to_arrow_reader(BATCH_ROWS)


def _without_blank(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        is_row = pc.fill_null(pc.not_equal(batch["reason"], BLANK), True)
        yield batch if is_row.true_count == batch.num_rows else batch.filter(is_row)


def _unnumbered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Rows in any order: a number tells them apart, but is not their place; quarantine needs the place."""
    seen = 0
    for batch in batches:
        if batch["reason"].null_count < batch.num_rows:
            raise ReadAnotherWay("in order")
        numbers = pa.arange(seen + 1, seen + batch.num_rows + 1)
        seen += batch.num_rows
        yield batch.set_column(batch.schema.get_field_index("row_number"), "row_number", numbers)


def is_machines_trouble(error: Exception) -> bool:
    """Whether an error says something about this machine rather than about the file that was read.

    Arrow passes DuckDB's errors on as its own, so that only their words tell them apart: those at the beginning, as the
    rest of them quotes what stands in the file.
    """
    return _MACHINES_TROUBLE.match(first_words(error)) is not None


def first_words(error: BaseException) -> str:
    """An error's first line, in which files have no folders: what can't be read is the same wherever the data lie."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return _FOLDERS.sub(r"\1", said)
