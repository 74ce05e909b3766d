"""Who is told, once, that somebody whom they were handed has said no; and which of the CRM's tasks say so."""

import json
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from ledger_rows import NOW, handoff, plan

from dagster_project.clients.chat import Chat
from dagster_project.clients.outbox import Outbox
from dagster_project.core.actions import Action
from dagster_project.core.feedback import Answer
from dagster_project.core.follow_ups import task_key
from dagster_project.core.letters import HANDOFF, STOP, Letter, Thread
from dagster_project.core.standings import ACCOUNT_FLAGS, USER_FLAGS
from dagster_project.defs.resources import Workplace
from dagster_project.defs.stops import newest_of_each, not_told, stop_letters, task_stops
from dagster_project.erasing import ERASED
from dagster_project.ledger import Ledger
from dagster_project.ledger_writing import Outcome, Request, Status

CRM = "crm:local"
OWNERS = {"o_1": {"name": "Ana", "team": "ae", "slack_user_id": "U1"}, "o_2": {"name": "Bo", "team": "ae"}}
NOS = {"u_1": "the user unsubscribed in the product", "u_2": "legal", "u_3": "asked"}
NAMES = {"u_1": "Ann Lee"}


class Office(Workplace):
    """A workplace whose clock stands still."""

    def now(self) -> datetime:
        return NOW


def office(folder: Path, scored: datetime = NOW) -> Workplace:
    return Office(overrides={"PLS_DATA_DIR": str(folder), "PLS_AS_OF": scored.isoformat()})


def handed(ledger: Ledger, number: int, **changed: Any) -> dict[str, Any]:
    """One more handoff that was delivered; the higher its number the newer."""
    row = {"handoff_id": f"ho_{number}", "candidate_key": f"ca_{number}", "status": "delivered"}
    row |= {"created_at": NOW - timedelta(days=9 - number)} | changed
    ledger.apply_handoff_plan(plan(handoff(**row)))
    return handoff(**row)


@pytest.fixture
def chat(tmp_path: Path) -> Chat:
    return Outbox(tmp_path / "outbox")


def told(ledger: Ledger, chat: Chat, name: str, status: Status, at: datetime = NOW) -> None:
    [delivery] = ledger.request([Request(chat.name, HANDOFF, name, STOP, "{}", "h")], at)
    ledger.settle([Outcome(delivery, status)], at)


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["handoff_id"] for row in rows]


# --- whom there is something to tell of ---------------------------------------------------------------


def test_of_several_handoffs_of_one_person_each_recipient_hears_of_the_newest(tmp_path: Path) -> None:
    rows = [
        handoff(handoff_id="ho_2", created_at=NOW),
        handoff(handoff_id="ho_1", created_at=NOW - timedelta(days=1)),
        handoff(handoff_id="ho_3", recipient_id="o_2"),
        handoff(handoff_id="ho_4", user_id="u_2"),
        handoff(handoff_id="ho_5", user_id="u_2"),  # at one time
    ]
    for given in (rows, rows[::-1]):
        found = newest_of_each(given, office(tmp_path))
        assert {user: sorted(names(theirs)) for user, theirs in found.items()} == {
            "u_1": ["ho_2", "ho_3"],
            "u_2": ["ho_5"],
        }


@pytest.mark.parametrize(("days", "is_news"), [(0, True), (1, True), (2, False)])
def test_of_the_past_there_is_nothing_to_tell(days: int, is_news: bool, tmp_path: Path) -> None:
    scored = office(tmp_path, NOW - timedelta(days=days))
    assert bool(newest_of_each([handoff()], scored)) is is_news


def test_what_was_told_is_not_told_again_to_the_same_recipient(ledger: Ledger, chat: Chat) -> None:
    rows = [handed(ledger, 2), handed(ledger, 3, recipient_id="o_2"), handed(ledger, 4, user_id="u_2")]
    told(ledger, chat, "ho_2", "confirmed")
    posted(ledger, chat, "ho_3", "m_3")  # that is how they were handed over
    assert names(not_told(ledger, chat, rows)) == ["ho_4", "ho_3"]


@pytest.mark.parametrize(("status", "left"), [("not_a_fit", []), ("closed", []), ("cancelled", ["ho_3"])])
def test_it_may_have_been_told_with_another_handoff_since(
    ledger: Ledger, chat: Chat, status: str, left: list[str]
) -> None:
    newest = handed(ledger, 3)
    handed(ledger, 4, status=status)
    told(ledger, chat, "ho_4", "confirmed")
    assert names(not_told(ledger, chat, [newest])) == left


def test_a_no_that_was_told_before_the_handoff_was_taken_back_since(ledger: Ledger, chat: Chat) -> None:
    earlier, again, other = handed(ledger, 3), handed(ledger, 5), handed(ledger, 2, user_id="u_2")
    told(ledger, chat, earlier["handoff_id"], "confirmed", again["created_at"] - timedelta(seconds=1))
    assert names(not_told(ledger, chat, [again, other])) == ["ho_5", "ho_2"]
    told(ledger, chat, earlier["handoff_id"], "confirmed", again["created_at"])
    assert names(not_told(ledger, chat, [again, other])) == ["ho_2"]


