"""What dbt executed for models, seeds and tests is executed again; what is out of the ordinary is dbt's."""

import random
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from dbt_fixtures import Shop
from test_dbt_deltas import batch_of, with_accounts

from dagster_project.node_statements import (
    NodeStatements,
    NotRepeatable,
    columns_below,
    execute_node,
    keep_nodes,
    kept_nodes,
    rows_of,
)
from dagster_project.transform import NodeOutcome

VIEWS = (
    "select view_name, comment, replace(sql, 'create or replace', 'create') from duckdb_views() "
    "where schema_name = 'marts' order by all"
)
COLUMNS = (
    "select table_name, column_name, data_type, comment from duckdb_columns() where schema_name = 'marts' order by all"
)


def a_shop(folder: Path) -> Shop:
    shop = Shop(folder).create()
    shop.moments("2026-06-30 18:00:00", "2026-06-25 18:00:00")
    shop.load([{"user_id": "u1", "event": "Signed In", "timestamp": "2026-06-30 10:00:00"}])
    shop.extract("accounts", "2026-06-01", [{"account_id": "A1", "name": "One"}])
    shop.extract("opportunities", "2026-06-29", [{"opportunity_id": "op1", "account_id": "A404"}])
    return shop


def by_id(outcomes: list[NodeOutcome], kinds: tuple[str, ...]) -> dict[str, tuple]:
    return {o.unique_id: (o.status, o.failures, o.rows) for o in outcomes if o.unique_id.startswith(kinds)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Built by dbt, here or by a test before, so that from now on its statements are kept."""
    shop = a_shop(tmp_path_factory.mktemp("first"))
    shop.build()
    shop.build("tag:marts")
    return shop


def test_views_that_are_made_again_are_those_of_dbt(shop: Shop, tmp_path: Path) -> None:
    """`build` always is dbt's; the same nodes come of both, and the same of them."""
    other = a_shop(tmp_path)
    other.build()
    again, by_dbt = other.outcomes("tag:marts"), shop.outcomes("tag:marts,tag:marts")
    for kinds in (("model.",), ("test.",)):
        assert by_id(again, kinds) == by_id(by_dbt, kinds)
    assert other.rows(VIEWS) == shop.rows(VIEWS)
    assert other.rows(COLUMNS) == shop.rows(COLUMNS)


def test_of_what_a_test_has_found_the_rows_can_be_read(shop: Shop) -> None:
    found = {outcome.unique_id: outcome.rows for outcome in shop.outcomes("tag:features") if outcome.rows}
    [rows] = [sql for unique_id, sql in found.items() if "opportunities_have_accounts" in unique_id]
    assert shop.rows(rows) == [("op1", "A404")]
    assert rows_of("select max(amount) from (select 1 as amount) dbt_internal_test") is None


def test_tables_that_are_made_again_are_those_of_dbt(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Over other events, of a first build and of one on a later day, beside what was built before."""
    shop.build()  # dbt's, on what it has built before
    chance = random.Random(5)
    again, by_dbt = (with_accounts(tmp_path_factory.mktemp(name)) for name in ("again", "dbt"))
    for number, day in enumerate(["2026-06-29", "2026-06-30"]):
        events = batch_of(chance, number, 200)
        told = []
        for one, select in ((again, "tag:features"), (by_dbt, "tag:features,tag:features")):
            one.begin_batch()
            one.moments(f"{day} 18:00:00", "2026-06-20 18:00:00")
            one.load(events)
            told.append(by_id(one.build(select), ("model.", "seed.", "test.")))
        assert told[0] == told[1]
        assert tables_of(again) == tables_of(by_dbt)
    assert not (again.folder / "target").exists(), "dbt was asked"


def tables_of(shop: Shop) -> dict[str, list[tuple]]:
    names = shop.rows(
        "select format('{}.{}', schema_name, table_name) from duckdb_tables() "
        "where schema_name in ('reference', 'intermediate', 'features') order by all"
    )
    assert len(names) > 25
    with duckdb.connect(str(shop.path), read_only=True) as connection:
        return {name: sorted(connection.sql(f"from {name}").fetchall(), key=str) for (name,) in names}


def test_what_a_test_finds_is_told_in_dbts_words(shop: Shop) -> None:
    shop.execute("insert into scores.pql_scores (user_id, pql_score) values ('u1', 101)")
    failed = [outcome for outcome in shop.outcomes("tag:marts") if outcome.status == "fail"]
    shop.execute("delete from scores.pql_scores")
    assert [outcome.unique_id.split(".")[2] for outcome in failed] == ["in_range_pql_scores_0__100__pql_score"]
    assert failed[0].message == "Got 1 result, configured to fail if != 0"


def test_features_that_fail_a_test_are_told_in_dbts_words(shop: Shop) -> None:
    shop.execute("update raw.moments set is_live = false")
    failed = [outcome for outcome in shop.outcomes("tag:features") if outcome.status == "fail"]
    shop.execute("update raw.moments set is_live = true")
    assert [outcome.unique_id.split(".")[2] for outcome in failed] == ["source_exactly_one_raw_moments_is_live"]
    assert failed[0].message.startswith("Got 1 result")


def test_statements_take_the_literals_of_today() -> None:
    node = NodeStatements(
        "model.pls.a",
        (
            "/*?*/ select last as until, cast(null as varchar) as nothing from asked",
            "/*?*/ select part from parts order by all",
            "create or replace table a as select 0 as n where 0 < /*:until.0*/7/*;*/",
            "insert into a select * from range(10) where /*:part*/range = 9/*;*/ and range < /*:until.0*/7/*;*/",
        ),
    )
    with duckdb.connect() as connection:
        connection.execute("create table asked as select '5' as last; create table parts (part varchar)")
        connection.execute("insert into parts values ('range = 2'), ('range between 4 and 6')")
        assert execute_node(connection, node) is None
        assert connection.sql("select list(n order by n) from a").fetchall() == [([0, 2, 4],)]
        connection.execute("delete from asked")
        with pytest.raises(NotRepeatable, match="nothing gives until of row 0"):
            execute_node(connection, node)
        one_by_one = NodeStatements("model.pls.b", (node.statements[1], "create table b as select /*:part*/1/*;*/"))
        with pytest.raises(NotRepeatable, match="can't be made of the next"):
            execute_node(connection, one_by_one)
        nothing = NodeStatements("model.pls.b", (node.statements[0], "select /*:nothing.0*/1/*;*/"))
        with pytest.raises(NotRepeatable, match="nothing gives nothing"):
            execute_node(connection, nothing)


WRITTEN = (
    NodeStatements("model.pls.a", ("delete from a where day > '…'", "insert into a")),
    NodeStatements("test.pls.b", ("select 0",), only_warns=True),
)


def test_statements_outlive_the_process_that_kept_them_but_not_what_they_were_written_for(tmp_path: Path) -> None:
    folder = tmp_path / "artefacts"
    keep_nodes("today", WRITTEN, folder)
    read = (
        "import sys, pathlib; from dagster_project.node_statements import NodeStatements, kept_nodes; "
        "found = [kept_nodes(day, pathlib.Path(sys.argv[1])) for day in ('today', 'tomorrow')]; "
        "print(found == [eval(sys.argv[2]), None])"
    )
    words = [sys.executable, "-c", read]
    said = subprocess.run([*words, str(folder), repr(WRITTEN)], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "True"
    for number in range(50):
        keep_nodes(f"day {number}", WRITTEN, folder)
    assert len(list(folder.iterdir())) == 40
    assert (folder / "day 49.json").exists()


@pytest.mark.parametrize("text", [None, "", '[{"unique_id": "to'])
def test_what_cannot_be_read_is_written_anew(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "any day.json").write_text(text)
    assert kept_nodes("any day", tmp_path) is None


def test_views_are_as_before_only_over_the_same_columns() -> None:
    with duckdb.connect() as connection:
        connection.execute("create schema scores; create schema marts; create table scores.pql_scores (score double)")
        before = columns_below(connection, "marts")
        connection.execute("create view marts.pql_scores as from scores.pql_scores")
        assert columns_below(connection, "marts") == before
        connection.execute("alter table scores.pql_scores alter score type varchar")
        assert columns_below(connection, "marts") != before
