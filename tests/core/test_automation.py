"""The automation rules of section 7.2: once per occurrence, re-armed, within the guardrails."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from handoff_frames import AS_OF, EVERY_TEAM, NOTHING, accounts, inputs, owners, past, playbook, users
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.core.automation import PAST_RULE_SCHEMA, rule_conditions, score_rises
from dagster_project.core.feeds import Silence
from dagster_project.core.follow_ups import OVERLAP_SCHEMA, SalesAnswer
from dagster_project.core.handoff_plan import HandoffInputs, HandoffPlan
from dagster_project.core.handoffs import plan_handoffs

HOT: dict[str, Any] = {"pql_score": 91.0, "classification": "hot"}
BACK: dict[str, Any] = {"activation_stage": "reactivated", "reactivated_at": AS_OF - timedelta(days=2)}
SMALL: dict[str, Any] = {"segment": "smb", "motion": "self-serve"}
LATER = AS_OF + timedelta(days=1)


def risen(*rises: tuple[str, float]) -> pl.DataFrame:
    return pl.DataFrame(list(rises), schema={"user_id": pl.String, "rise": pl.Float64}, orient="row")


def planned(given: HandoffInputs, **more: Any) -> HandoffPlan:
    return plan_handoffs(replace(given, **more), playbook())


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


@pytest.mark.parametrize(
    ("person", "company", "expected"),
    [
        ({"is_unsubscribed": True}, {}, "suppressed_no_contact"),
        ({}, {"do_not_contact": True}, "suppressed_no_contact"),
        ({}, SMALL, "suppressed_self_serve"),
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


def test_notices_count_towards_what_a_person_takes_in_a_day() -> None:
    full = pl.DataFrame({"recipient_id": ["o_1"] * 20, "created_at": [AS_OF - timedelta(hours=1)] * 20})
    given = inputs(users({}), accounts({"owner_id": "o_1"}), team=owners(("o_1", "ae"), ("o_2", "ae")))
    plan = planned(given, rises=risen(("u_1", 25.0)), past_notices=full)
    assert decision(plan, "score_rise") == ["held_capacity"]
    handoff = planned(
        inputs(users({"pricing_visits": 3, "contact_owner_id": "o_1"}), team=given.owners), past_notices=full
    )
    assert handoff.decisions["decision"].to_list() == ["held_capacity"]


def history(*rows: tuple[str, int, float, str]) -> pl.DataFrame:
    """Rows as (user, days before ``AS_OF``, score, model)."""
    told = [(user, AS_OF - timedelta(days=days), score, model) for user, days, score, model in rows]
    schema = {"subject_id": pl.String, "as_of": pl.Datetime("us"), "score": pl.Float64, "model_version": pl.String}
    return pl.DataFrame(told, schema=schema, orient="row").sample(fraction=1.0, shuffle=True, seed=3)


def rise(*rows: tuple[str, int, float, str]) -> dict[str, float]:
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
    assert plan.handoffs["recipient_id"].to_list() == ["o_esdr"]
    assert decision(plan, "enterprise_owner") == ["acted"]


def test_an_active_owner_stays_and_an_inactive_one_is_replaced() -> None:
    staff = owners(("o_ae", "ae"), ("o_gone", "ae", False), ("o_esdr", "enterprise_sdr"))
    owned = planned(inputs(users(SIGNED_UP), accounts(BIG | {"owner_id": "o_ae"}), team=staff))
    assert (owned.actions, decision(owned, "enterprise_owner")) == ((), ["skipped"])
    [action] = planned(inputs(users(SIGNED_UP), accounts(BIG | {"owner_id": "o_gone"}), team=staff)).actions
    assert (action.payload["owner_id"], action.payload["instead_of"]) == ("o_esdr", ["o_gone"])


def test_an_enterprise_sdr_is_assigned_although_an_ae_has_the_call() -> None:
    plan = planned(inputs(users(SIGNED_UP | HOT), accounts(BIG)))
    assert plan.handoffs["recipient_id"].to_list() == ["o_ae"]
    assert {action.kind: action.payload["owner_id"] for action in plan.actions} == {
        "task": "o_ae",
        "assign_owner": "o_esdr",
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


# --- the note, marketing and self-serve -----------------------------------------------------------


def test_the_owner_of_an_open_opportunity_gets_a_note_and_no_alert() -> None:
    company = {"has_open_opportunity": True, "open_opportunity_id": "opp_12", "owner_id": "o_ae"}
    plan = planned(inputs(users(HOT), accounts(company)))
    [note] = plan.actions
    assert (note.kind, note.object_id, note.payload["owner_id"]) == ("note", "c_1", "o_ae")
    assert note.payload["subject"] == "Product signals of Acme"
    assert "🔥 Hot PQL Alert. PQL score 91/100." in note.payload["body"]
    assert "opp_12" in note.payload["body"]
    assert plan.handoffs.is_empty()
    assert planned(inputs(users(HOT), accounts(company), after=plan, as_of=LATER)).actions == ()


def test_a_handoff_to_an_mql_pauses_nurture_and_tells_marketing() -> None:
    plan = planned(inputs(users(HOT | {"contact_lifecycle_stage": "MarketingQualifiedLead"})))
    [pause] = [action for action in plan.actions if action.kind == "set_field"]
    assert (pause.object_id, pause.payload) == ("c_1", {"fields": {"pause_nurture": True}})
    assert plan.notices.select("topic", "recipient_id", "text").row(0) == (
        "marketing",
        "marketing",
        "Sales has taken over Ann Lee (Acme), an MQL: nurture is paused.",
    )
    assert plan.overlaps.select("status", "contact_id", "lifecycle_stage").row(0) == (
        "with_sales",
        "c_1",
        "MarketingQualifiedLead",
    )
    assert planned(inputs(users(HOT))).overlaps.is_empty()


def overlap(handoff_id: str, contact_id: str = "c_1") -> dict[str, Any]:
    at = AS_OF - timedelta(days=1)
    whose = {"contact_id": contact_id, "user_id": "u_1", "account_id": "a_1", "email": "ann@acme.com"}
    ended = {"recycled_at": None, "recycled_reason": None}
    return {
        "handoff_id": handoff_id,
        **whose,
        "lifecycle_stage": "MQL",
        "status": "with_sales",
        "paused_at": at,
    } | ended


def nurtured(*ids: str, no: tuple[str, ...] = (), unsent: tuple[str, ...] = (), **whoever: Any) -> HandoffPlan:
    """The plan of a run that finds these handoffs with sales, and sales having said no or nothing having been sent."""
    answers = {handoff_id: SalesAnswer(handoff_id, True, "not a fit", AS_OF) for handoff_id in no}
    answers |= {handoff_id: SalesAnswer(handoff_id, False, "it was not sent", AS_OF) for handoff_id in unsent}
    overlaps = pl.DataFrame([overlap(handoff_id) for handoff_id in ids], schema=OVERLAP_SCHEMA, orient="row")
    return planned(inputs(users(whoever)), overlaps=overlaps, answers=answers)


def pauses(plan: HandoffPlan) -> list[bool]:
    return [action.payload["fields"]["pause_nurture"] for action in plan.actions if action.kind == "set_field"]


def test_nurture_goes_on_with_the_last_answer_and_marketing_hears_of_it_once() -> None:
    one, both = nurtured("ho_1", "ho_2", no=("ho_1",)), nurtured("ho_1", "ho_2", no=("ho_1", "ho_2"))
    assert (pauses(one), one.notices.height) == ([], 0)
    assert one.overlaps.select("handoff_id", "status").rows() == [("ho_1", "recycled")]
    assert (pauses(both), both.notices.height) == ([False], 1)
    assert both.overlaps["status"].to_list() == ["recycled", "recycled"]
    assert pauses(nurtured("ho_2", no=("ho_2",))) == [False]


def test_nurture_stays_paused_for_what_is_handed_over_while_sales_says_no() -> None:
    plan = nurtured("ho_1", no=("ho_1",), contact_lifecycle_stage="MQL", **HOT)
    assert pauses(plan) == [True]
    assert set(plan.overlaps["status"]) == {"recycled", "with_sales"}
    assert [text.split(" ")[:2] for text in plan.notices["text"]] == [["Sales", "has"]]


def test_whom_nobody_may_write_to_stays_out_of_nurture_whatever_else_sales_says() -> None:
    assert pauses(nurtured("ho_1", "ho_2", no=("ho_1",), unsent=("ho_2",))) == []


def test_users_who_share_a_contact_are_one_in_its_fields() -> None:
    both = users(HOT | {"activation_stage": "pql"}, HOT | {"user_id": "u_2"})
    first = planned(inputs(both, accounts(SMALL)))
    assert first.members.height == 2
    [told] = first.actions
    one_of_them = first.members.sort("joined_at", "member_id")["next_step"][-1]
    assert told.payload["fields"]["pls_next_step"] == one_of_them
    left = users(HOT | {"is_unsubscribed": True}, HOT | {"user_id": "u_2"})
    second = planned(inputs(left, accounts(SMALL), after=first, as_of=LATER), members=first.members)
    assert second.members.filter(pl.col("left_at").is_not_null())["user_id"].to_list() == ["u_1"]
    assert [action.payload["fields"]["pls_next_step"] for action in second.actions] == ["invite the team"]


def test_who_shops_in_self_serve_is_in_an_audience_until_they_leave_it() -> None:
    company = accounts(SMALL)
    first = planned(inputs(users(HOT), company))
    assert first.members.select("user_id", "playbook", "next_step").row(0) == (
        "u_1",
        "in-app upgrade prompts",
        "invite the team",
    )
    assert [action.payload["fields"] for action in first.actions] == [
        {"pls_playbook": "in-app upgrade prompts", "pls_next_step": "invite the team"}
    ]
    same = planned(inputs(users(HOT), company, after=first, as_of=LATER), members=first.members)
    assert (same.members.height, same.actions) == (0, ())
    moved = users(HOT | {"activation_stage": "pql"})
    on = planned(inputs(moved, company, after=first, as_of=LATER), members=first.members)
    assert [action.payload["fields"]["pls_next_step"] for action in on.actions] == ["choose a plan"]
    gone = planned(
        inputs(users(HOT | {"is_unsubscribed": True}), company, after=first, as_of=LATER), members=first.members
    )
    assert gone.members["left_at"].to_list() == [LATER]
    assert gone.actions[0].payload["fields"] == {"pls_playbook": "none", "pls_next_step": "none"}
    month = AS_OF + timedelta(days=30)
    expired = planned(inputs(users(HOT), company, after=first, as_of=month), members=first.members)
    assert expired.members["left_at"].to_list() == [month]


def test_who_asks_for_a_person_leaves_the_audience_with_the_handoff() -> None:
    first = planned(inputs(users(HOT), accounts(SMALL)))
    asked = users(HOT | {"last_sales_request_at": LATER})
    plan = planned(inputs(asked, accounts(SMALL), after=first, as_of=LATER), members=first.members)
    assert plan.handoffs["triggers"].to_list() == [["hand_raise"]]
    assert plan.members["left_at"].to_list() == [LATER]


def test_automated_and_human_is_both() -> None:
    plan = planned(inputs(users({"pricing_visits": 3})))
    assert plan.handoffs["handoff_type"].to_list() == ["automated and human"]
    assert plan.members["playbook"].to_list() == ["automated e-mail sequences"]


def test_nobody_who_must_not_be_contacted_is_in_an_audience() -> None:
    people = users(HOT | {"email_opt_out": True}, {"user_id": "u_2", "pql_score": 85.0})
    plan = planned(inputs(people, accounts(SMALL), team=EVERY_TEAM))
    assert plan.members["user_id"].to_list() == ["u_2"]


def test_what_is_handed_over_while_nurture_is_paused_is_one_more_reason_for_it() -> None:
    """Sales has somebody, and the CRM calls them its own by now, no MQL."""
    plan = nurtured("ho_1", contact_lifecycle_stage="sql", **HOT)
    assert plan.overlaps.select("status", "contact_id", "lifecycle_stage").rows() == [("with_sales", "c_1", "sql")]
    assert (pauses(plan), plan.notices.height) == ([], 0)
    [new] = plan.overlaps["handoff_id"]
    both = nurtured("ho_1", new, no=("ho_1",))
    assert pauses(both) == []


def test_what_was_given_back_and_taken_up_after_all_is_with_sales_again() -> None:
    row = overlap("ho_1") | {"status": "recycled", "recycled_at": AS_OF, "recycled_reason": "not a fit"}
    overlaps = pl.DataFrame([row], schema=OVERLAP_SCHEMA, orient="row")
    plan = planned(inputs(users({})), overlaps=overlaps)
    assert plan.overlaps.select("status", "paused_at", "recycled_at").rows() == [("with_sales", AS_OF, None)]
    assert (pauses(plan), plan.notices.height) == ([True], 1)


def test_of_whom_nurture_goes_on_for_it_is_asked_once_more_whether_they_may_be_written_to() -> None:
    [resume] = nurtured("ho_1", no=("ho_1",)).actions
    assert resume.payload == {"fields": {"pause_nurture": False}, "user_id": "u_1"}


def test_no_automation_writes_to_somebody_whom_a_seller_has() -> None:
    ago = {"created_at": AS_OF - timedelta(days=1)}
    members = {
        status: planned(inputs(users(HOT), accounts(SMALL), handed_over=past(ago | {"status": status}))).members.height
        for status in ("delivered", "claimed", "not_a_fit", "closed")
    }
    assert members == {"delivered": 0, "claimed": 0, "not_a_fit": 1, "closed": 1}


def test_members_follow_their_contact_and_leave_an_audience_that_is_no_more() -> None:
    company = accounts(SMALL)
    first = planned(inputs(users(HOT), company))

    def later(person: dict[str, Any], changed: dict[str, Any] | None = None, **more: Any) -> HandoffPlan:
        members = first.members.with_columns(**{name: pl.lit(value) for name, value in (changed or {}).items()})
        return planned(inputs(users(HOT | person), company, after=first, as_of=LATER), members=members, **more)

    moved = later({"contact_id": "c_new"})
    assert moved.members.select("contact_id", "left_at").rows() == [("c_new", None)]
    assert [action.object_id for action in moved.actions] == ["c_new"]
    unknown = later({}, {"playbook": "no automation"})
    assert unknown.members["left_at"].to_list() == [LATER]
    excluded = later({}, excluded={"u_1": "competitor"})
    assert excluded.members["left_at"].to_list() == [LATER]
    deleted = later({"contact_deleted": True})
    assert (deleted.members["left_at"].to_list(), deleted.actions) == ([LATER], ())
