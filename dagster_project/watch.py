"""`pls watch`: a long-lived worker that scores what lands within seconds, each batch as a run of its own in the UI.

What belongs here: which files are complete, when a batch starts, what happens when one fails. What a batch does is the
jobs' business. Everything that waits or looks at a clock does so through `Waiting`, so that tests need neither.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from watchdog.events import FileClosedEvent, FileCreatedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from dagster_project.crm_changes import FOR_DELTAS
from dagster_project.daily import Daily
from dagster_project.errors import PlsError
from dagster_project.landing.crm import MISNAMED, crm_files
from dagster_project.landing.discovery import EVENTS, LandedFile, escaped, event_files, state_of
from dagster_project.open_files import is_written_by_nobody
from dagster_project.pauses import doubled

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
"""Seconds between two tries of a batch, or of a look, that fails: doubled each time, up to the longest."""
FIRST_LEFT_PAUSE, LONGEST_LEFT_PAUSE = 30.0, 900.0
"""The same between two tries of what has not arrived elsewhere, where no batch comes in between."""
AFTER_MIDNIGHT = 900.0
"""Seconds after midnight, UTC, for which an idle worker leaves the day's run of everything to the schedule."""
LONGEST_REST = 10.0
"""Seconds between two looks at all of the folder, at most."""
_DAY = 86_400
SIGNAL_SECONDS = 0.5
"""How often the main thread wakes up, so that it hears of signals everywhere."""


class WatchError(PlsError):
    """The worker can't work on this folder; the message says why."""


@dataclass(frozen=True)
class Batch:
    """Files that have landed since the last one, or what a connected CRM has said since.

    Attributes:
        complete: The files that are complete, as they were then: one that is written to since is another batch's.
        may_be_delta: Whether a delta may do: all of it is product events or of the CRM, or most files have been there
            since before this worker began, so that the run has to find out what is new; and everything was run today.
        fetched: What was read of the connected CRM, as `Beside` has it.
    """

    complete: frozenset[LandedFile]
    may_be_delta: bool
    fetched: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.complete:
            if self.fetched:
                return "what the CRM says"
            return "what did not arrive" if self.may_be_delta else "the day's run of everything"
        return f"{len(self.complete)} file{'s' if len(self.complete) > 1 else ''}"


@dataclass(frozen=True)
class BatchOutcome:
    """What became of a batch.

    Attributes:
        cause: Why it failed, empty for success.
        failed_checks: The names of checks that failed all the same.
        left: How many messages and changes have not arrived elsewhere and are to be tried again.
        quarantined: Rows, or whole files, of this batch that can't be read.
    """

    cause: str
    failed_checks: tuple[str, ...] = ()
    left: int = 0
    quarantined: int = 0


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

    def names(self, landing: Path) -> list[str]:
        """Those below the landing folder, relative to it."""
        with self._lock:
            paths = list(self._states)
        return [escaped(path.relative_to(landing).as_posix()) for path in paths if path.is_relative_to(landing)]

    def forget(self, files: Collection[LandedFile]) -> None:
        """These were dealt with, as they are; one that was closed again since was not. So are those that are gone."""
        with self._lock:
            for file in files:
                if self._states.get(file.path) == file.state:
                    del self._states[file.path]
            for path in [path for path in self._states if not path.exists()]:
                del self._states[path]


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


class Beside(Protocol):
    """Reads a connected CRM while batches run."""

    @property
    def fetched(self) -> Mapping[str, str]:
        """The entities that were read and are not taken yet, each with why it is not complete, empty if it is."""
        ...

    def begin(self) -> bool:
        """Begin to read, if it is time; whether it did."""
        ...

    def taken(self, *, is_done: bool) -> None:
        """A run had what was read to load, and may have failed: then it is for this one to offer it again."""
        ...


