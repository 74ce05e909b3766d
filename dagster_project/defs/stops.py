"""Whoever says no after they were handed over: who has them is told once, and their task says so.

See decisions 0056 and 0057.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

import duckdb

from dagster_project.clients.chat import Chat
from dagster_project.core.actions import Action
from dagster_project.core.candidates import identity
from dagster_project.core.feedback import ENDED
from dagster_project.core.follow_ups import task_key
from dagster_project.core.letters import HANDOFF, STOP, Letter, Thread, recipient_of, stop
from dagster_project.core.moments import resolve_as_of
from dagster_project.core.threads import OPEN
from dagster_project.defs.resources import Workplace
from dagster_project.erasing import ERASED
from dagster_project.ledger import Ledger
from dagster_project.no_contact import names_of, said_no

_SCORED_NOW = timedelta(days=1)
"""How far what is scored may lie back for what it says of people to be news."""
_SOMEBODY = "this person"
_MOST_STOPS = 50
"""In one run: after a long list was imported alerts need not wait until all of them are told."""


def newest_of_each(handed_over: list[dict[str, Any]], workplace: Workplace) -> dict[str, list[dict[str, Any]]]:
    """The newest open handoff that each recipient has of each user.

    Args:
        handed_over: Open handoffs, as the ledger has them.
        workplace: Which moment is scored. Of the past there are none: who said no then may have taken it back.

    Returns:
        Handoffs by user.
    """
    if not _is_news(workplace):
        return {}
    newest = {
        (row["user_id"], row["recipient_id"]): row
        for row in sorted(handed_over, key=lambda row: (row["created_at"], row["handoff_id"]))
    }
    found: dict[str, list[dict[str, Any]]] = {}
    for (user_id, _), row in newest.items():
        found.setdefault(user_id, []).append(row)
    return found


def _is_news(workplace: Workplace) -> bool:
    now = workplace.now()
    return now - resolve_as_of(workplace.settings.as_of, now) <= _SCORED_NOW


def task_stops(
    ledger: Ledger,
    connection: duckdb.DuckDBPyConnection,
    handed_over: list[dict[str, Any]],
    begun: Collection[str],
    workplace: Workplace,
) -> list[Action]:
    """What the CRM's tasks of people who have said no are to say, each once.

    Args:
        ledger: Knows which tasks were made, and which have been stopped.
        connection: The warehouse.
        handed_over: Handoffs, as the ledger has them.
        begun: The keys of actions that are under way.
        workplace: The CRM, and which moment is scored. Of the past there are none, as in `newest_of_each`.

    Returns:
        At most `_MOST_STOPS` actions, of the newest handoffs first.
    """
    of_people = {row["handoff_id"]: row for row in handed_over if row["user_id"] is not None}
    if not _is_news(workplace) or not of_people:
        return []
    keys = {name: (task_key(name), identity("ac", "stop_task", name)) for name in of_people}
    ended = ledger.ended_actions(workplace.settings.crm_destination, [key for pair in keys.values() for key in pair])
    to_look_at = [
        of_people[name]
        for name, (made, stop_key) in keys.items()
        if ended.get(made, ("",))[0] == "confirmed" and stop_key not in ended and stop_key not in begun
    ]
    nos = said_no(connection, {row["user_id"] for row in to_look_at}) if to_look_at else {}
    newest_first = sorted(to_look_at, key=lambda row: (row["created_at"], row["handoff_id"]), reverse=True)
    stopped = [row for row in newest_first if row["user_id"] in nos][:_MOST_STOPS]
    if not stopped:
        return []
    names = names_of(connection, {row["user_id"] for row in stopped})
    packages = ledger.packages([row["handoff_id"] for row in stopped])
    actions = []
    for row in stopped:
        (made, stop_key), user_id = keys[row["handoff_id"]], row["user_id"]
        who, how = _told_of(packages[row["handoff_id"]], user_id, names, nos)
        why = f"Do not contact {who} any more: {how}. It was said after this task was made."
        actions.append(Action(stop_key, "stop_task", "task", made, {"why": why, "user_id": user_id}))
    return actions


def _told_of(package: str, user_id: str, names: dict[str, str], nos: dict[str, str]) -> tuple[str, str]:
    """Who has said no, and how. Who was erased is named nowhere again, nor in the reason on a list."""
    if package == ERASED:
        return _SOMEBODY, "they have said no"
    return names.get(user_id, user_id), nos[user_id]


def not_told(ledger: Ledger, chat: Chat, stopped: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of some handoffs since which nobody told that their person has said no.

    It may have been told with another one of theirs, which is answered by now.

    Args:
        ledger: Knows what was told.
        chat: Where it was told.
        stopped: Open handoffs of people who have said no.

    Returns:
        At most `_MOST_STOPS` of them, those first that nobody has tried to tell of, the newest first.
    """
    if not stopped:
        return []
    theirs: dict[tuple[str, str], list[str]] = {(row["user_id"], row["recipient_id"]): [] for row in stopped}
    for row in ledger.threads_since(min(row["created_at"] for row in stopped), OPEN | set(ENDED)):
        if (whose := (row["user_id"], row["recipient_id"])) in theirs:
            theirs[whose].append(row["handoff_id"])
    begun = ledger.begun(chat.name, {handoff_id for ids in theirs.values() for handoff_id in ids})
    stops = {name: row for (_, name, what), row in begun.items() if what == STOP}
    told = {name: row["confirmed_at"] for name, row in stops.items() if row["confirmed_at"]}
    parked = {name for name, row in stops.items() if row["status"] == "parked"}  # that waits for a person
    left = [
        row
        for row in stopped
        if row["handoff_id"] not in parked
        and not any(
            told[name] >= row["created_at"] for name in theirs[row["user_id"], row["recipient_id"]] if name in told
        )
    ]
    # What could not be posted before keeps no other waiting.
    newest_first = sorted(left, key=lambda row: row["created_at"], reverse=True)
    return sorted(newest_first, key=lambda row: row["handoff_id"] in stops)[:_MOST_STOPS]


