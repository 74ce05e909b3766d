"""An installation to run in a test: a data folder with the pipeline over it.

The pipeline is imported where it is used: most tests need none of it, and importing it takes seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg

END = datetime(2026, 6, 30, 18, 0, 0)
FIRST_SCORED = datetime(2026, 6, 25, 18, 0, 0)


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
        **variables: str,
    ) -> dg.ExecuteInProcessResult:
        """Run a job, by default the whole graph, in this process on a throw-away instance.

        Args:
            job: Its name.
            as_of: The moment to score.
            now: What the clock says, by default the time; on the day of `as_of` moments of that day differ.
            only: The scores to materialize, by default all assets of the job.
            raise_on_error: Whether a failing step is the caller's error.
            tags: Of the run.
            variables: More PLS_* variables.
        """
        from dagster_project.definitions import build_definitions
        from dagster_project.defs.resources import Workplace

        places = {"PLS_DATA_DIR": str(self.data_dir), "PLS_LEDGER_URL": f"sqlite:///{self.data_dir / 'ledger.sqlite'}"}

        class Clocked(Workplace):
            def now(self) -> datetime:
                return now or super().now()

        workplace = Clocked(overrides={**places, "PLS_AS_OF": as_of.isoformat(), **variables})
        definition = build_definitions(workplace=workplace).resolve_job_def(job)
        with dg.DagsterInstance.ephemeral() as instance:
            return definition.execute_in_process(
                instance=instance,
                tags=dict(tags or {}),
                raise_on_error=raise_on_error,
                asset_selection=None if only is None else [dg.AssetKey(["scores", table]) for table in only],
                run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            )
