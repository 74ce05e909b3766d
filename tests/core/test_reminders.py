"""Overdue handoffs: reminded of once, then the team hears of them once; answers end it, snoozes put it off."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_rows import NOW, handoff

from dagster_project.core.delivery_rules import ReminderRules
from dagster_project.core.reminders import Nudge, nudges

RULES = ReminderRules(remind_after_hours=0, escalate_after_hours={"P0": 1, "P1": 8, "P2": 24}, give_up_after_days=7)
DUE = NOW + timedelta(hours=1)
Sent = dict[tuple[str, str], datetime]


def row(**changed: Any) -> dict[str, Any]:
    return handoff(status="delivered") | changed


def answer(label: str, at: datetime, until: datetime | None = None, handoff_id: str = "ho_1") -> dict[str, Any]:
    return {"handoff_id": handoff_id, "label": label, "answered_at": at, "until": until}


def said(
    at: datetime,
    *rows: dict[str, Any],
    answers: tuple[dict[str, Any], ...] = (),
    roots: Mapping[str, str] | None = None,
    sent: Sent | None = None,
) -> list[tuple[str, str]]:
    found = nudges(rows or (row(),), answers, roots or {}, sent or {}, now=at, rules=RULES)
    return [(nudge.handoff["handoff_id"], nudge.operation) for nudge in found]


REMINDED: Sent = {("ho_1", "remind:0"): DUE}


def test_nobody_is_reminded_of_what_is_not_due() -> None:
    assert said(DUE - timedelta(seconds=1)) == []


def test_what_is_due_is_reminded_of_once() -> None:
    assert said(DUE) == [("ho_1", "remind:0")]
    assert said(DUE + timedelta(minutes=59), sent=REMINDED) == []


def test_the_team_hears_of_it_later_and_once() -> None:
    later = DUE + timedelta(hours=1)
    assert said(later, sent=REMINDED) == [("ho_1", "escalate:0")]
    assert said(later, sent=REMINDED | {("ho_1", "escalate:0"): later}) == []


def test_the_team_hears_of_nothing_that_nobody_was_reminded_of() -> None:
    assert said(DUE + timedelta(hours=5)) == [("ho_1", "remind:0")]


@pytest.mark.parametrize("label", ["claimed", "not_a_fit", "closed"])
def test_an_answer_ends_it(label: str) -> None:
    answers = (answer(label, DUE),)
    assert said(DUE + timedelta(hours=5), answers=answers) == []
    assert said(DUE + timedelta(hours=5), row(status=label)) == []


@pytest.mark.parametrize("status", ["pending", "parked", "cancelled"])
def test_what_has_not_arrived_is_not_reminded_of(status: str) -> None:
    assert said(DUE, row(status=status)) == []


def test_a_snooze_puts_it_off_then_it_wakes_and_is_due_again() -> None:
    until = NOW + timedelta(days=1)
    snoozed = (answer("snoozed", NOW, until),)
    awake: Sent = {("ho_1", "wake:1"): until}
    assert said(until - timedelta(seconds=1), answers=snoozed, sent=REMINDED) == []
    assert said(until, answers=snoozed, sent=REMINDED) == [("ho_1", "wake:1")]
    assert said(until, answers=snoozed, sent=awake) == []
    due_again = until + timedelta(hours=1)
    assert said(due_again, answers=snoozed, sent=awake) == [("ho_1", "remind:1")]
    reminded = awake | {("ho_1", "remind:1"): due_again}
    assert said(due_again + timedelta(hours=1), answers=snoozed, sent=reminded) == [("ho_1", "escalate:1")]


def test_what_joins_a_snoozed_thread_ends_the_snooze() -> None:
    snoozed = (answer("snoozed", NOW, NOW + timedelta(days=30)),)
    news = row(handoff_id="ho_2", created_at=NOW + timedelta(hours=2), due_at=NOW + timedelta(hours=3))
    roots = {"ho_2": "ho_1"}
    assert said(NOW + timedelta(hours=2), row(), news, answers=snoozed, roots=roots) == []
    assert said(NOW + timedelta(hours=3), row(), news, answers=snoozed, roots=roots) == [("ho_1", "remind:1")]


def test_a_thread_is_reminded_of_as_one_and_by_its_most_urgent() -> None:
    calm = row(priority="P2", due_at=NOW + timedelta(hours=72))
    urgent = row(handoff_id="ho_2", priority="P0", due_at=NOW + timedelta(hours=2))
    roots = {"ho_2": "ho_1"}
    at = NOW + timedelta(hours=2)
    assert said(at, calm, urgent, roots=roots) == [("ho_1", "remind:0")]
    later = at + timedelta(hours=1)
    assert said(later, calm, urgent, roots=roots, sent={("ho_1", "remind:0"): at}) == [("ho_1", "escalate:0")]
    assert said(later, calm, urgent, roots=roots, answers=(answer("claimed", NOW),)) == []


def test_what_joins_after_the_team_was_told_is_reminded_of_and_escalated_like_any_other() -> None:
    told = DUE + timedelta(hours=1)
    over = REMINDED | {("ho_1", "escalate:0"): told}
    due = told + timedelta(hours=2)
    asks = row(handoff_id="ho_2", created_at=told + timedelta(hours=1), due_at=due)
    roots = {"ho_2": "ho_1"}
    assert said(due - timedelta(minutes=1), row(), asks, roots=roots, sent=over) == []
    assert said(due, row(), asks, roots=roots, sent=over) == [("ho_2", "remind:0")]
    again = over | {("ho_2", "remind:0"): due}
    assert said(due + timedelta(minutes=59), row(), asks, roots=roots, sent=again) == []
    assert said(due + timedelta(hours=1), row(), asks, roots=roots, sent=again) == [("ho_2", "escalate:0")]
    at_an_end = again | {("ho_2", "escalate:0"): due + timedelta(hours=1)}
    assert said(due + timedelta(hours=9), row(), asks, roots=roots, sent=at_an_end) == []
    assert said(due, row(), asks, roots=roots, sent=over, answers=(answer("claimed", due),)) == []


@pytest.mark.parametrize("sent", [{}, REMINDED])
def test_what_joins_what_was_given_up_is_reminded_of(sent: Sent) -> None:
    due = DUE + timedelta(days=9)
    asks = row(handoff_id="ho_2", created_at=due - timedelta(hours=1), due_at=due)
    assert said(due, row(), asks, roots={"ho_2": "ho_1"}, sent=sent) == [("ho_2", "remind:0")]


def test_what_has_been_due_for_long_is_left_alone() -> None:
    assert said(DUE + timedelta(days=7)) == [("ho_1", "remind:0")]
    assert said(DUE + timedelta(days=7, seconds=1)) == []


def test_the_most_urgent_comes_first() -> None:
    rows = [row(handoff_id=f"ho_{n}", priority=p) for n, p in enumerate(("P2", "P0", "P1"))]
    assert [handoff_id for handoff_id, _ in said(DUE + timedelta(hours=1), *rows)] == ["ho_1", "ho_2", "ho_0"]


EVENTS = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(["look", "snooze", "claim", "not_a_fit", "join"])), max_size=25
)


def joined_after(last: dict[str, Any], members: list[dict[str, Any]]) -> bool:
    return any(member["created_at"] > last["answered_at"] for member in members)


def test_what_joins_a_claimed_thread_is_reminded_of_and_escalated() -> None:
    root, claimed = row(status="claimed"), (answer("claimed", NOW + timedelta(minutes=1)),)
    news = row(handoff_id="ho_2", created_at=NOW + timedelta(days=7), due_at=NOW + timedelta(days=7, hours=1))
    roots, due = {"ho_2": "ho_1"}, NOW + timedelta(days=7, hours=1)
    assert said(due - timedelta(seconds=1), root, news, answers=claimed, roots=roots) == []
    assert said(due, root, news, answers=claimed, roots=roots) == [("ho_1", "remind:1")]
    reminded: Sent = {("ho_1", "remind:1"): due}
    later = due + timedelta(hours=1)
    assert said(later, root, news, answers=claimed, roots=roots, sent=reminded) == [("ho_1", "escalate:1")]
    assert said(later, root, news | {"status": "claimed"}, answers=claimed, roots=roots) == []
    both = (*claimed, answer("claimed", due))
    assert said(later, root, news, answers=both, roots=roots, sent=reminded) == []


@given(EVENTS)
def test_whatever_happens_nothing_is_said_twice_or_after_an_answer(events: list[tuple[int, str]]) -> None:
    """A life of one thread: at every look what is due is said, and it arrives."""
    at, members, answers = NOW, [row()], []
    sent: Sent = {}
    roots: dict[str, str] = {}
    for hours, what in events:
        at += timedelta(hours=hours)
        if what == "look":
            found: list[Nudge] = nudges(members, answers, roots, sent, now=at, rules=RULES)
            assert len(found) <= 1
            for nudge in found:
                key = (nudge.handoff["handoff_id"], nudge.operation)
                assert key not in sent and key[0] == "ho_1"
                assert nudge.due_at <= at
                assert not answers or answers[-1]["label"] == "snoozed" or joined_after(answers[-1], members)
                if nudge.kind == "escalate":
                    assert ("ho_1", f"remind:{nudge.round}") in sent
                sent[key] = at
        elif what == "join":
            number = len(members) + 1
            members.append(row(handoff_id=f"ho_{number}", created_at=at, due_at=at + timedelta(hours=1)))
            roots[f"ho_{number}"] = "ho_1"
        else:
            until = at + timedelta(days=1) if what == "snooze" else None
            answers.append(answer({"snooze": "snoozed", "claim": "claimed"}.get(what, what), at, until))
