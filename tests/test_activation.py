"""Fields into a CRM: intent first, only what differs, every record with its own end."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_files import empty_ledger
from ledger_rows import LATER, NOW

from dagster_project.activation import SendRules, SyncResult, send_plan
from dagster_project.clients.crm import CrmDenied, CrmRefused, CrmUnavailable, CrmUnknown, Receipt
from dagster_project.core.sync import MADE_AS, FieldUpdate, Policy, Target, counts_of
from dagster_project.field_plans import give_up_gone, plan_fields
from dagster_project.ledger import Ledger

NAMES = {"pql_score": "pql_score", "usage_tier": "tier", "pls_motion": None, "pls_scored_at": "pls_scored_at"}
KINDS = {
    "object_id": pl.String(),
    "pql_score": pl.Float64(),
    "usage_tier": pl.String(),
    "features_used": pl.List(pl.String()),
    "pls_motion": pl.String(),
    "pls_scored_at": pl.String(),
    "create_as": pl.String(),
}


class PowerCut(BaseException):
    """The process ends here."""


class FakeCrm:
    """A CRM in memory.

    Attributes:
        records: What it holds, by id; it knows no others.
        refusals: What it says instead of taking a record, by id.
        poison: Ids for which it refuses a whole batch without naming anybody.
        ends: How the next calls end: `down`, `denied`, `unknown before`, `unknown after` (nobody hears of what was
            written), `before`, `after` (the process ends).
        silent_about: Ids that it answers nothing about.
        loses: Ids whose fields it confirms and forgets, that many times.
        calls: The ids of each call.
        reads: The ids of each call of `read`.
    """

    name = "crm:fake"

    def __init__(self, *ids: str, max_batch: int = 10) -> None:
        self.max_batch = max_batch
        self.records: dict[str, dict[str, Any]] = {object_id: {} for object_id in ids}
        self.refusals: dict[str, Receipt] = {}
        self.poison: set[str] = set()
        self.ends: list[str] = []
        self.silent_about: set[str] = set()
        self.loses: dict[str, int] = {}
        self.calls: list[list[str]] = []
        self.reads: list[list[str]] = []

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        self.calls.append([update.object_id for update in updates])
        end = self.ends.pop(0) if self.ends else ""
        if end == "down":
            raise CrmUnavailable("503 at crm.example")
        if end == "denied":
            raise CrmDenied("the token has expired")
        if end == "unknown before":
            raise CrmUnknown("no answer within 60 s")
        if end == "before":
            raise PowerCut
        if self.poison & {update.object_id for update in updates}:
            raise CrmRefused("400 a value is not allowed")
        receipts = [self._take(update) for update in reversed(updates)]
        if end == "unknown after":
            raise CrmUnknown("no answer within 60 s")
        if end == "after":
            raise PowerCut
        return [receipt for receipt in receipts if receipt.object_id not in self.silent_about]

    def read(self, object_type: str, ids: Sequence[str], names: Collection[str]) -> dict[str, dict[str, Any]]:
        self.reads.append(list(ids))
        return {i: {name: self.records[i].get(name) for name in names} for i in ids if i in self.records}

    def _take(self, update: FieldUpdate) -> Receipt:
        object_id = update.object_id
        if update.create is not None:
            object_id = update.create["email"]
            self.records.setdefault(object_id, {})
        if object_id not in self.records:
            return Receipt(object_id, "not found")
        if refusal := self.refusals.get(object_id):
            return refusal
        if self.loses.get(object_id, 0) > 0:
            self.loses[object_id] -= 1
        else:
            self.records[object_id] |= update.fields
        return Receipt(update.object_id, created_id=object_id if update.create else None)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(empty_ledger(tmp_path / "ledger.sqlite")) as opened:
        yield opened


Desired = Mapping[str, Mapping[str, Any]]


def wanted(desired: Desired) -> pl.DataFrame:
    rows = [{"object_id": object_id, **fields} for object_id, fields in desired.items()]
    return pl.DataFrame(rows, schema=KINDS, orient="row")


def target(**policies: Policy) -> Target:
    orders = {"usage_tier": ("low", "medium", "high")}
    return Target({**NAMES, "features_used": "features"}, policies, orders)


def planned(ledger: Ledger, crm: FakeCrm, desired: Desired, to: Target | None = None, **more: Any) -> pl.DataFrame:
    return pl.concat(list(plan_fields(ledger, crm, "contact", wanted(desired), target=to or target(), **more)))


def sync(
    ledger: Ledger,
    crm: FakeCrm,
    desired: Desired,
    hours: float = 0,
    *,
    rules: SendRules | None = None,
    to: Target | None = None,
    object_type: str = "contact",
    **more: Any,
) -> SyncResult:
    plan = plan_fields(ledger, crm, object_type, wanted(desired), target=to or target(), **more)
    return send_plan(ledger, crm, object_type, plan, rules=rules or SendRules(), now=NOW + timedelta(hours=hours))


def deliveries(ledger: Ledger) -> list[tuple[str, str, int]]:
    rows = ledger.read_frame("deliveries").sort("requested_at", "object_id")
    return list(rows.select("object_id", "status", "attempts").iter_rows())


def scores(**by_id: float) -> dict[str, dict[str, Any]]:
    return {object_id: {"pql_score": score} for object_id, score in by_id.items()}


# --- what is written ------------------------------------------------------------------------------


def test_only_owned_fields_are_written_and_theirs_are_left_alone(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    crm.records["c_1"] = {"email": "ann@acme.com", "tier": None}
    result = sync(ledger, crm, {"c_1": {"pql_score": 81.0, "usage_tier": "high", "pls_motion": "sales"}})
    assert result == SyncResult(written=1, requests=1)
    assert crm.records["c_1"] == {"email": "ann@acme.com", "pql_score": 81.0, "tier": "high"}
    assert ledger.confirmed("crm:fake", "contact") == {"c_1": {"pql_score": 81.0, "tier": "high"}}


def test_the_second_run_writes_only_what_changed(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    sync(ledger, crm, scores(c_1=1.0, c_2=2.0))
    crm.records["c_1"]["pql_score"] = "by hand"
    assert sync(ledger, crm, scores(c_1=1.0, c_2=3.0), hours=1).written == 1
    assert crm.calls == [["c_1", "c_2"], ["c_2"]]
    assert crm.records == {"c_1": {"pql_score": "by hand"}, "c_2": {"pql_score": 3.0}}


def test_what_the_crm_has_lost_is_written_again_when_somebody_asks(ledger: Ledger) -> None:
    crm, desired = FakeCrm("c_1", "c_2"), scores(c_1=1.0, c_2=2.0) | {"new@acme.com": {"pql_score": 3.0}}
    desired["new@acme.com"]["create_as"] = '{"email": "new@acme.com"}'
    sync(ledger, crm, desired)
    held = {object_id: dict(fields) for object_id, fields in crm.records.items()}
    for fields in crm.records.values():
        fields.clear()
    assert counts_of(planned(ledger, crm, desired, rewrite=True)) == {"update": 2, "create": 1}
    assert sync(ledger, crm, desired, hours=1) == SyncResult()
    assert sync(ledger, crm, desired, hours=2, rewrite=True).written == 3
    assert crm.records == held
    assert sync(ledger, crm, desired, hours=3) == SyncResult()


def test_an_unknown_value_leaves_the_known_one(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    sync(ledger, crm, {"c_1": {"pql_score": 81.0, "usage_tier": "high"}})
    sync(ledger, crm, {"c_1": {"pql_score": 82.0, "usage_tier": None}}, hours=1)
    assert crm.records["c_1"] == {"pql_score": 82.0, "tier": "high"}
    assert ledger.confirmed("crm:fake", "contact") == {"c_1": {"pql_score": 82.0, "tier": "high"}}


def test_a_later_moment_of_scoring_alone_sends_nothing(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    sync(ledger, crm, {"c_1": {"pql_score": 81.0, "pls_scored_at": "monday"}})
    sync(ledger, crm, {"c_1": {"pql_score": 81.0, "pls_scored_at": "tuesday"}}, hours=1)
    sync(ledger, crm, {"c_1": {"pql_score": 82.0, "pls_scored_at": "wednesday"}}, hours=2)
    assert len(crm.calls) == 2
    assert crm.records["c_1"] == {"pql_score": 82.0, "pls_scored_at": "wednesday"}


@pytest.mark.parametrize("changed", [0, 1, 10, 25])
def test_there_are_as_many_requests_as_the_changed_records_need(ledger: Ledger, changed: int) -> None:
    ids = [f"c_{number:02}" for number in range(30)]
    crm = FakeCrm(*ids)
    before = dict.fromkeys(ids, 1.0)
    sync(ledger, crm, scores(**before))
    crm.calls.clear()
    sync(ledger, crm, scores(**before | dict.fromkeys(ids[:changed], 2.0)), hours=1)
    assert len(crm.calls) == -(-changed // 10)
    assert crm.reads == []


def test_a_plan_changes_nothing(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    sync(ledger, crm, scores(c_1=1.0))
    plan = planned(ledger, crm, scores(c_1=2.0, c_2=1.0))
    assert counts_of(plan) == {"update": 2}
    assert plan.select("object_id", "fields", "before").rows() == [
        ("c_1", '{"pql_score": 2.0}', '{"pql_score": 1.0}'),
        ("c_2", '{"pql_score": 1.0}', "{}"),
    ]
    assert (len(crm.calls), len(deliveries(ledger))) == (1, 1)


def test_a_record_is_made_only_where_that_is_wanted_and_then_goes_by_its_own_id(ledger: Ledger) -> None:
    crm = FakeCrm()
    new = {"email:ann@acme.com": {"pql_score": 81.0, "create_as": '{"email": "ann@acme.com"}'}}
    assert counts_of(planned(ledger, crm, new)) == {"create": 1}
    assert sync(ledger, crm, new).created == 1
    assert crm.records == {"ann@acme.com": {"pql_score": 81.0}}
    assert ledger.confirmed_of("crm:fake", "contact", "email:") == {
        "email:ann@acme.com": {"pql_score": 81.0, MADE_AS: "ann@acme.com"}
    }
    assert sync(ledger, crm, new, hours=1).written == 0
    risen = {"email:ann@acme.com": new["email:ann@acme.com"] | {"pql_score": 90.0}}
    assert counts_of(planned(ledger, crm, risen)) == {"update": 1}, "its id is known when the CRM has been read"
    told = sync(ledger, crm, risen, hours=1)
    assert (told.written, told.created, crm.records) == (1, 0, {"ann@acme.com": {"pql_score": 90.0}})
    assert sync(ledger, crm, {"ann@acme.com": {"pql_score": 90.0}}, hours=1).written == 0
    assert len(crm.calls) == 2


def test_contacts_and_accounts_of_one_id_are_confirmed_apart(ledger: Ledger) -> None:
    crm = FakeCrm("1")
    sync(ledger, crm, scores(**{"1": 1.0}))
    assert sync(ledger, crm, scores(**{"1": 1.0}), object_type="account").written == 1


# --- policies and holds ---------------------------------------------------------------------------


def test_a_field_for_empty_places_is_written_only_while_nothing_stands_there(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    crm.records["c_2"]["tier"] = "gold"
    tiers = {name: {"pql_score": 1.0, "usage_tier": "low"} for name in ("c_1", "c_2")}
    careful = target(usage_tier="if_empty")
    sync(ledger, crm, tiers, to=careful)
    assert [record["tier"] for record in crm.records.values()] == ["low", "gold"]
    sync(ledger, crm, {"c_1": {"usage_tier": "high"}, "c_2": tiers["c_2"]}, to=careful, hours=1)
    assert crm.records["c_1"]["tier"] == "low"
    crm.reads.clear()
    sync(ledger, crm, {"c_1": {"usage_tier": "high"}, "c_2": tiers["c_2"]}, to=careful, hours=2)
    assert crm.reads == []


@pytest.mark.parametrize(
    ("stands", "ours", "then"), [(None, 5.0, 5.0), (4.0, 5.0, 5.0), (6.0, 5.0, 6.0), ("by hand", 5.0, "by hand")]
)
def test_a_field_that_only_rises_looks_at_what_stands_there(
    ledger: Ledger, stands: Any, ours: float, then: Any
) -> None:
    crm = FakeCrm("c_1")
    crm.records["c_1"]["pql_score"] = stands
    sync(ledger, crm, scores(c_1=ours), to=target(pql_score="if_higher"))
    assert crm.records["c_1"]["pql_score"] == then


def test_a_crm_that_will_not_be_read_is_a_cause_and_no_green_run(ledger: Ledger) -> None:
    class Unreadable(FakeCrm):
        def read(self, object_type: str, ids: Sequence[str], names: Collection[str]) -> dict[str, dict[str, Any]]:
            raise CrmRefused("400 there is no field tier")

    crm = Unreadable("c_1")
    assert sync(ledger, crm, scores(c_1=1.0), to=target(pql_score="if_empty")).cause == "400 there is no field tier"
    assert sync(ledger, crm, scores(c_1=1.0), rules=SendRules(verify_sample=1)).cause is not None


def test_texts_rise_in_their_order(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    crm.records["c_1"]["tier"], crm.records["c_2"]["tier"] = "low", "high"
    rising = {name: {"usage_tier": "medium"} for name in ("c_1", "c_2")}
    sync(ledger, crm, rising, to=target(usage_tier="if_higher"))
    assert [record["tier"] for record in crm.records.values()] == ["medium", "high"]


BEFORE = {"pql_score": 50.0, "usage_tier": "medium", "features_used": ["alerts", "exports"]}


@pytest.mark.parametrize(
    ("after", "is_held"),
    [
        ({"pql_score": 49.0}, True),
        ({"usage_tier": "low", "pql_score": 60.0}, True),
        ({"features_used": ["alerts"]}, True),
        ({"pql_score": 51.0, "usage_tier": "high", "features_used": ["exports", "alerts", "reports"]}, False),
    ],
)
def test_while_a_feed_is_silent_nothing_falls(ledger: Ledger, after: dict[str, Any], is_held: bool) -> None:
    crm = FakeCrm("c_1")
    sync(ledger, crm, {"c_1": BEFORE})
    result = sync(ledger, crm, {"c_1": BEFORE | after}, hours=1, hold_decreases="events are silent since Monday")
    held = {"a decrease is held: events are silent since Monday": 1}
    assert (result.written, result.skipped) == ((0, held) if is_held else (1, {}))
    assert (result.held, result.left) == (["c_1"] if is_held else [], [])
    assert sync(ledger, crm, {"c_1": BEFORE | after}, hours=2).written == (1 if is_held else 0)


# --- refusals -------------------------------------------------------------------------------------


def test_a_refused_record_is_parked_with_the_reason_and_keeps_no_other_back(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    crm.refusals["c_1"] = Receipt("c_1", "pql_score: not a number")
    result = sync(ledger, crm, scores(c_1=1.0, c_2=2.0))
    assert result == SyncResult(written=1, refused={"c_1": "pql_score: not a number"}, requests=1)
    assert deliveries(ledger) == [("c_1", "parked", 1), ("c_2", "confirmed", 1)]
    assert ledger.read_frame("deliveries")["error"].drop_nulls().to_list() == ["pql_score: not a number"]
    assert ledger.confirmed("crm:fake", "contact").keys() == {"c_2"}


@pytest.mark.parametrize("guilty", [("c_00",), ("c_31",), ("c_07", "c_08", "c_24")])
def test_a_refused_batch_is_split_until_the_guilty_stand_alone(ledger: Ledger, guilty: tuple[str, ...]) -> None:
    ids = [f"c_{number:02}" for number in range(32)]
    crm = FakeCrm(*ids, max_batch=32)
    crm.poison = set(guilty)
    result = sync(ledger, crm, scores(**dict.fromkeys(ids, 1.0)))
    assert result.refused == dict.fromkeys(guilty, "400 a value is not allowed")
    assert (result.written, len(crm.calls) <= 1 + 2 * 5 * len(guilty)) == (32 - len(guilty), True)
    assert {object_id for object_id, fields in crm.records.items() if not fields} == set(guilty)


def test_a_refused_record_is_tried_again_when_its_payload_or_the_mapping_changes(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    crm.refusals["c_1"] = Receipt("c_1", "no")
    sync(ledger, crm, {"c_1": {"pql_score": 1.0, "pls_scored_at": "monday"}})
    same = sync(ledger, crm, {"c_1": {"pql_score": 1.0, "pls_scored_at": "tuesday"}}, hours=1)
    assert (same.skipped, same.refused, len(crm.calls)) == ({"refused before, and not changed since": 1}, {}, 1)
    sync(ledger, crm, scores(c_1=1.0), hours=2, to=Target(NAMES | {"usage_tier": "usage"}))
    assert len(crm.calls) == 2
    sync(ledger, crm, scores(c_1=1.0), hours=3, retry_parked=True)
    assert len(crm.calls) == 3
    del crm.refusals["c_1"]
    assert sync(ledger, crm, scores(c_1=2.0), hours=4).written == 1
    assert sync(ledger, crm, scores(c_1=1.0), hours=5).written == 1
    assert crm.records["c_1"]["pql_score"] == 1.0


def test_a_record_that_may_be_taken_later_is_the_same_delivery_in_the_next_run(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    crm.refusals["c_1"] = Receipt("c_1", "the record is locked", is_retryable=True)
    assert sync(ledger, crm, scores(c_1=1.0)).failed == 1
    assert deliveries(ledger) == [("c_1", "failed", 1)]
    del crm.refusals["c_1"]
    assert sync(ledger, crm, scores(c_1=1.0), hours=1).written == 1
    assert deliveries(ledger) == [("c_1", "confirmed", 2)]


@pytest.mark.parametrize("status", ["failed", "unknown", "parked"])
def test_a_record_that_is_gone_is_not_tried_for_ever_and_is_written_whole_if_it_comes_back(
    ledger: Ledger, status: str
) -> None:
    crm = FakeCrm("c_1", "c_2")
    assert sync(ledger, crm, scores(c_1=1.0, c_2=1.0)).written == 2
    for name in ("c_1", "c_2"):
        crm.refusals[name] = Receipt(name, "no", is_retryable=status == "failed", is_unknown=status == "unknown")
    sync(ledger, crm, scores(c_1=2.0, c_2=2.0), hours=1)
    assert [row[:2] for row in deliveries(ledger)[2:]] == [("c_1", status), ("c_2", status)]
    later = NOW + timedelta(hours=2)
    assert [give_up_gone(ledger, crm.name, "contact", ids, later) for ids in ([], ["c_2"], ["c_2"])] == [0, 1, 0]
    assert [row[:2] for row in deliveries(ledger)[2:]] == [
        ("c_1", "cancelled"),
        ("c_2", status),
    ]
    assert ledger.confirmed(crm.name, "contact").keys() == {"c_2"}
    crm.refusals.clear()
    # What is still refused for good waits until somebody asks for it.
    assert sync(ledger, crm, scores(c_1=1.0, c_2=2.0), hours=3).written == (1 if status == "parked" else 2)
    assert crm.records["c_1"]["pql_score"] == 1.0


# --- answers that never come ----------------------------------------------------------------------


def test_a_record_that_the_crm_says_nothing_about_is_asked_for_again_and_not_taken_for_written(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    crm.silent_about = {"c_1"}
    result = sync(ledger, crm, scores(c_1=1.0, c_2=2.0))
    assert (result.written, result.failed, result.cause) == (1, 1, None)
    assert crm.calls == [["c_1", "c_2"], ["c_1"], ["c_1"]]
    assert deliveries(ledger) == [("c_1", "unknown", 1), ("c_2", "confirmed", 1)]


@pytest.mark.parametrize("end", ["unknown before", "unknown after"])
def test_without_an_answer_the_same_is_sent_again(ledger: Ledger, end: str) -> None:
    crm = FakeCrm("c_1")
    crm.ends = [end, end]
    assert sync(ledger, crm, scores(c_1=1.0)) == SyncResult(written=1, requests=3)
    crm.ends = [end] * 3
    result = sync(ledger, crm, scores(c_1=2.0), hours=1)
    assert (result.failed, result.cause) == (1, "no answer within 60 s")
    assert deliveries(ledger)[-1] == ("c_1", "unknown", 1)
    assert sync(ledger, crm, scores(c_1=2.0), hours=2).written == 1
    assert crm.records["c_1"] == {"pql_score": 2.0}
    assert deliveries(ledger)[-1] == ("c_1", "confirmed", 2)


@pytest.mark.parametrize(("end", "words"), [("down", "503 at crm.example"), ("denied", "the token has expired")])
def test_a_crm_that_will_not_have_us_is_asked_once_and_everything_is_for_the_next_run(
    ledger: Ledger, end: str, words: str
) -> None:
    crm = FakeCrm("c_1", "c_2", "c_3", max_batch=2)
    crm.ends = [end]
    desired = scores(c_1=1.0, c_2=2.0, c_3=3.0)
    assert sync(ledger, crm, desired) == SyncResult(left=list(desired), cause=words, requests=1)
    assert crm.calls == [["c_1", "c_2"]]
    assert sync(ledger, crm, desired, hours=1).written == 3
    assert deliveries(ledger) == [("c_1", "confirmed", 2), ("c_2", "confirmed", 2), ("c_3", "confirmed", 1)]


# --- crashes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"])
def test_after_a_crash_the_same_delivery_is_tried_again(ledger: Ledger, moment: str) -> None:
    crm = FakeCrm("c_1")
    crm.ends = [moment]
    with pytest.raises(PowerCut):
        sync(ledger, crm, scores(c_1=81.0))
    [left] = ledger.read_frame("deliveries").to_dicts()
    assert (left["status"], left["payload"]) == ("pending", '{"pql_score": 81.0}')
    assert sync(ledger, crm, scores(c_1=81.0), hours=1).written == 1
    [done] = ledger.read_frame("deliveries").to_dicts()
    assert (done["delivery_id"], done["attempts"], done["confirmed_at"]) == (left["delivery_id"], 2, LATER)


def test_what_a_crash_may_have_written_is_taken_back_when_it_is_no_longer_so(ledger: Ledger) -> None:
    crm = FakeCrm("c_1")
    sync(ledger, crm, {"c_1": {"pql_score": 50.0, "usage_tier": "low"}})
    crm.ends = ["after"]
    with pytest.raises(PowerCut):
        sync(ledger, crm, {"c_1": {"pql_score": 81.0, "usage_tier": "low"}}, hours=1)
    assert crm.records["c_1"]["pql_score"] == 81.0
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


RUNS = st.lists(
    st.dictionaries(
        st.sampled_from(["c_1", "c_2", "not there"]),
        st.fixed_dictionaries(
            {},
            optional={
                "pql_score": st.none() | st.sampled_from([0.0, 1.0, 2.0]),
                "usage_tier": st.none() | st.sampled_from(["", "low", "high"]),
                "features_used": st.none() | st.lists(st.sampled_from(["a", "b"]), max_size=2),
                "pls_scored_at": st.sampled_from(["monday", "tuesday"]),
            },
        ),
        max_size=3,
    ),
    min_size=1,
    max_size=4,
)
ENDS = st.sampled_from(["", "", "down", "before", "after", "unknown before", "unknown after"])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(RUNS, st.lists(st.lists(ENDS, max_size=3), min_size=4, max_size=4))
def test_whatever_went_wrong_before_a_good_run_ends_it_and_the_next_sends_nothing(
    runs: list[dict[str, dict[str, Any]]], ends: list[list[str]]
) -> None:
    crm = FakeCrm("c_1", "c_2", max_batch=1)
    with TemporaryDirectory() as folder, Ledger(empty_ledger(Path(folder, "ledger.sqlite"))) as ledger:
        for hour, (desired, troubles) in enumerate(zip(runs, ends, strict=False)):
            crm.ends = list(troubles)
            try:
                sync(ledger, crm, desired, hour)
            except PowerCut:
                continue
        crm.ends = []
        assert sync(ledger, crm, runs[-1], hours=5).failed == 0
        calls = len(crm.calls)
        assert sync(ledger, crm, runs[-1], hours=6).written == 0
        assert len(crm.calls) == calls
    for object_id in crm.records.keys() & runs[-1].keys():
        for ours, theirs in target().written.items():
            value = runs[-1][object_id].get(ours)
            if value is not None and ours != "pls_scored_at":
                assert crm.records[object_id][theirs] == value


# --- reading back ---------------------------------------------------------------------------------


def test_a_sample_is_read_back_and_what_got_lost_is_written_once_more(ledger: Ledger) -> None:
    ids = [f"c_{number}" for number in range(8)]
    crm = FakeCrm(*ids)
    crm.loses = dict.fromkeys(ids, 1)
    result = sync(ledger, crm, scores(**dict.fromkeys(ids, 1.0)), rules=SendRules(verify_sample=3))
    assert (result.verified, result.mismatched, len(crm.calls)) == (3, {}, 2)
    assert sum(bool(fields) for fields in crm.records.values()) == 3


def test_what_still_is_not_there_is_complained_about(ledger: Ledger) -> None:
    crm = FakeCrm("c_1", "c_2")
    crm.loses = {"c_1": 9}
    result = sync(ledger, crm, scores(c_1=1.0, c_2=1.0), rules=SendRules(verify_sample=9))
    assert result.mismatched == {"c_1": "does not hold {'pql_score': 1.0}"}
