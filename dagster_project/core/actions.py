"""What is to be done in the CRM because something happened: tasks, owners, tiers, notes, fields.

Who decides on them returns a list of these; `actions.py` carries them out. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ActionKind = Literal["task", "assign_owner", "raise_tier", "note", "set_field", "stop_task"]


@dataclass(frozen=True)
class Action:
    """One thing to do, once.

    What the payload holds, by kind; texts, numbers and lists only:
        task, note: `subject`, `body`, `due_at` (ISO 8601, UTC), optional `owner_id`, `contact_id`, `account_id`,
            `priority`. A note is nobody's to do and needs no due_at.
        assign_owner: `owner_id`, optional `instead_of`: the ids of owners who are not active any more.
        raise_tier: `to`, one of `account_tiers` in crm_fields.yml; a tier that is as high already stays.
        set_field: `fields`: our names (crm_fields.yml) -> values.
        stop_task: `why`; the object is a `task`, by the key of the action that made it.

    Attributes:
        key: The same for the same occurrence, whenever it is decided; what has been done under a key is not done again.
        kind: See above.
        object_type: `contact`, `account` or `task`.
        object_id: The CRM's id of the record; of a task our key.
        payload: See above.
    """

    key: str
    kind: ActionKind
    object_type: str
    object_id: str
    payload: Mapping[str, Any]
