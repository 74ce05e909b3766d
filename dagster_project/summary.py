"""What `pls run` says at its end: what came in, who is worth a look, what was decided, where to look next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dagster_project.core.escaping import plain
from dagster_project.core.event_catalog import known_names
from dagster_project.core.scoring_rules import CLASSES
from dagster_project.event_catalog import CATALOGUE
from dagster_project.settings import PROJECT_ROOT, Settings
from dagster_project.warehouse import Warehouse, WarehouseLocked

MOST_NAMES = 3
UNKNOWN_SHARE = 0.5
"""How many names of events are named, and from which share of a run's track events on."""
MOST_OBJECTIONS = 5
"""How many different flags that nobody can read are named, the commonest first."""


@dataclass(frozen=True)
class RunSummary:
    """The numbers of the run that ended last.

    Attributes:
        rows: Per source kind (`events`, `crm`): rows in, loaded, duplicate, quarantined of this run's files.
        troubles: Files that could not be read or are waiting: path, status and cause.
        objections: Flags of the CRM that nobody can read and that keep somebody from being contacted: entity, what
            stands there, how many records.
        unknown: Of this run's track events: how many have names that the catalogue does not know, of how many, and the
            commonest of these names with how many.
        classes: Per classification: users, accounts.
        crm: Per CRM: records and actions that were taken in this run, that are refused, that the next run tries again.
        waiting: Handoffs that nobody has got yet.
        why_waiting: What became of the last attempt to hand over one of them, None where nothing is known.
        as_of: The moment scored.
    """

    rows: list[tuple[str, int, int, int, int]]
    troubles: list[tuple[str, str, str]]
    objections: list[tuple[str, str, int]]
    unknown: tuple[int, int, list[tuple[str, int]]]
    classes: list[tuple[str, int, int]]
    crm: list[tuple[str, int, int, int]]
    waiting: int
    why_waiting: str | None
    as_of: str


def read_summary(warehouse: duckdb.DuckDBPyConnection, since: datetime) -> RunSummary:
    """Read the numbers of the run that started at `since` (naive UTC) from the warehouse."""
    batches = "batch_id in (select batch_id from raw.batches where started_at >= ?)"
    rows = warehouse.execute(
        "select case when source = 'events' then 'events' else 'crm' end as kind, sum(rows_in)::bigint, "
        "sum(loaded)::bigint, sum(duplicate)::bigint, sum(quarantined)::bigint from raw.files "
        f"where {batches} group by kind order by kind desc",
        [since],
    ).fetchall()
    troubles = warehouse.execute(
        "select path, status, coalesce(detail, '') from raw.files "
        f"where {batches} and status in ('unreadable', 'shrunk', 'waiting') order by path",
        [since],
    ).fetchall()
    objections = warehouse.sql(
        "select entity, unread_objections, count(*) from intermediate.int_crm_no_contact "
        "where unread_objections is not null and not is_gone "
        f"group by all order by 3 desc, 1, 2 limit {MOST_OBJECTIONS}"
    ).fetchall()
    names = warehouse.execute(
        "select event, count(*) as events, lower(trim(event)) in (select unnest(?::varchar[])) as is_known "
        f"from raw.events where type = 'track' and event is not null and {batches} group by event order by 2 desc, 1",
        [known_names(CATALOGUE.read_bytes()), since],
    ).fetchall()
    strange = [(name, events) for name, events, is_known in names if not is_known]
    unknown = sum(events for _, events in strange), sum(events for _, events, _ in names), strange[:MOST_NAMES]
    counts = {
        name: (users, accounts)
        for name, users, accounts in warehouse.sql(
            "select classification, count(*) filter (where kind = 'u'), count(*) filter (where kind = 'a') from ("
            "select 'u' as kind, classification from marts.pql_scores "
            "union all select 'a', classification from marts.pqa_scores) group by classification"
        ).fetchall()
    }
    [(as_of,)] = warehouse.sql("select until from raw.moments where is_live").fetchall()
    crm = warehouse.execute(
        "select substr(destination, 5), count(*) filter (status = 'confirmed' and confirmed_at >= ?), "
        "count(*) filter (status = 'parked' and is_last), count(*) filter (status in ('pending', 'failed', 'unknown')) "
        "from (select *, requested_at = max(requested_at) over "
        "(partition by destination, object_type, object_id, operation) as is_last from marts.deliveries "
        "where starts_with(destination, 'crm:')) group by all order by all",
        [since],
    ).fetchall()
    [(waiting,)] = warehouse.sql("select count(*) from marts.handoffs where status in ('pending', 'parked')").fetchall()
    [(why_waiting,)] = warehouse.sql(
        "select max_by(error, requested_at) from marts.deliveries where object_type = 'handoff' and error is not null "
        "and object_id in (select handoff_id from marts.handoffs where status in ('pending', 'parked'))"
    ).fetchall()
    return RunSummary(
        rows=rows,
        troubles=troubles,
        objections=objections,
        unknown=unknown,
        classes=[(name, *counts.get(name, (0, 0))) for name in CLASSES],
        crm=crm,
        waiting=waiting,
        why_waiting=why_waiting,
        as_of=f"{as_of:%Y-%m-%d %H:%M:%S} UTC",
    )


