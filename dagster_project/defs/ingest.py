"""Landing files into raw tables, and what dbt needs beside them: the rules and the moments of this run."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from dagster_project.clients.connectors import LOCAL
from dagster_project.clients.crm import CrmUnavailable
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.feeds import Silence, hold_reason
from dagster_project.core.moments import resolve_as_of, scoring_moments
from dagster_project.core.source_rules import SourceRules
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.defs.tables import markdown_table, replace_table, shown_table
from dagster_project.defs.transform import OWNERS, sql_settings
from dagster_project.event_catalog import check_catalog
from dagster_project.extraction import (
    Fetched,
    fetch,
    page_store,
    plan_reading,
    read_before,
    still_to_come,
)
from dagster_project.landing.crm import load_crm
from dagster_project.landing.crm_api import first_extract_at, load_fetched, standings
from dagster_project.landing.domains import update_email_domains
from dagster_project.landing.events import begin_batch, load_events
from dagster_project.landing.feeds import update_silences
from dagster_project.landing.reports import QUARANTINED, LoadReport, tell_at_times
from dagster_project.landing.rules import write_rules
from dagster_project.refresh import NEXT_MOMENTS

COMMON: dict[str, Any] = {"group_name": "ingest", "owners": OWNERS, "pool": WAREHOUSE_POOL}
BASELINE_DONE = "baseline_done_at"
PAGES_PATIENCE = 30.0
"""Seconds that a run waits for somebody else who reads the connected CRM; then it goes on with what is known."""
FOR_EVER = -1.0
"""How a file's lock is asked to wait without an end."""


@dg.asset(key=["raw", "moments"], kinds={"duckdb", "python"}, **COMMON)
def moments(workplace: Workplace) -> dg.MaterializeResult:
    """The moments that this run computes features for: the live one, and on the first run one a week earlier.

    One row per moment. What is there goes on standing at its own moment until features are computed.
    """
    baseline_days = workplace.playbook.handoffs.baseline_days
    with workplace.ledger() as ledger:
        first_run = ledger.get_meta(BASELINE_DONE) is None
    as_of = resolve_as_of(workplace.settings.as_of, workplace.now())
    planned = scoring_moments(as_of, baseline_days=baseline_days if first_run else None)
    frame = pl.DataFrame([{"as_of": m.as_of, "day": m.day, "is_live": m.is_live, "until": m.as_of} for m in planned])
    with workplace.connect(stays_open=True) as connection:
        replace_table(connection, NEXT_MOMENTS, frame)
        shown = shown_table(connection, NEXT_MOMENTS)
    return dg.MaterializeResult(metadata={"as of": f"{as_of:%Y-%m-%d %H:%M:%S} UTC", "first run": first_run, **shown})


@dg.asset(key=["raw", "playbook_rules"], kinds={"duckdb", "yaml"}, **COMMON)
def playbook_rules(workplace: Workplace) -> dg.MaterializeResult:
    """The playbook's rules and numbers that SQL reads: free-mail domains, exclusions, windows. One row per rule."""
    check_catalog()
    with workplace.connect(stays_open=True) as connection:
        write_rules(connection, workplace.playbook.identity, sql_settings(workplace.playbook))
        shown = shown_table(connection, "raw.rule_domains")
    return dg.MaterializeResult(metadata={"playbook": str(workplace.settings.playbook_dir or "packaged"), **shown})


