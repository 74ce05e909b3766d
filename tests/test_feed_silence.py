"""A silent feed of an installation keeps the CRM from hearing of decreases, until it delivers again or is given up."""

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from dagster_project.defs.activation import silence_hold
from dagster_project.defs.resources import Workplace
from dagster_project.scored_moments import without_doubtful_returns


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
        assert silence_hold(connection, workplace) is None
        since = datetime(2026, 6, 20, 12)
        connection.execute("insert into raw.feed_silences values ('web', ?, ?, ?)", [since, until, since])
        assert (silence_hold(connection, workplace) is not None) is is_held


def test_who_returns_after_a_silence_has_not_come_back(tmp_path: Path) -> None:
    workplace = Workplace(overrides={"PLS_DATA_DIR": str(tmp_path)})
    moments = [datetime(2026, 6, 23, 9), datetime(2026, 6, 19, 9), None]
    users = pl.DataFrame({"user_id": ["after", "before", "never"], "reactivated_at": moments})
    with workplace.connect() as connection:
        assert without_doubtful_returns(connection, users, workplace.playbook).equals(users)
        silence = ("web", datetime(2026, 6, 20, 12), datetime(2026, 6, 22, 8), datetime(2026, 6, 24))
        connection.execute("insert into raw.feed_silences values (?, ?, ?, ?)", silence)
        believed = without_doubtful_returns(connection, users, workplace.playbook)
    assert believed["reactivated_at"].to_list() == [None, moments[1], None]
