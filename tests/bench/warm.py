"""What a batch takes: jobs executed in a warm process as `pls watch` does, a running `pls watch`, and the sensor."""

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from tests.bench.company import Size, write_batch, write_contacts
from tests.bench.processes import PLS, PhaseFailed, high_water

BATCH_EVENTS = 10_000
WATCH_EVENTS = 200
SENSOR_PATIENCE, REFRESH_PATIENCE = 300, 1800
"""Seconds for what the sensor publishes of a batch, and of the full refresh before."""
DAGSTER_YAML = Path(__file__).parents[2] / "dagster.yaml"
PAUSE_SECONDS = 0.5
"""Between the end of one batch and the next file, so that no two are gathered into one."""

LOOK_SECONDS = 0.002
"""Between two looks at which file is the serving copy."""

RECEIPTS = {
    "alert": "operation = 'alert'",
    "CRM update": "destination like 'crm:%' and operation = 'update'",
}
"""By what is waited for, which receipts of the ledger say that it is done."""


Execute = Callable[[str], tuple[float, dict[str, float]]]
"""Runs a job by its name: its seconds, and those of its steps."""


def micro_batches(folder: Path, size: Size, batches: int) -> dict[str, Any]:
    """A full refresh and then batches, in one process on one instance.

    Returns:
        Seconds: `full`, `full_steps` by step, `batches` one by one, `scores` until each one's were published, `steps`
        by step, of the median batch. And how many `users` and `accounts` the last batch has scored again.
    """

    def land_events(number: int) -> None:
        land(folder, size, number=number, events=BATCH_EVENTS)

    with _warm(folder) as execute:
        full, full_steps = execute("score_everything")
        found = _batches(execute, batches, land_events, folder)
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as warehouse:
        [(users, accounts)] = warehouse.sql(
            "select (select count(*) from scores.rescored_users), (select count(*) from scores.rescored_accounts)"
        ).fetchall()
    return {"full": full, "full_steps": full_steps, "users": users, "accounts": accounts, **found}


def crm_batches(folder: Path, size: Size, batches: int) -> dict[str, Any]:
    """Extracts of all contacts in which some have another role; `batches`, `scores`, `steps` as of `micro_batches`.

    Raises:
        PhaseFailed: Some were computed with everybody.
    """

    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as warehouse:
        [(taken,)] = warehouse.sql("select count(*) from raw.crm_extracts where entity = 'contacts'").fetchall()

    def land_contacts(number: int) -> None:
        write_contacts(folder / "landing" / "crm", size, taken + number)

    with _warm(folder) as execute:
        found = _batches(execute, batches, land_contacts, folder)
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as warehouse:
        [(is_full, why)] = warehouse.sql("select is_full, reason from raw.refreshes").fetchall()
    if is_full:
        raise PhaseFailed(f"everybody was computed: {why}")
    return found


def _batches(execute: Execute, batches: int, land_one: Callable[[int], None], folder: Path) -> dict[str, Any]:
    from dagster_project.run import keep_for_good

    execute("score_new_events")  # opens what a process opens once
    keep_for_good()
    runs, scores = [], []
    with Swaps(folder / "serving.duckdb") as swaps:
        for number in range(batches):
            land_one(number)
            began = time.time()
            runs.append(execute("score_new_events"))
            if not (seen := swaps.since(began)):
                raise PhaseFailed("a batch has published nothing")
            scores.append(seen[0] - began)
    steps = {step: median([found.get(step, 0.0) for _, found in runs]) for step in runs[0][1]}
    return {"batches": [took for took, _ in runs], "scores": scores, "steps": steps}


