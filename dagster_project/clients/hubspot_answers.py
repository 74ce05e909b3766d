"""What HubSpot's answers say of each record, whatever their status: results, and errors beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster_project.clients.crm import CrmUnavailable, Receipt
from dagster_project.core.sync import FieldUpdate

_LATER = frozenset({"RATE_LIMIT", "RATE_LIMITS", "INTERNAL_ERROR", "TIMEOUT", "SERVICE_UNAVAILABLE"})


def receipts_of(
    updates: Sequence[FieldUpdate], answer: Mapping[str, Any], *, keys: Mapping[str, str] | None = None
) -> list[Receipt]:
    """One receipt per record that the answer says something about, whatever its status was."""
    by_key = {(keys or {}).get(update.object_id, update.object_id): update.object_id for update in updates}
    asked = {update.object_id for update in updates}
    receipts: dict[str, Receipt] = {}
    for result in results_of(answer):
        said = str(result.get("objectWriteTraceId") or "")
        object_id = said if said in asked else by_key.get(str(result.get("id")))
        if object_id:
            made = str(result["id"]) if keys is not None else None
            receipts[object_id] = Receipt(object_id, created_id=made)
    open_ones = [update.object_id for update in updates if update.object_id not in receipts]
    for error in answer.get("errors") or []:
        concerned = [by_key.get(key, key) for key in _concerned(error)]
        words, is_retryable = f"{error.get('category')}: {error.get('message')}", error.get("category") in _LATER
        for object_id in [key for key in concerned if key in asked] or (open_ones if len(open_ones) == 1 else []):
            receipts[object_id] = Receipt(object_id, words, is_retryable=is_retryable)
    return list(receipts.values())


def unnamed_error(answer: Mapping[str, Any]) -> Receipt | None:
    """What an answer says of records without naming them, as the receipt of nobody; None where it says nothing.

    It is retryable if all of that may be gone next time.
    """
    unnamed = [error for error in answer.get("errors") or [] if not _concerned(error)]
    if not unnamed:
        return None
    words = f"{unnamed[0].get('category')}: {unnamed[0].get('message')}"
    return Receipt("", words, is_retryable=all(error.get("category") in _LATER for error in unnamed))


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
