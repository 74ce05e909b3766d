"""HubSpot: fields, tasks and owners. What has changed there is read in `hubspot_extract.py`, properties are made in
`hubspot_setup.py`, what an answer says of each record is read in `hubspot_answers.py`.

Facts used (vendor's reference, API version 2026-09): batches take 100 records; an unknown or invalid property refuses a
whole batch with 400; what concerns one record stands in `errors` beside `results`, in a 207 and in a 200; `email` and
properties with `hasUniqueValue` identify a record in `batch/read` and `batch/upsert`; `objectWriteTraceId` comes back
with what became of an input.
"""

import html
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from dagster_project.clients.crm import (
    STOPPED,
    CrmDenied,
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
from dagster_project.clients.crm_values import (
    REDIRECTS,
    crm_errors,
    joined,
    number_of,
    split,
    to_seconds,
    unreadable_is_unknown,
    utc_text,
)
from dagster_project.clients.http import ApiRefused, Clock, HttpApi, RetryPolicy, words_of
from dagster_project.clients.hubspot_answers import receipts_of, results_of
from dagster_project.clients.hubspot_extract import HubSpotExtract
from dagster_project.clients.hubspot_setup import KEY, OUTCOME, HubSpotSetup
from dagster_project.clients.limits import NEVER, Allowance, RollingLimit, whole_number
from dagster_project.clock import utc_now
from dagster_project.core.crm_source_rules import CrmSourceRules
from dagster_project.core.sync import FieldUpdate

VARIABLES = ("PLS_HUBSPOT_TOKEN", "PLS_HUBSPOT_BASE_URL", "PLS_HUBSPOT_API_VERSION")
BASE_URL = "https://api.hubapi.com"
VERSION = "2026-09"
OBJECTS = {"contact": "contacts", "account": "companies"}
_OWNER = "hubspot_owner_id"
_PRIORITIES = {"P0": "HIGH", "P1": "MEDIUM", "P2": "LOW"}
_ASSOCIATED = {"contact_id": 204, "account_id": 192}
"""HubSpot's numbers of the associations task -> contact and task -> company."""


def connect(
    variables: Mapping[str, str],
    rules: CrmSourceRules,
    *,
    clock: Clock | None = None,
    policy: RetryPolicy | None = None,
    now: Callable[[], datetime] | None = None,
) -> "HubSpot":
    """The HubSpot account that the PLS_HUBSPOT_* variables name.

    Args:
        variables: `VARIABLES`, those that are set.
        rules: `crm_sources.yml`.
        clock: What waiting is measured in.
        policy: Timeouts and retries.
        now: The time, naive UTC.

    Raises:
        ValueError: A variable is missing, or the address must not get the token.
    """
    token = variables.get("PLS_HUBSPOT_TOKEN")
    if not token:
        raise ValueError("PLS_HUBSPOT_TOKEN is not set: docs/crm.md says where HubSpot shows it")
    clock = clock or Clock()

    def api(limiter: RollingLimit) -> HttpApi:
        return HttpApi(
            variables.get("PLS_HUBSPOT_BASE_URL", BASE_URL),
            authorize=lambda: {"Authorization": f"Bearer {token}"},
            secrets=lambda: [token],
            limiter=limiter,
            policy=policy,
            clock=clock,
        )

    pauses = {"SECONDLY": 1.0, "TEN_SECONDLY_ROLLING": 10.0, "DAILY": NEVER}
    general = RollingLimit(100, 10.0, clock=clock, read=_allowance, pauses=pauses, daily_reserve=rules.daily_reserve)
    return HubSpot(
        api(general),
        api(RollingLimit(5, 1.0, clock=clock, pauses=pauses)),
        token=token,
        version=variables.get("PLS_HUBSPOT_API_VERSION", VERSION),
        rules=rules,
        now=now or utc_now,
    )


@unreadable_is_unknown
class HubSpot:
    """A HubSpot account; see `CrmClient`.

    Args:
        api: Where requests go.
        search: The same, within the search's own limit.
        token: Asked about in `missing_scopes`.
        version: Of the API, a date.
        rules: `crm_sources.yml`.
        now: The time, naive UTC.
    """

    name = "crm:hubspot"
    max_batch = 100

    def __init__(
        self,
        api: HttpApi,
        search: HttpApi,
        *,
        token: str,
        version: str,
        rules: CrmSourceRules,
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._version = version
        self._now = now
        self._described: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._lists: set[str] = set()
        self._setup = HubSpotSetup(api, token=token, version=version, describe=self._describe)
        self._extract = HubSpotExtract(
            api, search, version=version, rules=rules, fields=lambda kind: set(self._describe(kind)), now=now
        )

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        """Write fields; see `CrmClient.update`."""
        there = [update for update in updates if update.create is None]
        to_make = [update for update in updates if update.create is not None]
        if there and to_make:
            return self._write(object_type, there) + self._each(object_type, to_make)
        return self._write(object_type, there) if there else self._make(object_type, to_make)

    def _each(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        """Make records one by one: some of the same call are written already, so it can't be refused as a whole."""
        receipts = []
        for update in updates:
            try:
                receipts += self._make(object_type, [update])
            except CrmRefused as error:
                receipts.append(Receipt(update.object_id, str(error)))
        return receipts

    def _write(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        inputs = [self._input(object_type, update, update.object_id, update.fields) for update in updates]
        answer = self._batch(OBJECTS[object_type], "update", {"inputs": inputs})
        return receipts_of(updates, answer)

    def _make(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        """Write by e-mail. The name goes along only where nobody with this e-mail is there yet: it isn't ours."""
        if object_type != "contact":
            return [Receipt(update.object_id, "only contacts are made in HubSpot") for update in updates]
        if not updates:
            return []
        emails = {update.object_id: str((update.create or {})["email"]).strip().lower() for update in updates}
        there = self._by("contacts", "email", list(emails.values()), ["email"])
        inputs = []
        for update in updates:
            email = emails[update.object_id]
            names = {} if email in there else _name((update.create or {}).get("name"))
            said = self._input(object_type, update, email, {**names, **update.fields})
            inputs.append({**said, "idProperty": "email"})
        answer = self._batch("contacts", "upsert", {"inputs": inputs})
        receipts = receipts_of(updates, answer, keys=emails)
        self._place(updates, {r.object_id: r.created_id for r in receipts if r.created_id})
        return receipts

    def _place(self, updates: Sequence[FieldUpdate], made: Mapping[str, str | None]) -> None:
        """Put the contacts that were made into their companies."""
        pairs = [
            {"from": {"id": made[update.object_id]}, "to": {"id": update.create["account_id"]}}
            for update in updates
            if update.create and update.create.get("account_id") and made.get(update.object_id)
        ]
        if pairs:
            path = f"/crm/associations/{self._version}/contacts/companies/batch/associate/default"
            with crm_errors():
                self._api.request("POST", path, body={"inputs": pairs})

    def _input(self, object_type: str, update: FieldUpdate, key: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        self._lists |= {name for name, value in fields.items() if isinstance(value, list | tuple)}
        properties = {_name_of(name): _stored(value) for name, value in fields.items() if value is not None}
        return {"id": key, "properties": properties, "objectWriteTraceId": update.object_id}

    def read(self, object_type: str, ids: Sequence[str], names: Collection[str]) -> dict[str, dict[str, Any]]:
        """What HubSpot holds now; see `CrmClient.read`."""
        kind = OBJECTS[object_type]
        theirs = {name: _name_of(name) for name in names}
        wanted, found = set(ids), {}
        for start in range(0, len(ids), self.max_batch):
            body = {
                "inputs": [{"id": object_id} for object_id in ids[start : start + self.max_batch]],
                "properties": sorted(theirs.values()),
            }
            for record in results_of(self._batch(kind, "read", body)):
                if record["id"] in wanted:  # the id of a merged record leads to another one
                    said = record["properties"]
                    found[record["id"]] = {
                        name: self._value(kind, their, said.get(their)) for name, their in theirs.items()
                    }
        return found

    def create_task(self, task: Task) -> Receipt:
        """Make a task; see `CrmClient.create_task`. HubSpot itself refuses a second one with the same key."""
        associated = {"contact_id": task.contact_id, "account_id": task.account_id}
        properties = {
            "hs_timestamp": utc_text(task.due_at or self._now()),
            "hs_task_subject": task.subject,
            "hs_task_body": html.escape(task.body).replace("\n", "<br>"),
            "hs_task_status": "COMPLETED" if task.is_done else "NOT_STARTED",
            "hs_task_priority": _PRIORITIES.get(task.priority, "LOW"),
            "hs_task_type": "TODO",
            KEY: task.key,
            **({_OWNER: task.owner_id} if task.owner_id else {}),
        }
        body = {
            "properties": properties,
            "associations": [
                {
                    "to": {"id": other},
                    "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": _ASSOCIATED[name]}],
                }
                for name, other in associated.items()
                if other
            ],
        }
        path = f"/crm/objects/{self._version}/tasks"
        with crm_errors():
            try:
                made = self._api.request("POST", path, body=body, may_repeat=False)
            except ApiRefused as error:
                if error.status == 404 and not _is_about_a_record(error.body):
                    raise CrmDenied(self._knows_no(path, error.body)) from None
                if error.status in (401, 403, *REDIRECTS):  # which say nothing about the task
                    raise
                return Receipt(task.key, str(error))
        if not isinstance(made.body, dict) or "id" not in made.body:
            raise CrmUnknown(f"HubSpot's answer does not say which task was made: {words_of(made.body)}")
        return Receipt(task.key, created_id=str(made.body["id"]))

    def find_tasks(self, keys: Sequence[str]) -> dict[str, TaskState]:
        """Tasks by key; see `CrmClient.find_tasks`. Reading by a unique property needs no index of the search."""
        names = [KEY, OUTCOME, "hs_task_status"]
        found = {}
        for key, record in self._by("tasks", KEY, keys, names).items():
            said = record["properties"]
            is_done = said.get("hs_task_status") == "COMPLETED"
            found[key] = TaskState(record["id"], "done" if is_done else "open", said.get(OUTCOME) or None)
        return found

    def stop_task(self, key: str, why: str) -> Receipt:
        """Change an open task; see `CrmClient.stop_task`."""
        names = [KEY, "hs_task_subject", "hs_task_body", "hs_task_status"]
        record = self._by("tasks", KEY, [key], names).get(key, {"id": "", "properties": {}})
        said = record["properties"]
        subject = (said.get("hs_task_subject") or "") if said else None
        if receipt := stopped(key, subject, is_done=said.get("hs_task_status") == "COMPLETED"):
            return receipt
        body = f"{html.escape(why)}<br><br>{said.get('hs_task_body') or ''}"
        change = {"id": record["id"], "properties": {"hs_task_subject": f"{STOPPED}{subject}", "hs_task_body": body}}
        try:
            answer = self._batch("tasks", "update", {"inputs": [change]})
        except CrmRefused as error:
            return Receipt(key, str(error))
        receipts = receipts_of([FieldUpdate(record["id"], {}, key)], answer)
        if not receipts:
            raise CrmUnknown("HubSpot did not say what became of the task")
        return replace(receipts[0], object_id=key)

    def assign_owner(
        self, object_type: str, object_id: str, owner_id: str, *, instead_of: Collection[str] = ()
    ) -> Receipt:
        """Make somebody the owner where there is none; see `CrmClient.assign_owner`."""
        held = self.read(object_type, [object_id], ["owner_id"]).get(object_id)
        if held is None:
            return Receipt(object_id, f"the {object_type} {object_id} is not in HubSpot")
        owner = held["owner_id"]
        if owner == owner_id:
            return Receipt(object_id)
        if owner and owner not in instead_of:
            return Receipt(object_id, f"its owner is {owner}", is_needless=True)
        update = FieldUpdate(object_id, {"owner_id": owner_id}, "owner")
        try:
            receipts = self._write(object_type, [update])
        except CrmRefused as error:
            return Receipt(object_id, str(error))
        return (
            receipts[0] if receipts else Receipt(object_id, "HubSpot did not say what became of it", is_retryable=True)
        )

    def describe_fields(self, object_type: str) -> set[str]:
        """The names of the properties; see `CrmClient.describe_fields`."""
        return set(self._describe(OBJECTS[object_type]))

    def unknown_fields(self, object_type: str, names: Collection[str]) -> list[str]:
        """Names of which there is no property; see `CrmClient.unknown_fields`."""
        there = self._describe(OBJECTS[object_type])
        return [name for name in names if _name_of(name) not in there]

    def create_fields(self, object_type: str, specs: Sequence[FieldSpec]) -> None:
        """Make properties, and those that the connector itself needs; see `CrmClient.create_fields`."""
        self._setup.create_fields(OBJECTS[object_type], specs)
        self._described.clear()

    def missing_scopes(self) -> list[str]:
        """Scopes that the token lacks; see `CrmClient.missing_scopes`."""
        return self._setup.missing_scopes()

    def missing_fields(self, entity: str) -> list[str]:
        """Fields that are read and not there; see `CrmClient.missing_fields`."""
        return self._extract.missing_fields(entity)

    def extract(self, entity: str, cursor: str | None) -> Iterator[Page]:
        """What has changed; see `CrmClient.extract`."""
        return self._extract.pages(entity, cursor)

    def _batch(self, kind: str, operation: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        path = f"/crm/objects/{self._version}/{kind}/batch/{operation}"
        with crm_errors():
            answer = self._api.request("POST", path, body=body, also=[404])
        if answer.status == 404:  # of records that are not there the results tell
            raise CrmDenied(self._knows_no(path, answer.body))
        if not isinstance(answer.body, dict):
            raise CrmUnavailable(f"HubSpot answered {operation} of {kind} with status {answer.status} and no results")
        return answer.body

    def _knows_no(self, path: str, said: Any) -> str:
        return f"HubSpot knows no {path}; is the version right? It says: {words_of(said)}"

    def _by(self, kind: str, unique: str, keys: Sequence[str], names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Records by a unique property."""
        found = {}
        for start in range(0, len(keys), self.max_batch):
            body = {
                "inputs": [{"id": key} for key in keys[start : start + self.max_batch]],
                "idProperty": unique,
                "properties": list(names),
            }
            for record in results_of(self._batch(kind, "read", body)):
                said = str(record["properties"].get(unique) or "")
                found[said.lower() if unique == "email" else said] = record
        return found

    def _describe(self, kind: str) -> dict[str, Mapping[str, Any]]:
        if kind not in self._described:
            with crm_errors():
                answer = self._api.request("GET", f"/crm/properties/{self._version}/{kind}").body
            self._described[kind] = {said["name"]: said for said in results_of(answer)}
        return self._described[kind]

    def _value(self, kind: str, name: str, said: str | None) -> Any:
        """A property's text as our type."""
        if said is None or said == "":
            return [] if name in self._lists else None  # HubSpot can't tell a list without items from no list
        described = self._describe(kind).get(name, {})
        if name in self._lists or described.get("fieldType") in ("textarea", "checkbox"):
            return split(said)
        match described.get("type"):
            case "number":
                return number_of(said)
            case "bool":
                return said == "true"
            case "datetime":
                return to_seconds(said)
            case _:
                return said


def _is_about_a_record(said: Any) -> bool:
    """Whether HubSpot says that a record is not there, and not that it does not know the path."""
    return isinstance(said, Mapping) and said.get("category") == "OBJECT_NOT_FOUND"


def _name_of(name: str) -> str:
    return _OWNER if name == "owner_id" else name


def _stored(value: Any) -> str:
    """A value as HubSpot takes it: texts all of them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return joined(value) if isinstance(value, list | tuple) else str(value)


def _name(name: str | None) -> dict[str, str]:
    """A name in HubSpot's two parts."""
    first, _, last = (name or "").strip().partition(" ")
    return {key: part for key, part in (("firstname", first), ("lastname", last.strip())) if part}


def _allowance(headers: Mapping[str, str]) -> Allowance:
    milliseconds = whole_number(headers, "X-HubSpot-RateLimit-Interval-Milliseconds")
    return Allowance(
        limit=whole_number(headers, "X-HubSpot-RateLimit-Max"),
        seconds=milliseconds / 1000 if milliseconds else None,
        remaining=whole_number(headers, "X-HubSpot-RateLimit-Remaining"),
        daily=whole_number(headers, "X-HubSpot-RateLimit-Daily"),
        daily_remaining=whole_number(headers, "X-HubSpot-RateLimit-Daily-Remaining"),
    )
