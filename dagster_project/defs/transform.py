"""The dbt project as assets: its models with their descriptions and columns, its tests as checks.

dbt runs inside this process, so its results are turned into events here instead of by the dbt command.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_project.core.playbook import Playbook
from dagster_project.crm_changes import keep_what_was_said, note_concerned
from dagster_project.defs.dbt_nodes import DbtNodes
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace, begun_by
from dagster_project.defs.tables import markdown_table, shown_tables
from dagster_project.event_catalog import check_catalog
from dagster_project.refresh import (
    NeedsEverything,
    Refresh,
    note_features,
    odd_moment,
    plan_refresh,
    require_tables,
    take_everything,
)
from dagster_project.settings import DBT_PROJECT_DIR
from dagster_project.transform import (
    ROWS_FOUND,
    NodeOutcome,
    TransformError,
    build,
    build_crm,
    build_delta,
    build_features,
    build_marts,
    failure_report,
    manifest_is_current,
    rollup_definition,
)

OWNERS = ["team:data"]
SHOWN = 20
"""Rows that the UI shows of what a test has found."""

SOURCE_ASSETS = {
    "raw": {
        "batches": "product_events",
        "files": "product_events",
        "quarantine": "product_events",
        "events": "product_events",
        "touched": "product_events",
        "crm_versions": "crm_records",
        "crm_extracts": "crm_records",
        "crm_extract_rows": "crm_records",
        "crm_set_by_rules": "crm_records",
        "crm_touched": "crm_records",
        "email_domains": "email_domains",
        "moments": "moments",
        "rule_domains": "playbook_rules",
        "rule_exclusions": "playbook_rules",
        "settings": "playbook_rules",
    },
}
"""Which asset fills a table that dbt reads, where the two differ in name."""

DELTA_KEYS = {dg.AssetKey(["features", "user_features"]), dg.AssetKey(["features", "account_features"])}
"""What `score_new_events` shows of the models that it runs: telling of each takes Dagster longer than running it."""

Event = dg.MaterializeResult | dg.AssetCheckResult
Build = Callable[..., list[NodeOutcome]]


@cache
def manifest_path() -> Path:
    """The manifest that the assets are made from, parsed anew when the dbt project is another one."""
    target = DBT_PROJECT_DIR / "target"
    manifest = target / "manifest.json"
    if manifest_is_current(manifest):
        return manifest
    check_catalog()
    from dagster_project.dbt_calls import parse_project

    return parse_project(target)


def sql_settings(playbook: Playbook) -> dict[str, str]:
    """The playbook's numbers that the models read, as `raw.settings` holds them."""
    numbers = {
        **playbook.scoring.measurement.model_dump(),
        "reactivated_within_days": playbook.stages.reactivated_within_days,
    }
    return {key: str(value) for key, value in numbers.items()}


FEATURES, MARTS = "features", "marts"
"""dbt's tags of what is built before and after scoring."""
NODES = DbtNodes(manifest_path(), filled_by=SOURCE_ASSETS, owners=OWNERS)


@dg.multi_asset(
    specs=NODES.asset_specs(FEATURES), check_specs=NODES.check_specs(FEATURES), can_subset=True, pool=WAREHOUSE_POOL
)
def feature_models(context: dg.AssetExecutionContext, workplace: Workplace) -> Iterator[Event]:
    """Staging, identities, rollups and features of all users and accounts."""
    _plan(context, workplace, may_be_delta=False)
    yield from _build(context, workplace, tag=FEATURES)


def touched_features(context: dg.OpExecutionContext, workplace: Workplace) -> Iterator[dg.MaterializeResult]:
    """The features of users and accounts that new events touch, for `score_new_events`.

    All of them, and tested, where more has changed than events.
    """
    refresh = _plan(context, workplace, may_be_delta=True)
    if refresh.has_crm:
        refresh = _take_crm(context, workplace, refresh)
    outcomes = _built(workplace, _whole(workplace, build_features if refresh.is_full else build_delta))
    with workplace.connect(stays_open=True) as connection:
        if not failure_report(outcomes):
            note_features(connection)
        shown = shown_tables(connection, {".".join(key.path): {} for key in DELTA_KEYS})
    for key in sorted(DELTA_KEYS):
        if (table := ".".join(key.path)) in shown:  # after a failure there may be none yet
            yield dg.MaterializeResult(key, metadata=shown[table])
    _raise_for_failures(outcomes)


def _plan(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, workplace: Workplace, *, may_be_delta: bool
) -> Refresh:
    playbook = workplace.playbook
    try:
        with workplace.connect(stays_open=True) as connection:
            if odd := odd_moment(connection, workplace.now()):
                context.log.warning(odd)
            refresh = plan_refresh(
                connection,
                definition=rollup_definition(sql_settings(playbook)),
                rules=playbook.fingerprint(),
                may_be_delta=may_be_delta,
                run_id=begun_by(context.run),
            )
    except NeedsEverything as error:
        raise dg.Failure(str(error)) from error
    context.log.info(f"{'Full refresh' if refresh.is_full else 'Delta'}: {refresh.reason}.")
    return refresh


