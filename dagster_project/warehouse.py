"""The warehouse: how its DuckDB file is opened, and the tables that loading fills.

What belongs here: connections, the DDL of schema `raw`. What goes into the tables is decided in `landing/`; every other
schema is made by whoever fills it (dbt, scoring, the ledger's copy). The copy that SQL users read: `publishing`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from dagster_project.errors import PlsError

MEMORY_LIMIT = "400MB"
"""Of DuckDB, beside frames in memory; what does not fit goes to a temporary file beside the warehouse."""
OUT_OF_MEMORY = "Out of Memory Error"
"""How DuckDB's words begin where something fits neither into memory nor, for now, into a temporary file."""
ALL_MEMORY = "80%"
"""DuckDB's own default, of the machine's: for the second try of what had not enough. Few rows are that wide."""
MEMORY_ALONE = "800MB"
"""The same of loading and of models, which have nothing beside them; dbt's profile says it too."""
WAL_LIMIT = "256MB"
"""Until DuckDB's log of what was committed is as large, it is written into the file only when that is closed.

Its own limit of 16 MB is reached by a batch of ten thousand events, whose news somebody waits for.
"""
WORN_ROWS = 100_000
"""Deleted rows beyond as many as are left, from which on it is worth while to write a table anew without them."""
PIECE_ROWS = 122_880
"""Rows of one of DuckDB's row groups; what a delta inserts is a new one, however few there are."""
WORN_PIECES = 8
"""Times as many pieces as a table needs, and one that is being filled, from which on it is worth while as well."""

RAW_TABLES = """
create schema if not exists raw;
create table if not exists raw.batches (batch_id integer, started_at timestamp);
create table if not exists raw.files (
  file_id integer, batch_id integer, source varchar, path varchar, content_hash varchar, size_bytes bigint,
  modified_at timestamp, status varchar, rows_in bigint, loaded bigint, duplicate bigint, quarantined bigint,
  detail varchar, columns varchar[], extract_at timestamp, loaded_at timestamp, mapping varchar
);
alter table raw.files add column if not exists mapping varchar;
create table if not exists raw.quarantine (
  file_id integer, source varchar, file varchar, row_number bigint, raw varchar, reason varchar,
  quarantined_at timestamp
);
create table if not exists raw.events (
  message_id varchar, type varchar, event varchar, name varchar, user_id varchar, anonymous_id varchar,
  group_id varchar, session_id varchar, timestamp timestamp, received_at timestamp,
  properties varchar, traits varchar, context varchar,
  feature varchar, integration varchar, status varchar, path varchar,
  batch_id integer, file_id integer, message_key ubigint, identifies boolean
);
alter table raw.events add column if not exists message_key ubigint;
alter table raw.events add column if not exists identifies boolean;
create table if not exists raw.key_runs (file varchar, rows bigint, up_to_batch integer);
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
create table if not exists raw.crm_extract_rows (extract_id integer, version_id bigint, first_extract_id integer);
alter table raw.crm_extract_rows add column if not exists first_extract_id integer;
create table if not exists raw.feed_silences (
  feed varchar, since timestamp, until timestamp, checked_at timestamp
);
create table if not exists raw.feed_days (
  feed varchar, day date, first_at timestamp, last_at timestamp, batch_id integer
);
create table if not exists raw.silence_changes (batch_id integer);
create table if not exists raw.crm_cursors (
  crm varchar, entity varchar, cursor varchar, extracted_at timestamp, full_at timestamp, tried_at timestamp,
  trouble varchar, fields varchar, wanted varchar
);
alter table raw.crm_cursors add column if not exists fields varchar;
alter table raw.crm_cursors add column if not exists wanted varchar;
create table if not exists raw.moments (as_of timestamp, day date, is_live boolean, until timestamp);
create table if not exists raw.next_moments (as_of timestamp, day date, is_live boolean, until timestamp);
create table if not exists raw.past_range (first_day date, last_day date);
create table if not exists raw.refreshes (
  as_of timestamp, until timestamp, is_full boolean, reason varchar, batch_id integer, definition varchar,
  rules varchar, had_baseline boolean, next_crm_moment timestamp, is_finished boolean, run_id varchar,
  has_features boolean
);
alter table raw.refreshes add column if not exists run_id varchar;
alter table raw.refreshes add column if not exists has_features boolean;
alter table raw.refreshes add column if not exists has_crm boolean;
create table if not exists raw.crm_set_by_rules (
  account_id varchar, name varchar, extracted varchar, stands varchar, batch_id integer
);
create table if not exists raw.crm_touched (kind varchar, key varchar);
create table if not exists raw.unread_suppressions (content_hash varchar, rows bigint, first_row bigint);
create table if not exists raw.ledger_copies (warehouse_id varchar, number bigint);
create table if not exists raw.replaced_identities (batch_id integer, message_id varchar);
create table if not exists raw.rule_domains (domain varchar, kind varchar, reason varchar);
create table if not exists raw.rule_exclusions (match varchar, pattern varchar, reason varchar);
create table if not exists raw.settings (key varchar, value varchar);
"""
"""No keys and no indexes: DuckDB loads several times slower with one. Loading finds duplicates by a join."""


