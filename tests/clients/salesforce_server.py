"""A Salesforce org on this machine: the documented behaviour of its REST API, as far as the connector uses it."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from loopback import Asked, FakeClock, Loopback, Reply

CLIENT_ID, SECRET, USERNAME = "3MVG9.client", "client-secret-0123", "pls@example.com"
EPOCH = datetime(2026, 6, 1, tzinfo=UTC)
PREFIXES = {
    "Account": "001", "Contact": "003", "User": "005", "Opportunity": "006", "Task": "00T", "Lead": "00Q",
    "Case": "500", "PermissionSet": "0PS", "FieldPermissions": "01k", "PermissionSetAssignment": "0Pa",
}  # fmt: skip
_FIELDS = {
    "Account": "Name Website NumberOfEmployees:int Industry OwnerId MasterRecordId",
    "Contact": "Email FirstName LastName Name Title Department AccountId HasOptedOutOfEmail:boolean OwnerId "
    "MasterRecordId",
    "Lead": "Email FirstName LastName Name Title Company Status HasOptedOutOfEmail:boolean OwnerId MasterRecordId "
    "IsConverted:boolean ConvertedContactId",
    "Opportunity": "AccountId StageName IsClosed:boolean IsWon:boolean Amount:currency CreatedDate:datetime "
    "CloseDate:date",
    "User": "Name Email Department IsActive:boolean",
    "Case": "ContactId SuppliedEmail Type Subject CreatedDate:datetime Status MasterRecordId",
    "Task": "Subject Description ActivityDate:date Status Priority OwnerId WhoId WhatId IsClosed:boolean",
    "PermissionSet": "Name Label",
    "FieldPermissions": "ParentId SobjectType Field PermissionsRead:boolean PermissionsEdit:boolean",
    "PermissionSetAssignment": "AssigneeId PermissionSetId",
}
_TYPES = {"Number": "double", "Text": "string", "LongTextArea": "textarea", "Date": "date", "DateTime": "datetime"}


class Refused(Exception):
    """A request that gets an error of its own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.reply = Reply(status, [{"errorCode": code, "message": message}])


@dataclass
class Record:
    """One record; `fields` under Salesforce's names."""

    fields: dict[str, Any]
    modified: datetime
    is_deleted: bool = False


