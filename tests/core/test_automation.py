"""The automation rules of section 7.2: once per occurrence, re-armed, within the guardrails."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from handoff_frames import (
    AS_OF,
    HOT,
    LATER,
    NOTHING,
    SMALL,
    accounts,
    inputs,
    owners,
    planned,
    playbook,
    users,
)
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.core.automation import PAST_RULE_SCHEMA, rule_conditions, score_rises
from dagster_project.core.feeds import Silence
from dagster_project.core.handoff_plan import HandoffPlan
from dagster_project.core.handoffs import plan_handoffs

BACK: dict[str, Any] = {
    "activation_stage": "reactivated",
    "reactivated_at": AS_OF - timedelta(days=2),
    "previous_active_day": (AS_OF - timedelta(days=40)).date(),
}


def risen(*rises: tuple[str, float]) -> pl.DataFrame:
    return pl.DataFrame(list(rises), schema={"user_id": pl.String, "rise": pl.Float64}, orient="row")


def decided(plan: HandoffPlan, rule: str) -> list[tuple[str, str]]:
    return list(plan.rule_decisions.filter(pl.col("rule") == rule).select("decision", "reason").iter_rows())


def decision(plan: HandoffPlan, rule: str) -> list[str]:
    return [name for name, _ in decided(plan, rule)]


# --- a task for the AE ----------------------------------------------------------------------------


def test_a_score_above_80_makes_a_task_for_whoever_receives_the_handoff() -> None:
    plan = planned(inputs(users(HOT)))
    [action] = plan.actions
    assert (action.kind, action.object_type, action.object_id) == ("task", "contact", "c_1")
    assert action.payload["subject"] == "Call Ann Lee (Acme): PQL score 91"
    assert (action.payload["owner_id"], action.payload["due_at"]) == ("o_ae", "2026-05-02T11:00:00Z")
    assert "Suggested Approach" in action.payload["body"]
    assert decision(plan, "task") == ["acted"]


def test_no_task_without_a_handoff_and_none_for_other_triggers() -> None:
    opted_out = planned(inputs(users(HOT | {"email_opt_out": True})))
    visits = planned(inputs(users({"pricing_visits": 3})))
    assert [action.kind for plan in (opted_out, visits) for action in plan.actions if action.kind == "task"] == []


def test_a_task_of_a_stranger_goes_on_the_account_or_nowhere() -> None:
    stranger = HOT | {"contact_id": None}
    [action] = planned(inputs(users(stranger))).actions
    assert (action.object_type, action.object_id) == ("account", "a_1")
    nowhere = planned(inputs(users(stranger), accounts({"in_crm": False})))
    assert nowhere.actions == ()
    assert decision(nowhere, "task") == ["skipped"]


def test_a_task_of_somebody_without_a_company_is_their_contacts_or_nowhere() -> None:
    alone = HOT | {"account_id": None}
    [action] = planned(inputs(users(alone), accounts())).actions
    assert (action.object_type, action.payload["account_id"]) == ("contact", None)
    assert action.payload["subject"] == "Call Ann Lee (no company): PQL score 91"
    [long] = planned(inputs(users(alone | {"user_name": "Ann " * 200}), accounts())).actions
    assert len(long.payload["subject"]) < 200
    nowhere = planned(inputs(users(alone | {"contact_id": None}), accounts()))
    assert (nowhere.actions, decision(nowhere, "task")) == ((), ["skipped"])


def test_a_task_for_a_team_in_which_nobody_is_active_is_nobodys() -> None:
    plan = planned(inputs(users(HOT), team=owners(("o_csm", "csm"))))
    [action] = plan.actions
    assert (plan.handoffs["recipient_id"].to_list(), action.payload["owner_id"]) == (["team:ae"], None)


def test_a_handoff_that_waited_makes_its_task_when_it_is_sent() -> None:
    waiting = planned(inputs(users(HOT), hold="stale"))
    assert waiting.actions == ()
    assert [action.kind for action in planned(inputs(users(HOT), after=waiting, as_of=LATER)).actions] == ["task"]


# --- a rise of 20 points --------------------------------------------------------------------------


@pytest.mark.parametrize(("points", "expected"), [(19.9, []), (20.0, ["acted"])])
def test_a_rise_is_told_from_20_points(points: float, expected: list[str]) -> None:
    plan = planned(inputs(users({"pql_score": 62.5})), rises=risen(("u_1", points)))
    assert decision(plan, "score_rise") == expected
    assert plan.notices["text"].to_list() == (
        ["Ann Lee (Acme) rose by 20 points within 7 days; the PQL score is now 62.5."] if expected else []
    )


def test_a_rise_is_told_once_and_again_after_it_was_less() -> None:
    first = planned(inputs(users({})), rises=risen(("u_1", 25.0)))
    still = planned(inputs(users({}), after=first, as_of=LATER), rises=risen(("u_1", 31.0)))
    assert decision(still, "score_rise") == []
    calm = planned(inputs(users({}), after=still, as_of=LATER), rises=risen(("u_1", 3.0)))
    again = planned(inputs(users({}), after=calm, as_of=AS_OF + timedelta(days=20)), rises=risen(("u_1", 22.0)))
    assert decision(again, "score_rise") == ["acted"]


def test_a_rise_goes_to_the_owner_if_active_else_to_the_team_in_turn() -> None:
    staff = owners(("o_1", "csm"), ("o_2", "ae"), ("o_gone", "ae", False))
    for owner, recipient in (("o_1", "o_1"), ("o_gone", "o_2"), (None, "o_2")):
        given = inputs(users({}), accounts({"owner_id": owner}), team=staff)
        assert planned(given, rises=risen(("u_1", 25.0))).notices["recipient_id"].to_list() == [recipient]


CONSUMER: dict[str, Any] = {"account_id": None, "segment": "smb", "motion": "self-serve"}


@pytest.mark.parametrize(
    ("person", "company", "expected"),
    [
        ({"is_unsubscribed": True}, {}, "suppressed_no_contact"),
        ({}, {"do_not_contact": True}, "suppressed_no_contact"),
        ({}, SMALL, "suppressed_self_serve"),
        (CONSUMER, {}, "suppressed_self_serve"),
        ({}, {"has_open_opportunity": True}, "suppressed_open_opportunity"),
        ({}, {"has_won_opportunity": True}, "suppressed_customer"),
        ({}, {"has_won_opportunity": True, "seats_added": 1}, "acted"),
    ],
)
def test_a_rise_obeys_the_guardrails(person: dict[str, Any], company: dict[str, Any], expected: str) -> None:
    plan = planned(inputs(users(person), accounts(company)), rises=risen(("u_1", 25.0)))
    assert decision(plan, "score_rise") == [expected]
    assert plan.notices.height == (expected == "acted")


def test_of_an_account_one_rise_is_told_within_the_cooldown() -> None:
    people = users({"pql_score": 60.0}, {"user_id": "u_2", "pql_score": 70.0})
    plan = planned(inputs(people), rises=risen(("u_1", 25.0), ("u_2", 25.0)))
    assert sorted(decision(plan, "score_rise")) == ["acted", "suppressed_cooldown"]
    assert plan.notices["user_id"].to_list() == ["u_2"]
    row = {"rule": "score_rise", "user_id": "u_9", "account_id": "a_1", "decided_at": AS_OF - timedelta(days=13)}
    past = pl.DataFrame([row], schema=PAST_RULE_SCHEMA)
    rested = planned(inputs(users({})), rises=risen(("u_1", 25.0)), past_rules=past)
    assert decided(rested, "score_rise") == [
        ("suppressed_cooldown", "score_rise was acted on on 2026-04-19, within 14 days")
    ]


def test_a_rise_that_is_held_fires_again_and_is_told_of_once_a_day() -> None:
    first = planned(inputs(users({}), hold="contacts are 9 days old"), rises=risen(("u_1", 25.0)))
    assert decision(first, "score_rise") == ["held_stale_crm"]
    same_day = inputs(users({}), hold="contacts are 9 days old", after=first, as_of=AS_OF + timedelta(hours=1))
    again = planned(same_day, rises=risen(("u_1", 25.0)))
    assert again.rule_decisions["decision_id"].to_list() == first.rule_decisions["decision_id"].to_list()
    later = planned(inputs(users({}), after=again, as_of=LATER), rises=risen(("u_1", 25.0)))
    assert decision(later, "score_rise") == ["acted"]


@pytest.mark.parametrize("is_same_run", [True, False])
def test_who_has_the_open_handoff_hears_of_a_rise_and_nobody_else(is_same_run: bool) -> None:
    team = owners(("o_1", "ae"), ("o_2", "ae"))
    up = risen(("u_1", 25.0))
    first = planned(inputs(users(HOT | {"account_owner_id": None}), team=team), rises=up if is_same_run else risen())
    [holder] = first.handoffs["recipient_id"]
    told = first if is_same_run else planned(inputs(users(HOT), team=team, after=first, as_of=LATER), rises=up)
    assert told.notices.filter(pl.col("topic") == "score_rise")["recipient_id"].to_list() == [holder]


def test_whose_turn_it_is_hears_of_a_rise_where_the_handoff_is_over() -> None:
    team = owners(("o_1", "ae"), ("o_2", "ae"))
    first = planned(inputs(users(HOT), team=team))
    later = replace(inputs(users(HOT), team=team, after=first, as_of=LATER), rises=risen(("u_1", 25.0)))
    over = replace(later, past=later.past.with_columns(status=pl.lit("not_a_fit")))
    assert {*first.handoffs["recipient_id"], *plan_handoffs(over, playbook()).notices["recipient_id"]} == {"o_1", "o_2"}


def test_notices_count_towards_what_a_person_takes_in_a_day() -> None:
    full = pl.DataFrame({"recipient_id": ["o_1"] * 20, "created_at": [AS_OF - timedelta(hours=1)] * 20})
    given = inputs(users({}), accounts({"owner_id": "o_1"}), team=owners(("o_1", "ae"), ("o_2", "ae")))
    plan = planned(given, rises=risen(("u_1", 25.0)), past_notices=full)
    assert decision(plan, "score_rise") == ["held_capacity"]
    handoff = planned(
        inputs(users({"pricing_visits": 3, "contact_owner_id": "o_1"}), team=given.owners), past_notices=full
    )
    assert handoff.decisions["decision"].to_list() == ["held_capacity"]


def test_a_notice_that_is_held_since_yesterday_comes_before_better_ones_of_today() -> None:
    rules = playbook()
    narrow = replace(rules, routing=rules.routing.model_copy(update={"daily_capacity": 1}))
    people = users({"account_id": "a_1", "pql_score": 60.0}, {"user_id": "u_2", "account_id": "a_2", "pql_score": 70.0})
    companies = accounts(*({"account_id": account, "owner_id": "o_1"} for account in ("a_1", "a_2")))
    given = inputs(people, companies, team=owners(("o_1", "ae")))
    risen_both = replace(given, rises=risen(("u_1", 25.0), ("u_2", 25.0)))

    def told(**more: Any) -> list[str]:
        return plan_handoffs(replace(risen_both, **more), narrow).notices["user_id"].to_list()

    assert told() == ["u_2"]
    key = ("score_rise", "user", "u_1")
    assert told(held_rules={key: AS_OF - timedelta(days=1)}) == ["u_1"]
    assert told(held_rules={key: AS_OF - timedelta(minutes=1)}) == ["u_2"]


Row = tuple[str, int, float, str] | tuple[str, int, float, str, float]


def history(*rows: Row) -> pl.DataFrame:
    """Rows as (user, days before ``AS_OF``, score, model, what of the change is the definition's if that is known)."""
    told = [(row[0], AS_OF - timedelta(days=row[1]), *row[2:4], row[4] if len(row) > 4 else None) for row in rows]
    schema = {
        "subject_id": pl.String,
        "as_of": pl.Datetime("us"),
        "score": pl.Float64,
        "model_version": pl.String,
        "definition": pl.Float64,
    }
    return pl.DataFrame(told, schema=schema, orient="row").sample(fraction=1.0, shuffle=True, seed=3)


def rise(*rows: Row) -> dict[str, float]:
    return dict(score_rises(history(*rows), datetime(2026, 4, 25, 23, 59, 59)).iter_rows())


def test_a_rise_stands_above_the_score_of_7_days_before_or_the_first() -> None:
    assert rise(("u", 30, 10.0, "m"), ("u", 9, 30.0, "m"), ("u", 3, 45.0, "m"), ("u", 0, 55.5, "m")) == {"u": 25.5}
    assert rise(("u", 5, 40.0, "m"), ("u", 1, 70.0, "m")) == {"u": 30.0}
    assert rise(("u", 9, 40.0, "m")) == {}
    assert rise(("u", 5, 90.0, "m")) == {"u": 0.0}


def test_what_another_model_version_adds_never_counts() -> None:
    assert rise(("u", 9, 40.0, "old"), ("u", 3, 70.0, "new")) == {"u": 0.0}
    assert rise(("u", 9, 40.0, "old"), ("u", 5, 50.0, "old"), ("u", 3, 80.0, "new"), ("u", 1, 95.0, "new")) == {
        "u": 25.0
    }


def test_what_follows_a_model_version_that_added_nothing_counts() -> None:
    """A history has no row of a version that gave the same score; the next row's causes know that it did."""
    assert rise(("u", 9, 50.0, "old"), ("u", 1, 75.0, "new", 0.0)) == {"u": 25.0}
    assert rise(("u", 9, 50.0, "old"), ("u", 1, 75.0, "new", 25.0)) == {"u": 0.0}


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 100)), min_size=1, max_size=8, unique_by=lambda row: row[0]))
def test_without_another_model_a_rise_is_the_difference_of_two_scores(changes: list[tuple[int, float]]) -> None:
    rows = sorted(changes, reverse=True)
    before = [score for days, score in rows if days >= 7]
    base = before[-1] if before else rows[0][1]
    found = rise(*(("u", days, score, "m") for days, score in rows))
    assert found.get("u", 0.0) == pytest.approx(rows[-1][1] - base if rows[-1][0] < 7 else 0.0, abs=0.06)


