"""One run of the whole graph in this process, recorded on the persistent instance so that the UI shows it."""

import gc
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.events import JobFailureData
from dagster._core.instance.ref import InstanceRef  # the only way to give absolute paths from any folder
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from dagster_shared.error import SerializableErrorInfo
from rich.console import Console

from dagster_project.clock import utc_now
from dagster_project.core.handoff_plan import BY_PRIORITY
from dagster_project.core.letters import STOP
from dagster_project.daily import everything_at
from dagster_project.defs.resources import Workplace
from dagster_project.errors import is_of_a_store
from dagster_project.landing.reports import QUARANTINED
from dagster_project.old_runs import PORTION, delete_old_runs
from dagster_project.progress import step_logger
from dagster_project.refresh import NEEDS_EVERYTHING, SCORE_EVERYTHING
from dagster_project.settings import PROJECT_ROOT, Settings, environment_settings
from dagster_project.warm_instance import warm
from dagster_project.watch import Batch, BatchOutcome

_WRITTEN_FOR_PEOPLE = re.compile(r"(?:dagster_project\.[\w.]+|dagster\.[\w.]+\.Failure): ")
"""How errors begin whose text says it all; the class of any other tells something."""
TIDY_SECONDS = 3600.0
"""After which it is looked again for runs that have become old."""
_CHECKED = dg.DagsterEventType.ASSET_CHECK_EVALUATION


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run.

    Attributes:
        success: Whether every step succeeded.
        cause: The failing step's own words; empty on success.
        settings: What the run worked on.
        started_at: When it began, naive UTC.
        decided: What it decided about handoffs: decision, priority, candidates; the most frequent first.
    """

    success: bool
    cause: str
    settings: Settings
    started_at: datetime
    decided: Sequence[tuple[str, str, int]] = ()


def persistent_instance(home: Path) -> dg.DagsterInstance:
    """The instance that the UI shows, its event log kept open until it is disposed of.

    Args:
        home: Its folder. The checkout's own instance has its storage found from any working directory.
    """
    overrides = _storage_of_the_checkout() if home == PROJECT_ROOT else None
    ref = InstanceRef.from_dir(str(home), overrides=overrides)
    return dg.DagsterInstance.from_ref(warm(ref))


def _storage_of_the_checkout() -> dict[str, Any]:
    folder = PROJECT_ROOT / ".dagster"
    local = {"module": "dagster._core.storage.root", "class": "LocalArtifactStorage"}
    logs = {
        "module": "dagster._core.storage.local_compute_log_manager",
        "class": "LocalComputeLogManager",
        "config": {"base_dir": str(folder / "compute_logs")},
    }
    return {
        "storage": {"sqlite": {"base_dir": str(folder / "storage")}},
        "local_artifact_storage": {**local, "config": {"base_dir": str(folder)}},
        "compute_logs": logs,
    }


def run_pipeline(console: Console, home: Path, *, yes: bool = False) -> RunOutcome:
    """Materialize every asset once and print a line per step.

    Args:
        console: Where the lines go.
        home: The folder of the Dagster instance that records the run.
        yes: Whether it may change more records of the CRM than crm_fields.yml allows.
    """
    from dagster_project.definitions import build_definitions

    settings = environment_settings()
    started_at = utc_now()
    definitions = build_definitions(loggers={"progress": step_logger(console)})
    job = definitions.resolve_job_def(SCORE_EVERYTHING)
    with persistent_instance(home) as instance:
        result = job.execute_in_process(
            instance=instance,
            run_config={"loggers": {"progress": {}}},
            resources={"workplace": Workplace(yes=yes)},
            raise_on_error=False,
        )
    return RunOutcome(
        success=result.success,
        cause=_cause(result.all_events),
        settings=settings,
        started_at=started_at,
        decided=_decided(result.all_events),
    )


def run_backfill(console: Console, home: Path, *, first: date | None, last: date | None) -> RunOutcome:
    """Score the days that are over and were not scored from what is loaded now; publish them.

    Args:
        console: Where the lines go.
        home: The folder of the Dagster instance that records the run.
        first: The first day, None for that of the first event.
        last: The last day, None for the last that is over.

    Raises:
        PastDaysError: There are no such days.
        WarehouseError: Somebody else has had the data folder for too long.
    """
    from dagster_project.definitions import build_definitions
    from dagster_project.defs.past import ONLY_MISSING, SCORE_PAST_DAYS, partitions_of

    workplace = Workplace()
    # The run takes a turn of its own after this one.
    with workplace.locked(), workplace.connect() as connection:
        days = partitions_of(connection, workplace.playbook, first, last)
    started_at = utc_now()
    job = build_definitions(loggers={"progress": step_logger(console)}).resolve_job_def(SCORE_PAST_DAYS)
    with persistent_instance(home) as instance:
        result = job.execute_in_process(
            instance=instance,
            run_config={"loggers": {"progress": {}}},
            resources={"workplace": workplace},
            tags={
                ASSET_PARTITION_RANGE_START_TAG: str(days[0]),
                ASSET_PARTITION_RANGE_END_TAG: str(days[1]),
                ONLY_MISSING: "yes",
            },
            raise_on_error=False,
        )
    return RunOutcome(
        success=result.success, cause=_cause(result.all_events), settings=workplace.settings, started_at=started_at
    )


class BatchRunner:
    """Runs jobs again and again in this process, on one instance: what a fresh process spends on imports is spent once.

    Args:
        home: The folder of the Dagster instance that records the runs.
    """

    def __init__(self, home: Path) -> None:
        from dagster_project.definitions import build_definitions

        self._definitions = build_definitions()
        self._instance = persistent_instance(home)
        self._is_warm = False
        self._tidy_at = 0.0

    def tidy(self) -> None:
        """Delete some of the runs that are old enough; all of those that are, when it is called again and again."""
        from dagster_project.defs.new_events import SCORE_NEW_EVENTS

        if time.monotonic() < self._tidy_at:
            return
        days = Workplace().settings.keep_runs_days
        try:
            deleted = delete_old_runs(self._instance, SCORE_NEW_EVENTS, days=days, now=utc_now())
        except Exception as error:
            if not isinstance(error, OSError) and not is_of_a_store(error):
                raise
            deleted = 0  # a batch will tell of it
        if deleted < PORTION:
            self._tidy_at = time.monotonic() + TIDY_SECONDS

    def run(self, batch: Batch) -> BatchOutcome:
        """Score what files and CRM touch; everything, when a delta won't do or has nothing to stand on.

        Where Dagster can't write down the run, as on a full disk, the batch has failed like any other.
        """
        try:
            return self._run(batch)
        except Exception as error:
            if not isinstance(error, OSError) and not is_of_a_store(error):
                raise
            return BatchOutcome(f"Dagster's storage can't be used: {str(error).splitlines()[0]}")

    def _run(self, batch: Batch) -> BatchOutcome:
        from dagster_project.defs.new_events import SCORE_NEW_EVENTS

        if not batch.may_be_delta or not Workplace().settings.serving.exists():
            return self._execute(SCORE_EVERYTHING, batch)
        outcome = self._execute(SCORE_NEW_EVENTS, batch)
        # Newer models than those that the tables were made by: the job has said so and done nothing.
        return self._execute(SCORE_EVERYTHING, batch) if NEEDS_EVERYTHING in outcome.cause else outcome

    def _execute(self, name: str, batch: Batch) -> BatchOutcome:
        complete = sorted(file.version for file in batch.complete)
        workplace = Workplace(complete_files=complete, read_beside=dict(batch.fetched))
        result = self._definitions.resolve_job_def(name).execute_in_process(
            instance=self._instance,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            resources={"workplace": workplace},
            tags={"pls/watch": str(batch)},
            raise_on_error=False,
        )
        checks = [event.asset_check_evaluation_data for event in result.all_events if event.event_type == _CHECKED]
        outcome = BatchOutcome(
            _cause(result.all_events),
            tuple(check.check_name for check in checks if not check.passed),
            left=_not_arrived(workplace),
            quarantined=_quarantined(result.all_events),
        )
        if not self._is_warm:
            keep_for_good()
            self._is_warm = True
        return outcome


def _not_arrived(workplace: Workplace) -> int:
    """How many requests to other systems the next run tries again; 0 if the ledger can't say."""
    from dagster_project.defs.reminders import NUDGES

    try:
        with workplace.ledger() as ledger:
            # Of nudges the job of reminders takes care. Who said no may have taken it back: the next run asks anew.
            return ledger.to_be_tried_again(but=(*NUDGES, STOP))
    except Exception:  # whatever it is, a run will say so
        return 0