@dataclass
class Job:
    """A bulk job."""

    kind: str
    text: str = ""
    state: str = "Open"
    asked: int = 0
    done: list[dict[str, str]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    unprocessed: list[dict[str, str]] = field(default_factory=list)


class SalesforceServer(Loopback):
    """An org.

    Args:
        clock: What moves its time: `epoch` plus the seconds that have passed.
        version: Of the API.
        page: Records on a page of a query.
        daily: Requests a day.
        epoch: The time at which it starts.
    """

    def __init__(
        self,
        clock: FakeClock | None = None,
        *,
        version: str = "67.0",
        page: int = 2000,
        daily: int = 100_000,
        epoch: datetime = EPOCH,
    ) -> None:
        super().__init__(clock)
        self.records: dict[str, dict[str, Record]] = {kind: {} for kind in PREFIXES}
        self.fields = {kind: _described(said) for kind, said in _FIELDS.items()}
        self.roles: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.hidden: set[str] = set()
        self.rights: dict[str, set[str]] = {kind: {"queryable", "createable", "updateable"} for kind in PREFIXES}
        self.jobs: dict[str, Job] = {}
        self.job_fails = False
        self.job_stands_still_after: int | None = None
        self.jobs_stop = True
        self.rules: set[tuple[str, str]] = set()
        self.tokens: list[str] = []
        self.assertions: list[str] = []
        self.wrote = 0
        self._version, self._page, self._daily, self._epoch = version, page, daily, epoch
        self._started = self.clock.now()
        self._served = 0
        self._next = 0
        self._open_queries: dict[str, tuple[list[dict[str, Any]], int]] = {}

    @property
    def now(self) -> datetime:
        return self._epoch + timedelta(seconds=self.clock.now() - self._started)

    # What tests do to the org.

    def add(self, kind: str, **fields: Any) -> str:
        """Make a record; returns its id."""
        self._next += 1
        object_id = f"{PREFIXES[kind]}{self._next:015d}"
        booleans = {name: False for name, said in self.fields[kind].items() if said["type"] == "boolean"}
        self.records[kind][object_id] = Record({**booleans, **fields, "Id": object_id}, self.now)
        return object_id

    def change(self, kind: str, object_id: str, **fields: Any) -> None:
        record = self.records[kind][object_id]
        record.fields |= fields
        record.modified = self.now

    def delete(self, kind: str, object_id: str, *, into: str | None = None) -> None:
        """Delete a record, or merge it into another."""
        self.change(kind, object_id, MasterRecordId=into)
        self.records[kind][object_id].is_deleted = True

    def add_field(self, kind: str, name: str, type_: str = "string", **more: Any) -> None:
        self.fields[kind][name] = {"name": name, "type": type_, **more}

    def end_sessions(self) -> None:
        self.tokens.clear()

    # What the API does.

    def answer(self, asked: Asked) -> Reply:
        try:
            if asked.path == "/services/oauth2/token":
                return self._token(asked)
            if asked.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
                raise Refused(401, "INVALID_SESSION_ID", "Session expired or invalid")
            if self._served >= self._daily:
                raise Refused(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
            self._served += 1
            reply = self._route(asked)
        except Refused as refused:
            reply = refused.reply
        usage = f"api-usage={self._served}/{self._daily}"
        return Reply(reply.status, reply.body, {"Sforce-Limit-Info": usage, **reply.headers}, reply.content_type)

    def _token(self, asked: Asked) -> Reply:
        said = asked.body
        if said["grant_type"] == "client_credentials":
            is_right = (said.get("client_id"), said.get("client_secret")) == (CLIENT_ID, SECRET)
        else:
            self.assertions.append(said["assertion"])
            is_right = said["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        if not is_right:
            return Reply(400, {"error": "invalid_client", "error_description": "invalid client credentials"})
        self.tokens.append(f"00D!token{len(self.tokens)}x{self._served}")
        return Reply(200, {"access_token": self.tokens[-1], "instance_url": self.base_url, "token_type": "Bearer"})

    def _route(self, asked: Asked) -> Reply:
        if asked.path == "/services/oauth2/userinfo":
            return Reply(200, {"user_id": "005000000000000001"})
        base = f"/services/data/v{re.escape(self._version)}"
        routes: tuple[tuple[str, Callable[..., Reply]], ...] = (
            (rf"GET {base}/(query|queryAll)", self._query),
            (rf"GET {base}/query/([\w-]+)", self._more),
            (rf"PATCH {base}/composite/sobjects", self._update),
            (rf"POST {base}/composite/sobjects", self._create_all),
            (rf"PATCH {base}/composite/sobjects/(\w+)/(\w+)", self._upsert_all),
            (rf"POST {base}/composite/sobjects/(\w+)", self._retrieve),
            (rf"GET {base}/sobjects/(\w+)/describe", self._describe),
            (rf"PATCH {base}/sobjects/(\w+)/(\w+)/(.+)", self._upsert),
            (rf"POST {base}/sobjects/(\w+)", self._create),
            (rf"POST {base}/tooling/sobjects/CustomField", self._custom_field),
            (rf"POST {base}/jobs/ingest", self._job),
            (rf"PUT {base}/jobs/ingest/(\w+)/batches", self._fill),
            (rf"PATCH {base}/jobs/ingest/(\w+)", self._close_job),
            (rf"GET {base}/jobs/ingest/(\w+)", self._job_state),
            (rf"GET {base}/jobs/ingest/(\w+)/(successfulResults|failedResults|unprocessedrecords)", self._job_results),
        )
        for pattern, route in routes:
            found = re.fullmatch(pattern, asked.line)
            if found:
                return route(asked, *found.groups())
        raise Refused(404, "NOT_FOUND", f"The requested resource does not exist: {asked.line}")

    def _query(self, asked: Asked, how: str) -> Reply:
        found = re.fullmatch(r"SELECT (.+?) FROM (\w+)(?: WHERE (.+?))?(?: ORDER BY Id( DESC)?)?", asked.query["q"])
        if not found:
            raise Refused(400, "MALFORMED_QUERY", asked.query["q"])
        selected, kind, where, descending = found.groups()
        if "queryable" not in self.rights.get(kind, set()):
            raise Refused(400, "INVALID_TYPE", f"sObject type '{kind}' is not supported.")
        names = re.sub(r"\(.*\)", "", selected).replace(" ", "").strip(",").split(",")
        for name in filter(None, names):
            if name not in (*self.fields[kind], "Id", "IsDeleted", "SystemModstamp"):
                raise Refused(400, "INVALID_FIELD", f"No such column '{name}' on entity '{kind}'")
        conditions = where.split(" AND ") if where else []
        rows = []
        for object_id, record in sorted(self.records[kind].items(), reverse=bool(descending)):
            shown = {**record.fields, "SystemModstamp": _text(record.modified), "IsDeleted": record.is_deleted}
            if (record.is_deleted and how == "query") or not all(_holds(shown, said) for said in conditions):
                continue
            row = {name: shown.get(name) for name in names if name} | {"attributes": {"type": kind}}
            if "OpportunityContactRoles" in selected:
                roles = self.roles[object_id]
                row["OpportunityContactRoles"] = {"done": True, "records": roles} if roles else None
            rows.append(row)
        return self._shown(rows, 0)

    def _shown(self, rows: list[dict[str, Any]], start: int) -> Reply:
        end = start + self._page
        body: dict[str, Any] = {"totalSize": len(rows), "done": end >= len(rows), "records": rows[start:end]}
        if end < len(rows):
            name = f"01g{len(self._open_queries):04d}-{end}"
            self._open_queries[name] = (rows, end)
            body["nextRecordsUrl"] = f"/services/data/v{self._version}/query/{name}"
        return Reply(200, body)

    def _more(self, asked: Asked, name: str) -> Reply:
        if name not in self._open_queries:
            raise Refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._shown(*self._open_queries[name])

    def _update(self, asked: Asked) -> Reply:
        return self._each(asked, lambda kind, said: self._put(kind, str(said.pop("Id")), said))

    def _create_all(self, asked: Asked) -> Reply:
        return self._each(asked, self._insert)

    def _upsert_all(self, asked: Asked, kind: str, key: str) -> Reply:
        return self._each(asked, lambda kind, said: self._upserted(kind, key, said.pop(key), said))

    def _each(self, asked: Asked, write: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Reply:
        records = asked.body["records"]
        if len(records) > 200:
            raise Refused(400, "EXCEEDED_LIMIT", "record limit reached: 200")
        for record in records:
            for name in record:
                if name not in ("attributes", "Id") and name not in self._visible(record["attributes"]["type"]):
                    raise Refused(
                        400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {record['attributes']}"
                    )
        results = []
        for record in records:
            said = {name: value for name, value in record.items() if name != "attributes"}
            try:
                results.append({"success": True, "errors": [], **write(record["attributes"]["type"], said)})
            except Refused as refused:
                error = {"statusCode": refused.code, "message": refused.message, "fields": []}
                results.append({"success": False, "errors": [error]})
        return Reply(200, results)

    def _visible(self, kind: str) -> set[str]:
        return {name for name in self.fields[kind] if f"{kind}.{name}" not in self.hidden}

    def _put(self, kind: str, object_id: str, said: Mapping[str, Any]) -> dict[str, Any]:
        if not re.fullmatch(r"[a-zA-Z0-9]{15,18}", object_id):
            raise Refused(400, "MALFORMED_ID", f"bad id {object_id}")
        record = self.records[kind].get(object_id)
        if record is None or record.is_deleted:
            raise Refused(404, "ENTITY_IS_DELETED", "entity is deleted")
        self._check(kind, said)
        self.change(kind, object_id, **said)
        self.wrote += 1
        return {"id": object_id}

    def _check(self, kind: str, said: Mapping[str, Any]) -> None:
        for name, value in said.items():
            if "poison" in str(value) or (kind, name) in self.rules:
                raise Refused(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", f"{name}: {value} is not allowed")
            if self.fields[kind][name]["type"] == "double" and not isinstance(value, int | float):
                raise Refused(400, "INVALID_TYPE_ON_FIELD_IN_RECORD", f"{name}: value not of required type: {value}")

    def _insert(self, kind: str, said: Mapping[str, Any]) -> dict[str, Any]:
        self._check(kind, said)
        if kind in ("Lead", "Contact") and not said.get("LastName"):
            raise Refused(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]")
        if kind == "PermissionSetAssignment" and any(r.fields == said for r in self.records[kind].values()):
            raise Refused(400, "DUPLICATE_VALUE", "duplicate value found")
        if kind == "FieldPermissions":
            self.hidden.discard(said["Field"])
        self.wrote += 1
        return {"id": self.add(kind, **said)}

    def _upserted(self, kind: str, key: str, value: str, said: Mapping[str, Any]) -> dict[str, Any]:
        if not self.fields[kind].get(key, {}).get("externalId"):
            raise Refused(400, "INVALID_FIELD", f"{key} is no external id of {kind}")
        for object_id, record in self.records[kind].items():
            if record.fields.get(key) == value and not record.is_deleted:
                return {**self._put(kind, object_id, said), "created": False}
        return {**self._insert(kind, {**said, key: value}), "created": True}

    def _upsert(self, asked: Asked, kind: str, key: str, value: str) -> Reply:
        for name in asked.body:
            if name not in self._visible(kind):
                raise Refused(400, "INVALID_FIELD", f"No such column '{name}'")
        done = self._upserted(kind, key, unquote(value), asked.body)
        if kind == "Task":
            self.change(kind, done["id"], IsClosed=asked.body.get("Status") == "Completed")
        return Reply(201 if done["created"] else 200, {"success": True, "errors": [], **done})

    def _create(self, asked: Asked, kind: str) -> Reply:
        return Reply(201, {"success": True, "errors": [], **self._insert(kind, asked.body)})

    def _retrieve(self, asked: Asked, kind: str) -> Reply:
        names = asked.body["fields"]
        unknown = [name for name in names if name not in (*self._visible(kind), "Id")]
        if unknown:
            raise Refused(400, "INVALID_FIELD", f"No such column '{unknown[0]}'")
        found = [self.records[kind].get(object_id) for object_id in asked.body["ids"]]
        return Reply(200, [{n: r.fields.get(n) for n in names} if r and not r.is_deleted else None for r in found])

    def _describe(self, asked: Asked, kind: str) -> Reply:
        if not self.rights[kind]:
            raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
        standard = [{"name": name, "type": "string"} for name in ("Id", "SystemModstamp", "IsDeleted")]
        fields = [said for name, said in self.fields[kind].items() if f"{kind}.{name}" not in self.hidden]
        return Reply(200, {"name": kind, "fields": standard + fields, **dict.fromkeys(self.rights[kind], True)})

    def _custom_field(self, asked: Asked) -> Reply:
        kind, _, name = asked.body["FullName"].partition(".")
        said = asked.body["Metadata"]
        kind = "Task" if kind == "Activity" else kind
        if name in self.fields[kind]:
            raise Refused(400, "DUPLICATE_DEVELOPER_NAME", f"There is already a field named {name} on {kind}.")
        type_ = "boolean" if said["type"] == "Checkbox" else _TYPES[said["type"]]
        self.add_field(kind, name, type_, externalId=said.get("externalId", False))
        self.hidden.add(f"{kind}.{name}")
        return Reply(201, {"id": "00N000000000001", "success": True, "errors": []})

    def _job(self, asked: Asked) -> Reply:
        job_id = f"750{len(self.jobs):012d}"
        self.jobs[job_id] = Job(asked.body["object"])
        return Reply(200, {"id": job_id, "state": "Open", **asked.body})

    def _fill(self, asked: Asked, job_id: str) -> Reply:
        self.jobs[job_id].text += asked.body
        return Reply(201)

    def _close_job(self, asked: Asked, job_id: str) -> Reply:
        job = self.jobs[job_id]
        if asked.body["state"] == "Aborted":
            job.state = "Aborted" if self.jobs_stop else job.state
            return Reply(200, {"id": job_id, "state": job.state})
        job.state = asked.body["state"]
        rows = list(csv.DictReader(io.StringIO(job.text)))
        if self.job_fails:
            job.state, job.unprocessed = "Failed", rows[1:]
            job.failed = [{"sf__Id": "", "sf__Error": "UNABLE_TO_LOCK_ROW:no access:--", **rows[0]}]
            return Reply(200, {"id": job_id, "state": job.state})
        if self.job_stands_still_after is not None:
            rows, job.unprocessed = rows[: self.job_stands_still_after], rows[self.job_stands_still_after :]
        for row in rows:
            given = {name: value for name, value in row.items() if value and name != "Id"}
            said = {n: None if v == "#N/A" else self._typed(job.kind, n, v) for n, v in given.items()}
            try:
                self._put(job.kind, row["Id"], said)
                job.done.append({"sf__Id": row["Id"], "sf__Created": "false", **row})
            except Refused as refused:
                job.failed.append({"sf__Id": row["Id"], "sf__Error": f"{refused.code}:{refused.message}:--", **row})
        return Reply(200, {"id": job_id, "state": job.state})

    def _typed(self, kind: str, name: str, value: str) -> Any:
        type_ = self.fields[kind].get(name, {}).get("type")
        return float(value) if type_ == "double" else value == "true" if type_ == "boolean" else value

    def _job_state(self, asked: Asked, job_id: str) -> Reply:
        job = self.jobs[job_id]
        job.asked += 1
        if job.state == "UploadComplete" and job.asked > 1 and not job.unprocessed:
            job.state = "JobComplete"
        return Reply(200, {"id": job_id, "state": "InProgress" if job.state == "UploadComplete" else job.state})

    def _job_results(self, asked: Asked, job_id: str, which: str) -> Reply:
        job = self.jobs[job_id]
        rows = {"successfulResults": job.done, "failedResults": job.failed}.get(which, job.unprocessed)
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return Reply(200, text.getvalue(), content_type="text/csv")


def _described(said: str) -> dict[str, dict[str, Any]]:
    pairs = (name.partition(":") for name in said.split())
    return {name: {"name": name, "type": type_ or "string"} for name, _, type_ in pairs}


def _holds(shown: Mapping[str, Any], condition: str) -> bool:
    found = re.fullmatch(r"(\w+) (=|>|>=|IN) (.+)", condition)
    assert found, condition
    name, operator, said = found.groups()
    held = shown.get(name)
    if operator == "IN":
        wanted: Sequence[str] = [_unquoted(text) for text in re.findall(r"'(?:[^'\\]|\\.)*'", said)]
        return str(held or "").lower() in [text.lower() for text in wanted]
    if said in ("true", "false"):
        return bool(held) == (said == "true")
    value = _unquoted(said) if said.startswith("'") else _text(datetime.fromisoformat(said))
    return {"=": held == value, ">": str(held) > value, ">=": str(held) >= value}[operator]


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"
