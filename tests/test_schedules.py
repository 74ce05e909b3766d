"""When runs start: what the landing sensor does at a tick, and that nothing starts by itself unless told to."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.runs.schema import RunsTable

from dagster_project.defs.resources import Workplace
from dagster_project.defs.schedules import (
    FIRST_PAUSE,
    LANDING_VERSION,
    LONGEST_PAUSE,
    automations,
    landing_request,
    look_for_a_while,
    request_again,
)

NOW = datetime(2026, 6, 30, 12, 0, 0)
SETTLE = 2.0


def put(landing: Path, name: str, content: str = "a", *, age: float = 60) -> Path:
    """A file that was written `age` seconds ago."""
    path = landing / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    written = (NOW - timedelta(seconds=age)).replace(tzinfo=UTC).timestamp()
    os.utime(path, (written, written))
    return path


def tick(landing: Path, cursor: str | None = None) -> dg.RunRequest | dg.SkipReason:
    return landing_request(landing, now=NOW, settle_seconds=SETTLE, cursor=cursor)


def skipped(landing: Path, cursor: str | None = None) -> str | None:
    answer = tick(landing, cursor)
    assert isinstance(answer, dg.SkipReason)
    return answer.skip_message


def requested(landing: Path, cursor: str | None = None) -> str | None:
    answer = tick(landing, cursor)
    assert isinstance(answer, dg.RunRequest)
    return answer.run_key


@pytest.mark.parametrize(
    ("name", "job"),
    [
        ("events/b.ndjson", "score_new_events"),
        ("crm/Contacts.csv.gz", "score_new_events"),
        ("crm/dt=2026-06-30/tickets.ndjson", "score_new_events"),
        ("suppression.csv", "score_new_events"),
        ("crm/owners.csv", "score_everything"),
        ("notes.csv", "score_everything"),
        ("events.csv", "score_everything"),
    ],
)
def test_what_is_about_single_people_is_no_reason_to_score_everything(name: str, job: str, tmp_path: Path) -> None:
    put(tmp_path, "events/a.ndjson")
    put(tmp_path, "crm/accounts.csv")
    first = tick(tmp_path)
    assert first.job_name == "score_everything"
    put(tmp_path, name)
    assert tick(tmp_path, first.run_key).job_name == job


def test_an_empty_landing_folder_starts_nothing(tmp_path: Path) -> None:
    assert skipped(tmp_path) == f"{tmp_path} holds no files that can be read"


def test_a_missing_landing_folder_starts_nothing(tmp_path: Path) -> None:
    assert skipped(tmp_path / "landing") == f"{tmp_path / 'landing'} holds no files that can be read"


def test_files_that_have_landed_start_a_run(tmp_path: Path) -> None:
    put(tmp_path, "events/a.ndjson")
    assert requested(tmp_path)


def test_a_file_that_is_still_written_is_waited_for(tmp_path: Path) -> None:
    put(tmp_path, "events/a.ndjson")
    put(tmp_path, "crm/accounts.csv", age=1.9)
    assert skipped(tmp_path) == "crm/accounts.csv is still being written"
    put(tmp_path, "crm/owners.csv", age=0)
    assert skipped(tmp_path) == "crm/owners.csv is still being written", "the youngest is named"
    (tmp_path / "crm/owners.csv").unlink()
    put(tmp_path, "crm/accounts.csv", age=SETTLE)
    assert requested(tmp_path)


def test_the_run_of_a_delta_is_asked_for_while_it_may_still_wait_itself(tmp_path: Path) -> None:
    put(tmp_path, "events/a.ndjson")
    before = requested(tmp_path)
    put(tmp_path, "events/b.ndjson", age=0.4)
    assert skipped(tmp_path, cursor=before) == "events/b.ndjson is still being written"
    put(tmp_path, "events/b.ndjson", age=0.6)
    early = requested(tmp_path, cursor=before)
    put(tmp_path, "events/b.ndjson", "a and more", age=0.6)
    assert requested(tmp_path, cursor=early) != early, "what was written after all has a run of its own"


def test_where_files_never_stop_landing_those_that_are_complete_are_not_kept_waiting(tmp_path: Path) -> None:
    put(tmp_path, "events/a.ndjson")
    before = requested(tmp_path)
    put(tmp_path, "events/c.ndjson", age=0.1)
    assert skipped(tmp_path, cursor=before) == "events/c.ndjson is still being written"
    put(tmp_path, "events/b.ndjson", age=0.6)
    assert requested(tmp_path, cursor=before)


@pytest.mark.parametrize(("age", "are_asked_for"), [(SETTLE, True), (SETTLE + 9.9, True), (SETTLE + 10, False)])
def test_files_that_are_long_complete_do_not_take_one_along_that_is_written(
    age: float, are_asked_for: bool, tmp_path: Path
) -> None:
    put(tmp_path, "events/a.ndjson", age=age)
    put(tmp_path, "events/b.ndjson", age=0.1)
    assert isinstance(tick(tmp_path), dg.RunRequest) is are_asked_for


@dataclass
class Folder:
    """A landing folder at which a look takes `look_seconds`, and what is asked for when something is in it."""

    look_seconds: float = 0.0
    lands_at: float = 1000.0
    now: float = 0.0
    looks: int = 0

    def look(self) -> dg.RunRequest | dg.SkipReason:
        self.looks += 1
        self.now += self.look_seconds
        return dg.RunRequest("new") if self.now >= self.lands_at else dg.SkipReason("nothing")

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def watched(self, seconds: float) -> dg.RunRequest | dg.SkipReason:
        return look_for_a_while(self.look, seconds, clock=lambda: self.now, pause=self.pause)


def test_a_tick_ends_as_soon_as_there_is_something_to_do() -> None:
    folder = Folder(lands_at=1.1)
    assert folder.watched(4) == dg.RunRequest("new")
    assert folder.now == 1.25


def test_a_tick_in_which_nothing_lands_is_over_in_time() -> None:
    folder = Folder()
    assert folder.watched(4) == dg.SkipReason("nothing")
    assert (folder.looks, folder.now) == (17, 4.0)


def test_looking_at_many_files_takes_a_tenth_of_the_time() -> None:
    folder = Folder(look_seconds=0.1)
    folder.watched(4)
    assert (folder.looks, folder.now) == (4, pytest.approx(3.1))


def test_a_time_in_the_future_is_no_sign_of_writing(tmp_path: Path) -> None:
    put(tmp_path, "events/a.ndjson", age=-3600)
    assert requested(tmp_path)
    put(tmp_path, "events/b.ndjson", age=0.1)
    assert skipped(tmp_path) == "events/b.ndjson is still being written"


def test_nothing_new_starts_nothing(tmp_path: Path) -> None:
    put(tmp_path, "events/a.ndjson")
    assert skipped(tmp_path, cursor=requested(tmp_path)) == "nothing has landed since the last run"


@pytest.mark.parametrize("name", ["events/b.ndjson", "crm/accounts.csv", "suppression.csv"])
def test_another_file_starts_another_run(name: str, tmp_path: Path) -> None:
    put(tmp_path, "events/a.ndjson")
    before = requested(tmp_path)
    put(tmp_path, name)
    assert requested(tmp_path, cursor=before) != before


def test_a_file_with_other_content_starts_another_run(tmp_path: Path) -> None:
    put(tmp_path, "crm/accounts.csv", "short")
    before = requested(tmp_path)
    put(tmp_path, "crm/accounts.csv", "longer", age=30)
    assert requested(tmp_path, cursor=before) != before


def test_a_file_by_another_name_starts_another_run(tmp_path: Path) -> None:
    """Its name may say of which day an extract is."""
    put(tmp_path, "crm/dt=2026-06-29/accounts.csv")
    before = requested(tmp_path)
    (tmp_path / "crm/dt=2026-06-29").rename(tmp_path / "crm/dt=2026-06-30")
    assert requested(tmp_path, cursor=before) != before


def test_an_extract_delivered_again_starts_a_run_because_it_is_news_that_it_still_holds(tmp_path: Path) -> None:
    put(tmp_path, "crm/accounts.csv", age=3600)
    before = requested(tmp_path)
    put(tmp_path, "crm/accounts.csv", age=60)
    assert requested(tmp_path, cursor=before) != before


@pytest.mark.parametrize(
    "name", [".hidden", "_started", "events/b.ndjson.tmp", "events/.staging/b.ndjson", "notes.part"]
)
def test_what_no_reader_would_read_is_not_there(name: str, tmp_path: Path) -> None:
    put(tmp_path, name, age=0)
    assert skipped(tmp_path) == f"{tmp_path} holds no files that can be read"


def test_a_link_that_leads_nowhere_keeps_nothing_back(tmp_path: Path) -> None:
    put(tmp_path, "events/a.ndjson")
    (tmp_path / "events" / "b.ndjson").symlink_to(tmp_path / "gone")
    assert requested(tmp_path)


def _statuses(sensors: list[dg.SensorDefinition]) -> dict[str, str]:
    return {sensor.name: sensor.default_status.value for sensor in sensors}


def landing_sensor() -> dg.SensorDefinition:
    """The one that starts runs, looking once per tick."""
    _, sensors = automations(automate=False, looks_for=0)
    return next(sensor for sensor in sensors if sensor.name == "landing_files")


def test_the_schedule_and_the_sensor_start_stopped_because_they_reach_sellers() -> None:
    schedules, sensors = automations(automate=False)
    assert [schedule.default_status for schedule in schedules] == [dg.DefaultScheduleStatus.STOPPED]
    assert _statuses(sensors) == {"landing_files": "STOPPED", "dead_runs": "RUNNING"}


def test_one_setting_starts_both() -> None:
    schedules, sensors = automations(automate=True)
    assert [schedule.default_status for schedule in schedules] == [dg.DefaultScheduleStatus.RUNNING]
    assert _statuses(sensors) == {"landing_files": "RUNNING", "dead_runs": "RUNNING"}


def test_the_windows_slide_once_a_day_in_utc() -> None:
    [daily], _ = automations(automate=False)
    assert (daily.cron_schedule, daily.execution_timezone) == ("5 0 * * *", "UTC")
    assert daily.job_name == "score_everything"


def test_the_sensor_remembers_what_it_started_a_run_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLS_DATA_DIR", str(tmp_path))
    put(tmp_path / "landing", "events/a.ndjson")
    sensor = landing_sensor()
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance)
        first = sensor(context)
        assert isinstance(first, dg.RunRequest)
        assert context.cursor == first.run_key == requested(tmp_path / "landing")
        assert isinstance(sensor(context), dg.SkipReason)


class Runs:
    """Runs for files of version `v`, on an instance that remembers them."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def end(self, job: str, *, success: bool, version: str | None = "v") -> None:
        """A run ends now."""

        @dg.op
        def work() -> None:
            if not success:
                raise dg.Failure("the disk is full", allow_retries=False)

        @dg.job(name=job)
        def runs() -> None:
            work()

        tags = {LANDING_VERSION: version} if version else {}
        runs.execute_in_process(instance=self.instance, raise_on_error=False, tags=tags)

    def set_back(self, job: str, **columns: timedelta) -> None:
        """What is told of all runs of a job so far was earlier: when they began, or ended."""
        earlier = {name: RunsTable.c[name] - by.total_seconds() for name, by in columns.items()}
        with self.instance.run_storage.connect() as connection:
            connection.execute(RunsTable.update().where(RunsTable.c.pipeline_name == job).values(earlier))

    def fail_for_days(self, job: str) -> None:
        """Sixty runs have failed, the last of them now."""
        for _ in range(60):
            self.instance.add_run(dg.DagsterRun(job, status=dg.DagsterRunStatus.FAILURE, tags={LANDING_VERSION: "v"}))

    def again(self, *, after: timedelta) -> dg.RunRequest | dg.SkipReason | None:
        """What the sensor asks for some time after now."""
        return request_again(self.instance, "v", now=datetime.now(UTC).replace(tzinfo=None) + after)


