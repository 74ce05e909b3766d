"""Which handoffs somebody has to be reminded of now: overdue ones once, then the team once; snoozed ones as they wake.

Pure: what the ledger kept and the moment come in, what to say goes out. What joined a thread is reminded of with the
handoff that began it. An answer ends it: claimed, not a fit, closed; a snooze puts it off. What joins after either is
news, which nobody has answered, and begins another round. What joins after the team was told is reminded of by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from dagster_project.core.delivery_rules import ReminderRules

Row = Mapping[str, Any]
Kind = Literal["wake", "remind", "escalate"]
_GOES_ON = frozenset({"delivered", "snoozed", "claimed"})
"""Statuses of a handoff whose thread others may join."""


@dataclass(frozen=True)
class Nudge:
    """Something to say about a handoff that waits.

    Attributes:
        handoff: The handoff that began the thread, or the first that joined after all was said of those before.
        kind: `wake`: its snooze is over; `remind`: it is overdue; `escalate`: the team has to know.
        round: How often it has been answered.
        due_at: Since when it is overdue, naive UTC; of a `wake` since when it is awake.
    """

    handoff: Row
    kind: Kind
    round: int
    due_at: datetime

    @property
    def operation(self) -> str:
        """What tells it from other nudges of the same handoff."""
        return f"{self.kind}:{self.round}"


def nudges(
    handoffs: Iterable[Row],
    answers: Iterable[Row],
    roots: Mapping[str, str],
    sent: Mapping[tuple[str, str], datetime],
    *,
    now: datetime,
    rules: ReminderRules,
) -> list[Nudge]:
    """What has to be said now, the most urgent first; of one handoff one thing at a time.

    Args:
        handoffs: `handoff_id, status, priority, due_at, created_at` and what the message needs.
        answers: `handoff_id, label, answered_at, until`, in any order.
        roots: By handoff that joined a thread, the one that began it.
        sent: When a nudge arrived, by handoff id and operation.
        now: Naive UTC.
        rules: How many hours after what.
    """
    by_id = {row["handoff_id"]: row for row in handoffs}
    joined: dict[str, list[Row]] = defaultdict(list)
    for handoff_id, row in by_id.items():
        joined[roots.get(handoff_id, handoff_id)].append(row)
    said: dict[str, list[Row]] = defaultdict(list)
    for answer in sorted(answers, key=lambda row: row["answered_at"]):
        said[answer["handoff_id"]].append(answer)
    found = [
        nudge
        for root_id, members in joined.items()
        if root_id in by_id
        and by_id[root_id]["status"] in _GOES_ON
        and (nudge := _nudge(by_id[root_id], members, said, sent=sent, now=now, rules=rules))
    ]
    return sorted(found, key=lambda nudge: (nudge.handoff["priority"], nudge.due_at, nudge.handoff["handoff_id"]))


def _nudge(
    root: Row,
    members: Sequence[Row],
    said: Mapping[str, Sequence[Row]],
    *,
    sent: Mapping[tuple[str, str], datetime],
    now: datetime,
    rules: ReminderRules,
) -> Nudge | None:
    answers = said.get(root["handoff_id"], ())
    due_at, woken_at = _due(root, members, answers)
    given_up = timedelta(days=rules.give_up_after_days)

    def said_at(kind: Kind) -> datetime | None:
        return sent.get((root["handoff_id"], Nudge(root, kind, len(answers), now).operation))

    def nudge(kind: Kind, at: datetime) -> Nudge | None:
        return None if said_at(kind) else Nudge(root, kind, len(answers), at)

    if due_at is None:
        return None
    over_at = said_at("escalate")
    if over_at is None and now - due_at > given_up:
        over_at = said_at("remind") or due_at + given_up
    later = [
        row
        for row in members
        if over_at
        and row["status"] == "delivered"
        and row["created_at"] > over_at
        and row["handoff_id"] != root["handoff_id"]
    ]
    if later:
        first = min(later, key=lambda row: (row["created_at"], row["handoff_id"]))
        return _nudge(first, later, said, sent=sent, now=now, rules=rules)
    if now < (woken_at or due_at):
        return None
    if woken_at is not None and now - woken_at <= given_up and (waking := nudge("wake", woken_at)):
        return waking
    if now - due_at > given_up or now < due_at + timedelta(hours=rules.remind_after_hours):
        return None
    if reminding := nudge("remind", due_at):
        return reminding
    patience = timedelta(hours=rules.escalate_after_hours[min(row["priority"] for row in members)])
    reminded_at = said_at("remind")
    return nudge("escalate", due_at) if reminded_at and now >= reminded_at + patience else None


def _due(root: Row, members: Sequence[Row], answers: Sequence[Row]) -> tuple[datetime | None, datetime | None]:
    """Since when the handoff is overdue, and when its snooze ended; None twice if nothing of it waits."""
    if not answers:
        waiting = [row["due_at"] for row in members if row["status"] == "delivered"]
        return min(waiting, default=None), None
    last = answers[-1]
    # What has joined since is news: nobody has put it off, or taken it.
    news = [
        row["due_at"] for row in members if row["status"] == "delivered" and row["created_at"] > last["answered_at"]
    ]
    if news:
        return min(news), None
    if last["label"] != "snoozed":
        return None, None
    return last["until"] + (root["due_at"] - root["created_at"]), last["until"]
