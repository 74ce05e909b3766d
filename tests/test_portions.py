"""What is read and written in portions is the same as all at once, however large the portions are."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest
from installation import END, Installation

from dagster_project.defs.scoring import write_scores
from dagster_project.looked_at import select_concerned
from dagster_project.playbook_files import read_playbook
from dagster_project.portions import add_portion, portions
from dagster_project.scored_moments import score_moment
from dagster_project.warehouse import Warehouse

EVERYBODY = 1_000_000
NOBODY = pl.DataFrame()
PLAYBOOK = read_playbook(None)
SCORES = ("pql_scores", "pqa_scores", "score_history", "segment_history")


@pytest.fixture(scope="module")
def warehouse(demo_run: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A demo company's warehouse an hour later, to be written to."""
    copy = shutil.copy(demo_run.warehouse, tmp_path_factory.mktemp("portions") / "warehouse.duckdb")
    with Warehouse(Path(copy)).connect() as connection:
        connection.execute("update raw.moments set until = until + interval 1 hour where is_live")
        yield connection


@pytest.mark.parametrize("rows", [1, 3, 10])
def test_portions_are_the_rows_in_their_order(rows: int) -> None:
    with duckdb.connect() as connection:
        connection.execute("create table someone as select range as id, [{'as': range}] as says from range(10)")
        found = list(portions(connection, "from someone order by id desc", rows=rows))
        whole = connection.sql("from someone order by id desc").pl()
        assert pl.concat(found).equals(whole)
        assert {part.height for part in found[:-1]} <= {rows}
        [nobody] = portions(connection, "from someone where id < 0", rows=rows)
        assert nobody.schema == whole.schema
        for part in found:
            add_portion(connection, "copied", part)
        assert connection.sql("from copied").pl().equals(whole)


def test_scores_of_a_moment_do_not_depend_on_portions(warehouse: duckdb.DuckDBPyConnection) -> None:
    at_once, portioned = (
        score_moment(warehouse, PLAYBOOK, is_live=True, model_version="v", rows=rows) for rows in (EVERYBODY, 7)
    )
    assert at_once.users.height > 7 < at_once.accounts.height
    assert portioned.users.equals(at_once.users)
    assert portioned.accounts.equals(at_once.accounts)


@pytest.mark.parametrize("before", ["nothing", "other scores"])
def test_written_scores_do_not_depend_on_portions(warehouse: duckdb.DuckDBPyConnection, before: str) -> None:
    found, told = [], []
    for rows in (EVERYBODY, 7):
        warehouse.begin()
        if before == "nothing":
            for table in SCORES:
                warehouse.execute(f"delete from scores.{table}")
        else:
            warehouse.execute(
                "update scores.score_history set score = score + 5, "
                "contributions = list_transform(contributions, lambda part: part / 2)"
            )
            warehouse.execute("update scores.segment_history set motion = 'other' where hash(subject_id) % 2 = 0")
        written = write_scores(warehouse, PLAYBOOK, "v", is_full=True, rows=rows)
        told.append([(one.table, one.classes, one.added, one.hottest.rows()) for one in written.values()])
        found.append({table: warehouse.sql(f"from scores.{table} order by all").pl() for table in SCORES})
        warehouse.rollback()
    at_once, portioned = found
    assert told[0] == told[1]
    for table in SCORES:
        assert portioned[table].equals(at_once[table]), table
    assert min(min(added.values()) for _, _, added, _ in told[0]) > 7


def test_the_same_moment_written_again_says_the_same(warehouse: duckdb.DuckDBPyConnection) -> None:
    """Though what stood behind a score before is not published any more by then."""
    warehouse.begin()
    warehouse.execute("update scores.pql_scores set pql_score = pql_score + 5")
    warehouse.execute(
        "update scores.score_history set score = score + 5, "
        "contributions = list_transform(contributions, lambda part: part / 2)"
    )
    histories = []
    for _ in range(2):
        written = write_scores(warehouse, PLAYBOOK, "v", is_full=True)
        histories.append(warehouse.sql("from scores.score_history order by all").pl())
    warehouse.rollback()
    assert histories[1].equals(histories[0])
    assert written["user"].added["score_history"] > 7


def test_whom_decisions_are_about_does_not_depend_on_portions(warehouse: duckdb.DuckDBPyConnection) -> None:
    found = []
    for rows in (EVERYBODY, 7):
        select_concerned(warehouse, PLAYBOOK, END, held=NOBODY, states=NOBODY, members=["no_one"], rows=rows)
        found.append(
            [warehouse.sql(f"from scores.looked_at_{who} order by all").fetchall() for who in ("users", "accounts")]
        )
    assert found[0] == found[1]
    assert all(found[0])