def test_what_could_not_be_told_before_keeps_no_other_waiting_and_what_waits_for_a_person_is_left(
    ledger: Ledger, chat: Chat
) -> None:
    rows = [handed(ledger, number, user_id=f"u_{number}") for number in (2, 3, 4, 5)]
    told(ledger, chat, "ho_5", "failed")
    told(ledger, chat, "ho_4", "parked")
    assert names(not_told(ledger, chat, rows)) == ["ho_3", "ho_2", "ho_5"]


def test_no_more_than_fifty_are_told_in_one_run(ledger: Ledger, chat: Chat) -> None:
    rows = [
        handoff(handoff_id=f"ho_{n:02}", user_id=f"u_{n}", created_at=NOW - timedelta(minutes=n)) for n in range(51)
    ]
    assert names(not_told(ledger, chat, rows[::-1])) == [f"ho_{n:02}" for n in range(50)]
    assert not_told(ledger, chat, []) == []


# --- what they are told -------------------------------------------------------------------------------


def letters_of(ledger: Ledger, chat: Chat, folder: Path, *rows: dict[str, Any]) -> list[Letter]:
    return stop_letters(ledger, chat, [*rows], nos=NOS, names=NAMES, owners=OWNERS, workplace=office(folder))


def posted(ledger: Ledger, chat: Chat, name: str, message: str | None, root: str | None = None) -> None:
    """How a handoff was posted: by a message of its own, or below that of another one."""
    [delivery] = ledger.request([Request(chat.name, HANDOFF, name, "alert", "{}", "h")], NOW)
    fields = {"channel": "D1", "message": message, "root": root}
    ledger.settle([Outcome(delivery, "confirmed")], NOW, confirmed={(chat.name, HANDOFF, name): fields})


def test_who_was_handed_somebody_hears_it_in_the_thread(ledger: Ledger, chat: Chat, tmp_path: Path) -> None:
    rows = [handed(ledger, number, user_id=f"u_{number - 1}", priority=f"P{number - 2}") for number in (2, 3, 4)]
    posted(ledger, chat, "ho_2", "m_2")
    posted(ledger, chat, "ho_3", "m_3", root="ho_2")
    posted(ledger, chat, "ho_4", None)
    letters = letters_of(ledger, chat, tmp_path, *rows)
    own, joined = Thread("ho_2", "P0", "D1", "m_2"), Thread("ho_3", "P1", "D1", "m_2")
    assert [sent.thread for sent in letters] == [own, joined, None]
    assert [sent.thread for sent in letters_of(ledger, chat, tmp_path, rows[1])] == [joined]
    assert [sent.title for sent in letters] == [
        "🛑 Do not contact Ann Lee any more: the user unsubscribed in the product.",
        "🛑 Do not contact u_2 any more: legal.",
        "🛑 Do not contact u_3 any more: asked.",
    ]
    assert [(sent.person, sent.key, sent.day, sent.about) for sent in letters[:1]] == [
        ("U1", "handoff/ho_2/stop", NOW.date(), None)
    ]
    assert "For Ana, who has: 🔥 Hot PQL Alert: Acme\n" in letters[0].markdown


def test_a_colleague_who_has_claimed_it_hears_it_directly(ledger: Ledger, chat: Chat, tmp_path: Path) -> None:
    def claimed(number: int, by: str | None, source: Any) -> dict[str, Any]:
        row = handed(ledger, number, status="claimed")
        posted(ledger, chat, row["handoff_id"], f"m_{number}")
        ledger.keep_answer(Answer(row["handoff_id"], "claimed", by, NOW, source), chat=chat.name)
        return row

    rows = [claimed(2, "U9", "slack"), claimed(3, "U1", "slack"), claimed(4, "o_2", "crm"), claimed(5, None, "slack")]
    unanswered = handed(ledger, 6, status="claimed")
    posted(ledger, chat, "ho_6", "m_6")
    letters = letters_of(ledger, chat, tmp_path, *rows, unanswered)
    assert [(sent.person, sent.thread and sent.thread.message) for sent in letters] == [
        ("U9", None),
        *(("U1", f"m_{number}") for number in (3, 4, 5, 6)),
    ]
    assert letters[0].markdown.count("For U9, who has") == 1
    [late] = letters_of(ledger, chat, tmp_path, rows[0] | {"status": "snoozed"})
    assert (late.person, late.thread and late.thread.message) == ("U1", "m_2")


