"""`crm/fields` alone, with the plan of an earlier run: what is confirmed by now is not sent again."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from ledger_rows import NOW
from test_activation import FakeCrm, PowerCut, deliveries, planned, scores, sync, target

from dagster_project.activation import SendRules, SyncResult, send_plan
from dagster_project.defs.kept_plan import still_to_write
from dagster_project.ledger import Ledger


def resume(ledger: Ledger, crm: FakeCrm, plan: pl.DataFrame) -> SyncResult:
    left = still_to_write(ledger, crm.name, "contact", [plan], target=target())
    return send_plan(ledger, crm, "contact", left, rules=SendRules(), now=NOW + timedelta(hours=1))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as opened:
        yield opened


def test_a_plan_that_was_carried_out_is_not_carried_out_again(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    desired = {name: {"pql_score": 81.0, "pls_scored_at": "2026-06-30"} for name in ("c_1", "c_2")}
    plan = planned(ledger, crm, desired)
    sync(ledger, crm, desired)
    sync(ledger, crm, {name: {**said, "pls_scored_at": "2026-07-01"} for name, said in desired.items()})
    crm.records["c_1"]["pql_score"] = "changed by a person"
    assert resume(ledger, crm, plan) == SyncResult()
    assert crm.records["c_1"]["pql_score"] == "changed by a person"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_was_killed_in_the_middle_still_sends_the_rest(ledger: Ledger, moment: str) -> None:
    crm = FakeCrm("c_1", "c_2", "c_3", max_batch=1)
    plan = planned(ledger, crm, scores(c_1=81.0, c_2=82.0, c_3=83.0))
    crm.ends = ["", moment]
    with pytest.raises(PowerCut):
        send_plan(ledger, crm, "contact", [plan], rules=SendRules(), now=NOW)
    crm.calls.clear()
    assert resume(ledger, crm, plan).written == 2
    assert crm.calls == [["c_2"], ["c_3"]]
    assert deliveries(ledger) == [("c_1", "confirmed", 1), ("c_2", "confirmed", 2), ("c_3", "confirmed", 1)]


def test_what_is_confirmed_in_part_or_otherwise_is_sent(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    plan = planned(ledger, crm, {name: {"pql_score": 81.0, "usage_tier": "high"} for name in ("c_1", "c_2")})
    sync(ledger, crm, {"c_1": {"pql_score": 81.0}, "c_2": {"pql_score": 81.0, "usage_tier": "low"}})
    assert resume(ledger, crm, plan).written == 2
    assert crm.records["c_2"] == {"pql_score": 81.0, "tier": "high"}
