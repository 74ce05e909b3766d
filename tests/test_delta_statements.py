"""The statements of a delta outlive the process that wrote them, but not what they were written for."""

from pathlib import Path

import pytest

from dagster_project.delta_statements import DeltaStatements, keep, kept

WRITTEN = DeltaStatements(before=("create table a", "insert into a"), after=("delete from b where day > '…'",))


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "artefacts" / "statements.json"
    keep(path, "today", DeltaStatements((), ()))
    keep(path, "today", WRITTEN)
    assert kept(path, "today") == WRITTEN
    assert kept(path, "tomorrow") is None
    assert [found.name for found in path.parent.iterdir()] == ["statements.json"]


@pytest.mark.parametrize("text", [None, "", '{"written_for": "to'])
def test_what_cannot_be_read_is_written_anew(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "statements.json"
    if text is not None:
        path.write_text(text)
    assert kept(path, "today") is None
