"""What has to be written where: what a destination should hold, compared with what it was last confirmed to hold.

What should stand in the fields is `core/crm_fields.py`'s business, what differs that of `core/sync.py`; a plan is
carried out in `activation.py`.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

import polars as pl

from dagster_project.clients.crm import CrmClient, CrmDenied, CrmRefused, Receipt
from dagster_project.core.sync import (
    FieldUpdate,
    Standing,
    Target,
    changed_records,
    needs_reading,
    plan_records,
    with_digest,
)
from dagster_project.ledger import Ledger

OPERATION = "update"
PORTION = 20_000
"""Records that are in memory as such at a time."""
FEW = 5_000
"""Records of which the ledger is asked one by one instead of for all that it knows."""


class Destination(Protocol):
    """What fields are written to, a CRM or another system; see `clients.crm.CrmClient`."""

    name: str
    max_batch: int

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        """Write fields of records."""
        ...

    def read(self, object_type: str, ids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What it holds now."""
        ...


def plan_fields(
    ledger: Ledger,
    to: Destination,
    object_type: str,
    desired: pl.DataFrame,
    *,
    target: Target,
    hold_decreases: str | None = None,
    retry_parked: bool = False,
    rewrite: bool = False,
) -> Iterator[pl.DataFrame]:
    """What would be written, without writing it.

    Args:
        ledger: What was confirmed, refused, or never answered.
        to: Read from only where a policy depends on what stands there.
        object_type: `contact` or `account`.
        desired: `object_id`, our fields, optionally `create_as`.
        target: What is written, and how.
        hold_decreases: Why nothing may fall, None if it may.
        retry_parked: Whether what was refused for good is tried again.
        rewrite: Whether nothing is taken for confirmed.

    Yields:
        `core.sync.PLAN_SCHEMA` of the records that had to be looked at, by portions; all others are unchanged.
    """
    slices = desired.iter_slices(PORTION) if desired.height else [desired]
    desired = pl.concat(with_digest(part, target) for part in slices)
    # A request whose end nobody saw may have changed what it was about: that is not taken for confirmed.
    doubtful = ledger.unsettled(to.name, object_type, OPERATION)
    few = desired["object_id"].to_list() if desired.height <= FEW else None
    known = ledger.digests(to.name, object_type, few).filter(~pl.col("object_id").is_in(list(doubtful)))
    parked = {} if retry_parked or rewrite else ledger.parked(to.name, object_type, OPERATION)
    changed = changed_records(desired, known.clear() if rewrite else known)
    for first in range(0, changed.len(), PORTION):
        part = desired[changed.slice(first, PORTION)]
        ids = [] if rewrite else part["object_id"].to_list()
        confirmed = certain(ledger.confirmed(to.name, object_type, ids), doubtful)
        current = read_held(to, object_type, needs_reading(part, confirmed, target), list(target.guarded.values()))
        yield plan_records(part, Standing(confirmed, current, parked, hold_decreases), target)


def without_unknown(crm: CrmClient, object_type: str, target: Target) -> tuple[Target, str | None]:
    """A target without the fields that the CRM does not have: one of them would refuse every record.

    Args:
        crm: Which CRM.
        object_type: `contact` or `account`.
        target: What is to be written.

    Returns:
        What can be written, and what somebody has to do about the rest, None where there is none.

    Raises:
        CrmUnavailable: The CRM can't be asked now.
    """
    try:
        unknown = crm.unknown_fields(object_type, list(target.written.values()))
    except (CrmDenied, CrmRefused):  # whoever may not ask may write all the same
        return target, None
    if not unknown:
        return target, None
    names = {ours: None if theirs in unknown else theirs for ours, theirs in target.names.items()}
    return replace(target, names=names), (
        f"the CRM's {object_type}s have no field {', '.join(unknown)}, or don't show it to us, and it stays unwritten: "
        "`pls sync --setup` makes it, or crm_fields.yml names another one"
    )


def give_up_gone(ledger: Ledger, to: str, object_type: str, wanted: Collection[str], now: datetime) -> int:
    """Stop trying records that are not there any more: merged, deleted, or not ours to write now.

    Args:
        ledger: What was left to be tried again.
        to: The destination's name.
        object_type: `contact` or `account`.
        wanted: The ids of all records that are to hold something.
        now: Naive UTC.

    Returns:
        How many they are.
    """
    return ledger.forget(to, object_type, OPERATION, but=frozenset(wanted), now=now) if wanted else 0


def certain(confirmed: Mapping[str, Mapping[str, Any]], doubtful: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """What was confirmed, without the fields that a request whose end nobody saw may have changed since."""
    certain = dict(confirmed)
    for object_id in confirmed.keys() & doubtful.keys():
        doubts = json.loads(doubtful[object_id])
        certain[object_id] = {name: value for name, value in confirmed[object_id].items() if name not in doubts}
    return certain


def read_held(to: Destination, object_type: str, ids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What records hold now, asked for in batches."""
    held: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), to.max_batch):
        held |= to.read(object_type, ids[start : start + to.max_batch], names)
    return held
