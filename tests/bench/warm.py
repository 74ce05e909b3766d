"""What a warm process takes for a batch: the jobs executed as `pls watch` does, and a running `pls watch` itself."""

import os
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.company import Size, write_batch
from tests.bench.processes import PLS, PhaseFailed, high_water

BATCH_EVENTS = 10_000
WATCH_EVENTS = 200
PAUSE_SECONDS = 0.5
"""Between the end of one batch and the next file, so that no two are gathered into one."""

RECEIPTS = {
    "alert": "operation = 'alert'",
    "CRM update": "destination like 'crm:%' and operation = 'update'",
}
"""By what is waited for, which receipts of the ledger say that it is done."""


def micro_batches(folder: Path, size: Size, batches: int) -> dict[str, Any]:
    """A full refresh and then batches, in one process on one instance.

    Returns:
        Seconds: `full`, `full_steps` by step, `batches` one by one, `steps` by step, of the median batch.
    """
    import dagster as dg

    from dagster_project.definitions import build_definitions
    from dagster_project.defs.resources import Workplace

    definitions = build_definitions()
    with tempfile.TemporaryDirectory() as home, dg.DagsterInstance.local_temp(home) as instance:

        def execute(job: str) -> tuple[float, dict[str, float]]:
            began = time.perf_counter()
            result = definitions.resolve_job_def(job).execute_in_process(
                instance=instance,
                resources={"workplace": Workplace(complete_files=_landed(folder))},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            took = time.perf_counter() - began
            return took, _steps(instance, result.run_id)

        full, full_steps = execute("score_everything")
        execute("score_new_events")  # parses the models once per process
        runs = []
        for number in range(batches):
            land(folder, size, number=number, events=BATCH_EVENTS)
            runs.append(execute("score_new_events"))
    steps = {step: median([found.get(step, 0.0) for _, found in runs]) for step in runs[0][1]}
    return {"full": full, "full_steps": full_steps, "batches": [took for took, _ in runs], "steps": steps}


def _steps(instance: Any, run_id: str) -> dict[str, float]:
    """Seconds of each step of a run; of a delta, which is one step, those of its parts."""
    started: dict[str, float] = {}
    took: dict[str, float] = {}
    for record in instance.all_logs(run_id):
        if record.dagster_event is None or record.step_key is None:
            continue
        told = record.asset_materialization
        if told is not None and "part" in told.metadata:
            took[str(told.metadata["part"].value)] = float(told.metadata["seconds"].value)
        elif record.dagster_event.event_type_value == "STEP_START":
            started[record.step_key] = record.timestamp
        elif record.dagster_event.event_type_value == "STEP_SUCCESS":
            took[record.step_key] = record.timestamp - started[record.step_key]
    return took


def watch(
    folder: Path, size: Size, batches: int, environment: Mapping[str, str]
) -> tuple[dict[str, list[float]], float]:
    """Seconds from a file that is moved into place to what a running `pls watch` does about it.

    Each file holds somebody's wish to talk to sales, so that there is an alert to wait for, and others' events.

    Returns:
        By what was waited for, the seconds of each file for which it happened: the receipts of `RECEIPTS`, and
        `published`, the line that says that all of it is recorded. And the worker's peak memory in megabytes.

    Raises:
        PhaseFailed: The worker said something else.
    """
    found: dict[str, list[float]] = {name: [] for name in (*RECEIPTS, "published")}
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        words = {**os.environ, **environment, "DAGSTER_HOME": home}
        worker = subprocess.Popen(PLS + ("watch",), env=words, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        try:
            worker.stdout.readline()
            worker.stdout.readline()  # what had landed before
            for number in range(batches + 1):
                landed = land(folder, size, number=1000 + number, events=WATCH_EVENTS, asks_for_sales=number)
                said = worker.stdout.readline()
                if " in " not in said:
                    raise PhaseFailed(f"pls watch said: {said.strip()[:150] or 'nothing, and ended'}")
                if number:  # the first one parses the models
                    found["published"].append((datetime.now(UTC).replace(tzinfo=None) - landed).total_seconds())
                    for name, seconds in _receipts(folder, landed).items():
                        found[name].append(seconds)
                time.sleep(PAUSE_SECONDS)
            memory = high_water(worker.pid)
        finally:
            worker.terminate()
            worker.wait(timeout=120)
    return found, memory or 0.0


def _receipts(folder: Path, landed: datetime) -> dict[str, float]:
    """Seconds from a moment to the last receipt of each kind that the ledger has since."""
    found = {}
    ledger = sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True)
    try:
        for name, condition in RECEIPTS.items():
            [(last,)] = ledger.execute(
                f"select max(confirmed_at) from deliveries where {condition} and confirmed_at >= ?",
                [landed.isoformat(" ", timespec="microseconds")],
            ).fetchall()
            if last:
                found[name] = (datetime.fromisoformat(last) - landed).total_seconds()
    finally:
        ledger.close()
    return found


def land(folder: Path, size: Size, *, number: int, events: int, asks_for_sales: int | None = None) -> datetime:
    """Move a file of further events into the landing folder; returns when, naive UTC."""
    start = datetime.combine(size.end, datetime.min.time()) + timedelta(hours=9, minutes=number % 600)
    path = folder / "landing" / "events" / f"batch-{number:04}.parquet"
    return write_batch(path, size, number=number, events=events, start=start, asks_for_sales=asks_for_sales)


def _landed(folder: Path) -> list[str]:
    return [path.relative_to(folder / "landing").as_posix() for path in (folder / "landing").rglob("*.parquet")]
