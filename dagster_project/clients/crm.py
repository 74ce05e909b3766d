"""What every CRM can do for us, whoever makes it; the embedded one is in `local_crm.py`.

Values are our types on both sides (texts, numbers, booleans, lists, ISO dates): how a CRM spells them is its client's
business, so that what `read` gives equals what `update` was given whenever the CRM holds exactly that.

CrmError
 ├─ CrmUnavailable: nothing was done, the same request may succeed later
 │   └─ CrmUnknown: it may have been done; the same idempotent request does no harm
 │       └─ CrmNotDone: it is being done, and takes longer than anybody waits
 ├─ CrmRefused: a request was refused as a whole, without saying for which of its records
 └─ CrmDenied: whoever we are may not do this at all; nothing else of the kind will succeed either
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from dagster_project.core.sync import FieldUpdate

IS_DELETED = "is_deleted"
"""In a row of `extract`: true for a record that the CRM has deleted, or merged into another."""


class CrmError(RuntimeError):
    """A CRM did not do what it was asked."""


class CrmUnavailable(CrmError):
    """The CRM can't be reached or has no room; try again later.

    Attributes:
        is_silent: Whether nobody answered at all, the last time that was tried.
    """

    is_silent = False


class CrmUnknown(CrmUnavailable):
    """No answer came: the CRM may have done it or not."""


class CrmNotDone(CrmUnknown):
    """The CRM is still at it, so that the same request would be one more of the same; the next run asks again."""


class CrmRefused(CrmError):
    """The CRM took nothing of a request; the message has its own words."""


class CrmDenied(CrmError):
    """A right, a scope or a valid token is missing; the message says which."""


@dataclass(frozen=True)
class Receipt:
    """What a CRM answered about one record.

    Attributes:
        object_id: The record, as the request named it.
        error: The CRM's own words when it refused the record, None when it took it.
        is_retryable: Whether the same may be taken later.
        is_needless: With an error: there was nothing to do, such as an owner that is there already.
        is_unknown: With an error: nobody saw whether it was taken.
        created_id: The CRM's id of a record or task that it made, or that it had already where one was to be made.
    """

    object_id: str
    error: str | None = None
    is_retryable: bool = False
    is_needless: bool = False
    is_unknown: bool = False
    created_id: str | None = None


@dataclass(frozen=True)
class Task:
    """Something for a person to do, or with `is_done` a note that stands on the record.

    Attributes:
        key: Ours, kept in the CRM, so that a task is found again.
        subject: One line.
        body: Plain text.
        due_at: Naive UTC; None for a note.
        owner_id: The CRM's id of who does it, None for nobody.
        contact_id: The contact that it is about, None for none.
        account_id: The account, likewise.
        priority: P0, P1 or P2.
        is_done: A note: nobody has to do anything.
    """

    key: str
    subject: str
    body: str
    due_at: datetime | None = None
    owner_id: str | None = None
    contact_id: str | None = None
    account_id: str | None = None
    priority: str = "P2"
    is_done: bool = False


@dataclass(frozen=True)
class TaskState:
    """How a task stands in the CRM.

    Attributes:
        task_id: The CRM's id.
        status: `open` or `done`.
        outcome: What its owner noted, None for nothing.
    """

    task_id: str
    status: Literal["open", "done"]
    outcome: str | None = None


STOPPED = "Do not contact: "
"""How the subject of a task begins that is about somebody who has said no since."""
_NO_TASK, _IS_DONE = "the task is not there any more", "the task is done"


def stopped(key: str, subject: str | None, *, is_done: bool) -> Receipt | None:
    """What is to be said of a task that is to be stopped and need not be changed; None if it has to be.

    Args:
        key: The task's.
        subject: What its subject is, None where there is no such task.
        is_done: Whether somebody has closed it.
    """
    if subject is None or is_done:
        return Receipt(key, _NO_TASK if subject is None else _IS_DONE, is_needless=True)
    return Receipt(key) if subject.startswith(STOPPED) else None


@dataclass(frozen=True)
class FieldSpec:
    """A field that the CRM has to have.

    Attributes:
        name: The CRM's name of it.
        label: What people see.
        kind: Of its values; a `list` may become a text whose items are separated by `;`.
    """

    name: str
    label: str
    kind: Literal["number", "text", "date", "moment", "list", "flag"]


@dataclass(frozen=True)
class Page:
    """Some of what has changed in the CRM.

    Attributes:
        rows: In the columns of section 2.3; a deleted record, and one that was merged into another, has its id and
            `IS_DELETED`.
        cursor: Where to go on after these rows, kept by the caller once they are safe.
        is_last: Whether nothing more has changed.
    """

    rows: Sequence[Mapping[str, Any]]
    cursor: str
    is_last: bool


class CrmClient(Protocol):
    """A CRM. Object types are `contact` and `account`; every method may raise `CrmUnavailable` and `CrmDenied`.

    Attributes:
        name: What deliveries call it, such as `crm:local`.
        max_batch: How many records one call of `update` takes.
    """

    name: str
    max_batch: int

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        """Write fields of records, in one request where the CRM can do that. The same again changes nothing.

        A record that is not there is made only if its update has `create`.

        Returns:
            One receipt per update: a record that is refused keeps no other from being written. A record that the CRM
            said nothing about has no receipt.

        Raises:
            CrmRefused: They were not taken as a whole, and the CRM did not say because of which.
            CrmUnknown: Some may have been written.
        """
        ...

    def read(self, object_type: str, ids: Sequence[str], names: Collection[str]) -> dict[str, dict[str, Any]]:
        """What the CRM holds now.

        Args:
            object_type: `contact` or `account`.
            ids: At most `max_batch` of them is one request.
            names: The CRM's names of the fields; `owner_id` is always understood.

        Returns:
            By id, the named fields, None where one is empty. A record that is not there is missing.
        """
        ...

    def create_task(self, task: Task) -> Receipt:
        """Make a task. Not idempotent: `find_tasks` first where it may have been made already.

        Raises:
            CrmUnknown: It may have been made.
        """
        ...

    def find_tasks(self, keys: Sequence[str]) -> dict[str, TaskState]:
        """The tasks that were made with these keys, by key; exact at once, without waiting for an index."""
        ...

    def stop_task(self, key: str, why: str) -> Receipt:
        """Say in an open task that its person must not be contacted.

        `STOPPED` comes before its subject, and `why` before its text; what people have written there stays.
        The same again changes nothing.

        Args:
            key: The task's.
            why: Plain text.

        Returns:
            `is_needless` if there is no such task, or if it is done.
        """
        ...

    def assign_owner(
        self, object_type: str, object_id: str, owner_id: str, *, instead_of: Collection[str] = ()
    ) -> Receipt:
        """Make somebody the owner of a record that has none, or one of `instead_of`; looked up in the CRM itself.

        Returns:
            Without an error also if it is the owner already; `is_needless` if somebody else is.
        """
        ...

    def describe_fields(self, object_type: str) -> set[str]:
        """The names of the fields that records of this type have."""
        ...

    def unknown_fields(self, object_type: str, names: Collection[str]) -> list[str]:
        """Those of these names of which no record of this type can have a field, in their order."""
        ...

    def create_fields(self, object_type: str, specs: Sequence[FieldSpec]) -> None:
        """Make fields. Raises CrmRefused with the CRM's words."""
        ...

    def missing_scopes(self) -> list[str]:
        """The rights that are needed for all of this and are not there, as the CRM calls them."""
        ...

    def missing_fields(self, entity: str) -> list[str]:
        """The fields that `crm_sources.yml` reads an entity from and that the CRM does not have, or does not show."""
        ...

    def extract(self, entity: str, cursor: str | None) -> Iterator[Page]:
        """What has changed.

        Args:
            entity: accounts, contacts, opportunities, owners or tickets.
            cursor: Of the last page that is safe; None for everything.
        """
        ...
