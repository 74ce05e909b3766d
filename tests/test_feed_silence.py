"""A silent feed of an installation keeps the CRM from hearing of decreases, until it delivers again or is given up."""

import json
import os
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from dagster_project.defs.resources import Workplace
from dagster_project.landing.events import begin_batch, load_events
from dagster_project.landing.feeds import silence_hold, update_silences
from dagster_project.refresh import plan_refresh
from dagster_project.scored_moments import without_doubtful_returns

MORNING = datetime(2026, 6, 24, 9)


@pytest.mark.parametrize(
    ("as_of", "until", "is_held"),
    [
        ("2026-06-22", None, True),
        ("2026-06-22", datetime(2026, 6, 21, 12), False),
        ("2026-07-25", None, False),
    ],
)
def test_decreases_are_held_while_a_feed_is_silent(
    tmp_path: Path, as_of: str, until: datetime | None, is_held: bool
) -> None:
    workplace = Workplace(overrides={"PLS_DATA_DIR": str(tmp_path), "PLS_AS_OF": as_of})
    with workplace.connect() as connection:
        rules, moment = workplace.playbook.sources.feed_silence, datetime.fromisoformat(as_of)
        assert silence_hold(connection, moment, rules) is None
        since = datetime(2026, 6, 20, 12)
        connection.execute("insert into raw.feed_silences values ('web', ?, ?, ?)", [since, until, since])
        assert (silence_hold(connection, moment, rules) is not None) is is_held


def test_who_returns_after_a_silence_has_not_come_back(tmp_path: Path) -> None:
    workplace = Workplace(overrides={"PLS_DATA_DIR": str(tmp_path)})
    moments = [datetime(2026, 6, 23, 9), datetime(2026, 6, 19, 9), None]
    days = [date(2026, 5, 24), date(2026, 5, 10), None]
    told = {"user_id": ["after", "before", "never"], "reactivated_at": moments, "previous_active_day": days}
    users = pl.DataFrame(told)
    with workplace.connect() as connection:
        assert without_doubtful_returns(connection, users, workplace.playbook).equals(users)
        silence = ("web", datetime(2026, 6, 20, 12), datetime(2026, 6, 22, 8), datetime(2026, 6, 24))
        connection.execute("insert into raw.feed_silences values (?, ?, ?, ?)", silence)
        believed = without_doubtful_returns(connection, users, workplace.playbook)
    assert believed["reactivated_at"].to_list() == [None, moments[1], None]


def test_a_delta_computes_everything_once_when_a_feed_was_silent_at_other_times_than_was_known(tmp_path: Path) -> None:
    workplace = Workplace(overrides={"PLS_DATA_DIR": str(tmp_path)})
    told = []
    with workplace.connect() as connection:
        connection.execute("insert into raw.moments values ($at, $at, true, $at)", {"at": MORNING})
        for days in ([1, *range(5, 60)], [2, 3, 4], []):
            batch_id = begin_batch(connection, MORNING)
            deliver(tmp_path / "landing" / "events" / f"{batch_id}.ndjson", days)
            load_events(connection, tmp_path / "landing", workplace.playbook.sources, batch_id, MORNING)
            update_silences(connection, MORNING, workplace.playbook.sources.feed_silence)
            refresh = plan_refresh(
                connection, definition="models", rules="rules", may_be_delta=batch_id > 1, run_id=str(batch_id)
            )
            told.append(refresh.reason)
            connection.execute("update raw.refreshes set is_finished = true")
    assert told[1:] == ["a feed of events was silent at other times than was known", "only events have come"]


def deliver(path: Path, days: list[int]) -> None:
    """An event on each of the days that are so many days before the moment."""
    rows = [{"type": "track", "user_id": "u", "timestamp": f"{MORNING - timedelta(days=day)}"} for day in days]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.utime(path, (0, 0))  # left alone for long
