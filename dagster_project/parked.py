"""Messages of which nobody can tell whether they arrived: which they are, and what a person who has looked says."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from dagster_project.core.letters import ALERT, HANDOFF
from dagster_project.ledger import Ledger
from dagster_project.ledger_writing import Outcome

CHATS = ("slack", "slack:webhook", "outbox")


@dataclass(frozen=True)
class Parked:
    """A message that waits for a person.

    Attributes:
        key: What its message carries.
        delivery_id: Its row in the ledger.
        object_id: What it is about.
        reason: Why nobody can tell.
        since: When it was to be sent, naive UTC.
        hands_over: Whether a handoff waits with it.
    """

    key: str
    delivery_id: str
    object_id: str
    reason: str
    since: datetime
    hands_over: bool


def parked_messages(ledger: Ledger) -> list[Parked]:
    """All that is parked, the oldest first."""
    return [
        Parked(
            key=f"{row['object_type']}/{row['object_id']}/{row['operation']}",
            delivery_id=row["delivery_id"],
            object_id=row["object_id"],
            reason=row["error"] or "",
            since=row["requested_at"],
            hands_over=(row["object_type"], row["operation"]) == (HANDOFF, ALERT),
        )
        for row in ledger.parked_for(CHATS)
    ]


def settle_parked(ledger: Ledger, *, arrived: Collection[str], missing: Collection[str], now: datetime) -> None:
    """Record what a person has seen.

    Args:
        ledger: Where they are parked.
        arrived: The keys of messages that are where they were sent to.
        missing: The keys of those that are not: the next run sends them.
        now: Naive UTC.

    Raises:
        LookupError: One of them is not parked, or is said to be both; then nothing is recorded.
    """
    known = {message.key: message for message in parked_messages(ledger)}
    if unknown := sorted({*arrived, *missing} - known.keys()):
        raise LookupError(f"{', '.join(unknown)} is not parked; `pls parked` lists what is")
    if both := sorted({*arrived} & {*missing}):
        raise LookupError(f"{', '.join(both)} has either arrived or not")
    seen, unseen = ([known[key] for key in dict.fromkeys(keys)] for keys in (arrived, missing))
    ledger.settle(
        [
            *(Outcome(message.delivery_id, "confirmed", "seen by a person") for message in seen),
            *(Outcome(message.delivery_id, "failed", "not there, says a person") for message in unseen),
        ],
        now,
        handoffs={
            **{message.object_id: "delivered" for message in seen if message.hands_over},
            **{message.object_id: "pending" for message in unseen if message.hands_over},
        },
    )
