"""Histories grow where something changed, and the reason of a change sums to it."""

import re
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.core.changes import SCORE_HISTORY, SEGMENT_HISTORY, score_changes, segment_changes

NAMES = ("usage", "engagement", "rounding")
NOTHING = SCORE_HISTORY.to_frame()


def scored(*rows: dict[str, Any], as_of: datetime = datetime(2026, 5, 2)) -> pl.DataFrame:
    like = {
        "subject_type": "user",
        "subject_id": "u_1",
        "score": 10.0,
        "classification": "not_ready",
        "as_of": as_of,
        "model_version": "m1",
        "parts": [4.0, 6.0, 0.0],
    }
    schema = {name: SCORE_HISTORY[name] for name in like}
    return pl.DataFrame([like | row for row in rows], schema=schema, orient="row")


def test_a_first_score_is_a_row_and_the_same_score_again_is_none() -> None:
    first = score_changes(scored({}), NOTHING, NAMES)
    assert first.to_dicts() == [
        {
            "subject_type": "user",
            "subject_id": "u_1",
            "score": 10.0,
            "classification": "not_ready",
            "previous_score": None,
            "reason": "first score",
            "as_of": datetime(2026, 5, 2),
            "model_version": "m1",
            "parts": [4.0, 6.0, 0.0],
        }
    ]
    assert score_changes(scored({}, as_of=datetime(2026, 5, 3)), first, NAMES).is_empty()


def test_a_change_says_what_moved() -> None:
    before = score_changes(scored({}), NOTHING, NAMES)
    now = scored({"score": 61.5, "classification": "warm", "parts": [56.0, 5.5, 0.0], "model_version": "m2"})
    [row] = score_changes(now, before, NAMES).to_dicts()
    assert row["previous_score"] == 10.0
    assert row["reason"] == "from not_ready to warm; model m2 after m1; usage +52.0, engagement -0.5"


def test_another_model_that_gives_the_same_score_is_no_change() -> None:
    before = score_changes(scored({}), NOTHING, NAMES)
    assert score_changes(scored({"model_version": "m2"}), before, NAMES).is_empty()


def test_users_and_accounts_of_one_id_are_two_subjects() -> None:
    before = score_changes(scored({}), NOTHING, NAMES)
    assert score_changes(scored({"subject_type": "account"}), before, NAMES).height == 1


PARTS = st.lists(st.integers(0, 400).map(lambda tenth: tenth / 10), min_size=3, max_size=3)


@settings(max_examples=80, deadline=None)
@given(PARTS, PARTS)
def test_what_the_reason_names_sums_to_the_change(before: list[float], now: list[float]) -> None:
    first = score_changes(scored({"parts": before, "score": round(sum(before), 1)}), NOTHING, NAMES)
    again = score_changes(scored({"parts": now, "score": round(sum(now), 1)}), first, NAMES)
    for row in again.iter_rows(named=True):
        moved = sum(float(number) for number in re.findall(r"[+-]\d+(?:\.\d+)?", row["reason"]))
        assert moved == pytest.approx(row["score"] - row["previous_score"], abs=1e-6)


def segmented(**changed: Any) -> pl.DataFrame:
    like = {
        "subject_type": "account",
        "subject_id": "a_1",
        "segment": "smb",
        "motion": "self-serve",
        "source": "unknown",
        "valid_from": datetime(2026, 5, 2),
    }
    return pl.DataFrame([like | changed], schema=SEGMENT_HISTORY, orient="row")


@pytest.mark.parametrize(
    ("changed", "rows"),
    [
        ({}, 0),
        ({"valid_from": datetime(2026, 5, 3)}, 0),
        ({"source": "computed"}, 1),
        ({"segment": "mid-market"}, 1),
        ({"motion": "sales-led"}, 1),
    ],
)
def test_segments(changed: dict[str, Any], rows: int) -> None:
    first = segment_changes(segmented(), SEGMENT_HISTORY.to_frame())
    assert first.height == 1
    assert segment_changes(segmented(**changed), first).height == rows
