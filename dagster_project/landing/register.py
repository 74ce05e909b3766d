"""`raw.files` and `raw.quarantine`: what was read already, and the record of what became of each file.

Every function writes inside the caller's transaction, so that a file's rows and its record stand or fall
together.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from dagster_project.landing.discovery import NOT_OPENED, LandedFile
from dagster_project.landing.reports import FileOutcome

SETTINGS_FILE = "sources.yml"
"""Named by the reasons for which changing the playbook is the way out; such a file is tried each time."""


NO_MAPPING = "none"
"""The version of the mapping of a file that has none."""

_OF_SOURCES = "len(list_filter($sources::varchar[], lambda prefix: starts_with(source, prefix))) > 0"
WAITING = "the file is still being written; it is read once it has been left alone"


@dataclass(frozen=True)
class KnownFile:
    """The last record of a path, other than `waiting`."""

    size: int
    modified_at: datetime
    status: str
    detail: str | None


class Register:
    """The files of one kind of source that were read before this load.

    Args:
        connection: The warehouse.
        sources: Prefixes of the sources: `events`, `crm.`, `suppression`.
        only: The names of those that matter; None for all.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, *sources: str, only: Collection[str] | None = None
    ) -> None:
        rows = connection.execute(
            "select path, max_by(struct_pack(s := size_bytes, m := modified_at, t := status, d := detail), file_id) "
            f"from raw.files where status <> 'waiting' and {_OF_SOURCES} "
            f"{'' if only is None else 'and path in (select unnest($names::varchar[]))'} group by path",
            {"sources": list(sources), **({} if only is None else {"names": list(only)})},
        ).fetchall()
        self._known = {path: KnownFile(r["s"], r["m"], r["t"], r["d"]) for path, r in rows}

    def is_done(self, file: LandedFile, mapping: str = NO_MAPPING) -> bool:
        """Whether this path was dealt with and nothing has changed since.

        Args:
            file: As it is now.
            mapping: The version of the mapping that it would be read with.
        """
        known = self._known.get(file.name)
        if known is None or (known.size, known.modified_at) != (file.size, file.modified_at):
            return False
        if known.status == "unreadable":
            detail = known.detail or ""
            return SETTINGS_FILE not in detail and not detail.startswith(NOT_OPENED)
        return known.status != "loaded" or says_all(known.detail, mapping)

    def last_detail(self, file: LandedFile) -> str | None:
        """What was said about this very state of the file, if it was seen before."""
        known = self._known.get(file.name)
        if known is None or (known.size, known.modified_at) != (file.size, file.modified_at):
            return None
        return known.detail


def refused_rows(count: int, mapping: str) -> str:
    """The detail of an event file of which rows are in quarantine."""
    return (
        f"rows in quarantine: {count}; the file is read again when event_files in {SETTINGS_FILE} says something "
        f"else about it (mapping {mapping})"
    )


def says_all(detail: str | None, mapping: str) -> bool:
    """Whether a loaded file has nothing more to say, read with this mapping."""
    return detail is None or "(mapping " not in detail or detail.endswith(f"(mapping {mapping})")


def names_to_look_at(
    connection: duckdb.DuckDBPyConnection,
    complete: Iterable[str],
    *sources: str,
    mapping_of: Callable[[str], str] = lambda _: NO_MAPPING,
) -> set[str]:
    """The names of files that were seen completed, and of those that may have more to say than when they were read.

    So that what a batch costs does not grow with the files that were ever read.

    Args:
        connection: The warehouse.
        complete: `LandedFile.version` of each.
        sources: As `Register` has them.
        mapping_of: The version of the mapping that a file of a name is read with now.
    """
    rows = connection.execute(
        f"select distinct path, status, detail from raw.files where {_OF_SOURCES} and ("
        "status = 'unreadable' and (starts_with(detail, $closed) or contains(detail, $settings)) "
        "or status = 'loaded' and contains(detail, '(mapping '))",
        {"sources": list(sources), "closed": NOT_OPENED, "settings": SETTINGS_FILE},
    ).fetchall()
    again = {path for path, status, said in rows if status != "loaded" or not says_all(said, mapping_of(path))}
    return {version.rsplit(" ", 2)[0] for version in complete} | again


