"""Histories grow where something changed, and the reason of a change sums to it."""

import re
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.core.causes import Kind
from dagster_project.core.changes import (
    SCORE_HISTORY,
    SEGMENT_HISTORY,
    STANDING,
    score_changes,
    segment_changes,
    standing,
    unchanged,
)

KINDS: tuple[Kind, ...] = ("activity", "activity", "multiplier", "cap", "rounding")
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
        "contributions": [4.0, 6.0, 0.0, 0.0, 0.0],
    }
    schema = {name: SCORE_HISTORY[name] for name in like}
    return pl.DataFrame([like | row for row in rows], schema=schema, orient="row")


def test_a_first_score_is_a_row_and_the_same_score_again_is_none() -> None:
    first = score_changes(scored({}), NOTHING, KINDS)
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
            "contributions": [4.0, 6.0, 0.0, 0.0, 0.0],
            "causes": None,
        }
    ]
    assert score_changes(scored({}, as_of=datetime(2026, 5, 3)), first, KINDS).is_empty()


def test_a_change_says_why() -> None:
    before = score_changes(scored({}), NOTHING, KINDS)
    now = scored({"score": 61.5, "classification": "warm", "contributions": [40.0, 1.5, 21.0, -1.0, 0.0]})
    [row] = score_changes(now, before, KINDS).to_dicts()
    assert row["previous_score"] == 10.0
    assert row["reason"] == "from not_ready to warm; new activity +36.0, left window -4.5, fit +21.0, cap -1.0"
    assert sum(row["causes"].values()) == pytest.approx(51.5)


def test_what_another_model_changes_is_its_definition() -> None:
    before = score_changes(scored({}), NOTHING, KINDS)
    now = scored({"score": 61.5, "classification": "warm", "contributions": [61.5], "model_version": "m2"})
    [row] = score_changes(now, before, KINDS).to_dicts()
    assert row["reason"] == "from not_ready to warm; model m2 after m1; definition +51.5"


def test_activity_under_a_model_that_had_changed_nothing_is_activity() -> None:
    before = score_changes(scored({}), NOTHING, KINDS)
    published = scored({"model_version": "m2", "contributions": [10.0, 0.0, 0.0, 0.0, 0.0]}).select(STANDING)
    now = scored({"score": 12.0, "model_version": "m2", "contributions": [10.0, 2.0, 0.0, 0.0, 0.0]})
    [row] = score_changes(now, standing(before, published), KINDS).to_dicts()
    assert row["reason"] == "new activity +2.0"
    elsewhere = standing(before, published.with_columns(score=pl.lit(11.0)))
    assert score_changes(now, elsewhere, KINDS)["reason"].to_list() == ["model m2 after m1; definition +2.0"]


def test_activity_counts_at_the_fit_that_was_and_the_fit_for_what_there_is() -> None:
    before = score_changes(scored({"contributions": [6.0, 4.0, 2.0, 0.0, 0.0], "score": 12.0}), NOTHING, KINDS)
    now = scored({"contributions": [16.0, 4.0, 10.0, 0.0, 0.0], "score": 30.0})
    [row] = score_changes(now, before, KINDS).to_dicts()
    assert row["causes"]["new_activity"] == pytest.approx(12.0)
    assert row["causes"]["fit"] == pytest.approx(6.0)


def test_another_model_that_gives_the_same_score_is_no_change() -> None:
    before = score_changes(scored({}), NOTHING, KINDS)
    assert score_changes(scored({"model_version": "m2"}), before, KINDS).is_empty()


def test_users_and_accounts_of_one_id_are_two_subjects() -> None:
    before = score_changes(scored({}), NOTHING, KINDS)
    assert score_changes(scored({"subject_type": "account"}), before, KINDS).height == 1


POINTS = st.lists(st.integers(0, 300).map(lambda tenth: tenth / 10), min_size=2, max_size=2)
FACTOR = st.sampled_from([0.5, 1.0, 1.2, 1.5])


def contributions(points: list[float], factor: float) -> tuple[list[float], float]:
    """What a score of these signals and this fit consists of, and the score."""
    multiplied = sum(points) * factor
    score = round(min(100.0, multiplied), 1)
    return [*points, multiplied - sum(points), min(0.0, 100 - multiplied), score - min(100.0, multiplied)], score


@settings(max_examples=80, deadline=None)
@given(POINTS, FACTOR, POINTS, FACTOR)
def test_the_causes_sum_to_the_change(before: list[float], fit_before: float, now: list[float], fit_now: float) -> None:
    was, score_before = contributions(before, fit_before)
    became, score_now = contributions(now, fit_now)
    first = score_changes(scored({"contributions": was, "score": score_before}), NOTHING, KINDS)
    for row in score_changes(scored({"contributions": became, "score": score_now}), first, KINDS).to_dicts():
        change = row["score"] - row["previous_score"]
        assert sum(row["causes"].values()) == pytest.approx(change, abs=1e-9)
        assert row["causes"]["new_activity"] >= 0 >= row["causes"]["left_window"]
        if fit_before == fit_now:
            assert row["causes"]["fit"] == pytest.approx(0, abs=1e-9)
        told = sum(float(number) for number in re.findall(r"[+-]\d+(?:\.\d+)?", row["reason"]))
        assert told == pytest.approx(change, abs=0.03), "as far as two decimals can say it"


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


def test_what_was_said_of_the_same_score_at_the_same_moment_holds() -> None:
    now = scored({"subject_id": "same"}, {"subject_id": "other", "contributions": [3.0, 7.0, 0.0, 0.0, 0.0]})
    published = scored({"subject_id": "same"}, {"subject_id": "other"}).select(STANDING)
    assert unchanged(now, published).to_dicts() == [{"subject_type": "user", "subject_id": "same"}]
    other_model = published.with_columns(model_version=pl.lit("m2"))
    assert unchanged(now, other_model).is_empty()
