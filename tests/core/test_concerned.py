"""Decisions about the concerned alone are those about everybody, in whatever portions they were looked for."""

from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from handoff_frames import AS_OF, accounts, inputs, playbook, users
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.core.concerned import (
    ACCOUNT_COLUMNS,
    DECIDED_OF_ACCOUNTS,
    DECIDED_OF_USERS,
    USER_COLUMNS,
    Concerned,
)
from dagster_project.core.handoff_plan import HandoffInputs, HandoffPlan
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.triggers import conditions

LATER = AS_OF + timedelta(days=2)
ACCOUNTS = ("a_1", "a_2", "a_3")
PERSON = st.fixed_dictionaries(
    {
        "account_id": st.sampled_from([*ACCOUNTS, None]),
        "email": st.sampled_from(["ann@acme.com", None]),
        "pql_score": st.sampled_from([20.0, 65.0, 91.0, 92.0]),
        "pricing_visits": st.sampled_from([0, 0, 3]),
        "usage_tier": st.sampled_from(["low", "high"]),
        "last_upgrade_click_at": st.sampled_from([None, AS_OF - timedelta(days=1)]),
        "last_sales_request_at": st.sampled_from([None, None, AS_OF - timedelta(hours=5)]),
        "email_opt_out": st.sampled_from([False, False, True]),
        "has_open_opportunity": st.sampled_from([False, False, True]),
        "activation_stage": st.sampled_from(["activated", "reactivated"]),
    }
)
COMPANY = st.fixed_dictionaries(
    {
        "active_users_30d": st.integers(0, 30),
        "segment": st.sampled_from(["smb", "mid-market", "enterprise"]),
        "motion": st.sampled_from(["self-serve", "sales-assist"]),
        "do_not_contact": st.sampled_from([False, False, True]),
    }
)
PEOPLE = st.lists(PERSON, min_size=1, max_size=9)
COMPANIES = st.lists(COMPANY, min_size=len(ACCOUNTS), max_size=len(ACCOUNTS))


def everybody(people: list[dict[str, Any]], companies: list[dict[str, Any]], as_of: datetime) -> list[pl.DataFrame]:
    named = [row | {"user_id": f"u_{n}", "contact_id": f"c_{n}", "as_of": as_of} for n, row in enumerate(people)]
    owned = [row | {"account_id": name, "owner_id": None} for row, name in zip(companies, ACCOUNTS, strict=True)]
    return [users(*named), accounts(*owned)]


def about_the_concerned(given: HandoffInputs, rows: int) -> HandoffInputs:
    """What a run reads after it has looked at everybody in portions of so many rows."""
    concerned = Concerned(
        given.accounts.select(ACCOUNT_COLUMNS), given.states, given.open_candidates, playbook(), silences=given.silences
    )
    for part in given.users.select(USER_COLUMNS).iter_slices(rows):
        concerned.look_at(part, given.rises)
    members = set(given.members["user_id"]) if given.members.width else set()
    people = given.users.filter(pl.col("user_id").is_in(list(concerned.users | members)))
    near = concerned.accounts | set(people["account_id"].drop_nulls())
    companies = given.accounts.filter(pl.col("account_id").is_in(list(near)))

    def whole(subject: str, ids: Any) -> pl.DataFrame:
        frame, key = (given.users, "user_id") if subject == "user" else (given.accounts, "account_id")
        return frame.filter(pl.col(key).is_in(list(ids)))

    return replace(
        given, users=people.select(DECIDED_OF_USERS), accounts=companies.select(DECIDED_OF_ACCOUNTS), read_whole=whole
    )


def told(plan: HandoffPlan) -> dict[str, Any]:
    found = {field.name: getattr(plan, field.name) for field in fields(plan)}
    return {name: one.to_dicts() if isinstance(one, pl.DataFrame) else one for name, one in found.items()}


@settings(max_examples=28)
@given(PEOPLE, PEOPLE, COMPANIES, COMPANIES, st.integers(1, 4), st.booleans())
def test_decisions_about_the_concerned_are_those_about_everybody(
    before: list[dict[str, Any]],
    now: list[dict[str, Any]],
    companies_before: list[dict[str, Any]],
    companies: list[dict[str, Any]],
    rows: int,
    is_first: bool,
) -> None:
    people, firms = everybody(before, companies_before, AS_OF - timedelta(days=7))
    baseline = conditions(people, firms, playbook()) if is_first else None
    first = inputs(*everybody(before, companies_before, AS_OF), baseline=baseline)
    plan = plan_handoffs(first, playbook())
    assert told(plan_handoffs(about_the_concerned(first, rows), playbook())) == told(plan)
    rises = pl.DataFrame({"user_id": ["u_0", "u_3"], "rise": [40.0, 1.0]})
    second = inputs(*everybody(now, companies, LATER), as_of=LATER, after=plan)
    second = replace(second, rises=rises, members=plan.members)
    plan = plan_handoffs(second, playbook())
    assert told(plan_handoffs(about_the_concerned(second, rows), playbook())) == told(plan)
