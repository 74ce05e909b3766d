"""What of a sync has to be told to somebody."""

from collections import Counter

import pytest

from dagster_project.activation import SyncResult
from dagster_project.core.sync import REFUSED_BEFORE
from dagster_project.crm_troubles import still_refused, troubles_of
from dagster_project.playbook_files import read_playbook

RULES = read_playbook(None).crm_fields


@pytest.mark.parametrize(("refused", "known", "is_told"), [(9, 9, False), (10, 200, False), (11, 200, True)])
def test_what_was_refused_before_is_told_of_while_it_is_more_than_the_limit(
    refused: int, known: int, is_told: bool
) -> None:
    counts = Counter({f"skipped: {REFUSED_BEFORE}": refused, "update": 3})
    assert (still_refused("contact", counts, known, RULES) is not None) == is_told


@pytest.mark.parametrize(("refused", "written", "is_told"), [(9, 0, False), (10, 190, False), (11, 189, True)])
def test_a_share_of_refusals_is_told_of_with_the_crms_words(refused: int, written: int, is_told: bool) -> None:
    result = SyncResult(written=written, refused={f"c_{number}": "not a number" for number in range(refused)})
    told = troubles_of({"contact": result}, RULES, None)
    assert [line for line in told if "such as c_0: not a number" in line] == told and bool(told) == is_told
