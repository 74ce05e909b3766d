"""The statements of dbt nodes, as dbt wrote and executed them once, to be executed again by later runs.

Writing them takes dbt longer than executing them takes DuckDB, by far with few rows, and from run to run they are the
same text but for a few literals: the moments, what is rolled up already, the days to roll up. The macro `asked` marks
those, and the queries that give them, so that nothing here knows what they mean. Whatever is out of the ordinary is
dbt's. Decisions 0025, 0029 and 0031.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from dagster_project.settings import DBT_PROJECT_DIR

if TYPE_CHECKING:
    from dbt_common.events.base_types import EventMsg

_DBT_COMMENT = re.compile(r"^\s*/\*.*?\*/\s*", re.DOTALL)
_CHANGES_SOMETHING = re.compile(r"(?:insert|delete|create|drop|alter|comment|copy)\b", re.IGNORECASE)
_MARKED = re.compile(r"/\*:(\w+)(\.\d+)?\*/.*?/\*;\*/", re.DOTALL)
"""A literal: the column of an asked query that gives it, and the row's number; none for one row after the other."""
_ASKED = "/*?*/"
"""How a query begins that gives literals."""
_TEST, _OPERATION = "test.", "operation."
_COUNTED = re.compile(r"^\s*select\s.+? as failures,.+? as should_error\s+from \(", re.DOTALL | re.IGNORECASE)
"""How a statement begins that counts the rows which a test finds (dbt's `get_test_sql`)."""
BEFOREHAND = ""
"""The id of what dbt executes before its first node: that there are schemas."""
FOLDER = DBT_PROJECT_DIR / "target" / "statements"
"""Where statements are kept, for all data folders: a file each, named by what they were written for."""
_MOST_KEPT = 40
"""Files; a state of the project needs up to nine."""
_KEPT: dict[str, tuple["NodeStatements", ...]] = {}
"""In this process, by what they were written for."""


class NotRepeatable(RuntimeError):
    """This is for dbt to do; the message says why."""


@dataclass(frozen=True)
class NodeStatements:
    """What dbt executed for one node.

    Attributes:
        unique_id: dbt's id, or `BEFOREHAND`.
        statements: In their order, with the queries that give literals to those after them. A test has one, which gives
            the number of rows that it finds first.
        only_warns: Whether rows that the test finds are no error.
    """

    unique_id: str
    statements: tuple[str, ...]
    only_warns: bool = False


def nodes_of(events: "Iterable[EventMsg]", unique_ids: Mapping[str, bool]) -> tuple[NodeStatements, ...] | None:
    """The statements of nodes among dbt's events, in the order in which dbt began them; None if some node has none.

    Args:
        events: Everything that dbt told of while it built the nodes, and others perhaps.
        unique_ids: The ids of the nodes, and whether what a test finds is only a warning.
    """
    found: dict[str, list[str]] = {BEFOREHAND: []}
    for unique_id, sql in _executed(events):
        statements = found.setdefault(unique_id, [])
        if unique_id.startswith(_TEST):
            statements[:] = [sql]  # the last one: dbt asks for other things first
        elif sql.startswith(_ASKED):
            if sql not in statements:
                statements.append(sql)
        elif _CHANGES_SOMETHING.match(sql) and not (_is_one_by_one(sql) and any(map(_is_one_by_one, statements))):
            statements.append(sql)
    wanted = {BEFOREHAND: False} | {one: warns for one, warns in unique_ids.items() if not one.startswith(_OPERATION)}
    if not all(found.get(unique_id) for unique_id in wanted if unique_id != BEFOREHAND):
        return None
    return tuple(NodeStatements(node, tuple(sql), wanted[node]) for node, sql in found.items() if node in wanted)


def rows_found(events: "Iterable[EventMsg]") -> dict[str, str]:
    """By id of a test that dbt has run, SQL of the rows that it finds."""
    tests = {unique_id: sql for unique_id, sql in _executed(events) if unique_id.startswith(_TEST)}
    return {unique_id: rows for unique_id, sql in tests.items() if (rows := rows_of(sql)) is not None}


def rows_of(test: str) -> str | None:
    """SQL of the rows that a test's statement counts; None where it can't be told."""
    rows, known = _COUNTED.subn("select * from (", test, count=1)
    return rows if known else None


def _executed(events: "Iterable[EventMsg]") -> Iterator[tuple[str, str]]:
    """The ids of nodes and what dbt executed for each, in its order."""
    for event in events:
        if event.info.name == "SQLQuery":
            unique_id = event.data.node_info.unique_id
            # Of what loads a seed dbt tells the first five hundred characters, and dots, even if these are all.
            sql = _DBT_COMMENT.sub("", event.data.sql).strip().removesuffix("...")
            yield BEFOREHAND if unique_id.startswith(_OPERATION) else unique_id, sql


