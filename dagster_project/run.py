"""One run of the whole graph in this process, recorded on the persistent instance so that the UI shows it."""

from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster._core.instance.ref import InstanceRef  # the only way to give absolute paths from any folder
from rich.console import Console

from dagster_project.defs.resources import Workplace, environment_settings
from dagster_project.progress import step_logger
from dagster_project.settings import PROJECT_ROOT, Settings

INSTANCE_FOLDER = PROJECT_ROOT / ".dagster"


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run.

    Attributes:
        success: Whether every step succeeded.
        cause: The failing step's own words; empty on success.
        settings: What the run worked on.
        started_at: When it began, naive UTC.
    """

    success: bool
    cause: str
    settings: Settings
    started_at: datetime


def persistent_instance() -> dg.DagsterInstance:
    """The checkout's instance, with its storage found from any working directory."""
    storage = str(INSTANCE_FOLDER / "storage")
    local = {"module": "dagster._core.storage.root", "class": "LocalArtifactStorage"}
    logs = {
        "module": "dagster._core.storage.local_compute_log_manager",
        "class": "LocalComputeLogManager",
        "config": {"base_dir": str(INSTANCE_FOLDER / "compute_logs")},
    }
    overrides = {
        "storage": {"sqlite": {"base_dir": storage}},
        "local_artifact_storage": {**local, "config": {"base_dir": str(INSTANCE_FOLDER)}},
        "compute_logs": logs,
    }
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(PROJECT_ROOT), overrides=overrides))


def run_pipeline(console: Console) -> RunOutcome:
    """Materialize every asset once and print a line per step.

    Args:
        console: Where the lines go.
    """
    from dagster_project.definitions import SCORE_EVERYTHING, build_definitions

    settings = environment_settings()
    started_at = datetime.now(UTC).replace(tzinfo=None)
    definitions = build_definitions(loggers={"progress": step_logger(console)})
    job = definitions.resolve_job_def(SCORE_EVERYTHING)
    with persistent_instance() as instance:
        result = job.execute_in_process(
            instance=instance,
            run_config={"loggers": {"progress": {}}},
            resources={"workplace": Workplace()},
            raise_on_error=False,
        )
    return RunOutcome(success=result.success, cause=_cause(result), settings=settings, started_at=started_at)


def _cause(result: dg.ExecuteInProcessResult) -> str:
    failures = [e for e in result.all_events if e.event_type_value in ("STEP_FAILURE", "RUN_FAILURE")]
    if result.success or not failures:
        return ""
    return "\n".join(_words(event) for event in failures[:1])


def _words(event: dg.DagsterEvent) -> str:
    if event.is_step_failure:
        data = event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            return f"{event.step_key}: {data.user_failure_data.description}"
        error = data.error.cause or data.error if data.error else None
        return f"{event.step_key}: {error.message.strip() if error else 'failed'}"
    return event.message or "the run failed"