@dataclass
class Waiting:
    """How the worker waits: `pause` returns early when the worker is stopped."""

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
        daily: When that is everything.
        closed: Files that are complete at once.
        waiting: Clock and pause.
        idle: Called where there is no batch, for what can wait and takes no time worth mentioning.
        crm: Reads the connected CRM; None for the embedded one, which only we write to.
        seen: Size and time of every file that is there and was part of a batch that succeeded.
        is_in_use: Whether a batch of files has succeeded.
        met: When each of the other files was first found as it is.
        failures: Tries of a batch in a row that failed.
        failed_looks: Looks at the folder in a row that failed.
        files_are_next: Whether it is the files' turn, where the CRM has something to say as well.
        left_tries: Batches in a row after which something had not arrived.
        left_at: When that is tried again, if no other batch does so before.
        look_again_at: When all of the folder is looked at again.
    """

    landing: Path
    settle_seconds: float
    run: Callable[[Batch], BatchOutcome]
    say: Callable[[str], None]
    daily: Daily
    closed: Closed = field(default_factory=Closed)
    waiting: Waiting = field(default_factory=Waiting)
    idle: Callable[[], None] = lambda: None
    crm: Beside | None = None
    seen: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    is_in_use: bool = False
    met: dict[LandedFile, float] = field(default_factory=dict)
    failures: int = 0
    failed_looks: int = 0
    files_are_next: bool = True
    left_tries: int = 0
    left_at: float = math.inf
    look_again_at: float = 0.0

    def step(self) -> bool:
        """Run a batch if one is complete; whether there was one."""
        now = self.waiting.now()
        # Where there are many files a look at all of them takes long: it may take a tenth of the time, and what was
        # heard of meanwhile need not wait for it.
        is_whole = not 0 < self.look_again_at - now <= LONGEST_REST
        only = None if is_whole else self.closed.names(self.landing)
        try:
            found = [*event_files(self.landing, only), *crm_files(self.landing, only, elsewhere=is_whole)]
        except OSError as error:
            self.failed_looks += 1
            self._wait_after(self.failed_looks, f"can't look at {self.landing}, try {self.failed_looks}", str(error))
            return False
        self.failed_looks = 0
        began = self.waiting.now()
        if is_whole:
            there = {file.name for file in found}
            self.seen = {name: state for name, state in self.seen.items() if name in there}
            self.look_again_at = began + min(9 * (began - now), LONGEST_REST)
        batch = self._next_batch(self._ready(found, is_whole=is_whole), began)
        if batch is not None:
            self._run(batch, began)
        else:
            self.idle()
        if self.crm is not None:
            self.crm.begin()
        return batch is not None

    def _next_batch(self, ready: Collection[LandedFile], now: float) -> Batch | None:
        """Files first, since somebody may wait for what they say; but where there are always some, by turns."""
        fetched = self.crm.fetched if self.crm is not None else {}
        if ready and (self.files_are_next or not fetched):
            self.files_are_next = not fetched
            is_for_delta = not self.is_in_use or all(file.source in (EVENTS, MISNAMED, *FOR_DELTAS) for file in ready)
            return Batch(frozenset(ready), is_for_delta and not self.daily.is_due(now))
        if fetched:
            self.files_are_next = True
            return Batch(frozenset(), not self.daily.is_due(now), fetched)
        if now >= self.left_at:
            return Batch(frozenset(), not self.daily.is_due(now))
        # On a day on which nothing comes windows slide as well, and whoever comes first need not wait for that.
        if (self.is_in_use or self.crm is not None) and now % _DAY >= AFTER_MIDNIGHT and self.daily.is_due(now):
            return Batch(frozenset(), may_be_delta=False)
        return None

    def _run(self, batch: Batch, began: float) -> None:
        outcome = self.run(batch)
        took = self.waiting.now() - began
        if not batch.may_be_delta:
            self.daily.tried(began, succeeded=not outcome.cause)
        if batch.fetched and self.crm is not None:
            self.crm.taken(is_done=not outcome.cause)
        self._note_left(outcome)
        if outcome.cause and not batch.complete:  # files need not wait for it
            self.say(f"{batch}: failed after {took:.1f} s: {outcome.cause}")
            return
        if outcome.cause:
            self.failures += 1
            self._wait_after(self.failures, f"failed after {took:.1f} s, try {self.failures}", outcome.cause)
            return
        if batch.complete:
            self.failures = 0
        self.is_in_use = self.is_in_use or bool(batch.complete)
        self.seen.update({file.name: file.state for file in batch.complete})
        self.closed.forget(batch.complete)
        refused = f"; {outcome.quarantined} in quarantine, see marts.quarantine" if outcome.quarantined else ""
        left = f"; {outcome.left} to be tried again, see the run" if outcome.left else ""
        told = f"; failed checks, see the run: {', '.join(outcome.failed_checks)}" if outcome.failed_checks else ""
        self.say(f"{batch} in {took:.1f} s{refused}{left}{told}")

    def _note_left(self, outcome: BatchOutcome) -> None:
        """What did not arrive waits for no file: somebody may be waiting for it."""
        is_left = outcome.left > 0 if not outcome.cause else self.left_tries > 0
        self.left_tries = self.left_tries + 1 if is_left else 0
        pause = doubled(FIRST_LEFT_PAUSE, self.left_tries, longest=LONGEST_LEFT_PAUSE)
        self.left_at = self.waiting.now() + pause if is_left else math.inf

    def _wait_after(self, failures: int, what: str, cause: str) -> None:
        pause = doubled(FIRST_PAUSE, failures, longest=LONGEST_PAUSE)
        self.say(f"{what}; the next in {pause:.0f} s: {cause}")
        self.waiting.pause(pause)

    def _ready(self, found: Iterable[LandedFile], *, is_whole: bool) -> list[LandedFile]:
        now = self.waiting.now()
        new = [file for file in found if self.seen.get(file.name) != file.state]
        met = {file: self.met.get(file, now) for file in new}
        self.met = met if is_whole else self.met | met
        # A time in the future says nothing about the age: then it counts for how long we have known the file as it is.
        touched = {file: min(_modified(file), self.met[file]) for file in new}
        return [file for file in new if self.closed.has(file) or now - touched[file] >= self.settle_seconds]


def _modified(file: LandedFile) -> float:
    return file.modified_at.replace(tzinfo=UTC).timestamp()


def watch(
    worker: Worker, lease: Path, *, poll_seconds: float, stop: threading.Event, observer: BaseObserver | None = None
) -> None:
    """Work until stopped.

    Args:
        worker: What to do.
        lease: The file whose lock makes this the only worker on the folder.
        poll_seconds: How often to look when nothing is heard.
        stop: Set from elsewhere to end after the batch that is running.
        observer: Hears of files; by default whatever the operating system has.

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
    observer = observer or Observer()
    observer.start()
    heard_of = _listen(observer, worker)
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
    """Hear of what happens in the landing folder from now on, if the system can tell; which folder that is."""
    try:
        observer.schedule(_Handler(worker.closed), str(worker.landing), recursive=True)
    except OSError as error:  # too many folders for the system's limit, or the folder has gone
        worker.say(
            f"nothing is heard of {worker.landing}, so that files count as complete once they have been left alone "
            f"for {worker.settle_seconds:g} s: {error}"
        )
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
