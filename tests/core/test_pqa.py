"""The PQA score: the worked examples hold, entries sum to the score, what is unknown is said and not guessed."""

import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_frames import PLAYBOOK, accounts

from dagster_project.core.pqa import DIMENSIONS, PARTS, grade_accounts, kinds, score_accounts
from dagster_project.core.scoring_rules import ScoringRules

RULES = PLAYBOOK.scoring
PROFILE = RULES.pqa.ideal_profile
GOLDEN = list(csv.DictReader((Path(__file__).parents[1] / "golden" / "golden_pqa.csv").open(encoding="utf-8")))
INDUSTRIES = {
    "target": PROFILE.target_industries[0].upper(),
    "adjacent": f" {PROFILE.adjacent_industries[0]} ",
    "other": "Fishing",
    "unknown": None,
}


def _account(row: dict[str, str]) -> dict[str, Any]:
    stack = [*PROFILE.technologies[: int(row["tech_matches"])], "Pencil"] if row["tech_matches"] else None
    return {
        "active_users_30d": int(row["active_users"]),
        "active_users_before": int(row["active_users_before"]),
        "departments": int(row["departments"]),
        "catalogue_features": 100,
        "catalogue_features_used": round(float(row["adoption"]) * 100),
        "mean_sessions_per_week": float(row["intensity"]),
        "employee_count": int(row["employees"]) if row["employees"] else None,
        "industry": INDUSTRIES[row["industry"]],
        "tech_stack": stack,
        "expansion_signals": int(row["expansion_signals"]),
    }


def test_every_worked_example_holds() -> None:
    scored = score_accounts(accounts(*map(_account, GOLDEN)), RULES)
    published = [*(f"{name}_score" for name in DIMENSIONS), "usage_score", "pqa_score"]
    for expected, found in zip(GOLDEN, scored.iter_rows(named=True), strict=True):
        assert {name: found[name] for name in published} == {name: float(expected[name]) for name in published}, (
            expected["case"]
        )
        assert (found["classification"], found["quadrant"]) == (expected["classification"], expected["quadrant"])


ACCOUNTS = st.fixed_dictionaries(
    {
        "active_users_30d": st.integers(0, 40),
        "active_users_before": st.integers(0, 40),
        "departments": st.integers(0, 5),
        "catalogue_features_used": st.integers(0, 10),
        "mean_sessions_per_week": st.floats(0, 30),
        "employee_count": st.one_of(st.none(), st.integers(0, 5000)),
        "industry": st.sampled_from(list(INDUSTRIES.values())),
        "tech_stack": st.one_of(st.none(), st.lists(st.sampled_from([*PROFILE.technologies, "Pencil", "DBT"]))),
        "expansion_signals": st.integers(0, 10),
    }
)


@settings(max_examples=80, deadline=None)
@given(st.lists(ACCOUNTS, min_size=1, max_size=10))
def test_entries_and_parts_sum_to_the_score(companies: list[dict[str, Any]]) -> None:
    for row in score_accounts(accounts(*companies), RULES).iter_rows(named=True):
        assert sum(entry["contribution"] for entry in row["explanation"]) == pytest.approx(row["pqa_score"], abs=1e-9)
        assert sum(row["parts"]) == pytest.approx(row["pqa_score"], abs=1e-9)


BUSY: dict[str, Any] = {
    "active_users_30d": 5,
    "active_users_before": 4,
    "departments": 1,
    "catalogue_features_used": 6,
    "mean_sessions_per_week": 1.0,
    "employee_count": 51,
    "industry": INDUSTRIES["other"],
    "tech_stack": [PROFILE.technologies[0]],
}
"""An account whose four dimensions all differ, and whose scores, with usage and fit, are rounded up."""


def test_parts_and_kinds_stand_in_the_order_of_what_they_are_of() -> None:
    """The history tells by them what moved a score."""
    row = score_accounts(accounts(BUSY), RULES).row(0, named=True)
    weights = RULES.pqa.weights.model_dump()
    assert list(weights) == [*PARTS[:-1]]
    assert row["parts"][:-1] == pytest.approx([row[f"{n}_score"] * weights[n] for n in DIMENSIONS], abs=0.05)
    assert len({*row["parts"]}) == len(PARTS)
    told = {entry["signal"]: kind for entry, kind in zip(row["explanation"], kinds(RULES), strict=True)}
    assert {signal for signal, kind in told.items() if kind == "fit"} == {"employees", "industry", "tech_stack"}
    assert {signal for signal, kind in told.items() if kind == "rounding"} == {"rounding"}


def _lines(usage: float, fit: float, warm: float) -> ScoringRules:
    """The rules with other lines of the matrix, and of the class `warm`."""
    said = RULES.model_dump(by_alias=True)
    said["pqa"]["matrix"] = {"usage_from": usage, "fit_from": fit}
    said["classes"]["warm"]["from"] = warm
    return ScoringRules.model_validate(said)