def _is_one_by_one(sql: str) -> bool:
    """Whether it is executed for one row of literals after the other; dbt has executed it for each."""
    return any(not row for _, row in _MARKED.findall(sql))


def keep_nodes(written_for: str, nodes: Sequence[NodeStatements], folder: Path = FOLDER) -> None:
    """Keep the statements of nodes for later runs, of other processes and over other warehouses too.

    Args:
        written_for: What they depend on beside the tables' rows, as a name of a file.
        nodes: As dbt wrote them.
        folder: Where; what was not kept for long goes.
    """
    _KEPT[written_for] = tuple(nodes)
    with suppress(OSError):  # it is not ours to write, or another process clears it as well: dbt writes them again
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f".{written_for}.{os.getpid()}"
        fresh.write_text(json.dumps([asdict(node) for node in nodes]), encoding="utf-8")
        fresh.replace(folder / f"{written_for}.json")
        for old in sorted(folder.glob("*.json"), key=lambda path: -path.stat().st_mtime)[_MOST_KEPT:]:
            old.unlink(missing_ok=True)


def kept_nodes(written_for: str, folder: Path = FOLDER) -> Sequence[NodeStatements] | None:
    """The statements that were kept for the same, by this process or another; None if there are none."""
    if written_for in _KEPT:
        return _KEPT[written_for]
    try:
        found = json.loads((folder / f"{written_for}.json").read_text(encoding="utf-8"))
        nodes = [NodeStatements(n["unique_id"], tuple(n["statements"]), n["only_warns"]) for n in found]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _KEPT.setdefault(written_for, tuple(nodes))


def execute_node(connection: duckdb.DuckDBPyConnection, node: NodeStatements) -> int | None:
    """Execute what dbt executed for a node of the same project, with the literals of today.

    Returns:
        How many rows a test found, None for a model or a seed.

    Raises:
        NotRepeatable: A statement failed, would have to be another one, or the test found what is an error.
    """
    literals: dict[str, list[str | None]] = {}
    found = None
    try:
        for sql in node.statements:
            if sql.startswith(_ASKED):
                literals |= _answered(connection, sql)
                continue
            for one in _with(sql, literals):
                answer = connection.execute(one)
            if node.unique_id.startswith(_TEST):
                [(found, *_)] = answer.fetchall()
    except duckdb.Error as error:
        raise NotRepeatable(f"{node.unique_id}: {error}") from error
    if found and not node.only_warns:
        raise NotRepeatable(f"{node.unique_id} found {found} rows")
    return found


def _answered(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, list[str | None]]:
    """By column the texts that an asked query gives."""
    answer = connection.sql(query)
    columns, rows = answer.columns, answer.fetchall()
    return {name: [row[place] for row in rows] for place, name in enumerate(columns)}


def _with(sql: str, literals: Mapping[str, Sequence[str | None]]) -> Iterator[str]:
    """A statement with these literals; several where it is executed for one row after the other."""

    def literal(name: str, row: int) -> str:
        given = literals.get(name, ())
        text = given[row] if row < len(given) else None
        if text is None:
            raise NotRepeatable(f"nothing gives {name} of row {row}")
        return text

    rows = max([len(literals.get(name, ())) for name, row in _MARKED.findall(sql) if not row], default=1)
    if rows > 1 and not sql.startswith("insert"):
        raise NotRepeatable("a table that is made anew of the first row can't be made of the next")
    for number in range(rows):
        yield _MARKED.sub(lambda found: literal(found[1], int(found[2][1:]) if found[2] else number), sql)  # noqa: B023


def columns_below(connection: duckdb.DuckDBPyConnection, *made: str) -> str:
    """A hash of the columns of all tables but those of some schemas: over the same columns the same views are valid.

    Args:
        connection: The warehouse.
        made: The schemas that stand on the others.
    """
    [(found,)] = connection.execute(
        "select md5(string_agg(concat_ws(' ', schema_name, table_name, column_name, data_type), ',' "
        "order by schema_name, table_name, column_index)) "
        "from duckdb_columns() where not internal and not list_contains(?, schema_name)",
        [list(made)],
    ).fetchall()
    return str(found)


def looked_for(connection: duckdb.DuckDBPyConnection) -> str:
    """What models look for before they are written: how many moments there are, which of their tables.

    Args:
        connection: The warehouse.
    """
    [(found,)] = connection.sql(
        "select concat_ws(' ', (select count(*) from raw.moments), string_agg(table_name, ' ' order by table_name)) "
        "from duckdb_tables() where table_name in ('int_user_days', 'user_features') "
        "and schema_name in ('intermediate', 'features')"
    ).fetchall()
    return str(found)
