"""The scores of every day: what each subject was on each day by each model, kept small.

Most days of most subjects look like many others: the same points for the same signals. So a day's row is narrow and
names a pattern, which holds score, class and signals. `scores.daily_scores` is a view that puts them together.

What belongs here: these tables, and how a day gets into them. How past days are scored is in `past_days`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import duckdb
import polars as pl

from dagster_project.core.patterns import patterns
from dagster_project.publishing import PublishedView
from dagster_project.warehouse import has_table

DAILY_SCORES = (
    "select scored.subject_type, subject_id, account_id, day, model_version, score, classification, segment, signals "
    "from scores.daily_score_rows as scored join scores.score_patterns using (pattern_id)"
)
"""One row per subject, day and model version, in the warehouse and in the serving copy alike."""

PATTERN = ("subject_type", "model_version", "score", "classification", "signals")
_TABLES = {
    "score_patterns": "pattern_id integer, subject_type varchar, model_version varchar, score double, "
    "classification varchar, signals struct(signal varchar, points double)[]",
    "daily_score_rows": "subject_type varchar, subject_id varchar, account_id varchar, day date, segment varchar, "
    "pattern_id integer",
    "daily_score_days": "day date, model_version varchar, as_of timestamp, inputs varchar",
}
_SIGNALS = (
    "list_transform(list_filter(explanation, lambda entry: entry.signal not in ('fit_multiplier', 'cap', 'rounding')), "
    "lambda entry: {'signal': entry.signal, 'points': entry.points})"
)
"""What stands in an explanation of signals; the rest of it is arithmetic."""


@dataclass(frozen=True)
class ScoredDay:
    """A day that was scored by a model.

    Attributes:
        day: The UTC day.
        model_version: The model.
        as_of: Until when things counted, naive UTC; the end of the day when the day is complete.
        inputs: What the scores were computed from (`past_days.inputs_of`); empty for a run's own day.
    """

    day: date
    model_version: str
    as_of: datetime
    inputs: str = ""


def create_daily_scores(connection: duckdb.DuckDBPyConnection, serving: Path) -> None:
    """Make the tables and the view; a warehouse that is rebuilt takes over what was published last."""
    connection.execute("create schema if not exists scores")
    missing = [table for table in _TABLES if not has_table(connection, f"scores.{table}")]
    for table in missing:
        connection.execute(f"create table scores.{table} ({_TABLES[table]})")
    if len(missing) == len(_TABLES) and serving.exists():
        _take_over(connection, serving)
    connection.execute(f"create or replace view scores.daily_scores as {DAILY_SCORES}")


def published_days(days: int) -> PublishedView:
    """`marts.daily_scores` as the serving copy has it.

    Args:
        days: How many of the latest days are published; the warehouse keeps them all.
    """
    since = f"day > (select max(day) - {days} from scores.daily_score_days)"
    rows = f"select * from scores.daily_score_rows where {since}"
    return PublishedView(
        DAILY_SCORES,
        {
            "daily_score_rows": rows,
            "score_patterns": f"select * from scores.score_patterns semi join ({rows}) using (pattern_id)",
            "daily_score_days": f"select * from scores.daily_score_days where {since}",
        },
    )


def write_own_day(connection: duckdb.DuckDBPyConnection, scored: ScoredDay) -> None:
    """Take the published scores over as those of a day; those of the same day and model go."""
    connection.execute(
        "create or replace temp table incoming_days as "
        "select 'user' as subject_type, user_id as subject_id, account_id, $day::date as day, model_version, "
        f"pql_score as score, classification, segment, {_SIGNALS} as signals from scores.pql_scores "
        "union all by name select 'account' as subject_type, account_id as subject_id, account_id, $day::date as day, "
        f"model_version, pqa_score as score, classification, segment, {_SIGNALS} as signals from scores.pqa_scores",
        {"day": scored.day},
    )
    forget_days(connection, [scored.day], scored.model_version)
    add_patterns(connection, "incoming_days")
    connection.execute(
        "insert into scores.daily_score_rows by name select incoming.* exclude (model_version, score, classification, "
        f"signals), pattern_id from incoming_days as incoming join scores.score_patterns using ({', '.join(PATTERN)})"
    )
    record_days(connection, [scored])
    connection.execute("drop table incoming_days")


def add_patterns(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Number those patterns of a table with the columns of `PATTERN` that are not known yet."""
    columns = ", ".join(PATTERN)
    connection.execute(
        "insert into scores.score_patterns by name select row_number() over () "
        "+ (select coalesce(max(pattern_id), 0) from scores.score_patterns) as pattern_id, * "
        f"from (select distinct {columns} from {table}) as incoming "
        f"anti join scores.score_patterns using ({columns})"
    )


