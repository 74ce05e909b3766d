"""What was measured on the days that calibration looks at: scores of days keep points, which can't tell other bounds.

Calibration takes one day of each period, the first that was scored; these are kept, a small part of all days. They lie
in the warehouse alone: `pls backfill` makes them again.
"""

from collections.abc import Sequence
from datetime import date

import duckdb

from dagster_project.core.calibration.points import MEASURED

_TABLE = "scores.daily_measures"


def create_daily_measures(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table, where it isn't there."""
    connection.execute("create schema if not exists scores")
    columns = ", ".join(f"{name} double" for name in MEASURED)
    connection.execute(f"create table if not exists {_TABLE}(day date, user_id varchar, {columns})")


def keep_measures(connection: duckdb.DuckDBPyConnection, days: Sequence[date], measured: str, period_days: int) -> None:
    """Keep what was measured on those of some days that are the first scored ones of a period, and no other days.

    Args:
        connection: The warehouse; the days' scores are noted already.
        days: What `measured` covers.
        measured: SQL of spans: `user_id`, `MEASURED` and the days that they hold on, `from_day` up to but not
            including `to_day`.
        period_days: The length of a period, as calibration counts them.
    """
    create_daily_measures(connection)
    first_days = _first_days(period_days)
    connection.execute(f"delete from {_TABLE} where day not in ({first_days}) or list_contains(?, day)", [list(days)])
    connection.execute(
        f"insert into {_TABLE} by name select day, user_id, {', '.join(MEASURED)} from ({measured}) as spans "
        f"join (select day from ({first_days}) where list_contains(?, day)) as kept "
        "on spans.from_day <= kept.day and kept.day < spans.to_day",
        [list(days)],
    )


def unmeasured_days(connection: duckdb.DuckDBPyConnection, version: str, period_days: int) -> set[date]:
    """The first scored days of periods of which nothing is kept, although a model has scored users on them.

    The table is lost with the warehouse, where the days' scores are taken over, and other periods begin on other days.

    Args:
        connection: The warehouse.
        version: The model's.
        period_days: The length of a period, as calibration counts them.
    """
    create_daily_measures(connection)
    lacking = [
        day for (day,) in connection.sql(f"{_first_days(period_days)} except select day from {_TABLE}").fetchall()
    ]
    scored = connection.execute(
        "select distinct day from scores.daily_score_rows as scored semi join "
        "(from scores.score_patterns where model_version = ?) as patterns using (pattern_id) "
        "where scored.subject_type = 'user' and list_contains(?::date[], day)",
        [version, lacking],
    ).fetchall()
    return {day for (day,) in scored}


def _first_days(period_days: int) -> str:
    return (
        "select distinct min(day) as day from scores.daily_score_days "
        f"group by model_version, (day - date '1970-01-01') // {period_days}"
    )