# --- an owner for an enterprise account -----------------------------------------------------------

SIGNED_UP: dict[str, Any] = {"first_event_at": AS_OF - timedelta(hours=2)}
BIG: dict[str, Any] = {"segment": "enterprise", "motion": "sales-led"}


def test_an_enterprise_sign_up_gets_an_enterprise_sdr_if_nobody_active_owns_it() -> None:
    plan = planned(inputs(users(SIGNED_UP), accounts(BIG)))
    [action] = plan.actions
    assert (action.kind, action.object_id, action.payload["owner_id"]) == ("assign_owner", "a_1", "o_esdr")
    assert action.payload["instead_of"] == []
    assert plan.handoffs["recipient_id"].to_list() == ["o_esdr"]
    assert decision(plan, "enterprise_owner") == ["acted"]


def test_an_active_owner_stays_and_an_inactive_one_is_replaced() -> None:
    staff = owners(("o_ae", "ae"), ("o_gone", "ae", False), ("o_esdr", "enterprise_sdr"))
    owned = planned(inputs(users(SIGNED_UP), accounts(BIG | {"owner_id": "o_ae"}), team=staff))
    assert (owned.actions, decision(owned, "enterprise_owner")) == ((), ["skipped"])
    [action] = planned(inputs(users(SIGNED_UP), accounts(BIG | {"owner_id": "o_gone"}), team=staff)).actions
    assert (action.payload["owner_id"], action.payload["instead_of"]) == ("o_esdr", ["o_gone"])


