"""The statements of dbt nodes that depend on nothing but the project, to be executed again by later runs.

Such nodes are the published views, which hold no rows, and the data tests: the same text every time, until the project
changes or the columns of the tables below. Writing it takes dbt longer than executing it takes DuckDB, by far with few
rows. Whatever is out of the ordinary is dbt's. The statements of a delta, which differ from run to run, are
`delta_statements.py`'s.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from dagster_project.kept_statements import NotRepeatable, executed_by_nodes, keep_file, kept_file

if TYPE_CHECKING:
    from dbt_common.events.base_types import EventMsg

_MAKES_A_VIEW = re.compile(r"(?:create or replace view|comment on)\b", re.IGNORECASE)
_TEST = "test."
_KEPT: dict[tuple[str, str], tuple["NodeStatements", ...]] = {}
"""In this process, for all its warehouses: by the name of the file and what they were written for."""


@dataclass(frozen=True)
class NodeStatements:
    """What dbt executed for one node.

    Attributes:
        unique_id: dbt's id.
        statements: In their order. A test has one, which gives the number of rows that it finds first.
        only_warns: Whether rows that the test finds are no error.
    """

    unique_id: str
    statements: tuple[str, ...]
    only_warns: bool = False


def nodes_of(events: "Iterable[EventMsg]", unique_ids: Mapping[str, bool]) -> tuple[NodeStatements, ...] | None:
    """The statements of nodes among dbt's events, in the order in which dbt began them; None if some node has none.

    Args:
        events: Everything that dbt told of while it built the nodes, and others perhaps.
        unique_ids: The ids of views and tests, and whether what a test finds is only a warning.
    """
    found: dict[str, tuple[str, ...]] = {}
    for unique_id, sql in executed_by_nodes(events):
        if unique_id.startswith(_TEST):
            found[unique_id] = (sql,)  # the last one: dbt asks for other things first
        elif _MAKES_A_VIEW.match(sql):
            found[unique_id] = (*found.get(unique_id, ()), sql)
    if not set(unique_ids) <= set(found):
        return None
    return tuple(NodeStatements(node, sql, unique_ids[node]) for node, sql in found.items() if node in unique_ids)


def keep_nodes(path: Path, written_for: str, nodes: Sequence[NodeStatements]) -> None:
    """Keep the statements of nodes for later runs.

    Args:
        path: The file; replaced in one piece.
        written_for: What they depend on: the project, the warehouse's name and the columns of tables.
        nodes: As dbt wrote them.
    """
    _KEPT[path.name, written_for] = tuple(nodes)
    keep_file(path, written_for, {"nodes": [asdict(node) for node in nodes]})


def kept_nodes(path: Path, written_for: str) -> Sequence[NodeStatements] | None:
    """The statements that were kept for the same, by this process or in the file; None if there are none."""
    if (path.name, written_for) in _KEPT:
        return _KEPT[path.name, written_for]
    found = kept_file(path, written_for)
    if found is None:
        return None
    nodes = [NodeStatements(n["unique_id"], tuple(n["statements"]), n["only_warns"]) for n in found["nodes"]]
    return _KEPT.setdefault((path.name, written_for), tuple(nodes))


def execute_node(connection: duckdb.DuckDBPyConnection, node: NodeStatements) -> int | None:
    """Execute what dbt executed for a node of the same project, over tables with the same columns.

    Returns:
        How many rows a test found, None for a view.

    Raises:
        NotRepeatable: A statement failed, or the test found what is an error.
    """
    found = None
    try:
        for sql in node.statements:
            answer = connection.execute(sql)
            if node.unique_id.startswith(_TEST):
                [(found, *_)] = answer.fetchall()
    except duckdb.Error as error:
        raise NotRepeatable(str(error)) from error
    if found and not node.only_warns:
        raise NotRepeatable(f"{node.unique_id} found {found} rows")
    return found


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
