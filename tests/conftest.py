"""Shared by the tests that need a whole run: a small demo company, scored once for all test processes.

The pipeline is imported where it is used: most tests need none of it, and importing it takes seconds.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from dagster_project.defs.resources import Workplace

END = datetime(2026, 6, 30, 18, 0, 0)


@dataclass(frozen=True)
class Installation:
    """A data folder with a pipeline over it.

    Attributes:
        data_dir: The data folder.
        as_of: The moment to score, ISO 8601.
    """

    data_dir: Path
    as_of: str

    @property
    def serving(self) -> Path:
        return self.data_dir / "serving.duckdb"

    @property
    def warehouse(self) -> Path:
        return self.data_dir / "warehouse.duckdb"

    @property
    def workplace(self) -> "Workplace":
        from dagster_project.defs.resources import Workplace

        return Workplace(overrides={"PLS_DATA_DIR": str(self.data_dir), "PLS_AS_OF": self.as_of})

    def run(self, *, as_of: str | None = None) -> dg.ExecuteInProcessResult:
        """Run the whole graph in this process on a throw-away instance."""
        from dagster_project.definitions import SCORE_EVERYTHING, build_definitions
        from dagster_project.defs.resources import Workplace

        workplace = Workplace(overrides={"PLS_DATA_DIR": str(self.data_dir), "PLS_AS_OF": as_of or self.as_of})
        definitions = build_definitions(workplace=workplace)
        job = definitions.resolve_job_def(SCORE_EVERYTHING)
        with dg.DagsterInstance.ephemeral() as instance:
            return job.execute_in_process(
                instance=instance, run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
            )


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Installation:
    """A demo company of 400 users, scored once; read it, don't change it."""
    from dagster_project.demo.company import write_demo_company

    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    data_dir = shared / "demo-company"
    installation = Installation(data_dir, END.isoformat())
    with FileLock(shared / "demo-company.lock"):
        if not (data_dir / "serving.duckdb").exists():
            write_demo_company(data_dir / "landing", 7, users=400, accounts=60, days=90, end=END)
            installation.run()
    return installation
