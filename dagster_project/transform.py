"""What is asked of dbt, and what became of it as plain records.

Which models exist and what they compute is the dbt project's business; how outcomes show in the UI is
`defs/transform.py`'s. dbt itself is called in `dbt_calls.py`, which is imported where it is needed.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from dagster_project.delta_statements import execute_again, keep, kept, statements_of
from dagster_project.kept_statements import NotRepeatable
from dagster_project.node_statements import (
    NodeStatements,
    columns_below,
    execute_node,
    keep_nodes,
    kept_nodes,
    nodes_of,
)
from dagster_project.settings import DBT_PROJECT_DIR

if TYPE_CHECKING:
    from dbt_common.events.base_types import EventMsg

_STATEMENTS = "delta_statements.json"
"""Among dbt's artefacts: the statements of the last delta that dbt executed."""
_TESTS, _MARTS = "feature_tests.json", "mart_statements.json"
"""The same of the tests of features, and of the published views with their tests."""
_BUILT_ON_IT = [DBT_PROJECT_DIR / "models" / folder for folder in ("marts", "past")]
"""Models that no rollup depends on."""


_NO_UNIT_TESTS = ("--exclude-resource-type", "unit_test")
"""They are the developer's: they run in `make test`, not on every run."""
Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


class TransformError(RuntimeError):
    """dbt could not do what was asked; the message holds the failing nodes and their own words."""


@dataclass(frozen=True)
class NodeOutcome:
    """What became of one dbt node.

    Attributes:
        unique_id: dbt's id, such as `model.pls.int_user_days`.
        status: dbt's status: success, pass, warn, fail, error, skipped.
        message: dbt's own words, or an empty string.
        seconds: How long it took.
        failures: Rows that a test found, else None.
    """

    unique_id: str
    status: str
    message: str
    seconds: float
    failures: int | None

    @property
    def ok(self) -> bool:
        """Whether nothing downstream has to stop for it."""
        return self.status in ("success", "pass", "warn", "no-op")


def manifest_is_current(manifest: Path) -> bool:
    """Whether the manifest is younger than every file of the dbt project."""
    if not manifest.exists():
        return False
    written = manifest.stat().st_mtime
    return all(path.stat().st_mtime <= written for path in project_files())


