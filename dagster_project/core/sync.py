"""Which fields of which records have to be written elsewhere: the difference between what is and what was confirmed.

Pure: records in, updates out. How they are written is a client's business, that nothing is written twice the ledger's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

RIDERS = frozenset({"pls_scored_at"})
"""Fields that are sent along with others and are never a reason to write."""
_NEVER_CONFIRMED = object()


@dataclass(frozen=True)
class FieldUpdate:
    """Fields of one record that have to change, under the destination's names.

    Attributes:
        object_id: The destination's id of the record.
        fields: What to write, riders included.
        fingerprint: A hash of what makes the update necessary, the same as long as that is so.
        create: None for a record that is there. Otherwise `email`, and `name` and `account_id` where they are known:
            the record with this e-mail is meant, and made with these if there is none; `object_id` is our name for it.
    """

    object_id: str
    fields: Mapping[str, Any]
    fingerprint: str
    create: Mapping[str, Any] | None = None


def plan_sync(
    desired: Mapping[str, Mapping[str, Any]],
    confirmed: Mapping[str, Mapping[str, Any]],
    parked: Mapping[str, str],
    *,
    names: Mapping[Any, str | None],
) -> list[FieldUpdate]:
    """The updates that bring the destination up to date.

    Args:
        desired: By object id, our fields; None is unknown and never written.
        confirmed: By object id, what the destination was last confirmed to hold, under its names.
        parked: By object id, the fingerprint of an update that was refused for good: not tried again until it changes.
        names: Our field -> the destination's name; None means that the field is not written there.

    Returns:
        One update per record with at least one field that differs, by object id.
    """
    riders = {theirs for ours, theirs in names.items() if ours in RIDERS}
    updates = []
    for object_id in sorted(desired):
        wanted = {
            str(names[ours]): value for ours, value in desired[object_id].items() if names[ours] and value is not None
        }
        held = confirmed.get(object_id, {})
        differs = {
            name: value
            for name, value in wanted.items()
            if name not in riders and held.get(name, _NEVER_CONFIRMED) != value
        }
        if not differs:
            continue
        fingerprint = sha256(json.dumps(differs, sort_keys=True).encode()).hexdigest()[:16]
        if parked.get(object_id) == fingerprint:
            continue
        riding = {name: value for name, value in wanted.items() if name in riders}
        updates.append(FieldUpdate(object_id, differs | riding, fingerprint))
    return updates