def test_lines_are_compared_with_what_is_published() -> None:
    """Whoever reads 49.1 beside a line at 49.1 must not find the account below it, whatever was rounded away."""
    row = score_accounts(accounts(BUSY), RULES).row(0, named=True)
    usage, fit, score = (row[name] for name in ("usage_score", "fit_score", "pqa_score"))
    for above_usage, above_fit, quadrant in (
        (0.0, 0.0, "hot_pqa"),
        (0.1, 0.0, "develop"),
        (0.0, 0.1, "self_serve"),
        (0.1, 0.1, "deprioritize"),
    ):
        rules = _lines(usage + above_usage, fit + above_fit, score)
        assert score_accounts(accounts(BUSY), rules)["quadrant"].item() == quadrant
        assert score_accounts(accounts(BUSY), rules)["classification"].item() == "warm"


def test_usage_is_weighed_by_the_weights_of_breadth_and_depth() -> None:
    said = RULES.model_dump(by_alias=True)
    said["pqa"]["weights"] = {"breadth": 0.4, "depth": 0.2, "fit": 0.3, "momentum": 0.1}
    row = score_accounts(accounts(BUSY), ScoringRules.model_validate(said)).row(0, named=True)
    expected = (0.4 * row["breadth_score"] + 0.2 * row["depth_score"]) / 0.6
    assert row["usage_score"] == pytest.approx(expected, abs=0.05)


@settings(max_examples=20, deadline=None)
@given(st.lists(ACCOUNTS, min_size=1, max_size=10))
def test_grades_of_past_days_are_the_scores_of_a_run(companies: list[dict[str, Any]]) -> None:
    scored = score_accounts(accounts(*companies), RULES)
    graded = grade_accounts(accounts(*companies), RULES)
    assert graded.select("score", "classification").rows() == scored.select("pqa_score", "classification").rows()
    for row, entries in zip(graded.iter_rows(named=True), scored["explanation"], strict=True):
        earned = {entry["signal"]: entry["points"] for entry in entries if entry["signal"] != "rounding"}
        assert {name: row[name] for name in row if name not in ("score", "classification")} == earned


def _entries(**changed: Any) -> dict[str, dict[str, Any]]:
    row = score_accounts(accounts(changed), RULES).row(0, named=True)
    return {entry["signal"]: entry for entry in row["explanation"]}


@pytest.mark.parametrize(
    ("column", "signal", "value"),
    [
        ("employee_count", "employees", None),
        ("industry", "industry", None),
        ("industry", "industry", "  "),
        ("tech_stack", "tech_stack", None),
        ("tech_stack", "tech_stack", []),
    ],
)
def test_unknown_firmographics_are_listed_as_missing(column: str, signal: str, value: Any) -> None:
    entry = _entries(**{column: value})[signal]
    assert (entry["tier"], entry["value"], entry["points"]) == ("missing", "unknown", 0.0)


def test_a_known_stack_without_a_match_is_not_missing() -> None:
    entry = _entries(tech_stack=["Pencil"])["tech_stack"]
    assert (entry["tier"], entry["value"], entry["points"]) == ("low", "0", 1.0)


def test_technologies_count_once_and_without_case() -> None:
    entry = _entries(tech_stack=["DBT", "dbt ", " Snowflake"])["tech_stack"]
    assert (entry["value"], entry["tier"]) == ("2", "high")


def test_the_ideal_profile_is_read_as_people_write_it() -> None:
    said = RULES.model_dump(by_alias=True)
    said["pqa"]["ideal_profile"] = {
        "target_industries": [" Fishing"],
        "adjacent_industries": ["Boats "],
        "technologies": ["Net ", "HOOK"],
    }
    rules = ScoringRules.model_validate(said)
    found = score_accounts(
        accounts({"industry": "fishing", "tech_stack": ["net", "hook"]}, {"industry": "boats"}), rules
    )
    told = [{entry["signal"]: entry["value"] for entry in entries} for entries in found["explanation"]]
    assert [entries["industry"] for entries in told] == ["target", "adjacent"]
    assert told[0]["tech_stack"] == "2"


@pytest.mark.parametrize(
    ("now", "before", "tier", "value"),
    [
        (0, 0, "none", "0"),
        (0, 9, "none", "-1"),
        (1, 0, "low", "from none"),
        (2, 0, "low", "from none"),
        (2, 1, "high", "1"),
        (3, 0, "high", "from none"),
        (5, 5, "none", "0"),
        (11, 10, "medium", "0.1"),
        (5, 4, "high", "0.25"),
        (4, 5, "none", "-0.2"),
    ],
)
def test_growth(now: int, before: int, tier: str, value: str) -> None:
    entry = _entries(active_users_30d=now, active_users_before=before)["user_growth"]
    assert (entry["tier"], entry["value"]) == (tier, value)


def test_no_catalogue_of_features_means_no_adoption() -> None:
    assert _entries(catalogue_features=0)["feature_adoption"]["value"] == "0"
    assert _entries(catalogue_features=1, catalogue_features_used=1)["feature_adoption"]["value"] == "1"


def test_no_accounts_are_no_error() -> None:
    assert score_accounts(accounts(), RULES).select(pl.len()).item() == 0
