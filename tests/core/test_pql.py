"""The PQL score: the worked examples hold, entries sum to the score, nobody's score depends on another's."""

import csv
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_frames import PLAYBOOK, users

from dagster_project.core.explanation import EXPLANATION
from dagster_project.core.pql import PARTS, score_users

RULES = PLAYBOOK.scoring
GOLDEN = list(csv.DictReader((Path(__file__).parents[1] / "golden" / "golden_pql.csv").open(encoding="utf-8")))
INTENT = list(RULES.pql.intent)


def _user(row: dict[str, str]) -> dict[str, Any]:
    return {
        "sessions_per_week": float(row["sessions_per_week"]),
        "features_used": [f"f{n}" for n in range(int(row["features_used"]))],
        "minutes_per_week": float(row["minutes_per_week"]),
        "actions": int(row["actions"]),
        "team_invites": int(row["team_invites"]),
        "integrations": int(row["integrations"]),
        "data_imported": row["data_imported"],
        "setup_share": float(row["setup_share"]),
        **{signal: int(row[signal]) for signal in INTENT},
    }


def _scored(people: list[dict[str, Any]], fit_tiers: list[str]) -> pl.DataFrame:
    return score_users(users(*people).with_columns(fit_tier=pl.Series(fit_tiers, dtype=pl.String)), RULES)


def test_every_worked_example_holds() -> None:
    scored = _scored([_user(row) for row in GOLDEN], [row["fit_tier"] for row in GOLDEN])
    published = ["usage_score", "engagement_score", "intent_score", "pql_score"]
    for expected, found in zip(GOLDEN, scored.iter_rows(named=True), strict=True):
        assert {name: found[name] for name in published} == {name: float(expected[name]) for name in published}, (
            expected["case"]
        )
        assert found["classification"] == expected["classification"], expected["case"]


PEOPLE = st.fixed_dictionaries(
    {
        "sessions_per_week": st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.5, 3.0, 6.0]), st.floats(0, 50)),
        "features_used": st.integers(0, 7).map(lambda count: [f"f{n}" for n in range(count)]),
        "minutes_per_week": st.one_of(st.sampled_from([0.0, 0.1, 10.0, 30.0]), st.floats(0, 5000)),
        "actions": st.integers(0, 40),
        "team_invites": st.integers(0, 6),
        "integrations": st.integers(0, 4),
        "data_imported": st.sampled_from(["none", "some", "full"]),
        "setup_share": st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
        **{signal: st.integers(0, 3) for signal in INTENT},
    }
)
FIT = st.sampled_from(list(RULES.pql.fit_multiplier))
COMPANIES = st.lists(st.tuples(PEOPLE, FIT), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(COMPANIES)
def test_entries_and_parts_sum_to_the_score(company: list[tuple[dict[str, Any], str]]) -> None:
    scored = _scored([person for person, _ in company], [fit for _, fit in company])
    for row in scored.iter_rows(named=True):
        assert sum(entry["contribution"] for entry in row["explanation"]) == pytest.approx(row["pql_score"], abs=1e-9)
        assert sum(row["parts"]) == pytest.approx(row["pql_score"], abs=1e-9)
        assert len(row["parts"]) == len(PARTS)


@settings(max_examples=60, deadline=None)
@given(COMPANIES)
def test_the_score_is_the_formula_in_exact_decimals(company: list[tuple[dict[str, Any], str]]) -> None:
    scored = _scored([person for person, _ in company], [fit for _, fit in company])
    weights = RULES.pql.weights.model_dump()
    most = {"usage": 20, "engagement": 20, "intent": 24}
    component_of = {
        **dict.fromkeys(RULES.pql.usage, "usage"),
        **dict.fromkeys(RULES.pql.engagement, "engagement"),
        **dict.fromkeys(INTENT, "intent"),
    }
    for row in scored.iter_rows(named=True):
        points = {name: Decimal(0) for name in most}
        for entry in row["explanation"]:
            if entry["signal"] in component_of:
                points[component_of[entry["signal"]]] += Decimal(str(entry["points"]))
        total = sum(Decimal(str(weights[name])) * points[name] * 100 / most[name] for name in most)
        exact = min(Decimal(100), total * Decimal(str(row["fit_multiplier"])))
        assert Decimal(str(row["pql_score"])) == exact.quantize(Decimal("0.1"), ROUND_HALF_UP)


@settings(max_examples=40, deadline=None)
@given(COMPANIES, st.randoms(use_true_random=False))
def test_a_score_does_not_depend_on_who_else_is_scored(company: list[tuple[dict[str, Any], str]], chance: Any) -> None:
    people = [person | {"user_id": f"u_{n}"} for n, (person, _) in enumerate(company)]
    fits = [fit for _, fit in company]
    together = {row["user_id"]: row for row in _scored(people, fits).iter_rows(named=True)}
    order = list(range(len(people)))
    chance.shuffle(order)
    for place in order[:3]:
        alone = _scored([people[place]], [fits[place]]).row(0, named=True)
        assert alone == together[alone["user_id"]]


@settings(max_examples=60, deadline=None)
@given(PEOPLE, FIT, st.sampled_from(["actions", "team_invites", "integrations", *INTENT]))
def test_doing_more_never_lowers_a_score(person: dict[str, Any], fit: str, signal: str) -> None:
    more = person | {signal: person[signal] + 1}
    before, after = _scored([person, more], [fit, fit])["pql_score"]
    assert after >= before


def test_every_signal_is_explained_even_when_it_earned_nothing() -> None:
    entries = _scored([{}], ["consumer"])["explanation"][0].to_list()
    told = [entry["signal"] for entry in entries]
    assert told == [*RULES.pql.usage, *RULES.pql.engagement, *INTENT, "fit_multiplier", "cap", "rounding"]
    assert entries[0] == {
        "signal": "sessions_per_week",
        "value": "0",
        "tier": "none",
        "points": 0.0,
        "contribution": 0.0,
    }


def test_nobody_to_score_is_no_error() -> None:
    scored = score_users(users().with_columns(fit_tier=pl.lit("smb")), RULES)
    assert scored.height == 0
    assert scored.schema["explanation"] == EXPLANATION
