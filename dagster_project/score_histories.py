"""The histories of scores and segments in the warehouse: where they come from, what is read of them and added.

What counts as a change is decided in `core/changes.py`.
"""

from pathlib import Path

import duckdb
import polars as pl

from dagster_project.core.changes import SCORE_HISTORY, SEGMENT_HISTORY
from dagster_project.core.handoff_plan import Subject
from dagster_project.warehouse import has_table, key_of, rows_where

NUMBERS = {
    "pql_scores": {"user_id": "user_key", "account_id": "account_key"},
    **dict.fromkeys(("score_history", "segment_history"), {"subject_id": "subject_key"}),
}
"""The numbers that stand for texts in look-ups, of tables that are kept from run to run."""
HISTORIES = {"score_history": "as_of", "segment_history": "valid_from"}
"""The histories, and the moment of a row of each."""


def create_histories(connection: duckdb.DuckDBPyConnection, serving: Path) -> None:
    """The histories exist from the first run on; a warehouse that is rebuilt takes them over from the serving copy.

    Everything else comes from the landing folder again. What was scored then does not.
    """
    connection.execute("create schema if not exists scores")
    for table, schema in (("score_history", SCORE_HISTORY), ("segment_history", SEGMENT_HISTORY)):
        if has_table(connection, f"scores.{table}"):
            _add_columns(connection, table, schema)
            continue
        connection.register("history", published_history(serving, table, schema))
        connection.execute(f"create table scores.{table} as from history")
        connection.unregister("history")


def number_rows(connection: duckdb.DuckDBPyConnection) -> None:
    """Tables that are kept from run to run get the numbers that their rows are looked for by.

    They have none if an earlier version made them, and others if another version of DuckDB did.
    """
    for table, numbers in NUMBERS.items():
        if not has_table(connection, f"scores.{table}"):
            continue
        for text, number in numbers.items():
            connection.execute(f"alter table scores.{table} add column if not exists {number} ubigint")
            some = f"(select {text}, {number} from scores.{table} limit 1)"
            if connection.sql(f"select 1 from {some} where {number} is distinct from {key_of(text)}").fetchall():
                connection.execute(f"update scores.{table} set {number} = {key_of(text)}")


def _add_columns(connection: duckdb.DuckDBPyConnection, table: str, schema: pl.Schema) -> None:
    """A history that an earlier version began gets the columns that it did not know."""
    connection.register("like_it", schema.to_frame())
    for name, kind, *_ in connection.sql("describe from like_it").fetchall():
        connection.execute(f'alter table scores.{table} add column if not exists "{name}" {kind}')
    connection.unregister("like_it")


def published_history(serving: Path, table: str, schema: pl.Schema) -> pl.DataFrame:
    """A history as it was published last, empty when there is no serving copy; what isn't published is unknown."""
    if not serving.exists():
        return schema.to_frame()
    with duckdb.connect(str(serving), read_only=True) as copy:
        published = copy.sql(f"select * from marts.{table}").pl()
    unknown = [pl.lit(None).alias(name) for name in schema if name not in published.columns]
    return published.with_columns(unknown).select(pl.col(name).cast(kind) for name, kind in schema.items())


def latest_rows(connection: duckdb.DuckDBPyConnection, subject: Subject, who: pl.DataFrame, table: str) -> pl.DataFrame:
    """The latest row of each of them (`subject_id`) before the moment; those of the moment itself are replaced.

    DuckDB finds them as a local variable; a registered name would be held in memory until the commit.
    """
    at = HISTORIES[table]
    return connection.sql(
        f"select * from scores.{table} where {at} < (select until from raw.moments where is_live) and "
        + rows_where(
            f"scores.{table}",
            f"subject_type = '{subject}' and subject_key in (select {key_of('subject_id')} from who)",
        )
        + f" qualify row_number() over (partition by subject_id order by {at} desc) = 1"
    ).pl()


def add_history(connection: duckdb.DuckDBPyConnection, table: str, changed: pl.DataFrame) -> None:
    """Add rows; DuckDB finds them as a local variable."""
    connection.execute(
        f"insert into scores.{table} by name select *, {key_of('subject_id')} as subject_key from changed"
    )


def keep_moment(connection: duckdb.DuckDBPyConnection, whose: str) -> None:
    """Keep the changes that an earlier run wrote into the score history for the same moment, for `kept_of_moment`.

    Of first scores nothing is said that could be another thing now.
    """
    connection.execute(
        "create or replace temp table said_of_moment as select * exclude (subject_key) from scores.score_history "
        f"where as_of = (select until from raw.moments where is_live) and previous_score is not null and {whose}"
    )


def kept_of_moment(connection: duckdb.DuckDBPyConnection, whose: pl.DataFrame) -> pl.DataFrame:
    """The rows that `keep_moment` kept of some subjects (`subject_type, subject_id`), as `SCORE_HISTORY`.

    DuckDB finds them as a local variable.
    """
    if whose.is_empty():
        return SCORE_HISTORY.to_frame()
    said = connection.sql("select * from said_of_moment semi join whose using (subject_type, subject_id)").pl()
    return said.select(pl.col(name).cast(kind) for name, kind in SCORE_HISTORY.items())


def forget_moment(connection: duckdb.DuckDBPyConnection, table: str, whose: str) -> None:
    """What was written for the same moment before goes, of those of whom a condition holds."""
    is_of_now = f"{HISTORIES[table]} = (select until from raw.moments where is_live)"
    connection.execute(f"delete from scores.{table} where {is_of_now} and {whose}")