def _quarantined(events: Iterable[dg.DagsterEvent]) -> int:
    """How many rows the run has put into quarantine."""
    told = [event.materialization.metadata for event in events if event.is_step_materialization]
    counts: list[Any] = [metadata[QUARANTINED].value for metadata in told if QUARANTINED in metadata]
    return sum(counts)


def everything_on(workplace: Workplace) -> date | None:
    """The UTC day on which everything was last run; None for never, or if the ledger can't say."""
    try:
        with workplace.ledger() as ledger:
            said = ledger.get_meta(everything_at(workplace.settings.data_dir))
        return datetime.fromisoformat(said).date() if said else None
    except Exception:  # whatever it is, a run will say so
        return None


def keep_for_good() -> None:
    """What there is now is no garbage: to look whether it is takes a fifth of a second, in every other batch."""
    gc.collect()
    gc.freeze()


def _decided(events: Iterable[dg.DagsterEvent]) -> list[tuple[str, str, int]]:
    """What the run itself has decided: another one may have been about the same moment."""
    told = [event.materialization.metadata for event in events if event.is_step_materialization]
    counts: list[Any] = [metadata[BY_PRIORITY].value for metadata in told if BY_PRIORITY in metadata]
    return [(decision, priority, count) for rows in counts for decision, priority, count in rows]


def _cause(events: Iterable[dg.DagsterEvent]) -> str:
    """The first failing step's own words, or the run's when it never came to a step; empty when all went well."""
    failures = sorted((event for event in events if event.is_failure), key=lambda event: not event.is_step_failure)
    return _words(failures[0]) if failures else ""


def _words(event: dg.DagsterEvent) -> str:
    if not event.is_step_failure:
        data = event.event_specific_data
        return _said(data.error if isinstance(data, JobFailureData) else None)
    failure = event.step_failure_data
    told = (failure.user_failure_data and failure.user_failure_data.description) or _said(failure.error)
    # The one step of a delta names what failed in it.
    return told if event.step_key == "new_events" else f"{event.step_key}: {told}"


def _said(error: SerializableErrorInfo | None) -> str:
    """What the cause of an error says; the error itself is Dagster's wrapping."""
    if error is None:
        return "the run failed; `make dev` shows its events"
    text = (error.cause or error).message.strip()
    return _WRITTEN_FOR_PEOPLE.sub("", text, count=1) if _WRITTEN_FOR_PEOPLE.match(text) else text
