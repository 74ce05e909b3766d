"""A landing folder and a warehouse, with shorthands to deliver files and look at what came of them."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from dagster_project.core.source_rules import EventMapping, SourceRules, Staleness
from dagster_project.landing.crm import load_crm
from dagster_project.landing.events import begin_batch, load_events
from dagster_project.landing.key_index import KeyIndex
from dagster_project.landing.reports import FileOutcome, LoadReport

NOW = datetime(2026, 6, 30, 12, 0, 0)


def rules(*mappings: EventMapping, shrink_limit: float = 0.2, settle_seconds: float = 0.0) -> SourceRules:
    """`sources.yml` as the tests need it."""
    return SourceRules(
        settle_seconds=settle_seconds,
        crm_staleness_hours=Staleness(files=192, api=24),
        shrink_limit=shrink_limit,
        event_files=mappings,
    )


def event(message_id: str | None = "m1", **said: object) -> dict[str, object]:
    """A track event of user u1 with some things said differently; None leaves a key out."""
    base: dict[str, object] = {
        "message_id": message_id,
        "type": "track",
        "event": "Report Created",
        "user_id": "u1",
        "timestamp": "2026-06-01T10:00:00Z",
        "received_at": "2026-06-01T10:00:05Z",
    }
    return {key: value for key, value in {**base, **said}.items() if value is not None}


def opening_all_but(path: Path) -> Callable[..., object]:
    """Stands in for `Path.open` where we have no right to open a file; root has all rights."""
    opened = Path.open

    def refuse(self: Path, *args: object, **kwargs: object) -> object:
        if self == path:
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **kwargs)  # type: ignore[call-overload]

    return refuse


@dataclass
class Landing:
    """A landing folder beside an open warehouse.

    Attributes:
        root: The landing folder.
        connection: The warehouse.
        rules: `sources.yml`.
        run_rows: Of the index of message keys, which is then kept from the first row on; as it comes if None.
        is_rolled_up: Whether there are user-days already, which what is loaded changes.
    """

    root: Path
    connection: duckdb.DuckDBPyConnection
    rules: SourceRules = field(default_factory=rules)
    run_rows: int | None = None
    is_rolled_up: bool = True

    def put(self, name: str, content: bytes | str, *, at: datetime | None = None) -> Path:
        """Write a file; `at` is its modification time (naive UTC)."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if at is not None:
            stamp = at.replace(tzinfo=UTC).timestamp()
            os.utime(path, (stamp, stamp))
        return path

    def events(self, name: str, *rows: Mapping[str, object], at: datetime | None = None) -> Path:
        """Write events as NDJSON."""
        return self.put(f"events/{name}", "".join(json.dumps(row) + "\n" for row in rows), at=at)

    def load(self, *, complete: Sequence[str] | None = None) -> LoadReport:
        """Load the events that have landed; `complete` are versions of files that somebody saw completed."""
        if self.is_rolled_up:
            self.connection.execute("create schema if not exists intermediate")
            self.connection.execute("create table if not exists intermediate.int_user_days (day date)")
        batch_id = begin_batch(self.connection, NOW)
        index = KeyIndex(self.connection, run_rows=self.run_rows, worth_rows=1) if self.run_rows else None
        return load_events(self.connection, self.root, self.rules, batch_id, NOW, complete=complete, index=index)

    def load_one(self) -> FileOutcome:
        """Load events and expect that exactly one file was looked at."""
        [outcome] = self.load().files
        return outcome

    def load_crm(self) -> LoadReport:
        """Load the CRM files that have landed."""
        return load_crm(self.connection, self.root, self.rules, begin_batch(self.connection, NOW), NOW)

    def rows(self, sql: str) -> list[tuple]:
        """Query the warehouse."""
        return self.connection.sql(sql).fetchall()

    def values(self, sql: str) -> list[object]:
        """The first column of a query."""
        return [row[0] for row in self.rows(sql)]

    def stored(self, columns: Sequence[str]) -> list[tuple]:
        """Columns of all stored events, sorted by message id."""
        return self.rows(f"select {', '.join(columns)} from raw.events order by message_id")

    def quarantine(self) -> list[tuple]:
        """(row_number, raw, reason) of what could not be read."""
        return self.rows("select row_number, raw, reason from raw.quarantine order by file, row_number")

    def law_holds(self) -> bool:
        """Whether every row is accounted for, and the table holds what was loaded."""
        return self.values(
            "select bool_and(rows_in = loaded + duplicate + quarantined) "
            "and sum(loaded) = (select count(*) from raw.events) from raw.files where source = 'events'"
        ) == [True]
