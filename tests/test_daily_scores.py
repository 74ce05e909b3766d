"""What every subject was on each day: kept narrow, read whole."""

from datetime import date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from installation import END, FIRST_SCORED, Installation

from dagster_project.core.causes import CAUSES
from dagster_project.daily_scores import ScoredDay, create_daily_scores, forget_days, write_own_day

PUBLISHED = """
select 'user' as subject_type, user_id as subject_id, account_id, model_version, pql_score as score, classification,
  segment, explanation from marts.pql_scores
union all
select 'account', account_id, account_id, model_version, pqa_score, classification, segment, explanation
from marts.pqa_scores
"""


def test_a_full_run_keeps_what_it_published_as_its_day(demo_run: Installation) -> None:
    with duckdb.connect(str(demo_run.serving), read_only=True) as serving:
        columns = "subject_type, subject_id, account_id, model_version, score, classification, segment"
        kept = serving.execute(
            f"select {columns} from marts.daily_scores where day = ? order by all", [END.date()]
        ).fetchall()
        published = serving.sql(f"select {columns} from ({PUBLISHED}) order by all").fetchall()
        days = serving.sql("select distinct day from marts.daily_scores order by all").fetchall()
        wrong = serving.execute(
            f"select * from ({PUBLISHED}) join marts.daily_scores as daily using (subject_type, subject_id) "
            "where day = ? and list_sum(list_transform(daily.signals, lambda said: said.points)) "
            "<> list_sum(list_transform(explanation, lambda entry: entry.points))",
            [END.date()],
        ).fetchall()
    assert kept == published
    assert len(kept) > 300
    assert days == [(FIRST_SCORED.date(),), (END.date(),)]
    assert wrong == []


@pytest.fixture
def warehouse(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    create_daily_scores(connection, tmp_path / "serving.duckdb")
    for table, key, score in (("pql_scores", "user_id", "pql_score"), ("pqa_scores", "account_id", "pqa_score")):
        account = "'a1' as account_id, " if key == "user_id" else ""
        subject = "'u' || range" if key == "user_id" else "'a1'"
        connection.execute(
            f"create table scores.{table} as select {subject} as {key}, {account} 50.0 as {score}, 'm1' as "
            "model_version, 'developing' as classification, 'smb' as segment, [{'signal': 'actions', 'value': '3', "
            "'tier': 'low', 'points': 1.0, 'contribution': 2.0}, {'signal': 'cap', 'value': '100', 'tier': '', "
            f"'points': 0.0, 'contribution': 0.0}}] as explanation from range({4 if key == 'user_id' else 1})"
        )
    return connection


def day_of(number: int, model: str = "m1") -> ScoredDay:
    return ScoredDay(date(2026, 5, number), model, datetime(2026, 5, number, 12))


def test_who_looks_alike_shares_a_pattern(warehouse: duckdb.DuckDBPyConnection) -> None:
    for number in (1, 2):
        write_own_day(warehouse, day_of(number))
    assert warehouse.sql("select count(*) from scores.daily_score_rows").fetchall() == [(10,)]
    assert warehouse.sql("select count(*) from scores.score_patterns").fetchall() == [(2,)]
    assert warehouse.sql("select signals from scores.daily_scores where subject_id = 'u1' limit 1").fetchall() == [
        ([{"signal": "actions", "points": 1.0}],)
    ]


def test_a_day_that_is_scored_again_takes_the_place_of_what_it_was(warehouse: duckdb.DuckDBPyConnection) -> None:
    write_own_day(warehouse, day_of(1))
    warehouse.execute("update scores.pql_scores set pql_score = 70, classification = 'warm'")
    write_own_day(warehouse, day_of(1))
    assert warehouse.sql("select distinct score from scores.daily_scores where subject_type = 'user'").fetchall() == [
        (70.0,)
    ]
    assert warehouse.sql("select count(*) from scores.daily_score_days").fetchall() == [(1,)]


def test_days_of_another_model_stay(warehouse: duckdb.DuckDBPyConnection) -> None:
    write_own_day(warehouse, day_of(1))
    warehouse.execute("update scores.pql_scores set model_version = 'm2'")
    warehouse.execute("update scores.pqa_scores set model_version = 'm2'")
    write_own_day(warehouse, day_of(1, "m2"))
    forget_days(warehouse, [date(2026, 5, 1)], "m1")
    assert warehouse.sql("select model_version, count(*) from scores.daily_scores group by all").fetchall() == [
        ("m2", 5)
    ]


def test_a_warehouse_that_is_rebuilt_takes_published_days_over(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    write_own_day(warehouse, day_of(1))
    warehouse.execute(f"attach '{tmp_path / 'serving.duckdb'}' as serving; create schema serving.scores")
    for table in ("score_patterns", "daily_score_rows", "daily_score_days"):
        warehouse.execute(f"create table serving.scores.{table} as from scores.{table}")
    before = warehouse.sql("from scores.daily_scores order by all").fetchall()
    warehouse.execute("detach serving")
    rebuilt = duckdb.connect()
    create_daily_scores(rebuilt, tmp_path / "serving.duckdb")
    assert rebuilt.sql("from scores.daily_scores order by all").fetchall() == before


def test_why_scores_changed_sums_to_the_change(demo_run: Installation) -> None:
    with duckdb.connect(str(demo_run.serving), read_only=True) as serving:
        changed = serving.sql(
            "select subject_type, score - previous_score as change, causes from marts.score_history "
            "where previous_score is not null"
        ).pl()
    parts = changed.unnest("causes")
    assert set(parts["subject_type"]) == {"user", "account"}
    assert parts.select((pl.sum_horizontal(CAUSES) - pl.col("change")).abs().max()).item() < 1e-6
    for cause in ("new_activity", "left_window"):
        assert parts.filter(pl.col(cause).abs() > 1).height > 0, cause
    assert parts.filter(pl.col("definition") != 0).is_empty()
