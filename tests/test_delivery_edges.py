"""Edges of what is told: to whom, about whom, when not any more, and with what end."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from ledger_rows import NOW, handoff, plan
from letter_rows import ANA, RULES, Clock, letter

from dagster_project.clients.chat import Place, Posted, Uncertain
from dagster_project.core.automation import NOTICE_SCHEMA
from dagster_project.core.feedback import Answer
from dagster_project.core.letters import NOTICE, Letter, Recipient, Thread, alert, escalation, notice, reminder
from dagster_project.core.reminders import Nudge
from dagster_project.core.threads import open_thread
from dagster_project.delivery import deliver
from dagster_project.ledger import Ledger
from dagster_project.ledger_writing import Outcome, Request

DUE = NOW + timedelta(hours=1)
TOLD = {"notice_id": "no_1", "text": "Ann is back.", "created_at": NOW, "user_id": "u_1"}


class Stub:
    """A chat that nobody hears an answer of."""

    name, max_batch = "stub", 1

    def __init__(self, *, is_silent: bool = False) -> None:
        self.posted: list[str] = []
        self.searched: list[datetime] = []
        self.is_silent = is_silent

    def places(self, letter: Letter) -> Iterator[Place]:
        yield Place(letter.channel)

    def post(self, letter: Letter, place: Place) -> Posted:
        self.posted.append(letter.key)
        if self.is_silent:
            raise Uncertain("no answer")
        return Posted(place.channel, "m_1")

    def find(self, key: str, place: Place, since: datetime) -> Posted | None:
        self.searched.append(since)
        return Posted(place.channel, "m_1")


def test_what_a_rule_has_seen_of_somebody_is_not_told_once_they_say_no(ledger: Ledger) -> None:
    chat = Stub()
    report = deliver(ledger, chat, [notice(TOLD, ANA, RULES)], blocked={"u_1": "opted out"}, pace=Clock().pace)
    assert (report.cancelled, report.delivered, chat.posted) == (1, 0, [])


def test_a_notice_goes_to_its_team_and_marketings_to_marketing() -> None:
    somebody = Recipient("Bo", "csm", None)
    assert notice(TOLD, somebody, RULES).channel == RULES.slack.channel_of("csm") != RULES.slack.marketing_channel
    assert notice(TOLD, None, RULES).channel == RULES.slack.marketing_channel


def test_a_notice_says_for_whom_it_is() -> None:
    told = notice(TOLD, Recipient("Bo *B*", "csm", None), RULES)
    assert told.markdown == "For Bo \\*B\\*: Ann is back.\n"
    assert "Bo" in json.dumps(told.blocks[0]) and "Ann is back." in json.dumps(told.blocks[1])
    assert notice(TOLD, None, RULES).markdown == "Ann is back.\n"


def test_who_else_has_said_no_is_told_above_the_package_that_names_them() -> None:
    said, nudge = "Do not contact Vera (v@acme.com): e-mail opt-out.", Nudge(handoff(), "escalate", 0, DUE)
    letters = [
        alert(handoff(), ANA, RULES, thread=None, has_buttons=False, beware=[said]),
        escalation(nudge, ANA, RULES, day=NOW.date(), has_buttons=False, beware=[said]),
    ]
    for told in letters:
        assert told.markdown.index(said) < told.markdown.index(handoff()["package_markdown"])
        assert said in json.dumps(told.blocks[1])


def test_another_machines_clock_may_be_behind_ours(ledger: Ledger) -> None:
    chat = Stub(is_silent=True)
    letters = [letter(row) for row in ledger.pending_handoffs()]
    assert deliver(ledger, chat, letters, blocked={}, pace=Clock().pace).delivered == 1
    assert chat.searched == [NOW - timedelta(hours=1)]


def told(kind: Any, number: int, to: Recipient = ANA, thread: Thread | None = None) -> Letter:
    nudge = Nudge(handoff(status="delivered"), kind, number, DUE)
    return reminder(nudge, to, RULES, thread=thread, day=NOW.date(), has_buttons=True)


def test_a_reminder_has_buttons_where_those_of_the_alert_are_gone() -> None:
    kinds = {number: [block["type"] for block in told("remind", number).blocks] for number in (0, 1)}
    assert kinds == {0: ["section", "section"], 1: ["section", "section", "actions"]}


def test_a_reminder_says_what_it_is_about() -> None:
    assert "snoozed until" in told("wake", 1).markdown and "due" not in told("wake", 1).markdown
    assert ", due " in told("remind", 0).markdown


def test_whoever_is_not_active_any_more_is_not_reminded_in_their_own_thread() -> None:
    thread = Thread("ho_1", "P0", "D1", "m_1")
    assert told("remind", 0, thread=thread).thread == thread
    assert told("remind", 0, replace(ANA, is_active=False), thread).thread is None


def test_a_handoff_joins_the_newest_thread_that_is_one() -> None:
    row = {"account_id": "a_1", "user_id": "u_1", "recipient_id": "o_1", "priority": "P1", "status": "delivered"}
    earlier = [row | {"handoff_id": f"ho_{n}", "created_at": NOW - timedelta(days=9 - n)} for n in range(1, 4)]
    messages = {f"ho_{n}": {"channel": "c", "message": f"m_{n}", "root": "ho_2" if n == 3 else None} for n in (1, 2, 3)}
    found = open_thread(handoff(handoff_id="ho_9"), earlier, messages, since=NOW - timedelta(days=30))
    assert found == Thread("ho_2", "P1", "c", "m_2")
    own = open_thread(handoff(handoff_id="ho_1"), earlier[:1], messages, since=NOW - timedelta(days=30))
    assert own is None


@pytest.mark.parametrize(
    ("end", "status"), [("confirmed", "delivered"), ("cancelled", "cancelled"), ("failed", "pending")]
)
def test_a_notice_has_the_end_of_its_delivery(ledger: Ledger, end: Any, status: str) -> None:
    row = {**dict.fromkeys(NOTICE_SCHEMA, "x"), "notice_id": "no_1", "status": "pending", "created_at": NOW}
    ledger.apply_handoff_plan(replace(plan(), notices=pl.DataFrame([row], schema=NOTICE_SCHEMA, orient="row")))
    [delivery] = ledger.request([Request("slack", NOTICE, "no_1", "tell", "{}", "h")], NOW)
    ledger.settle([Outcome(delivery, end)], NOW)
    ledger.settle_notices("slack")
    assert ledger.read_frame("notices")["status"].to_list() == [status]


def test_who_said_not_a_fit_and_took_it_after_all_has_not_rejected_it(ledger: Ledger) -> None:
    names = [f"ho_{n}" for n in range(1, 9)]
    ledger.apply_handoff_plan(plan(*(handoff(handoff_id=name, candidate_key=name) for name in names)))
    for name in names:
        ledger.keep_answer(Answer(name, "not_a_fit", "o_1", NOW, "slack"), chat="slack")
        ledger.keep_answer(Answer(name, "claimed", "o_1", DUE, "slack"), chat="slack")
    assert ledger.rejected_handoffs(names) == {}


def test_an_owners_id_that_is_none_of_slacks_mentions_nobody() -> None:
    stranger = replace(ANA, person="U1> <!channel> <http://evil.example|click>")
    sent = letter(handoff(), stranger)
    assert "<!channel>" not in json.dumps(sent.blocks) + sent.title
    assert "Ana" in json.dumps(sent.blocks)
