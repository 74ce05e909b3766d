"""What Dagster's users expect of a code location, asset by asset; none of it needs a run."""

import tomllib
from collections.abc import Iterable
from datetime import timedelta
from graphlib import TopologicalSorter
from pathlib import Path

import dagster as dg
import pytest
import yaml

from dagster_project.definitions import defs
from dagster_project.defs.resources import WAREHOUSE_POOL
from dagster_project.defs.serving import PUBLISHED
from dagster_project.settings import DBT_PROJECT_DIR

ROOT = Path(__file__).parent.parent
SPECS = list(defs.resolve_all_asset_specs())
PUBLIC = {dg.AssetKey(["serving", "serving_database"]), *(dg.AssetKey(["marts", table]) for table in PUBLISHED)}


def names(specs: Iterable[dg.AssetSpec]) -> list[str]:
    return sorted(spec.key.to_user_string() for spec in specs)


def test_the_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs)
    jobs = {job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
    assert jobs == {"score_everything", "score_new_events", "score_past_days", "remind_sellers"}


def test_every_asset_says_what_it_is() -> None:
    assert names(spec for spec in SPECS if not (spec.description or "").strip()) == []


def test_every_asset_has_a_group_an_owner_and_a_kind() -> None:
    groups = {"ingest", "staging", "intermediate", "features", "reference", "scoring", "handoffs", "activation"}
    assert {spec.group_name for spec in SPECS} == groups | {"calibration", "ledger", "marts", "serving"}
    assert names(spec for spec in SPECS if not spec.owners) == []
    assert names(spec for spec in SPECS if not spec.kinds) == []


def test_the_groups_follow_each_other_so_that_their_graph_can_be_read() -> None:
    group_of = {spec.key: spec.group_name or "" for spec in SPECS}
    before: dict[str, set[str]] = {group: set() for group in group_of.values()}
    for spec in SPECS:
        before[group_of[spec.key]] |= {group_of[dep.asset_key] for dep in spec.deps} - {group_of[spec.key]}
    order = list(TopologicalSorter(before).static_order())
    assert order[-2:] == ["marts", "serving"]  # which of those before them comes first is open


def test_every_published_column_is_described() -> None:
    published = [spec for spec in SPECS if spec.group_name == "marts"]
    assert {spec.key.path[-1] for spec in published} == set(PUBLISHED)
    columns = [(spec, column) for spec in published for column in spec.metadata["dagster/column_schema"].columns]
    assert [f"{names([spec])[0]}.{column.name}" for spec, column in columns if not column.description] == []


def test_what_others_rely_on_has_to_be_made_every_day() -> None:
    fresh = {spec.key: spec.freshness_policy for spec in SPECS if spec.freshness_policy}
    assert set(fresh) == PUBLIC
    assert set(fresh.values()) == {
        dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26), warn_window=timedelta(hours=25))
    }


def test_every_step_that_writes_the_warehouse_waits_its_turn() -> None:
    graph = defs.resolve_asset_graph()
    assert all(graph.get(spec.key).pools == {WAREHOUSE_POOL} for spec in SPECS)


def test_one_run_at_a_time_is_in_the_pool() -> None:
    instance = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert instance["concurrency"]["pools"] == {"default_limit": 1, "granularity": "run"}


def test_nothing_is_sent_home() -> None:
    instance = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert (instance["telemetry"], instance["nux"]) == ({"enabled": False}, {"enabled": False})


def test_the_workspace_and_the_project_name_the_same_code_location() -> None:
    [target] = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    named = {project["dagster"]["module_name"], project["dg"]["project"]["code_location_target_module"]}
    assert named == {target["python_module"]["module_name"]} == {"dagster_project.definitions"}


@pytest.mark.parametrize("job", ["score_everything", "score_new_events"])
def test_a_job_without_partitions_has_no_asset_that_needs_one(job: str) -> None:
    layer = defs.resolve_job_def(job).asset_layer
    needy = [key for key in layer.executable_asset_keys if layer.get(key).partitions_def is not None]
    assert needy == []


@pytest.mark.parametrize("job", ["score_everything", "score_new_events"])
def test_a_job_says_what_it_does_and_runs_in_one_process(job: str) -> None:
    found = defs.resolve_job_def(job)
    assert found.description
    assert found.executor_def.name == "in_process"


def test_the_full_job_makes_every_asset() -> None:
    selection = defs.resolve_job_def("score_everything").asset_layer.selected_asset_keys
    of_days = {spec.key for spec in SPECS if spec.partitions_def is not None}
    assert of_days == {dg.AssetKey(["scores", "daily_scores"])}, "a full run adds its own day to them"
    assert set(selection) == {spec.key for spec in SPECS} - of_days


def test_tests_of_the_models_are_checks_of_their_assets() -> None:
    checks = defs.resolve_asset_graph().asset_check_keys
    assert dg.AssetCheckKey(dg.AssetKey(["marts", "pql_scores"]), "unique_pql_scores_user_id") in checks
    assert dg.AssetCheckKey(dg.AssetKey(["raw", "product_events"]), "every_row_is_accounted_for") in checks
    assert {key.asset_key for key in checks} >= PUBLIC
    told = {path.stem for path in (DBT_PROJECT_DIR / "tests").glob("*.sql")}
    assert told and told <= {key.name for key in checks}, "a test that nobody sees might as well not be there"
