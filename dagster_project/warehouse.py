"""The warehouse: how its DuckDB file is opened, the tables that loading fills, and the copy that SQL users
read.

What belongs here: connections, the DDL of schema `raw`, the serving copy. What goes into the tables is
decided in `landing/`; every other schema is made by whoever fills it (dbt, scoring, the ledger's copy).
"""

import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import duckdb

SERVING_STORAGE_VERSION = "v1.5.0"
"""The oldest DuckDB that analysts may open the serving copy with."""
MEMORY_LIMIT = "600MB"
"""Of DuckDB, beside frames in memory; what does not fit goes to a temporary file beside the warehouse."""
MEMORY_ALONE = "1GB"
"""The same of loading and of models, which have nothing beside them; dbt's profile says it too."""
WAL_LIMIT = "256MB"
"""Up to here DuckDB's log of what was committed grows before it is written into the file; then, and when the file is closed.

Its own limit of 16 MB is reached several times by a batch whose news somebody waits for.
"""
NOTHING = "false"
"""The condition that no row meets."""

RAW_TABLES = """
create schema if not exists raw;
create table if not exists raw.batches (batch_id integer, started_at timestamp);
create table if not exists raw.files (
  file_id integer, batch_id integer, source varchar, path varchar, content_hash varchar, size_bytes bigint,
  modified_at timestamp, status varchar, rows_in bigint, loaded bigint, duplicate bigint, quarantined bigint,
  detail varchar, columns varchar[], extract_at timestamp, loaded_at timestamp
);
create table if not exists raw.quarantine (
  file_id integer, source varchar, file varchar, row_number bigint, raw varchar, reason varchar,
  quarantined_at timestamp
);
create table if not exists raw.events (
  message_id varchar, type varchar, event varchar, name varchar, user_id varchar, anonymous_id varchar,
  group_id varchar, session_id varchar, timestamp timestamp, received_at timestamp,
  properties varchar, traits varchar, context varchar,
  feature varchar, integration varchar, status varchar, path varchar,
  batch_id integer, file_id integer, message_key ubigint
);
alter table raw.events add column if not exists message_key ubigint;
create table if not exists raw.touched (batch_id integer, user_id varchar, anonymous_id varchar, day date);
create table if not exists raw.email_domains (domain varchar, registrable_domain varchar);
create table if not exists raw.hosts_seen (batch_id integer, version_id bigint);
create table if not exists raw.crm_versions (
  version_id bigint, entity varchar, key varchar, row_hash varchar, payload varchar,
  updated_at timestamp, created_at timestamp
);
create table if not exists raw.crm_extracts (
  extract_id integer, file_id integer, entity varchar, extract_at timestamp, delivered_at timestamp,
  keys bigint, is_complete boolean
);
create table if not exists raw.crm_extract_rows (extract_id integer, version_id bigint);
create table if not exists raw.feed_silences (
  feed varchar, since timestamp, until timestamp, checked_at timestamp
);
create table if not exists raw.crm_cursors (
  crm varchar, entity varchar, cursor varchar, extracted_at timestamp, full_at timestamp, tried_at timestamp,
  trouble varchar
);
create table if not exists raw.moments (as_of timestamp, day date, is_live boolean, until timestamp);
create table if not exists raw.past_range (first_day date, last_day date);
create table if not exists raw.refreshes (
  as_of timestamp, until timestamp, is_full boolean, reason varchar, batch_id integer, definition varchar,
  rules varchar, had_baseline boolean, next_crm_moment timestamp, is_finished boolean, run_id varchar
);
create table if not exists raw.replaced_identities (batch_id integer, message_id varchar);
create table if not exists raw.rule_domains (domain varchar, kind varchar, reason varchar);
create table if not exists raw.rule_exclusions (match varchar, pattern varchar, reason varchar);
create table if not exists raw.settings (key varchar, value varchar);
"""
"""No keys and no indexes: DuckDB loads several times slower with one. Loading finds duplicates by a join."""


@dataclass(frozen=True)
class PublishedView:
    """A published table that would be too wide as one: a view over narrow tables of schema `scores`.

    Attributes:
        sql: What the view selects, in the warehouse and in the serving copy alike.
        tables: By name, which rows of each narrow table are published, as a query over the warehouse.
    """

    sql: str
    tables: Mapping[str, str]


@dataclass(frozen=True)
class Excerpt:
    """The few rows that changed rows of published views are made of.

    Attributes:
        views: The published tables whose changed rows are made of nothing else of these tables.
        rows: By table as `schema.name`, a condition that finds them.
    """

    views: Collection[str]
    rows: Mapping[str, str]


NO_EXCERPT = Excerpt((), MappingProxyType({}))


class WarehouseError(RuntimeError):
    """The warehouse can't be used.

    WarehouseError
     └─ WarehouseLocked: another process has the file open
    """


