"""Well-formed Parquet files straight into `raw.events`: one query for many files, and no row looked at alone.

Every value is guarded: a row that is not canonical as it lies there stops the query, nothing of it is kept, and
`event_group` reads its file row by row instead. Rows whose message id may come twice are left to `EventMerge`. What a
canonical row is, is decided in `event_sql`; the guards only know when there is nothing to do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from dagster_project.core.source_rules import EVENT_TYPES, OBJECTS
from dagster_project.landing.event_fields import IDS, EventSource
from dagster_project.landing.event_sql import (
    CONTENT,
    EVENT_VALUES,
    TOUCHED,
    group_of_context,
    has_traits_elsewhere,
    is_no_id,
    lifted_columns,
    lifted_values,
    may_be_several,
    message_key,
    says_who,
    session_of,
)
from dagster_project.landing.key_index import KeyIndex
from dagster_project.landing.sql_text import has_nul, in_range_of_events, is_trimmed, json_object_of, literal

MAIN_SHARE = 0.8
"""A file is written as it lies there when so many of its rows are of one day; only the others are sorted by day."""

DayRows = tuple[int, date | None, int, int]
"""Of one file (its place among the files) and day: the rows, and how many of them are suspect."""


@dataclass(frozen=True)
class BulkFiles:
    """Parquet files of one shape: the same columns and types, read with the same mapping.

    Attributes:
        paths: By file id, where they lie.
        source: How the rows of any of them are read.
    """

    paths: Mapping[int, Path]
    source: EventSource

    @property
    def relation(self) -> str:
        """SQL of the rows as they lie there; `file_index` is their file's place in `paths`."""
        columns = ", ".join(["file_index::bigint as file_index", *self.source.rows.used])
        paths = ", ".join(literal(str(path)) for path in self.paths.values())
        return f"(select {columns} from read_parquet([{paths}], hive_partitioning = false, binary_as_string = true))"

    @property
    def key(self) -> str:
        """SQL of a row's message key, over `src`."""
        return message_key(self.source.text["message_id"])


def can_be_whole(source: EventSource) -> bool:
    """Whether a file may hold canonical rows as they lie there: Parquet with message ids, nothing put together."""
    return bool(source.rows.used) and not source.gathered and "src." in source.text["message_id"]


def load_whole(
    connection: duckdb.DuckDBPyConnection, files: BulkFiles, index: KeyIndex, batch_id: int, *, is_touched: str = "true"
) -> tuple[dict[int, int], pa.Table]:
    """Insert the rows of files, except those with a suspect message key: one that is stored or comes more than once.

    The days that the rows touch go to the temporary table `touched_now`.

    Args:
        connection: The warehouse, with a transaction begun.
        files: What to read.
        index: Of the keys of what is stored.
        batch_id: The ingest run.
        is_touched: SQL of whether the day of a row matters to the rollup.

    Returns:
        How many rows of each file were inserted, and the suspect keys (column `key`).

    Raises:
        duckdb.Error: A row is not canonical, or a file can't be read. The transaction is lost.
    """
    suspects = _suspects(connection, files, index)
    found = _rows_by_day(connection, files, bool(suspects.num_rows))
    mains = _main_days(found, len(files.paths))
    rows = f"({_rows_as_they_are(files)})"
    unsuspected = "message_key not in (select key from suspects)" if suspects.num_rows else "true"
    days = ", ".join(f"date '{day}'" if day else "null" for day in mains)
    is_main = f"timestamp::date = ([{days}]::date[])[file_index + 1]"
    into = f"insert into raw.events by name select * exclude (file_index), {batch_id}::integer as batch_id from {rows}"
    inserted = 0
    if any(mains):
        inserted += connection.execute(f"{into} where {unsuspected} and {is_main}").fetchall()[0][0]
    if any(day != mains[place] for place, day, _, _ in found):
        others = f"{unsuspected} and ({is_main}) is not true"
        inserted += connection.execute(f"{into} where {others} order by timestamp::date").fetchall()[0][0]
    touched = f"select distinct {TOUCHED} from {_subjects(files)} where {unsuspected} and {is_touched}"
    connection.execute(f"insert into touched_now {touched}")
    counts = dict.fromkeys(files.paths, 0)
    for place, _, all_rows, suspect_rows in found:
        counts[list(files.paths)[place]] += all_rows - suspect_rows
    if inserted != sum(counts.values()):
        raise AssertionError(f"{inserted} rows were inserted, {sum(counts.values())} counted")
    return counts, suspects


def _subjects(files: BulkFiles) -> str:
    """SQL of whose days rows are about, once it is known that all are canonical: without looking at them once more."""
    text, moment = files.source.text, files.source.moment["timestamp"]
    ids = ", ".join(f"nullif({text[column]}, '') as {column}" for column in ("user_id", "anonymous_id"))
    return f"(select {ids}, {moment} as timestamp, {files.key} as message_key from {files.relation} as src)"


