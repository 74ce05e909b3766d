"""When a delta will do, and when everything has to be computed anew."""

from dataclasses import replace
from datetime import datetime, timedelta

import duckdb
import pytest

from dagster_project.refresh import Arrivals, Refresh, Standing, decide_refresh, odd_moment
from dagster_project.warehouse import RAW_TABLES

MORNING = datetime(2026, 6, 30, 8)
NOON = datetime(2026, 6, 30, 12)
BEFORE = Standing(
    until=NOON,
    as_of=MORNING,
    batch_id=7,
    definition="models",
    rules="rules",
    had_baseline=False,
    next_crm_moment=NOON + timedelta(hours=3),
    is_finished=True,
)
NOTHING = Arrivals(crm_files=0, replaced_identities=0)


def decided(before: Standing | None = BEFORE, arrivals: Arrivals = NOTHING, **changed: object) -> Refresh:
    asked = {"until": NOON + timedelta(hours=1), "definition": "models", "rules": "rules", "has_baseline": False}
    return decide_refresh(before, arrivals, **(asked | changed))  # type: ignore[arg-type]


def test_a_delta_stands_on_the_full_refresh_before_it() -> None:
    assert decided() == Refresh(False, "only events have come", as_of=MORNING, until=NOON + timedelta(hours=1))


def test_the_same_moment_again_is_a_delta() -> None:
    assert not decided(until=NOON).is_full


@pytest.mark.parametrize(
    ("reason", "refresh"),
    [
        ("nothing was computed yet", decided(None)),
        ("did not come to its end", decided(replace(BEFORE, is_finished=False))),
        ("models have changed", decided(definition="others")),
        ("playbook has changed", decided(rules="others")),
        ("earlier moment", decided(has_baseline=True)),
        ("earlier moment", decided(replace(BEFORE, had_baseline=True))),
        ("windows slide", decided(until=NOON + timedelta(hours=12))),
        ("earlier moment than before", decided(until=NOON - timedelta(hours=1))),
        ("CRM has delivered", decided(arrivals=replace(NOTHING, crm_files=1))),
        ("delivered again", decided(arrivals=replace(NOTHING, replaced_identities=1))),
        ("silent at other times", decided(arrivals=replace(NOTHING, silence_changes=1))),
        ("date in the CRM", decided(until=NOON + timedelta(hours=3))),
    ],
)
def test_anything_but_events_makes_it_full(reason: str, refresh: Refresh) -> None:
    assert refresh.is_full
    assert reason in refresh.reason
    assert refresh.as_of == refresh.until


@pytest.mark.parametrize(
    ("asked", "before", "said"),
    [
        (NOON, None, None),
        (NOON, MORNING, None),
        (NOON, NOON, None),
        (MORNING, NOON, "is before 2026-06-30 12:00, which was scored last"),
        (NOON + timedelta(days=2), NOON, "2026-07-02 12:00 UTC is still to come"),
    ],
)
def test_a_moment_that_nobody_expects_is_told_of(asked: datetime, before: datetime | None, said: str | None) -> None:
    with duckdb.connect() as connection:
        connection.execute(RAW_TABLES)
        for table, moment in (("raw.next_moments", asked), ("raw.moments", before)):
            if moment:
                connection.execute(f"insert into {table} values (?, ?, true, ?)", [moment, moment.date(), moment])
        told = odd_moment(connection, NOON)
    assert (told is None) if said is None else said in str(told)