def test_nobody_is_assigned_where_nobody_can_be_and_the_handoff_stays_with_who_has_it() -> None:
    elsewhere = planned(inputs(users(SIGNED_UP), accounts(BIG | {"in_crm": False})))
    assert (elsewhere.actions, decided(elsewhere, "enterprise_owner")) == (
        (),
        [("skipped", "the account is none of the CRM's")],
    )
    assert elsewhere.rule_decisions["recipient_id"].to_list() == ["o_esdr"]
    nobody = planned(inputs(users(SIGNED_UP | HOT), accounts(BIG), team=owners(("o_ae", "ae"))))
    assert [action.kind for action in nobody.actions] == ["task"]
    assert decided(nobody, "enterprise_owner") == [("skipped", "nobody of team enterprise_sdr is active and has room")]


def test_an_enterprise_sdr_is_assigned_although_an_ae_has_the_call() -> None:
    plan = planned(inputs(users(SIGNED_UP | HOT), accounts(BIG)))
    assert plan.handoffs["recipient_id"].to_list() == ["o_ae"]
    assert {action.kind: action.payload["owner_id"] for action in plan.actions} == {
        "task": "o_ae",
        "assign_owner": "o_esdr",
    }
    assert dict(plan.rule_decisions.select("rule", "recipient_id").iter_rows()) == {
        "task": "o_ae",
        "enterprise_owner": "o_esdr",
    }


