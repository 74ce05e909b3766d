"""The embedded CRM: one SQLite file that stands where HubSpot or Salesforce stands in other installations.

The CRM's own fields come from the extracts (`take_over`), whenever they change there; ours are written by `update` and
stay. Nothing here decides what is written.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster_project.clients.crm import CrmUnavailable, Receipt
from dagster_project.core.sync import FieldUpdate

_TABLES = """
create table if not exists records (
  object_type text not null, object_id text not null, fields text not null, extracted text not null,
  is_deleted integer not null default 0, primary key (object_type, object_id)
)
"""


class LocalCrm:
    """A CRM in a file.

    Args:
        path: The SQLite file; it and its folder are created when missing.
    """

    name = "crm:local"
    max_batch = 1000

    def __init__(self, path: Path) -> None:
        self._path = path

    def take_over(self, object_type: str, extracted: Mapping[str, Mapping[str, Any]]) -> int:
        """Bring in what the CRM's extracts say.

        A field changes here only when the extracts say something else than they said last: what was written by
        `update` stays. A record that the extracts no longer have is deleted.

        Args:
            object_type: `contact` or `account`.
            extracted: All records of the newest extract, by id.

        Returns:
            How many records were new, changed or deleted.
        """
        with self._transaction() as connection:
            known = self._records(connection, object_type)
            rows = []
            for object_id, now in extracted.items():
                held = known.pop(object_id, None)
                fields, before, is_deleted = held or ({}, {}, False)
                said = {name: value for name, value in now.items() if before.get(name) != value}
                unsaid = {name: None for name in before if name not in now}
                if held is None or said or unsaid or is_deleted:
                    changed = json.dumps({**fields, **unsaid, **said})
                    rows.append((object_type, object_id, changed, json.dumps(dict(now)), 0))
            rows += [
                (object_type, object_id, json.dumps(fields), json.dumps(before), 1)
                for object_id, (fields, before, is_deleted) in known.items()
                if not is_deleted
            ]
            connection.executemany("insert or replace into records values (?, ?, ?, ?, ?)", rows)
        return len(rows)

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        """Write fields of records; see `CrmClient.update`."""
        with self._transaction() as connection:
            known = self._records(connection, object_type, [update.object_id for update in updates])
            receipts, rows = [], []
            for update in updates:
                fields, _, is_deleted = known.get(update.object_id, ({}, {}, None))
                if is_deleted is not False:
                    found = "is deleted" if is_deleted else "is not known"
                    receipts.append(
                        Receipt(update.object_id, f"the {object_type} {update.object_id} {found} in the CRM")
                    )
                    continue
                rows.append((json.dumps({**fields, **update.fields}), object_type, update.object_id))
                receipts.append(Receipt(update.object_id))
            connection.executemany("update records set fields = ? where object_type = ? and object_id = ?", rows)
        return receipts

    def read(self, object_type: str) -> dict[str, dict[str, Any]]:
        """The fields of every record that is not deleted, by id."""
        with self._transaction() as connection:
            records = self._records(connection, object_type)
        return {object_id: fields for object_id, (fields, _, is_deleted) in records.items() if not is_deleted}

    def _records(
        self, connection: sqlite3.Connection, object_type: str, ids: Sequence[str] | None = None
    ) -> dict[str, tuple[dict[str, Any], dict[str, Any], bool]]:
        """The records with these ids, or all."""
        found = connection.execute(
            "select object_id, fields, extracted, is_deleted from records where object_type = ?"
            + ("" if ids is None else " and object_id in (select value from json_each(?))"),
            [object_type] if ids is None else [object_type, json.dumps(ids)],
        )
        return {row[0]: (json.loads(row[1]), json.loads(row[2]), bool(row[3])) for row in found}

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise CrmUnavailable(f"{self._path}: {error}") from error
        try:
            connection.execute("begin immediate")
            connection.execute(_TABLES)
            yield connection
            connection.execute("commit")
        except sqlite3.OperationalError as error:
            raise CrmUnavailable(f"{self._path}: {error}") from error
        finally:
            connection.close()
