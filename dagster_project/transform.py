"""What is asked of dbt, and what became of it as plain records.

Which models exist and what they compute is the dbt project's business; how outcomes show in the UI is
`defs/transform.py`'s. dbt itself is called in `dbt_calls.py`, which is imported where it is needed.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from dagster_project import node_statements
from dagster_project.node_statements import (
    BEFOREHAND,
    NotRepeatable,
    columns_below,
    execute_node,
    keep_nodes,
    kept_nodes,
    looked_for,
    nodes_of,
    rows_found,
    rows_of,
)
from dagster_project.settings import DBT_PROJECT_DIR
from dagster_project.warehouse import MEMORY_ALONE, memory_limited, transaction

if TYPE_CHECKING:
    from dbt_common.events.base_types import EventMsg

_NO_UNIT_TESTS = ("--exclude-resource-type", "unit_test")
"""They are the developer's: they run in `make test`, not on every run."""
ROWS_FOUND = "rows found"
"""The metadata that says how many rows a test has found."""
_FEATURES = ("build", "--select", "tag:features", "--full-refresh", *_NO_UNIT_TESTS)
_DELTA = ("run", "--select", "tag:delta")
_CRM = ("run", "--select", "tag:crm")
_MARTS = ("build", "--select", "tag:marts", *_NO_UNIT_TESTS)
_PAST = ("run", "--select", "tag:past")
_BUILT_ON_IT = [DBT_PROJECT_DIR / "models" / folder for folder in ("marts", "past")]
"""Models that no rollup depends on."""
MADE_FROM = ".sha256"
"""The suffix of the file beside a manifest that says of which `project_state` it is."""


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
        rows: SQL of these rows, None if there are none or it can't be told.
    """

    unique_id: str
    status: str
    message: str
    seconds: float
    failures: int | None
    rows: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing downstream has to stop for it."""
        return self.status in ("success", "pass", "warn", "no-op")


def manifest_is_current(manifest: Path) -> bool:
    """Whether the manifest was made from the dbt project's files as they are now."""
    made_from = manifest.with_suffix(MADE_FROM)
    return manifest.exists() and made_from.exists() and made_from.read_text() == project_state()