# --- the account's tier ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("team", "tier", "to"),
    [(9, "C", None), (10, "C", "B"), (12, "B", "A"), (12, "A", None), (12, None, "C"), (12, "Strategic", None)],
)
def test_ten_active_users_raise_the_tier_by_one_and_never_lower_it(team: int, tier: str | None, to: str | None) -> None:
    plan = planned(inputs(users({}), accounts({"active_users_30d": team, "account_tier": tier})))
    raised = [action.payload["to"] for action in plan.actions if action.kind == "raise_tier"]
    assert raised == ([to] if to else [])
    assert decision(plan, "tier_raise") == ([] if team < 10 else ["acted" if to else "skipped"])


def test_a_tier_is_raised_again_only_after_the_team_was_smaller() -> None:
    company = {"active_users_30d": 12, "account_tier": "C"}
    first = planned(inputs(users({}), accounts(company)))
    month = AS_OF + timedelta(days=30)
    still = planned(inputs(users({}), accounts(company | {"account_tier": "B"}), after=first, as_of=month))
    assert decision(still, "tier_raise") == []
    shrunk = planned(inputs(users({}), accounts({"active_users_30d": 8}), after=still, as_of=month))
    again = planned(inputs(users({}), accounts(company | {"account_tier": "B"}), after=shrunk, as_of=month))
    assert [action.payload["to"] for action in again.actions if action.kind == "raise_tier"] == ["A"]


