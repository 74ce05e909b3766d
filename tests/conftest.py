"""Shared by the tests that need a whole run: a small demo company, scored for all test processes together.

The pipeline is imported where it is used: most tests need none of it, and importing it takes seconds.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock

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

    def run(self, *, as_of: datetime = END, **variables: str) -> dg.ExecuteInProcessResult:
        """Run the whole graph in this process on a throw-away instance.

        Args:
            as_of: The moment to score.
            variables: More PLS_* variables.
        """
        from dagster_project.definitions import SCORE_EVERYTHING, build_definitions
        from dagster_project.defs.resources import Workplace

        places = {"PLS_DATA_DIR": str(self.data_dir), "PLS_LEDGER_URL": f"sqlite:///{self.data_dir / 'ledger.sqlite'}"}
        workplace = Workplace(overrides={**places, "PLS_AS_OF": as_of.isoformat(), **variables})
        definitions = build_definitions(workplace=workplace)
        job = definitions.resolve_job_def(SCORE_EVERYTHING)
        with dg.DagsterInstance.ephemeral() as instance:
            return job.execute_in_process(
                instance=instance, run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
            )


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Installation:
    """A demo company of 400 users, scored at `FIRST_SCORED` and again at `END`; read it, don't change it."""
    from dagster_project.demo.company import write_demo_company

    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    data_dir = shared / "demo-company"
    installation = Installation(data_dir)
    scored = shared / "demo-company.scored"
    with FileLock(shared / "demo-company.lock"):
        if not scored.exists():
            write_demo_company(installation.landing, 7, users=400, accounts=60, days=90, end=END)
            installation.run(as_of=FIRST_SCORED)
            installation.run()
            scored.touch()
    return installation
