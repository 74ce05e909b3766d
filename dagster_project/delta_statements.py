"""The statements of a delta, as dbt wrote and executed them once, for the deltas after it on the same full refresh.

Writing them takes dbt three times as long as executing them takes DuckDB, and but for a few literals they are the same
until the next full refresh, whose moment and rules stand in them. The macro `of_this_delta` marks those literals.
Whatever is out of the ordinary is dbt's.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from dagster_project.kept_statements import NotRepeatable, executed_by_nodes, keep_file, kept_file

if TYPE_CHECKING:
    from dbt_common.events.base_types import EventMsg

_MARKED = re.compile(r"/\*:(\w+)\*/(.*?)/\*;\*/", re.DOTALL)
_CHANGES_SOMETHING = re.compile(r"(?:insert|delete|create|drop|alter)\b", re.IGNORECASE)
_MODEL = "model."
_ROLLUP = "model.pls.int_user_days"
_LITERALS = frozenset({"batch_id", "as_of", "day_end", "days"})
MOST_USER_DAYS = 20_000
"""Of more, dbt computes the user-days in portions that fit in memory."""


@dataclass(frozen=True)
class DeltaStatements:
    """What dbt executed, in its order.

    Attributes:
        before: Up to the user-days that are touched.
        after: From their rollup on.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]


def statements_of(events: "Iterable[EventMsg]") -> DeltaStatements | None:
    """The statements among dbt's events; None if a delta of another shape would need others.

    Args:
        events: Everything that dbt told of while it ran the models tagged `delta`.
    """
    executed = [
        (node, sql)
        for node, sql in executed_by_nodes(events)
        if node.startswith(_MODEL) and _CHANGES_SOMETHING.match(sql)
    ]
    rollup = [number for number, (node, _) in enumerate(executed) if node == _ROLLUP]
    values = {(name, literal) for _, sql in executed for name, literal in _MARKED.findall(sql)}
    if not rollup or sorted(name for name, _ in values) != sorted(_LITERALS):
        return None  # several portions of days, or no moment before
    statements = [sql for _, sql in executed]
    return DeltaStatements(tuple(statements[: rollup[0]]), tuple(statements[rollup[0] :]))


def keep(path: Path, written_for: str, statements: DeltaStatements) -> None:
    """Keep statements for later deltas, of other processes too: parsing the models takes longer than a delta.

    Args:
        path: The file; replaced in one piece.
        written_for: What they depend on beside the tables.
        statements: As dbt wrote them.
    """
    keep_file(path, written_for, asdict(statements))


def kept(path: Path, written_for: str) -> DeltaStatements | None:
    """The statements that were kept last, if they were written for the same; None as well where nothing can be read."""
    found = kept_file(path, written_for)
    return None if found is None else DeltaStatements(tuple(found["before"]), tuple(found["after"]))


def execute_again(connection: duckdb.DuckDBPyConnection, statements: DeltaStatements) -> None:
    """Execute the statements in one transaction, with this delta's literals.

    Args:
        connection: The warehouse.
        statements: As dbt wrote them for an earlier delta of the same models.

    Raises:
        NotRepeatable: Many user-days are touched, or a statement failed. Nothing has changed.
    """
    connection.begin()
    try:
        literals = _standing(connection)
        for sql in statements.before:
            connection.execute(_with(sql, literals))
        literals |= _days(connection)
        for sql in statements.after:
            connection.execute(_with(sql, literals))
        connection.commit()
    except duckdb.Error as error:
        connection.rollback()
        raise NotRepeatable(str(error)) from error
    except BaseException:
        connection.rollback()
        raise


def _with(sql: str, literals: dict[str, str]) -> str:
    return _MARKED.sub(lambda found: literals[found[1]], sql)


def _standing(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    found = connection.sql("select batch_id, as_of, cast(as_of as date) from intermediate.rollup_mark").fetchall()
    if len(found) != 1 or found[0][1] is None:
        raise NotRepeatable("nothing is rolled up yet")
    [(batch_id, as_of, day)] = found
    return {
        "batch_id": str(batch_id),
        "as_of": f"timestamp '{as_of}'",
        "day_end": f"timestamp '{day} 23:59:59.999999'",
    }


def _days(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The touched days as the macro user_days_query writes them: in ranges without a gap."""
    [(rows,)] = connection.sql("select count(*) from intermediate.int_user_days_touched").fetchall()
    if rows > MOST_USER_DAYS:
        raise NotRepeatable(f"{rows} user-days are touched")
    ranges = connection.sql(
        "select min(day), max(day) from ("
        "select day, day - cast(row_number() over (order by day) as integer) as before_the_range "
        "from (select distinct day from intermediate.int_user_days_touched)) group by before_the_range order by all"
    ).fetchall()
    conditions = [
        f"events.occurred_at >= timestamp '{first} 00:00:00' "
        f"and events.occurred_at <= timestamp '{last} 23:59:59.999999'"
        for first, last in ranges
    ]
    return {"days": " or ".join(conditions) or "false"}
