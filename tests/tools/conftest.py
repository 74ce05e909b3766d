"""Tools over the demo company, for the tests that only read."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from installation import Installation
from tool_shop import copied, tools_over

from dagster_project.tools import Tools


@pytest.fixture(scope="module")
def demo_copy(demo_run: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the demo company's stores; for the module to change as it likes."""
    return copied(demo_run, tmp_path_factory.mktemp("tools") / "data")


@pytest.fixture(scope="module")
def tools(demo_copy: Path) -> Iterator[Tools]:
    with tools_over(demo_copy) as opened:
        yield opened


@pytest.fixture(scope="module")
def marts(demo_copy: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The published tables, to compare with."""
    with duckdb.connect(str(demo_copy / "serving.duckdb"), read_only=True) as connection:
        yield connection
