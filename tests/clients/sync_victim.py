"""A process that syncs and is killed: reads jobs, runs each in a fork of itself, says how it ended.

The fork is killed with SIGKILL at the n-th point that the engine passes. Nothing here starts a thread before forking.
"""

import gc
import json
import os
import signal
import sys
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import polars as pl

from dagster_project.actions import action_request, carry_out
from dagster_project.activation import SendRules, send_plan
from dagster_project.clients.connectors import CONNECTORS, LOCAL
from dagster_project.clients.crm import CrmClient
from dagster_project.clients.http import Clock
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.actions import Action
from dagster_project.core.crm_field_rules import CrmFieldRules
from dagster_project.core.crm_source_rules import CrmSourceRules
from dagster_project.field_plans import plan_fields
from dagster_project.ledger import Ledger

BEGIN = datetime(2026, 5, 2, 10, 0)
BATCH = 4
RULES = CrmFieldRules(
    top_signals=1,
    account_tiers=("C", "B", "A"),
    contact={"pql_score": "pql_score", "pql_classification": "pql_classification"},
    account={"account_tier": "account_tier"},
)
KINDS = {"object_id": pl.String(), "pql_score": pl.Float64(), "pql_classification": pl.String()}


class Impatient(Clock):
    """The time, without waiting."""

    def sleep(self, seconds: float) -> None:
        """Go on at once."""


def opened(job: dict[str, Any]) -> CrmClient:
    """The CRM of a job, with small batches so that there are many points."""
    if job["crm"] == LOCAL:
        crm: Any = LocalCrm(Path(job["folder"]) / "crm.sqlite")
    else:
        connect = import_module(CONNECTORS[job["crm"]]).connect
        crm = connect(job["variables"], CrmSourceRules(**job["rules"]), clock=Impatient())
    crm.max_batch = BATCH
    crm.bulk_from = job["bulk_from"]
    return cast(CrmClient, crm)


def work(job: dict[str, Any]) -> None:
    """Run after run: bring the fields up to date, then carry out the actions, decided on before."""
    passed = 0
    (Path(job["folder"]) / "pid").write_text(str(os.getpid()))  # who is on the other side may kill as well

    def at(point: str) -> None:
        nonlocal passed
        passed += 1
        if passed == job["kill_at"]:
            (Path(job["folder"]) / "points").open("a").write(point + "\n")
            os.kill(os.getpid(), signal.SIGKILL)

    crm = opened(job)
    for run in job["runs"]:
        now = BEGIN + timedelta(minutes=run["number"])
        desired = pl.DataFrame(run["desired"], schema=KINDS, orient="row")
        with Ledger(f"sqlite:///{job['folder']}/ledger.sqlite") as ledger:
            ledger.request([action_request(crm.name, Action(**action)) for action in run["actions"]], now)
            plan = plan_fields(ledger, crm, "contact", desired, target=RULES.targets()["contact"])
            sent = send_plan(ledger, crm, "contact", plan, rules=SendRules(2, 3), now=now, at=at)
            done = carry_out(ledger, crm, [], rules=RULES, now=now, at=at)
        trouble = [sent.cause, sent.refused, sent.mismatched, done.refused, done.failed]
        if any(trouble):
            raise RuntimeError(str(trouble))


def prepare() -> None:
    """Do once what every fork would do anew. No frame is touched: Polars' threads would be missing in the forks."""
    for module in CONNECTORS.values():
        import_module(module)
    with TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.sqlite"):
        pass  # which revisions there are is known from now on
    gc.freeze()  # a collection would write to, and thereby copy, all that the forks share


def main() -> None:
    """One line in, one line out: the status that the fork ended with."""
    prepare()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                work(json.loads(line))
            except BaseException as error:
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