def stop_letters(
    ledger: Ledger,
    chat: Chat,
    stopped: list[dict[str, Any]],
    *,
    nos: dict[str, str],
    names: dict[str, str],
    owners: dict[str, Any],
    workplace: Workplace,
) -> list[Letter]:
    """A letter for each of some handoffs, to who has claimed it, or else in its thread to the one who was handed it.

    Args:
        ledger: Knows the messages by which they were handed over.
        chat: Where these are.
        stopped: The handoffs.
        nos: How people have said no, by user.
        names: What people are called, by user; the others by their ids.
        owners: The CRM's owners, by id.
        workplace: The playbook, and the day.
    """
    if not stopped:
        return []
    ids = [row["handoff_id"] for row in stopped]
    messages = ledger.confirmed(chat.name, HANDOFF, ids)
    roots = {name: message["root"] or name for name, message in messages.items()}
    messages |= ledger.confirmed(chat.name, HANDOFF, list(roots.values()))
    packages = ledger.packages(ids)
    letters = []
    for row in stopped:
        message = messages.get(roots.get(row["handoff_id"], ""))
        thread = None
        if message and message["message"]:
            thread = Thread(row["handoff_id"], row["priority"], message["channel"], message["message"])
        to = recipient_of(row["recipient_id"], owners)
        if (taken_by := _taken_by(ledger, row)) not in (None, to.person):
            to, thread = replace(to, name=str(taken_by), person=taken_by, is_active=True), None
        who, how = _told_of(packages[row["handoff_id"]], row["user_id"], names, nos)
        letters.append(
            stop(
                {**row, "package_markdown": packages[row["handoff_id"]]},
                who,
                how,
                to,
                workplace.playbook.delivery,
                thread=thread,
                day=workplace.now().date(),
            )
        )
    return letters


def _taken_by(ledger: Ledger, handoff: dict[str, Any]) -> str | None:
    """Slack's id of the colleague who has claimed a handoff there; None if nobody has."""
    if handoff["status"] != "claimed":
        return None
    try:
        answer = ledger.answer_to(handoff["handoff_id"])
    except LookupError:  # nobody knows by whom
        return None
    return answer.by if answer.source == "slack" else None
