"""Complete extracts from a connected CRM into the raw tables that CRM files feed.

An extract of changes becomes a full one here: what it does not mention stays as it was, what it says is deleted or
merged goes. So nothing downstream has to know where a record came from, and a part of an extract never looks like
deletions.
One transaction per entity. How pages arrive is `extraction.py`'s business.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from dagster_project.clients.crm import IS_DELETED
from dagster_project.core.crm_source_rules import KEYS
from dagster_project.extraction import Fetched, Standing
from dagster_project.landing.crm_pages import PageStore
from dagster_project.landing.crm_reading import CRM_ROWS, read_crm_file
from dagster_project.landing.crm_store import quarantine_crm_rows, refresh_delivery, store_extract
from dagster_project.landing.discovery import API, LandedFile
from dagster_project.landing.register import Writing, next_file_id, record_file
from dagster_project.landing.reports import FileOutcome, RowCounts
from dagster_project.warehouse import transaction

_WITHOUT_TIME = "json_merge_patch({}, '{{\"updated_at\": null}}')"
"""A payload apart from when it was changed: our own writes change that."""


def standings(connection: duckdb.DuckDBPyConnection, crm: str) -> dict[str, Standing]:
    """How far each entity of a CRM was read."""
    rows = connection.execute(
        "select entity, cursor, extracted_at, full_at, tried_at, fields, wanted from raw.crm_cursors where crm = ?",
        [crm],
    ).fetchall()
    return {row[0]: Standing(*row[1:]) for row in rows}


def first_extract_at(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """When the first complete extract from an API began; files of a later moment say nothing any more."""
    found = connection.execute(
        "select min(extracts.extract_at) from raw.crm_extracts as extracts join raw.files using (file_id) "
        "where is_complete and starts_with(path, ?)",
        [API],
    ).fetchall()
    moment: datetime | None = found[0][0]
    return moment


def load_fetched(
    connection: duckdb.DuckDBPyConnection,
    crm: str,
    fetched: Fetched,
    store: PageStore,
    *,
    shrink_limit: float,
    batch_id: int,
    now: datetime,
) -> FileOutcome | None:
    """Take an entity's extract over, or write down why there is none.

    Args:
        connection: The warehouse, with no transaction begun.
        crm: The CRM's name.
        fetched: What became of reading it.
        store: Its pages; emptied once they are stored.
        shrink_limit: Share of its keys that an extract of everything may lack.
        batch_id: From `begin_batch`.
        now: Naive UTC.

    Returns:
        What became of it, like a file's; None if it is not complete.
    """
    if fetched.trouble is not None or fetched.progress is None:
        with transaction(connection):
            tried_at = now if fetched.is_asked else None  # at once
            _stand(connection, crm, fetched.entity, tried_at=tried_at, trouble=fetched.trouble, wanted=fetched.wanted)
        return None
    with TemporaryDirectory() as folder:
        loading = _Loading(connection, crm, fetched, Path(folder) / "rows.ndjson")
        loading.write_rows(store)
        outcome = loading.load(shrink_limit, batch_id=batch_id, now=now)
    store.clear()
    return outcome


@dataclass(frozen=True)
class _Held:
    """The newest complete extract of the same entity from the same CRM."""

    extract_id: int
    keys: int
    columns: tuple[str, ...]


class _Loading:
    """Loads one extract."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, crm: str, fetched: Fetched, path: Path) -> None:
        assert fetched.progress is not None
        self._connection = connection
        self._crm = crm
        self._entity = fetched.entity
        self._progress = fetched.progress
        self._wanted = fetched.wanted
        self._path = path
        self._deleted: list[str] = []
        self._read_from = f"{API}{crm}/{fetched.entity}"

    def write_rows(self, store: PageStore) -> None:
        """The rows as a file, those that are deleted apart."""
        key = KEYS[self._entity]
        with self._path.open("w") as file:
            for row in store.rows():
                if row.get(IS_DELETED):
                    self._deleted.append(str(row[key]))
                else:
                    file.write(json.dumps(_plain(row)) + "\n")

    def load(self, shrink_limit: float, *, batch_id: int, now: datetime) -> FileOutcome:
        file = LandedFile(
            self._path,
            self._read_from,
            f"crm.{self._entity}",
            size=self._path.stat().st_size,
            modified_at=self._progress.started_at,
            extract_at=self._progress.started_at,
        ).hashed()
        columns = read_crm_file(self._connection, file, self._path, self._entity)
        if columns is None:
            self._connection.execute(_NO_ROWS)
        with transaction(self._connection):
            self._connection.execute(
                "create or replace temp table crm_deleted as select unnest(?::varchar[]) as key", [self._deleted]
            )
            self._date_back(file.name)
            held = self._held(file.name)
            self._keep_what_stands(held)
            counts = self._counts(held)
            writing = Writing(next_file_id(self._connection), batch_id, now)
            status, detail = "redelivered", None
            gone = self._gone(held)
            if held is None or counts.loaded or gone:
                if not self._progress.is_full:
                    self._carry_over(held)
                detail = self._store(writing, held, shrink_limit)
                status = "shrunk" if detail else "loaded"
            else:
                refresh_delivery(self._connection, held.extract_id, self._progress.started_at)
            quarantine_crm_rows(self._connection, file_id=writing.file_id, source=file.source, name=file.name, now=now)
            outcome = FileOutcome(
                source=file.source,
                path=file.name,
                status=status,
                rows_in=counts.rows_in,
                loaded=counts.loaded,
                duplicate=counts.duplicate,
                quarantined=counts.quarantined,
                detail=detail,
            )
            known = columns or (held.columns if held else ())
            record_file(self._connection, file, outcome, writing, columns=known)
            self._remember(detail, now)
        return outcome

    def _date_back(self, name: str) -> None:
        """What was read by a clock that was ahead would be the newest once its time comes: it was read before this."""
        self._connection.execute(
            "update raw.crm_extracts "
            "set extract_at = $at - interval 1 microsecond, delivered_at = least(delivered_at, $at) "
            "where extract_at > $at and entity = $entity "
            "and file_id in (select file_id from raw.files where path = $path)",
            {"at": self._progress.started_at, "entity": self._entity, "path": name},
        )

    def _held(self, name: str) -> _Held | None:
        rows = self._connection.execute(
            "select extract_id, keys, coalesce(columns, []) from raw.crm_extracts as extracts "
            "join raw.files using (file_id) where entity = ? and is_complete and path = ? "
            "order by extracts.extract_at desc, extract_id desc limit 1",
            [self._entity, name],
        ).fetchall()
        return _Held(rows[0][0], rows[0][1], tuple(rows[0][2])) if rows else None

    def _keep_what_stands(self, held: _Held | None) -> None:
        """Rows that say what is held already take the held version's place, so that they are no news."""
        self._connection.execute(
            "create or replace temp table crm_held as select key, payload, versions.updated_at, created_at "
            "from raw.crm_extract_rows join raw.crm_versions as versions using (version_id) where extract_id = ?",
            [held.extract_id if held else -1],
        )
        self._connection.execute(
            f"update {CRM_ROWS} set payload = crm_held.payload, updated_at = crm_held.updated_at "
            f"from crm_held where {CRM_ROWS}.key = crm_held.key "
            f"and {_WITHOUT_TIME.format(f'{CRM_ROWS}.payload')} = {_WITHOUT_TIME.format('crm_held.payload')}"
        )

    def _counts(self, held: _Held | None) -> RowCounts:
        """Of the rows that came: those that say something new, those that don't, those that can't be read."""
        [(rows_in, quarantined, loaded)] = self._connection.sql(
            "select count(*), count(*) filter (reason is not null), "
            "count(distinct key) filter (reason is null and not exists "
            f"(select 1 from crm_held where crm_held.key = rows.key and crm_held.payload = rows.payload)) "
            f"from {CRM_ROWS} as rows"
        ).fetchall()
        return RowCounts(rows_in, loaded, rows_in - loaded - quarantined, quarantined)

    def _gone(self, held: _Held | None) -> int:
        """How many held records are deleted or, in an extract of everything, missing."""
        missing = f"or not exists (select 1 from {CRM_ROWS} as rows where rows.key = crm_held.key)"
        [(gone,)] = self._connection.sql(
            "select count(*) from crm_held where key in (select key from crm_deleted) "
            + (missing if self._progress.is_full else "")
        ).fetchall()
        return int(gone)

    def _carry_over(self, held: _Held | None) -> None:
        """What the changes don't mention stays as it was."""
        self._connection.execute(f"delete from {CRM_ROWS} where key in (select key from crm_deleted)")
        self._connection.execute(
            f"insert into {CRM_ROWS} by name "
            "select 0::bigint as row_number, key, payload, updated_at, created_at from crm_held "
            f"anti join {CRM_ROWS} as rows using (key) where key not in (select key from crm_deleted)"
        )

    def _store(self, writing: Writing, held: _Held | None, shrink_limit: float) -> str | None:
        """Deletions that the CRM names are believed; keys that an extract of everything lacks only up to the limit."""
        _, detail = store_extract(
            self._connection,
            self._entity,
            file_id=writing.file_id,
            extract_at=self._progress.started_at,
            delivered_at=self._progress.started_at,
            limit=shrink_limit if self._progress.is_full else 1.0,
            previous=held.keys if held else None,
            read_from=self._read_from,
        )
        return detail

    def _remember(self, detail: str | None, now: datetime) -> None:
        """Go on from here next time; after an extract that shrank everything is read again."""
        if detail is not None:
            _stand(self._connection, self._crm, self._entity, tried_at=now, trouble=detail, wanted=self._wanted)
            return
        at = self._progress.started_at
        _stand(
            self._connection,
            self._crm,
            self._entity,
            tried_at=now,
            trouble=None,
            wanted=self._wanted,
            fields=self._progress.fields,
            cursor=self._progress.cursor,
            extracted_at=at,
            full_at=at if self._progress.is_full else None,
        )


