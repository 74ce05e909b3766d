"""The dbt project as assets: its models with their descriptions and columns, its tests as checks.

dbt runs inside this process, so its results are turned into events here instead of by the dbt command.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, dbt_assets
from dagster_dbt.asset_utils import get_asset_check_key_for_test, get_subset_selection_for_context

from dagster_project.core.playbook import Playbook
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.settings import DBT_PROJECT_DIR
from dagster_project.transform import (
    NodeOutcome,
    TransformError,
    build,
    failure_report,
    manifest_is_current,
    parse_project,
    rollup_definition,
)

OWNERS = ["team:data"]

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
        "email_domains": "email_domains",
        "moments": "moments",
        "rule_domains": "playbook_rules",
        "rule_exclusions": "playbook_rules",
        "settings": "playbook_rules",
    },
}
"""Which asset fills a table that dbt reads, where the two differ in name."""

Event = dg.MaterializeResult | dg.AssetCheckResult


class Translator(DagsterDbtTranslator):
    """Asset keys are schema and name; groups follow the folders; several raw tables may be one asset."""

    def __init__(self) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """`schema/name` for models and seeds, the filling asset for sources."""
        name = dbt_resource_props["name"]
        if dbt_resource_props["resource_type"] == "source":
            source = dbt_resource_props["source_name"]
            return dg.AssetKey([source, SOURCE_ASSETS.get(source, {}).get(name, name)])
        return dg.AssetKey([dbt_resource_props["schema"], name])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The schema: staging, intermediate, features, marts; seeds are reference."""
        return str(dbt_resource_props["schema"])

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str]:
        """The data team owns every model."""
        return OWNERS


TRANSLATOR = Translator()


@cache
def manifest_path() -> Path:
    """The manifest that the assets are made from, parsed anew when a file of the dbt project is younger."""
    target = DBT_PROJECT_DIR / "target"
    manifest = target / "manifest.json"
    return manifest if manifest_is_current(manifest) else parse_project(target)


def sql_settings(playbook: Playbook) -> dict[str, str]:
    """The playbook's numbers that the models read, as `raw.settings` holds them."""
    return {key: str(value) for key, value in playbook.scoring.measurement.model_dump().items()}


@dbt_assets(
    manifest=manifest_path(),
    select="tag:features",
    dagster_dbt_translator=TRANSLATOR,
    name="feature_models",
    pool=WAREHOUSE_POOL,
)
def feature_models(context: dg.AssetExecutionContext, workplace: Workplace) -> Iterator[Event]:
    """Staging, identities, rollups and features; the rollups start anew when their definition has changed."""
    definition = rollup_definition(sql_settings(workplace.playbook))
    with workplace.connect() as connection:
        connection.execute("create table if not exists raw.rollup_definition (definition varchar)")
        known = connection.sql("select definition from raw.rollup_definition").fetchall()
    changed = [(definition,)] != known
    if changed:
        context.log.info("The definition of the rollups is new here: they are built from scratch.")
    yield from _build(context, workplace, select="tag:features", full_refresh=changed)
    with workplace.connect() as connection:
        connection.execute("begin; delete from raw.rollup_definition")
        connection.execute("insert into raw.rollup_definition values (?)", [definition])
        connection.execute("commit")


@dbt_assets(
    manifest=manifest_path(),
    select="tag:marts",
    dagster_dbt_translator=TRANSLATOR,
    name="mart_models",
    pool=WAREHOUSE_POOL,
)
def mart_models(context: dg.AssetExecutionContext, workplace: Workplace) -> Iterator[Event]:
    """The published tables, with their contracts enforced."""
    yield from _build(context, workplace, select="tag:marts", full_refresh=False)


def _build(
    context: dg.AssetExecutionContext, workplace: Workplace, *, select: str, full_refresh: bool
) -> Iterator[Event]:
    manifest = _manifest(context)
    arguments, indirect = get_subset_selection_for_context(context, manifest, select, None, None, TRANSLATOR, None)
    selectors = arguments[1].split(" ") if arguments else []
    try:
        outcomes = build(
            select=[*selectors, *(["--indirect-selection", indirect] if indirect else [])],
            warehouse=workplace.settings.warehouse,
            target=workplace.settings.dbt_target,
            full_refresh=full_refresh,
        )
    except TransformError as error:
        raise dg.Failure(str(error)) from error
    yield from _events(context, manifest, outcomes)
    report = failure_report(outcomes)
    if report:
        raise dg.Failure(report)


def _manifest(context: dg.AssetExecutionContext) -> Mapping[str, Any]:
    metadata = next(iter(context.assets_def.metadata_by_key.values()))
    return metadata["dagster_dbt/manifest"].manifest


def _events(
    context: dg.AssetExecutionContext, manifest: Mapping[str, Any], outcomes: Sequence[NodeOutcome]
) -> Iterator[Event]:
    for outcome in outcomes:
        if outcome.unique_id.startswith(("model.", "seed.")):
            key = TRANSLATOR.get_asset_key(manifest["nodes"][outcome.unique_id])
            if outcome.ok and key in context.selected_asset_keys:
                yield dg.MaterializeResult(key, metadata={"seconds": outcome.seconds})
        elif outcome.unique_id.startswith("test.") and outcome.status != "skipped":
            check = get_asset_check_key_for_test(manifest, TRANSLATOR, outcome.unique_id, None)
            if check and check in context.selected_asset_check_keys:
                yield _check_result(check, outcome)


def _check_result(check: dg.AssetCheckKey, outcome: NodeOutcome) -> dg.AssetCheckResult:
    warns = outcome.status == "warn"
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=outcome.status in ("pass", "success"),
        severity=dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR,
        metadata={"rows found": outcome.failures or 0, "message": outcome.message},
    )
