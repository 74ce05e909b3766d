"""Messages of which nobody can tell whether they arrived: which they are, and what a person who has looked says."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

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
    rows = ledger.read_frame("deliveries").filter(
        pl.col("status") == "parked", pl.col("destination").is_in(list(CHATS))
    )
    return [
        Parked(
            key=f"{row['object_type']}/{row['object_id']}/{row['operation']}",
            delivery_id=row["delivery_id"],
            object_id=row["object_id"],
            reason=row["error"] or "",
            since=row["requested_at"],
            hands_over=(row["object_type"], row["operation"]) == (HANDOFF, ALERT),
        )
        for row in rows.sort("requested_at", "delivery_id").to_dicts()
    ]


def settle_parked(ledger: Ledger, keys: Sequence[str], *, has_arrived: bool, now: datetime) -> None:
    """Record what a person has seen.

    Args:
        ledger: Where they are parked.
        keys: Which messages.
        has_arrived: Whether they are where they were sent to; otherwise the next run sends them.
        now: Naive UTC.

    Raises:
        LookupError: One of them is not parked; then nothing is recorded.
    """
    known = {message.key: message for message in parked_messages(ledger)}
    if missing := [key for key in keys if key not in known]:
        raise LookupError(f"{', '.join(missing)} is not parked; `pls parked` lists what is")
    found = [known[key] for key in keys]
    status, said = ("confirmed", "seen by a person") if has_arrived else ("failed", "not there, says a person")
    ledger.settle(
        [Outcome(message.delivery_id, status, said) for message in found],  # type: ignore[arg-type]
        now,
        handoffs={
            message.object_id: "delivered" if has_arrived else "pending" for message in found if message.hands_over
        },
    )
