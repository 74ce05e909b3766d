"""Salesforce: fields of Contacts, Leads and Accounts, tasks and owners. A sign-up is often a Lead: both are `contact`s.

What has changed is read in `salesforce_extract.py`, fields are made in `salesforce_setup.py`. Facts used (vendor's
reference, API 67.0): an sObject Collection takes 200 records and answers with one result each, in their order and with
status 200 whatever became of them; an external id identifies a record in an upsert; each sObject's ids have a prefix.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from dagster_project.clients.crm import (
    STOPPED,
    CrmNotDone,
    CrmRefused,
    CrmUnavailable,
    CrmUnknown,
    FieldSpec,
    Page,
    Receipt,
    Task,
    TaskState,
    stopped,
)
from dagster_project.clients.crm_values import joined, number_of, split, to_seconds, unreadable_is_unknown
from dagster_project.clients.http import Clock, RetryPolicy
from dagster_project.clients.salesforce_api import SalesforceApi, listed, object_of, quoted
from dagster_project.clients.salesforce_bulk import update_in_bulk
from dagster_project.clients.salesforce_extract import SalesforceExtract
from dagster_project.clients.salesforce_setup import KEY, OUTCOME, SalesforceSetup, kinds_of
from dagster_project.clock import utc_now
from dagster_project.core.crm_source_rules import CrmSourceRules
from dagster_project.core.sync import FieldUpdate

COLLECTION = 200
"""Records in one request."""
RETRIEVED = 2_000
"""Records that one request reads."""
BULK_FROM = 2_000
"""From so many records on a bulk job takes fewer requests and holds up nobody."""
RETRYABLE = frozenset({"UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "UNKNOWN_EXCEPTION"})
_SUBJECT, _DESCRIPTION = 255, 32_000
"""Characters that a Task has for them."""
_ID = re.compile(r"[a-zA-Z0-9]{15}(?:[a-zA-Z0-9]{3})?")
_LEAD, _QUEUE = "00Q", "00G"
_PRIORITIES = {"P0": "High", "P1": "Normal", "P2": "Low"}
_NUMBERS = frozenset({"double", "int", "currency", "percent", "long"})


def connect(
    variables: Mapping[str, str],
    rules: CrmSourceRules,
    *,
    clock: Clock | None = None,
    policy: RetryPolicy | None = None,
    now: Callable[[], datetime] | None = None,
) -> "Salesforce":
    """The org that the PLS_SALESFORCE_* variables name.

    Args:
        variables: Those that are set.
        rules: `crm_sources.yml`.
        clock: What waiting is measured in.
        policy: Timeouts and retries.
        now: The time, naive UTC.

    Raises:
        ValueError: A variable is missing, the address must not get secrets, or a package is not installed.
    """
    api = SalesforceApi(variables, clock=clock or Clock(), policy=policy, daily_reserve=rules.daily_reserve)
    return Salesforce(api, rules, now=now or utc_now)


@unreadable_is_unknown
class Salesforce:
    """A Salesforce org; see `CrmClient`.

    Args:
        api: Where requests go.
        rules: `crm_sources.yml`.
        now: The time, naive UTC.

    Attributes:
        bulk_from: How many records of one kind make a bulk job.
    """

    name = "crm:salesforce"
    max_batch = 10_000
    bulk_from = BULK_FROM

    def __init__(self, api: SalesforceApi, rules: CrmSourceRules, *, now: Callable[[], datetime]) -> None:
        self._api = api
        self._now = now
        self._described: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._lists: set[str] = set()
        self._bulk_stands_still = False
        self._setup = SalesforceSetup(api, self._describe)
        self._extract = SalesforceExtract(api, rules, fields=lambda kind: set(self._describe(kind)), now=now)

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        """Write fields; see `CrmClient.update`. Small sets go as collections, large ones as bulk jobs."""
        if self._bulk_stands_still and len(updates) >= self.bulk_from:
            raise CrmNotDone("Salesforce had not done a bulk job when it was stopped: the next run tries the rest")
        there, unknown = self._placed(object_type, updates)
        receipts: list[Receipt] = []
        found_for = {update.object_id: found for update, found in there if update.create is not None}
        for kind in kinds_of(object_type):
            of_kind = [(update, found) for update, found in there if _kind(object_type, found) == kind]
            rows = [(update, self._row(kind, update, found)) for update, found in of_kind]
            if len(rows) >= self.bulk_from:
                receipts += self._in_bulk(kind, rows)
            else:
                receipts += self._in_collections(kind, rows, is_alone=len(rows) == len(updates) <= COLLECTION)
        receipts = [replace(r, created_id=None if r.error else found_for.get(r.object_id)) for r in receipts]
        return receipts + [receipt for update in unknown for receipt in self._make(object_type, update)]

    def _placed(
        self, object_type: str, updates: Sequence[FieldUpdate]
    ) -> tuple[list[tuple[FieldUpdate, str]], list[FieldUpdate]]:
        """The updates with the id of their record, and those whose record is to be made."""
        emails = [str(update.create["email"]).strip().lower() for update in updates if update.create]
        by_email = self._by_email(emails) if emails and object_type == "contact" else {}
        there, unknown = [], []
        for update in updates:
            if update.create is None:
                there.append((update, update.object_id))
            elif (email := str(update.create["email"]).strip().lower()) in by_email:
                there.append((update, by_email[email]))
            else:
                unknown.append(update)
        return there, unknown

    def _by_email(self, emails: Sequence[str]) -> dict[str, str]:
        """The record with an e-mail: a Contact before a Lead that was not converted, the smallest id."""
        found: dict[str, str] = {}
        for start in range(0, len(emails), COLLECTION):
            some = listed(emails[start : start + COLLECTION])
            for soql in (
                f"SELECT Id, Email FROM Lead WHERE Email IN {some} AND IsConverted = false ORDER BY Id DESC",
                f"SELECT Id, Email FROM Contact WHERE Email IN {some} ORDER BY Id DESC",
            ):
                for page in self._api.query(soql):
                    found |= {str(record["Email"]).lower(): record["Id"] for record in page}
        return found

    def _row(self, kind: str, update: FieldUpdate, object_id: str) -> dict[str, Any]:
        self._lists |= {self._theirs(kind, n) for n, v in update.fields.items() if isinstance(v, list | tuple)}
        fields = {self._theirs(kind, n): _stored(v) for n, v in update.fields.items() if v is not None}
        return {**fields, "Id": object_id}

    def _in_bulk(self, kind: str, rows: Sequence[tuple[FieldUpdate, Mapping[str, Any]]]) -> list[Receipt]:
        """As one job. What a job refuses as a whole goes as collections, which say because of which record."""
        ours = {row["Id"]: update.object_id for update, row in rows}
        try:
            receipts, was_stopped = update_in_bulk(self._api, kind, [row for _, row in rows], is_retryable=RETRYABLE)
        except CrmRefused:
            return self._in_collections(kind, rows, is_alone=False)
        self._bulk_stands_still = self._bulk_stands_still or was_stopped
        return [
            Receipt(ours[receipt.object_id], receipt.error, receipt.is_retryable)
            for receipt in receipts
            if receipt.object_id in ours
        ]

    def _in_collections(
        self, kind: str, rows: Sequence[tuple[FieldUpdate, Mapping[str, Any]]], *, is_alone: bool
    ) -> list[Receipt]:
        """In requests of `COLLECTION`. One that is refused as a whole is the caller's to split only if it is alone."""
        receipts: list[Receipt] = []
        for start in range(0, len(rows), COLLECTION):
            some = rows[start : start + COLLECTION]
            try:
                receipts += self._collection(kind, some)
            except CrmRefused as error:
                if is_alone:
                    raise
                if len(some) == 1:
                    receipts.append(_refused(some[0][0].object_id, error))
                    continue
                middle = len(some) // 2
                receipts += self._in_collections(kind, some[:middle], is_alone=False)
                receipts += self._in_collections(kind, some[middle:], is_alone=False)
        return receipts

    def _collection(self, kind: str, rows: Sequence[tuple[FieldUpdate, Mapping[str, Any]]]) -> list[Receipt]:
        records = [{"attributes": {"type": kind}, **row} for _, row in rows]
        body = {"allOrNone": False, "records": records}
        answer = self._api.request("PATCH", "/composite/sobjects", body=body).body
        if not isinstance(answer, list) or not all(isinstance(said, dict) for said in answer):
            raise CrmUnavailable("Salesforce's answer has no results")
        if len(answer) == len(rows):
            return [_receipt(update.object_id, said) for (update, _), said in zip(rows, answer, strict=True)]
        # Fewer results than records: only those that name theirs are believed.
        ours = {row["Id"]: update.object_id for update, row in rows}
        return [_receipt(ours[said["id"]], said) for said in answer if said.get("id") in ours]

    def _make(self, object_type: str, update: FieldUpdate) -> list[Receipt]:
        """Make a Lead, or a Contact where the account is known; our key keeps it from being made twice."""
        create = update.create or {}
        if object_type != "contact":
            return [Receipt(update.object_id, "only contacts are made in Salesforce")]
        kind = "Contact" if create.get("account_id") else "Lead"
        email = str(create["email"]).strip().lower()
        first, _, last = str(create.get("name") or "").strip().rpartition(" ")
        record: dict[str, Any] = {"attributes": {"type": kind}, KEY: update.object_id, "Email": email}
        record |= {"LastName": last or email} | ({"FirstName": first} if first else {})
        record |= {"AccountId": create["account_id"]} if kind == "Contact" else {"Company": email.partition("@")[2]}
        record |= {name: value for name, value in self._row(kind, update, "").items() if name != "Id"}
        body = {"allOrNone": False, "records": [record]}
        try:
            answer = self._api.request("PATCH", f"/composite/sobjects/{kind}/{KEY}", body=body).body or []
        except CrmRefused as error:
            return [_refused(update.object_id, error)]
        return [_receipt(update.object_id, said, is_made=True) for said in answer if isinstance(said, dict)]

    def read(self, object_type: str, ids: Sequence[str], names: Collection[str]) -> dict[str, dict[str, Any]]:
        """What Salesforce holds now; see `CrmClient.read`."""
        found: dict[str, dict[str, Any]] = {}
        for kind in kinds_of(object_type):
            theirs = {name: self._theirs(kind, name) for name in names}
            there = {name: their for name, their in theirs.items() if their in self._describe(kind)}
            wanted = [i for i in ids if _ID.fullmatch(i) and _kind(object_type, i) == kind]
            for start in range(0, len(wanted), RETRIEVED):
                body = {"ids": wanted[start : start + RETRIEVED], "fields": ["Id", *sorted(set(there.values()))]}
                answer = self._api.request("POST", f"/composite/sobjects/{kind}", body=body).body
                if not isinstance(answer, list):
                    raise CrmUnavailable("Salesforce's answer has no records")
                for object_id, record in zip(body["ids"], answer, strict=False):
                    if record:
                        values = {n: self._value(kind, their, record.get(their)) for n, their in there.items()}
                        found[object_id] = {name: values.get(name) for name in names}
        return found

    def create_task(self, task: Task) -> Receipt:
        """Make a task; see `CrmClient.create_task`. It is written under its key, so never made twice."""
        is_lead = (task.contact_id or "").startswith(_LEAD)
        said = {
            "Subject": task.subject[:_SUBJECT],
            "Description": task.body[:_DESCRIPTION],
            "ActivityDate": (task.due_at or self._now()).date().isoformat(),
            "Status": "Completed" if task.is_done else "Not Started",
            "Priority": _PRIORITIES.get(task.priority, "Low"),
            "OwnerId": task.owner_id,
            "WhoId": task.contact_id,
            "WhatId": None if is_lead else task.account_id,  # Salesforce takes no account beside a Lead
        }
        body = {name: value for name, value in said.items() if value is not None}
        try:
            made = self._api.request("PATCH", f"/sobjects/Task/{KEY}/{quote(task.key, safe='')}", body=body).body
        except CrmRefused as error:
            return _refused(task.key, error)
        return Receipt(task.key, created_id=str(object_of(made, "which task was made", "id")["id"]))

    def find_tasks(self, keys: Sequence[str]) -> dict[str, TaskState]:
        """Tasks by key; see `CrmClient.find_tasks`."""
        found = {}
        for start in range(0, len(keys), COLLECTION // 2):
            some = listed(keys[start : start + COLLECTION // 2])
            for page in self._api.query(f"SELECT Id, {KEY}, IsClosed, {OUTCOME} FROM Task WHERE {KEY} IN {some}"):
                for said in page:
                    state = TaskState(said["Id"], "done" if said.get("IsClosed") else "open", said.get(OUTCOME) or None)
                    found[str(said[KEY])] = state
        return found

    def stop_task(self, key: str, why: str) -> Receipt:
        """Change an open task; see `CrmClient.stop_task`."""
        asked = f"SELECT Id, Subject, Description, IsClosed FROM Task WHERE {KEY} = {quoted(key)}"
        task = next((said for page in self._api.query(asked) for said in page), {})
        subject = str(task.get("Subject") or "") if task else None
        if receipt := stopped(key, subject, is_done=bool(task.get("IsClosed"))):
            return receipt
        text = f"{why}\n\n{task.get('Description') or ''}"
        change = {"Id": task["Id"], "Subject": f"{STOPPED}{subject}"[:_SUBJECT], "Description": text[:_DESCRIPTION]}
        try:
            receipts = self._collection("Task", [(FieldUpdate(task["Id"], {}, key), change)])
        except CrmRefused as error:
            return _refused(key, error)
        if not receipts:
            raise CrmUnknown("Salesforce did not say what became of the task")
        return replace(receipts[0], object_id=key)

    def assign_owner(
        self, object_type: str, object_id: str, owner_id: str, *, instead_of: Collection[str] = ()
    ) -> Receipt:
        """Make somebody the owner; see `CrmClient.assign_owner`. Here a queue or somebody inactive counts as none."""
        held = self.read(object_type, [object_id], ["owner_id"]).get(object_id)
        if held is None:
            return Receipt(object_id, f"the {object_type} {object_id} is not in Salesforce")
        owner = str(held["owner_id"] or "")
        if owner == owner_id:
            return Receipt(object_id)
        if owner and owner not in instead_of and not owner.startswith(_QUEUE) and self._is_active(owner):
            return Receipt(object_id, f"its owner is {owner}", is_needless=True)
        try:
            receipts = self.update(object_type, [FieldUpdate(object_id, {"owner_id": owner_id}, "owner")])
        except CrmRefused as error:
            return _refused(object_id, error)
        unsaid = Receipt(object_id, "Salesforce did not say what became of it", is_retryable=True)
        return receipts[0] if receipts else unsaid

    def _is_active(self, user_id: str) -> bool:
        pages = self._api.query(f"SELECT Id, IsActive FROM User WHERE Id = {quoted(user_id)}")
        return any(user["IsActive"] for page in pages for user in page)

    def describe_fields(self, object_type: str) -> set[str]:
        """The names that all its sObjects have; custom ones also without `__c`. See `CrmClient.describe_fields`."""
        first, *others = (set(self._describe(kind)) for kind in kinds_of(object_type))
        names = {name for name in first if not name.endswith("__c") or all(name in other for other in others)}
        return names | {name.removesuffix("__c") for name in names}

    def unknown_fields(self, object_type: str, names: Collection[str]) -> list[str]:
        """Names that none of its sObjects has; see `CrmClient.unknown_fields`."""
        kinds = kinds_of(object_type)
        return [name for name in names if not any(self._theirs(kind, name) in self._describe(kind) for kind in kinds)]

    def create_fields(self, object_type: str, specs: Sequence[FieldSpec]) -> None:
        """Make custom fields and let our user see them; see `CrmClient.create_fields`."""
        self._setup.create_fields(object_type, specs)
        self._described.clear()

    def missing_scopes(self) -> list[str]:
        """Rights on objects that the user lacks; see `CrmClient.missing_scopes`."""
        return self._setup.missing_rights()

    def missing_fields(self, entity: str) -> list[str]:
        """Fields that are read and not there; see `CrmClient.missing_fields`."""
        return self._extract.missing_fields(entity)

    def extract(self, entity: str, cursor: str | None) -> Iterator[Page]:
        """What has changed; see `CrmClient.extract`."""
        return self._extract.pages(entity, cursor)

    def _describe(self, kind: str) -> dict[str, Mapping[str, Any]]:
        if kind not in self._described:
            answer = self._api.request("GET", f"/sobjects/{kind}/describe").body
            said = object_of(answer, f"which fields {kind} has", "fields")
            self._described[kind] = {field["name"]: field for field in said["fields"]}
        return self._described[kind]

    def _theirs(self, kind: str, name: str) -> str:
        """Salesforce's name of a field: custom ones end with `__c`."""
        if name == "owner_id":
            return "OwnerId"
        return name if name.endswith("__c") or name in self._describe(kind) else f"{name}__c"

    def _value(self, kind: str, name: str, said: Any) -> Any:
        """A field's value as our type."""
        described = str(self._describe(kind).get(name, {}).get("type"))
        if said is None or said == "":
            return [] if name in self._lists else None  # Salesforce can't tell a list without items from no list
        if name in self._lists or described in ("textarea", "multipicklist"):
            return split(said)
        if described in _NUMBERS:
            return number_of(said)
        return to_seconds(said) if described == "datetime" else said


def _kind(object_type: str, object_id: str) -> str:
    if object_type == "account":
        return "Account"
    return "Lead" if object_id.startswith(_LEAD) else "Contact"


def _receipt(object_id: str, said: Mapping[str, Any], *, is_made: bool = False) -> Receipt:
    """One result of a collection."""
    if said.get("success") is True:
        return Receipt(object_id, created_id=str(said["id"]) if is_made and "id" in said else None)
    errors = said.get("errors") or [{"statusCode": "UNKNOWN_EXCEPTION", "message": "no success and no error"}]
    words = "; ".join(f"{error.get('statusCode')}: {error.get('message')}" for error in errors)
    return Receipt(object_id, words, is_retryable=all(error.get("statusCode") in RETRYABLE for error in errors))


def _refused(object_id: str, error: CrmRefused) -> Receipt:
    """A request about one record that was refused as a whole."""
    words = str(error)
    return Receipt(object_id, words, is_retryable=any(code in words for code in RETRYABLE))


def _stored(value: Any) -> Any:
    """A value as Salesforce takes it; a list without items empties its field."""
    return (joined(value) or None) if isinstance(value, list | tuple) else value
