"""Where an extract goes on."""

import json
from datetime import datetime

from dagster_project.clients.cursors import Cursor

NOW = datetime(2026, 6, 1, 10, 0)


def test_an_extract_begins_goes_on_and_is_followed_by_the_next() -> None:
    at = Cursor.of(None, lambda: NOW)
    assert at == Cursor(started="2026-06-01T10:00:00.000Z")
    later = Cursor("2026-05-01T00:00:00.000Z", at.started, "archived", "77")
    assert Cursor.of(later.text(), lambda: datetime(2026, 6, 2)) == later
    assert Cursor.of(later.following(), lambda: datetime(2026, 6, 2)).since == at.started


def test_what_an_older_version_was_reading_begins_anew() -> None:
    old = json.dumps({"since": "2026-05-01T00:00:00.000Z", "phase": "archived", "after": "77"})
    assert Cursor.of(old, lambda: NOW) == Cursor("2026-05-01T00:00:00.000Z", "2026-06-01T10:00:00.000Z")
