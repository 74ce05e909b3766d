"""`make bench`: how long what takes, in one run on one machine, printed as one table.

    python -m tests.bench --events 1e6 [--folder F] [--parts floor,build,watch] [--batches 5] [--patience 1800]

Every phase runs in a process of its own, so that its peak memory is its own. Times are seconds; the ratios are what
may be compared with another machine. What does not come to its end, or would not fit, is a line that says so.
"""

import argparse
import hashlib
import json
import re
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb

from tests.bench.company import CHANGED_CONTACTS, Size, write_history
from tests.bench.connected import outside_systems
from tests.bench.processes import PLS, PhaseFailed, Took, available_megabytes, peak_megabytes, phase, run, timed
from tests.bench.same_work import Answer, engines, needed_megabytes
from tests.bench.warm import BATCH_EVENTS, crm_batches, micro_batches, sensor, watch

WATCH_BATCHES = 20
"""Enough for a 95th percentile."""

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
        batches: How many micro-batches are measured.
        patience: Seconds after which a phase is given up.
    """

    folder: Path
    size: Size
    batches: int
    patience: int

    @property
    def environment(self) -> dict[str, str]:
        """What the pipeline is told."""
        return {"PLS_DATA_DIR": str(self.folder), "PLS_AS_OF": self.size.end.isoformat()}

    def phase(self, name: str) -> tuple[object, Took]:
        """A phase in a process of its own."""
        arguments = ["--events", str(self.size.events), "--folder", str(self.folder), "--batches", str(self.batches)]
        return phase(name, arguments, self.environment, self.patience)

    def pls(self, *words: str, **more: str) -> tuple[str, Took]:
        """A command of `pls`, with a Dagster instance of its own; what else it is told are variables."""
        with tempfile.TemporaryDirectory() as home:
            (Path(home) / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
            return run([*PLS, *words], {**self.environment, **more, "DAGSTER_HOME": home}, self.patience)


def main() -> None:
    """Run the phases and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--patience", type=int, default=3600, help="seconds after which a phase is given up")
    parser.add_argument("--folder", type=Path, default=None, help="kept and used again; by default a temporary one")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"which, of {', '.join(PARTS)}; by default all")
    parser.add_argument("--phase", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := set(parts) - PARTS.keys():
        parser.error(f"--parts: there is no {', '.join(sorted(unknown))}, expected some of {', '.join(PARTS)}")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="pls-bench-"))
    bench = Bench(folder.absolute(), Size(options.events), options.batches, options.patience)
    if options.phase:
        name, _, argument = options.phase.partition(":")
        print(json.dumps({"answer": PHASES[name](bench, argument), "megabytes": peak_megabytes()}))
        return
    try:
        _print(bench.size, _lines(bench, parts))
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


def _lines(bench: Bench, parts: Sequence[str]) -> Iterator[Line]:
    if not (bench.folder / "landing").exists():
        _, took = bench.phase("history")
        yield Line("history written (the generator)", took.wall, took.megabytes, cpu=took.cpu)
    for part, lines in PARTS.items():
        if part in parts:
            try:
                yield from lines(bench)
            except PhaseFailed as error:
                yield Line(part, None, remark=str(error))


def _floor_lines(bench: Bench) -> Iterator[Line]:
    floors = [timed(lambda: _floor(bench.folder)) for _ in range(3)]
    yield Line("floor: every needed column read once", min(t.wall for t in floors), cpu=min(t.cpu for t in floors))


def _engine_lines(bench: Bench) -> Iterator[Line]:
    """A line per engine; what they found is compared before it counts."""
    expected = None
    for name in engines():
        what = f"part of the work, {name}"
        needed, there_is = needed_megabytes(name, bench.size.events), available_megabytes()
        if there_is is not None and needed > there_is:
            remark = f"left out: needs about {needed / 1024:,.0f} GB, {there_is / 1024:,.0f} GB are free"
            yield Line(what, None, remark=remark)
            continue
        try:
            answer, took = bench.phase(f"engine:{name}")
        except PhaseFailed as error:
            yield Line(what, None, remark=str(error))
            continue
        assert isinstance(answer, dict)
        expected = expected or answer["found"]
        remark = "" if answer["found"] == expected else "finds something else"
        yield Line(what, answer["seconds"], took.megabytes, remark, answer["cpu"])


def _build_lines(bench: Bench) -> Iterator[Line]:
    # What an earlier run left behind would be counted in.
    folder = bench.folder
    for path in [*folder.glob("landing/events/batch-*"), *folder.glob("*.duckdb*"), *folder.glob("*.sqlite*")]:
        path.unlink()
    printed, took = bench.pls("run")
    yield Line("full build: files to published, with two moments", took.wall, took.megabytes, cpu=took.cpu)
    for step, seconds in re.findall(r"✓ (.+?) ([\d.,]+) s", printed):
        yield Line(f"  of the full build: {step}", float(seconds.replace(",", "")))


def _backfill_lines(bench: Bench) -> Iterator[Line]:
    first = bench.size.end - timedelta(days=bench.size.days - 1)
    _, took = bench.pls("backfill", "--from", str(first), "--to", str(bench.size.end))
    yield Line(
        f"backfill of {bench.size.days} days, {bench.size.users:,} users", took.wall, took.megabytes, cpu=took.cpu
    )