class WarehouseLocked(WarehouseError):
    """Another process has the file open; the message names the file and the way out."""


class Warehouse:
    """One DuckDB file, opened for writing by one process at a time.

    Args:
        path: The file; it and its folder are created when missing.
        wait_seconds: How long to wait for another process to close it.
    """

    def __init__(self, path: Path, wait_seconds: float = 30.0) -> None:
        self.path = path
        self.wait_seconds = wait_seconds

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with the tables of schema `raw` in place; closed at the end of the block.

        Raises:
            WarehouseLocked: Another process kept the file open for longer than `wait_seconds`.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.change() as connection:
            connection.execute(RAW_TABLES)
            yield connection

    @contextmanager
    def change(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to what is there already, closed at the end of the block.

        Raises:
            WarehouseLocked: Another process kept the file open for longer than `wait_seconds`.
        """
        connection = self._open()
        try:
            use_utc(connection)
            connection.execute(f"set memory_limit = '{MEMORY_LIMIT}'; set wal_autocheckpoint = '{WAL_LIMIT}'")
            yield connection
        finally:
            connection.close()

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that changes nothing, closed at the end of the block; readers don't wait for each other.

        Raises:
            WarehouseLocked: Another process kept the file open for writing for longer than `wait_seconds`.
        """
        connection = self._open(read_only=True)
        try:
            use_utc(connection)
            yield connection
        finally:
            connection.close()

    def _open(self, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self.wait_seconds
        pause = 0.05
        while True:
            try:
                return duckdb.connect(str(self.path), read_only=read_only)
            except duckdb.IOException as error:
                if "lock" not in str(error).lower():
                    raise
                left = deadline - time.monotonic()
                if left <= 0:
                    raise WarehouseLocked(
                        f"{self.path} has been open in another process for {self.wait_seconds:.0f} s: wait "
                        "for that "
                        "run to end or close the program that holds it; to read the scores while the "
                        "pipeline "
                        f"works, open serving.duckdb instead. DuckDB says: {error}"
                    ) from error
                time.sleep(min(pause, left))
                pause = min(2 * pause, 1.0)


def publish_serving_copy(
    warehouse_path: Path, serving_path: Path, views: Mapping[str, PublishedView] = MappingProxyType({})
) -> None:
    """Replace the serving database with the warehouse's schema `marts`, in one step.

    A reader that has the old copy open goes on reading it; one that opens it now sees the new copy whole.
    What a publication that was killed left behind is removed.

    Args:
        warehouse_path: The warehouse.
        serving_path: The file that SQL users open read-only.
        views: Which of the published tables are views there, by name.
    """
    with _fresh_copy(serving_path) as fresh, _attached(warehouse_path, fresh) as connection:
        _copy_marts(connection, views)


def rows_where(table: str, condition: str, *, name: str | None = None) -> str:
    """A condition that finds the same rows of a wide table as `condition`, which looks at few of its columns.

    DuckDB reads all columns of a table in which rows are looked for all over; so their ids are looked for first. What a
    delta has written stands together at the end of its table, and by the ids everything before it is skipped.

    Args:
        table: As `schema.name`.
        condition: Which rows.
        name: What the query calls the table, if it is something else.
    """
    return f"{name or table}.rowid in (select rowid from {table} where {condition})"


def publish_changes(
    warehouse_path: Path, serving_path: Path, changed: Mapping[str, str], excerpt: Excerpt = NO_EXCERPT
) -> None:
    """Replace the serving database with itself and the rows that have changed, in one step.

    The file is copied as it is, which takes a fraction of the time that writing its tables anew would.

    Args:
        warehouse_path: The warehouse.
        serving_path: The file that SQL users open read-only; it exists.
        changed: By table of schema `marts`, a condition that finds the changed rows, in the warehouse and in the copy,
            which is attached as `serving`; `NOTHING` where there are none.
        excerpt: What some of them are made of, so that a view is not computed for everybody and then searched.
    """
    with _fresh_copy(serving_path) as fresh:
        shutil.copyfile(serving_path, fresh)
        with _attached(warehouse_path, fresh) as connection, _excerpt_first(connection, excerpt) as search_path:
            queries = _view_queries(connection, excerpt.views)
            connection.begin()
            for table, condition in changed.items():
                if condition == NOTHING:
                    continue
                name = _identifier(table)
                if table in excerpt.views:
                    connection.execute(f"set search_path = {_literal(search_path)}")
                query = queries[table] if table in excerpt.views else f"select * from marts.{name}"
                connection.execute(
                    f"create or replace temp table incoming as select * from ({query}) where {condition}"
                )
                connection.execute("reset search_path")
                connection.execute(f"delete from serving.marts.{name} where {condition}")
                connection.execute(f"insert into serving.marts.{name} by name select * from incoming")
            connection.commit()
            connection.execute("drop table incoming; checkpoint serving")


@contextmanager
def _excerpt_first(connection: duckdb.DuckDBPyConnection, excerpt: Excerpt) -> Iterator[str]:
    """A search path by which `schema.name` means the excerpt's rows of a table, where it has some."""
    [(warehouse,)] = connection.sql("select current_database()").fetchall()
    schemas = connection.execute(
        "select schema_name from duckdb_schemas() where database_name = ? and not internal order by all", [warehouse]
    ).fetchall()
    path = [(warehouse, "main")]
    connection.execute("attach ':memory:' as excerpt")
    try:
        for table, condition in excerpt.rows.items():
            schema = table.partition(".")[0]
            path += [("excerpt", schema)] * (("excerpt", schema) not in path)
            connection.execute(f"create schema if not exists excerpt.{schema}")
            connection.execute(
                f"create table excerpt.{table} as select * from {table} where {rows_where(table, condition)}"
            )
        path += [(warehouse, schema) for (schema,) in schemas]
        yield ",".join(f"{_identifier(catalog)}.{_identifier(schema)}" for catalog, schema in path)
    finally:
        connection.execute("reset search_path")
        connection.execute("detach excerpt")


def _view_queries(connection: duckdb.DuckDBPyConnection, views: Collection[str]) -> dict[str, str]:
    """What views of schema `marts` select, by name; they name tables by their schemas."""
    found = connection.execute(
        "select view_name, sql from duckdb_views() where database_name = current_database() and schema_name = 'marts' "
        "and list_contains(?, view_name)",
        [list(views)],
    ).fetchall()
    return {name: sql.partition(" AS ")[2].rstrip().removesuffix(";") for name, sql in found}


@contextmanager
def _fresh_copy(serving_path: Path) -> Iterator[Path]:
    """A file that takes the serving database's place at the end of the block, unless something went wrong."""
    serving_path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in serving_path.parent.glob(f".{serving_path.name}.*.publishing*"):
        leftover.unlink(missing_ok=True)
    fresh = serving_path.with_name(f".{serving_path.name}.{os.getpid()}.publishing")
    try:
        yield fresh
        _sync(fresh)
        fresh.replace(serving_path)
        _sync(serving_path.parent)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def _attached(warehouse_path: Path, serving: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse with a serving database beside it."""
    with Warehouse(warehouse_path).change() as connection:
        connection.execute(f"attach {_literal(str(serving))} as serving (storage_version '{SERVING_STORAGE_VERSION}')")
        try:
            yield connection
        finally:
            connection.execute("detach serving")


def _copy_marts(connection: duckdb.DuckDBPyConnection, views: Mapping[str, PublishedView]) -> None:
    connection.execute("create schema serving.marts")
    tables = connection.sql(
        "select table_name from information_schema.tables "
        "where table_catalog = current_database() and table_schema = 'marts' order by table_name"
    ).fetchall()
    for (table,) in tables:
        name = _identifier(table)
        if table in views:
            _copy_view(connection, name, views[table])
        else:
            connection.execute(f"create table serving.marts.{name} as select * from marts.{name}")
    comments = connection.sql(
        "select table_name, column_name, comment from duckdb_columns() "
        "where database_name = current_database() and schema_name = 'marts' and comment is not null"
    ).fetchall()
    for table, column, comment in comments:
        target = f"serving.marts.{_identifier(table)}.{_identifier(column)}"
        connection.execute(f"comment on column {target} is {_literal(comment)}")
    connection.execute("checkpoint serving")


def _copy_view(connection: duckdb.DuckDBPyConnection, name: str, view: PublishedView) -> None:
    connection.execute("create schema if not exists serving.scores")
    for table, rows in view.tables.items():
        connection.execute(f"create table serving.scores.{_identifier(table)} as {rows}")
    connection.execute(f"create view serving.marts.{name} as {view.sql}")


@contextmanager
def memory_limited(connection: duckdb.DuckDBPyConnection, limit: str) -> Iterator[None]:
    """DuckDB spills to disk what goes beyond the limit; whoever uses the connection next has its own back."""
    [(before,)] = connection.sql("select current_setting('memory_limit')").fetchall()
    connection.execute(f"set memory_limit = '{limit}'")
    try:
        yield
    finally:
        connection.execute(f"set memory_limit = '{before}'")


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end of the block, or leave nothing of it behind."""
    connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def use_utc(connection: duckdb.DuckDBPyConnection) -> None:
    """So that sessions everywhere show the same texts; builds without ICU have no time zones to set.

    What a run prints is its own: DuckDB draws no bars over it.
    """
    connection.execute("set enable_progress_bar = false")
    with suppress(duckdb.Error):
        connection.execute("set TimeZone = 'UTC'")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
