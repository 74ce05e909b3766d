"""The worker: which files make a batch, what it does when one fails, and that there is only one."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.polling import PollingEmitter

from dagster_project.daily import Daily
from dagster_project.open_files import is_written_by_nobody
from dagster_project.watch import (
    AFTER_MIDNIGHT,
    FIRST_LEFT_PAUSE,
    FIRST_PAUSE,
    LONGEST_LEFT_PAUSE,
    LONGEST_PAUSE,
    Batch,
    BatchOutcome,
    Waiting,
    WatchError,
    Worker,
    watch,
)

NOW = 1_782_800_000.0
DAY = 86_400


def day_of(now: float) -> date:
    return datetime.fromtimestamp(now, UTC).date()


@dataclass
class Pipeline:
    """Stands where the jobs stand: remembers its batches and when it ran everything, fails as often as told."""

    now: Callable[[], float]
    failures: int = 0
    failed_checks: tuple[str, ...] = ()
    left: int = 0
    quarantined: int = 0
    batches: list[Batch] = field(default_factory=list)
    everything_on: date | None = field(default_factory=lambda: day_of(NOW))

    def run(self, batch: Batch) -> BatchOutcome:
        self.batches.append(batch)
        if self.failures:
            self.failures -= 1
            return BatchOutcome("the warehouse is locked")
        if not batch.may_be_delta:
            self.everything_on = day_of(self.now())
        return BatchOutcome("", self.failed_checks, self.left, self.quarantined)

    @property
    def taken(self) -> list[set[str]]:
        """The names of the files of each batch."""
        return [{file.name for file in batch.complete} for batch in self.batches]


@dataclass
class ConnectedCrm:
    """Has been read if told so, and offers again what no run has loaded."""

    fetched: dict[str, str] = field(default_factory=dict)
    begun: int = 0
    done: list[bool] = field(default_factory=list)

    def begin(self) -> bool:
        self.begun += 1
        return True

    def taken(self, *, is_done: bool) -> None:
        self.done.append(is_done)
        self.fetched = {}


@dataclass
class Desk:
    """A worker over a folder, with a clock that moves only when told to, and the pauses that it asked for."""

    worker: Worker
    pipeline: Pipeline
    pauses: list[float]
    said: list[str]
    now: float = NOW


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    pauses, said = [], []
    pipeline = Pipeline(now=lambda: desk.now)
    worker = Worker(
        tmp_path / "landing",
        settle_seconds=2.0,
        run=pipeline.run,
        say=said.append,
        daily=Daily(lambda: pipeline.everything_on),
    )
    desk = Desk(worker, pipeline, pauses, said)
    worker.waiting = Waiting(now=lambda: desk.now, pause=pauses.append)
    return desk


def put(desk: Desk, name: str, content: str = "a", *, age: float) -> Path:
    path = desk.worker.landing / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (NOW - age, NOW - age))
    return path


def test_nothing_landed_is_no_batch(desk: Desk) -> None:
    assert not desk.worker.step()
    assert not desk.pipeline.batches


def test_what_has_arrived_is_gathered_into_one_batch(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    put(desk, "events/deep/b.csv", age=5)
    assert desk.worker.step()
    assert desk.pipeline.taken == [{"events/a.ndjson", "events/deep/b.csv"}]
    assert desk.pipeline.batches[0].may_be_delta
    assert not desk.worker.step()


def test_a_file_that_is_being_written_waits_and_keeps_no_other_waiting(desk: Desk) -> None:
    put(desk, "events/done.ndjson", age=10)
    put(desk, "events/young.ndjson", age=1)
    desk.worker.step()
    assert desk.pipeline.taken == [{"events/done.ndjson"}]
    put(desk, "events/young.ndjson", "more", age=3)
    desk.worker.step()
    assert desk.pipeline.taken[1:] == [{"events/young.ndjson"}]


def test_a_file_that_was_closed_is_complete_at_once_until_somebody_writes_on(desk: Desk) -> None:
    path = put(desk, "events/a.ndjson", age=0)
    desk.worker.closed.note(path)
    put(desk, "events/a.ndjson", "written on", age=0)
    assert not desk.worker.step()
    desk.worker.closed.note(path)
    assert desk.worker.step()


def test_a_file_that_is_written_anew_during_its_batch_is_another_batch_as_soon_as_it_is_closed(desk: Desk) -> None:
    path = put(desk, "events/a.ndjson", age=0)
    desk.worker.closed.note(path)
    run = desk.worker.run

    def run_while_somebody_writes(batch: Batch) -> BatchOutcome:
        put(desk, "events/a.ndjson", "written anew", age=0)
        desk.worker.closed.note(path)
        return run(batch)

    desk.worker.run = run_while_somebody_writes
    assert desk.worker.step()
    desk.worker.run = run
    assert desk.worker.step()
    assert [[file.size for file in batch.complete] for batch in desk.pipeline.batches] == [[1], [12]]


def test_a_file_whose_time_lies_in_the_future_is_complete_when_it_was_left_alone_before_our_eyes(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=-86_400)
    assert not desk.worker.step()
    desk.now += 1.5
    put(desk, "events/a.ndjson", "written on", age=-86_400)
    assert not desk.worker.step()
    desk.now += 1.5
    assert not desk.worker.step(), "it was written to 1.5 seconds ago"
    desk.now += 0.5
    assert desk.worker.step()
    assert not desk.worker.step()
    assert desk.pipeline.taken == [{"events/a.ndjson"}]


def test_a_file_that_was_moved_into_place_with_a_time_in_the_future_is_complete_at_once(desk: Desk) -> None:
    desk.worker.closed.note(put(desk, "events/a.ndjson", age=-86_400))
    assert desk.worker.step()


def test_owners_are_more_than_a_delta(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    desk.worker.step()
    for number in (1, 2):
        put(desk, "crm/owners.csv", "x" * number, age=10)
        desk.worker.step()
    assert [batch.may_be_delta for batch in desk.pipeline.batches] == [True, False, False]


def test_what_a_connected_crm_says_is_a_batch_without_files(desk: Desk) -> None:
    desk.worker.crm = crm = ConnectedCrm({"contacts": ""})
    assert desk.worker.step()
    assert (desk.pipeline.batches[0].fetched, desk.pipeline.taken) == ({"contacts": ""}, [set()])
    assert not crm.fetched, "it is loaded"
    assert desk.said[-1].startswith("what the CRM says in ")
    assert not desk.worker.step()
    assert crm.begun == 2, "whether it is time is for the CRM to know"


def test_files_come_first_and_by_turns_where_there_are_always_some(desk: Desk) -> None:
    """Somebody may wait for what a file says; but a CRM that is never taken gets too old to act on."""
    desk.worker.crm = crm = ConnectedCrm()
    for number in range(4):
        crm.fetched = {"contacts": ""}
        put(desk, f"events/{number}.ndjson", age=10)
        desk.worker.step()
    assert [bool(batch.fetched) for batch in desk.pipeline.batches] == [False, True, False, True]
    assert desk.pipeline.taken[2] == {"events/1.ndjson", "events/2.ndjson"}


def test_files_wait_for_nothing_that_the_crm_says_and_no_run_can_load(desk: Desk) -> None:
    desk.worker.crm = crm = ConnectedCrm({"contacts": ""})
    desk.pipeline.failures = 1
    assert desk.worker.step()
    assert crm.done == [False], "it offers it again, when it is time"
    assert (desk.pauses, desk.worker.failures) == ([], 0)
    assert desk.said[-1].startswith("what the CRM says: failed after ")
    assert desk.said[-1].endswith("the warehouse is locked")


def test_the_first_batch_of_a_day_is_everything_whatever_it_brings(desk: Desk) -> None:
    """Its windows slide anyway; and outcomes are looked at, for which nobody else asks where no schedule runs."""
    desk.pipeline.everything_on = None
    for name in ("events/a.ndjson", "crm/accounts.csv", "suppression.csv"):
        put(desk, name, age=10)
        desk.worker.step()
    desk.now += DAY
    put(desk, "crm/tickets.csv", age=10)
    desk.worker.step()
    put(desk, "events/b.ndjson", age=10)
    desk.worker.step()
    assert [batch.may_be_delta for batch in desk.pipeline.batches] == [False, True, True, False, True]


def test_where_the_schedule_was_first_it_is_not_done_again(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    desk.worker.step()
    desk.now += DAY
    desk.pipeline.everything_on = day_of(desk.now)
    assert not desk.worker.step()
    put(desk, "crm/tickets.csv", age=10)
    desk.worker.step()
    assert [batch.may_be_delta for batch in desk.pipeline.batches] == [True, True]


def test_on_a_day_on_which_nothing_comes_windows_slide_as_well(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    desk.worker.step()
    desk.now += DAY - desk.now % DAY + AFTER_MIDNIGHT - 1
    assert not desk.worker.step(), "the schedule may be at it"
    desk.now += 1
    assert desk.worker.step()
    assert (desk.pipeline.taken[1], desk.pipeline.batches[1].may_be_delta) == (set(), False)
    assert desk.said[-1].startswith("the day's run of everything in ")
    assert not desk.worker.step()


def test_what_could_not_be_read_is_told(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    desk.pipeline.quarantined, desk.pipeline.left = 3, 1
    desk.worker.step()
    assert desk.said == ["1 file in 0.0 s; 3 in quarantine, see marts.quarantine; 1 to be tried again, see the run"]


def test_what_did_not_arrive_waits_for_no_file(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    desk.pipeline.left = 2
    desk.worker.step()
    assert desk.said == ["1 file in 0.0 s; 2 to be tried again, see the run"]
    tried = []
    for _ in range(int(2 * LONGEST_LEFT_PAUSE)):
        desk.now += 1
        if desk.worker.step():
            tried.append(desk.now - NOW)
    assert tried[:4] == [FIRST_LEFT_PAUSE, 3 * FIRST_LEFT_PAUSE, 7 * FIRST_LEFT_PAUSE, 15 * FIRST_LEFT_PAUSE]
    assert desk.said[-1] == "what did not arrive in 0.0 s; 2 to be tried again, see the run"
    assert all((batch.complete, batch.may_be_delta) == (frozenset(), True) for batch in desk.pipeline.batches[1:])
    desk.pipeline.left = 0
    desk.now += LONGEST_LEFT_PAUSE
    assert desk.worker.step()
    desk.now += LONGEST_LEFT_PAUSE
    assert not desk.worker.step()


def test_while_what_did_not_arrive_cannot_be_tried_the_pauses_grow_as_well(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    desk.pipeline.left = 1
    desk.worker.step()
    desk.pipeline.failures = 9
    desk.now += FIRST_LEFT_PAUSE
    assert desk.worker.step()
    assert desk.said[-1] == "what did not arrive: failed after 0.0 s: the warehouse is locked"
    desk.now += FIRST_LEFT_PAUSE
    assert not desk.worker.step()
    desk.now += FIRST_LEFT_PAUSE
    assert desk.worker.step()


def test_files_that_are_gone_are_forgotten_and_windows_slide_all_the_same(desk: Desk) -> None:
    file = put(desk, "events/a.ndjson", age=0)
    desk.worker.closed.note(file)
    assert desk.worker.step()
    file.unlink()
    desk.now += DAY - desk.now % DAY + AFTER_MIDNIGHT
    assert desk.worker.step(), "the day's run of everything"
    assert desk.worker.seen == {}
    assert not any(desk.worker.closed.has(found) for found in desk.pipeline.batches[0].complete)


def test_a_folder_in_which_nothing_ever_was_is_left_alone(desk: Desk) -> None:
    desk.pipeline.everything_on = None
    desk.now += DAY / 2
    assert not desk.worker.step()


def test_everything_that_fails_is_tried_again_after_longer_pauses_and_files_do_not_wait(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    desk.worker.step()
    desk.now += DAY - desk.now % DAY + DAY / 2
    for pause in (LONGEST_PAUSE, 2 * LONGEST_PAUSE):
        desk.pipeline.failures = 1
        assert desk.worker.step()
        assert not desk.worker.step()
        put(desk, f"events/{pause}.ndjson", age=10)
        assert desk.worker.step()
        assert desk.pipeline.batches[-1].may_be_delta
        desk.now += pause
    assert desk.worker.step()
    assert not desk.pipeline.batches[-1].may_be_delta
    assert (desk.pipeline.everything_on, desk.pauses) == (day_of(desk.now), [])


def test_everything_is_not_run_again_and_again_where_nobody_can_say_that_it_was(desk: Desk) -> None:
    desk.worker.daily.done_on = lambda: None
    for number in range(3):
        put(desk, "events/a.ndjson", "a" * number, age=10)
        desk.worker.step()
    assert [batch.may_be_delta for batch in desk.pipeline.batches] == [False, True, True]


def test_a_worker_that_starts_anew_leaves_it_to_the_run_what_is_new(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    put(desk, "crm/accounts.csv", age=10)
    desk.worker.step()
    assert desk.pipeline.batches[0].may_be_delta


def test_a_file_delivered_again_is_another_batch(desk: Desk) -> None:
    put(desk, "crm/accounts.csv", age=10)
    desk.worker.step()
    put(desk, "crm/accounts.csv", age=5)
    assert desk.worker.step()


def test_a_batch_that_fails_is_tried_again_after_longer_and_longer_pauses(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    desk.pipeline.failures = 11
    for _ in range(12):
        desk.worker.step()
    assert desk.pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert desk.pauses[-1] == LONGEST_PAUSE
    assert desk.pipeline.taken == 12 * [{"events/a.ndjson"}]
    assert "the warehouse is locked" in desk.said[0]
    assert not desk.worker.step(), "the last try succeeded"
    assert desk.worker.failures == 0


def test_checks_that_failed_are_named_and_the_batch_is_done(desk: Desk) -> None:
    desk.pipeline.failed_checks = ("the_crm_took_what_was_sent",)
    put(desk, "events/a.ndjson", age=5)
    assert [desk.worker.step(), desk.worker.step()] == [True, False]
    assert desk.said == ["1 file in 0.0 s; failed checks, see the run: the_crm_took_what_was_sent"]


def test_a_batch_that_fails_for_days_does_not_end_the_worker(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    desk.pipeline.failures = 1100
    while desk.pipeline.failures:
        desk.worker.step()
    assert desk.pauses[-1] == LONGEST_PAUSE
    desk.worker.step()
    assert desk.worker.failures == 0


def test_a_folder_that_goes_while_it_is_looked_at_is_not_there(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(desk, "events/a.ndjson", age=10)
    going = desk.worker.landing / "events" / "going"
    going.mkdir()
    scandir = os.scandir

    def remove_and_scan(path: Path | str) -> object:
        if Path(path) == going and going.exists():
            going.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", remove_and_scan)
    assert desk.worker.step()
    assert desk.pipeline.taken == [{"events/a.ndjson"}]


def test_a_folder_that_cannot_be_looked_at_is_looked_at_again_after_longer_and_longer_pauses(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(desk, "events/a.ndjson", age=10)

    def fail(path: Path | str) -> object:
        raise OSError(5, "Input/output error", str(path))

    with monkeypatch.context() as broken:
        broken.setattr(os, "scandir", fail)
        assert [desk.worker.step() for _ in range(3)] == [False] * 3
    assert desk.pauses == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert desk.said[0].startswith(f"can't look at {desk.worker.landing}, try 1; the next in 1 s: [Errno 5]")
    assert desk.worker.step(), "the disk is back"
    assert desk.worker.failed_looks == 0


def test_where_a_look_takes_long_what_was_heard_of_does_not_wait_for_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def slowly(path: Path | str) -> object:
        desk.now += 0.25
        return scandir(path)

    monkeypatch.setattr(os, "scandir", slowly)
    put(desk, "events/a.ndjson", age=10)
    put(desk, "elsewhere/a.csv", age=10)
    desk.worker.step()
    looked_at = desk.now
    put(desk, "events/unheard.ndjson", age=10)
    desk.worker.closed.note(put(desk, "events/heard.ndjson", age=0))
    desk.worker.closed.note(put(desk, "crm/contacts.csv", age=0))
    desk.worker.closed.note(put(desk, "elsewhere/b.csv", age=0))
    assert desk.worker.step()
    assert not desk.worker.step()
    assert desk.pipeline.taken[0] == {"events/a.ndjson", "elsewhere/a.csv"}
    assert (desk.pipeline.taken[1:], desk.now) == ([{"events/heard.ndjson", "crm/contacts.csv"}], looked_at)
    desk.now += 9 * (looked_at - NOW)
    assert desk.worker.step()
    assert desk.pipeline.taken[2:] == [{"events/unheard.ndjson"}]


def test_after_the_clock_was_set_back_nobody_waits_for_it_to_come_again(desk: Desk) -> None:
    desk.worker.look_again_at = NOW + DAY
    put(desk, "events/a.ndjson", age=10)
    assert desk.worker.step()


class DeafObserver(BaseObserver):
    """Stands where the system has no more to give for hearing of a folder."""

    def __init__(self) -> None:
        super().__init__(PollingEmitter)

    def schedule(self, *_: Any, **__: Any) -> ObservedWatch:
        raise OSError(28, "inotify watch limit reached")


def test_where_nothing_can_be_heard_files_are_found_all_the_same(desk: Desk, tmp_path: Path) -> None:
    put(desk, "events/a.ndjson", age=10)
    stop = threading.Event()

    def run(batch: Batch) -> BatchOutcome:
        stop.set()
        return desk.pipeline.run(batch)

    desk.worker.run = run
    watch(desk.worker, tmp_path / ".lease", poll_seconds=0.01, stop=stop, observer=DeafObserver())
    assert desk.pipeline.taken == [{"events/a.ndjson"}]
    assert desk.said[0].startswith(f"nothing is heard of {desk.worker.landing}, so that files count as complete once")


def test_there_is_one_worker_at_a_time(desk: Desk, tmp_path: Path) -> None:
    lease = tmp_path / ".watch.lock"
    with FileLock(lease), pytest.raises(WatchError, match="already"):
        watch(desk.worker, lease, poll_seconds=0.05, stop=threading.Event())


STOPPED_WHILE_WORKING = """
import os, signal, sys, threading
from pathlib import Path
from dagster_project.daily import Daily
from dagster_project.watch import BatchOutcome, Closed, Worker, stop_on_signals, watch

