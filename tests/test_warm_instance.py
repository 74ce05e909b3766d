"""What a worker records on its warm instance is what anybody else reads from the same files."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from dagster_project.run import persistent_instance
from dagster_project.warm_instance import WarmEventLog, warm


@dg.asset
def users() -> dg.MaterializeResult:
    """An asset."""
    return dg.MaterializeResult(metadata={"rows": 3})


@dg.asset(deps=[users])
def scores() -> None:
    """One that fails."""
    raise dg.Failure("no scores today")


JOB = dg.Definitions(assets=[users, scores], jobs=[dg.define_asset_job("score")]).resolve_job_def("score")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return tmp_path


def dagsters_own(home: Path) -> dg.DagsterInstance:
    """As the UI opens it."""
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home)))


def run(instance: dg.DagsterInstance) -> str:
    return JOB.execute_in_process(instance=instance, raise_on_error=False).run_id


def schema_of(home: Path, run_id: str) -> list[tuple[str, ...]]:
    """The tables of a run's own database, and the migration that it stands at."""
    [path] = home.rglob(f"{run_id}.db")
    with closing(sqlite3.connect(path)) as database:
        tables = database.execute("select name, sql from sqlite_master order by name").fetchall()
        return tables + database.execute("select * from alembic_version").fetchall()


def types(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    events = [record.dagster_event for record in instance.all_logs(run_id)]
    return [event.event_type_value for event in events if event]


def test_another_process_reads_what_a_warm_one_recorded(home: Path) -> None:
    with persistent_instance(home) as instance:
        assert isinstance(instance.event_log_storage, WarmEventLog)
        runs = [run(instance), run(instance)]
        with dagsters_own(home) as reader:  # while the worker goes on
            assert [reader.get_run_by_id(run_id).status for run_id in runs] == [dg.DagsterRunStatus.FAILURE] * 2  # type: ignore[union-attr]
            for run_id in runs:
                assert types(reader, run_id) == types(instance, run_id)
                assert "ASSET_MATERIALIZATION" in types(reader, run_id)
            latest = reader.get_latest_materialization_event(dg.AssetKey("users"))
            assert latest is not None
            assert latest.run_id == runs[-1]


def test_a_warm_instance_goes_on_where_another_stopped_and_the_other_way_round(home: Path) -> None:
    with dagsters_own(home) as instance:
        cold = run(instance)
    with persistent_instance(home) as instance:
        assert "PIPELINE_FAILURE" in types(instance, cold)
        hot = run(instance)
    with dagsters_own(home) as instance:
        again = run(instance)
        assert types(instance, cold) == types(instance, hot) == types(instance, again)
        assert {record.dagster_run.run_id for record in instance.get_run_records()} == {cold, hot, again}


def test_a_database_of_a_run_is_of_the_schema_that_dagster_would_make(home: Path) -> None:
    with persistent_instance(home) as instance:
        warm_run = run(instance)
    with dagsters_own(home) as instance:
        cold_run = run(instance)
    assert schema_of(home, warm_run) == schema_of(home, cold_run)


def test_storage_elsewhere_is_left_as_it_is(home: Path) -> None:
    (home / "dagster.yaml").write_text(
        "storage:\n  postgres:\n    postgres_url: postgresql://nobody@nowhere/dagster\ntelemetry: {enabled: false}\n"
    )
    ref = InstanceRef.from_dir(str(home))
    assert warm(ref) is ref


def test_two_workers_that_begin_together_find_whole_databases(home: Path) -> None:
    """One looks for the empty database that the other is making."""
    first, second = WarmEventLog(str(home)), Slow(str(home))
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(tables_of, second, "b")
        second.is_at_it.wait()
        assert tables_of(first, "a")
        second.may_go_on.set()
        assert making.result() == tables_of(first, "a")
    second.dispose()
    first.dispose()


class Slow(WarmEventLog):
    """Waits before it fills a database."""

    def __init__(self, base_dir: str) -> None:
        super().__init__(base_dir)
        self.is_at_it, self.may_go_on = threading.Event(), threading.Event()

    def _initdb(self, engine: Any, for_index_shard: bool = False) -> None:
        with closing(engine.raw_connection()) as connection:
            connection.execute("create table begun (by text)")
            connection.execute("drop table begun")
        self.is_at_it.set()
        self.may_go_on.wait(60)
        super()._initdb(engine, for_index_shard)


def tables_of(log: WarmEventLog, run: str) -> list[str]:
    with log._connect(run) as connection:
        return [name for (name,) in connection.exec_driver_sql("select name from sqlite_master order by name")]