def _batch_lines(bench: Bench) -> Iterator[Line]:
    answer, took = bench.phase("micro-batches")
    assert isinstance(answer, dict)
    yield Line("full refresh in a warm process", answer["full"], took.megabytes)
    yield Line("publish: the serving copy written anew", _step(answer["full_steps"], PUBLISHING))
    # With the same events more users are touched where there are more, and far more accounts.
    touched = f"{answer['users']:,} users and {answer['accounts']:,} accounts scored again"
    yield Line(f"micro-batch of {BATCH_EVENTS:,} events ({touched}), median", statistics.median(answer["batches"]))
    yield Line("micro-batch, slowest", max(answer["batches"]))
    yield Line("micro-batch, from file to published scores, median", statistics.median(answer["scores"]))
    yield Line("micro-batch, from file to published scores, slowest", max(answer["scores"]))
    for step, seconds in answer["steps"].items():
        yield Line(f"  of a micro-batch: {step}", seconds)
    yield Line("publish: what a micro-batch has decided", _step(answer["steps"], PUBLISHING))


def _crm_lines(bench: Bench) -> Iterator[Line]:
    answer, took = bench.phase("crm-batches")
    assert isinstance(answer, dict)
    what = f"about {CHANGED_CONTACTS} changed contacts in an extract of {bench.size.users * 2 // 5:,}"
    yield Line(f"{what}, median", statistics.median(answer["batches"]), took.megabytes)
    for step, seconds in answer["steps"].items():
        yield Line(f"  of it: {step}", seconds)


def _watch_lines(bench: Bench) -> Iterator[Line]:
    yield from _latency_lines("pls watch", *watch(bench.folder, bench.size, WATCH_BATCHES, bench.environment))


def _connected_lines(bench: Bench) -> Iterator[Line]:
    with outside_systems() as variables:
        with suppress(PhaseFailed):  # it makes the fields, and lacks the rights to read
            bench.pls("sync", "--setup", **variables)
        environment = {**bench.environment, **variables}
        yield from _latency_lines(
            "pls watch, to Slack and HubSpot", *watch(bench.folder, bench.size, WATCH_BATCHES, environment)
        )


def _sensor_lines(bench: Bench) -> Iterator[Line]:
    yield from _latency_lines("sensor", *sensor(bench.folder, bench.size, WATCH_BATCHES, bench.environment))


def _latency_lines(lane: str, found: Mapping[str, list[float]], memory: float) -> Iterator[Line]:
    for name, took in found.items():
        until = f"{lane}: file complete to {name}"
        if len(took) < 2:
            yield Line(f"{until}: there were {len(took)}", None)
            continue
        yield Line(f"{until}, median of {len(took)}", statistics.median(took), memory)
        yield Line(f"{until}, 95th percentile", statistics.quantiles(took, n=20, method="inclusive")[-1])


def _assistant_lines(bench: Bench) -> Iterator[Line]:
    answer, _ = bench.phase("assistant")
    assert isinstance(answer, dict)
    for tool, seconds in answer.items():
        yield Line(f"an assistant's question to `{tool}`, 95th percentile", seconds)


PUBLISHING = "serving__serving_database"

PARTS: dict[str, Callable[[Bench], Iterator[Line]]] = {
    "floor": _floor_lines,
    "engines": _engine_lines,
    "build": _build_lines,
    "backfill": _backfill_lines,
    "batches": _batch_lines,
    "crm": _crm_lines,
    "watch": _watch_lines,
    "connected": _connected_lines,
    "sensor": _sensor_lines,
    "assistant": _assistant_lines,
}
"""In this order; what stands on a build uses the folder's last one."""


def _step(steps: dict[str, float], name: str) -> float | None:
    return steps.get(name)


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
            f"select {sums}, sum(epoch_us(timestamp)) from read_parquet('{folder}/landing/events/2*.parquet')"
        ).fetchall()


def _write_history(bench: Bench, _: str) -> None:
    write_history(bench.folder / "landing", bench.size)


def _engine(bench: Bench, name: str) -> dict[str, object]:
    """An engine's time, without what its start takes, and a hash of what it found."""
    work = engines()[name]()
    answers: list[Answer] = []
    took = timed(lambda: answers.append(work(bench.folder / "landing" / "events", bench.size.end)))
    return {"seconds": took.wall, "cpu": took.cpu, "found": hashlib.sha256(repr(answers[0]).encode()).hexdigest()}


def _micro_batches(bench: Bench, _: str) -> dict[str, object]:
    return micro_batches(bench.folder, bench.size, bench.batches)


def _crm_batches(bench: Bench, _: str) -> dict[str, object]:
    return crm_batches(bench.folder, bench.size, bench.batches)


def _ask(bench: Bench, _: str) -> dict[str, float]:
    """By tool, the 95th percentile in seconds."""
    from tests.bench.assistant import measure

    with tempfile.TemporaryDirectory() as scratch:
        found = measure(bench.folder / "serving.duckdb", Path(scratch))
    return {one.tool: one.p95 / 1000 for one in found}


PHASES: dict[str, Callable[[Bench, str], object]] = {
    "history": _write_history,
    "engine": _engine,
    "micro-batches": _micro_batches,
    "crm-batches": _crm_batches,
    "assistant": _ask,
}
"""What runs in a process of its own and answers in JSON; some are told more than their name."""


if __name__ == "__main__":
    main()