stop, closed = threading.Event(), Closed()
stop_on_signals(stop, closed)

def run(batch):
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as a run does in the main thread
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.wait(10)
    print("finished")
    return BatchOutcome("")

daily = Daily(lambda: None)
worker = Worker(Path(sys.argv[1]), settle_seconds=0, run=run, say=lambda text: None, daily=daily, closed=closed)
watch(worker, Path(sys.argv[1]) / ".lease", poll_seconds=0.05, stop=stop)
print("stopped")
"""


def test_a_signal_ends_the_work_after_the_batch_that_is_running(desk: Desk) -> None:
    put(desk, "events/a.ndjson", age=10)
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_WHILE_WORKING, str(desk.worker.landing)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["finished", "stopped"]), done.stderr


@pytest.mark.parametrize("comes_from", ["beside it", "elsewhere", "made anew"])
def test_a_file_moved_into_place_is_scored_at_once_and_a_stop_ends_the_work(
    desk: Desk, tmp_path: Path, comes_from: str
) -> None:
    stop, ran = threading.Event(), threading.Event()

    def run(batch: Batch) -> BatchOutcome:
        outcome = desk.pipeline.run(batch)
        ran.set()
        return outcome

    # Against the real clock and the operating system: nothing but the move says that the file is complete.
    today = Daily(lambda: datetime.now(UTC).date())
    worker = Worker(desk.worker.landing, settle_seconds=3600, run=run, say=desk.said.append, daily=today)
    if comes_from == "elsewhere" and not is_written_by_nobody(Path(__file__)):
        pytest.skip("the operating system doesn't say who writes a file here")
    working = threading.Thread(
        target=watch, args=(worker, tmp_path / ".lease"), kwargs={"poll_seconds": 0.05, "stop": stop}
    )

    def deliver(name: str) -> None:
        ran.clear()
        (worker.landing / "events").mkdir(parents=True, exist_ok=True)
        unfinished = tmp_path / name if comes_from == "elsewhere" else worker.landing / "events" / f"{name}.part"
        for _ in range(200):
            unfinished.write_text("a")
            unfinished.replace(worker.landing / "events" / name)
            if ran.wait(0.1):
                break

    working.start()
    try:
        if comes_from == "made anew":
            deliver("before.ndjson")
            worker.landing.rename(tmp_path / "landing that was here before")
        deliver("a.ndjson")
    finally:
        stop.set()
        working.join(timeout=20)
    assert not working.is_alive()
    assert desk.pipeline.taken[-1] == {"events/a.ndjson"}
