"""Closed CRM tasks as answers to handoffs: each read once, and only what is really closed."""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from ledger_files import empty_ledger
from ledger_rows import LATER, NOW, handoff, plan
from letter_rows import RULES

from dagster_project.actions import carry_out
from dagster_project.clients.crm import CrmUnavailable, TaskState
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.actions import Action
from dagster_project.core.follow_ups import task_key
from dagster_project.core.letters import HANDOFF
from dagster_project.ledger import Ledger
from dagster_project.playbook_files import read_playbook
from dagster_project.task_answers import read_task_answers


class Crm(LocalCrm):
    """The embedded CRM with somebody who works in it."""

    asked: tuple[str, ...] = ()

    def close(self, handoff_id: str, outcome: str | None) -> None:
        with self._transaction() as connection:
            connection.execute(
                "update tasks set status = 'done', outcome = ? where key = ?", [outcome, task_key(handoff_id)]
            )

    def find_tasks(self, keys: Sequence[str]) -> dict[str, TaskState]:
        self.asked = tuple(keys)
        return super().find_tasks(keys)


class CrmThatIsDown(LocalCrm):
    """A CRM that can't be reached."""

    def find_tasks(self, keys: Sequence[str]) -> dict[str, TaskState]:
        raise CrmUnavailable("no route to it")


@pytest.fixture
def crm(tmp_path: Path) -> Crm:
    return Crm(tmp_path / "crm.sqlite")


@pytest.fixture
def ledger(tmp_path: Path, crm: Crm) -> Iterator[Ledger]:
    """Three handoffs, two of them with a task."""
    with Ledger(empty_ledger(tmp_path / "ledger.sqlite")) as opened:
        ids = ["ho_1", "ho_2", "ho_3"]
        opened.apply_handoff_plan(plan(*(handoff(handoff_id=handoff_id) for handoff_id in ids)))
        opened.settle([], NOW, handoffs=dict.fromkeys(ids, "delivered"))
        payload = {"subject": "Call Acme", "body": "", "due_at": "2026-05-02T11:00:00Z"}
        tasks = [Action(task_key(handoff_id), "task", "contact", "c_1", payload) for handoff_id in ids[:2]]
        carry_out(opened, crm, tasks, rules=read_playbook(None).crm_fields, now=NOW)
        yield opened


def read(ledger: Ledger, crm: LocalCrm, *, hours: int = 1) -> int:
    return read_task_answers(ledger, crm, RULES.task_outcomes, chat="slack", now=NOW + timedelta(hours=hours))


def status(ledger: Ledger) -> list[str]:
    return ledger.read_frame("handoffs").sort("handoff_id")["status"].to_list()


def test_an_open_task_says_nothing_and_only_tasks_that_were_made_are_asked_for(ledger: Ledger, crm: Crm) -> None:
    assert read(ledger, crm) == 0
    assert sorted(crm.asked) == sorted(map(task_key, ("ho_1", "ho_2")))


@pytest.mark.parametrize(
    ("outcome", "label"), [("Meeting booked", "claimed"), ("Not a fit", "not_a_fit"), (None, "closed")]
)
def test_a_closed_task_is_an_answer_and_is_read_once(ledger: Ledger, crm: Crm, outcome: str | None, label: str) -> None:
    crm.close("ho_2", outcome)
    assert [read(ledger, crm), read(ledger, crm, hours=2)] == [1, 0]
    [said] = ledger.read_frame("handoff_feedback").to_dicts()
    assert (said["handoff_id"], said["label"], said["source"]) == ("ho_2", label, "crm")
    assert (said["answered_by"], said["answered_at"]) == ("o_1", LATER)
    assert status(ledger) == ["delivered", label, "delivered"]


@pytest.mark.parametrize("joined", ["ho_1", "ho_2"])
@pytest.mark.parametrize(("of_root", "own"), [("Meeting booked", "Not a fit"), ("Not a fit", "Meeting booked")])
def test_of_two_tasks_of_a_thread_that_are_closed_each_says_its_own(
    ledger: Ledger, crm: Crm, tmp_path: Path, joined: str, of_root: str, own: str
) -> None:
    root = {"ho_1": "ho_2", "ho_2": "ho_1"}[joined]
    fields = {("slack", HANDOFF, joined): {"root": root}}
    ledger.settle([], NOW, confirmed=fields)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.execute(
            "update handoffs set created_at = '2027-01-01 00:00:00.000000' where handoff_id = ?", [joined]
        )
    crm.close(root, of_root)
    crm.close(joined, own)
    assert read(ledger, crm) == 2
    says = {"Meeting booked": "claimed", "Not a fit": "not_a_fit"}
    found = dict(ledger.read_frame("handoffs").select("handoff_id", "status").iter_rows())
    assert (found[root], found[joined]) == (says[of_root], says[own])
    rejected = {handoff_id for handoff_id, status in found.items() if status == "not_a_fit"}
    assert set(ledger.rejected_handoffs(list(found))) == rejected


def test_another_outcome_is_another_answer(ledger: Ledger, crm: Crm) -> None:
    crm.close("ho_1", "connected")
    assert read(ledger, crm) == 1
    crm.close("ho_1", "unqualified")
    assert read(ledger, crm, hours=2) == 1
    assert status(ledger)[0] == "not_a_fit"


def test_a_crm_that_cannot_be_read_changes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(CrmUnavailable):
        read(ledger, CrmThatIsDown(tmp_path / "crm.sqlite"))
    assert status(ledger) == ["delivered"] * 3


def test_without_tasks_nobody_is_asked(tmp_path: Path) -> None:
    with Ledger(empty_ledger(tmp_path / "other.sqlite")) as ledger:
        ledger.apply_handoff_plan(plan(handoff()))
        assert read(ledger, CrmThatIsDown(tmp_path / "crm.sqlite")) == 0