def number_patterns(connection: duckdb.DuckDBPyConnection, found: pl.DataFrame, subject: str, version: str) -> None:
    """Bring patterns (`core.patterns`) into the table, and their ids into the temporary table `numbered_patterns`."""
    connection.register(
        "found_patterns", found.with_columns(subject_type=pl.lit(subject), model_version=pl.lit(version))
    )
    connection.execute("create or replace temp table incoming_patterns as from found_patterns")
    connection.unregister("found_patterns")
    add_patterns(connection, "incoming_patterns")
    connection.execute(
        "create or replace temp table numbered_patterns as select number, pattern_id from incoming_patterns "
        f"join scores.score_patterns using ({', '.join(PATTERN)})"
    )


def add_rows(
    connection: duckdb.DuckDBPyConnection, who: pl.DataFrame, graded: pl.DataFrame, *, subject: str, version: str
) -> int:
    """Add a model's scores of subjects on days.

    Args:
        connection: The warehouse.
        who: `subject_id, account_id, day, segment`.
        graded: What grading gave, row by row (`pql.grade_users`, `pqa.grade_accounts`).
        subject: user or account.
        version: The model's.

    Returns:
        How many rows were added.
    """
    number, found = patterns(graded)
    number_patterns(connection, found, subject, version)
    connection.register("graded_days", who.select("subject_id", "account_id", "day", "segment", number))
    connection.execute(
        "insert into scores.daily_score_rows by name select ? as subject_type, subject_id, account_id, day, segment, "
        "pattern_id from graded_days join numbered_patterns using (number) order by day",
        [subject],
    )
    connection.unregister("graded_days")
    return who.height


def forget_days(connection: duckdb.DuckDBPyConnection, days: Sequence[date], model_version: str) -> None:
    """Remove what a model said of these days."""
    connection.register("forgotten_days", pl.DataFrame({"day": days}, schema={"day": pl.Date}))
    connection.execute(
        "delete from scores.daily_score_rows where day in (select day from forgotten_days) and pattern_id in "
        "(select pattern_id from scores.score_patterns where model_version = ?)",
        [model_version],
    )
    connection.execute(
        "delete from scores.daily_score_days where day in (select day from forgotten_days) and model_version = ?",
        [model_version],
    )
    connection.unregister("forgotten_days")


def record_days(connection: duckdb.DuckDBPyConnection, scored: Sequence[ScoredDay]) -> None:
    """Note that days have been scored."""
    connection.executemany(
        "insert into scores.daily_score_days values (?, ?, ?, ?)",
        [[one.day, one.model_version, one.as_of, one.inputs] for one in scored],
    )


def _take_over(connection: duckdb.DuckDBPyConnection, serving: Path) -> None:
    """Days that can't be scored again, because their model is gone, are not lost with the warehouse."""
    with duckdb.connect(str(serving), read_only=True) as copy:
        if not all(has_table(copy, f"scores.{table}") for table in _TABLES):
            return
        for table in _TABLES:
            connection.register("published", copy.sql(f"from scores.{table}").pl())
            connection.execute(f"insert into scores.{table} by name from published")
            connection.unregister("published")