class WarehouseError(PlsError):
    """The warehouse can't be used.

    WarehouseError
     ├─ WarehouseLocked: another process has the file open
     └─ AnotherRun: it is another run's turn
    """


class WarehouseLocked(WarehouseError):
    """Another process has the file open; the message names the file and the way out."""


class AnotherRun(WarehouseError):
    """It is another run's turn on the data folder; the message names the lock and the way out."""


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
            let_deleted_rows_be(connection)
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
                if "could not set lock" not in str(error).lower():
                    raise
                left = deadline - time.monotonic()
                if left <= 0:
                    raise WarehouseLocked(
                        f"{self.path} has been open in another process for {self.wait_seconds:.0f} s: wait for that "
                        "run to end or close the program that holds it; to read the scores while the pipeline works, "
                        f"open serving.duckdb instead. DuckDB says: {error}"
                    ) from error
                time.sleep(min(pause, left))
                pause = min(2 * pause, 1.0)


def has_table(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether a table or view `schema.name` is there."""
    schema, _, table = name.partition(".")
    return bool(
        connection.execute(
            "select 1 from information_schema.tables where table_schema = ? and table_name = ? "
            "and table_catalog = current_database()",
            [schema, table],
        ).fetchall()
    )


def let_deleted_rows_be(connection: duckdb.DuckDBPyConnection) -> None:
    """Whatever is written into a file of this process, rows deleted there stay in it until `clear_deleted_rows`.

    DuckDB would look for some at every checkpoint, in all tables, and write what stands around them anew: that is
    seconds, where a batch has changed a few rows.
    """
    connection.execute("set max_vacuum_tasks = 0")


def clear_deleted_rows(connection: duckdb.DuckDBPyConnection) -> None:
    """The next checkpoint of each file clears them, and keeps files as small as what is in them."""
    connection.execute("reset max_vacuum_tasks")


def is_worn(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table is in so many pieces, or so many of its rows are deleted ones, that all who look for others pay.

    Args:
        connection: To the database, or to one that it is attached to.
        table: As `database.schema.name`; one that is not there is not worn.
    """
    # What DuckDB estimates are all rows that the file has, deleted or not.
    found = connection.execute(
        "select estimated_size from duckdb_tables() where database_name || '.' || schema_name || '.' || table_name = ?",
        [table],
    ).fetchall()
    if not found:
        return False
    [(left,)] = connection.execute(f"select count(*) from {table}").fetchall()
    [(pieces,)] = connection.execute(
        "select count(distinct row_group_id) from pragma_storage_info(?)", [table]
    ).fetchall()
    return bool(found[0][0] > 2 * left + WORN_ROWS or pieces > WORN_PIECES * (left // PIECE_ROWS + 2))


def key_of(text: str) -> str:
    """SQL of the number that stands for a text in look-ups, as dbt's macro of the same name: texts with one number need
    not be one."""
    return f"hash({text})"


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
