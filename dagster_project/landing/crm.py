"""CRM extracts and the suppression list from landing into `raw.crm_*`: which files, with which outcome.

One transaction per file. How files become rows is in `crm_reading`, what is kept of them in `crm_store`.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from pathlib import Path

import duckdb

from dagster_project.core.crm_source_rules import KEYS
from dagster_project.core.source_rules import SourceRules
from dagster_project.landing.crm_reading import LIST_READER, SUPPRESSION, read_crm_file
from dagster_project.landing.crm_store import (
    Extract,
    extracts_of,
    join_rows,
    keys_before,
    note_unread,
    quarantine_crm_rows,
    reconsider_shrunk,
    refresh_delivery,
    store_extract,
)
from dagster_project.landing.discovery import (
    EVENT_SUFFIXES,
    EVENTS,
    LandedFile,
    can_be_read,
    hashed,
    readable_files,
    settle,
)
from dagster_project.landing.opening import UnreadableFile, plain_file
from dagster_project.landing.register import (
    Register,
    Writing,
    names_to_look_at,
    next_file_id,
    record_file,
    record_redelivered,
    record_unreadable,
    record_waiting,
)
from dagster_project.landing.reports import FileOutcome, LoadReport, RowCounts
from dagster_project.warehouse import transaction

_DATED = re.compile(r"crm/dt=([^/]+)/[^/]+")
_FLAT = re.compile(r"crm/[^/]+")
_WHENEVER = datetime(1970, 1, 1)
MISNAMED = "crm.misnamed"
"""The source of a file that lies where the CRM's files are, and is none by its name."""
_EXPECTED = (
    f"nothing is read from a file of this name: expected crm/ or crm/dt=YYYY-MM-DD/ with {', '.join(KEYS)}, "
    f"{SUPPRESSION} beside crm/, as {', '.join(EVENT_SUFFIXES)}, and events below {EVENTS}/"
)


def load_crm(
    connection: duckdb.DuckDBPyConnection,
    landing: Path,
    rules: SourceRules,
    batch_id: int,
    now: datetime,
    complete: Collection[str] | None = None,
    until: datetime | None = None,
) -> LoadReport:
    """Load the CRM files that are new or changed, oldest extract first.

    Files: `crm/<entity>.<suffix>`, `crm/dt=YYYY-MM-DD/<entity>.<suffix>` and `suppression.<suffix>`. The newest file
    of an entity is read again where it was read with other `crm_columns`, as an extract of its own. An extract that
    lost too many keys against the complete one before it is recorded as `shrunk` and does not count; a file that says
    what the newest extract says already refreshes its delivery (`redelivered`).

    Args:
        connection: The warehouse, with no transaction begun.
        landing: The landing folder.
        rules: `sources.yml`.
        batch_id: From `begin_batch`.
        now: Naive UTC; only written down.
        complete: Versions of files that somebody saw completed: these alone are looked at, and those of which
            something is to be tried again.
        until: Extracts of this moment and later are left alone: from then on a connected CRM is asked itself.

    Returns:
        What became of every file that was looked at.
    """
    with transaction(connection):
        join_rows(connection)
        reconsider_shrunk(connection, rules.shrink_limit, batch_id)
    sources = ("crm.", SUPPRESSION)
    read_otherwise = _read_otherwise(connection, rules)
    only = None if complete is None else names_to_look_at(connection, complete, *sources) | read_otherwise
    register = Register(connection, *sources, only=only)
    unread = [
        file
        for file in history_files(landing, until, only)
        if not register.is_done(file) or file.name in read_otherwise
    ]
    ready, waiting = settle(unread, rules.settle_seconds, complete)
    new, troubled = hashed(ready)
    loading = _Loading(connection, rules, batch_id, now)
    outcomes = [
        *(loading.waiting(file) for file in waiting),
        *(loading.unreadable(file, reason) for file, reason in troubled),
        *(loading.load(file) for file in new),
    ]
    if new:  # one may lie between two others, the later of which lost too much against the earlier
        with transaction(connection):
            reconsider_shrunk(connection, rules.shrink_limit, batch_id)
    return LoadReport(tuple(outcomes))