_NO_ROWS = (
    f"create or replace temp table {CRM_ROWS} (row_number bigint, reason varchar, raw varchar, key varchar, "
    "payload varchar, updated_at timestamp, created_at timestamp)"
)


def _stand(
    connection: duckdb.DuckDBPyConnection,
    crm: str,
    entity: str,
    *,
    tried_at: datetime | None,
    trouble: str | None,
    wanted: str,
    fields: str | None = None,
    cursor: str | None = None,
    extracted_at: datetime | None = None,
    full_at: datetime | None = None,
) -> None:
    """Write down how an entity stands; what is None stays as it was, except the trouble and when it was tried."""
    before = connection.execute(
        "delete from raw.crm_cursors where crm = ? and entity = ? returning cursor, extracted_at, full_at, fields",
        [crm, entity],
    ).fetchall()
    old = before[0] if before else (None, None, None, None)
    said = (cursor, extracted_at, full_at, fields)
    standing = [value if value is not None else kept for value, kept in zip(said, old, strict=True)]
    connection.execute(
        "insert into raw.crm_cursors (crm, entity, cursor, extracted_at, full_at, fields, tried_at, trouble, wanted) "
        "values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [crm, entity, *standing, tried_at, trouble, wanted],
    )


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without the mark of the protocol; objects stay objects, which the reader keeps as JSON."""
    return {name: value for name, value in row.items() if name != IS_DELETED}
