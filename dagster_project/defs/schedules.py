"""When runs start: once a day because windows slide even without events, soon after files have landed, and again after
a run for them has failed or its process was killed.
"""

import hashlib
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from dagster_project.clock import utc_now
from dagster_project.crm_changes import FOR_DELTAS
from dagster_project.dead_runs import end_dead_run
from dagster_project.defs.new_events import SCORE_NEW_EVENTS, score_new_events
from dagster_project.defs.scoring import DAILY_SCORES_KEY
from dagster_project.landing.discovery import EVENTS, FoundFile, readable_files
from dagster_project.old_runs import PORTION, delete_old_runs
from dagster_project.pauses import doubled
from dagster_project.playbook_files import read_playbook
from dagster_project.refresh import SCORE_EVERYTHING
from dagster_project.settings import environment_settings

LOOKS_FOR_SECONDS = 4.0
"""How long a tick looks at the landing folder: the daemon begins one every five seconds, if the last one is over."""
LOOK_AGAIN_SECONDS = 0.25
RUN_COMES_LATER_SECONDS = 1.5
"""The run of a delta takes longer than this to come to the files, and looks itself whether they were left alone."""
LATELY_SECONDS = 10.0
"""Where files never stop landing, those that were left alone so lately ask for a run all the same."""
DEAD_RUNS_SECONDS = 30
"""How often to look whether a run has died."""
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
"""Between the end of a run that failed and the next for the same files: doubled each time, up to the longest."""
LANDING_VERSION = "pls/landing_version"
"""The tag that says which files a run was asked for."""
Answer = dg.RunRequest | dg.SkipReason
"""What a tick of a sensor ends with."""

_PAST_DAYS = dg.AssetSelection.assets(DAILY_SCORES_KEY)
"""By partition, in a job of its own: neither of these two has one."""
score_everything = dg.define_asset_job(
    SCORE_EVERYTHING,
    selection=dg.AssetSelection.all() - _PAST_DAYS,
    description="Load what has landed, score every user and account, decide, write back and publish.",
)


def landing_request(landing: Path, *, now: datetime, settle_seconds: float, cursor: str | None) -> Answer:
    """What there is to do for the files that have landed.

    Args:
        landing: The landing folder.
        now: Naive UTC.
        settle_seconds: How long a file must have been left alone when a run reads it. The run of a delta is asked for a
            little earlier: it judges that itself, and what is written meanwhile asks for another run. So does any run
            where some files are complete and others follow them without a pause.
        cursor: The version that the last run was requested for.
    """
    files = list(readable_files(landing))
    if not files:
        return dg.SkipReason(f"{landing} holds no files that can be read")
    version = _version(files)
    if version == cursor:
        return dg.SkipReason("nothing has landed since the last run")
    is_for_delta = cursor is not None and version.split("-")[1:] == cursor.split("-")[1:]
    is_old_at = settle_seconds - (RUN_COMES_LATER_SECONDS if is_for_delta else 0)
    seconds = now.replace(tzinfo=UTC).timestamp()
    ages = {file.name: seconds - file.modified_ns / 1e9 for file in files}
    young = {name: age for name, age in ages.items() if 0 <= age < is_old_at}
    if young and not any(is_old_at <= age < is_old_at + LATELY_SECONDS for age in ages.values()):
        return dg.SkipReason(f"{min(young, key=young.__getitem__)} is still being written")
    return dg.RunRequest(
        job_name=SCORE_NEW_EVENTS if is_for_delta else SCORE_EVERYTHING,
        run_key=version,
        tags={LANDING_VERSION: version},
    )


def request_again(instance: dg.DagsterInstance, version: str, *, now: datetime) -> Answer | None:
    """What there is to do because a run for the files that were there at the last request has failed.

    Args:
        instance: Knows the runs.
        version: The version that the last run was requested for.
        now: Naive UTC.

    Returns:
        None when it has not failed, or when what it was to do was done since.
    """
    tries = instance.get_run_records(dg.RunsFilter(tags={LANDING_VERSION: version}))  # the newest first
    if not tries or tries[0].dagster_run.status != dg.DagsterRunStatus.FAILURE:
        return None
    ended_at = datetime.fromtimestamp(tries[0].end_time or tries[0].update_timestamp.timestamp(), UTC)
    pause = doubled(FIRST_PAUSE.total_seconds(), len(tries), longest=LONGEST_PAUSE.total_seconds())
    again_at = ended_at.replace(tzinfo=None) + timedelta(seconds=pause)
    if now < again_at:
        return dg.SkipReason(f"the run for what has landed failed; the next is at {again_at:%H:%M:%S} UTC")
    if _any_succeeded(instance, since=ended_at.timestamp()):
        return None
    return dg.RunRequest(
        # What fails a second time may need more than a delta: newer models than those that the tables were made by.
        job_name=tries[0].dagster_run.job_name if len(tries) == 1 else SCORE_EVERYTHING,
        run_key=f"{version} {len(tries) + 1}",  # Dagster takes no run key twice
        tags={LANDING_VERSION: version},
    )