class Swaps:
    """Sees in a thread of its own when another file is put in the place of one; stopped at the end of the block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Swaps":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def since(self, moment: float) -> list[float]:
        """When that was since a moment, seconds since 1970."""
        return [seen for seen in self._seen if seen >= moment]

    def _look(self) -> None:
        before = self._path.stat().st_ino
        while not self._stop.wait(LOOK_SECONDS):
            if (now := self._path.stat().st_ino) != before:
                self._seen.append(time.time())
                before = now


@contextmanager
def _warm(folder: Path) -> Iterator[Execute]:
    """Runs jobs in this process on one instance, as `pls watch` does."""
    from dagster_project.definitions import build_definitions
    from dagster_project.defs.resources import Workplace
    from dagster_project.run import persistent_instance

    definitions = build_definitions()
    with _instance_home() as home, persistent_instance(home) as instance:

        def execute(job: str) -> tuple[float, dict[str, float]]:
            began = time.perf_counter()
            result = definitions.resolve_job_def(job).execute_in_process(
                instance=instance,
                resources={"workplace": Workplace(complete_files=_landed(folder))},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            took = time.perf_counter() - began
            return took, _steps(instance, result.run_id)

        yield execute


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


@dataclass(frozen=True)
class Lane:
    """Somebody who is running and does something about each file that lands.

    Attributes:
        pid: Of the process whose memory counts.
        published: Waits until what was said about the last file, or what has come since, is published.
    """

    pid: int
    published: Callable[[], None]


def watch(
    folder: Path, size: Size, batches: int, environment: Mapping[str, str]
) -> tuple[dict[str, list[float]], float]:
    """`latencies` under a running `pls watch`, whose printed line says that all of a file is recorded."""
    with _instance_home() as home, _started(PLS + ("watch",), home, environment) as worker:
        assert worker.stdout is not None
        said = worker.stdout
        said.readline()
        said.readline()  # what had landed before

        def published() -> None:
            line = said.readline()
            if " in " not in line:
                raise PhaseFailed(f"pls watch said: {line.strip()[:150] or 'nothing, and ended'}")

        return latencies(folder, size, batches, Lane(worker.pid, published))


def sensor(
    folder: Path, size: Size, batches: int, environment: Mapping[str, str]
) -> tuple[dict[str, list[float]], float]:
    """`latencies` under Dagster's daemon with the sensor on and this project's instance settings."""
    serving = folder / "serving.duckdb"

    def published(within: int = SENSOR_PATIENCE) -> None:
        before, until = serving.stat().st_mtime_ns, time.monotonic() + within
        while serving.stat().st_mtime_ns == before:
            if time.monotonic() > until:
                raise PhaseFailed(f"the sensor published nothing within {within} s")
            time.sleep(0.05)

    with _instance_home() as home:
        daemon = (sys.executable, "-m", "dagster._daemon", "run", "-m", "dagster_project.definitions")
        settings = {"PLS_AUTOMATE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        with _started(daemon, home, {**environment, **settings}) as started:
            published(REFRESH_PATIENCE)  # what had landed before: a full refresh
            return latencies(folder, size, batches, Lane(started.pid, published))


@contextmanager
def _instance_home() -> Iterator[Path]:
    """A folder for a Dagster instance that keeps to this project's settings; removed with the block."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "dagster.yaml").write_text(DAGSTER_YAML.read_text())
        yield Path(folder)


@contextmanager
def _started(words: Sequence[str], home: Path, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A process with an instance at `home`; ended with the block."""
    own = {**os.environ, **environment, "DAGSTER_HOME": str(home)}
    with (home / "errors").open("w") as errors:
        worker = subprocess.Popen(words, env=own, cwd=home, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        yield worker
    finally:
        worker.terminate()
        worker.communicate(timeout=120)


def latencies(folder: Path, size: Size, batches: int, lane: Lane) -> tuple[dict[str, list[float]], float]:
    """Seconds from a file that is moved into place to what is done about it.

    Each file holds somebody's wish to talk to sales, so that there is an alert to wait for, and others' events.

    Returns:
        By what was waited for, the seconds of each file for which it happened: the receipts of `RECEIPTS`, and
        `published`. And the peak memory in megabytes.

    Raises:
        PhaseFailed: Nothing was done, or something else.
    """
    found: dict[str, list[float]] = {name: [] for name in (*RECEIPTS, "published")}
    taken = len(list((folder / "landing" / "events").glob("batch-*")))
    for number in range(taken, taken + batches + 1):
        landed = land(folder, size, number=1000 + number, events=WATCH_EVENTS, asks_for_sales=number)
        lane.published()
        if number > taken:  # the first one opens what a process opens once
            found["published"].append((datetime.now(UTC).replace(tzinfo=None) - landed).total_seconds())
            for name, seconds in _receipts(folder, landed).items():
                found[name].append(seconds)
        time.sleep(PAUSE_SECONDS)
    return found, high_water(lane.pid) or 0.0


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
    from dagster_project.landing.discovery import event_files

    return [file.version for file in event_files(folder / "landing")]
