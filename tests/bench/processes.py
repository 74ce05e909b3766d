"""Phases in processes of their own, what they took and the most memory that they held."""

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLS = (sys.executable, "-c", "from dagster_project.cli import main; main()")


@dataclass(frozen=True)
class Took:
    """Seconds on the clock and of all cores, and the peak memory in megabytes where it was measured."""

    wall: float
    cpu: float
    megabytes: float | None = None


class PhaseFailed(Exception):
    """A phase did not come to its end; the message says why, in one line."""


def timed(work: Callable[[], object]) -> Took:
    """How long something takes in this process and those that it has started."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    work()
    return Took(time.perf_counter() - wall, cpu_seconds() - cpu)


def run(words: Sequence[str], environment: Mapping[str, str], patience: int) -> tuple[str, Took]:
    """What a command prints and what it took.

    Args:
        words: The command.
        environment: Beside this process's own.
        patience: Seconds after which it is given up.

    Raises:
        PhaseFailed: It failed, or was not done in time.
    """
    began = time.perf_counter()
    child = subprocess.Popen(
        words, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = _Peak(child.pid)
    try:
        printed, errors = peak.communicate(child, patience)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise PhaseFailed(f"not done after {patience} s") from None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode:
        last = [line for line in (errors or printed).strip().splitlines() if line.strip()]
        raise PhaseFailed((last[-1] if last else f"ended with {child.returncode}")[:200])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return printed, Took(time.perf_counter() - began, cpu, peak.megabytes)


def phase(name: str, arguments: Sequence[str], environment: Mapping[str, str], patience: int) -> tuple[Any, Took]:
    """What a phase of this module's command answers, and what its process took."""
    words = [sys.executable, "-m", "tests.bench", *arguments, "--phase", name]
    printed, took = run(words, environment, patience)
    answer = json.loads(printed.strip().splitlines()[-1])
    return answer["answer"], Took(took.wall, took.cpu, answer["megabytes"])


def peak_megabytes() -> float:
    """The most memory that this process has held, and with it the processes that it has started and that still live."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return own + sum(_high_water(child) for child in _children())


def cpu_seconds() -> float:
    """The seconds of all cores that this process and those that it has started and that still live have had."""
    ticks = ((child / "stat").read_text().rpartition(")")[2].split() for child in _children())
    return time.process_time() + sum(int(t[11]) + int(t[12]) for t in ticks) / os.sysconf("SC_CLK_TCK")


def available_megabytes() -> float | None:
    """Memory that can be had without swapping; None where the system doesn't say."""
    told = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+)", told.read_text()) if told.exists() else None
    return int(found[1]) / 1024 if found else None


class _Peak:
    """Looks at a process's high-water mark while it is waited for: the system's own sum is of all children at once."""

    def __init__(self, pid: int) -> None:
        self._process = Path("/proc", str(pid))
        self.megabytes: float | None = None

    def communicate(self, child: "subprocess.Popen[str]", patience: int) -> tuple[str, str]:
        until = time.monotonic() + patience
        while True:
            try:
                return child.communicate(timeout=min(0.2, max(0.0, until - time.monotonic())))
            except subprocess.TimeoutExpired:
                self.megabytes = _high_water(self._process) or self.megabytes
                if time.monotonic() >= until:
                    raise


def high_water(pid: int) -> float | None:
    """The most memory in megabytes that a living process has held; None where the system doesn't say."""
    return _high_water(Path("/proc", str(pid))) or None


def _high_water(process: Path) -> float:
    try:
        found = re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def _children() -> list[Path]:
    """Where Linux tells of the processes that this one has started; empty elsewhere."""
    started = Path(f"/proc/self/task/{os.getpid()}/children")
    return [Path("/proc", child) for child in started.read_text().split()] if started.exists() else []
