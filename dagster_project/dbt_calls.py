"""Calls dbt inside this process, which saves the seconds that starting its command costs.

The only module that imports dbt, and no other imports it before it calls dbt: that takes as long as all other imports
together, and most processes never run a model (decision 0027).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.artifacts.schemas.run import RunExecutionResult
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest
from dbt_common.events.base_types import EventMsg
from filelock import FileLock

from dagster_project.settings import DBT_PROJECT_DIR
from dagster_project.transform import MADE_FROM, NodeOutcome, TransformError, manifest_is_current, project_state
from dagster_project.warehouse import ALL_MEMORY, MEMORY_ALONE, OUT_OF_MEMORY

_PARSED: dict[tuple[str, str], Manifest] = {}
"""The dbt project, by the warehouse's name and the state of its files. It holds no other path."""
_ASSETS_TARGET = DBT_PROJECT_DIR / "target"
"""Where the project is parsed for the assets: what dbt leaves there saves every other process from parsing it."""


def parse_project(target: Path) -> Path:
    """Write the manifest into `target`, and what it was made from, and return its path.

    Of processes that begin together one writes it, and the others wait: two would write into each other's file.
    """
    manifest = target / "manifest.json"
    target.mkdir(parents=True, exist_ok=True)
    with FileLock(target / ".manifest.lock"):
        if manifest_is_current(manifest):
            return manifest
        state = project_state()
        with _environment(target / "warehouse.duckdb"):
            result = dbtRunner().invoke(["parse", *_project_arguments(target), "--quiet"])
        if not result.success:
            raise TransformError(f"dbt could not parse {DBT_PROJECT_DIR.name}: {result.exception}")
        manifest.with_suffix(MADE_FROM).write_text(state)
    return manifest


def parsed_project(warehouse: Path, target: Path) -> Manifest:
    """The project as dbt works with it, parsed once per process and state of its files: that takes longer than a delta.

    Args:
        warehouse: The DuckDB file that it is for; need not exist.
        target: Where dbt keeps its artefacts.

    Raises:
        TransformError: dbt could not parse it.
    """
    state = warehouse.name, project_state()
    if state not in _PARSED:
        # What was parsed for the assets is read again where the project is still the same; so must the path be then.
        with _environment(_ASSETS_TARGET / warehouse.name):
            saved = _ASSETS_TARGET / "partial_parse.msgpack"
            reuse = ["--partial-parse-file-path", str(saved)] if saved.exists() else []
            result = dbtRunner().invoke(["parse", *reuse, *_quietly(target)])
        if not isinstance(result.result, Manifest):
            raise TransformError(f"dbt could not parse {DBT_PROJECT_DIR.name}: {result.exception}")
        _PARSED.clear()
        _PARSED[state] = result.result
    return _PARSED[state]


def invoke(
    arguments: list[str], warehouse: Path, target: Path, events: list[EventMsg] | None = None
) -> list[NodeOutcome]:
    """Run a command of dbt.

    Args:
        arguments: The command and its options.
        warehouse: The DuckDB file; this process must have no open connection to it.
        target: Where dbt keeps its artefacts.
        events: Takes what dbt tells of while it works.

    Returns:
        One outcome per node, in the order in which they finished.

    Raises:
        TransformError: dbt itself failed before any node ran.
    """
    outcomes = _invoke(arguments, warehouse, target, events)
    if any(OUT_OF_MEMORY in outcome.message for outcome in outcomes):
        if events is not None:
            events.clear()
        outcomes = _invoke(arguments, warehouse, target, events, memory=ALL_MEMORY)
    return outcomes


def _invoke(
    arguments: list[str], warehouse: Path, target: Path, events: list[EventMsg] | None, *, memory: str = MEMORY_ALONE
) -> list[NodeOutcome]:
    callbacks = [] if events is None else [events.append]
    runner = dbtRunner(manifest=parsed_project(warehouse, target), callbacks=callbacks)
    with _environment(warehouse, memory):
        result = runner.invoke([*arguments, *_quietly(target)])
    if isinstance(result.exception, KeyboardInterrupt | SystemExit):
        raise result.exception
    if not isinstance(result.result, RunExecutionResult):
        raise TransformError(f"dbt could not start: {result.exception}")
    return [
        NodeOutcome(
            unique_id=node.node.unique_id,
            status=str(node.status),
            message=node.message or "",
            seconds=node.execution_time,
            failures=node.failures,
        )
        for node in result.result.results
    ]


def _quietly(target: Path) -> list[str]:
    """Nobody reads what dbt would write of itself: outcomes say it all, and writing it takes a third of a small run."""
    return [*_project_arguments(target), "--no-write-json", "--log-level", "none", "--log-level-file", "none"]


def _project_arguments(target: Path) -> list[str]:
    return [
        "--project-dir", str(DBT_PROJECT_DIR),
        "--profiles-dir", str(DBT_PROJECT_DIR),
        "--target-path", str(target),
        "--log-path", str(target / "logs"),
        "--no-send-anonymous-usage-stats",
        "--no-version-check",
    ]  # fmt: skip


@contextmanager
def _environment(warehouse: Path, memory: str = MEMORY_ALONE) -> Iterator[None]:
    """What dbt's profile takes from the environment, the only channel that does not make dbt parse anew."""
    told = {"PLS_WAREHOUSE_PATH": str(warehouse), "PLS_DBT_MEMORY": memory}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        # dbt keeps its connection for the life of the process, and with it the lock on the file.
        DuckDBConnectionManager.close_all_connections()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
