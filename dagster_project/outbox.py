"""Delivers handoffs to the outbox: one Markdown file each, written whole or not at all, once.

Used while no chat is connected. Whether somebody may be contacted is asked again here, at the moment of sending.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from dagster_project.ledger import Ledger, Outcome, Request

DESTINATION = "outbox"
_FILE_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")


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
        blocked: Why a user may not be contacted now, by user id; to be in it is enough.
        now: Naive UTC.
    """
    delivered, cancelled = 0, 0
    failed: dict[str, str] = {}
    for handoff in ledger.pending_handoffs():
        handoff_id = handoff["handoff_id"]
        [delivery_id] = ledger.request([_request(handoff)], now)
        if (reason := blocked.get(handoff["user_id"])) is not None:
            ledger.cancel_handoff(handoff, delivery_id, reason, now)
            cancelled += 1
            continue
        try:
            _write_whole(
                outbox / f"{handoff['created_at']:%Y-%m-%d}" / _file_name(handoff_id), handoff["package_markdown"]
            )
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


def _file_name(handoff_id: str) -> str:
    """The id, or what stands for it when it would lead out of the folder or not be a file's name."""
    if _FILE_NAME.fullmatch(handoff_id):
        return f"{handoff_id}.md"
    return f"handoff-{sha256(handoff_id.encode()).hexdigest()[:16]}.md"


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees a part of it, and a crash leaves all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    for folder in path.parents[:3]:  # the day, the outbox, the data folder: any of them may be new
        _keep_names(folder)


def _keep_names(folder: Path) -> None:
    """Make what was created in a folder outlast a power cut; a system that can't open folders sees to it itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
