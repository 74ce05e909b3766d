"""A silent feed of an installation keeps the CRM from hearing of decreases, until it delivers again or is given up."""

from datetime import datetime
from pathlib import Path

import pytest

from dagster_project.defs.activation import silence_hold
from dagster_project.defs.resources import Workplace


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
