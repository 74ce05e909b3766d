"""Runs whose process was killed: Dagster counts them as running for ever, and lets no other run into their pool.

While it works a run holds the data folder's lock and has its id in a file beside it. The operating system takes the
lock from a process that is gone, the file stays. So whoever holds the lock and finds a run's id knows that it is dead.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

DIED = "its process ended without a word, see the machine's own log: killed, out of memory, or switched off"
"""What is said of such a run."""


@contextmanager
def noted(note: Path, instance: dg.DagsterInstance | None, run_id: str | None) -> Iterator[None]:
    """Note a run for as long as the block lasts, and end the one that is still noted; call with the lock held.

    Args:
        note: The file that holds the run's id.
        instance: Knows the runs; None where there are none.
        run_id: The run; None for what is no run, which is not noted.
    """
    if instance is not None:
        _end_noted(note, instance, but=run_id)
    if run_id is not None:
        note.write_text(run_id)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def end_dead_run(lock: Path, note: Path, instance: dg.DagsterInstance) -> str | None:
    """End the run that is noted, if nobody holds the lock.

    Args:
        lock: The data folder's lock.
        note: The file that holds the run's id.
        instance: Knows the runs.

    Returns:
        The run's id, None if none was to be ended.
    """
    if not note.exists():
        return None
    try:
        with FileLock(lock).acquire(timeout=0):
            ended = _end_noted(note, instance)
            note.unlink(missing_ok=True)
            return ended
    except Timeout:  # it works
        return None


def _end_noted(note: Path, instance: dg.DagsterInstance, *, but: str | None = None) -> str | None:
    try:
        run_id = note.read_text().strip()
    except FileNotFoundError:
        return None
    run = instance.get_run_by_id(run_id) if run_id and run_id != but else None
    if run is None or run.is_finished:
        return None
    instance.report_run_failed(run, DIED)
    return run_id