@pytest.fixture
def runs() -> Iterator[Runs]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Runs(instance)


ALMOST = timedelta(seconds=30)
"""Between a run's end, which the operating system's clock says, and a test's look at that clock."""


def test_a_run_that_failed_is_asked_for_again_after_a_pause(runs: Runs) -> None:
    runs.end("score_new_events", success=False)
    waits = runs.again(after=FIRST_PAUSE - ALMOST)
    assert isinstance(waits, dg.SkipReason)
    assert str(waits.skip_message).startswith("the run for what has landed failed; the next is at ")
    again = runs.again(after=FIRST_PAUSE)
    assert isinstance(again, dg.RunRequest)
    assert (again.job_name, again.run_key, again.tags) == ("score_new_events", "v 2", {LANDING_VERSION: "v"})


def test_pauses_grow_and_what_failed_twice_is_done_whole(runs: Runs) -> None:
    for _ in range(2):
        runs.end("score_new_events", success=False)
    assert isinstance(runs.again(after=2 * FIRST_PAUSE - ALMOST), dg.SkipReason)
    again = runs.again(after=2 * FIRST_PAUSE)
    assert isinstance(again, dg.RunRequest)
    assert (again.job_name, again.run_key) == ("score_everything", "v 3")
    runs.fail_for_days("score_everything")
    assert isinstance(runs.again(after=LONGEST_PAUSE - ALMOST), dg.SkipReason)
    assert isinstance(runs.again(after=LONGEST_PAUSE), dg.RunRequest)


