"""The embedded CRM: one SQLite file that stands where HubSpot or Salesforce stands in other installations.

The CRM's own fields come from the extracts (`take_over`), whenever they change there; ours are written by `update` and
stay, like tasks and owners. Nothing here decides what is written.
"""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from dagster_project.clients.crm import (
    IS_DELETED,
    STOPPED,
    CrmUnavailable,
    FieldSpec,
    Page,
    Receipt,
    Task,
    TaskState,
    stopped,
)
from dagster_project.core.sync import FieldUpdate

_SET_BY_RULES = ("owner_id", "account_tier")
"""Of an account: what our rules set, so that the extracts may say something else."""
_OURS = " or ".join(f"fields ->> '$.{name}' is not extracted ->> '$.{name}'" for name in _SET_BY_RULES)
_TABLES = (
    """
    create table if not exists records (
      object_type text not null, object_id text not null, fields text not null, extracted text not null,
      is_deleted integer not null default 0, primary key (object_type, object_id)
    )
    """,
    "create table if not exists made (object_type text, object_id text, primary key (object_type, object_id))",
    f"create index if not exists ours on records (object_type, object_id) where {_OURS}",
    """
    create table if not exists tasks (
      task_id text primary key, key text not null unique, task text not null, status text not null, outcome text
    )
    """,
)
PORTION = 5_000
"""Records that are in memory at a time."""
_ENTITIES = {"accounts": "account", "contacts": "contact"}