def crm_files(landing: Path, only: Collection[str] | None = None, *, elsewhere: bool = True) -> list[LandedFile]:
    """The CRM files below `landing`, oldest extract first, and those that nobody knows what they are (`MISNAMED`).

    Of a folder in which nothing is looked for the first of those stands for all of them, whatever becomes of it: such a
    folder is told of once.

    Args:
        landing: The landing folder.
        only: Names, relative to it: of these alone. What else is there is not looked at.
        elsewhere: Whether folders in which nothing is looked for are told of. Where `only` names some of their files,
            the first is another one each time.
    """
    found, strange = [], dict[str, LandedFile]()
    for there in readable_files(landing, without=EVENTS, only=only, stems={*KEYS, SUPPRESSION}):
        folder, _, name = there.name.rpartition("/")
        stem = name.split(".")[0].lower()
        dated = _DATED.fullmatch(there.name)
        is_crms = bool(dated or _FLAT.fullmatch(there.name))
        if is_crms and stem in KEYS and can_be_read(name):
            source = f"crm.{stem}"
        elif stem == SUPPRESSION and not folder and can_be_read(name):
            source = SUPPRESSION
        elif is_crms or not folder:
            source = MISNAMED
        else:
            file = replace(there.landed(MISNAMED), size=0, modified_at=_WHENEVER)
            strange[folder] = min(file, strange.get(folder, file), key=lambda one: one.name)
            continue
        file = there.landed(source)
        found.append(replace(file, extract_at=_day(dated[1]) if dated else file.modified_at))
    found += strange.values() if elsewhere else ()
    return sorted(found, key=lambda file: (file.extract_at or file.modified_at, file.modified_at, file.name))


def history_files(landing: Path, until: datetime | None, only: Collection[str] | None = None) -> list[LandedFile]:
    """The CRM files that count beside a connected CRM: extracts from before it was, and the suppression list."""
    return [
        file
        for file in crm_files(landing, only)
        if until is None or file.source == SUPPRESSION or file.extract_at is None or file.extract_at < until
    ]


def _read_otherwise(connection: duckdb.DuckDBPyConnection, rules: SourceRules) -> set[str]:
    """The newest files of entities, and the newest that count, that were read with other names of columns than now.

    And of suppression lists those that another version has read. Of records that were read before that was written
    down it is not known.
    """
    paths = set()
    for entity in (*KEYS, SUPPRESSION):
        of_files = [one for one in extracts_of(connection, entity) if not one.read_from]
        newest = of_files[-1:] + [one for one in of_files if one.is_complete][-1:]
        paths |= {
            one.path
            for one in newest
            if not is_read_as(one, rules, entity) and not _is_read_since(connection, one, _mapping(rules, entity))
        }
    return paths


def _is_read_since(connection: duckdb.DuckDBPyConnection, extract: Extract, mapping: str) -> bool:
    """Whether the file of an extract was read like this since: what it says by now is something else."""
    rows = connection.execute(
        "select 1 from raw.files where path = ? and file_id > ? and mapping = ? limit 1",
        [extract.path, extract.file_id, mapping],
    ).fetchall()
    return bool(rows)


def is_read_as(extract: Extract, rules: SourceRules, entity: str) -> bool:
    """Whether an extract was read as its file would be now; of records as far as that is known."""
    mapping = _mapping(rules, entity)
    return extract.mapping == mapping or (extract.mapping is None and entity != SUPPRESSION)


def _mapping(rules: SourceRules, entity: str) -> str:
    return LIST_READER if entity == SUPPRESSION else rules.crm_mapping(entity)


