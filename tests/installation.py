"""An installation to run in a test: a data folder with the pipeline over it.

The pipeline is imported where it is used: most tests need none of it, and importing it takes seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.event_api import EventRecordsResult
from dagster._core.instance.types import InstanceType
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.run_coordinator import DefaultRunCoordinator
from dagster._core.storage.event_log import InMemoryEventLogStorage
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.root import TemporaryLocalArtifactStorage
from dagster._core.storage.runs import InMemoryRunStorage

if TYPE_CHECKING:
    from dagster._core.events.log import EventLogEntry
    from dagster._core.storage.event_log.base import AssetRecord

    from dagster_project.clients.crm import CrmClient

END = datetime(2026, 6, 30, 18, 0, 0)
FIRST_SCORED = datetime(2026, 6, 25, 18, 0, 0)


class Forgetful(InMemoryEventLogStorage):
    """An event log that keeps nothing: results hold the events as well, and keeping them takes as long as the work."""

    def store_event(self, event: "EventLogEntry") -> None:
        """Nothing."""

    def get_asset_records(self, asset_keys: Sequence[dg.AssetKey] | None = None) -> Sequence["AssetRecord"]:
        """None."""
        return []

    def fetch_observations(self, *_: object, **__: object) -> EventRecordsResult:
        """None."""
        return EventRecordsResult([], cursor="", has_more=False)


def forgetful_instance() -> dg.DagsterInstance:
    """A throw-away instance, as Dagster makes it but for the event log."""
    return dg.DagsterInstance(
        instance_type=InstanceType.EPHEMERAL,
        local_artifact_storage=TemporaryLocalArtifactStorage(),
        run_storage=InMemoryRunStorage(),
        event_storage=Forgetful(),
        compute_log_manager=NoOpComputeLogManager(),
        run_coordinator=DefaultRunCoordinator(),
        run_launcher=SyncInMemoryRunLauncher(),
    )


def _asset(name: str) -> dg.AssetKey:
    return dg.AssetKey(name.split("/") if "/" in name else ["scores", name])


@dataclass(frozen=True)
class Installation:
    """A data folder with a pipeline over it.

    Attributes:
        data_dir: The data folder.
    """

    data_dir: Path

    @property
    def landing(self) -> Path:
        return self.data_dir / "landing"

    @property
    def serving(self) -> Path:
        return self.data_dir / "serving.duckdb"

    @property
    def warehouse(self) -> Path:
        return self.data_dir / "warehouse.duckdb"

    def run(
        self,
        job: str = "score_everything",
        *,
        as_of: datetime = END,
        now: datetime | None = None,
        raise_on_error: bool = True,
        only: Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
        crm: "CrmClient | None" = None,
        scores_first_from: int = 1,
        **variables: str,
    ) -> dg.ExecuteInProcessResult:
        """Run a job, by default the whole graph, in this process on a throw-away instance.

        Args:
            job: Its name.
            as_of: The moment to score.
            now: What the clock says, by default the time; on the day of `as_of` moments of that day differ.
            only: The assets to materialize, such as `crm/fields`, and scores by the name of their table alone; by
                default all of the job.
            raise_on_error: Whether a failing step is the caller's error.
            tags: Of the run.
            crm: Instead of the connected one.
            scores_first_from: How many users make a delta publish scores before anything is decided; no test has as
                many as that takes by default.
            variables: More PLS_* variables.
        """
        from dagster_project.definitions import build_definitions
        from dagster_project.defs.resources import Workplace

        places = {"PLS_DATA_DIR": str(self.data_dir), "PLS_LEDGER_URL": f"sqlite:///{self.data_dir / 'ledger.sqlite'}"}

        class Clocked(Workplace):
            def now(self) -> datetime:
                return now or super().now()

            def crm(self) -> "CrmClient":
                return crm or super().crm()

        overrides = {**places, "PLS_AS_OF": as_of.isoformat(), **variables}
        workplace = Clocked(overrides=overrides, scores_first_from=scores_first_from)
        definition = build_definitions(workplace=workplace).resolve_job_def(job)
        with forgetful_instance() as instance:
            return definition.execute_in_process(
                instance=instance,
                tags=dict(tags or {}),
                raise_on_error=raise_on_error,
                asset_selection=None if only is None else [_asset(name) for name in only],
                run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            )