class LocalCrm:
    """A CRM in a file.

    Args:
        path: The SQLite file; it and its folder are created when missing.
    """

    name = "crm:local"
    max_batch = 1000

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_empty(self) -> bool:
        """Whether no record was ever kept in this file, or since it was lost."""
        with self._transaction() as connection:
            return connection.execute("select 1 from records limit 1").fetchone() is None

    def take_over(
        self, object_type: str, extracted: Mapping[str, Mapping[str, Any]], *, of: Collection[str] | None = None
    ) -> int:
        """Bring in what the CRM's extracts say.

        A field changes here only when the extracts say something else than they said last: what was written by
        `update` stays. A record that the extracts no longer have is deleted; one that was made here stays.

        Args:
            object_type: `contact` or `account`.
            extracted: Records of the newest extract, by id.
            of: The ids that it was searched for; None for all that it has.

        Returns:
            How many records were new, changed or deleted.
        """
        with self._transaction() as connection:
            made = self._made(connection, object_type)
            adopted = self._adopted(connection, object_type, made, extracted)
            count = 0
            for ids in _portions(list(extracted)):
                known = self._records(connection, object_type, [key for key in ids if key not in made])
                rows = []
                for object_id in ids:
                    now = extracted[object_id]
                    held = known.get(object_id, ({}, "{}", False) if object_id in adopted else None)
                    fields, extract, is_deleted = held or ({}, "{}", False)
                    fields |= adopted.get(object_id, {})
                    before = json.loads(extract)
                    said = {name: value for name, value in now.items() if before.get(name) != value}
                    unsaid = {name: None for name in before if name not in now}
                    if held is None or said or unsaid or is_deleted or object_id in adopted:
                        rows.append((object_type, object_id, {**fields, **unsaid, **said}, json.dumps(dict(now)), 0))
                self._put(connection, rows)
                count += len(rows)
            there = of if of is not None else self._there(connection, object_type)
            for ids in _portions([key for key in there if key not in extracted and key not in made]):
                gone = self._records(connection, object_type, ids)
                self._put(connection, [(object_type, key, held, said, 1) for key, (held, said, _) in gone.items()])
                count += len(gone)
        return count

    def _there(self, connection: sqlite3.Connection, object_type: str) -> list[str]:
        """The ids of all records that are not deleted."""
        query = "select object_id from records where object_type = ? and not is_deleted"
        return [object_id for (object_id,) in connection.execute(query, [object_type]).fetchall()]

    def _adopted(
        self,
        connection: sqlite3.Connection,
        object_type: str,
        made: Mapping[str, str],
        extracted: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, dict[str, Any]]:
        """By the extracts' id, our fields of whom we made and they have got to know: one person, one record."""
        by_email = {_email(row): object_id for object_id, row in extracted.items()} if made else {}
        adopted: dict[str, dict[str, Any]] = {}
        for object_id, email in made.items():
            if email and email in by_email:
                [(ours, _, _)] = self._records(connection, object_type, [object_id]).values()
                adopted.setdefault(by_email[email], {}).update(ours)
                for table in ("records", "made"):
                    connection.execute(
                        f"delete from {table} where object_type = ? and object_id = ?", [object_type, object_id]
                    )
        return adopted

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        """Write fields of records; see `CrmClient.update`."""
        with self._transaction() as connection:
            names = [self._named(connection, object_type, update) for update in updates]
            known = self._records(connection, object_type, names)
            receipts, rows = [], []
            for object_id, update in zip(names, updates, strict=True):
                fields, extract, is_deleted = known.get(object_id, ({}, "{}", None))
                if is_deleted is None and update.create is not None:
                    connection.execute("insert into made values (?, ?)", [object_type, object_id])
                    fields, is_deleted = dict(update.create), False
                if is_deleted is not False:
                    found = "is deleted" if is_deleted else "is not known"
                    receipts.append(
                        Receipt(update.object_id, f"the {object_type} {update.object_id} {found} in the CRM")
                    )
                    continue
                rows.append((object_type, object_id, {**fields, **update.fields}, extract, 0))
                receipts.append(Receipt(update.object_id, created_id=object_id if update.create else None))
            self._put(connection, rows)
        return receipts

    def read(self, object_type: str, ids: Sequence[str], names: Collection[str]) -> dict[str, dict[str, Any]]:
        """What stands in the records now; see `CrmClient.read`."""
        with self._transaction() as connection:
            records = self._records(connection, object_type, ids)
        return {
            object_id: {name: fields.get(name) for name in names}
            for object_id, (fields, _, is_deleted) in records.items()
            if not is_deleted
        }

    def records(self, object_type: str) -> dict[str, dict[str, Any]]:
        """All fields of every record that is not deleted, by id."""
        with self._transaction() as connection:
            records = self._records(connection, object_type)
        return {object_id: fields for object_id, (fields, _, is_deleted) in records.items() if not is_deleted}

    def set_by_rules(self) -> list[tuple[str, str, str | None, str | None]]:
        """What was set here of accounts: id, field, what the extracts say, what stands here."""
        with self._transaction() as connection:
            found = connection.execute(
                f"select object_id, fields, extracted from records where object_type = 'account' and ({_OURS}) "
                "and not is_deleted order by object_id"
            ).fetchall()
        return [
            (object_id, name, said.get(name), stands.get(name))
            for object_id, fields, extracted in found
            for stands, said in [(json.loads(fields), json.loads(extracted))]
            for name in _SET_BY_RULES
            if stands.get(name) != said.get(name)
        ]

    def rewrite(self, change: Callable[[str, str, Mapping[str, Any]], Mapping[str, Any]]) -> int:
        """Change what is said in records and tasks, all at once; deleted records too, which are kept here.

        Args:
            change: Gives the new fields; it is told `contact`, `account` or `task`, the id (of a task the key), and
                the fields. It is asked of all records before any task.

        Returns:
            How many records and tasks have changed.
        """
        rows = 0
        with self._transaction() as connection:
            records = connection.execute("select object_type, object_id, fields, extracted from records").fetchall()
            for kind, key, *texts in records:
                said = [json.loads(text) for text in texts]
                if (left := [dict(change(kind, key, fields)) for fields in said]) != said:
                    connection.execute(
                        "update records set fields = ?, extracted = ? where object_type = ? and object_id = ?",
                        [*map(json.dumps, left), kind, key],
                    )
                    rows += 1
            for key, text in connection.execute("select key, task from tasks").fetchall():
                if (task := dict(change("task", key, json.loads(text)))) != json.loads(text):
                    connection.execute("update tasks set task = ? where key = ?", [json.dumps(task), key])
                    rows += 1
        return rows

    def create_task(self, task: Task) -> Receipt:
        """Make a task; see `CrmClient.create_task`."""
        task_id = "task_" + sha256(task.key.encode()).hexdigest()[:12]
        status = "done" if task.is_done else "open"
        kept = json.dumps({**asdict(task), "due_at": task.due_at and task.due_at.isoformat()})
        with self._transaction() as connection:
            try:
                connection.execute("insert into tasks values (?, ?, ?, ?, null)", [task_id, task.key, kept, status])
            except sqlite3.IntegrityError:
                return Receipt(task.key, f"there is a task with the key {task.key} already")
        return Receipt(task.key, created_id=task_id)

    def find_tasks(self, keys: Sequence[str]) -> dict[str, TaskState]:
        """The tasks with these keys; see `CrmClient.find_tasks`."""
        with self._transaction() as connection:
            found = connection.execute(
                "select key, task_id, status, outcome from tasks where key in (select value from json_each(?))",
                [json.dumps(list(keys))],
            ).fetchall()
        return {row[0]: TaskState(*row[1:]) for row in found}

    def stop_task(self, key: str, why: str) -> Receipt:
        """Change an open task; see `CrmClient.stop_task`."""
        with self._transaction() as connection:
            found = connection.execute("select task, status from tasks where key = ?", [key]).fetchall()
            task, status = (json.loads(found[0][0]), found[0][1]) if found else ({}, "")
            if receipt := stopped(key, task.get("subject"), is_done=status == "done"):
                return receipt
            changed = {"subject": f"{STOPPED}{task['subject']}", "body": f"{why}\n\n{task['body']}"}
            connection.execute("update tasks set task = ? where key = ?", [json.dumps({**task, **changed}), key])
        return Receipt(key)

    def assign_owner(
        self, object_type: str, object_id: str, owner_id: str, *, instead_of: Collection[str] = ()
    ) -> Receipt:
        """Make somebody the owner where there is none; see `CrmClient.assign_owner`."""
        with self._transaction() as connection:
            fields, extract, is_deleted = self._records(connection, object_type, [object_id]).get(
                object_id, ({}, "{}", None)
            )
            if is_deleted is not False:
                return Receipt(object_id, f"the {object_type} {object_id} is not in the CRM")
            owner = fields.get("owner_id")
            if owner and owner != owner_id and owner not in instead_of:
                return Receipt(object_id, f"its owner is {owner}", is_needless=True)
            self._put(connection, [(object_type, object_id, {**fields, "owner_id": owner_id}, extract, 0)])
        return Receipt(object_id)

    def describe_fields(self, object_type: str) -> set[str]:
        """The names of the fields that its records have."""
        return {name for fields in self.records(object_type).values() for name in fields}

    def unknown_fields(self, object_type: str, names: Collection[str]) -> list[str]:
        """None: records here take any field."""
        return []

    def create_fields(self, object_type: str, specs: Sequence[FieldSpec]) -> None:
        """Nothing: records here take any field."""

    def missing_scopes(self) -> list[str]:
        """None: whoever may write the file may do all."""
        return []

    def missing_fields(self, entity: str) -> list[str]:
        """None: the embedded CRM is never read; see `CrmClient.missing_fields`."""
        return []

    def extract(self, entity: str, cursor: str | None) -> Iterator[Page]:
        """Accounts and contacts that changed, in one page; it has no others. See `CrmClient.extract`."""
        with self._transaction() as connection:
            found = connection.execute(
                "select rowid, object_id, fields, is_deleted from records where object_type = ? and rowid > ? "
                "order by rowid",
                [_ENTITIES.get(entity), int(cursor or 0)],
            ).fetchall()
        key = f"{_ENTITIES.get(entity)}_id"
        rows = [
            {key: object_id, IS_DELETED: True} if is_deleted else {**json.loads(fields), key: object_id}
            for _, object_id, fields, is_deleted in found
        ]
        yield Page(rows, str(found[-1][0]) if found else cursor or "0", is_last=True)

    def _named(self, connection: sqlite3.Connection, object_type: str, update: FieldUpdate) -> str:
        """The id of the record that is meant: of the one with the e-mail, or of the one to be made."""
        if update.create is None:
            return update.object_id
        email = _email(update.create)
        found = connection.execute(
            "select object_id from records where object_type = ? and not is_deleted "
            "and address_of(fields ->> '$.email') = ? order by object_id",
            [object_type, email],
        ).fetchone()
        return found[0] if found else "made_" + sha256(f"{object_type} {email}".encode()).hexdigest()[:12]

    def _made(self, connection: sqlite3.Connection, object_type: str) -> dict[str, str]:
        """The e-mail of every record that was made here, by id."""
        found = connection.execute(
            "select object_id, address_of(fields ->> '$.email') from made join records using (object_type, object_id) "
            "where object_type = ?",
            [object_type],
        )
        return dict(found.fetchall())

    def _records(
        self, connection: sqlite3.Connection, object_type: str, ids: Sequence[str] | None = None
    ) -> dict[str, tuple[dict[str, Any], str, bool]]:
        """The records with these ids, or all: fields, what the extracts said last (JSON), whether deleted."""
        found = connection.execute(
            "select object_id, fields, extracted, is_deleted from records where object_type = ?"
            + ("" if ids is None else " and object_id in (select value from json_each(?))"),
            [object_type] if ids is None else [object_type, json.dumps(list(ids))],
        )
        return {row[0]: (json.loads(row[1]), row[2], bool(row[3])) for row in found}

    def _put(
        self,
        connection: sqlite3.Connection,
        rows: Sequence[tuple[str, str, Mapping[str, Any], str, int]],
    ) -> None:
        """Write whole records; each gets a new row id, which is what `extract` goes by."""
        connection.executemany(
            "insert or replace into records values (?, ?, ?, ?, ?)",
            [(kind, key, json.dumps(fields), said, gone) for kind, key, fields, said, gone in rows],
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise CrmUnavailable(f"{self._path}: {error}") from error
        try:
            connection.create_function("address_of", 1, _address, deterministic=True)
            connection.execute("begin immediate")
            for table in _TABLES:
                connection.execute(table)
            yield connection
            connection.execute("commit")
        except sqlite3.DatabaseError as error:  # locked, full, or no database any more
            raise CrmUnavailable(f"{self._path}: {error}") from error
        finally:
            connection.close()


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + PORTION] for start in range(0, len(ids), PORTION))


def _email(fields: Mapping[str, Any]) -> str:
    return _address(fields.get("email"))


def _address(text: Any) -> str:
    """SQLite knows upper case of ASCII alone, and of white space blanks."""
    return str(text or "").strip().lower()
