"""The serving copy as assistants read it: walled in, in time, and always the newest."""

import shutil
from pathlib import Path

import duckdb
import pytest
from tool_shop import playbook_with, tools_over

from dagster_project.tools.errors import Unavailable
from dagster_project.tools.serving import ServingCopy


def copy_with(path: Path, count: int) -> Path:
    with duckdb.connect(str(path)) as made:
        made.execute("create schema marts")
        made.execute(f"create table marts.pql_scores as select i as user_id from range({count}) as t(i)")
    return path


def serving_of(path: Path, **limits: float) -> ServingCopy:
    return ServingCopy(path, playbook_with(limits=limits).assistant.limits)


@pytest.mark.parametrize(
    "statement",
    [
        "attach '{folder}/other.duckdb' as other",
        "from read_csv('/etc/passwd')",
        "from read_text('{folder}/secret.txt')",
        "copy marts.pql_scores to '{folder}/out.csv'",
        "export database '{folder}/out'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "set memory_limit = '100GB'",
        "create table marts.mine as select 1 as one",
        "delete from marts.pql_scores",
        "drop table marts.pql_scores",
    ],
)
def test_nothing_gets_out_and_nothing_is_changed(statement: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret")
    copy_with(tmp_path / "serving.duckdb", 3)
    serving = serving_of(tmp_path / "serving.duckdb")
    with pytest.raises((duckdb.Error, Unavailable)):
        serving.rows(statement.format(folder=tmp_path))
    assert serving.row("select count(*) as n from marts.pql_scores") == {"n": 3}
    serving.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.txt", "serving.duckdb"]


def test_a_query_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    serving = serving_of(copy_with(tmp_path / "serving.duckdb", 3), seconds=0.2)
    with pytest.raises(Unavailable, match=r"longer than 0\.2 s: ask for less, or raise limits\.seconds"):
        serving.rows("select count(*) from range(10000000) as a(i), range(10000000) as b(j) where i * j % 7 = 3")
    assert serving.row("select count(*) as n from marts.pql_scores") == {"n": 3}


def test_a_query_that_takes_too_much_memory_is_ended(tmp_path: Path) -> None:
    serving = serving_of(copy_with(tmp_path / "serving.duckdb", 3), memory_mb=64, seconds=60)
    with pytest.raises(Unavailable, match="more than 64 MB"):
        serving.rows("select list(i::varchar || 'x' order by hash(i)) from range(20000000) as t(i)")


def test_the_newest_copy_is_read_and_a_query_under_way_finishes_on_the_old_one(tmp_path: Path) -> None:
    path = copy_with(tmp_path / "serving.duckdb", 3)
    serving = serving_of(path)
    under_way = serving._connection().cursor()
    under_way.execute("use serving")
    copy_with(tmp_path / "next.duckdb", 5).replace(path)
    assert serving.row("select count(*) as n from marts.pql_scores") == {"n": 5}
    assert under_way.execute("select count(*) from marts.pql_scores").fetchall() == [(3,)]


def test_it_reads_while_somebody_else_writes_the_next_copy(demo_copy: Path, tmp_path: Path) -> None:
    shutil.copytree(demo_copy, tmp_path / "data")
    with tools_over(tmp_path / "data") as tools, duckdb.connect(str(tmp_path / "data" / "warehouse.duckdb")) as writer:
        writer.execute("create table t as select 1 as one")  # as a run holds it
        assert tools.call("leads.get_hottest", limit=1).leads
        copy_with(tmp_path / "next.duckdb", 1).replace(tmp_path / "data" / "serving.duckdb")
        with pytest.raises(Unavailable, match="another version"):
            tools.call("leads.get_hottest", limit=1)


def test_before_the_first_run_it_is_told_what_to_do(tmp_path: Path) -> None:
    with tools_over(tmp_path) as tools, pytest.raises(Unavailable, match="nothing has been scored yet.*run `pls run`"):
        tools.call("leads.get_hottest", limit=1)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "serving.duckdb").write_text("a letter")
    with pytest.raises(Unavailable, match="can't be opened"):
        serving_of(tmp_path / "serving.duckdb").rows("select 1")