def test_a_pause_begins_when_the_last_of_the_runs_has_ended(runs: Runs) -> None:
    runs.end("score_new_events", success=False)
    runs.set_back("score_new_events", end_time=timedelta(hours=5))
    runs.end("score_everything", success=False)
    assert isinstance(runs.again(after=2 * FIRST_PAUSE - ALMOST), dg.SkipReason)


def test_a_run_that_had_begun_before_has_not_done_it(runs: Runs) -> None:
    """What it read may be older than what the one that failed was asked for."""
    runs.end("score_new_events", success=False)
    runs.end("score_everything", success=True, version=None)
    runs.set_back("score_everything", start_time=timedelta(minutes=1))
    assert isinstance(runs.again(after=LONGEST_PAUSE), dg.RunRequest)


def test_a_run_that_is_not_over_or_succeeded_is_not_asked_for_again(runs: Runs) -> None:
    assert runs.again(after=LONGEST_PAUSE) is None
    runs.end("score_everything", success=False)
    runs.end("score_everything", success=True)
    assert runs.again(after=LONGEST_PAUSE) is None


def test_a_run_that_somebody_has_ended_is_not_begun_again(runs: Runs) -> None:
    status = dg.DagsterRunStatus.CANCELED
    runs.instance.add_run(dg.DagsterRun("score_everything", status=status, tags={LANDING_VERSION: "v"}))
    assert runs.again(after=LONGEST_PAUSE) is None


