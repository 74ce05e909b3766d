"""What several files of tests start from: a small demo company, scored for all processes together; an alert to send.

The pipeline is imported where it is used: most tests need none of it, and importing it takes seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import settings
from installation import END, FIRST_SCORED, Installation

if TYPE_CHECKING:
    from clients.slack_server import SlackServer

    from dagster_project.ledger import Ledger

# Fits of a few columns are over before threads have found their work, and those that wait for more keep a processor
# busy: half of what calibration takes. Read when numpy is imported, here and in processes that tests start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The same examples everywhere, and as long as they take: a busy machine is no failure.
settings.register_profile("pls", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("pls")

LONGEST = (
    "test_deltas.py", "test_sync_kills.py", "test_crm_pipeline.py", "test_crm_deltas.py", "test_pipeline.py",
    "test_handoffs.py", "test_dbt_crm_deltas.py",
    "test_crm_beside.py",
    "test_dbt_deltas.py", "test_stories.py", "test_node_statements.py", "test_extraction.py", "test_event_rows.py",
    "test_dbt_increments.py", "test_event_bulk.py", "test_cli.py", "test_past_features.py", "test_calibration.py",
    "test_calibration_tiers.py", "test_challengers.py", "test_delivery_kills.py", "test_demo_truth.py",
)  # fmt: skip
"""The files that take longest, longest first: begun last, one of them would keep one process busy alone at the end."""


@pytest.fixture(autouse=True)
def nobody_is_connected_yet() -> None:
    """Runs of one process share what they are connected to; each test has servers of its own."""
    resources = sys.modules.get("dagster_project.defs.resources")
    if resources is not None:
        resources.Workplace.connect_anew()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run `LONGEST` first."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


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


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    """Slack, on this machine."""
    from clients.slack_server import slack_server

    with slack_server() as server:
        yield server


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger in which one handoff waits to be sent."""
    from ledger_files import empty_ledger
    from ledger_rows import handoff, plan

    from dagster_project.ledger import Ledger

    with Ledger(empty_ledger(tmp_path / "ledger.sqlite")) as opened:
        opened.apply_handoff_plan(plan(handoff()))
        yield opened
