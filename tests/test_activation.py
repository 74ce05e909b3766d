"""Fields into the CRM: intent first, only what differs, every record with its own end."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_rows import LATER, NOW

from dagster_project.activation import SyncResult, sync_fields
from dagster_project.clients.crm import CrmUnavailable, Receipt
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.sync import FieldUpdate
from dagster_project.ledger import Ledger

NAMES = {"pql_score": "pql_score", "usage_tier": "tier", "pls_motion": None, "pls_scored_at": "pls_scored_at"}


class PowerCut(BaseException):
    """The process ends here."""


class FakeCrm:
    """A CRM in memory.

    Attributes:
        records: What it holds, by id; it knows no others.
        refusals: What it says instead of taking a record, by id.
        is_down: It can't be reached.
        dies: When the process ends during a call: `before` the CRM wrote anything or `after`.
        silent_about: Ids that it answers nothing about.
        calls: The ids of each call.
    """

    name = "crm:fake"

    def __init__(self, *ids: str, max_batch: int = 10) -> None:
        self.max_batch = max_batch
        self.records: dict[str, dict[str, Any]] = {object_id: {} for object_id in ids}
        self.refusals: dict[str, Receipt] = {}
        self.is_down = False
        self.dies: str | None = None
        self.silent_about: set[str] = set()
        self.calls: list[list[str]] = []

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        self.calls.append([update.object_id for update in updates])
        if self.is_down:
            raise CrmUnavailable("503 at crm.example")
        if self.dies == "before":
            raise PowerCut
        receipts = [self._take(update) for update in reversed(updates)]
        if self.dies == "after":
            raise PowerCut
        return [receipt for receipt in receipts if receipt.object_id not in self.silent_about]

    def _take(self, update: FieldUpdate) -> Receipt:
        if update.object_id not in self.records:
            return Receipt(update.object_id, "not found")
        if refusal := self.refusals.get(update.object_id):
            return refusal
        self.records[update.object_id] |= update.fields
        return Receipt(update.object_id)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as opened:
        yield opened


def sync(
    ledger: Ledger, crm: FakeCrm | LocalCrm, desired: Mapping[str, Mapping[str, Any]], hours: float = 0
) -> SyncResult:
    now = NOW + timedelta(hours=hours)
    return sync_fields(ledger, crm, "contact", desired=desired, names=NAMES, now=now)


def deliveries(ledger: Ledger) -> list[tuple[str, str, int]]:
    rows = ledger.read_frame("deliveries").sort("requested_at", "object_id")
    return list(rows.select("object_id", "status", "attempts").iter_rows())


def scores(**by_id: float) -> dict[str, dict[str, Any]]:
    return {object_id: {"pql_score": score} for object_id, score in by_id.items()}


def test_only_owned_fields_are_written_and_theirs_are_left_alone(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    crm.records["c_1"] = {"email": "ann@acme.com", "tier": None}
    result = sync(ledger, crm, {"c_1": {"pql_score": 81.0, "usage_tier": "high", "pls_motion": "sales"}})
    assert result == SyncResult(written=1, unchanged=0, refused={}, failed=0, cause=None)
    assert crm.records["c_1"] == {"email": "ann@acme.com", "pql_score": 81.0, "tier": "high"}
    assert ledger.confirmed("crm:fake", "contact") == {"c_1": {"pql_score": 81.0, "tier": "high"}}


def test_the_second_run_writes_only_what_changed(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    sync(ledger, crm, scores(c_1=1.0, c_2=2.0))
    crm.records["c_1"]["pql_score"] = "by hand"
    result = sync(ledger, crm, scores(c_1=1.0, c_2=3.0), hours=1)
    assert (result.written, result.unchanged) == (1, 1)
    assert crm.calls == [["c_1", "c_2"], ["c_2"]]
    assert crm.records == {"c_1": {"pql_score": "by hand"}, "c_2": {"pql_score": 3.0}}


def test_an_unknown_value_leaves_the_known_one(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    sync(ledger, crm, {"c_1": {"pql_score": 81.0, "usage_tier": "high"}})
    sync(ledger, crm, {"c_1": {"pql_score": 82.0, "usage_tier": None}}, hours=1)
    assert crm.records["c_1"] == {"pql_score": 82.0, "tier": "high"}
    assert ledger.confirmed("crm:fake", "contact") == {"c_1": {"pql_score": 82.0, "tier": "high"}}


def test_a_later_moment_of_scoring_alone_sends_nothing(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    sync(ledger, crm, {"c_1": {"pql_score": 81.0, "pls_scored_at": "monday"}})
    assert sync(ledger, crm, {"c_1": {"pql_score": 81.0, "pls_scored_at": "tuesday"}}, hours=1).unchanged == 1
    sync(ledger, crm, {"c_1": {"pql_score": 82.0, "pls_scored_at": "wednesday"}}, hours=2)
    assert len(crm.calls) == 2
    assert crm.records["c_1"] == {"pql_score": 82.0, "pls_scored_at": "wednesday"}


VALUES = st.one_of(st.none(), st.integers(0, 2), st.text(max_size=1), st.lists(st.integers(0, 1), max_size=2))
RUNS = st.lists(
    st.dictionaries(
        st.sampled_from(["c_1", "c_2", "not there"]),
        st.dictionaries(st.sampled_from(list(NAMES)), VALUES, max_size=4),
        max_size=3,
    ),
    min_size=1,
    max_size=4,
)
ENDS = st.sampled_from([None, None, "is_down", "before", "after"])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(RUNS, st.lists(ENDS, min_size=4, max_size=4))
def test_whatever_went_wrong_before_a_good_run_ends_it_and_the_next_sends_nothing(
    runs: list[dict[str, dict[str, Any]]], ends: list[str | None]
) -> None:
    crm = FakeCrm("c_1", "c_2", max_batch=1)
    with TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.sqlite") as ledger:
        for hour, (desired, end) in enumerate(zip(runs, ends, strict=False)):
            crm.is_down, crm.dies = end == "is_down", end if end in ("before", "after") else None
            try:
                sync(ledger, crm, desired, hour)
            except PowerCut:
                continue
        crm.is_down, crm.dies = False, None
        assert sync(ledger, crm, runs[-1], hours=5).failed == 0
        calls = len(crm.calls)
        again = sync(ledger, crm, runs[-1], hours=6)
        assert (again.written, again.unchanged, len(crm.calls)) == (0, len(runs[-1]), calls)
    for object_id in crm.records.keys() & runs[-1].keys():
        for ours, theirs in NAMES.items():
            value = runs[-1][object_id].get(ours)
            if theirs and value is not None and ours != "pls_scored_at":
                assert crm.records[object_id][theirs] == value


def test_a_refused_record_is_parked_with_the_reason_and_keeps_no_other_back(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    crm.refusals["c_1"] = Receipt("c_1", "pql_score: not a number")
    result = sync(ledger, crm, scores(c_1=1.0, c_2=2.0))
    assert result == SyncResult(1, 0, {"c_1": "pql_score: not a number"}, 0, None)
    assert deliveries(ledger) == [("c_1", "parked", 1), ("c_2", "confirmed", 1)]
    assert ledger.read_frame("deliveries")["error"].drop_nulls().to_list() == ["pql_score: not a number"]
    assert ledger.confirmed("crm:fake", "contact").keys() == {"c_2"}


def test_a_refused_record_is_tried_again_only_when_its_payload_changes(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    crm.refusals["c_1"] = Receipt("c_1", "no")
    sync(ledger, crm, {"c_1": {"pql_score": 1.0, "pls_scored_at": "monday"}})
    same = sync(ledger, crm, {"c_1": {"pql_score": 1.0, "pls_scored_at": "tuesday"}}, hours=1)
    assert (same.unchanged, same.refused, len(crm.calls)) == (1, {}, 1)
    del crm.refusals["c_1"]
    assert sync(ledger, crm, scores(c_1=2.0), hours=2).written == 1
    assert sync(ledger, crm, scores(c_1=1.0), hours=3).written == 1
    assert crm.records["c_1"]["pql_score"] == 1.0


def test_a_record_that_may_be_taken_later_is_the_same_delivery_in_the_next_run(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    crm.refusals["c_1"] = Receipt("c_1", "the record is locked", is_retryable=True)
    assert sync(ledger, crm, scores(c_1=1.0)).failed == 1
    assert deliveries(ledger) == [("c_1", "failed", 1)]
    del crm.refusals["c_1"]
    assert sync(ledger, crm, scores(c_1=1.0), hours=1).written == 1
    assert deliveries(ledger) == [("c_1", "confirmed", 2)]


def test_a_record_that_the_crm_says_nothing_about_is_not_taken_for_written(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    crm.silent_about = {"c_1"}
    result = sync(ledger, crm, scores(c_1=1.0, c_2=2.0))
    assert (result.written, result.failed, result.cause) == (1, 1, None)
    assert deliveries(ledger) == [("c_1", "failed", 1), ("c_2", "confirmed", 1)]


def test_a_crm_that_is_down_is_asked_once_and_everything_is_for_the_next_run(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2", "c_3", max_batch=2)
    crm.is_down = True
    desired = scores(c_1=1.0, c_2=2.0, c_3=3.0)
    assert sync(ledger, crm, desired) == SyncResult(0, 0, {}, 3, "503 at crm.example")
    assert crm.calls == [["c_1", "c_2"]]
    crm.is_down = False
    assert sync(ledger, crm, desired, hours=1) == SyncResult(3, 0, {}, 0, None)
    assert deliveries(ledger) == [("c_1", "confirmed", 2), ("c_2", "confirmed", 2), ("c_3", "confirmed", 1)]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_after_a_crash_the_same_delivery_is_tried_again(ledger: Ledger, moment: str) -> None:
    crm = FakeCrm("c_1")
    crm.dies = moment
    with pytest.raises(PowerCut):
        sync(ledger, crm, scores(c_1=81.0))
    [left] = ledger.read_frame("deliveries").to_dicts()
    assert (left["status"], left["payload"]) == ("pending", '{"pql_score": 81.0}')
    crm.dies = None
    assert sync(ledger, crm, scores(c_1=81.0), hours=1).written == 1
    [done] = ledger.read_frame("deliveries").to_dicts()
    assert (done["delivery_id"], done["attempts"], done["confirmed_at"]) == (left["delivery_id"], 2, LATER)


def test_what_a_crash_may_have_written_is_taken_back_when_it_is_no_longer_so(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    sync(ledger, crm, {"c_1": {"pql_score": 50.0, "usage_tier": "low"}})
    crm.dies = "after"
    with pytest.raises(PowerCut):
        sync(ledger, crm, {"c_1": {"pql_score": 81.0, "usage_tier": "low"}}, hours=1)
    assert crm.records["c_1"]["pql_score"] == 81.0
    crm.dies = None
    assert sync(ledger, crm, {"c_1": {"pql_score": 50.0, "usage_tier": "low"}}, hours=2).written == 1
    assert crm.records["c_1"] == {"pql_score": 50.0, "tier": "low"}
    assert [status for _, status, _ in deliveries(ledger)] == ["confirmed", "cancelled", "confirmed"]


def test_each_batch_is_settled_before_the_next_is_sent(ledger: Ledger) -> None:
    class Watching(FakeCrm):
        def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
            seen.append([(object_id, status) for object_id, status, _ in deliveries(ledger)])
            return super().update(object_type, updates)

    seen: list[list[tuple[str, str]]] = []
    sync(ledger, Watching("c_1", "c_2", max_batch=1), scores(c_1=1.0, c_2=2.0))
    assert seen == [[("c_1", "pending")], [("c_1", "confirmed"), ("c_2", "pending")]]


def test_contacts_and_accounts_of_one_id_are_confirmed_apart(ledger: Ledger) -> None:
    crm = FakeCrm("1")
    sync(ledger, crm, {"1": {"pql_score": 1.0}})
    result = sync_fields(ledger, crm, "account", desired={"1": {"pql_score": 1.0}}, names=NAMES, now=NOW)
    assert result.written == 1


def test_a_contact_that_the_crm_lacks_is_not_created_and_ours_live_beside_theirs(
    ledger: Ledger, tmp_path: Path
) -> None:
    crm = LocalCrm(tmp_path / "crm.sqlite")
    crm.take_over("contact", {"c_1": {"email": "ann@acme.com"}})
    result = sync(ledger, crm, scores(c_1=81.0, c_2=7.0))
    assert (result.written, result.refused) == (1, {"c_2": "the contact c_2 is not known in the CRM"})
    crm.take_over("contact", {"c_1": {"email": "ann@acme.example"}})
    assert sync(ledger, crm, scores(c_1=81.0, c_2=7.0), hours=1).unchanged == 2
    assert crm.records("contact") == {"c_1": {"email": "ann@acme.example", "pql_score": 81.0}}
