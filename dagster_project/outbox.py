"""Delivers handoffs to the outbox: one Markdown file each, written whole or not at all, once.

Used while no chat is connected. Whether somebody may be contacted is asked again here, at the moment of sending.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from dagster_project.ledger import Ledger, Outcome, Request

DESTINATION = "outbox"


@dataclass(frozen=True)
class DeliveryReport:
    """What became of the handoffs that were waiting.

    Attributes:
        delivered: Files written.
        cancelled: Handoffs withdrawn because their person may not be contacted any more.
        failed: What went wrong, by handoff id; the next run tries again.
    """

    delivered: int
    cancelled: int
    failed: Mapping[str, str]


def deliver_handoffs(ledger: Ledger, outbox: Path, blocked: Mapping[str, str], *, now: datetime) -> DeliveryReport:
    """Write every pending handoff.

    Args:
        ledger: Where the handoffs wait and the deliveries are kept.
        outbox: The folder; a handoff is `<its day>/<its id>.md` there.
        blocked: Why a user may not be contacted now, by user id.
        now: Naive UTC.
    """
    delivered, cancelled = 0, 0
    failed: dict[str, str] = {}
    for handoff in ledger.pending_handoffs():
        handoff_id = handoff["handoff_id"]
        [delivery_id] = ledger.request([_request(handoff)], now)
        if reason := blocked.get(handoff["user_id"]):
            ledger.cancel_handoff(handoff, delivery_id, reason, now)
            cancelled += 1
            continue
        try:
            _write_whole(outbox / f"{handoff['created_at']:%Y-%m-%d}" / f"{handoff_id}.md", handoff["package_markdown"])
        except OSError as error:
            failed[handoff_id] = str(error)
            ledger.settle([Outcome(delivery_id, "failed", str(error))], now)
            continue
        ledger.settle([Outcome(delivery_id, "confirmed")], now, handoffs={handoff_id: "delivered"})
        delivered += 1
    return DeliveryReport(delivered, cancelled, failed)


def _request(handoff: Mapping[str, Any]) -> Request:
    text = handoff["package_markdown"]
    return Request(
        destination=DESTINATION,
        object_type="handoff",
        object_id=handoff["handoff_id"],
        operation="write",
        payload=text,
        payload_hash=sha256(text.encode()).hexdigest()[:16],
    )


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees a part of it, and a crash leaves all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
