"""The serving copy: the published tables in a file of their own, which SQL users read while the next run writes.

It is replaced in one piece: made anew by a full run, by a delta from an earlier copy and the rows that have changed.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Any, NamedTuple

import duckdb

from dagster_project.landing.sql_text import identifier, literal
from dagster_project.warehouse import (
    Warehouse,
    clear_deleted_rows,
    is_worn,
    let_deleted_rows_be,
    rows_where,
    transaction,
    use_utc,
)

SERVING_STORAGE_VERSION = "v1.5.0"
"""The oldest DuckDB that analysts may open the serving copy with."""
NOTHING = "false"
"""The condition that no row meets."""
TABLES_AT_ONCE = 2
"""Whose changes are published side by side: one core plans a statement, which takes longer than its few rows do."""
_COPIES = count(1)
"""Numbers of the files that this process writes."""


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
    spare_of(serving_path).unlink(missing_ok=True)
    with _fresh_copy(serving_path) as fresh, _attached(warehouse_path, fresh) as connection:
        _copy_marts(connection, views)


def publish_changes(
    warehouse_path: Path,
    serving_path: Path,
    changed: Mapping[str, str],
    excerpt: Excerpt = NO_EXCERPT,
    *,
    in_spare: bool = False,
    may_be_worn: bool = True,
) -> None:
    """Replace the serving database with an earlier copy and the rows that have changed since, in one step.

    What is replaced stays beside it as the spare, in which the next changes may be published.

    Args:
        warehouse_path: The warehouse.
        serving_path: The file that SQL users open read-only; it exists.
        changed: By table of schema `marts`, a condition that finds the changed rows, in the warehouse and in the copy,
            which is attached as `serving`; `NOTHING` where there are none.
        excerpt: What some of them are made of, so that a view is not computed for everybody and then searched.
        in_spare: Whether the spare is changed, which nobody has open and which lacks nothing but those rows. Otherwise
            the published file is copied as it is: that takes a fraction of the time that writing its tables anew would,
            and yet all of the file is written.
        may_be_worn: Whether it is time to ask if the copy is worn.
    """
    spare = spare_of(serving_path)
    with _fresh_copy(serving_path, keeps_spare=True) as fresh:
        if in_spare:
            spare.rename(fresh)
        else:
            with _freed_later(spare):
                spare.unlink(missing_ok=True)
            shutil.copyfile(serving_path, fresh)
        with _attached(warehouse_path, fresh) as connection, _excerpt_first(connection, excerpt) as search_path:
            queries = _view_queries(connection, excerpt.views)
            _side_by_side(
                _publish_rows,
                (
                    (connection.cursor(), table, condition, queries.get(table), search_path)
                    for table, condition in changed.items()
                    if condition != NOTHING
                ),
            )
            if may_be_worn and is_worn(connection, "serving.marts.user_profiles"):
                clear_deleted_rows(connection)
            connection.execute("checkpoint serving")
            let_deleted_rows_be(connection)


def _publish_rows(
    connection: duckdb.DuckDBPyConnection, table: str, condition: str, query: str | None, search_path: str
) -> None:
    """Replace the changed rows of one table.

    Args:
        connection: To the warehouse, with the copy attached; it is closed at the end.
        table: Its name in schema `marts`.
        condition: What finds the rows on both sides.
        query: What a view selects that is read from the excerpt; None for another table.
        search_path: By which that query finds the excerpt.
    """
    name = identifier(table)
    with closing(connection):
        use_utc(connection)
        if query:
            connection.execute(f"set search_path = {literal(search_path)}")
        connection.execute(
            f"create temp table incoming as select * from ({query or f'select * from marts.{name}'}) where {condition}"
        )
        connection.execute("reset search_path")
        with transaction(connection):
            connection.execute(f"delete from serving.marts.{name} where {condition}")
            connection.execute(f"insert into serving.marts.{name} by name select * from incoming")


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
        for schema in dict.fromkeys(table.partition(".")[0] for table in excerpt.rows):
            path.append(("excerpt", schema))
            connection.execute(f"create schema excerpt.{schema}")
        _side_by_side(_pick_rows, ((connection.cursor(), *table) for table in excerpt.rows.items()))
        path += [(warehouse, schema) for (schema,) in schemas]
        yield ",".join(f"{identifier(catalog)}.{identifier(schema)}" for catalog, schema in path)
    finally:
        connection.execute("reset search_path")
        connection.execute("detach excerpt")


def _side_by_side(work: Callable[..., None], each: Iterable[tuple[Any, ...]]) -> None:
    """Do it with each of these, and wait for all, also where one has failed: what they use is put away after that."""
    with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:
        submitted = [pool.submit(work, *arguments) for arguments in each]
    for one in submitted:
        one.result()


def _pick_rows(connection: duckdb.DuckDBPyConnection, table: str, condition: str) -> None:
    with closing(connection):
        use_utc(connection)
        connection.execute(
            f"create table excerpt.{table} as select * from {table} where {rows_where(table, condition)}"
        )


def _view_queries(connection: duckdb.DuckDBPyConnection, views: Collection[str]) -> dict[str, str]:
    """What views of schema `marts` select, by name; they name tables by their schemas."""
    found = connection.execute(
        "select view_name, sql from duckdb_views() where database_name = current_database() and schema_name = 'marts' "
        "and list_contains(?, view_name)",
        [list(views)],
    ).fetchall()
    return {name: sql.partition(" AS ")[2].rstrip().removesuffix(";") for name, sql in found}


class FileState(NamedTuple):
    """By which a file is known again, whatever it is called: one that was changed since has another."""

    inode: int
    modified: int
    size: int


def state_of(path: Path) -> FileState | None:
    """The state of a file, None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return FileState(found.st_ino, found.st_mtime_ns, found.st_size)