def test_who_is_not_active_any_more_may_have_left_it_to_a_colleague(ledger: Ledger, chat: Chat, tmp_path: Path) -> None:
    row = handed(ledger, 2, status="claimed")
    ledger.keep_answer(Answer("ho_2", "claimed", "U9", NOW, "slack"), chat=chat.name)
    owners = {"o_1": OWNERS["o_1"] | {"is_active": False}}
    [sent] = stop_letters(ledger, chat, [row], nos=NOS, names=NAMES, owners=owners, workplace=office(tmp_path))
    assert (sent.person, "For U9, who has" in sent.markdown) == ("U9", True)


def test_who_was_erased_is_named_nowhere_again(ledger: Ledger, chat: Chat, tmp_path: Path) -> None:
    [sent] = letters_of(ledger, chat, tmp_path, handed(ledger, 2, package_markdown=ERASED))
    assert sent.title == "🛑 Do not contact this person any more: they have said no."
    assert "Ann" not in sent.markdown + json.dumps(sent.blocks)


# --- the CRM's tasks ----------------------------------------------------------------------------------


@pytest.fixture
def warehouse() -> duckdb.DuckDBPyConnection:
    """People of whom the first two have said no."""
    connection = duckdb.connect()
    connection.execute("create schema raw; create schema features")
    connection.execute("create table raw.moments as select 1 as as_of, true as is_live")
    flags = ", ".join(f"{flag} boolean default false" for flag in USER_FLAGS)
    connection.execute(
        "create table features.user_features (user_id varchar, account_id varchar, contact_name varchar, "
        f"user_name varchar, email varchar, suppression_reason varchar, as_of integer default 1, {flags})"
    )
    flags = ", ".join(f"{flag} boolean default false" for flag in ACCOUNT_FLAGS)
    connection.execute(
        "create table features.account_features (account_id varchar, suppression_reason varchar, "
        f"as_of integer default 1, {flags})"
    )
    connection.execute(
        "insert into features.user_features (user_id, user_name, is_unsubscribed, suppression_reason) values "
        "('u_1', 'Ann Lee', true, null), ('u_2', 'Bo', false, 'legal'), ('u_3', 'Cy', false, null)"
    )
    return connection


def made(ledger: Ledger, name: str, status: Status = "confirmed") -> None:
    """The task of a handoff."""
    key = task_key(name)
    [delivery] = ledger.request([Request(CRM, "task", key, "create", "{}", "h", action_key=key)], NOW)
    ledger.settle([Outcome(delivery, status)], NOW)


def stopped(action: Action, ledger: Ledger, status: Status) -> None:
    request = Request(CRM, "task", action.object_id, "stop_task", "{}", "h", action_key=action.key)
    [delivery] = ledger.request([request], NOW)
    ledger.settle([Outcome(delivery, status)], NOW)


def test_the_task_of_whoever_has_said_no_says_so_once(
    ledger: Ledger, warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    rows = [handed(ledger, number, user_id=f"u_{number - 1}") for number in (2, 3, 4)]
    rows += [handed(ledger, 5), handed(ledger, 6), handed(ledger, 7, user_id=None)]
    for name in ("ho_2", "ho_3", "ho_4", "ho_7"):
        made(ledger, name)
    made(ledger, "ho_5", "parked")  # ho_6 has no task
    stops = partial(task_stops, ledger, warehouse, rows)
    later, earlier = stops((), office(tmp_path))
    assert (earlier.kind, earlier.object_type, earlier.object_id) == ("stop_task", "task", task_key("ho_2"))
    assert earlier.payload == {
        "why": "Do not contact Ann Lee any more: the user unsubscribed in the product. "
        "It was said after this task was made.",
        "user_id": "u_1",
    }
    assert (later.object_id, later.payload["user_id"]) == (task_key("ho_3"), "u_2")
    assert stops((), office(tmp_path, NOW - timedelta(days=2))) == []
    assert stops({later.key}, office(tmp_path)) == [earlier]
    stopped(earlier, ledger, "parked")  # whatever became of it
    assert stops((), office(tmp_path)) == [later]


def test_no_more_than_fifty_tasks_are_stopped_in_one_run_the_newest_first(
    ledger: Ledger, warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    rows = [
        handoff(handoff_id=f"ho_{n:02}", candidate_key=f"ca_{n}", created_at=NOW - timedelta(minutes=n // 2))
        for n in range(10, 61)
    ]
    ledger.apply_handoff_plan(plan(*rows))
    for row in rows:
        made(ledger, row["handoff_id"])
    newest = sorted(rows, key=lambda row: (row["created_at"], row["handoff_id"]), reverse=True)[:50]
    found = task_stops(ledger, warehouse, rows, (), office(tmp_path))
    assert [action.object_id for action in found] == [task_key(name) for name in names(newest)]


def test_the_task_of_somebody_erased_names_nobody(
    ledger: Ledger, warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    row = handed(ledger, 3, user_id="u_2", package_markdown=ERASED)
    made(ledger, "ho_3")
    [action] = task_stops(ledger, warehouse, [row], (), office(tmp_path))
    why = "Do not contact this person any more: they have said no. It was said after this task was made."
    assert action.payload["why"] == why
