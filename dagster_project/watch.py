"""`pls watch`: a long-lived worker that scores what lands within seconds, each batch as a run of its own in the UI.

What belongs here: which files are complete, when a batch starts, what happens when one fails. What a batch does is the
jobs' business. Everything that waits or looks at a clock does so through `Waiting`, so that tests need neither.
"""

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from watchdog.events import FileClosedEvent, FileCreatedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from dagster_project.crm_changes import FOR_DELTAS
from dagster_project.errors import PlsError
from dagster_project.landing.crm import crm_files
from dagster_project.landing.discovery import EVENTS, LandedFile, event_files, state_of
from dagster_project.open_files import is_written_by_nobody

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
"""Seconds between two tries of a batch, or of a look, that fails: doubled each time, up to the longest."""
SIGNAL_SECONDS = 0.5
"""How often the main thread wakes up, so that it hears of signals everywhere."""


class WatchError(PlsError):
    """The worker can't work on this folder; the message says why."""


@dataclass(frozen=True)
class Batch:
    """Files that have landed since the last one.

    Attributes:
        complete: The files that are complete, as they were then: one that is written to since is another batch's.
        may_be_delta: Whether a delta may do: all of them are product events, or of the CRM and not the day's first, or
            most have been there since before this worker began, so that the run has to find out what is new.
    """

    complete: frozenset[LandedFile]
    may_be_delta: bool


@dataclass(frozen=True)
class BatchOutcome:
    """What became of a batch: an empty cause is success, with the names of checks that failed all the same."""

    cause: str
    failed_checks: tuple[str, ...] = ()


