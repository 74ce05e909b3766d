"""Routing: owner first, then the team in turn, within what a person takes in a day."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from handoff_frames import AS_OF, accounts, inputs, owners, past, playbook, users

from dagster_project.core.handoff_rules import WorkingHours
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.routing import Assignment, Desk, Request, owners_by_id, team_for

RULES = playbook().routing


def desk(*people: tuple[str, Any] | tuple[str, Any, bool], full: tuple[str, ...] = (), **turns: int) -> Desk:
    return Desk(
        owners_by_id(owners(*people)),
        RULES,
        AS_OF,
        taken=Counter(dict.fromkeys(full, RULES.daily_capacity)),
        turns={("ae", owner_id): seq for owner_id, seq in turns.items()},
    )


def ask(contact: str | None = None, account: str | None = None, priority: str = "P1") -> Request:
    return Request(((contact, "contact"), (account, "account")), "ae", priority)


def test_the_contacts_owner_comes_before_the_accounts() -> None:
    staff = (("o_1", "ae"), ("o_2", "ae"), ("o_3", "ae", False))
    assert desk(*staff).assign(ask("o_1", "o_2")) == Assignment("o_1", "to o_1, owner of the contact")
    assert desk(*staff).assign(ask("o_3", "o_2")) == Assignment("o_2", "to o_2, owner of the account")
    assert desk(*staff).assign(ask("gone", None)).recipient_id == "o_1"


def test_a_team_takes_it_in_turn_and_who_never_had_one_first() -> None:
    at_work = desk(("o_1", "ae"), ("o_2", "ae"), ("o_3", "ae"), ("o_4", "ae", False), ("o_5", "sdr"), o_1=4, o_3=2)
    assert [at_work.assign(ask()).recipient_id for _ in range(4)] == ["o_2", "o_3", "o_1", "o_2"]


def test_a_team_without_anybody_active_has_a_queue() -> None:
    assert desk(("o_4", "ae", False)).assign(ask()).recipient_id == "team:ae"


def test_a_full_owner_waits_for_tomorrow_but_a_p0_goes_to_a_teammate() -> None:
    staff = (("o_1", "ae"), ("o_2", "ae"))
    held = desk(*staff, full=("o_1",)).assign(ask("o_1"))
    assert held == Assignment(None, "daily limit of 20 reached for owner o_1 on 2026-05-02")
    assert desk(*staff, full=("o_1",)).assign(ask("o_1", priority="P0")).recipient_id == "o_2"
    assert desk(*staff, full=("o_1", "o_2")).assign(ask("o_1", priority="P0")).recipient_id is None


def test_a_full_member_is_passed_over_and_only_a_full_team_holds() -> None:
    staff = (("o_1", "ae"), ("o_2", "ae"))
    assert desk(*staff, full=("o_1",)).assign(ask()).recipient_id == "o_2"
    assert desk(*staff, full=("o_1", "o_2")).assign(ask()).recipient_id is None


@pytest.mark.parametrize(
    ("kind", "segment", "is_customer", "team"),
    [
        ("immediate outreach", "enterprise", True, "ae"),
        ("SDR research", "enterprise", False, "enterprise_sdr"),
        ("SDR research", "smb", False, "sdr"),
        ("CSM or sales", "smb", True, "csm"),
        ("CSM or sales", "smb", False, "sales"),
        ("automated and human", None, False, "sdr"),
    ],
)
def test_each_type_has_its_team(kind: str, segment: str | None, is_customer: bool, team: str) -> None:
    assert team_for(kind, RULES, segment=segment, is_customer=is_customer) == team


def test_what_was_sent_earlier_today_counts_and_yesterday_does_not() -> None:
    busy = [{"account_id": f"x_{n}", "recipient_id": "o_1", "created_at": AS_OF} for n in range(RULES.daily_capacity)]
    eager = users({"pricing_visits": 3, "contact_owner_id": "o_1"})
    team = owners(("o_1", "ae"), ("o_2", "ae"))
    today = plan_handoffs(inputs(eager, team=team, handed_over=past(*busy)), playbook())
    assert today.decisions["decision"].to_list() == ["held_capacity"]
    tomorrow = AS_OF.replace(day=3)
    after = plan_handoffs(inputs(eager, team=team, handed_over=past(*busy), as_of=tomorrow, after=today), playbook())
    assert after.decisions["decision"].to_list() == ["sent"]
    assert after.decisions["candidate_key"].to_list() == today.decisions["candidate_key"].to_list()
    assert after.candidates.is_empty()


def test_the_most_urgent_and_then_the_best_are_served_first() -> None:
    people = users(
        {"user_id": "u_1", "account_id": "a_1", "pricing_visits": 3, "pql_score": 70.0},
        {"user_id": "u_2", "account_id": "a_2", "pql_score": 85.0},
        {"user_id": "u_3", "account_id": "a_3", "pql_score": 95.0},
    )
    rules = playbook()
    narrow = replace(rules, routing=rules.routing.model_copy(update={"daily_capacity": 2}))
    companies = accounts({"account_id": "a_1"}, {"account_id": "a_2"}, {"account_id": "a_3"})
    plan = plan_handoffs(inputs(people, companies, team=owners(("o_1", "ae"), ("o_2", "sdr", False))), narrow)
    by_user = dict(plan.handoffs.select("user_id", "recipient_id").iter_rows())
    assert by_user == {"u_3": "o_1", "u_2": "o_1", "u_1": "team:sdr"}


# --- working hours ---------------------------------------------------------------------------------

BERLIN = WorkingHours(time_zone="Europe/Berlin")
NEW_YORK = WorkingHours(time_zone="America/New_York")
FRIDAY = AS_OF.replace(day=1)


def with_hours(**hours: Any) -> Any:
    """The packaged playbook with working hours of teams or owners."""
    rules = playbook()
    known = rules.routing.working_hours.model_copy(update=hours)
    return replace(rules, routing=rules.routing.model_copy(update={"working_hours": known}))


def test_due_times_are_counted_in_the_recipients_hours_and_told_in_their_time() -> None:
    eager = users({"pql_score": 91.0, "contact_owner_id": "o_1"})
    given = inputs(eager, team=owners(("o_1", "ae")))
    handoff = plan_handoffs(given, with_hours(owners={"o_1@us.com": BERLIN})).handoffs.row(0, named=True)
    assert handoff["due_at"] == AS_OF.replace(day=4, hour=8), "Saturday at ten is Monday at ten, one hour into the day"
    assert "**Due**: 2026-05-04 10:00 CEST (08:00 UTC)" in handoff["package_markdown"]


def test_a_p0_goes_to_somebody_at_work_and_the_rest_in_turn() -> None:
    hours = with_hours(owners={"o_1": NEW_YORK, "o_2": BERLIN}).routing
    people = owners_by_id(owners(("o_1", "ae"), ("o_2", "ae")))
    urgent = Desk(people, hours, FRIDAY).assign(ask(priority="P0"))
    assert (urgent.recipient_id, Desk(people, hours, FRIDAY).assign(ask(priority="P1")).recipient_id) == ("o_2", "o_1")
    at_night = FRIDAY.replace(hour=2)
    assert Desk(people, hours, at_night).assign(ask(priority="P0")).recipient_id == "o_1", "nobody is: in turn"


def test_an_owners_hours_come_before_the_teams_before_everybodys() -> None:
    hours = with_hours(default=BERLIN, teams={"ae": NEW_YORK}, owners={"o_2": BERLIN}).routing
    at_work = Desk(owners_by_id(owners(("o_1", "ae"), ("o_2", "ae"), ("o_3", "sdr"))), hours, AS_OF)
    found = {who: at_work.calendar(who).hours for who in ("o_1", "o_2", "o_3", "team:ae", "team:csm")}
    assert found == {"o_1": NEW_YORK, "o_2": BERLIN, "o_3": BERLIN, "team:ae": NEW_YORK, "team:csm": BERLIN}


def test_the_daily_limit_is_that_of_the_recipients_own_day() -> None:
    midnight_there = FRIDAY.replace(hour=4)
    busy = [
        {"account_id": f"x_{n}", "recipient_id": "o_1", "created_at": midnight_there.replace(hour=2)} for n in range(20)
    ]
    eager = users({"pricing_visits": 3, "contact_owner_id": "o_1"})
    given = inputs(eager, team=owners(("o_1", "ae")), handed_over=past(*busy), as_of=midnight_there)
    assert plan_handoffs(given, playbook()).decisions["decision"].to_list() == ["held_capacity"]
    there = with_hours(owners={"o_1": NEW_YORK})
    assert plan_handoffs(given, there).decisions["decision"].to_list() == ["sent"]
