"""Writes fields back to a CRM: plan the difference, record the intent, call, record the receipts.

What should stand in the fields is `core/crm_fields.py`'s business, how a CRM is spoken to that of `clients/`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dagster_project.clients.crm import CrmClient, CrmUnavailable, Receipt
from dagster_project.core.sync import FieldUpdate, plan_sync
from dagster_project.ledger import Ledger, Outcome, Request

OPERATION = "update"


@dataclass(frozen=True)
class SyncResult:
    """What became of one object type.

    Attributes:
        written: Records that the CRM took.
        unchanged: Records that needed nothing, or whose update the CRM has refused before.
        refused: What the CRM said about records that it will not take as they are, by id.
        failed: Records that the next run tries again.
        cause: Why they failed, when the CRM could not be reached.
    """

    written: int
    unchanged: int
    refused: Mapping[str, str]
    failed: int
    cause: str | None


def sync_fields(
    ledger: Ledger,
    crm: CrmClient,
    object_type: str,
    *,
    desired: Mapping[str, Mapping[str, Any]],
    names: Mapping[Any, str | None],
    now: datetime,
) -> SyncResult:
    """Bring the fields of one object type up to date.

    Args:
        ledger: Where intents and receipts are kept; no transaction of it is open while the CRM is called.
        crm: The CRM.
        object_type: `contact` or `account`.
        desired: By object id, our fields.
        names: Our field -> the CRM's name.
        now: Naive UTC.
    """
    confirmed = _certain(
        ledger.confirmed(crm.name, object_type, desired), ledger.unsettled(crm.name, object_type, OPERATION)
    )
    updates = plan_sync(desired, confirmed, ledger.parked(crm.name, object_type, OPERATION), names=names)
    written, failed, cause = 0, 0, None
    refused: dict[str, str] = {}
    for batch in _batches(updates, crm.max_batch):
        ids = ledger.request([_request(crm.name, object_type, update) for update in batch], now)
        try:
            receipts = {receipt.object_id: receipt for receipt in crm.update(object_type, batch)}
        except CrmUnavailable as error:
            # What comes after would fail in the same way; the next run finds all of it still to be done.
            ledger.settle([Outcome(delivery_id, "failed", str(error)) for delivery_id in ids], now)
            failed += len(updates) - written - len(refused) - failed
            cause = str(error)
            break
        outcomes, taken = [], {}
        for delivery_id, update in zip(ids, batch, strict=True):
            outcome = _outcome(delivery_id, receipts.get(update.object_id))
            outcomes.append(outcome)
            if outcome.status == "confirmed":
                before = confirmed.get(update.object_id, {})
                taken[crm.name, object_type, update.object_id] = {**before, **update.fields}
            elif outcome.status == "parked":
                refused[update.object_id] = str(outcome.error)
            else:
                failed += 1
        ledger.settle(outcomes, now, confirmed=taken)
        written += len(taken)
    return SyncResult(written, len(desired) - len(updates), refused, failed, cause)


def _certain(confirmed: Mapping[str, Mapping[str, Any]], unsettled: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """What was confirmed, without the fields that a request whose end nobody saw may have changed since."""
    doubtful = {object_id: json.loads(payload) for object_id, payload in unsettled.items()}
    return {
        object_id: {name: value for name, value in fields.items() if name not in doubtful.get(object_id, ())}
        for object_id, fields in confirmed.items()
    }


def _batches(updates: Sequence[FieldUpdate], size: int) -> Iterator[Sequence[FieldUpdate]]:
    for start in range(0, len(updates), size):
        yield updates[start : start + size]


def _request(destination: str, object_type: str, update: FieldUpdate) -> Request:
    return Request(
        destination=destination,
        object_type=object_type,
        object_id=update.object_id,
        operation=OPERATION,
        payload=json.dumps(dict(update.fields), sort_keys=True),
        payload_hash=update.fingerprint,
    )


def _outcome(delivery_id: str, receipt: Receipt | None) -> Outcome:
    if receipt is None:
        return Outcome(delivery_id, "failed", "the CRM did not say what became of this record")
    if receipt.error is None:
        return Outcome(delivery_id, "confirmed")
    return Outcome(delivery_id, "failed" if receipt.is_retryable else "parked", receipt.error)