def spare_of(serving_path: Path) -> Path:
    """Where the file lies that the published one has replaced."""
    return serving_path.with_name(f".{serving_path.name}.spare")


@contextmanager
def _fresh_copy(serving_path: Path, *, keeps_spare: bool = False) -> Iterator[Path]:
    """A file that takes the serving database's place at the end of the block, unless something went wrong.

    Args:
        serving_path: The serving database.
        keeps_spare: Whether what it replaces becomes the spare.
    """
    serving_path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in serving_path.parent.glob(f".{serving_path.name}.*.publishing*"):
        leftover.unlink(missing_ok=True)
    # A name of its own: the last one stays open until those transactions end that have looked through all catalogs.
    fresh = serving_path.with_name(f".{serving_path.name}.{os.getpid()}.{next(_COPIES)}.publishing")
    try:
        yield fresh
        # Closing it here gives back the lock by which DuckDB would keep readers out while it still has it open.
        _sync(fresh)
        with _kept_as_spare(serving_path) if keeps_spare else _freed_later(serving_path):
            fresh.replace(serving_path)
        _sync(serving_path.parent)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def _attached(warehouse_path: Path, serving: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse with a serving database beside it."""
    with Warehouse(warehouse_path).change() as connection:
        # Without a log of its own: a copy that is not done is none.
        options = f"storage_version '{SERVING_STORAGE_VERSION}', recovery_mode 'no_wal_writes'"
        connection.execute(f"attach {literal(str(serving))} as serving ({options})")
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
        name = identifier(table)
        if table in views:
            _copy_view(connection, name, views[table])
        else:
            connection.execute(f"create table serving.marts.{name} as select * from marts.{name}")
    comments = connection.sql(
        "select table_name, column_name, comment from duckdb_columns() "
        "where database_name = current_database() and schema_name = 'marts' and comment is not null"
    ).fetchall()
    for table, column, comment in comments:
        target = f"serving.marts.{identifier(table)}.{identifier(column)}"
        connection.execute(f"comment on column {target} is {literal(comment)}")
    about = connection.sql(
        "select view_name, comment from duckdb_views() where database_name = current_database() "
        "and schema_name = 'marts' and comment is not null union all "
        "select table_name, comment from duckdb_tables() where database_name = current_database() "
        "and schema_name = 'marts' and comment is not null"
    ).fetchall()
    for table, comment in about:
        kind = "view" if table in views else "table"
        connection.execute(f"comment on {kind} serving.marts.{identifier(table)} is {literal(comment)}")
    connection.execute("checkpoint serving")


def _copy_view(connection: duckdb.DuckDBPyConnection, name: str, view: PublishedView) -> None:
    connection.execute("create schema if not exists serving.scores")
    for table, rows in view.tables.items():
        connection.execute(f"create table serving.scores.{identifier(table)} as {rows}")
    connection.execute(f"create view serving.marts.{name} as {view.sql}")


@contextmanager
def _kept_as_spare(serving_path: Path) -> Iterator[None]:
    """What is replaced in the block stays as the spare, where the file system knows second names of a file."""
    with suppress(OSError):
        os.link(serving_path, spare_of(serving_path))
    yield


@contextmanager
def _freed_later(path: Path) -> Iterator[None]:
    """The file that is replaced in the block is freed by a thread: of a large one that takes a quarter of a second."""
    try:
        held = os.open(path, os.O_RDONLY)
    except OSError:  # there is none yet
        yield
        return
    try:
        yield
    finally:
        Thread(target=os.close, args=(held,), daemon=True).start()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