def test_an_account_of_the_product_alone_has_no_tier() -> None:
    plan = planned(inputs(users({}), accounts({"active_users_30d": 12, "in_crm": False})))
    assert decision(plan, "tier_raise") == ["skipped"]


# --- who comes back -------------------------------------------------------------------------------


def test_the_csm_hears_of_a_churned_user_who_is_back() -> None:
    plan = planned(inputs(users(BACK)))
    assert plan.notices.select("topic", "recipient_id", "text").row(0) == (
        "reactivation",
        "o_csm",
        "Ann Lee (Acme) is back, first seen again on 2026-04-30 after having been gone; the PQL score is 50.",
    )


def test_the_csm_hears_of_it_even_if_an_ae_owns_the_account() -> None:
    staff = owners(("o_ae", "ae"), ("o_c1", "csm"), ("o_c2", "csm"))
    for owner, recipient in (("o_ae", "o_c1"), ("o_c2", "o_c2")):
        plan = planned(inputs(users(BACK), accounts({"owner_id": owner}), team=staff))
        assert plan.notices["recipient_id"].to_list() == [recipient]


def test_who_had_churned_in_the_crm_and_is_seen_is_back_too_and_was_a_customer_once() -> None:
    churned: dict[str, Any] = {"subscription_status": "churned", "subscription_status_since": AS_OF - timedelta(days=9)}
    person = {"activation_stage": "reactivated", "reactivated_at": None}
    plan = planned(inputs(users(person), accounts(churned | {"has_won_opportunity": True})))
    assert plan.rule_decisions.select("rule", "decision", "occurrence").row(0) == (
        "reactivation",
        "acted",
        (AS_OF - timedelta(days=9)).isoformat(timespec="microseconds"),
    )
    assert "first seen again on 2026-05-02 after" in plan.notices["text"][0], (
        "when they were seen and not when they left"
    )
    new = planned(inputs(users(person | {"first_event_at": AS_OF - timedelta(days=1)}), accounts(churned)))
    assert new.notices["text"].to_list() == [
        "Ann Lee is new in the product, first seen on 2026-05-01; Acme had churned. The PQL score is 50."
    ]


def test_a_return_is_told_once_and_the_next_one_is_another() -> None:
    first = planned(inputs(users(BACK)))
    assert decision(planned(inputs(users(BACK), after=first, as_of=LATER)), "reactivation") == []
    half_a_year = AS_OF + timedelta(days=180)
    later = BACK | {"reactivated_at": half_a_year - timedelta(hours=1)}
    assert decision(planned(inputs(users(later), after=first, as_of=half_a_year)), "reactivation") == ["acted"]


