"""What the serving copy that was published before the last one lacks, so that it can be brought up to date.

To change a few rows of the serving database, a delta would have to copy all of it. Instead it changes the one that
the last publication has replaced, unless somebody still has it open. That one lacks what two publications say; here
is which rows, of the one that is made now (`is_new`) and of the one before. A delta publishes its scores as soon as
they stand and later what was decided, or both at once. How files are changed and replaced is `publishing`'s business.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import duckdb

from dagster_project.crm_changes import TOUCHED
from dagster_project.open_files import was_left_alone
from dagster_project.publishing import FileState, state_of
from dagster_project.warehouse import transaction

_TABLES = """
create schema if not exists publishing;
create table if not exists publishing.users (user_id varchar, user_key ubigint, is_new boolean);
create table if not exists publishing.accounts (account_id varchar, is_new boolean);
create table if not exists publishing.touched_users (user_id varchar, is_new boolean);
create table if not exists publishing.changed (table_name varchar, row_key varchar, is_new boolean);
create table if not exists publishing.moments (until timestamp, is_new boolean);
create table if not exists publishing.files (role varchar, inode ubigint, modified bigint, size bigint);
create table if not exists publishing.scores_of (run_id varchar, published_at timestamp);
"""
FEW_USERS, BYTES_FOR_USER = 1_000, 50_000
"""Of two publications: with more users than these, and than the file has such portions, making both takes longer than
copying the file does, which then has to be written to the disk as a whole."""
_MOMENT = "select until from raw.refreshes"
SCORED: Mapping[str, str] = {
    "moments": _MOMENT,
    "users": "select user_id, user_key from scores.rescored_users",
    "accounts": "select account_id from scores.rescored_accounts",
    "touched_users": "select user_id from intermediate.int_users_touched",
    "changed": f"select 'crm_opportunities' as table_name, key as row_key from {TOUCHED} where kind = 'opportunity'",
}
"""What a delta has changed up to its scores: by table of schema `publishing` a query."""
DECIDED: Mapping[str, str] = {"moments": _MOMENT, "changed": "select table_name, row_key from ops.changed"}
"""What it has changed after them."""
BOTH: Mapping[str, str] = {**SCORED, "changed": f"{SCORED['changed']} union all {DECIDED['changed']}"}


def note_delta(connection: duckdb.DuckDBPyConnection, spare: Path, what: Mapping[str, str]) -> bool:
    """Note what a delta has changed, and whether the copy before the last is what it has to be published in.

    Args:
        connection: The warehouse, in which what is published stands.
        spare: Where that copy lies.
        what: What is published now: `SCORED`, `DECIDED` or `BOTH`.

    Returns:
        Whether it is to be brought up to date: `publishing.*` holds what it lacks. Otherwise what the last copy lacks.
    """
    connection.execute(_TABLES)
    [(users,)] = connection.sql(
        "select (select count(*) from publishing.users where not is_new) + "
        f"(select count(*) from ({what.get('users', 'select 1 where false')}))"
    ).fetchall()
    known = _recorded(connection, "spare")
    few = max(FEW_USERS, known.size // BYTES_FOR_USER) if known else 0
    is_usable = known == state_of(spare) is not None and users <= few and was_left_alone(spare)
    with transaction(connection):
        for table in BOTH:
            connection.execute(f"delete from publishing.{table} where {'is_new' if is_usable else 'true'}")
        if not is_usable:
            # What it lacks is not known any more, whatever becomes of this publication.
            connection.execute("delete from publishing.files where role = 'spare'")
        for table, query in what.items():
            connection.execute(f"insert into publishing.{table} by name select *, true as is_new from ({query})")
    return is_usable


def note_published(
    connection: duckdb.DuckDBPyConnection,
    serving: Path,
    *,
    is_full: bool,
    scores_of: tuple[str, datetime] | None = None,
) -> None:
    """Note what has been published and what the copy before it lacks now: what was published with it.

    Args:
        connection: The warehouse.
        serving: The file that was published.
        is_full: Whether it was made anew; then there is none before it.
        scores_of: The run whose scores were published and whose decisions were not, and when, naive UTC.
    """
    connection.execute(_TABLES)
    replaced = None if is_full else _recorded(connection, "published")
    with transaction(connection):
        for table in BOTH:
            connection.execute(f"delete from publishing.{table} where {'true' if is_full else 'not is_new'}")
            connection.execute(f"update publishing.{table} set is_new = false")
        connection.execute("delete from publishing.scores_of")
        if scores_of:
            connection.execute("insert into publishing.scores_of values (?, ?)", list(scores_of))
        connection.execute("delete from publishing.files")
        for role, state in (("published", state_of(serving)), ("spare", replaced)):
            if state:
                connection.execute("insert into publishing.files values (?, ?, ?, ?)", [role, *state])


def forget_published(connection: duckdb.DuckDBPyConnection) -> None:
    """Note that more has changed than a delta knows of: whoever publishes next publishes everything.

    For whoever writes what is published in whole tables, and may be stopped before it is published.
    """
    connection.execute(_TABLES)
    connection.execute("delete from publishing.files")


def is_as_published(connection: duckdb.DuckDBPyConnection, serving: Path) -> bool:
    """Whether a file is the one that was published last, to which a delta can add what has changed since.

    Another one has been put there by hand, or comes out of a backup; or the warehouse does.
    """
    connection.execute(_TABLES)
    return state_of(serving) == _recorded(connection, "published") is not None


def scores_published_at(connection: duckdb.DuckDBPyConnection, run_id: str) -> datetime | None:
    """When the scores of this run were published, naive UTC; None if something else was published last."""
    connection.execute(_TABLES)
    found = connection.execute("select published_at from publishing.scores_of where run_id = ?", [run_id]).fetchall()
    return found[0][0] if found else None


def first_moment(connection: duckdb.DuckDBPyConnection) -> datetime:
    """The moment of the first delta whose changes are to be published."""
    return connection.sql("select min(until) from publishing.moments").fetchall()[0][0]


def _recorded(connection: duckdb.DuckDBPyConnection, role: str) -> FileState | None:
    found = connection.execute("select inode, modified, size from publishing.files where role = ?", [role]).fetchall()
    return FileState(*found[0]) if found else None
