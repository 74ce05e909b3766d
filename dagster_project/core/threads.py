"""Which handoffs are still open, and whose thread a new one joins instead of being another alert.

Pure: what the ledger kept comes in. How a thread is written to is a client's business.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from dagster_project.core.letters import Thread

OPEN = frozenset({"delivered", "claimed", "snoozed"})
"""Statuses of handoffs that have been handed over and are not done with."""


def open_thread(
    handoff: Mapping[str, Any],
    earlier: Iterable[Mapping[str, Any]],
    messages: Mapping[str, Mapping[str, Any]],
    *,
    since: datetime,
) -> Thread | None:
    """The thread of the newest open handoff of the same account and recipient.

    Args:
        handoff: What is to be handed over.
        earlier: Other handoffs of the ledger.
        messages: By handoff id, `channel`, `message` and `root` (the handoff whose thread it is in, if any).
        since: Threads begun before this are over, naive UTC.
    """
    found = [
        other
        for other in earlier
        if other["handoff_id"] != handoff["handoff_id"]
        and other["status"] in OPEN
        and _whose(other) == _whose(handoff)
        and other["created_at"] >= since
        and other["handoff_id"] in messages
        and messages[other["handoff_id"]]["root"] is None
    ]
    if not found:
        return None
    newest = max(found, key=lambda other: (other["created_at"], other["handoff_id"]))
    message = messages[newest["handoff_id"]]
    return Thread(newest["handoff_id"], newest["priority"], message["channel"], message["message"])


def _whose(handoff: Mapping[str, Any]) -> tuple[str | None, str | None, str]:
    """The account, or the person where there is none, and who takes care of them."""
    person = handoff["user_id"] if handoff["account_id"] is None else None
    return handoff["account_id"], person, handoff["recipient_id"]
