"""Any run over a small company, for the laws that hold whatever the run."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from handoff_frames import AS_OF, NOTHING, accounts, inputs, owners, past, playbook, users
from hypothesis import strategies as st

from dagster_project.core.handoff_plan import HandoffInputs, HandoffPlan
from dagster_project.core.handoffs import plan_handoffs

BLOCKS = ("email_opt_out", "is_unsubscribed", "contact_deleted")


@st.composite
def person(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """How somebody differs from the ordinary user."""
    moment = st.sampled_from([None, AS_OF - timedelta(days=9), AS_OF - timedelta(hours=1)])
    account_id = draw(st.sampled_from([None, "a_1", "a_2"]))
    return {
        "user_id": f"u_{number}",
        "account_id": account_id,
        "email": draw(st.sampled_from(["shared@acme.com", f"u_{number}@acme.com"])),
        "pql_score": draw(st.sampled_from([20.0, 78.0, 80.0, 85.0, 99.0])),
        "pricing_visits": draw(st.integers(0, 4)),
        "last_sales_request_at": draw(moment),
        "last_limit_contact_at": draw(moment),
        "last_upgrade_click_at": draw(moment),
        "usage_tier": draw(st.sampled_from(["low", "high"])),
        "motion": "sales-assist" if account_id else draw(st.sampled_from(["self-serve", "sales-assist"])),
        "contact_owner_id": draw(st.sampled_from([None, "o_1", "o_gone"])),
    } | {flag: draw(st.integers(0, 5)) == 0 for flag in BLOCKS}


@st.composite
def _company(draw: st.DrawFn, account_id: str) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "active_users_30d": draw(st.integers(3, 6)),
        "segment": draw(st.sampled_from(["smb", "mid-market", "enterprise"])),
        "motion": draw(st.sampled_from(["self-serve", "sales-assist", "sales-led"])),
        "segment_source": draw(st.sampled_from(["computed", "override", "unknown"])),
        "has_open_opportunity": draw(st.integers(0, 4)) == 0,
        "has_won_opportunity": draw(st.integers(0, 4)) == 0,
        "do_not_contact": draw(st.integers(0, 5)) == 0,
        "owner_id": draw(st.sampled_from([None, "o_1", "o_2"])),
    }


@st.composite
def runs(draw: st.DrawFn, most: int = 7) -> HandoffInputs:
    """A run over a few people in two companies, with little capacity behind it."""
    people = [draw(person(number)) for number in range(draw(st.integers(1, most)))]
    companies = [draw(_company(account_id)) for account_id in ("a_1", "a_2")]
    earlier = (
        past({"recipient_id": "o_1", "created_at": AS_OF - timedelta(days=draw(st.integers(0, 20)))})
        if draw(st.booleans())
        else NOTHING
    )
    team = owners(("o_1", "ae"), ("o_2", "ae"), ("o_3", "sdr"), ("o_4", "sales", draw(st.booleans())))
    hold = draw(st.sampled_from([None, None, None, "contacts are 9 days old"]))
    return inputs(users(*people), accounts(*companies), team=team, hold=hold, handed_over=earlier)


def scarce(given: HandoffInputs) -> HandoffPlan:
    """The plan under a daily capacity of two."""
    rules = playbook()
    return plan_handoffs(given, replace(rules, routing=rules.routing.model_copy(update={"daily_capacity": 2})))
