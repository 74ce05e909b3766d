"""`pls backfill`: a day scored later is what a run on that day published; stopped, it goes on and ends equal."""

import re
import shutil
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import duckdb
import polars as pl
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from installation import END, FIRST_SCORED, Installation

from dagster_project.core.calibration.points import (
    column_of,
    measured_ones,
    numeric_rules,
    points_by_signal,
    signals_of,
    with_measures,
)
from dagster_project.core.explanation import graded
from dagster_project.core.playbook import Playbook
from dagster_project.past_days import (
    ROWS_PER_PORTION,
    PastDaysError,
    Stock,
    check_standing,
    days_to_score,
    inputs_of,
    missing_days,
    portions,
    score_past_days,
)
from dagster_project.past_scores import read_past
from dagster_project.playbook_files import read_playbook
from dagster_project.refresh import NOTHING_YET
from dagster_project.warehouse import Warehouse

FIRST, LAST = date(2026, 6, 20), date(2026, 6, 29)
KEPT = "from scores.daily_scores where day {} order by all"


@pytest.fixture(scope="module")
def filled(demo_run: Installation, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The demo company with ten days scored by the job, at once."""
    data_dir = shutil.copytree(demo_run.data_dir, tmp_path_factory.mktemp("filled") / "data")
    installation = Installation(data_dir)
    days = {ASSET_PARTITION_RANGE_START_TAG: str(FIRST), ASSET_PARTITION_RANGE_END_TAG: str(LAST)}
    assert installation.run("score_past_days", tags=days).success
    return installation


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({}, "no day was chosen: launch score_past_days for a partition, or use `pls backfill`"),
        (
            {ASSET_PARTITION_RANGE_START_TAG: str(LAST), ASSET_PARTITION_RANGE_END_TAG: str(FIRST)},
            "the first day (2026-06-29) is after the last (2026-06-20)",
        ),
    ],
)
def test_a_run_without_a_day_says_what_it_lacks(demo_run: Installation, tags: dict[str, str], why: str) -> None:
    result = demo_run.run("score_past_days", tags=tags, raise_on_error=False)
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data.description == why


def rows(installation: Installation, sql: str) -> list[tuple]:
    with duckdb.connect(str(installation.warehouse), read_only=True) as warehouse:
        return warehouse.sql(sql).fetchall()


def test_a_day_scored_later_is_what_a_run_on_that_day_published(demo_run: Installation, filled: Installation) -> None:
    day = FIRST_SCORED.date()
    published = rows(demo_run, KEPT.format(f"= '{day}'"))
    assert len(published) > 300
    assert rows(filled, KEPT.format(f"= '{day}'")) == published


def test_every_day_is_there_and_published(filled: Installation) -> None:
    days = [(FIRST + timedelta(days=number),) for number in range(11)]
    assert rows(filled, "select distinct day from scores.daily_scores order by 1") == days
    with duckdb.connect(str(filled.serving), read_only=True) as serving:
        assert serving.sql("from marts.daily_scores order by all").fetchall() == rows(
            filled, KEPT.format("is not null")
        )
    assert days[-1] == (END.date(),), "the run's own day stays"


def test_a_day_that_is_not_over_is_refused(filled: Installation) -> None:
    tags = {ASSET_PARTITION_RANGE_START_TAG: str(LAST), ASSET_PARTITION_RANGE_END_TAG: "2026-07-01"}
    result = filled.run("score_past_days", tags=tags, raise_on_error=False)
    [failure] = [event for event in result.all_events if event.is_step_failure]
    said = str(failure.step_failure_data.user_failure_data.description)
    assert said == "2026-07-01 is not over in what was loaded: the last day that is, is 2026-06-30"


class Killed(Exception):
    """Somebody pulled the plug."""


def test_stopped_in_the_middle_it_goes_on_and_ends_equal(
    demo_run: Installation, filled: Installation, tmp_path: Path
) -> None:
    data_dir = shutil.copytree(demo_run.data_dir, tmp_path / "data")
    warehouse = data_dir / "warehouse.duckdb"
    stock = Stock(Warehouse(warehouse).connect, warehouse, data_dir / ".dbt")
    playbook = read_playbook(None)
    [(version,)] = rows(filled, "select distinct model_version from scores.daily_scores")
    days = [FIRST + timedelta(days=number) for number in range(10)]
    said: list[str] = []

    def dies(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            raise Killed

    with pytest.raises(Killed):
        score_past_days(stock, {version: playbook}, days, inputs="these", say=dies, longest=4)
    with stock.connect() as connection:
        lacking = partial(missing_days, connection, period_days=playbook.calibration.period_days)
        left, behind = lacking(days, [version], "these")
        assert lacking(days, [version], "others") == (days, [version])
        assert lacking(days[:8], [version, "other"], "these") == (days[:8], ["other"])
    assert (left, behind) == (days[8:], [version])
    score_past_days(stock, {version: playbook}, left, inputs="these", say=said.append, longest=4, at_once=20)
    assert said == [
        "4 of 10 days scored, up to 2026-06-23",
        "8 of 10 days scored, up to 2026-06-27",
        "2 of 2 days scored, up to 2026-06-29",
    ]
    whole = KEPT.format(f"between '{FIRST}' and '{LAST}'")
    assert rows(Installation(data_dir), whole) == rows(filled, whole)


def test_what_was_scored_from_other_files_is_scored_again(tmp_path: Path) -> None:
    """A warehouse that is made anew numbers its files alike, whatever is in them."""
    playbook = read_playbook(None)

    def inputs(name: str, *contents: str) -> str:
        with Warehouse(tmp_path / name).connect() as connection:
            for number, content in enumerate(contents):
                connection.execute(
                    "insert into raw.files (file_id, content_hash, status) values (?, ?, 'loaded')", [number, content]
                )
            return inputs_of(connection, playbook, "models")

    assert inputs("before.duckdb", "a", "b") == inputs("again.duckdb", "b", "a")
    assert inputs("other.duckdb", "a", "c") != inputs("before2.duckdb", "a", "b")


LOADED = "('landing/crm/accounts.csv', 'a', null, null, 'loaded')"


@pytest.mark.parametrize(
    ("files", "is_other"),
    [
        (LOADED, False),
        (f"{LOADED}, {LOADED}", False),  # the same file landed in two places
        (f"{LOADED}, ('landing/crm/accounts.csv', 'b', null, null, 'unreadable')", False),
        (f"{LOADED}, ('landing/crm/accounts.csv', 'b', null, null, 'loaded')", True),
        ("('landing/crm/contacts.csv', 'a', null, null, 'loaded')", True),
        ("('landing/crm/accounts.csv', 'a', timestamp '2026-06-01 00:00:00', null, 'loaded')", True),
        ("('landing/crm/accounts.csv', 'a', null, 'name=title', 'loaded')", True),
    ],
)
def test_what_a_file_says_is_its_content_its_moment_and_its_mapping(files: str, is_other: bool, tmp_path: Path) -> None:
    def inputs(rows: str) -> str:
        with Warehouse(tmp_path / "warehouse.duckdb").connect() as connection:
            connection.execute("delete from raw.files")
            connection.execute(
                f"insert into raw.files (source, content_hash, extract_at, mapping, status) values {rows}"
            )
            return inputs_of(connection, read_playbook(None), "models")

    assert (inputs(files) != inputs(LOADED)) is is_other


def test_past_days_are_scored_again_with_other_models_and_when_others_are_left_out(tmp_path: Path) -> None:
    playbook = read_playbook(None)
    no_free_mail = replace(playbook, identity=playbook.identity.model_copy(update={"free_mail": ()}))
    later = replace(playbook, handoffs=playbook.handoffs.model_copy(update={"cooldown_days": 15}))
    with Warehouse(tmp_path / "warehouse.duckdb").connect() as connection:
        known = inputs_of(connection, playbook, "models")
        assert inputs_of(connection, playbook, "other models") != known
        assert inputs_of(connection, no_free_mail, "models") != known
        assert inputs_of(connection, later, "models") == known, "no score follows from it"


@pytest.mark.parametrize(
    ("definition", "is_finished", "until", "expected"),
    [
        ("models", True, "2026-06-30 23:59:59.999999", date(2026, 6, 30)),
        ("models", True, "2026-06-30 23:59:59.999998", date(2026, 6, 29)),
        ("models", True, "2026-06-30 00:00:00", date(2026, 6, 29)),
        ("models", False, "2026-06-30 23:59:59.999999", "the last run did not come to its end: run `pls run` once"),
        ("others", True, "2026-06-30 23:59:59.999999", "have changed: run `pls run` once"),
        (None, None, None, NOTHING_YET),
    ],
)
def test_a_day_can_be_scored_when_it_is_over_in_a_whole_run_of_these_models(
    definition: str | None, is_finished: bool | None, until: str | None, expected: date | str, tmp_path: Path
) -> None:
    with Warehouse(tmp_path / "warehouse.duckdb").connect() as connection:
        if definition:
            connection.execute(
                "insert into raw.refreshes (definition, is_finished, until) values (?, ?, ?)",
                [definition, is_finished, until],
            )
        if isinstance(expected, date):
            assert check_standing(connection, "models") == expected
        else:
            with pytest.raises(PastDaysError, match=re.escape(expected)):
                check_standing(connection, "models")


def test_days_are_scored_from_the_first_event_on_unless_another_day_is_named() -> None:
    with duckdb.connect() as connection:
        connection.execute("create schema intermediate; create table intermediate.int_user_days (day date)")
        with pytest.raises(PastDaysError, match="no events of users yet"):
            days_to_score(connection, None, LAST)
        connection.execute("insert into intermediate.int_user_days values (?), (?)", [LAST, FIRST])
        assert days_to_score(connection, None, LAST) == (FIRST, LAST)
        assert days_to_score(connection, None, FIRST) == (FIRST, FIRST)
        assert days_to_score(connection, LAST, LAST) == (LAST, LAST)
        early = FIRST - timedelta(days=9)
        assert days_to_score(connection, early, early) == (early, early)
        with pytest.raises(PastDaysError, match=r"the first day \(2026-06-29\) is after the last \(2026-06-20\)"):
            days_to_score(connection, LAST, FIRST)
        with pytest.raises(PastDaysError, match="expected --from <= --to"):
            days_to_score(connection, None, early)


def test_portions_are_runs_of_days_that_fit_into_memory() -> None:
    days = [date(2026, 5, number) for number in (1, 2, 3, 4, 6, 7)]
    assert portions(days, users=ROWS_PER_PORTION // 2) == [
        (date(2026, 5, 1), date(2026, 5, 2)),
        (date(2026, 5, 3), date(2026, 5, 4)),
        (date(2026, 5, 6), date(2026, 5, 7)),
    ]
    assert portions(days, users=10) == [(date(2026, 5, 1), date(2026, 5, 4)), (date(2026, 5, 6), date(2026, 5, 7))]
    assert portions(days[:2], users=10**9) == [(days[0], days[0]), (days[1], days[1])]
    assert portions(days[:3], users=10, longest=2) == [(days[0], days[1]), (days[2], days[2])]
    assert portions([], users=0) == []


def test_what_was_measured_is_kept_of_the_first_day_of_each_period(filled: Installation) -> None:
    """Calibration tries other tiers on it: under the present ones it gives the points that were scored."""
    rules = read_playbook(None)
    first_days = rows(
        filled,
        "select distinct min(day) from scores.daily_score_days "
        f"group by model_version, (day - date '1970-01-01') // {rules.calibration.period_days} order by 1",
    )
    assert rows(filled, "select distinct day from scores.daily_measures order by 1") == first_days
    assert (FIRST,) in first_days
    with Warehouse(filled.warehouse).read() as connection:
        past = read_past(connection, pl.DataFrame(), period_days=rules.calibration.period_days)
    names = signals_of(rules.scoring.pql)
    users = past.scores.filter(subject_type="user")
    known = measured_ones(with_measures(points_by_signal(users, names), past.measures))
    assert known.height == users.height > 300
    worth = rules.scoring.points.model_dump()
    for name, tiers in numeric_rules(rules.scoring.pql).items():
        tier = known.select(graded(pl.col(column_of(name)), tiers)).to_series()
        assert tier.replace_strict(worth, default=0.0).to_list() == known[name].to_list(), name


MEASURED_ROWS = "from scores.daily_measures order by all"


@pytest.fixture
def refilled(filled: Installation, tmp_path: Path) -> tuple[Installation, str, str]:
    """The filled company to break; the version of its model, and what its days were scored from."""
    installation = Installation(shutil.copytree(filled.data_dir, tmp_path / "data"))
    [(version, inputs)] = rows(
        filled, f"select model_version, inputs from scores.daily_score_days where day = '{LAST}'"
    )
    return installation, version, inputs


def missing(installation: Installation, version: str, inputs: str, period_days: int) -> list[date]:
    days = [FIRST + timedelta(days=number) for number in range(10)]
    with Warehouse(installation.warehouse).connect() as connection:
        return missing_days(connection, days, [version], inputs, period_days=period_days)[0]


def score(installation: Installation, version: str, inputs: str, days: list[date], playbook: Playbook) -> None:
    warehouse = installation.warehouse
    stock = Stock(Warehouse(warehouse).connect, warehouse, installation.data_dir / ".dbt")
    score_past_days(stock, {version: playbook}, days, inputs=inputs, say=lambda _: None)


def test_what_was_measured_is_made_again_with_the_warehouse(
    filled: Installation, refilled: tuple[Installation, str, str]
) -> None:
    """The days' scores are taken over from the serving copy, where it is not."""
    playbook = read_playbook(None)
    period_days = playbook.calibration.period_days
    assert missing(*refilled, period_days) == []
    with duckdb.connect(str(refilled[0].warehouse)) as warehouse:
        warehouse.execute("drop table scores.daily_measures")
    assert missing(*refilled, period_days) == [FIRST]
    score(*refilled, [FIRST], playbook)
    assert missing(*refilled, period_days) == []
    of_the_day = f"from scores.daily_measures where day = '{FIRST}' order by all"
    assert rows(refilled[0], of_the_day) == rows(filled, of_the_day) != []


def test_other_periods_are_measured_on_other_days(refilled: tuple[Installation, str, str]) -> None:
    playbook = read_playbook(None)
    shorter = replace(playbook, calibration=playbook.calibration.model_copy(update={"period_days": 4}))
    lacking = missing(*refilled, 4)
    assert 1 < len(lacking) < 4
    score(*refilled, lacking, shorter)
    assert missing(*refilled, 4) == []
    assert {(day,) for day in lacking} < set(rows(refilled[0], "select distinct day from scores.daily_measures"))


def test_scores_of_a_day_stand_with_what_was_measured_or_not_at_all(
    refilled: tuple[Installation, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installation, version, _ = refilled
    before = rows(installation, MEASURED_ROWS)

    def dies(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("dagster_project.past_days.keep_measures", dies)
        with pytest.raises(Killed):
            score(installation, version, "others", [FIRST], read_playbook(None))
    assert FIRST in missing(installation, version, "others", 30)
    assert rows(installation, MEASURED_ROWS) == before


def test_a_day_without_users_lacks_nothing(refilled: tuple[Installation, str, str]) -> None:
    installation, version, inputs = refilled
    with duckdb.connect(str(installation.warehouse)) as warehouse:
        warehouse.execute("delete from scores.daily_measures")
        warehouse.execute(f"delete from scores.daily_score_rows where day = '{FIRST}'")
    assert missing(installation, version, inputs, 30) == []
