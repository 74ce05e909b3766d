"""What HubSpot's answers say of each record, whatever their status: results, and errors beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster_project.clients.crm import CrmRefused, CrmUnavailable, Receipt
from dagster_project.core.sync import FieldUpdate

_LATER = frozenset({"RATE_LIMIT", "RATE_LIMITS", "INTERNAL_ERROR", "TIMEOUT", "SERVICE_UNAVAILABLE"})


def receipts_of(
    updates: Sequence[FieldUpdate], answer: Mapping[str, Any], *, keys: Mapping[str, str] | None = None
) -> list[Receipt]:
    """One receipt per record that the answer says something about, whatever its status was.

    Raises:
        CrmRefused: It has an error that names nobody, and says nothing of several records. Which of them is guilty
            shows when fewer are written, and what was written is written again.
    """
    by_key = {(keys or {}).get(update.object_id, update.object_id): update.object_id for update in updates}
    asked = {update.object_id for update in updates}
    receipts: dict[str, Receipt] = {}
    for result in results_of(answer):
        said = str(result.get("objectWriteTraceId") or "")
        object_id = said if said in asked else by_key.get(str(result.get("id")))
        if object_id:
            made = str(result["id"]) if keys is not None else None
            receipts[object_id] = Receipt(object_id, created_id=made)
    unnamed = []
    for error in answer.get("errors") or []:
        words, is_retryable = f"{error.get('category')}: {error.get('message')}", error.get("category") in _LATER
        concerned = [by_key.get(key, key) for key in _concerned(error)]
        named = [Receipt(key, words, is_retryable=is_retryable) for key in concerned if key in asked]
        receipts |= {receipt.object_id: receipt for receipt in named}
        if not named:
            unnamed.append(Receipt("", words, is_retryable=is_retryable))
    left = [update.object_id for update in updates if update.object_id not in receipts]
    if unnamed and left:
        is_retryable = all(one.is_retryable for one in unnamed)
        if len(left) > 1 and not is_retryable:
            raise CrmRefused(str(unnamed[0].error))
        receipts |= {object_id: Receipt(object_id, unnamed[0].error, is_retryable) for object_id in left}
    return list(receipts.values())


def _concerned(error: Mapping[str, Any]) -> list[str]:
    """The ids that an error names, wherever it does."""
    context = error.get("context") or {}
    named = [context.get("objectWriteTraceId"), context.get("ids"), context.get("id"), error.get("id")]
    flat = [item for entry in named if entry for item in (entry if isinstance(entry, list) else [entry])]
    return [str(item) for item in flat if item]


def results_of(answer: Any) -> list[Mapping[str, Any]]:
    """The records of an answer. One that has no list of them is no answer."""
    found = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise CrmUnavailable("HubSpot's answer has no results")
    return found