class Closed:
    """The files that their writers have closed or moved into place, told by the operating system.

    Where it doesn't tell, a file counts as complete when it has been left alone for a while.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[Path, tuple[int, datetime]] = {}
        self.changed = threading.Event()

    def note(self, path: Path) -> None:
        """A writer is done with this file, as it is now."""
        state = state_of(path)
        if state is None:
            return
        with self._lock:
            self._states[path] = state
        self.changed.set()

    def has(self, file: LandedFile) -> bool:
        """Whether the file was closed as it is."""
        with self._lock:
            return self._states.get(file.path) == file.state

    def forget(self, files: Collection[LandedFile]) -> None:
        """These were dealt with, as they are; one that was closed again since was not."""
        with self._lock:
            for file in files:
                if self._states.get(file.path) == file.state:
                    del self._states[file.path]


class _Handler(FileSystemEventHandler):
    def __init__(self, closed: Closed) -> None:
        self._closed = closed

    def on_closed(self, event: FileSystemEvent) -> None:
        if isinstance(event, FileClosedEvent):
            self._closed.note(Path(str(event.src_path)))

    def on_created(self, event: FileSystemEvent) -> None:
        # One that is moved here from elsewhere is told of as if it was created, but nobody writes it.
        if isinstance(event, FileCreatedEvent) and is_written_by_nobody(path := Path(str(event.src_path))):
            self._closed.note(path)

    def on_moved(self, event: FileSystemEvent) -> None:
        if isinstance(event, FileMovedEvent):
            self._closed.note(Path(str(event.dest_path)))


@dataclass
class Waiting:
    """How the worker waits: `pause` returns early when a file is closed or the worker is stopped."""

    now: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep


@dataclass
class Worker:
    """Looks for new files and runs a batch when there are complete ones.

    Attributes:
        landing: The landing folder.
        settle_seconds: How long a file must have been left alone when nobody told that it is complete.
        run: Runs one batch.
        say: Tells a person what happens.
        closed: Files that are complete at once.
        waiting: Clock and pause.
        seen: Size and time of every file that was part of a batch that succeeded.
        met: When each of the other files was first found as it is.
        failures: Tries of a batch in a row that failed.
        failed_looks: Looks at the folder in a row that failed.
        everything_on: The last UTC day on which files of the CRM were part of a run of everything.
    """

    landing: Path
    settle_seconds: float
    run: Callable[[Batch], BatchOutcome]
    say: Callable[[str], None]
    closed: Closed = field(default_factory=Closed)
    waiting: Waiting = field(default_factory=Waiting)
    seen: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    met: dict[LandedFile, float] = field(default_factory=dict)
    failures: int = 0
    failed_looks: int = 0
    everything_on: date | None = None

    def step(self) -> bool:
        """Run a batch if one is complete; whether there was one."""
        try:
            found = [*event_files(self.landing), *crm_files(self.landing)]
        except OSError as error:
            self.failed_looks += 1
            self._wait_after(self.failed_looks, f"can't look at {self.landing}, try {self.failed_looks}", str(error))
            return False
        self.failed_looks = 0
        ready = self._ready(found)
        if not ready:
            return False
        began = self.waiting.now()
        batch = Batch(frozenset(ready), self._may_be_delta(ready, began))
        outcome = self.run(batch)
        took = self.waiting.now() - began
        if outcome.cause:
            self.failures += 1
            self._wait_after(self.failures, f"failed after {took:.1f} s, try {self.failures}", outcome.cause)
            return True
        self.failures = 0
        self.seen.update({file.name: file.state for file in ready})
        if not batch.may_be_delta:
            self.everything_on = _day(began)
        self.closed.forget(ready)
        told = f"; failed checks, see the run: {', '.join(outcome.failed_checks)}" if outcome.failed_checks else ""
        self.say(f"{len(ready)} file{'s' if len(ready) > 1 else ''} in {took:.1f} s{told}")
        return True

    def _may_be_delta(self, ready: Collection[LandedFile], now: float) -> bool:
        """See `Batch`. Some of what a run of everything does nobody else asks for where no schedule runs."""
        if not self.seen or all(file.source == EVENTS for file in ready):
            return True
        return self.everything_on == _day(now) and all(file.source in (EVENTS, *FOR_DELTAS) for file in ready)

    def _wait_after(self, failures: int, what: str, cause: str) -> None:
        doublings = min(failures - 1, 9)  # that is beyond the longest; what fails for days would be beyond any number
        pause = min(FIRST_PAUSE * 2**doublings, LONGEST_PAUSE)
        self.say(f"{what}; the next in {pause:.0f} s: {cause}")
        self.waiting.pause(pause)

    def _ready(self, found: Iterable[LandedFile]) -> list[LandedFile]:
        now = self.waiting.now()
        new = [file for file in found if self.seen.get(file.name) != file.state]
        self.met = {file: self.met.get(file, now) for file in new}
        # A time in the future says nothing about the age: then it counts for how long we have known the file as it is.
        touched = {file: min(_modified(file), self.met[file]) for file in new}
        return [file for file in new if self.closed.has(file) or now - touched[file] >= self.settle_seconds]


def _day(now: float) -> date:
    return datetime.fromtimestamp(now, UTC).date()


def _modified(file: LandedFile) -> float:
    return file.modified_at.replace(tzinfo=UTC).timestamp()


def watch(worker: Worker, lease: Path, *, poll_seconds: float, stop: threading.Event) -> None:
    """Work until stopped.

    Args:
        worker: What to do.
        lease: The file whose lock makes this the only worker on the folder.
        poll_seconds: How often to look when nothing is heard.
        stop: Set from elsewhere to end after the batch that is running.

    Raises:
        WatchError: Another worker holds the lease.
    """
    lease.parent.mkdir(parents=True, exist_ok=True)
    worker.landing.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lease)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise WatchError(f"another `pls watch` works on {worker.landing} already; it holds {lease}") from None
    observer = Observer()
    heard_of = _listen(observer, worker)
    observer.start()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set():
                worker.closed.changed.clear()
                if not worker.step() and not stop.is_set():
                    worker.closed.changed.wait(poll_seconds)
        except BaseException as error:
            failures.append(error)

    # In a thread of its own: in the main one a run puts its own signal handlers in the place of ours while it lasts.
    working = threading.Thread(target=work, name="pls-watch")
    try:
        working.start()
        while working.is_alive():
            working.join(timeout=SIGNAL_SECONDS)
            # Of a folder that was removed and made again nothing is heard.
            if _inode(worker.landing) not in (heard_of, None):
                observer.unschedule_all()
                heard_of = _listen(observer, worker)
                worker.closed.changed.set()
    finally:
        stop.set()
        working.join()
        observer.stop()
        observer.join()
        lock.release()
    if failures:
        raise failures[0]


def _listen(observer: BaseObserver, worker: Worker) -> int | None:
    """Hear of what happens in the landing folder from now on; which folder that is."""
    observer.schedule(_Handler(worker.closed), str(worker.landing), recursive=True)
    return _inode(worker.landing)


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except OSError:
        return None


def stop_on_signals(stop: threading.Event, closed: Closed) -> None:
    """SIGTERM and SIGINT end the work after the batch that is running."""

    def ask(*_: object) -> None:
        stop.set()
        closed.changed.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