def test_what_was_to_be_done_whole_is_done_whole_again(runs: Runs) -> None:
    runs.end("score_everything", success=False)
    again = runs.again(after=FIRST_PAUSE)
    assert isinstance(again, dg.RunRequest)
    assert again.job_name == "score_everything"


@pytest.mark.parametrize("job", ["score_everything", "score_new_events"])
def test_nothing_is_asked_for_again_when_another_run_has_done_it(runs: Runs, job: str) -> None:
    runs.end(job, success=True, version=None)
    runs.end("score_new_events", success=False)
    assert isinstance(runs.again(after=LONGEST_PAUSE), dg.RunRequest), "that one was before it"
    runs.end(job, success=True, version=None)
    assert runs.again(after=LONGEST_PAUSE) is None


def test_the_sensor_asks_again_and_keeps_what_it_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: Runs
) -> None:
    monkeypatch.setenv("PLS_DATA_DIR", str(tmp_path))
    put(tmp_path / "landing", "events/a.ndjson")
    version = requested(tmp_path / "landing")
    sensor = landing_sensor()
    context = dg.build_sensor_context(instance=runs.instance, cursor=version)
    runs.end("score_everything", success=False, version=version)
    waits = sensor(context)
    assert isinstance(waits, dg.SkipReason)
    assert str(waits.skip_message).startswith("the run for what has landed failed")
    assert context.cursor == version


@pytest.mark.parametrize(
    ("waiting", "lands", "asked"),
    [
        ("score_new_events", "events/b.ndjson", False),
        ("score_everything", "events/b.ndjson", False),
        ("score_everything", "crm/owners.csv", False),
        ("score_new_events", "crm/owners.csv", True),
        ("score_past_days", "events/b.ndjson", True),
    ],
)
def test_what_a_waiting_run_will_read_needs_no_other_run(
    waiting: str, lands: str, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLS_DATA_DIR", str(tmp_path))
    put(tmp_path / "landing", "events/a.ndjson")
    before = requested(tmp_path / "landing")
    put(tmp_path / "landing", lands)
    with dg.DagsterInstance.ephemeral() as instance:
        origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "project").get_job_origin(waiting)
        instance.add_run(dg.DagsterRun(waiting, status=dg.DagsterRunStatus.QUEUED, remote_job_origin=origin))
        context = dg.build_sensor_context(instance=instance, cursor=before)
        answer = landing_sensor()(context)
        assert isinstance(answer, dg.RunRequest) is asked
        if asked:
            assert context.cursor == answer.run_key
        else:
            assert answer.skip_message == "a run that waits for its turn will read what has landed"
            assert context.cursor == before, "what it does not read after all is asked for later"


def test_a_run_that_has_begun_may_have_read_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLS_DATA_DIR", str(tmp_path))
    put(tmp_path / "landing", "events/a.ndjson")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_run(dg.DagsterRun("score_everything", status=dg.DagsterRunStatus.STARTED))
        assert isinstance(landing_sensor()(dg.build_sensor_context(instance=instance)), dg.RunRequest)


def test_a_run_that_died_is_ended_though_nothing_lands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLS_DATA_DIR", str(tmp_path))
    _, sensors = automations(automate=False)
    [sensor] = [sensor for sensor in sensors if sensor.name == "dead_runs"]
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance)
        assert sensor(context).skip_message == "no run has died"
        run = dg.DagsterRun("score_everything", status=dg.DagsterRunStatus.STARTED)
        instance.add_run(run)
        Workplace().settings.run_note.write_text(run.run_id)  # what is left when nobody could clean up
        assert sensor(context).skip_message == f"run {run.run_id} had died and was ended"
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
