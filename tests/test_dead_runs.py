"""Runs whose process was killed: they are ended, those that work are not."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock

from dagster_project.dead_runs import end_dead_run, noted


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _started(instance: dg.DagsterInstance) -> str:
    run = dg.DagsterRun("score_everything", status=dg.DagsterRunStatus.STARTED)
    instance.add_run(run)
    return run.run_id


def _status(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status.value


def test_a_run_that_was_killed_is_ended_by_whoever_looks_next(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    lock, note, run_id = tmp_path / ".run.lock", tmp_path / ".run.id", _started(instance)
    note.write_text(run_id)  # what is left when nobody could clean up
    with FileLock(lock):
        assert end_dead_run(lock, note, instance) is None
    assert _status(instance, run_id) == "STARTED"  # somebody holds the lock: it works
    assert end_dead_run(lock, note, instance) == run_id
    assert (_status(instance, run_id), note.exists()) == ("FAILURE", False)


def test_a_run_that_was_killed_is_ended_by_the_next_run(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    note, killed, mine = tmp_path / ".run.id", _started(instance), _started(instance)
    note.write_text(killed)
    with noted(note, instance, mine):
        assert (_status(instance, killed), note.read_text()) == ("FAILURE", mine)
        with noted(note, instance, mine):  # as each step of a run does that has a process per step
            assert _status(instance, mine) == "STARTED"
    assert not note.exists()
    end_dead_run(tmp_path / ".run.lock", note, instance)
    assert _status(instance, mine) == "STARTED"


@pytest.mark.parametrize("said", ["", "a run of another instance"])
def test_a_note_that_says_nothing_known_harms_nobody(instance: dg.DagsterInstance, tmp_path: Path, said: str) -> None:
    note = tmp_path / ".run.id"
    note.write_text(said)
    assert end_dead_run(tmp_path / ".run.lock", note, instance) is None
    assert not note.exists()
