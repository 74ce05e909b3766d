"""`make bench`: how long what takes, in one run on one machine, printed as one table.

    python -m tests.bench --events 1e6 [--folder F] [--batches 5] [--keep]

Every phase runs in a process of its own, so that its peak memory is its own. Times are seconds; the ratios are what
may be compared with another machine.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from tests.bench.company import Size, write_batch, write_history
from tests.bench.same_work import engines

BATCH_EVENTS = 10_000
FLOOR_COLUMNS = (
    "message_id",
    "type",
    "event",
    "name",
    "user_id",
    "anonymous_id",
    "group_id",
    "session_id",
    "properties",
)


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    seconds: float
    megabytes: float | None = None


def main() -> None:
    """Run the phases and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="kept and used again; by default a temporary one")
    parser.add_argument("--phase", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = Size(options.events)
    if options.phase:
        answer = {"micro-batches": _micro_batches, "engine": _engine}[options.phase.partition(":")[0]](options, size)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"answer": answer, "megabytes": peak}))
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="pls-bench-"))
    try:
        _print(size, list(_phases(folder, size, options.batches)))
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


def _phases(folder: Path, size: Size, batches: int):  # type: ignore[no-untyped-def]
    # What an earlier run left behind would be counted in.
    for path in folder.glob("landing/events/batch-*"):
        path.unlink()
    for path in [*folder.glob("*.duckdb*"), *folder.glob("*.sqlite*")]:
        path.unlink()
    if not (folder / "landing").exists():
        yield Line("history written (the generator)", _timed(lambda: write_history(folder / "landing", size)))
    yield Line("floor: every needed column read once", min(_timed(lambda: _floor(folder)) for _ in range(3)))
    for name in engines():
        answer, memory = _child(folder, size, f"engine:{name}", batches)
        yield Line(f"part of the work, {name}", answer["seconds"], memory)
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", _PLS, "run"], env=_environment(folder, size), stdout=subprocess.PIPE
    )
    printed = child.stdout.read().decode() if child.stdout else ""
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(printed)
    yield Line("full build, first run, with two moments", time.perf_counter() - began, usage.ru_maxrss / 1024)
    answer, memory = _child(folder, size, "micro-batches", batches)
    yield Line("full refresh in a warm process", answer["full"], memory)
    for step, seconds in answer["steps"].items():
        yield Line(f"  of a micro-batch: {step}", seconds)
    yield Line(f"micro-batch of {BATCH_EVENTS:,} events, median", statistics.median(answer["batches"]), memory)
    yield Line("micro-batch, slowest", max(answer["batches"]))
    latencies = _watch(folder, size, batches)
    yield Line("pls watch: file complete to published, median", statistics.median(latencies))
    yield Line("pls watch: slowest", max(latencies))


def _print(size: Size, lines: list[Line]) -> None:
    floor = next(line.seconds for line in lines if line.what.startswith("floor"))
    print(f"\n{size.events:,} events, {size.users:,} users, {size.accounts:,} accounts, {size.days} days\n")
    print("| what | seconds | x floor | peak MB |\n|---|---:|---:|---:|")
    for line in lines:
        peak = f"{line.megabytes:,.0f}" if line.megabytes else ""
        print(f"| {line.what} | {line.seconds:.2f} | {line.seconds / floor:,.1f} | {peak} |")


def _floor(folder: Path) -> None:
    sums = ", ".join(f"sum(strlen({column}))" for column in FLOOR_COLUMNS)
    with duckdb.connect() as connection:
        connection.execute("set threads = 2")
        connection.execute(
            f"select {sums}, sum(epoch_us(timestamp)) from read_parquet('{folder}/landing/events/*.parquet')"
        ).fetchall()


def _engine(options: argparse.Namespace, size: Size) -> dict[str, float]:
    """One engine's time, after its answer was compared with the first engine's on the newest days."""
    found = engines()
    name = options.phase.partition(":")[2]
    events = options.folder / "landing" / "events"
    answers = {}
    seconds = _timed(lambda: answers.update({name: found[name](events, size.end)}))
    if answers[name] != next(iter(found.values()))(events, size.end):
        sys.exit(f"{name} finds something else")
    return {"seconds": seconds}


def _micro_batches(options: argparse.Namespace, size: Size) -> dict[str, object]:
    """A full refresh and then batches, in one process on one instance, as `pls watch` runs them."""
    import dagster as dg

    from dagster_project.definitions import build_definitions
    from dagster_project.defs.resources import Workplace

    definitions = build_definitions()
    steps: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as home, dg.DagsterInstance.local_temp(home) as instance:

        def run(job: str) -> float:
            began = time.perf_counter()
            result = definitions.resolve_job_def(job).execute_in_process(
                instance=instance,
                resources={"workplace": Workplace(complete_files=_landed(options.folder))},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            took = time.perf_counter() - began
            started: dict[str, float] = {}
            for record in instance.all_logs(result.run_id):
                if record.dagster_event is None or record.step_key is None:
                    continue
                if record.dagster_event.event_type_value == "STEP_START":
                    started[record.step_key] = record.timestamp
                elif record.dagster_event.event_type_value == "STEP_SUCCESS":
                    steps.setdefault(record.step_key, []).append(record.timestamp - started[record.step_key])
            return took

        full = run("score_everything")
        run("score_new_events")  # parses the models once per process
        steps.clear()
        batches = []
        for number in range(options.batches):
            _land(options.folder, size, number, BATCH_EVENTS)
            batches.append(run("score_new_events"))
    return {"full": full, "batches": batches, "steps": {key: statistics.median(took) for key, took in steps.items()}}


def _watch(folder: Path, size: Size, batches: int) -> list[float]:
    """Seconds from a file that is moved into place to the line that says that all of it is recorded and published."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        worker = subprocess.Popen(
            [sys.executable, "-c", _PLS, "watch"],
            env={**_environment(folder, size), "DAGSTER_HOME": home},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        worker.stdout.readline()
        worker.stdout.readline()  # what had landed before
        took = []
        for number in range(batches + 1):
            _land(folder, size, 1000 + number, 200)
            began = time.perf_counter()
            said = worker.stdout.readline()
            if " in " not in said:
                sys.exit(said)
            took.append(time.perf_counter() - began)
            time.sleep(1)
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=60)
    return took[1:]


def _land(folder: Path, size: Size, number: int, events: int) -> None:
    start = datetime.combine(size.end, datetime.min.time()) + timedelta(hours=9, minutes=number % 600)
    write_batch(
        folder / "landing" / "events" / f"batch-{number:04}.parquet",
        size,
        number=number,
        events=events,
        start=start,
        seconds=300,
    )


def _landed(folder: Path) -> list[str]:
    return [path.relative_to(folder / "landing").as_posix() for path in (folder / "landing").rglob("*.parquet")]


def _child(folder: Path, size: Size, phase: str, batches: int):  # type: ignore[no-untyped-def]
    arguments = ["--events", str(size.events), "--folder", str(folder), "--batches", str(batches), "--phase", phase]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments],
        env=_environment(folder, size),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{phase}: {done.stderr[-4000:]}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return answer["answer"], answer["megabytes"]


_PLS = "from dagster_project.cli import main; main()"


def _environment(folder: Path, size: Size) -> dict[str, str]:
    return {**os.environ, "PLS_DATA_DIR": str(folder), "PLS_AS_OF": size.end.isoformat()}


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