def project_state(project: Path = DBT_PROJECT_DIR) -> str:
    """A hash of the files of a dbt project.

    Not their times: a deployed file may be as old as where it came from, and one that was removed has none.
    """
    digest = hashlib.sha256()
    for path in project_files(project):
        digest.update(path.relative_to(project).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def rollup_definition(settings: Mapping[str, str]) -> str:
    """A hash of everything that decides what the incremental rollups hold.

    Args:
        settings: The numbers that the models read from `raw.settings`.
    """
    # The numbers that rows are looked for by are DuckDB's (macro `key_of`): another version may have others.
    digest = hashlib.sha256(repr((sorted(settings.items()), version("duckdb"))).encode())
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

    events: list[EventMsg] = []
    return _with_rows(invoke(arguments, warehouse, target, events), events)


def build_features(*, warehouse: Path, target: Path, connect: Connect) -> list[NodeOutcome]:
    """Build all features anew and test them, with the statements of an earlier build if there was one alike.

    Args:
        warehouse: The DuckDB file; this process must have no open connection to it that dbt's would conflict with.
        target: Where dbt keeps its artefacts.
        connect: Opens the warehouse.

    Returns:
        One outcome per node, in the order in which they finished.

    Raises:
        TransformError: dbt itself failed before any node ran.
    """
    with connect() as connection:
        written_for = _written_for(_FEATURES, warehouse, looked_for(connection))
        made = _again(connection, written_for, transaction_each=True)
    return made or _by_dbt(_FEATURES, warehouse, target, written_for)


def build_delta(*, warehouse: Path, target: Path, connect: Connect) -> list[NodeOutcome]:
    """Recompute what new events touch: the models tagged `delta`, without their tests, which read whole tables.

    Arguments, result and errors are those of `build_features`.
    """
    with connect() as connection:
        written_for = _written_for(_DELTA, warehouse, looked_for(connection))
        made = _again(connection, written_for)
    return made or _by_dbt(_DELTA, warehouse, target, written_for)


def build_crm(*, warehouse: Path, target: Path, connect: Connect) -> list[NodeOutcome]:
    """Make the models of what the CRM says anew, without their tests; see `build_features`."""
    with connect() as connection:
        written_for = _written_for(_CRM, warehouse, looked_for(connection))
        made = _again(connection, written_for)
    return made or _by_dbt(_CRM, warehouse, target, written_for)


def build_marts(*, warehouse: Path, target: Path, connect: Connect) -> list[NodeOutcome]:
    """Make the published views and test them; see `build_features`."""
    with connect() as connection:
        written_for = _written_for(_MARTS, warehouse, columns_below(connection, "marts", "past"))
        made = _again(connection, written_for)
    return made or _by_dbt(_MARTS, warehouse, target, written_for)


def build_past(*, warehouse: Path, target: Path, connect: Connect) -> list[NodeOutcome]:
    """Compute the features of the days that `raw.past_range` names: the models tagged `past`; see `build_features`."""
    with connect() as connection:
        written_for = _written_for(_PAST, warehouse, looked_for(connection))
        made = _again(connection, written_for, transaction_each=True)
    return made or _by_dbt(_PAST, warehouse, target, written_for)


def _by_dbt(command: Sequence[str], warehouse: Path, target: Path, written_for: str) -> list[NodeOutcome]:
    """Let dbt do it, and keep what it executed."""
    from dagster_project.dbt_calls import invoke, parsed_project

    events: list[EventMsg] = []
    outcomes = invoke(list(command), warehouse, target, events)
    known = parsed_project(warehouse, target).nodes
    only_warns = {o.unique_id: str(known[o.unique_id].config.get("severity", "")).lower() == "warn" for o in outcomes}
    nodes = nodes_of(events, only_warns)
    if nodes is not None and all(outcome.ok for outcome in outcomes):
        keep_nodes(written_for, nodes)
    return _with_rows(outcomes, events)


def _with_rows(outcomes: Sequence[NodeOutcome], events: "Sequence[EventMsg]") -> list[NodeOutcome]:
    """The same with the SQL of what tests have found, from what dbt told of while it ran them."""
    rows = rows_found(events)
    return [replace(outcome, rows=rows.get(outcome.unique_id)) if outcome.failures else outcome for outcome in outcomes]


def _again(
    connection: duckdb.DuckDBPyConnection, written_for: str, *, transaction_each: bool = False
) -> list[NodeOutcome] | None:
    """What became of nodes whose statements are executed again; None where this is for dbt to do.

    Args:
        connection: The warehouse.
        written_for: What the statements were written for.
        transaction_each: Whether each node's changes stand by themselves, as with dbt: a table's old rows make room
            when the new ones stand, not when all tables do. Otherwise nothing has changed where it is for dbt to do.
    """
    nodes = kept_nodes(written_for)
    if nodes is None:
        return None
    outcomes = []
    together, alone = (nullcontext, transaction) if transaction_each else (transaction, nullcontext)
    try:
        with memory_limited(connection, MEMORY_ALONE), together(connection):
            for node in nodes:
                begun = time.monotonic()
                with alone(connection):
                    found = execute_node(connection, node)
                status = "success" if found is None else "warn" if found else "pass"
                message = f"Got {found} results" if found else ""
                rows = rows_of(node.statements[-1]) if found else None
                outcomes.append(NodeOutcome(node.unique_id, status, message, time.monotonic() - begun, found, rows))
    except NotRepeatable:
        return None
    return [outcome for outcome in outcomes if outcome.unique_id != BEFOREHAND]


def _written_for(command: Sequence[str], warehouse: Path, found: str) -> str:
    """A hash of what statements depend on.

    Args:
        command: What is asked of dbt.
        warehouse: The DuckDB file: its name is part of the names of relations.
        found: What of its tables decides which statements are written.
    """
    words = [*command, str(DBT_PROJECT_DIR), warehouse.name, found, *map(version, ("dbt-core", "dbt-duckdb"))]
    digest = hashlib.sha256("\0".join([*words, project_state()]).encode())
    digest.update(Path(node_statements.__file__).read_bytes())
    return digest.hexdigest()


def failure_report(outcomes: Sequence[NodeOutcome]) -> str | None:
    """The nodes that failed, one line each with dbt's own words; None when all is well."""
    failed = [outcome for outcome in outcomes if not outcome.ok and outcome.status != "skipped"]
    if not failed:
        return None
    skipped = sum(outcome.status == "skipped" for outcome in outcomes)
    lines = [f"{o.unique_id}: {o.message.strip() or o.status}" for o in failed]
    return "\n".join([f"{len(failed)} dbt nodes failed, {skipped} were skipped after them:", *lines])


def project_files(project: Path = DBT_PROJECT_DIR) -> Iterator[Path]:
    """Every file that decides what dbt does."""
    for folder in ("models", "macros", "seeds", "tests"):
        yield from sorted(p for p in (project / folder).rglob("*") if p.is_file())
    yield project / "dbt_project.yml"
