"""When runs start: once a day because windows slide even without events, and soon after files have landed."""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from dagster_project.defs.new_events import SCORE_NEW_EVENTS, score_new_events
from dagster_project.defs.resources import environment_settings
from dagster_project.defs.scoring import DAILY_SCORES_KEY
from dagster_project.landing.discovery import readable_files
from dagster_project.playbook_files import read_playbook

SCORE_EVERYTHING = "score_everything"

_PAST_DAYS = dg.AssetSelection.assets(DAILY_SCORES_KEY)
"""By partition, in a job of its own: neither of these two has one."""
score_everything = dg.define_asset_job(
    SCORE_EVERYTHING,
    selection=dg.AssetSelection.all() - _PAST_DAYS,
    description="Load what has landed, score every user and account, decide, write back and publish.",
)


def landing_version(landing: Path) -> str:
    """A key that changes whenever a readable file below `landing` is added, delivered again, replaced or removed.

    Two hashes: one of the product events, one of everything else.
    """
    return _version(_landed(landing))


def landing_request(
    landing: Path, *, now: datetime, settle_seconds: float, cursor: str | None
) -> dg.RunRequest | dg.SkipReason:
    """What the landing sensor does at a tick.

    Args:
        landing: The landing folder.
        now: Naive UTC.
        settle_seconds: How long a file must have been left alone to count as complete.
        cursor: The version that the last run was requested for.
    """
    files = _landed(landing)
    if not files:
        return dg.SkipReason(f"{landing} holds no files that can be read")
    youngest = max(files, key=lambda name: files[name].st_mtime)
    age = (now - datetime(1970, 1, 1)).total_seconds() - files[youngest].st_mtime
    if 0 <= age < settle_seconds:
        return dg.SkipReason(f"{youngest} is still being written")
    version = _version(files)
    if version == cursor:
        return dg.SkipReason("nothing has landed since the last run")
    only_events = cursor is not None and version.split("-")[1:] == cursor.split("-")[1:]
    return dg.RunRequest(
        job_name=SCORE_NEW_EVENTS if only_events else SCORE_EVERYTHING,
        run_key=version,
        tags={"pls/landing_version": version},
    )


def _landed(landing: Path) -> dict[str, os.stat_result]:
    """The files that loading would read, by name; one that goes meanwhile is not there."""
    found = {}
    for path in readable_files(landing):
        with suppress(OSError):
            found[path.relative_to(landing).as_posix()] = path.stat()
    return found


def _version(files: Mapping[str, os.stat_result]) -> str:
    events, others = hashlib.sha256(), hashlib.sha256()
    for name, stat in sorted(files.items()):
        digest = events if name.startswith("events/") else others
        digest.update(os.fsencode(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"))
    return f"{events.hexdigest()[:24]}-{others.hexdigest()[:24]}"


def automations(*, automate: bool) -> tuple[list[dg.ScheduleDefinition], list[dg.SensorDefinition]]:
    """The schedule and the sensor.

    Args:
        automate: Whether they run from the start. Both reach sellers and the CRM, so that somebody has to want it.
    """

    @dg.sensor(
        name="landing_files",
        jobs=[score_everything, score_new_events],
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING if automate else dg.DefaultSensorStatus.STOPPED,
        description="Starts score_new_events when product events have landed and are complete, score_everything when "
        "it is more than that.",
    )
    def landing_files(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        settings = environment_settings()
        request = landing_request(
            settings.landing,
            now=datetime.now(UTC).replace(tzinfo=None),
            settle_seconds=read_playbook(settings.playbook_dir).sources.settle_seconds,
            cursor=context.cursor,
        )
        if isinstance(request, dg.RunRequest):
            context.update_cursor(request.run_key)
        return request

    daily = dg.ScheduleDefinition(
        name="daily_refresh",
        job=score_everything,
        cron_schedule="5 0 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if automate else dg.DefaultScheduleStatus.STOPPED,
        description="Five minutes into each UTC day: the windows have slid, with or without new events.",
    )
    return [daily], [landing_files]