def unfit(connection: duckdb.DuckDBPyConnection, files: BulkFiles) -> set[int]:
    """The ids of the files that hold a row that is not canonical as it lies there."""
    with connection.cursor() as reader:
        return {file_id for file_id, path in files.paths.items() if not _fits(reader, path, files.source)}


def _fits(reader: duckdb.DuckDBPyConnection, path: Path, source: EventSource) -> bool:
    try:
        reader.execute(f"select max(columns(*)) from ({_rows_as_they_are(BulkFiles({0: path}, source))})").fetchall()
    except duckdb.Error:
        return False
    return True


def _suspects(connection: duckdb.DuckDBPyConnection, files: BulkFiles, index: KeyIndex) -> pa.Table:
    """Write the suspect keys to the temporary table `suspects`; whether two ids with one key are one, is not asked."""
    read = connection.sql(f"select {files.key} as key from {files.relation} as src where key is not null")
    keys, counts = np.unique(read.to_arrow_table()["key"].to_numpy(), return_counts=True)
    may_be_stored = index.found(pa.table({"key": keys}))
    found = pa.table({"key": np.union1d(keys[counts > 1], may_be_stored["key"].to_numpy())})
    connection.execute("create or replace temp table suspects as from found")
    return found


def _rows_by_day(connection: duckdb.DuckDBPyConnection, files: BulkFiles, some_are_suspect: bool) -> list[DayRows]:
    source = files.source
    return connection.execute(
        f"select file_index, happened_at::date, count(*), count(*) filter (is_suspect) from (select file_index, "
        f"{source.text['timestamp']} as timestamp_text, {source.moment['timestamp']} as happened_at, "
        f"{f'{files.key} in (select key from suspects)' if some_are_suspect else 'false'} as is_suspect "
        f"from {files.relation} as src) group by all"
    ).fetchall()


def _main_days(found: Sequence[DayRows], files: int) -> list[date | None]:
    """By file, the day of most of its rows; None where there is no such day."""
    totals = [0] * files
    for place, _, rows, _ in found:
        totals[place] += rows
    mains: list[date | None] = [None] * files
    for place, day, rows, _ in found:
        if rows >= MAIN_SHARE * totals[place]:
            mains[place] = day
    return mains


def _rows_as_they_are(files: BulkFiles) -> str:
    """SQL of (file_index, file_id, message_key, *EVENT_VALUES), as `canonical_rows` gives them; fails otherwise."""
    source = files.source
    plain = [column for column in CONTENT if column not in OBJECTS and column not in ("type", "timestamp")]
    texts = ",\n  ".join(f"{_text(source.text[column], column)} as {column}" for column in ("type", *plain))
    odd = (f"{has_nul(column)} or {is_no_id(column)} or {may_be_several(column)}" for column in IDS)
    objects = ",\n  ".join(f"{_object(source.text[column], column)} as {column}" for column in OBJECTS)
    kinds = ", ".join(literal(kind) for kind in EVENT_TYPES if kind != "alias")
    ids = ", ".join(map(str, files.paths))
    return f"""
with said as (
  select file_index,
  {_text(source.text["message_id"], "message_id")} as given_id,
  {texts},
  {objects},
  {source.text["timestamp"]} as timestamp_text,
  {source.text["received_at"]} as received_at_text,
  {source.moment["timestamp"]} as timestamp_value,
  {source.moment["received_at"]} as received_at_value
  from {files.relation} as src
),

named as (
  select * replace (
      {source.event_type} as type,
      coalesce(group_id, {group_of_context("context")}) as group_id)
  from said
),

guarded as (
  select * replace (
      case when type in ({kinds}) then type else error('type') end as type,
      case when coalesce({", ".join(IDS)}) is null or {" or ".join((has_nul("given_id"), *odd))}
        then error('ids') else user_id end as user_id,
      {session_of("session_id")} as session_id,
      case when traits is null and {has_traits_elsewhere("context")} then error('traits') else traits end as traits),
    coalesce(given_id, error('message_id')) as message_id,
    coalesce({in_range_of_events("timestamp_value")}, error('timestamp')) as timestamp,
    case when received_at_value is not null or received_at_text <> ''
      then coalesce({in_range_of_events("received_at_value")}, error('received_at')) end as received_at,
    {lifted_values("properties")} as lifted
  from named
)

select {", ".join(column for column in EVENT_VALUES if column in (*CONTENT, "message_id", "received_at"))},
  {lifted_columns()},
  {says_who(source)} as identifies,
  {message_key("message_id")} as message_key, ([{ids}]::integer[])[file_index + 1] as file_id, file_index
from guarded"""


def _text(value: str, column: str) -> str:
    return (
        f"case when {is_trimmed(value)} then {value} when {value} is null or {value} = '' then null "
        f"else error({literal(column)}) end"
    )


def _object(value: str, column: str) -> str:
    return (
        f"case when {value} is not null and {value} not in ('', 'null') "
        f"then coalesce({json_object_of(value)}, error({literal(column)})) end"
    )
