"""Runs of micro-batches that are over for long are deleted with all that Dagster keeps of them; no other run is."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from dagster_project.old_runs import KEPT_ANYWAY, delete_old_runs
from dagster_project.run import persistent_instance

LATER = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=8)


@dg.asset
def scores() -> dg.MaterializeResult:
    """An asset."""
    return dg.MaterializeResult(metadata={"rows": 3})


DEFINITIONS = dg.Definitions(
    assets=[scores], jobs=[dg.define_asset_job("batch", "*"), dg.define_asset_job("everything", "*")]
)


def _dagsters_own(home: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home)))


@pytest.fixture(params=[persistent_instance, _dagsters_own])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    opened: Callable[[Path], dg.DagsterInstance] = request.param
    with opened(tmp_path) as instance:
        yield instance


def _ran(instance: dg.DagsterInstance, job_name: str) -> str:
    return DEFINITIONS.resolve_job_def(job_name).execute_in_process(instance=instance).run_id


def _left(instance: dg.DagsterInstance) -> list[str]:
    return [record.dagster_run.run_id for record in instance.get_run_records(ascending=True)]


def test_the_oldest_runs_go_and_leave_no_file(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    runs = [_ran(instance, name) for name in ("batch", "everything", "batch", "batch", "batch")]
    first, other, second, third, newest = runs
    begun = dg.DagsterRun("batch", status=dg.DagsterRunStatus.STARTED)
    instance.add_run(begun)

    def delete(days: float = 7.0, now: datetime = LATER) -> int:
        return delete_old_runs(instance, "batch", days=days, now=now, most=2, kept_anyway=1)

    assert delete(days=9) == 0 and delete(days=0) == 0
    assert delete() == 2
    assert _left(instance) == [other, third, newest, begun.run_id]
    assert not [path for run_id in (first, second) for path in tmp_path.rglob(f"{run_id}*")]
    assert list(tmp_path.rglob(f"{third}.db"))
    assert delete() == 1 and delete() == 0
    assert _left(instance) == [other, newest, begun.run_id]
    # What is left is told as before, and the next run is recorded as ever.
    latest = instance.get_latest_materialization_event(dg.AssetKey("scores"))
    assert latest and latest.run_id == newest
    again = _ran(instance, "batch")
    assert instance.all_logs(again) and instance.all_logs(newest)


def test_the_newest_are_kept_however_old(instance: dg.DagsterInstance) -> None:
    for _ in range(KEPT_ANYWAY + 1):
        instance.add_run(dg.DagsterRun("batch", status=dg.DagsterRunStatus.SUCCESS))
    assert [delete_old_runs(instance, "batch", days=7, now=LATER) for _ in range(2)] == [1, 0]