class _Loading:
    """Loads file by file, each in its own transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, rules: SourceRules, batch_id: int, now: datetime) -> None:
        self._connection = connection
        self._rules = rules
        self._batch_id = batch_id
        self._now = now

    def waiting(self, file: LandedFile) -> FileOutcome:
        with transaction(self._connection):
            return record_waiting(self._connection, file, self._writing())

    def unreadable(self, file: LandedFile, reason: str) -> FileOutcome:
        with transaction(self._connection):
            return record_unreadable(self._connection, file, self._writing(), reason)

    def load(self, file: LandedFile) -> FileOutcome:
        if file.source == MISNAMED:
            return self.unreadable(file, _EXPECTED)
        if file.extract_at is None:
            return self.unreadable(file, "the folder's name is no date: expected crm/dt=YYYY-MM-DD")
        entity = _entity(file)
        known = same_extract(extracts_of(self._connection, entity), file)
        if known is not None and is_read_as(known, self._rules, entity):
            return self._redelivered(file, known)
        columns, reason = None, None
        try:
            with plain_file(file) as path:
                named = self._rules.crm_columns.get(entity, {})
                columns = read_crm_file(self._connection, file, path, entity, named)
        except UnreadableFile as error:
            reason = str(error)
        if not file.is_unchanged():
            return self.waiting(file)
        if reason is not None:
            return self.unreadable(file, reason)
        return self._store(file, file.extract_at, columns)

    def _redelivered(self, file: LandedFile, known: Extract) -> FileOutcome:
        with transaction(self._connection):
            refresh_delivery(self._connection, known.extract_id, file.modified_at)
            mapping = _mapping(self._rules, _entity(file))
            return record_redelivered(self._connection, file, self._writing(), mapping=mapping)

    def _store(self, file: LandedFile, extract_at: datetime, columns: tuple[str, ...] | None) -> FileOutcome:
        """Store the rows that were read; of records, a file without even a header is no extract."""
        with transaction(self._connection):
            writing, counts, detail = self._writing(), RowCounts(), None
            mapping = _mapping(self._rules, _entity(file))
            if columns is not None:
                counts, detail = store_extract(
                    self._connection,
                    _entity(file),
                    file_id=writing.file_id,
                    extract_at=extract_at,
                    delivered_at=file.modified_at,
                    limit=self._rules.shrink_limit,
                    previous=keys_before(self._connection, _entity(file), extract_at),
                )
                quarantine_crm_rows(
                    self._connection,
                    file_id=writing.file_id,
                    source=file.source,
                    name=file.name,
                    now=self._now,
                )
                if file.source == SUPPRESSION:
                    note_unread(self._connection, file.content_hash)
            outcome = FileOutcome(
                source=file.source,
                path=file.name,
                status="shrunk" if detail else "loaded" if counts.rows_in else "empty",
                rows_in=counts.rows_in,
                loaded=counts.loaded,
                duplicate=counts.duplicate,
                quarantined=counts.quarantined,
                detail=detail,
            )
            record_file(self._connection, file, outcome, writing, columns=columns, mapping=mapping)
            return outcome

    def _writing(self) -> Writing:
        return Writing(next_file_id(self._connection), self._batch_id, self._now)


def same_extract(extracts: Sequence[Extract], file: LandedFile) -> Extract | None:
    """The recorded extract that a file repeats, if it does.

    A dated file repeats what the same day said. An undated one repeats the newest extract (or the newest that
    counts), or is an old copy. The content of an older extract that comes back later is an extract of its own: what
    it lacks was deleted, and of records that came with a newer `updated_at` meanwhile those versions stay.
    """
    same = [extract for extract in extracts if extract.content_hash == file.content_hash]
    if not same or file.extract_at is None:
        return None
    if file.extract_at != file.modified_at:
        return next((extract for extract in reversed(same) if extract.extract_at == file.extract_at), None)
    newest = {extracts[-1].extract_id, *[e.extract_id for e in extracts if e.is_complete][-1:]}
    if same[-1].extract_id in newest or file.extract_at <= same[-1].extract_at:
        return same[-1]
    return None


def _entity(file: LandedFile) -> str:
    return file.source.removeprefix("crm.")


def _day(text: str) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(text), time())
    except ValueError:
        return None
