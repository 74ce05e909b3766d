"""When a delta will do, and when everything has to be computed anew."""

from dataclasses import replace
from datetime import datetime, timedelta

import duckdb
import pytest

from dagster_project.refresh import Arrivals, Refresh, Standing, arrivals, decide_refresh, odd_moment
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


def decided(before: Standing | None = BEFORE, come: Arrivals = NOTHING, **changed: object) -> Refresh:
    asked = {"until": NOON + timedelta(hours=1), "definition": "models", "rules": "rules", "has_baseline": False}
    return decide_refresh(before, come, **(asked | changed))  # type: ignore[arg-type]


def test_a_delta_stands_on_the_full_refresh_before_it() -> None:
    assert decided() == Refresh(False, "only events have come", as_of=MORNING, until=NOON + timedelta(hours=1))


def test_records_of_the_crm_are_taken_by_a_delta() -> None:
    reason, until = "events and records of the CRM have come", NOON + timedelta(hours=1)
    assert decided(come=replace(NOTHING, crm_files=1)) == Refresh(False, reason, MORNING, until, has_crm=True)


@pytest.mark.parametrize(
    ("source", "status", "is_for_all"),
    [
        ("crm.contacts", "loaded", False),
        ("suppression", "loaded", False),
        ("crm.contacts", "shrunk", True),
        ("crm.owners", "loaded", True),
    ],
)
def test_what_is_about_single_people_and_accounts_is_for_a_delta(source: str, status: str, is_for_all: bool) -> None:
    """Of an extract that has shrunk nobody knows what it says; who sells to whom is asked of all owners together."""
    with duckdb.connect() as connection:
        connection.execute(RAW_TABLES)
        rows = [(1, 6, "crm.owners", "loaded"), (2, 8, "events", "loaded"), (3, 8, source, status)]
        rows.append((4, 8, "crm.owners", "redelivered"))
        for file_id, batch_id, *what in rows:
            connection.execute(
                "insert into raw.files (file_id, batch_id, source, status) values (?, ?, ?, ?)",
                [file_id, batch_id, *what],
            )
        assert arrivals(connection, since_batch=7) == Arrivals(1, 0, crm_is_for_all=is_for_all)


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
        ("CRM has delivered", decided(come=replace(NOTHING, crm_files=1, crm_is_for_all=True))),
        ("delivered again", decided(come=replace(NOTHING, replaced_identities=1))),
        ("silent at other times", decided(come=replace(NOTHING, silence_changes=1))),
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