def _take_crm(context: dg.OpExecutionContext, workplace: Workplace, refresh: Refresh) -> Refresh:
    """Make the models of the CRM anew and note whom that concerns; with most people everybody is computed."""
    with workplace.connect(stays_open=True) as connection:
        keep_what_was_said(connection)
    _raise_for_failures(_built(workplace, _whole(workplace, build_crm)))
    with workplace.connect(stays_open=True) as connection:
        if note_concerned(connection):
            return refresh
        refresh = take_everything(connection, refresh, "the CRM has delivered something about many")
    context.log.info(f"Full refresh: {refresh.reason}.")
    return refresh


@dg.multi_asset(
    specs=NODES.asset_specs(MARTS), check_specs=NODES.check_specs(MARTS), can_subset=True, pool=WAREHOUSE_POOL
)
def mart_models(context: dg.AssetExecutionContext, workplace: Workplace) -> Iterator[Event]:
    """The published tables, with their contracts enforced."""
    with workplace.connect(stays_open=True) as connection:
        require_tables(connection, NODES.read_by(context.selected_asset_keys))
    yield from _build(context, workplace, tag=MARTS)


def published_columns(model: str) -> Mapping[str, str]:
    """What the contract of a published table says about its columns; the tables behind it have them too."""
    columns = NODES.node(f"model.pls.{model}")["columns"]
    return {name: column["description"] for name, column in columns.items()}


def _build(context: dg.AssetExecutionContext, workplace: Workplace, *, tag: str) -> Iterator[Event]:
    keys, checks = context.selected_asset_keys, context.selected_asset_check_keys
    is_all = len(keys) == len(NODES.asset_specs(tag)) and len(checks) == len(NODES.check_specs(tag))
    if is_all:
        make = _whole(workplace, build_features if tag == FEATURES else build_marts)
    else:
        # What was asked for and nothing that dbt would add to it.
        only = [*NODES.selectors(keys, checks), "--indirect-selection", "empty"]
        make = partial(build, select=only, full_refresh=tag == FEATURES)
    outcomes = _built(workplace, make)
    with workplace.connect(stays_open=True) as connection:
        if is_all and tag == FEATURES and not failure_report(outcomes):
            note_features(connection)
        shown = shown_tables(connection, {".".join(key.path): {} for key in context.selected_asset_keys})
        found = {
            outcome.unique_id: markdown_table(
                connection.sql(f"select columns(*)::varchar from ({outcome.rows}) limit {SHOWN}").pl()
            )
            for outcome in outcomes
            if outcome.rows
        }
    unlike = set(NODES.unlike(keys, [outcome.unique_id for outcome in outcomes]))
    yield from _events(context, [outcome for outcome in outcomes if outcome.unique_id not in unlike], shown, found)
    _raise_for_failures(outcomes)
    if unlike:
        # Dagster would only leave out what comes after them, and call that a success.
        raise dg.Failure(
            f"the dbt project is another one than when this process began, see {', '.join(sorted(unlike))}: "
            "start it anew, or reload the definitions in the UI"
        )


def _whole(workplace: Workplace, make: Build) -> Build:
    return partial(make, connect=partial(workplace.connect, stays_open=True))


def _built(workplace: Workplace, make: Build) -> list[NodeOutcome]:
    try:
        return make(warehouse=workplace.settings.warehouse, target=workplace.settings.dbt_target)
    except TransformError as error:
        raise dg.Failure(str(error)) from error


def _raise_for_failures(outcomes: Sequence[NodeOutcome]) -> None:
    report = failure_report(outcomes)
    if report:
        raise dg.Failure(report)


def _events(
    context: dg.AssetExecutionContext,
    outcomes: Sequence[NodeOutcome],
    shown: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, dg.MarkdownMetadataValue],
) -> Iterator[Event]:
    for outcome in outcomes:
        if outcome.unique_id.startswith(("model.", "seed.")):
            key = NODES.asset_key(outcome.unique_id)
            if outcome.ok and key in context.selected_asset_keys:
                yield dg.MaterializeResult(
                    key, metadata={"seconds": outcome.seconds, **shown.get(".".join(key.path), {})}
                )
        elif outcome.unique_id.startswith("test.") and outcome.status != "skipped":
            check = NODES.check_key(outcome.unique_id)
            if check in context.selected_asset_check_keys:
                yield _check_result(check, outcome, found.get(outcome.unique_id))


def _check_result(
    check: dg.AssetCheckKey, outcome: NodeOutcome, rows: dg.MarkdownMetadataValue | None
) -> dg.AssetCheckResult:
    warns = outcome.status == "warn"
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=outcome.status in ("pass", "success"),
        severity=dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR,
        metadata={
            ROWS_FOUND: outcome.failures or 0,
            "message": outcome.message,
            **({"first of them": rows} if rows is not None else {}),
        },
    )