class LoadedContent:
    """The contents of a source's files that were loaded, whatever their names.

    Args:
        connection: The warehouse.
        source: The source.
        hashes: Of the contents that matter.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, source: str, hashes: Collection[str]) -> None:
        rows = connection.execute(
            "select distinct content_hash, detail from raw.files where source = ? and status = 'loaded' "
            "and content_hash in (select unnest(?::varchar[]))",
            [source, list(hashes)],
        ).fetchall()
        self._details: dict[str, list[str | None]] = {}
        for content_hash, detail in rows:
            self._details.setdefault(content_hash, []).append(detail)

    def has(self, file: LandedFile, mapping: str) -> bool:
        """Whether a file, read with this mapping, would say nothing new."""
        return any(says_all(detail, mapping) for detail in self._details.get(file.content_hash, []))


def next_file_id(connection: duckdb.DuckDBPyConnection) -> int:
    """The id that the next file gets."""
    return connection.sql("select coalesce(max(file_id), 0) + 1 from raw.files").fetchall()[0][0]


@dataclass(frozen=True)
class Writing:
    """Who writes a record: the file's id, the ingest run, and when (naive UTC)."""

    file_id: int
    batch_id: int
    now: datetime


def record_file(
    connection: duckdb.DuckDBPyConnection,
    file: LandedFile,
    outcome: FileOutcome,
    writing: Writing,
    *,
    columns: Sequence[str] | None = None,
    mapping: str | None = None,
) -> None:
    """Write what became of a file; the checkpoint that keeps it from being read again.

    Args:
        connection: The warehouse, in a transaction.
        file: As it was when it was read.
        outcome: What became of it.
        writing: Who writes.
        columns: The file's own, where it has some.
        mapping: The version of the mapping that the file was read with: another one reads other rows out of it.
    """
    if outcome.rows_in != outcome.loaded + outcome.duplicate + outcome.quarantined:
        raise AssertionError(f"rows of {file.name} are unaccounted for: {outcome}")
    connection.execute(
        # By name, as all that may get further columns: a version that one has gone back to doesn't know them.
        "insert into raw.files (file_id, batch_id, source, path, content_hash, size_bytes, modified_at, status, "
        "rows_in, loaded, duplicate, quarantined, detail, columns, extract_at, loaded_at, mapping) "
        "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            writing.file_id, writing.batch_id, file.source, file.name,
            file.content_hash, file.size, file.modified_at,
            outcome.status, outcome.rows_in, outcome.loaded, outcome.duplicate, outcome.quarantined,
            outcome.detail, None if columns is None else list(columns), file.extract_at, writing.now,
            mapping,
        ],
    )  # fmt: skip


def record_unreadable(
    connection: duckdb.DuckDBPyConnection, file: LandedFile, writing: Writing, reason: str
) -> FileOutcome:
    """Record a file of which no row could be read: one row in quarantine, with the cause.

    What was recorded about this very state of the file is not recorded again: then its row is counted already.
    """
    last = connection.execute(
        "select status, size_bytes, modified_at, detail from raw.files where path = ? and status <> 'waiting' "
        "order by file_id desc limit 1",
        [file.name],
    ).fetchone()
    if last == ("unreadable", file.size, file.modified_at, reason):
        return FileOutcome(file.source, file.name, status="unreadable", detail=reason)
    outcome = FileOutcome(file.source, file.name, status="unreadable", rows_in=1, quarantined=1, detail=reason)
    connection.execute(
        "insert into raw.quarantine (file_id, source, file, reason, quarantined_at) values (?, ?, ?, ?, ?)",
        [writing.file_id, file.source, file.name, reason, writing.now],
    )
    record_file(connection, file, outcome, writing)
    return outcome


def record_waiting(connection: duckdb.DuckDBPyConnection, file: LandedFile, writing: Writing) -> FileOutcome:
    """Record a file that was being written when it was looked at; it is looked at again next time."""
    outcome = FileOutcome(file.source, file.name, status="waiting", detail=WAITING)
    record_file(connection, file, outcome, writing)
    return outcome


def record_redelivered(
    connection: duckdb.DuckDBPyConnection, file: LandedFile, writing: Writing, *, mapping: str | None = None
) -> FileOutcome:
    """Record a file whose content was loaded before, from here or from elsewhere."""
    outcome = FileOutcome(file.source, file.name, status="redelivered", detail="the same content was loaded before")
    record_file(connection, file, outcome, writing, mapping=mapping)
    return outcome


def refused_first(bad: str) -> str:
    """A query of those of `bad`, a query of `raw.quarantine`'s columns, that are not there yet.

    A file that grows, or that is written again, brings the same bad row every time that it is read.
    """
    return (
        f"select bad.* from ({bad}) as bad anti join raw.quarantine as known on bad.source = known.source "
        "and bad.file = known.file and bad.row_number = known.row_number and bad.raw is not distinct from known.raw "
        "and bad.reason = known.reason"
    )
