"""What rules ask of the CRM: each once, whatever breaks off in between."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ledger_files import empty_ledger
from ledger_rows import LATER, NOW

from dagster_project.actions import ActionReport, action_request, carry_out
from dagster_project.clients.crm import CrmUnavailable, CrmUnknown, Receipt, Task, TaskState
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.actions import Action, ActionKind
from dagster_project.core.crm_field_rules import CrmFieldRules
from dagster_project.ledger import Ledger

RULES = CrmFieldRules(
    top_signals=3,
    account_tiers=("C", "B", "A"),
    contact={"pause_nurture": "Pause__c", "pls_motion": None},
    account={"account_tier": "Tier__c"},
)


class PowerCut(BaseException):
    """The process ends here."""


class Unlucky(LocalCrm):
    """Whose answers to `create_task` get lost, before the task was made or after.

    Attributes:
        fates: What happens at the next calls: `before`, `after`, `down`, or a Receipt that is answered.
        created: How often a task was asked for.
    """

    fates: list[str | Receipt] = []
    created = 0

    def create_task(self, task: Task) -> Receipt:
        self.created += 1
        fate = self.fates.pop(0) if self.fates else ""
        if isinstance(fate, Receipt):
            return fate
        if fate == "down":
            raise CrmUnavailable("503 at crm.example")
        if fate == "before":
            raise CrmUnknown("no answer within 60 s")
        receipt = super().create_task(task)
        if fate == "after":
            raise CrmUnknown("no answer within 60 s")
        return receipt


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(empty_ledger(tmp_path / "ledger.sqlite")) as opened:
        yield opened


@pytest.fixture
def crm(tmp_path: Path) -> Unlucky:
    crm = Unlucky(tmp_path / "crm.sqlite")
    crm.fates = []
    crm.take_over("contact", {"c_1": {"email": "ann@acme.com"}})
    crm.take_over("account", {"a_1": {"owner_id": None, "Tier__c": "B"}, "a_2": {"owner_id": "o_9", "Tier__c": "gold"}})
    return crm


def task(key: str = "hot_pql c_1 2026-05-02", **changed: Any) -> Action:
    payload = {"subject": "Call Ann", "body": "Score 84", "due_at": "2026-05-02T12:00:00+02:00", "owner_id": "o_1"}
    return Action(key, "task", "contact", "c_1", payload | {"contact_id": "c_1"} | changed)


def on_account(kind: ActionKind, account_id: str = "a_1", **payload: Any) -> Action:
    return Action(f"{kind} {account_id}", kind, "account", account_id, payload)


def do(ledger: Ledger, crm: LocalCrm, *actions: Action, now: datetime = NOW, **more: Any) -> ActionReport:
    return carry_out(ledger, crm, actions, rules=RULES, now=now, **more)


def test_a_task_is_made_with_its_key_and_only_once(ledger: Ledger, crm: Unlucky) -> None:
    assert do(ledger, crm, task()).done == [task().key]
    assert do(ledger, crm, task(body="Score 90"), now=LATER) == ActionReport()
    [state] = crm.find_tasks([task().key, "another"]).values()
    assert (state.status, state.outcome, crm.created) == ("open", None, 1)


def test_a_note_stands_there_and_is_nobodys_to_do(ledger: Ledger, crm: Unlucky) -> None:
    do(ledger, crm, Action("n_1", "note", "account", "a_1", {"subject": "s", "body": "b", "account_id": "a_1"}))
    assert crm.find_tasks(["n_1"])["n_1"].status == "done"


def test_several_tasks_of_one_record_are_several(ledger: Ledger, crm: Unlucky) -> None:
    assert len(do(ledger, crm, task("k_1"), task("k_2")).done) == 2
    assert crm.find_tasks(["k_1", "k_2"]).keys() == {"k_1", "k_2"}


@pytest.mark.parametrize("fate", ["before", "after"])
def test_an_answer_that_never_came_leads_to_one_task(ledger: Ledger, crm: Unlucky, fate: str) -> None:
    crm.fates = [fate]
    assert do(ledger, crm, task()).done == [task().key]
    assert len(crm.find_tasks([task().key])) == 1
    assert crm.created == (2 if fate == "before" else 1)


def test_what_nobody_saw_is_looked_up_by_the_next_run_and_needs_no_asking_again(ledger: Ledger, crm: Unlucky) -> None:
    crm.fates = ["before", "after"]
    assert do(ledger, crm, task()).failed == {task().key: "no answer within 60 s"}
    assert ledger.read_frame("deliveries")["status"].to_list() == ["unknown"]
    assert do(ledger, crm, now=LATER).done == [task().key]
    assert crm.created == 2


@pytest.mark.parametrize("point", ["actions intended", "action to be sent", "action sent", "action settled"])
def test_a_crash_anywhere_loses_no_action_and_doubles_none(ledger: Ledger, crm: Unlucky, point: str) -> None:
    def stop(reached: str) -> None:
        if reached == point:
            raise PowerCut

    actions = [task("k_1"), task("k_2"), on_account("assign_owner", owner_id="o_1"), on_account("raise_tier", to="A")]
    with pytest.raises(PowerCut):
        do(ledger, crm, *actions, at=stop)
    do(ledger, crm, now=LATER)
    assert crm.find_tasks(["k_1", "k_2"]).keys() == {"k_1", "k_2"}
    assert crm.read("account", ["a_1"], ["owner_id", "Tier__c"])["a_1"] == {"owner_id": "o_1", "Tier__c": "A"}
    assert set(ledger.read_frame("deliveries")["status"]) == {"confirmed"}
    assert crm.created == 2


def test_what_was_refused_is_tried_again_when_somebody_asks_for_it(ledger: Ledger, crm: Unlucky) -> None:
    crm.fates = [Receipt(task().key, "no right to make tasks")]
    assert do(ledger, crm, task()).refused == {task().key: "no right to make tasks"}
    assert do(ledger, crm, now=LATER) == ActionReport()
    assert ledger.retry_actions("crm:local", LATER, since=LATER) == 0, "that was too long ago"
    assert ledger.retry_actions("crm:local", LATER, since=NOW - timedelta(days=1)) == 1
    assert ledger.retry_actions("crm:local", LATER, since=NOW - timedelta(days=1)) == 0
    assert do(ledger, crm, now=LATER).done == [task().key]
    assert len(crm.find_tasks([task().key])) == 1


def test_an_unreachable_crm_is_asked_once_and_the_rest_waits(ledger: Ledger, crm: Unlucky) -> None:
    crm.fates = ["down"]
    assert do(ledger, crm, task("k_1"), task("k_2")).failed.keys() == {"k_1", "k_2"}
    assert crm.created == 1
    assert do(ledger, crm, now=LATER).done == ["k_1", "k_2"]


def test_a_refused_task_is_parked_until_it_is_another_one(ledger: Ledger, crm: Unlucky) -> None:
    crm.fates = [Receipt("k", "owner o_1 is not active")]
    assert do(ledger, crm, task()).refused == {task().key: "owner o_1 is not active"}
    assert do(ledger, crm, task(), now=LATER) == ActionReport()
    assert do(ledger, crm, task(owner_id="o_2"), now=LATER).done == [task().key]


def test_what_must_not_be_done_any_more_is_withdrawn_for_good(ledger: Ledger, crm: Unlucky) -> None:
    ledger.request([action_request(crm.name, task())], NOW)
    assert do(ledger, crm, blocked={task().key: "unsubscribed"}).needless == {task().key: "unsubscribed"}
    assert do(ledger, crm, task(), now=LATER) == ActionReport()
    assert crm.created == 0


def test_an_owner_is_assigned_only_where_there_is_none_who_is_active(ledger: Ledger, crm: Unlucky) -> None:
    report = do(ledger, crm, *(on_account("assign_owner", account, owner_id="o_1") for account in ("a_1", "a_2")))
    assert (report.done, report.needless) == (["assign_owner a_1"], {"assign_owner a_2": "its owner is o_9"})
    replacing = Action("again", "assign_owner", "account", "a_2", {"owner_id": "o_1", "instead_of": ["o_9"]})
    assert do(ledger, crm, replacing, now=LATER).done == ["again"]
    assert crm.read("account", ["a_2"], ["owner_id"])["a_2"]["owner_id"] == "o_1"


def test_a_tier_is_raised_and_never_lowered_and_an_unknown_one_is_left_alone(ledger: Ledger, crm: Unlucky) -> None:
    lower = Action("lower", "raise_tier", "account", "a_1", {"to": "C"})
    assert do(ledger, crm, lower).needless == {"lower": "its tier is B"}
    report = do(ledger, crm, on_account("raise_tier", to="A"), on_account("raise_tier", "a_2", to="A"))
    assert report.done == ["raise_tier a_1"]
    assert report.needless == {"raise_tier a_2": "its tier is gold"}
    unheard = Action("x", "raise_tier", "account", "a_1", {"to": "platinum"})
    assert "account_tiers in crm_fields.yml" in do(ledger, crm, unheard, now=LATER).refused["x"]


def test_fields_are_set_under_the_crms_names(ledger: Ledger, crm: Unlucky) -> None:
    fields = {"pause_nurture": True, "pls_motion": "sales-led"}
    do(ledger, crm, Action("p_1", "set_field", "contact", "c_1", {"fields": fields}))
    assert crm.records("contact")["c_1"] == {"email": "ann@acme.com", "Pause__c": True}


def test_a_record_that_is_not_there_is_refused_with_the_crms_words(ledger: Ledger, crm: Unlucky) -> None:
    kinds: tuple[ActionKind, ...] = ("assign_owner", "raise_tier")
    report = do(ledger, crm, *(on_account(kind, "a_7", owner_id="o_1", to="A") for kind in kinds))
    assert report.refused == {
        "assign_owner a_7": "the account a_7 is not in the CRM",
        "raise_tier a_7": "the account a_7 is not in the CRM",
    }


def test_a_state_says_what_became_of_a_task(crm: Unlucky) -> None:
    made = crm.create_task(Task("k_1", "s", "b"))
    assert crm.find_tasks(["k_1"]) == {"k_1": TaskState(str(made.created_id), "open")}
    assert crm.create_task(Task("k_1", "s", "b")).error == "there is a task with the key k_1 already"


def test_what_has_to_wait_is_not_tried_and_is_done_later(ledger: Ledger, crm: Unlucky) -> None:
    ledger.request([action_request(crm.name, task(key)) for key in ("k_1", "k_2")], NOW)
    held = dict.fromkeys(("k_1", "k_2"), "the contacts file is 9 days old")
    report = do(ledger, crm, held=held, blocked={"k_2": "unsubscribed"})
    assert report == ActionReport(needless={"k_2": "unsubscribed"}, held={"k_1": "the contacts file is 9 days old"})
    assert crm.created == 0
    assert do(ledger, crm, now=LATER).done == ["k_1"]


def nurture(key: str, is_paused: bool) -> Action:
    return Action(key, "set_field", "contact", "c_1", {"fields": {"pause_nurture": is_paused}})


@pytest.mark.parametrize("is_paused", [True, False])
@pytest.mark.parametrize("recorded_before", [True, False])
def test_of_two_words_about_a_field_the_last_is_written_and_stays(
    ledger: Ledger, crm: Unlucky, is_paused: bool, recorded_before: bool
) -> None:
    both = [nurture("k_1", not is_paused), nurture("k_2", is_paused)]
    if recorded_before:
        ledger.request([action_request(crm.name, action) for action in both], NOW)
        assert do(ledger, crm) == ActionReport(done=["k_2"])
    else:
        assert do(ledger, crm, *both) == ActionReport(done=["k_2"], needless={"k_1": "superseded by a newer one"})
    assert do(ledger, crm, *both, now=LATER) == do(ledger, crm, now=LATER) == ActionReport()
    assert crm.read("contact", ["c_1"], ["Pause__c"])["c_1"] == {"Pause__c": is_paused}
