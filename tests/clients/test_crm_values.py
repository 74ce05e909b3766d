"""Values as vendors hold them: a list becomes one text and the same list again."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.clients.crm_values import joined, moment_of, split

NAMES = st.text(st.sampled_from("ab \\;,é("), min_size=1).map(str.strip).filter(bool)
ITEMS = NAMES | st.builds(lambda name, date: {"name": name, "date": str(date)}, NAMES, st.dates())


@given(st.lists(ITEMS))
def test_a_list_is_what_it_was(items: list[object]) -> None:
    assert split(joined(items)) == items


@pytest.mark.parametrize("text", [None, ""])
def test_nothing_is_no_items(text: str | None) -> None:
    assert split(text) == []


def test_what_an_earlier_version_wrote_of_a_backslash_is_read() -> None:
    assert split("a\\b; c\\") == ["a\\b", "c\\"]


@pytest.mark.parametrize("text", ["2026-06-30T12:00:00", "2026-06-30T12:00:00Z", "2026-06-30T14:00:00.000+0200"])
def test_a_moment_without_an_offset_is_in_utc(text: str) -> None:
    assert moment_of(text) == datetime(2026, 6, 30, 12)