def read_by_queued(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Whether a run waits for its turn that will read what another of this job would: each reads all that there is.

    Args:
        instance: Knows the runs.
        job_name: Of the run that would be asked for.
    """
    return any(
        instance.get_run_records(dg.RunsFilter(job_name=name, statuses=[dg.DagsterRunStatus.QUEUED]), limit=1)
        for name in {job_name, SCORE_EVERYTHING}
    )


def _any_succeeded(instance: dg.DagsterInstance, *, since: float) -> bool:
    """Whether a run that began since has loaded all that there is, whoever asked for it."""
    for job_name in (SCORE_EVERYTHING, SCORE_NEW_EVENTS):
        runs = dg.RunsFilter(job_name=job_name, statuses=[dg.DagsterRunStatus.SUCCESS])
        if any((run.start_time or 0) > since for run in instance.get_run_records(runs, limit=1)):
            return True
    return False


def look_for_a_while(
    look: Callable[[], Answer],
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Answer:
    """Look again and again until there is something to do or the time is over; the last answer.

    Args:
        look: Looks once.
        seconds: How long.
        clock: Seconds.
        pause: Waits for some seconds.
    """
    until = clock() + seconds
    while True:
        began = clock()
        answer = look()
        looked = clock()
        # Where there are many files a look takes long: it may take a tenth of the time.
        wait = max(LOOK_AGAIN_SECONDS, 9 * (looked - began))
        if isinstance(answer, dg.RunRequest) or looked + wait > until:
            return answer
        pause(wait)


def _version(files: Iterable[FoundFile]) -> str:
    """A key that changes whenever a file is added, delivered again, replaced or removed.

    Two hashes: one of what a delta can take, one of everything else.
    """
    for_delta, others = hashlib.sha256(), hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        digest = for_delta if _is_for_delta(file.name) else others
        digest.update(f"{file.name}\0{file.size}\0{file.modified_ns}\n".encode())
    return f"{for_delta.hexdigest()[:24]}-{others.hexdigest()[:24]}"


def _is_for_delta(name: str) -> bool:
    entity = name.rpartition("/")[2].partition(".")[0].lower()
    return name.startswith(f"{EVENTS}/") or not FOR_DELTAS.isdisjoint((entity, f"crm.{entity}"))


def _now() -> datetime:
    return utc_now()


def automations(
    *, automate: bool, looks_for: float = LOOKS_FOR_SECONDS
) -> tuple[list[dg.ScheduleDefinition], list[dg.SensorDefinition]]:
    """The schedule and the sensors.

    Args:
        automate: Whether they run from the start. Both reach sellers and the CRM, so that somebody has to want it.
        looks_for: How long a tick of the sensor waits for files, in seconds.
    """

    @dg.sensor(
        name="landing_files",
        jobs=[score_everything, score_new_events],
        minimum_interval_seconds=1,  # as often as the daemon does
        default_status=dg.DefaultSensorStatus.RUNNING if automate else dg.DefaultSensorStatus.STOPPED,
        description="Starts score_new_events when product events or records of the CRM have landed and are complete, "
        "score_everything when it is more than that; again, after growing pauses, when that run has failed.",
    )
    def landing_files(context: dg.SensorEvaluationContext) -> Answer:
        settings = environment_settings()
        settle_seconds = read_playbook(settings.playbook_dir).sources.settle_seconds

        def look() -> Answer:
            answer = landing_request(settings.landing, now=_now(), settle_seconds=settle_seconds, cursor=context.cursor)
            if isinstance(answer, dg.RunRequest) and read_by_queued(context.instance, str(answer.job_name)):
                return dg.SkipReason("a run that waits for its turn will read what has landed")
            return answer

        answer = look_for_a_while(look, looks_for)
        if isinstance(answer, dg.RunRequest):
            context.update_cursor(answer.run_key)
            return answer
        again = request_again(context.instance, context.cursor, now=_now()) if context.cursor else None
        return again or answer

    @dg.sensor(
        name="dead_runs",
        minimum_interval_seconds=DEAD_RUNS_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends a run whose process was killed: Dagster counts it as running for ever, and all others wait. "
        "Deletes runs of micro-batches that are older than PLS_KEEP_RUNS_DAYS. It starts nothing and reaches nobody.",
    )
    def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        settings = environment_settings()
        ended = end_dead_run(settings.run_lock, settings.run_note, context.instance)
        days, most = settings.keep_runs_days, 4 * PORTION
        deleted = delete_old_runs(context.instance, SCORE_NEW_EVENTS, days=days, now=_now(), most=most)
        told = f"; {deleted} runs of micro-batches were older than {days:g} days and are deleted" if deleted else ""
        return dg.SkipReason((f"run {ended} had died and was ended" if ended else "no run has died") + told)

    daily = dg.ScheduleDefinition(
        name="daily_refresh",
        job=score_everything,
        cron_schedule="5 0 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if automate else dg.DefaultScheduleStatus.STOPPED,
        description="Five minutes into each UTC day: the windows have slid, with or without new events.",
    )
    return [daily], [landing_files, dead_runs]