@dg.asset(
    key=["raw", "product_events"],
    kinds={"duckdb", "segment"},
    check_specs=[
        dg.AssetCheckSpec(
            "every_row_is_accounted_for",
            asset=["raw", "product_events"],
            description="Rows in = loaded + duplicate + quarantined, over all files ever read.",
        ),
        dg.AssetCheckSpec(
            "table_holds_what_was_loaded",
            asset=["raw", "product_events"],
            description="The events table has as many rows as the files report as loaded.",
        ),
        dg.AssetCheckSpec(
            "every_feed_delivers",
            asset=["raw", "product_events"],
            description="No feed that delivered daily has fallen silent; while one is, the CRM gets no decrease.",
        ),
    ],
    **COMMON,
)
def product_events(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Product events from the landing folder. One row per message id.

    Files whose content is known are skipped; what can't be read is in `raw.quarantine` with its reason.
    """
    rules, landing = workplace.playbook.sources, workplace.settings.landing
    as_of = resolve_as_of(workplace.settings.as_of, workplace.now())
    with workplace.connect(stays_open=True) as connection:
        batch_id = begin_batch(connection, workplace.now())
        report = load_events(
            connection,
            landing,
            rules,
            batch_id,
            workplace.now(),
            progress=tell_at_times(context.log.info),
            complete=workplace.complete_files,
        )
        silent = update_silences(connection, as_of, rules.feed_silence)
        checks = [*_event_checks(connection), _feeds_check(silent, as_of, rules)]
        refused = _refused(connection, batch_id)
        shown = shown_table(connection, "raw.events")
    return dg.MaterializeResult(metadata={**_report_metadata(report, refused), **shown}, check_results=checks)


@dg.asset(key=["raw", "crm_records"], kinds={"duckdb", "crm"}, **COMMON)
def crm_records(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """CRM extracts and the suppression list, with their history. One row per distinct content of a record.

    A connected CRM is read itself, what has changed since the last time; then files count as history from before.
    """
    rules, landing, now = workplace.playbook.sources, workplace.settings.landing, workplace.now()
    with _fetched(context, workplace) as fetched, workplace.connect(stays_open=True) as connection:
        batch_id = begin_batch(connection, now)
        until = None if workplace.settings.crm == LOCAL else first_extract_at(connection) or _began(fetched, now)
        report = load_crm(connection, landing, rules, batch_id, now, complete=workplace.complete_files, until=until)
        loaded = [
            load_fetched(
                connection,
                workplace.settings.crm,
                one,
                page_store(workplace.settings.crm_pages, workplace.settings.crm, one.entity),
                shrink_limit=rules.shrink_limit,
                batch_id=batch_id,
                now=now,
            )
            for one in fetched
        ]
        report = LoadReport((*report.files, *(outcome for outcome in loaded if outcome)))
        _read_what_rules_set(context, connection, workplace, batch_id)
        refused = _refused(connection, batch_id)
        shown = shown_table(connection, "raw.crm_versions")
    return dg.MaterializeResult(metadata={**_report_metadata(report, refused), **_fetch_metadata(fetched), **shown})


def _read_what_rules_set(
    context: dg.AssetExecutionContext, connection: duckdb.DuckDBPyConnection, workplace: Workplace, batch_id: int
) -> None:
    """What our rules set in the embedded CRM, which no extract says, and with which batch that was found.

    A connected CRM's extracts say it.
    """
    settings, rows = workplace.settings, []
    if settings.crm == LOCAL and settings.local_crm.exists():
        try:
            rows = LocalCrm(settings.local_crm).set_by_rules()
        except CrmUnavailable as error:  # scores need not wait for it
            context.log.warning(f"Owners and tiers that our rules have set stay as they were read last: {error}")
            return
    columns = ("account_id", "name", "extracted", "stands")
    found = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
    known = connection.sql("select * from raw.crm_set_by_rules").pl()
    now = found.join(known, on=columns, how="left", nulls_equal=True).with_columns(
        pl.col("batch_id").fill_null(batch_id)
    )
    replace_table(connection, "raw.crm_set_by_rules", now)


def _began(fetched: Sequence[Fetched], now: datetime) -> datetime:
    """When the extracts began that are about to be loaded."""
    return min([now, *(one.progress.started_at for one in fetched if one.progress is not None)])


@contextmanager
def _fetched(context: dg.AssetExecutionContext, workplace: Workplace) -> Iterator[list[Fetched]]:
    """What is read of the connected CRM, its pages nobody else's until the end of the block.

    Others may open the warehouse while reading takes long. What fails is tried again later.
    """
    settings, rules, now = workplace.settings, workplace.playbook.crm_sources, workplace.now()
    if settings.crm == LOCAL:
        yield []
        return
    with workplace.connect(stays_open=True) as connection:
        known = standings(connection, settings.crm)
    reading = plan_reading(known, workplace.read_beside, rules, now, crm=settings.crm)
    fetched: list[Fetched] = []
    with ExitStack() as stack:
        if reading.to_ask_for or reading.told:
            # The first run waits for what was never read: nobody knows who says no, and whom to compare with.
            patience = FOR_EVER if reading.never_tried else PAGES_PATIENCE if workplace.read_beside is None else 0
            if stack.enter_context(workplace.crm_pages_locked(patience)):
                fetched = read_before(reading.told, known, settings.crm_pages, rules=rules, crm=settings.crm, now=now)
                read = {one.entity for one in fetched}
                if still := [entity for entity in reading.to_ask_for if entity not in read]:
                    workplace.connect_anew()  # a field that it does not show any more is missing from the rows to come
                    fetched += fetch(workplace.crm(), still, known, settings.crm_pages, rules=rules, now=now)
            else:
                context.log.warning("The connected CRM is being read by somebody else: what is known of it stands.")
        read = {one.entity for one in fetched}
        unread = [entity for entity in reading.unknown_until_read if entity not in read]
        fetched += [still_to_come(one, known[one], rules.mapping_of(settings.crm, one)) for one in unread]
        for one in fetched:
            if one.trouble:
                context.log.warning(f"{one.entity} of the connected CRM stay as they were: {one.trouble}")
        yield fetched


def _fetch_metadata(fetched: Sequence[Fetched]) -> dict[str, dg.MetadataValue]:
    rows = [
        {
            "entity": one.entity,
            "pages": one.progress.pages if one.progress else 0,
            "read": "everything" if one.progress and one.progress.is_full else "changes",
            "trouble": one.trouble or "",
        }
        for one in fetched
    ]
    return {"read from the CRM": markdown_table(pl.DataFrame(rows))} if rows else {}


@dg.asset(key=["raw", "email_domains"], deps=[product_events, crm_records], kinds={"duckdb"}, **COMMON)
def email_domains(workplace: Workplace) -> dg.MaterializeResult:
    """The registrable domain of every e-mail host and account domain. One row per host."""
    with workplace.connect(stays_open=True) as connection:
        added = update_email_domains(connection)
        shown = shown_table(connection, "raw.email_domains")
    return dg.MaterializeResult(metadata={"new domains": added, **shown})


def _event_checks(connection: duckdb.DuckDBPyConnection) -> list[dg.AssetCheckResult]:
    [(rows_in, loaded, duplicate, quarantined)] = connection.sql(
        "select coalesce(sum(rows_in), 0), coalesce(sum(loaded), 0), coalesce(sum(duplicate), 0), "
        "coalesce(sum(quarantined), 0) from raw.files where source = 'events'"
    ).fetchall()
    [(held,)] = connection.sql("select count(*) from raw.events").fetchall()
    numbers = {"rows in": rows_in, "loaded": loaded, "duplicate": duplicate, "quarantined": quarantined}
    return [
        dg.AssetCheckResult(
            check_name="every_row_is_accounted_for",
            passed=rows_in == loaded + duplicate + quarantined,
            metadata={name: int(value) for name, value in numbers.items()},
        ),
        dg.AssetCheckResult(
            check_name="table_holds_what_was_loaded",
            passed=held == loaded,
            metadata={"rows in the table": held, "loaded": int(loaded)},
        ),
    ]


def _feeds_check(silent: list[Silence], as_of: datetime, rules: SourceRules) -> dg.AssetCheckResult:
    """Warns while a feed is silent."""
    reason = hold_reason(silent, as_of, rules.feed_silence)
    return dg.AssetCheckResult(
        check_name="every_feed_delivers",
        passed=reason is None,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"silent": reason or "none", "silences known": len(silent)},
    )


def _refused(connection: duckdb.DuckDBPyConnection, batch_id: int) -> pl.DataFrame:
    """Why rows of this batch's files were refused, the commonest reason first."""
    return connection.sql(
        "select file, reason, count(*) as rows, min(row_number) as first_row from raw.quarantine "
        "semi join (select file_id from raw.files where batch_id = ?) using (file_id) "
        "group by file, reason order by rows desc, file, reason limit 20",
        params=[batch_id],
    ).pl()


def _report_metadata(report: LoadReport, refused: pl.DataFrame) -> dict[str, dg.MetadataValue | int]:
    troubled = [file for file in report.files if file.detail]
    metadata: dict[str, dg.MetadataValue | int] = {
        "files": len(report.files),
        "rows in": report.rows_in,
        "loaded": report.loaded,
        "duplicate": report.duplicate,
        QUARANTINED: report.quarantined,
    }
    if refused.height:
        metadata["quarantine"] = markdown_table(refused)
    if troubled:
        files = [{"file": file.path, "status": file.status, "cause": file.detail} for file in troubled[:20]]
        metadata["files with trouble"] = markdown_table(pl.DataFrame(files))
    return metadata
