"""The fixture of these tests: a landing folder beside a warehouse."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from landing_folder import Landing

from dagster_project.warehouse import Warehouse


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    """An empty landing folder and an empty warehouse."""
    with Warehouse(tmp_path / "warehouse.duckdb").connect() as connection:
        yield Landing(tmp_path / "landing", connection)