def test_who_returns_after_a_feed_was_silent_was_never_gone_as_far_as_anybody_knows() -> None:
    silence = Silence("events", AS_OF - timedelta(days=20), AS_OF - timedelta(days=3))
    assert decision(planned(inputs(users(BACK)), silences=(silence,)), "reactivation") == []
    long_ago = Silence("events", AS_OF - timedelta(days=90), AS_OF - timedelta(days=80))
    assert decision(planned(inputs(users(BACK)), silences=(long_ago,)), "reactivation") == ["acted"]


# --- the first run --------------------------------------------------------------------------------


def test_on_the_first_run_nothing_happens_by_itself_that_stood_before() -> None:
    company = {"active_users_30d": 12, "account_tier": "C"}
    stood = BACK | {"reactivated_at": AS_OF - timedelta(days=10)}
    before = rule_conditions(users(stood), accounts(company), NOTHING, playbook())
    for hold in (None, "contacts are 9 days old"):
        plan = planned(inputs(users(stood), accounts(company), baseline=before, hold=hold))
        assert set(plan.rule_decisions["decision"]) == {"suppressed_baseline"}
        assert plan.rule_decisions.height == 2
        later = planned(inputs(users(stood), accounts(company), after=plan, as_of=LATER))
        assert later.rule_decisions.is_empty()


def test_rules_can_be_switched_off() -> None:
    rules = playbook()
    quiet = replace(rules, automation=rules.automation.switched_off())
    everything = inputs(users(HOT | BACK | SIGNED_UP), accounts(BIG | {"active_users_30d": 12, "account_tier": "C"}))
    assert plan_handoffs(everything, rules).rule_decisions.height == 4
    plan = plan_handoffs(replace(everything, rises=risen(("u_1", 50.0))), quiet)
    assert (plan.actions, plan.rule_decisions.height, plan.handoffs.height) == ((), 0, 1)


# --- the note --------------------------------------------------------------------------------------


def test_the_owner_of_an_open_opportunity_gets_a_note_and_no_alert() -> None:
    company = {"has_open_opportunity": True, "open_opportunity_id": "opp_12", "owner_id": "o_ae"}
    plan = planned(inputs(users(HOT), accounts(company)))
    [note] = plan.actions
    assert (note.kind, note.object_id, note.payload["owner_id"]) == ("note", "c_1", "o_ae")
    assert (note.payload["contact_id"], note.payload["account_id"]) == ("c_1", "a_1")
    assert note.payload["subject"] == "Product signals of Acme"
    assert note.payload["body"].startswith("Ann Lee (ann@acme.com): Hot PQL Alert (2026-05-02). PQL score 91/100.\n")
    assert "Also: " not in note.payload["body"]
    assert "opp_12" in note.payload["body"]
    assert plan.handoffs.is_empty()
    assert planned(inputs(users(HOT), accounts(company), after=plan, as_of=LATER)).actions == ()
    colleague = {"user_id": "u_2", "user_name": "Bo Ray", "email": "bo@acme.com", "pricing_visits": 3}
    [note] = planned(inputs(users(HOT, colleague), accounts(company))).actions
    _, also, *_ = note.payload["body"].splitlines()
    assert also == "Also: Bo Ray, bo@acme.com: Pricing Interest (2026-05-02)"


def test_a_note_is_of_no_account_that_the_crm_does_not_have() -> None:
    company = {"has_open_opportunity": True, "open_opportunity_id": "opp_12", "in_crm": False}
    [note] = planned(inputs(users(HOT), accounts(company))).actions
    assert (note.object_id, note.payload["account_id"]) == ("c_1", None)
    [short] = planned(inputs(users(HOT | {"explanation": None}), accounts(company))).actions
    assert len(short.payload["body"].splitlines()) == 2
    assert planned(inputs(users(HOT | {"contact_id": None}), accounts(company))).actions == ()


def test_notes_can_be_switched_off_alone() -> None:
    rules = playbook()
    off = rules.automation.opportunity_note.model_copy(update={"enabled": False})
    quiet = replace(rules, automation=rules.automation.model_copy(update={"opportunity_note": off}))
    given = inputs(users(HOT), accounts({"has_open_opportunity": True, "open_opportunity_id": "opp_12"}))
    assert plan_handoffs(given, rules).actions and plan_handoffs(given, quiet).actions == ()