def rollup_definition(settings: Mapping[str, str]) -> str:
    """A hash of everything that decides what the incremental rollups hold.

    Args:
        settings: The numbers that the models read from `raw.settings`.
    """
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for path in project_files():
        if path.suffix not in (".sql", ".csv") or any(path.is_relative_to(folder) for folder in _BUILT_ON_IT):
            continue
        digest.update(path.relative_to(DBT_PROJECT_DIR).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build(*, select: Sequence[str], warehouse: Path, target: Path, full_refresh: bool) -> list[NodeOutcome]:
    """Build and test the selected nodes.

    Args:
        select: dbt selectors.
        warehouse: The DuckDB file; this process must have no open connection to it.
        target: Where dbt keeps its artefacts.
        full_refresh: Whether incremental models start anew.

    Returns:
        One outcome per node, in the order in which they finished.

    Raises:
        TransformError: dbt itself failed before any node ran.
    """
    arguments = ["build", "--select", *select, *_NO_UNIT_TESTS]
    if full_refresh:
        arguments.append("--full-refresh")
    from dagster_project.dbt_calls import invoke

    return invoke(arguments, warehouse, target)


def build_features(*, warehouse: Path, target: Path, connect: Connect) -> list[NodeOutcome]:
    """Build all features anew and test them.

    Args:
        warehouse: The DuckDB file; this process must have no open connection to it that dbt's would conflict with.
        target: Where dbt keeps its artefacts.
        connect: Opens the warehouse.

    Returns:
        One outcome per node, in the order in which they finished.

    Raises:
        TransformError: dbt itself failed before any node ran.
    """
    written_for = _written_for(warehouse, "")
    tests = kept_nodes(target / _TESTS, written_for)
    if tests is None:
        select = ["tag:features", "--full-refresh"]
        return _build_and_keep(select, ("test.",), warehouse, kept_in=target / _TESTS, written_for=written_for)
    from dagster_project.dbt_calls import invoke

    of_features = ["--select", "tag:features", "--resource-type"]
    made = invoke(["build", "--full-refresh", *of_features, "model", "--resource-type", "seed"], warehouse, target)
    if not all(outcome.ok for outcome in made):
        return made
    with connect() as connection:
        tested = _repeated(connection, tests)
    return made + (invoke(["test", *of_features, "test"], warehouse, target) if tested is None else tested)


def build_marts(*, warehouse: Path, target: Path, connect: Connect) -> list[NodeOutcome]:
    """Make the published views and test them; see `build_features`."""
    with connect() as connection:
        written_for = _written_for(warehouse, columns_below(connection, "marts", "past"))
        nodes = kept_nodes(target / _MARTS, written_for)
        made = None if nodes is None else _repeated(connection, nodes)
    if made is not None:
        return made
    kinds = ("model.", "test.")
    return _build_and_keep(["tag:marts"], kinds, warehouse, kept_in=target / _MARTS, written_for=written_for)


def _build_and_keep(
    select: list[str], kinds: tuple[str, ...], warehouse: Path, *, kept_in: Path, written_for: str
) -> list[NodeOutcome]:
    """Let dbt do all of it, and keep the statements of nodes of these kinds."""
    from dagster_project.dbt_calls import invoke, parsed_project

    target = kept_in.parent
    events: list[EventMsg] = []
    outcomes = invoke(["build", "--select", *select, *_NO_UNIT_TESTS], warehouse, target, events)
    ids = [outcome.unique_id for outcome in outcomes if outcome.unique_id.startswith(kinds)]
    known = parsed_project(warehouse, target).nodes
    nodes = nodes_of(events, {one: str(known[one].config.get("severity", "")).lower() == "warn" for one in ids})
    if nodes is not None and all(outcome.ok for outcome in outcomes):
        keep_nodes(kept_in, written_for, nodes)
    return outcomes


def _repeated(connection: duckdb.DuckDBPyConnection, nodes: Sequence[NodeStatements]) -> list[NodeOutcome] | None:
    """What became of nodes whose statements are executed again; None, and nothing done, where this is for dbt to do."""
    outcomes = []
    connection.begin()
    try:
        for node in nodes:
            begun = time.monotonic()
            found = execute_node(connection, node)
            status = "success" if found is None else "warn" if found else "pass"
            message = f"Got {found} results" if found else ""
            outcomes.append(NodeOutcome(node.unique_id, status, message, time.monotonic() - begun, found))
        connection.commit()
    except NotRepeatable:
        connection.rollback()
        return None
    except BaseException:
        connection.rollback()
        raise
    return outcomes


def repeat_delta(connection: duckdb.DuckDBPyConnection, *, warehouse: Path, target: Path, stands_on: str) -> bool:
    """Recompute what new events touch with the statements of an earlier delta; whether that was done.

    Args:
        connection: The warehouse.
        warehouse: Its file.
        target: Where dbt keeps its artefacts.
        stands_on: What tells the full refresh below the delta from others: its moments and rules stand in the
            statements.
    """
    statements = kept(target / _STATEMENTS, _written_for(warehouse, stands_on))
    if statements is None:
        return False
    try:
        execute_again(connection, statements)
    except NotRepeatable:
        return False
    return True


def run_delta(*, warehouse: Path, target: Path, stands_on: str) -> list[NodeOutcome]:
    """Recompute what new events touch: the models tagged `delta`, without their tests, which read whole tables.

    Args:
        warehouse: The DuckDB file; this process must have no open connection to it.
        target: Where dbt keeps its artefacts.
        stands_on: See `repeat_delta`.

    Raises:
        TransformError: dbt itself failed before any node ran.
    """
    events: list[EventMsg] = []
    outcomes = _run_tagged("delta", warehouse, target, events)
    statements = statements_of(events)
    if statements is not None and all(outcome.ok for outcome in outcomes):
        keep(target / _STATEMENTS, _written_for(warehouse, stands_on), statements)
    return outcomes


def run_past(*, warehouse: Path, target: Path) -> list[NodeOutcome]:
    """Compute the features of the days that `raw.past_range` names: the models tagged `past`.

    Args:
        warehouse: The DuckDB file; this process must have no open connection to it.
        target: Where dbt keeps its artefacts.

    Raises:
        TransformError: dbt itself failed before any node ran.
    """
    return _run_tagged("past", warehouse, target)


def _run_tagged(tag: str, warehouse: Path, target: Path, events: "list[EventMsg] | None" = None) -> list[NodeOutcome]:
    from dagster_project.dbt_calls import invoke

    return invoke(["run", "--select", f"tag:{tag}"], warehouse, target, events)


def _written_for(warehouse: Path, stands_on: str) -> str:
    """What statements depend on beside the tables: the project; the names of relations begin with the warehouse's."""
    digest = hashlib.sha256(f"{warehouse.name}\0{stands_on}".encode())
    for path in project_files():
        digest.update(path.relative_to(DBT_PROJECT_DIR).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def failure_report(outcomes: Sequence[NodeOutcome]) -> str | None:
    """The nodes that failed, one line each with dbt's own words; None when all is well."""
    failed = [outcome for outcome in outcomes if not outcome.ok and outcome.status != "skipped"]
    if not failed:
        return None
    skipped = sum(outcome.status == "skipped" for outcome in outcomes)
    lines = [f"{o.unique_id}: {o.message.strip() or o.status}" for o in failed]
    return "\n".join([f"{len(failed)} dbt nodes failed, {skipped} were skipped after them:", *lines])


def project_files() -> Iterator[Path]:
    """Every file that decides what dbt does."""
    for folder in ("models", "macros", "seeds", "tests"):
        yield from sorted(p for p in (DBT_PROJECT_DIR / folder).rglob("*") if p.is_file())
    yield DBT_PROJECT_DIR / "dbt_project.yml"
