"""`make bench`: how long what takes, in one run on one machine, printed as one table.

    python -m tests.bench --events 1e6 [--folder F] [--batches 5] [--patience 1800]

Every phase runs in a process of its own, so that its peak memory is its own. Times are seconds; the ratios are what
may be compared with another machine. What does not come to its end is a line that says so.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from tests.bench.company import Size, write_batch, write_history
from tests.bench.same_work import Answer, engines

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
    """One line of the table; `seconds` is None for what did not come to its end, and `remark` says why.

    `cpu` are the seconds of all cores: the ratio of these holds on a machine that has other things to do as well.
    """

    what: str
    seconds: float | None
    megabytes: float | None = None
    remark: str = ""
    cpu: float | None = None


@dataclass(frozen=True)
class Bench:
    """What is measured where.

    Attributes:
        folder: The data folder.
        size: How much history there is.
        batches: How many batches are measured.
        patience: Seconds after which an engine is given up.
    """

    folder: Path
    size: Size
    batches: int
    patience: int


def main() -> None:
    """Run the phases and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--patience", type=int, default=1800, help="seconds after which an engine is given up")
    parser.add_argument("--folder", type=Path, default=None, help="kept and used again; by default a temporary one")
    parser.add_argument("--phase", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="pls-bench-"))
    bench = Bench(folder, Size(options.events), options.batches, options.patience)
    if options.phase:
        phase, _, name = options.phase.partition(":")
        answer = _engine(bench, name) if phase == "engine" else _micro_batches(bench)
        print(json.dumps({"answer": answer, "megabytes": peak_megabytes()}))
        return
    try:
        _print(bench.size, _phases(bench))
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


def _phases(bench: Bench) -> Iterator[Line]:
    # What an earlier run left behind would be counted in.
    folder = bench.folder
    for path in [*folder.glob("landing/events/batch-*"), *folder.glob("*.duckdb*"), *folder.glob("*.sqlite*")]:
        path.unlink()
    if not (folder / "landing").exists():
        written = _timed(lambda: write_history(folder / "landing", bench.size))
        yield Line("history written (the generator)", written.wall, cpu=written.cpu)
    floors = [_timed(lambda: _floor(folder)) for _ in range(3)]
    yield Line("floor: every needed column read once", min(t.wall for t in floors), cpu=min(t.cpu for t in floors))
    yield from _same_work(bench)
    yield from _full_build(bench)
    first = bench.size.end - timedelta(days=bench.size.days - 1)
    _, took, memory = _pls(bench, "backfill", "--from", str(first), "--to", str(bench.size.end))
    yield Line(f"backfill of {bench.size.days} days", took.wall, memory, cpu=took.cpu)
    answer, memory = _child(bench, "micro-batches")
    yield Line("full refresh in a warm process", answer["full"], memory)
    for step, seconds in answer["steps"].items():
        yield Line(f"  of a micro-batch: {step}", seconds)
    yield Line(f"micro-batch of {BATCH_EVENTS:,} events, median", statistics.median(answer["batches"]), memory)
    yield Line("micro-batch, slowest", max(answer["batches"]))
    latencies = _watch(bench)
    yield Line("pls watch: file complete to published, median", statistics.median(latencies))
    yield Line("pls watch: slowest", max(latencies))


def _same_work(bench: Bench) -> Iterator[Line]:
    """A line per engine; what they found is compared before it counts."""
    expected = None
    for name in engines():
        try:
            answer, memory = _child(bench, f"engine:{name}", patience=bench.patience)
        except ChildFailed as error:
            yield Line(f"part of the work, {name}", None, remark=str(error))
            continue
        expected = expected or answer["found"]
        remark = "" if answer["found"] == expected else "finds something else"
        yield Line(f"part of the work, {name}", answer["seconds"], memory, remark, answer["cpu"])


def _full_build(bench: Bench) -> Iterator[Line]:
    printed, took, memory = _pls(bench, "run")
    yield Line("full build: files to published, with two moments", took.wall, memory, cpu=took.cpu)
    for step, seconds in re.findall(r"✓ (.+?) ([\d.,]+) s", printed):
        yield Line(f"  of the full build: {step}", float(seconds.replace(",", "")))


def _pls(bench: Bench, *arguments: str) -> tuple[str, "Took", float]:
    """What a command of `pls` prints, how long it takes and its peak memory in megabytes."""
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", _PLS, *arguments], env=_environment(bench), stdout=subprocess.PIPE)
    printed = child.stdout.read().decode() if child.stdout else ""
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(printed)
    took = Took(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)
    return printed, took, usage.ru_maxrss / 1024


def _print(size: Size, lines: Iterator[Line]) -> None:
    """The table, line by line as they come."""
    print(f"\n{size.events:,} events, {size.users:,} users, {size.accounts:,} accounts, {size.days} days\n")
    print("| what | seconds | x floor | CPU s | x floor | peak MB |\n|---|---:|---:|---:|---:|---:|", flush=True)
    floor = None
    for line in lines:
        floor = line if line.what.startswith("floor") else floor
        what = f"{line.what}: {line.remark}" if line.remark else line.what
        wall = _with_ratio(line.seconds, floor and floor.seconds)
        cpu = _with_ratio(line.cpu, floor and floor.cpu)
        print(f"| {what} | {wall} | {cpu} | {f'{line.megabytes:,.0f}' if line.megabytes else ''} |", flush=True)


