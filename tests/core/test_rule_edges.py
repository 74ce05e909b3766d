"""Edges of rules at which somebody would be contacted, lost or told something else, and no other test would notice."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from handoff_frames import AS_OF, HOT, LATER, NOTHING, SMALL, accounts, inputs, owners, past, planned, playbook, users
from ledger_rows import NOW
from scoring_frames import PLAYBOOK
from scoring_frames import users as scored_users
from test_automation import BACK, BIG, SIGNED_UP, decision
from test_decisions import decided
from test_feeds import LAST_AT, delivered
from test_feeds import RULES as FEEDS
from test_reminders import DUE, answer, row, said
from test_routing import ask, desk

from dagster_project.core.automation import RISE_SCHEMA
from dagster_project.core.concerned import ACCOUNT_COLUMNS, USER_COLUMNS, Concerned
from dagster_project.core.decisions import HELD_CAPACITY
from dagster_project.core.feeds import Silence, may_have_been_active, silences
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.pql import score_users
from dagster_project.core.routing import open_desk
from dagster_project.core.waiting import named_by, to_decide_again


def test_a_wake_is_given_up_like_a_reminder() -> None:
    until = NOW + timedelta(days=1)
    snoozed = (answer("snoozed", NOW, until),)
    assert said(until + timedelta(days=7), answers=snoozed) == [("ho_1", "wake:1")]
    assert said(until + timedelta(days=7, hours=2), answers=snoozed) == []


def test_the_team_hears_of_it_only_when_the_reminder_has_had_its_time() -> None:
    late = DUE + timedelta(hours=3)
    sent = {("ho_1", "remind:0"): late}
    assert said(late + timedelta(minutes=59), sent=sent) == []
    assert said(late + timedelta(hours=1), sent=sent) == [("ho_1", "escalate:0")]


def test_the_latest_answer_counts_in_whatever_order_answers_come() -> None:
    until = NOW + timedelta(hours=1)
    answers = (answer("claimed", NOW + timedelta(minutes=5)), answer("snoozed", NOW, until))
    assert said(until + timedelta(hours=5), answers=answers) == []


@pytest.mark.parametrize("over", ["not_a_fit", "closed", "cancelled"])
def test_of_a_thread_that_is_over_nobody_is_reminded_whatever_joined_it(over: str) -> None:
    news = row(handoff_id="ho_2", created_at=NOW + timedelta(hours=1), due_at=NOW + timedelta(hours=2))
    answers = () if over == "cancelled" else (answer(over, NOW),)
    assert said(NOW + timedelta(hours=3), row(status=over), news, answers=answers, roots={"ho_2": "ho_1"}) == []


@pytest.mark.parametrize(
    ("company", "expected"),
    [(SMALL, "suppressed_self_serve"), ({"has_open_opportunity": True}, "suppressed_open_opportunity")],
)
def test_a_return_obeys_the_guardrails(company: dict[str, Any], expected: str) -> None:
    plan = planned(inputs(users(BACK), accounts(company)))
    assert decision(plan, "reactivation") == [expected]
    assert plan.notices.is_empty()


@pytest.mark.parametrize(
    ("person", "score", "tier"),
    [
        (
            {"sessions_per_week": 3.0, "features_used": ["a", "b", "c"], "minutes_per_week": 10.0, "actions": 6},
            60.0,
            "high",
        ),
        ({"sessions_per_week": 6.0, "minutes_per_week": 30.0, "actions": 1}, 55.0, "medium"),
        ({"sessions_per_week": 3.0, "actions": 6}, 30.0, "medium"),
        ({"sessions_per_week": 6.0}, 25.0, "low"),
    ],
)
def test_a_usage_tier_begins_at_its_number(person: dict[str, Any], score: float, tier: str) -> None:
    one = scored_users(person).with_columns(fit_tier=pl.lit("smb"))
    assert score_users(one, PLAYBOOK.scoring).select("usage_score", "usage_tier").row(0) == (score, tier)


def test_what_is_done_in_the_crm_about_somebody_says_about_whom() -> None:
    """Right before it is done it is asked once more whether they may be contacted."""
    companies = ({}, {"has_open_opportunity": True}, BIG)
    people = (HOT, HOT, SIGNED_UP)
    done = [a for p, c in zip(people, companies, strict=True) for a in planned(inputs(users(p), accounts(c))).actions]
    assert {action.kind: action.payload.get("user_id") for action in done} == dict.fromkeys(
        ("task", "note", "assign_owner"), "u_1"
    )


def test_the_first_row_of_the_table_that_applies_decides() -> None:
    opened: dict[str, Any] = {"has_open_opportunity": True}
    won: dict[str, Any] = {"has_won_opportunity": True}
    assert decided(inputs(users(HOT), accounts(SMALL | opened)))[0] == "suppressed_self_serve"
    assert decided(inputs(users(HOT), accounts(opened | won)))[0] == "suppressed_open_opportunity"


def test_a_person_without_an_account_has_opportunities_of_their_own() -> None:
    alone = HOT | {"account_id": None}
    assert decided(inputs(users(alone | {"has_open_opportunity": True})))[0] == "suppressed_open_opportunity"
    assert decided(inputs(users(alone | {"has_won_opportunity": True})))[0] == "suppressed_customer"


def test_a_teams_queue_never_owns_an_account() -> None:
    nobody = owners(("o_ae", "ae"), ("o_gone", "enterprise_sdr", False))
    plan = planned(inputs(users(SIGNED_UP | HOT), accounts(BIG), team=nobody))
    assert [action.kind for action in plan.actions] == ["task"]
    assert decision(plan, "enterprise_owner") == ["skipped"]


def test_a_full_owners_p0_goes_to_their_own_team_first_and_is_a_turn() -> None:
    staff = (("o_1", "csm"), ("o_2", "csm"), ("o_3", "ae"))
    assert desk(*staff, full=("o_1",)).assign(ask("o_1", priority="P0")).recipient_id == "o_2"
    of_one_team = desk(("o_1", "ae"), ("o_2", "ae"), ("o_3", "ae"), full=("o_1",))
    asked = (ask("o_1", priority="P0"), ask(priority="P0"))
    assert [of_one_team.assign(request).recipient_id for request in asked] == ["o_2", "o_3"]


def test_who_is_not_active_has_no_room() -> None:
    assert desk(("o_1", "ae"), ("o_2", "ae", False)).with_room() == {"o_1"}


def test_of_those_who_have_a_handoff_already_the_latest_is_named() -> None:
    other = {"triggers": ["limit_ticket"], "priority": "P2"}
    earlier = past(
        other | {"recipient_id": "o_csm", "created_at": AS_OF - timedelta(days=5)},
        other | {"recipient_id": "o_sdr", "created_at": AS_OF - timedelta(days=2)},
        other | {"recipient_id": "o_sales", "created_at": AS_OF - timedelta(days=9)},
    )
    [text] = planned(inputs(users(HOT), handed_over=earlier)).handoffs["package_markdown"]
    assert "**Also with**: Rep o_sdr, since 2026-04-30" in text


def test_who_came_back_before_the_crm_said_churned_is_back_from_that() -> None:
    churned: dict[str, Any] = {"subscription_status": "churned", "subscription_status_since": AS_OF - timedelta(days=9)}
    person = BACK | {"reactivated_at": AS_OF - timedelta(days=20)}
    plan = planned(inputs(users(person), accounts(churned)))
    [occurrence] = plan.rule_decisions.filter(pl.col("rule") == "reactivation")["occurrence"]
    assert occurrence == (AS_OF - timedelta(days=9)).isoformat(timespec="microseconds")


def test_candidates_that_become_one_keep_the_key_of_the_oldest() -> None:
    alone = HOT | {"account_id": None}
    first = planned(inputs(users(alone, alone | {"user_id": "u_2"}), hold="stale"))
    keys = sorted(first.candidates["candidate_key"])
    older = pl.when(pl.col("candidate_key") == keys[-1]).then(pl.col("first_seen_at") - pl.duration(days=1))
    kept = first.candidates.with_columns(first_seen_at=older.otherwise("first_seen_at"))
    together = inputs(users(HOT, HOT | {"user_id": "u_2"}), after=replace(first, candidates=kept), as_of=LATER)
    sent = planned(together).decisions.filter(pl.col("decision") == "sent")
    assert sent["candidate_key"].to_list() == [keys[-1]]


def test_a_feed_that_is_a_day_younger_than_what_is_looked_back_at_is_not_known_to_be_daily() -> None:
    assert silences(delivered(list(range(7, 20))), LAST_AT + timedelta(days=3), FEEDS) == []
    assert silences(delivered(list(range(6, 20))), LAST_AT + timedelta(days=3), FEEDS) == [Silence("web", LAST_AT)]


def test_a_silence_within_another_does_not_end_it() -> None:
    user = pl.DataFrame({"at": [datetime(2026, 6, 28, 9)], "day": [date(2026, 4, 30)]})
    long = Silence("web", datetime(2026, 5, 10), datetime(2026, 6, 25))
    short = Silence("app", datetime(2026, 5, 12), datetime(2026, 5, 13))
    assert user.select(may_have_been_active(pl.col("at"), pl.col("day"), [long, short], 30)).item()


def package(person: dict[str, Any], company: dict[str, Any] | None = None) -> str:
    [text] = planned(inputs(users(person), accounts(company or {}))).handoffs["package_markdown"]
    return text


def test_of_those_who_wait_for_one_person_the_most_urgent_and_then_the_best_is_served() -> None:
    rules = playbook()
    narrow = replace(rules, routing=rules.routing.model_copy(update={"daily_capacity": 1}))
    theirs = {"contact_owner_id": "o_1"}
    people = [theirs | {"user_id": f"u_{n}", "account_id": f"a_{n}"} for n in (1, 2, 3)]
    people[0] |= {"pricing_visits": 3, "pql_score": 79.0}
    people[1] |= {"pql_score": 85.0}
    people[2] |= {"pql_score": 95.0}
    companies = accounts(*({"account_id": f"a_{n}"} for n in (1, 2, 3)))
    plan = plan_handoffs(inputs(users(*people), companies, team=owners(("o_1", "ae"))), narrow)
    assert dict(plan.decisions.select("user_id", "decision").iter_rows()) == {
        "u_1": "held_capacity",
        "u_2": "held_capacity",
        "u_3": "sent",
    }


def test_whoever_has_waited_since_yesterday_comes_before_better_ones_of_today() -> None:
    rules = playbook()
    narrow = replace(rules, routing=rules.routing.model_copy(update={"daily_capacity": 1}))
    visits = {"contact_owner_id": "o_1", "pricing_visits": 3}
    people = [visits | {"user_id": f"u_{n}", "account_id": f"a_{n}", "pql_score": 40.0 + n} for n in (1, 2, 3, 4)]
    companies, team = accounts(*({"account_id": f"a_{n}"} for n in (1, 2, 3, 4))), owners(("o_1", "ae"))
    first = plan_handoffs(inputs(users(*people[:2]), companies, team=team), narrow)
    given, served = first, []
    for number in (1, 2, 3):
        later = inputs(users(*people), companies, team=team, after=given, as_of=AS_OF + timedelta(days=number))
        given = plan_handoffs(later, narrow)
        served += given.handoffs["user_id"].to_list()
    assert first.handoffs["user_id"].to_list() == ["u_2"]
    assert served == ["u_1", "u_4", "u_3"]


def test_a_class_has_risen_only_against_the_latest_handoff() -> None:
    rested = past({"classification": "warm", "created_at": AS_OF - timedelta(days=9)}, {})
    assert decided(inputs(users(HOT), handed_over=rested))[0] == "suppressed_cooldown"


@pytest.mark.parametrize("user_id", ["org:7:ann", "Ann Lee"])
def test_ids_of_any_kind_wait_and_are_handed_over(user_id: str) -> None:
    whoever = users(HOT | {"user_id": user_id})
    first = planned(inputs(whoever, hold="stale"))
    assert planned(inputs(whoever, after=first, as_of=LATER)).handoffs["user_id"].to_list() == [user_id]


def test_of_several_requests_the_latest_is_told() -> None:
    first = planned(inputs(users({"last_sales_request_at": AS_OF - timedelta(days=2)}), hold="stale"))
    [text] = planned(inputs(users({"last_sales_request_at": AS_OF}), after=first, as_of=LATER)).handoffs[
        "package_markdown"
    ]
    assert "asked to talk to sales on 2026-05-02" in text


def test_a_sign_up_is_told_of_with_its_day_and_a_known_size_is_not_researched() -> None:
    text = package(SIGNED_UP | {"first_event_at": AS_OF - timedelta(days=10)}, BIG)
    assert "first seen on 2026-04-22" in text
    assert "Research first" not in text


def test_an_import_that_failed_is_in_the_way_only_until_one_came_in_whole() -> None:
    failed = HOT | {"imports_failed": 1}
    assert "Help first" in package(failed | {"data_imported": "some"})
    assert "Help first" not in package(failed | {"data_imported": "full"})


def test_a_p0_goes_to_the_types_team_where_the_owners_has_no_room() -> None:
    staff = (("o_1", "csm"), ("o_3", "ae"))
    assert desk(*staff, full=("o_1",)).assign(ask("o_1", priority="P0")).recipient_id == "o_3"


def test_the_best_user_of_an_account_is_the_best_of_all_portions() -> None:
    company = accounts({"active_users_30d": 6}).select(ACCOUNT_COLUMNS)
    people = users({"pql_score": 70.0}, {"user_id": "u_2", "pql_score": 40.0}).select(USER_COLUMNS)
    for rows in (people, people.reverse()):
        concerned = Concerned(company, NOTHING, NOTHING, playbook())
        for part in rows.iter_slices(1):
            concerned.look_at(part, RISE_SCHEMA.to_frame())
        assert concerned.users == {"u_1"}


def test_a_person_without_an_account_who_rests_is_decided_again() -> None:
    row = {"candidate_key": "ca_1", "last_decision": HELD_CAPACITY, "subject_id": "u_9", "user_id": "u_9"}
    waiting = pl.DataFrame([row | {"account_id": None, "triggers": '["hot_pql x new user:u_9"]'}])
    waiting = waiting.cast({"account_id": pl.String}).select(
        "candidate_key", "last_decision", named=named_by(pl.col("triggers"))
    )
    rests = past({"account_id": None, "user_id": "u_9"}).cast({"account_id": pl.String})
    desk = open_desk(owners(("o_1", "ae")), (NOTHING,), NOTHING, rules=playbook().routing, as_of=AS_OF)
    given = {"touched": set(), "desk": desk, "had_room": desk.with_room(), "crm_hold_reason": None}
    assert to_decide_again(waiting, past=rests, **given) == ["ca_1"]
    assert to_decide_again(waiting, past=NOTHING, **given) == []
