"""The PQA score: the worked examples hold, entries sum to the score, what is unknown is said and not guessed."""

import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_frames import PLAYBOOK, accounts

from dagster_project.core.pqa import DIMENSIONS, score_accounts

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
    entry = _entries(tech_stack=["DBT", "dbt ", "snowflake"])["tech_stack"]
    assert (entry["value"], entry["tier"]) == ("2", "high")


@pytest.mark.parametrize(
    ("now", "before", "tier", "value"),
    [
        (0, 0, "none", "0"),
        (0, 9, "none", "-1"),
        (2, 0, "low", "from none"),
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


def test_no_accounts_are_no_error() -> None:
    assert score_accounts(accounts(), RULES).select(pl.len()).item() == 0