def _with_ratio(value: float | None, floor: float | None) -> str:
    if value is None:
        return " | "
    return f"{value:,.2f} | {f'{value / floor:,.1f}' if floor else ''}"


def _floor(folder: Path) -> None:
    sums = ", ".join(f"sum(strlen({column}))" for column in FLOOR_COLUMNS)
    with duckdb.connect() as connection:
        connection.execute("set threads = 2")
        connection.execute(
            f"select {sums}, sum(epoch_us(timestamp)) from read_parquet('{folder}/landing/events/*.parquet')"
        ).fetchall()


def _engine(bench: Bench, name: str) -> dict[str, object]:
    """An engine's time, without what its start takes, and a hash of what it found."""
    work = engines()[name]()
    answers: list[Answer] = []
    took = _timed(lambda: answers.append(work(bench.folder / "landing" / "events", bench.size.end)))
    return {"seconds": took.wall, "cpu": took.cpu, "found": hashlib.sha256(repr(answers[0]).encode()).hexdigest()}


def _micro_batches(bench: Bench) -> dict[str, object]:
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
                resources={"workplace": Workplace(complete_files=_landed(bench.folder))},
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
        for number in range(bench.batches):
            _land(bench, number, BATCH_EVENTS)
            batches.append(run("score_new_events"))
    return {"full": full, "batches": batches, "steps": {key: statistics.median(took) for key, took in steps.items()}}


def _watch(bench: Bench) -> list[float]:
    """Seconds from a file that is moved into place to the line that says that all of it is recorded and published."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        worker = subprocess.Popen(
            [sys.executable, "-c", _PLS, "watch"],
            env={**_environment(bench), "DAGSTER_HOME": home},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        worker.stdout.readline()
        worker.stdout.readline()  # what had landed before
        took = []
        for number in range(bench.batches + 1):
            _land(bench, 1000 + number, 200)
            began = time.perf_counter()
            said = worker.stdout.readline()
            if " in " not in said:
                sys.exit(said)
            took.append(time.perf_counter() - began)
            time.sleep(1)
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=60)
    return took[1:]


def _land(bench: Bench, number: int, events: int) -> None:
    start = datetime.combine(bench.size.end, datetime.min.time()) + timedelta(hours=9, minutes=number % 600)
    path = bench.folder / "landing" / "events" / f"batch-{number:04}.parquet"
    write_batch(path, bench.size, number=number, events=events, start=start, seconds=300)


def _landed(folder: Path) -> list[str]:
    return [path.relative_to(folder / "landing").as_posix() for path in (folder / "landing").rglob("*.parquet")]


class ChildFailed(Exception):
    """A phase did not come to its end; the message says why."""


def _child(bench: Bench, phase: str, patience: int | None = None):  # type: ignore[no-untyped-def]
    """What a phase answers in a process of its own, and its peak memory in megabytes."""
    arguments = ["--events", str(bench.size.events), "--folder", str(bench.folder), "--batches", str(bench.batches)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench", *arguments, "--phase", phase],
            env=_environment(bench),
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        raise ChildFailed(f"not done after {patience} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        raise ChildFailed(last[:200])
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return answer["answer"], answer["megabytes"]


def peak_megabytes() -> float:
    """The most memory that this process has held, and with it the processes that it has started and that still live."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    held = (re.search(r"VmHWM:\s+(\d+)", (child / "status").read_text()) for child in _children())
    return own + sum(int(found[1]) / 1024 for found in held if found)


def cpu_seconds() -> float:
    """The seconds of all cores that this process and those that it has started and that still live have had."""
    ticks = ((child / "stat").read_text().rpartition(")")[2].split() for child in _children())
    return time.process_time() + sum(int(t[11]) + int(t[12]) for t in ticks) / os.sysconf("SC_CLK_TCK")


def _children() -> list[Path]:
    """Where Linux tells of the processes that this one has started; empty elsewhere."""
    started = Path(f"/proc/self/task/{os.getpid()}/children")
    return [Path("/proc", child) for child in started.read_text().split()] if started.exists() else []


_PLS = "from dagster_project.cli import main; main()"


def _environment(bench: Bench) -> dict[str, str]:
    return {**os.environ, "PLS_DATA_DIR": str(bench.folder), "PLS_AS_OF": bench.size.end.isoformat()}


@dataclass(frozen=True)
class Took:
    """Seconds on the clock, and of all cores."""

    wall: float
    cpu: float


def _timed(work: Callable[[], object]) -> Took:
    wall, cpu = time.perf_counter(), cpu_seconds()
    work()
    return Took(time.perf_counter() - wall, cpu_seconds() - cpu)


if __name__ == "__main__":
    main()
