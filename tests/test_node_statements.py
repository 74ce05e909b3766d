"""What dbt executed for published views and tests is executed again; what is out of the ordinary is dbt's."""

from pathlib import Path

import duckdb
import pytest
from dbt_fixtures import Shop

from dagster_project.node_statements import columns_below
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
    shop.moments("2026-06-30 18:00:00")
    shop.load([{"user_id": "u1", "event": "Signed In", "timestamp": "2026-06-30 10:00:00"}])
    shop.extract("accounts", "2026-06-01", [{"account_id": "A1", "name": "One"}])
    shop.extract("opportunities", "2026-06-29", [{"opportunity_id": "op1", "account_id": "A404"}])
    return shop


def by_id(outcomes: list[NodeOutcome], kinds: tuple[str, ...]) -> dict[str, tuple]:
    return {o.unique_id: (o.status, o.failures) for o in outcomes if o.unique_id.startswith(kinds)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Built by dbt, here or by a test before, so that from now on its statements are kept."""
    shop = a_shop(tmp_path_factory.mktemp("first"))
    shop.build()
    shop.build("tag:marts")
    return shop


def test_what_is_executed_again_is_what_dbt_makes(shop: Shop, tmp_path: Path) -> None:
    """`build` always is dbt's; the same nodes come of both, and the same of them."""
    other = a_shop(tmp_path)
    for select in ("tag:features", "tag:marts"):
        again = other.outcomes(select)
        by_dbt = shop.outcomes(f"{select},tag:{select[4:]}")
        for kinds in (("model.", "seed."), ("test.",)):
            assert by_id(again, kinds) == by_id(by_dbt, kinds)
    assert other.rows(VIEWS) == shop.rows(VIEWS)
    assert other.rows(COLUMNS) == shop.rows(COLUMNS)


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


def test_views_are_as_before_only_over_the_same_columns() -> None:
    with duckdb.connect() as connection:
        connection.execute("create schema scores; create schema marts; create table scores.pql_scores (score double)")
        before = columns_below(connection, "marts")
        connection.execute("create view marts.pql_scores as from scores.pql_scores")
        assert columns_below(connection, "marts") == before
        connection.execute("alter table scores.pql_scores alter score type varchar")
        assert columns_below(connection, "marts") != before
