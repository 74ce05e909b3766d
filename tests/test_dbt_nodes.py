"""A dbt project as Dagster sees it, from the manifest alone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.definitions import defs
from dagster_project.defs.dbt_nodes import DbtNodes
from dagster_project.settings import DBT_PROJECT_DIR
from dagster_project.transform import manifest_is_current, project_state

ACCOUNTS = dg.AssetKey(["features", "accounts"])
STAGES = dg.AssetKey(["reference", "stages"])


def node(unique_id: str, *, reads: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    kind, project, name = unique_id.split(".")
    return {
        "resource_type": kind,
        "name": name,
        "fqn": [project, name],
        "database": "warehouse",
        "schema": "features",
        "alias": name,
        "tags": ["features"],
        "meta": {},
        "description": f"About {name}.",
        "columns": {},
        "checksum": {"checksum": "of the file"},
        "config": {"materialized": "table", "severity": "ERROR"},
        "depends_on": {"nodes": list(reads)},
        "raw_code": "select 1",
        **more,
    }


def source(table: str) -> dict[str, Any]:
    return {"resource_type": "source", "source_name": "raw", "name": table}


MANIFEST = {
    "nodes": {
        "model.pls.accounts": node(
            "model.pls.accounts",
            reads=("source.pls.raw.files", "source.pls.raw.events", "seed.pls.stages"),
            columns={"id": {"description": "The CRM's.", "data_type": "varchar"}},
            tags=["features", "delta"],
        ),
        "model.pls.touched": node("model.pls.touched", meta={"dagster": {"group": "elsewhere"}}),
        "model.pls.mart": node("model.pls.mart", tags=["marts"], reads=("model.pls.accounts",)),
        "seed.pls.stages": node("seed.pls.stages", schema="reference", raw_code="", depends_on={}),
        "test.pls.unique_id": node(
            "test.pls.unique_id", attached_node="model.pls.accounts", reads=("model.pls.accounts", "seed.pls.stages")
        ),
        "test.pls.stages_are_known": node(
            "test.pls.stages_are_known", reads=("seed.pls.stages",), config={"severity": "warn"}
        ),
        "test.pls.both_agree": node("test.pls.both_agree", reads=("model.pls.accounts", "seed.pls.stages")),
        "test.pls.unique_mart": node("test.pls.unique_mart", attached_node="model.pls.mart", reads=("model.pls.mart",)),
    },
    "sources": {"source.pls.raw.files": source("files"), "source.pls.raw.events": source("events")},
}


@pytest.fixture
def nodes(tmp_path: Path) -> DbtNodes:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(MANIFEST))
    filled_by = {"raw": {"files": "product_events", "events": "product_events"}}
    return DbtNodes(manifest, filled_by=filled_by, owners=["team:data"])


def test_a_model_is_an_asset_with_its_columns_and_its_sql(nodes: DbtNodes) -> None:
    spec = {spec.key: spec for spec in nodes.asset_specs("features")}[ACCOUNTS]
    assert spec.description == "About accounts.\n\n#### Raw SQL:\n```sql\nselect 1\n```"
    assert spec.metadata["dagster/column_schema"].columns == [dg.TableColumn("id", "varchar", "The CRM's.")]
    assert spec.metadata["dagster/table_name"] == "warehouse.features.accounts"
    assert (spec.group_name, spec.owners, spec.kinds) == ("features", ["team:data"], {"dbt", "duckdb"})
    assert spec.tags.keys() >= {"features", "delta"}


def test_several_tables_that_one_asset_fills_are_that_asset(nodes: DbtNodes) -> None:
    spec = {spec.key: spec for spec in nodes.asset_specs("features")}[ACCOUNTS]
    assert {dep.asset_key for dep in spec.deps} == {dg.AssetKey(["raw", "product_events"]), STAGES}


def test_a_model_may_name_another_group_than_its_schema(nodes: DbtNodes) -> None:
    groups = {spec.key.path[-1]: spec.group_name for spec in nodes.asset_specs("features")}
    assert groups == {"accounts": "features", "touched": "elsewhere", "stages": "reference"}


def test_a_model_without_changes_keeps_its_version(nodes: DbtNodes) -> None:
    versions = {spec.key.path[-1]: spec.code_version for spec in nodes.asset_specs("features")}
    assert versions["accounts"] == versions["touched"] != versions["stages"] == "of the file"


def test_a_test_is_a_check_of_what_it_is_attached_to_or_reads_first(nodes: DbtNodes) -> None:
    checks = {spec.key: spec for spec in nodes.check_specs("features")}
    unique = dg.AssetCheckKey(ACCOUNTS, "unique_id")
    known = dg.AssetCheckKey(STAGES, "stages_are_known")
    both = dg.AssetCheckKey(ACCOUNTS, "both_agree")
    assert set(checks) == {unique, known, both}, "of several nodes it is a check of the first model"
    assert (checks[unique].blocking, checks[known].blocking) == (True, False), "a warning stops nothing"
    assert {dep.asset_key for dep in checks[unique].additional_deps} == {STAGES}


def test_some_models_and_checks_are_told_to_dbt_by_their_full_names(nodes: DbtNodes) -> None:
    assert nodes.selectors({ACCOUNTS}, {dg.AssetCheckKey(STAGES, "stages_are_known")}) == [
        "pls.accounts", "pls.stages_are_known",
    ]  # fmt: skip


def test_a_project_with_other_nodes_than_when_it_was_read_is_told_by_what_was_built(nodes: DbtNodes) -> None:
    built = ["model.pls.accounts", "seed.pls.stages", "test.pls.both_agree", "operation.pls.before"]
    assert nodes.unlike({ACCOUNTS, STAGES}, built) == []
    assert nodes.unlike({ACCOUNTS, STAGES}, [*built, "model.pls.new", "test.pls.of_new"]) == [
        "model.pls.new", "test.pls.of_new",
    ]  # fmt: skip
    assert nodes.unlike({ACCOUNTS, STAGES}, built[:1]) == ["reference.stages"]


def test_a_process_that_runs_no_model_does_not_import_dbt() -> None:
    dg.Definitions.validate_loadable(defs)  # here, so that the manifest is up to date
    code = "import dagster_project.definitions, sys; print([m for m in ('dbt', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_project_is_another_one_when_a_file_says_something_else_or_is_gone_whatever_its_time(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(DBT_PROJECT_DIR, project, ignore=shutil.ignore_patterns("target"))
    states = [project_state(project)]
    model = project / "models" / "marts" / "funnel.sql"
    os.utime(model, (0, 0))
    states.append(project_state(project))
    model.write_text("select 1 as one")
    os.utime(model, (0, 0))  # as a file is that was deployed with the time of where it came from
    states.append(project_state(project))
    model.unlink()
    states.append(project_state(project))
    assert states[0] == states[1] == project_state()
    assert len(set(states)) == 3


def test_a_manifest_of_another_project_or_of_an_unknown_one_is_not_used(tmp_path: Path) -> None:
    manifest, made_from = tmp_path / "manifest.json", tmp_path / "manifest.sha256"
    manifest.write_text("{}")
    found = [manifest_is_current(manifest)]
    for state in ("another", project_state()):
        made_from.write_text(state)
        found.append(manifest_is_current(manifest))
    assert found == [False, False, True]
