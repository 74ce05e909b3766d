"""The copy that SQL users read: what it holds, and that nobody sees half of it."""

import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.open_files import is_written_by_nobody, was_left_alone
from dagster_project.publishing import (
    NOTHING,
    Excerpt,
    PublishedView,
    publish_changes,
    publish_serving_copy,
    spare_of,
    state_of,
)
from dagster_project.warehouse import Warehouse, transaction


@pytest.fixture
def warehouse_with_marts(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with Warehouse(path).connect() as connection:
        connection.execute("create schema marts; create schema scores; create table scores.secret as select 1 as x")
        connection.execute("create table marts.pql_scores as select 'u1' as user_id, ['a', 'b'] as features_used")
        connection.execute("create view marts.funnel as select 'signed_up' as stage, 7 as users")
        connection.execute("comment on column marts.pql_scores.user_id is 'It''s the product''s id.'")
    return path


def test_the_serving_copy_holds_the_marts_and_nothing_else(warehouse_with_marts: Path, tmp_path: Path) -> None:
    serving = tmp_path / "serving.duckdb"
    publish_serving_copy(warehouse_with_marts, serving)
    with duckdb.connect(str(serving), read_only=True) as connection:
        tables = connection.sql("select table_schema, table_name from information_schema.tables order by 2").fetchall()
        assert tables == [("marts", "funnel"), ("marts", "pql_scores")]
        assert connection.sql("from marts.pql_scores").fetchall() == [("u1", ["a", "b"])]
        comments = connection.sql("select comment from duckdb_columns() where column_name = 'user_id'").fetchall()
        assert comments == [("It's the product's id.",)]


def test_analysts_with_an_older_duckdb_can_open_the_copy(warehouse_with_marts: Path, tmp_path: Path) -> None:
    """What pipeline and analysts have installed is not renewed on one day."""
    serving = tmp_path / "serving.duckdb"
    publish_serving_copy(warehouse_with_marts, serving)
    for publish_again in (False, True):
        if publish_again:
            publish_changes(warehouse_with_marts, serving, {"pql_scores": "true"})
        with duckdb.connect(str(serving), read_only=True) as copy:
            of_the_copy = "select tags['storage_version'] from duckdb_databases() where database_name = 'serving'"
            assert copy.sql(of_the_copy).fetchall() == [("v1.5.0+",)]


def test_a_reader_keeps_its_copy_while_a_new_one_is_published(warehouse_with_marts: Path, tmp_path: Path) -> None:
    serving = tmp_path / "serving.duckdb"
    publish_serving_copy(warehouse_with_marts, serving)
    context = multiprocessing.get_context("spawn")
    # Not a Pool, which ends its processes by a signal that they may have inherited to ignore.
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        reader = pool.submit(_read_twice, str(serving), str(tmp_path / "go"))
        deadline = time.monotonic() + 20
        while not (tmp_path / "go.ready").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        with Warehouse(warehouse_with_marts).connect() as connection:
            connection.execute("insert into marts.pql_scores values ('u2', [])")
        publish_serving_copy(warehouse_with_marts, serving)
        (tmp_path / "go").touch()
        assert reader.result(20) == (1, 1)
    with duckdb.connect(str(serving), read_only=True) as connection:
        assert connection.sql("select count(*) from marts.pql_scores").fetchall() == [(2,)]


def _read_twice(path: str, go: str) -> tuple[int, int]:
    with duckdb.connect(path, read_only=True) as connection:
        count = "select count(*) from marts.pql_scores"
        first = connection.sql(count).fetchall()[0][0]
        Path(go + ".ready").touch()
        deadline = time.monotonic() + 20
        while not Path(go).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return first, connection.sql(count).fetchall()[0][0]


def test_what_a_killed_publication_left_behind_goes(warehouse_with_marts: Path, tmp_path: Path) -> None:
    leftovers = [tmp_path / f".serving.duckdb.999.{end}" for end in ("publishing", "publishing.wal")]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    publish_serving_copy(warehouse_with_marts, tmp_path / "serving.duckdb")
    assert not any(leftover.exists() for leftover in leftovers)
    assert sorted(path.name for path in tmp_path.glob("*serving*")) == ["serving.duckdb"]


def test_a_failed_publication_leaves_the_old_copy(warehouse_with_marts: Path, tmp_path: Path) -> None:
    serving = tmp_path / "serving.duckdb"
    publish_serving_copy(warehouse_with_marts, serving)
    with Warehouse(warehouse_with_marts).connect() as connection:
        connection.execute("create view marts.broken as select error('no') as x from marts.pql_scores")
    with pytest.raises(duckdb.Error):
        publish_serving_copy(warehouse_with_marts, serving)
    with duckdb.connect(str(serving), read_only=True) as connection:
        assert connection.sql("select count(*) from marts.pql_scores").fetchall() == [(1,)]
    assert sorted(path.name for path in tmp_path.glob("*serving*")) == ["serving.duckdb"]


@pytest.mark.parametrize("changed", [{"pql_scores": "user_id = error('no')"}, {"pql_scores": "true", "gone": "true"}])
def test_changes_of_which_one_fails_leave_the_old_copy(
    changed: dict[str, str], warehouse_with_marts: Path, tmp_path: Path
) -> None:
    serving = tmp_path / "serving.duckdb"
    publish_serving_copy(warehouse_with_marts, serving)
    before = state_of(serving)
    with Warehouse(warehouse_with_marts).connect() as connection:
        connection.execute("insert into marts.pql_scores values ('u2', [])")
    with pytest.raises(duckdb.Error):
        publish_changes(warehouse_with_marts, serving, changed)
    assert state_of(serving) == before
    assert sorted(path.name for path in tmp_path.glob("*serving*")) == ["serving.duckdb"]


def test_changes_find_their_columns_by_name(warehouse_with_marts: Path, tmp_path: Path) -> None:
    """A warehouse that was made anew may have them in another order than the copy of before."""
    serving = tmp_path / "serving.duckdb"
    with Warehouse(warehouse_with_marts).connect() as connection:
        connection.execute("create table marts.leads as select 'u1' as user_id, 'a1' as account_id")
    publish_serving_copy(warehouse_with_marts, serving)
    with Warehouse(warehouse_with_marts).connect() as connection:
        connection.execute("create or replace table marts.leads as select 'a2' as account_id, 'u1' as user_id")
    publish_changes(warehouse_with_marts, serving, {"leads": "user_id = 'u1'"})
    with duckdb.connect(str(serving), read_only=True) as copy:
        assert copy.sql("select user_id, account_id from marts.leads").fetchall() == [("u1", "a2")]


def test_a_published_view_is_one_over_the_rows_that_are_published_and_says_what_it_is(
    warehouse_with_marts: Path, tmp_path: Path
) -> None:
    serving, view = tmp_path / "serving.duckdb", "select user_id, 2 * half as score from scores.daily"
    with Warehouse(warehouse_with_marts).connect() as connection:
        connection.execute("create table scores.daily as select unnest(['u1', 'u2']) as user_id, 7 as half")
        connection.execute(f"create view marts.daily_scores as {view}")
        connection.execute("comment on view marts.daily_scores is 'Whoever''s score.'")
        connection.execute("comment on column marts.daily_scores.score is 'Of that day.'")
        connection.execute("comment on table marts.pql_scores is 'A score each.'")
    published = PublishedView(view, {"daily": "select * from scores.daily where user_id = 'u1'"})
    publish_serving_copy(warehouse_with_marts, serving, {"daily_scores": published})
    with duckdb.connect(str(serving), read_only=True) as copy:
        assert copy.sql("from marts.daily_scores").fetchall() == [("u1", 14)]
        about = copy.sql(
            "select view_name, comment from duckdb_views() where comment is not null union all "
            "select table_name, comment from duckdb_tables() where comment is not null union all "
            "select column_name, comment from duckdb_columns() where comment is not null order by all"
        ).fetchall()
        assert about == [
            ("daily_scores", "Whoever's score."),
            ("pql_scores", "A score each."),
            ("score", "Of that day."),
            ("user_id", "It's the product's id."),
        ]
        tables = copy.sql("select schema_name || '.' || table_name from duckdb_tables() order by 1").fetchall()
        assert tables == [("marts.funnel",), ("marts.pql_scores",), ("scores.daily",)]


def test_a_file_is_known_again_by_all_that_a_change_of_it_changes(tmp_path: Path) -> None:
    one, other, now = tmp_path / "one", tmp_path / "other", 1_780_000_000
    for path, text in ((one, "a"), (other, "a")):
        path.write_text(text)
        os.utime(path, (now, now))
    first = state_of(one)
    assert state_of(other) != first, "another file, however alike"
    os.utime(one, (now, now + 1))
    assert state_of(one) != first
    one.write_text("ab")
    os.utime(one, (now, now))
    assert state_of(one) != first
    one.write_text("b")
    os.utime(one, (now, now))
    one.rename(tmp_path / "called otherwise")
    assert state_of(tmp_path / "called otherwise") == first
    assert state_of(one) is None


def test_it_is_published_again_and_read_at_once_while_others_look_through_all_catalogs(
    warehouse_with_marts: Path, tmp_path: Path
) -> None:
    """What they have looked at stays open in this process until their transactions end, the copy included."""
    serving, over = tmp_path / "serving.duckdb", threading.Event()
    publish_serving_copy(warehouse_with_marts, serving)

    def look() -> int:
        looks = 0
        while not over.is_set():
            with Warehouse(warehouse_with_marts).change() as connection, transaction(connection):
                connection.sql("select count(*) from duckdb_tables()").fetchall()
                time.sleep(0.03)
            looks += 1
        return looks

    others = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with ThreadPoolExecutor(1) as pool, others:
        looking = pool.submit(look)
        try:
            for _ in range(10):
                publish_changes(warehouse_with_marts, serving, {"pql_scores": "true"})
                assert len(others.submit(_rows, serving, "pql_scores").result(20)) == 1
        finally:
            over.set()
        assert looking.result() > 0


PEOPLE = st.dictionaries(st.integers(0, 9), st.integers(0, 3), min_size=1)
"""A score by user."""


@settings(max_examples=8, deadline=None)
@given(PEOPLE, st.lists(PEOPLE, min_size=1, max_size=4), st.booleans())
def test_changes_are_published_like_everything(
    first: dict[int, int], deltas: list[dict[int, int]], spared: bool
) -> None:
    touched = "user_id in (select user_id from scores.touched)"
    changed = {"people": touched, "histories": touched, "members": "true", "sizes": "true", "still": NOTHING}
    excerpt = Excerpt(("people", "histories"), {"scores.people": touched, "scores.history": touched})
    with TemporaryDirectory() as folder:
        path, serving, whole = (Path(folder, f"{name}.duckdb") for name in ("warehouse", "serving", "whole"))
        with Warehouse(path).connect() as warehouse:
            warehouse.execute(_PEOPLE_AND_WHAT_IS_PUBLISHED)
        _score(path, first)
        publish_serving_copy(path, serving)
        for scores in deltas:
            in_spare = spared and spare_of(serving).exists()
            _score(path, scores, lacked=2 if in_spare else 1)
            publish_changes(path, serving, changed, excerpt, in_spare=in_spare)
            publish_serving_copy(path, whole)
            for table in changed:
                assert _rows(serving, table) == _rows(whole, table), table


_PEOPLE_AND_WHAT_IS_PUBLISHED = """
create schema marts; create schema scores;
create table scores.people (user_id integer, score integer);
create table scores.touched (user_id integer, deltas_ago integer);
create table scores.history (user_id integer, score integer, moment integer);
create view marts.people as select user_id, score from scores.people;
create view marts.histories as
  select user_id, score, moment, lead(moment) over (partition by user_id order by moment) as until from scores.history;
create view marts.members as
  select member, score from range(10) as members(member) left join scores.people on people.user_id = member;
create view marts.sizes as select score, count(*) as people from scores.people group by score;
create table marts.still as select 1 as x;
"""


def _score(path: Path, scores: dict[int, int], *, lacked: int = 1) -> None:
    """A delta; `lacked`: of how many, this one among them, the changes are published."""
    with Warehouse(path).change() as warehouse, transaction(warehouse):  # not a commit per row
        warehouse.execute("update scores.touched set deltas_ago = deltas_ago + 1")
        warehouse.execute("delete from scores.touched where deltas_ago >= ?", [lacked])
        warehouse.executemany("insert into scores.touched values (?, 0)", [[user_id] for user_id in scores])
        now = "(select user_id from scores.touched where deltas_ago = 0)"
        warehouse.execute(f"delete from scores.people where user_id in {now}")
        warehouse.executemany("insert into scores.people values (?, ?)", [list(row) for row in scores.items()])
        warehouse.execute(
            "insert into scores.history select *, (select coalesce(max(moment), 0) + 1 from scores.history) "
            f"from scores.people where user_id in {now}"
        )


def test_a_copy_in_which_most_rows_are_deleted_ones_is_cleared_of_them(tmp_path: Path) -> None:
    path, serving = tmp_path / "warehouse.duckdb", tmp_path / "serving.duckdb"
    with Warehouse(path).change() as warehouse:
        warehouse.execute(
            "create schema marts; create table marts.user_profiles as select range as score from range(200_000)"
        )
    publish_serving_copy(path, serving)
    found = "select sum(count) from pragma_storage_info('marts.user_profiles') where segment_type = 'BIGINT'"
    rows_in_the_file = []
    for changed, is_time in ((0, True), (1, False), (1, True)):
        publish_changes(path, serving, {"user_profiles": f"score % 8 > {changed}"}, may_be_worn=is_time)
        with duckdb.connect(str(serving), read_only=True) as copy:
            rows_in_the_file.append(copy.sql(found).fetchall()[0][0])
            assert copy.sql("select count(*), sum(score) from marts.user_profiles").fetchall() == [
                (200_000, 19_999_900_000)
            ]
    assert rows_in_the_file[0] == 375_000
    assert rows_in_the_file[1] == 375_000 + 150_000, "nobody asked"
    assert rows_in_the_file[2] < 375_000 + 150_000


def test_the_spare_is_left_alone_while_anybody_has_it_open(warehouse_with_marts: Path, tmp_path: Path) -> None:
    serving = tmp_path / "serving.duckdb"
    publish_serving_copy(warehouse_with_marts, serving)
    if not was_left_alone(serving):
        pytest.skip("the operating system doesn't say who has a file open here")
    with serving.open("rb") as reading:  # as somebody does who copies it
        published = state_of(serving)
        publish_changes(warehouse_with_marts, serving, {"pql_scores": "true"})
        assert state_of(spare_of(serving)) == published != state_of(serving)
        assert not was_left_alone(spare_of(serving))
        before = reading.read()
    assert was_left_alone(spare_of(serving))
    (tmp_path / "kept").hardlink_to(spare_of(serving))
    assert not was_left_alone(spare_of(serving))
    (tmp_path / "kept").unlink()
    assert spare_of(serving).read_bytes() == before
    publish_changes(warehouse_with_marts, serving, {"pql_scores": "true"}, in_spare=True)
    assert state_of(serving)[:1] == published[:1] if published else False  # the same file, changed
    publish_serving_copy(warehouse_with_marts, serving)
    assert not spare_of(serving).exists()


def _rows(path: Path, table: str) -> list[tuple]:
    with duckdb.connect(str(path), read_only=True) as copy:
        return copy.sql(f"from marts.{table} order by all").fetchall()


def test_pipes_and_links_to_themselves_are_nothing_that_somebody_has_written(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(link)
    assert not is_written_by_nobody(pipe), "and nobody waits for who writes into it"
    assert not is_written_by_nobody(link)
