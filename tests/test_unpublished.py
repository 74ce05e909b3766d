"""What is known of the copy before the last: by it alone the next publication knows which rows to change there."""

from pathlib import Path

import pytest

from dagster_project.open_files import was_left_alone
from dagster_project.unpublished import note_delta, note_published
from dagster_project.warehouse import Warehouse


def _changed(row: str) -> dict[str, str]:
    return {"changed": f"select 'handoffs' as table_name, '{row}' as row_key"}


def test_a_spare_whose_gaps_were_forgotten_is_not_used_by_the_next_try(tmp_path: Path) -> None:
    """A publication that failed has noted its own rows in the place of those that the spare lacks."""
    serving, spare = tmp_path / "serving.duckdb", tmp_path / "spare"
    serving.write_text("first")
    if not was_left_alone(serving):
        pytest.skip("the operating system doesn't say who has a file open here")
    with Warehouse(tmp_path / "warehouse.duckdb").connect() as connection:
        note_published(connection, serving, is_full=True)
        note_delta(connection, spare, _changed("h1"))
        serving.rename(spare)
        serving.write_text("second")
        note_published(connection, serving, is_full=False)
        assert note_delta(connection, spare, _changed("h2"))
        with spare.open("rb"):
            assert not note_delta(connection, spare, _changed("h2"))
        assert not note_delta(connection, spare, _changed("h2"))
        rows = "select row_key, is_new from publishing.changed order by all"
        assert connection.sql(rows).fetchall() == [("h2", True)]
