"""Reminders as letters: what the recipient and the team are sent, in Slack and in the outbox, each once."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from clients.slack_server import SlackServer
from installation import Installation
from ledger_rows import NOW, handoff, plan
from letter_rows import ANA, RULES, Clock, letter, slack_bot

from dagster_project.clients.outbox import Outbox
from dagster_project.core.feedback import Answer
from dagster_project.core.letters import HANDOFF, Letter, Thread, escalation, reminder
from dagster_project.defs.reminders import due_nudges, reminder_sensor
from dagster_project.delivery import deliver
from dagster_project.ledger import CRM_HOLD, Ledger

DUE = NOW + timedelta(hours=1)


def letters(ledger: Ledger, chat: str, clock: Clock) -> list[Letter]:
    found = []
    messages = ledger.confirmed(chat, HANDOFF)
    for nudge in due_nudges(ledger, chat, RULES, clock.now()):
        if nudge.kind == "escalate":
            found.append(escalation(nudge, ANA, RULES, day=clock.now().date(), has_buttons=True))
        else:
            where = messages[nudge.handoff["handoff_id"]]
            thread = Thread("ho_1", "P0", where["channel"], where["message"]) if where["message"] else None
            found.append(reminder(nudge, ANA, RULES, thread=thread, day=clock.now().date(), has_buttons=False))
    return found


def test_the_recipient_is_reminded_in_the_thread_and_the_team_gets_all_it_needs(
    ledger: Ledger, slack: SlackServer
) -> None:
    clock = Clock()
    bot = slack_bot(slack.base_url, clock)

    def look() -> int:
        return deliver(ledger, bot, letters(ledger, "slack", clock), blocked={}, pace=clock.pace).delivered

    deliver(ledger, bot, [letter(row) for row in ledger.pending_handoffs()], blocked={}, pace=clock.pace)
    assert look() == 0
    clock.at = DUE
    assert [look(), look()] == [1, 0]
    alert, reminded = slack.messages["D0000001"]
    assert (reminded["thread_ts"], reminded["reply_broadcast"]) == (alert["ts"], True)
    assert reminded["text"] == "⏰ 🔥 Hot PQL Alert: Acme is waiting for an answer"
    clock.at = DUE + timedelta(hours=1)
    assert [look(), look()] == [1, 0]
    [told] = slack.messages["C0000001"]
    assert told["text"] == "🚨 Overdue: 🔥 Hot PQL Alert: Acme"
    assert told["blocks"][0]["text"]["text"].endswith("not answered by <@U0000001>")
    assert [block["type"] for block in told["blocks"]] == ["section", "markdown", "actions"]


def test_a_snoozed_handoff_wakes_in_its_thread(ledger: Ledger, slack: SlackServer) -> None:
    clock = Clock()
    bot = slack_bot(slack.base_url, clock)
    deliver(ledger, bot, [letter(row) for row in ledger.pending_handoffs()], blocked={}, pace=clock.pace)
    until = NOW + timedelta(days=7)
    ledger.keep_answer(Answer("ho_1", "snoozed", "U0000001", NOW, "slack", until), chat="slack")
    clock.at = until - timedelta(seconds=1)
    assert letters(ledger, "slack", clock) == []
    clock.at = until
    deliver(ledger, bot, letters(ledger, "slack", clock), blocked={}, pace=clock.pace)
    assert slack.texts("D0000001")[-1] == "⏰ 🔥 Hot PQL Alert: Acme is awake again"


def test_the_outbox_reminds_too(ledger: Ledger, tmp_path: Path) -> None:
    clock, outbox = Clock(), Outbox(tmp_path / "outbox")
    deliver(ledger, outbox, [letter(row) for row in ledger.pending_handoffs()], blocked={}, pace=clock.pace)
    for at in (DUE, DUE + timedelta(hours=1), DUE + timedelta(hours=2)):
        clock.at = at
        deliver(ledger, outbox, letters(ledger, "outbox", clock), blocked={}, pace=clock.pace)
    files = {path.name: path.read_text() for path in (tmp_path / "outbox" / "2026-05-02").iterdir()}
    assert sorted(files) == ["ho_1-escalate-0.md", "ho_1-remind-0.md", "ho_1.md"]
    assert files["ho_1-remind-0.md"] == (
        "## ⏰ 🔥 Hot PQL Alert: Acme is waiting for an answer\n\nFor Ana, due 2026-05-02 11:00 UTC.\n"
    )
    assert files["ho_1-escalate-0.md"] == (
        "🚨 Overdue since 2026-05-02 11:00 UTC, not answered by Ana.\n\n## 🔥 Hot PQL Alert: Acme\n"
    )


def test_nobody_is_reminded_of_whom_nobody_may_be_told(ledger: Ledger, slack: SlackServer) -> None:
    clock = Clock()
    bot = slack_bot(slack.base_url, clock)
    deliver(ledger, bot, [letter(row) for row in ledger.pending_handoffs()], blocked={}, pace=clock.pace)
    for hours in (0, 1, 2):
        clock.at = DUE + timedelta(hours=hours)
        due = letters(ledger, "slack", clock)
        deliver(ledger, bot, due, blocked={"u_1": "opted out"}, pace=clock.pace)
    assert len(slack.messages["D0000001"]) == 1
    assert slack.messages["C0000001"] == []


@pytest.mark.parametrize(
    ("automate", "status"), [(False, dg.DefaultSensorStatus.STOPPED), (True, dg.DefaultSensorStatus.RUNNING)]
)
def test_nobody_is_reminded_unless_somebody_wants_it(automate: bool, status: dg.DefaultSensorStatus) -> None:
    assert reminder_sensor(automate=automate).default_status is status


def test_the_job_reminds_of_what_waits_and_says_nothing_twice(demo_run: Installation, tmp_path: Path) -> None:
    """On a copy of a scored company: one of its users has just become overdue, and somebody who is unknown too."""
    copy = Installation(tmp_path / "company")
    shutil.copytree(demo_run.data_dir, copy.data_dir)
    now = datetime.now(UTC).replace(tzinfo=None)
    with Ledger(f"sqlite:///{copy.data_dir / 'ledger.sqlite'}") as ledger:
        user_id = ledger.read_frame("handoffs").filter(status="delivered").sort("handoff_id")["user_id"][0]
        since = {"created_at": now - timedelta(hours=2), "due_at": now - timedelta(hours=1), "status": "delivered"}
        waiting = [handoff(handoff_id="ho_1", user_id=user_id, **since), handoff(handoff_id="ho_2", **since)]
        ledger.apply_handoff_plan(plan(*waiting))
    with duckdb.connect(str(copy.warehouse)) as warehouse:
        warehouse.execute("update raw.refreshes set has_features = false")
    assert copy.run("remind_sellers").success
    assert not [*copy.data_dir.rglob("ho_[12]*")], "who may be contacted is not known"
    with duckdb.connect(str(copy.warehouse)) as warehouse:
        warehouse.execute("update raw.refreshes set has_features = true")
    assert copy.run("remind_sellers", as_of=now + timedelta(days=9)).success
    assert not [*copy.data_dir.rglob("ho_[12]*")], "the CRM's data are too old"
    with Ledger(f"sqlite:///{copy.data_dir / 'ledger.sqlite'}") as ledger:
        assert "more than 8 days before" in str(ledger.get_meta(CRM_HOLD))
    for _ in range(2):
        assert copy.run("remind_sellers").success
    assert [path.name for path in copy.data_dir.rglob("ho_[12]*")] == ["ho_1-remind-0.md"]
    with Ledger(f"sqlite:///{copy.data_dir / 'ledger.sqlite'}") as ledger:
        said = ledger.read_frame("deliveries").filter(operation="remind:0").sort("object_id")
    assert list(said.select("object_id", "status").iter_rows()) == [("ho_1", "confirmed"), ("ho_2", "cancelled")]
