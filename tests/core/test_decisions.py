"""The decision table of section 6: each row, its reason, and that the first one that applies wins."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from handoff_frames import AS_OF, HOT, SMALL, accounts, inputs, past, playbook, users

from dagster_project.core.handoff_plan import HandoffInputs
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.triggers import conditions


def decided(given: HandoffInputs) -> tuple[str, str]:
    decisions = plan_handoffs(given, playbook()).decisions
    assert len(decisions) == 1, decisions
    return decisions["decision"][0], decisions["reason"][0]


def before(person: dict[str, Any], company: dict[str, Any] | None = None) -> pl.DataFrame:
    return conditions(users(person), accounts(company or {}), playbook())


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ({"email_opt_out": True}, "Ann Lee: the contact opted out of e-mail"),
        ({"contact_do_not_contact": True}, "Ann Lee: the contact is marked do-not-contact"),
        ({"account_do_not_contact": True}, "Ann Lee: the account is marked do-not-contact"),
        ({"is_unsubscribed": True}, "Ann Lee: the user unsubscribed in the product"),
        ({"suppression_reason": "asked by phone"}, "Ann Lee: on the suppression list: asked by phone"),
        ({"contact_deleted": True}, "Ann Lee: the contact was deleted in the CRM"),
        ({"account_deleted": True}, "Ann Lee: the account was deleted in the CRM"),
    ],
)
def test_nobody_contacts_whoever_must_not_be(flag: dict[str, Any], reason: str) -> None:
    assert decided(inputs(users(HOT | flag))) == ("suppressed_no_contact", reason)


@pytest.mark.parametrize("flag", [{"do_not_contact": True}, {"is_deleted": True}, {"suppression_reason": "legal"}])
def test_a_flag_of_the_account_holds_for_everybody_in_it(flag: dict[str, Any]) -> None:
    plan = plan_handoffs(inputs(users(HOT), accounts(flag | {"active_users_30d": 6})), playbook())
    assert plan.decisions["decision"].to_list() == ["suppressed_no_contact"] * 2
    assert plan.handoffs.is_empty()


def test_an_account_without_anybody_to_contact_is_not_handed_over() -> None:
    given = inputs(users({"email_opt_out": True}), accounts({"active_users_30d": 6}))
    assert decided(given) == ("suppressed_no_contact", "account Acme has no user who may be contacted")


def test_stale_crm_data_holds_back_all_but_who_is_blocked_anyway() -> None:
    hold = "contacts were last delivered 9 days ago"
    assert decided(inputs(users(HOT), hold=hold)) == ("held_stale_crm", hold)
    assert decided(inputs(users(HOT | {"email_opt_out": True}), hold=hold))[0] == "suppressed_no_contact"


def test_self_serve_is_left_to_automation_unless_somebody_asked() -> None:
    company = accounts(SMALL)
    assert decided(inputs(users(HOT), company)) == (
        "suppressed_self_serve",
        "self-serve motion (segment smb) of account Acme and no explicit request: left to automation",
    )
    for request in ("last_sales_request_at", "last_limit_contact_at"):
        assert decided(inputs(users(HOT | {request: AS_OF}), company))[0] == "sent"


def test_a_self_serve_override_counts_and_an_unknown_segment_is_researched() -> None:
    override = decided(inputs(users(HOT), accounts(SMALL | {"segment_source": "override"})))
    assert override[0] == "suppressed_self_serve"
    assert "by override" in override[1]
    unknown = accounts(SMALL | {"segment_source": "unknown"})
    handoff = plan_handoffs(inputs(users(HOT), unknown), playbook()).handoffs.row(0, named=True)
    assert (handoff["handoff_type"], handoff["recipient_id"]) == ("SDR research", "o_sdr")
    asked = plan_handoffs(inputs(users(HOT | {"last_sales_request_at": AS_OF}), unknown), playbook()).handoffs
    assert asked["handoff_type"].to_list() == ["sales call"]


def test_an_open_opportunity_is_named() -> None:
    company = accounts({"has_open_opportunity": True, "open_opportunity_id": "opp_12"})
    assert decided(inputs(users(HOT), company)) == (
        "suppressed_open_opportunity",
        "open opportunity opp_12 of account Acme: its owner works on it already",
    )


def test_a_customer_needs_an_expansion_signal() -> None:
    won: dict[str, Any] = {"has_won_opportunity": True, "is_customer": True}
    assert decided(inputs(users(HOT), accounts(won))) == (
        "suppressed_customer",
        "account Acme is closed-won and shows no expansion signal in the window",
    )
    assert decided(inputs(users(HOT), accounts(won | {"seats_added": 1})))[0] == "sent"


def test_what_stood_at_the_baseline_is_no_news_on_the_first_run() -> None:
    assert decided(inputs(users(HOT), baseline=before(HOT))) == (
        "suppressed_baseline",
        "hot_pql of account Acme already stood 7 days before the first run",
    )
    fresh = plan_handoffs(inputs(users(HOT | {"pricing_visits": 3}), baseline=before(HOT)), playbook())
    assert fresh.handoffs["triggers"].to_list() == [["pricing_visits"]]
    assert fresh.handoffs["priority"].to_list() == ["P2"]
    [reason] = fresh.decisions["reason"]
    assert reason.endswith("; left out: hot_pql of u_1 already stood 7 days before the first run")


def test_a_hold_on_the_first_run_does_not_turn_the_baseline_into_news() -> None:
    first = plan_handoffs(inputs(users(HOT), baseline=before(HOT), hold="stale"), playbook())
    assert first.decisions["decision"].to_list() == ["held_stale_crm"]
    second = plan_handoffs(inputs(users(HOT), after=first, as_of=AS_OF + timedelta(days=1)), playbook())
    assert second.decisions["decision"].to_list() == ["suppressed_baseline"]
    assert second.decisions["candidate_key"].to_list() == first.decisions["candidate_key"].to_list()


def test_the_same_trigger_of_an_account_rests_14_days() -> None:
    recent = decided(inputs(users(HOT), handed_over=past({})))
    assert recent == (
        "suppressed_cooldown",
        "hot_pql of account Acme was handed over on 2026-04-29, within 14 days",
    )
    old = past({"created_at": AS_OF - timedelta(days=14)})
    assert decided(inputs(users(HOT), handed_over=old))[0] == "sent"
    other_account = past({"account_id": "a_2"})
    assert decided(inputs(users(HOT), handed_over=other_account))[0] == "sent"


def test_a_person_without_an_account_rests_as_well() -> None:
    alone = users(HOT | {"account_id": None})
    assert decided(inputs(alone, handed_over=past({"account_id": None})))[0] == "suppressed_cooldown"


def test_a_risen_class_or_a_higher_priority_ends_the_rest() -> None:
    assert decided(inputs(users(HOT), handed_over=past({"classification": "warm"})))[0] == "sent"
    assert decided(inputs(users(HOT), handed_over=past({"classification": None})))[0] == "suppressed_cooldown"
    visits = past({"triggers": ["pricing_visits"], "priority": "P2"})
    with_both = plan_handoffs(inputs(users(HOT | {"pricing_visits": 3}), handed_over=visits), playbook())
    assert with_both.handoffs["triggers"].to_list() == [["hot_pql", "pricing_visits"]]


def test_a_resting_trigger_does_not_silence_the_others_nor_lend_them_its_priority() -> None:
    rested = past({}, {"triggers": ["pricing_visits"], "priority": "P2", "classification": "hot"})
    eager = HOT | {"pricing_visits": 3, "last_limit_contact_at": AS_OF}
    plan = plan_handoffs(inputs(users(eager), handed_over=rested), playbook())
    assert plan.handoffs["triggers"].to_list() == [["limit_ticket"]]
    assert plan.handoffs["priority"].to_list() == ["P2"]
    assert "left out: hot_pql of account Acme was handed over" in plan.decisions["reason"][0]


def test_a_class_has_risen_only_against_a_class_of_the_same() -> None:
    team = past({"triggers": ["team_growth"], "priority": "P1", "classification": "not_ready"})
    warm = {"pql_score": 70.0, "classification": "warm", "pricing_visits": 3}
    grown = {"active_users_30d": 6, "classification": "not_ready"}
    plan = plan_handoffs(inputs(users(warm), accounts(grown), handed_over=team), playbook())
    assert plan.handoffs["triggers"].to_list() == [["pricing_visits"]], "the account is as it was, whoever is in it"
    risen = plan_handoffs(
        inputs(users(warm), accounts(grown | {"classification": "hot"}), handed_over=team), playbook()
    )
    assert risen.handoffs["triggers"].to_list() == [["team_growth", "pricing_visits"]]


def test_a_request_that_rests_does_not_speak_for_the_rest() -> None:
    asked = {"last_sales_request_at": AS_OF, "pricing_visits": 3}
    rested = past({"triggers": ["hand_raise"], "priority": "P0"})
    decision, reason = decided(inputs(users(asked), accounts(SMALL), handed_over=rested))
    assert decision == "suppressed_self_serve"
    assert "left out: hand_raise of account Acme was handed over" in reason
    assert decided(inputs(users(asked), accounts(SMALL)))[0] == "sent"