def print_summary(
    console: Console, settings: Settings, since: datetime, decided: Sequence[tuple[str, str, int]]
) -> None:
    """Print the numbers of a run as small tables.

    Args:
        console: Where to.
        settings: What the run worked on.
        since: When it started, naive UTC.
        decided: What it decided about handoffs: decision, priority, candidates.
    """
    try:
        with Warehouse(settings.warehouse).read() as connection:
            summary = read_summary(connection, since)
    except WarehouseLocked:  # the run is over and whoever came next is at work: that is no failure of this one
        console.print("\nAnother run works in the warehouse already: `make dev` shows what this one did.")
        return
    console.print(f"\nScored as of {summary.as_of}", style="bold")
    console.print(_table("Rows", ["in", "loaded", "duplicate", "quarantined"], _with_events(summary.rows)))
    for path, status, cause in summary.troubles:
        # A file's name may hold anything, what moves a terminal's cursor too.
        told = f"  [yellow]{status}[/] {escape(plain(path))}: {escape(plain(cause, longest=1000))}"
        console.print(told, highlight=False, soft_wrap=True)
    for entity, said, records in summary.objections:
        flag = f"{escape(said)} ({entity}: {records:,})"
        told = f"  [yellow]not readable[/] {flag}: neither yes nor no, so it counts as a no"
        console.print(told, highlight=False, soft_wrap=True)
    unknown, of_all, names = summary.unknown
    if unknown > UNKNOWN_SHARE * of_all:
        named = ", ".join(f"{escape(plain(name))} ({events:,})" for name, events in names)
        told = (
            f"  [yellow]not in the catalogue[/] {unknown:,} of {of_all:,} track events, most of them {named}: they "
            f"count as use and say nothing else until {CATALOGUE.relative_to(PROJECT_ROOT)} says what they mean"
        )
        console.print(told, highlight=False, soft_wrap=True)
    if not any(count for _, *counts in [*summary.rows, *summary.classes] for count in counts):
        told = f"  [yellow]nothing to score[/] no events or CRM files were found in {escape(str(settings.landing))}"
        console.print(told, highlight=False, soft_wrap=True)
    console.print(_table("Class", ["users", "accounts"], summary.classes))
    if decided:
        by_decision = [(f"{decision} {priority}", count) for decision, priority, count in decided]
        console.print(_table("Decision", ["candidates"], by_decision))
    else:
        console.print("No new handoff candidates.")
    if summary.waiting:
        why = escape(summary.why_waiting or "the step handoffs/delivered says why")
        console.print(f"  [yellow]{summary.waiting:,}[/] handoffs wait to be sent: {why}", soft_wrap=True)
    if summary.crm:
        console.print(_table("CRM", ["written", "refused", "to be tried again"], summary.crm))
    console.print("\nWhere to look next")
    for what, where in (
        ("handoffs as sellers get them", _where_handoffs_are(settings)),
        ("the scored tables, in SQL", f"{settings.serving} (ten queries: docs/sql.md)"),
        ("what could not be read", "marts.quarantine"),
        ("the assets, checks and runs", "make dev, then http://localhost:3000"),
        ("the rules", str(settings.playbook_dir or (PROJECT_ROOT / "dagster_project/playbook"))),
    ):
        console.print(f"  {what}: [cyan]{escape(where)}[/]", highlight=False, soft_wrap=True)


def _where_handoffs_are(settings: Settings) -> str:
    slack = settings.slack
    return "Slack" if slack.bot_token or slack.webhook_url else f"{settings.outbox}/"


def _with_events(rows: list[tuple[str, int, int, int, int]]) -> list[tuple[str, int, int, int, int]]:
    """Nothing new is a number too."""
    known = {row[0]: row for row in rows}
    return [known.get(kind, (kind, 0, 0, 0, 0)) for kind in ("events", "crm")]


def _table(first: str, columns: list[str], rows: list[tuple]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    for label, *numbers in rows:
        table.add_row(label, *(f"{number:,}" for number in numbers))
    return table
