"""What every CRM can do for us, whoever makes it; the embedded one is in `local_crm.py`.

CrmError
 └─ CrmUnavailable: nothing was done, the same request may succeed later
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dagster_project.core.sync import FieldUpdate


class CrmError(RuntimeError):
    """A CRM did not do what it was asked."""


class CrmUnavailable(CrmError):
    """The CRM can't be reached or has no room; try again later."""


@dataclass(frozen=True)
class Receipt:
    """What a CRM answered about one record.

    Attributes:
        object_id: The record.
        error: The CRM's own words when it refused the record, None when it took it.
        is_retryable: Whether the same update may be taken later.
    """

    object_id: str
    error: str | None = None
    is_retryable: bool = False


class CrmClient(Protocol):
    """A CRM that fields can be written to.

    Attributes:
        name: What deliveries call it, such as `crm:local`.
        max_batch: How many records one call of `update` takes.
    """

    name: str
    max_batch: int

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        """Write fields of `contact` or `account` records.

        Returns:
            One receipt per update: a record that is refused keeps no other from being written.

        Raises:
            CrmUnavailable: Nothing is known to have been written; writing the same again does no harm.
        """
        ...
