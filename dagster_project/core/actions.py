"""What is to be done elsewhere because something happened: tasks, owners, tiers, notes, fields, alerts.

Who decides on them returns a list of these; `actions.py` carries out those that concern the CRM. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ActionKind = Literal["task", "assign_owner", "raise_tier", "note", "set_field", "notify"]
ON_THE_CRM = frozenset({"task", "assign_owner", "raise_tier", "note", "set_field"})
"""Kinds that a CRM carries out; `notify` is for whoever sends alerts."""


@dataclass(frozen=True)
class Action:
    """One thing to do, once.

    What the payload holds, by kind; texts, numbers and lists only:
        task, note: `subject`, `body`, `due_at` (ISO 8601, UTC), optional `owner_id`, `contact_id`, `account_id`,
            `priority`. A note is nobody's to do and needs no due_at.
        assign_owner: `owner_id`, optional `instead_of`: the ids of owners who are not active any more.
        raise_tier: `to`, one of `account_tiers` in crm_fields.yml; a tier that is as high already stays.
        set_field: `fields`: our names (crm_fields.yml) -> values.
        notify: whatever its sender needs.

    Attributes:
        key: The same for the same occurrence, whenever it is decided; what has been done under a key is not done again.
        kind: See above.
        object_type: `contact` or `account`.
        object_id: The CRM's id of the record.
        payload: See above.
    """

    key: str
    kind: ActionKind
    object_type: str
    object_id: str
    payload: Mapping[str, Any]
