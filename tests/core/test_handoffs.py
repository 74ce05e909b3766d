"""A run as a whole: who is merged, named and remembered, and the laws that hold for any company."""

import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
from handoff_frames import AS_OF, EVERY_TEAM, HOT, LATER, accounts, inputs, planned, playbook, users
from handoff_runs import BLOCKS, runs, scarce
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.core.candidates import CANDIDATE_SCHEMA
from dagster_project.core.handoff_plan import DECISION_SCHEMA, HANDOFF_SCHEMA, HandoffInputs
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.triggers import STATE_SCHEMA


def test_triggers_of_one_account_make_one_handoff_at_the_highest_priority() -> None:
    people = users(
        {"user_id": "u_1", "pricing_visits": 3, "pql_score": 70.0},
        {"user_id": "u_2", "pql_score": 85.0, "classification": "hot"},
        {"user_id": "u_3", "pql_score": 97.0, "classification": "hot", "last_upgrade_click_at": None},
    )
    plan = planned(inputs(people, accounts({"active_users_30d": 5})))
    handoff = plan.handoffs.row(0, named=True)
    assert len(plan.handoffs) == len(plan.decisions) == 1
    assert (handoff["user_id"], handoff["trigger"], handoff["priority"]) == ("u_3", "hot_pql", "P0")
    assert handoff["triggers"] == ["hot_pql", "team_growth", "pricing_visits"]
    assert (handoff["due_at"], handoff["status"]) == (AS_OF + timedelta(hours=1), "pending")
    assert plan.decisions["handoff_id"].to_list() == [handoff["handoff_id"]]


def test_an_account_trigger_names_the_best_user_who_may_be_contacted() -> None:
    people = users(
        {"user_id": "u_1", "pql_score": 40.0},
        {"user_id": "u_2", "pql_score": 60.0},
        {"user_id": "u_3", "pql_score": 79.0, "email_opt_out": True},
    )
    handoff = planned(inputs(people, accounts({"active_users_30d": 5}))).handoffs.row(0, named=True)
    assert (handoff["user_id"], handoff["trigger"], handoff["classification"]) == (
        "u_2",
        "team_growth",
        "developing",
    )


def test_who_must_not_be_contacted_is_split_off_and_the_rest_goes_on() -> None:
    people = users(HOT | {"user_id": "u_1", "email_opt_out": True}, {"user_id": "u_2", "pricing_visits": 3})
    decisions = planned(inputs(people)).decisions
    assert set(decisions.select("user_id", "account_id", "decision").iter_rows()) == {
        ("u_1", "a_1", "suppressed_no_contact"),
        ("u_2", "a_1", "sent"),
    }


def test_what_fires_while_a_candidate_waits_joins_it() -> None:
    first = planned(inputs(users(HOT), hold="stale"))
    again = planned(inputs(users(HOT), hold="stale", after=first))
    assert again.decisions.is_empty()
    assert again.candidates.equals(first.candidates)
    joined = planned(inputs(users(HOT | {"pricing_visits": 3}), hold="stale", after=first))
    assert joined.decisions["triggers"].to_list() == [["hot_pql", "pricing_visits"]]
    sent = planned(inputs(users(HOT | {"pricing_visits": 3}), after=joined, as_of=LATER))
    assert sent.decisions["candidate_key"].to_list() == first.decisions["candidate_key"].to_list()
    assert sent.handoffs["triggers"].to_list() == [["hot_pql", "pricing_visits"]]


def test_what_waits_for_a_trigger_that_is_switched_off_is_dropped() -> None:
    waiting = planned(inputs(users(HOT | {"pricing_visits": 3}), hold="stale"))
    triggers = playbook().handoffs.triggers
    off = triggers.model_copy(update={"hot_pql": triggers.hot_pql.model_copy(update={"enabled": False})})
    rules = replace(playbook(), handoffs=playbook().handoffs.model_copy(update={"triggers": off}))
    later = plan_handoffs(inputs(users(HOT | {"pricing_visits": 3}), after=waiting, as_of=LATER), rules)
    assert later.handoffs["triggers"].to_list() == [["pricing_visits"]]


def test_a_waiting_person_who_opts_out_is_decided_under_the_same_key() -> None:
    first = planned(inputs(users(HOT), hold="stale"))
    second = planned(inputs(users(HOT | {"is_unsubscribed": True}), hold="stale", after=first, as_of=LATER))
    assert second.decisions.select("candidate_key", "decision").row(0) == (
        first.decisions["candidate_key"][0],
        "suppressed_no_contact",
    )
    assert second.candidates.is_empty()


def test_a_waiting_person_who_is_no_longer_scored_is_not_handed_over() -> None:
    first = planned(inputs(users(HOT), hold="stale"))
    second = planned(inputs(users(), after=first, as_of=LATER))
    assert second.decisions.select("decision", "reason").row(0) == (
        "suppressed_no_contact",
        "user u_1 is no longer scored",
    )


def test_candidates_that_come_to_share_an_account_are_handed_over_once() -> None:
    alone = {"account_id": None, "last_sales_request_at": AS_OF}
    other = {"user_id": "u_2", "email": "bo@acme.com"}
    first = planned(inputs(users(alone, alone | other), hold="stale"))
    assert len(first.candidates) == 2
    together = {"last_sales_request_at": AS_OF}
    second = planned(inputs(users(together, together | other), after=first, as_of=LATER))
    assert sorted(second.decisions["decision"]) == ["sent", "suppressed_cooldown"]
    assert set(second.decisions["candidate_key"]) == set(first.decisions["candidate_key"])


ASKED = {"account_id": None, "last_sales_request_at": AS_OF}


def test_a_person_with_two_ids_and_no_account_is_handed_over_once() -> None:
    plan = planned(inputs(users(ASKED, ASKED | {"user_id": "u_2", "email": "Ann@ACME.com", "user_name": None})))
    assert plan.decisions["decision"].to_list() == ["sent"]
    assert plan.handoffs["user_id"].to_list() == ["u_1"]
    assert "asked to talk to sales" in plan.handoffs["package_markdown"][0]
    shared = planned(inputs(users(ASKED, ASKED | {"user_id": "u_2", "user_name": "Bo Kim"})))
    assert len(shared.handoffs) == 2, "one address of two people"
    refused = planned(inputs(users(ASKED, ASKED | {"user_id": "u_2", "is_unsubscribed": True})))
    assert dict(refused.decisions.select("user_id", "decision").iter_rows()) == {
        "u_1": "sent",
        "u_2": "suppressed_no_contact",
    }


def test_a_person_without_an_account_rests_under_their_other_id_too() -> None:
    first = planned(inputs(users(ASKED)))
    again = ASKED | {"user_id": "u_2", "last_sales_request_at": LATER}
    second = planned(inputs(users(ASKED, again), after=first, as_of=LATER))
    assert second.decisions["decision"].to_list() == ["suppressed_cooldown"]
    more = again | {"last_limit_contact_at": LATER}
    third = planned(inputs(users(ASKED, more), after=first, as_of=LATER))
    assert third.handoffs["triggers"].to_list() == [["limit_ticket"]]
    assert "**Also with**" in third.handoffs["package_markdown"][0]
    joined = more | {"account_id": "a_1"}
    fourth = planned(inputs(users(ASKED, joined), after=first, as_of=LATER))
    assert fourth.handoffs["triggers"].to_list() == [["limit_ticket"]], "an account since"
    assert "hand_raise of account Acme was handed over" in fourth.decisions["reason"][0]


def test_what_waits_of_one_persons_ids_is_joined() -> None:
    waiting = planned(inputs(users(ASKED, ASKED | {"user_id": "u_2", "email": "a@other.example"}), hold="stale"))
    assert len(waiting.candidates) == 2
    found = planned(inputs(users(ASKED, ASKED | {"user_id": "u_2"}), after=waiting, as_of=LATER))
    assert sorted(found.decisions["decision"]) == ["sent", "suppressed_cooldown"]
    assert any("of the same person, which will be handed over once" in reason for reason in found.decisions["reason"])


def test_an_account_names_somebody_with_an_address_before_a_better_one_without() -> None:
    people = users(
        {"user_id": "u_1", "pql_score": 79.0, "email": None, "contact_id": None},
        {"user_id": "u_2", "pql_score": 40.0},
    )
    assert planned(inputs(people, accounts({"active_users_30d": 5}))).handoffs["user_id"].to_list() == ["u_2"]
    nobody = people.with_columns(email=pl.lit(None, pl.String))
    assert planned(inputs(nobody, accounts({"active_users_30d": 5}))).handoffs["user_id"].to_list() == ["u_1"]


def test_a_rearmed_trigger_is_another_candidate() -> None:
    first = planned(inputs(users(HOT)))
    cooled = planned(inputs(users({"pql_score": 60.0}), after=first, as_of=LATER))
    assert cooled.decisions.is_empty()
    month_later = AS_OF + timedelta(days=30)
    again = planned(inputs(users(HOT), after=replace(cooled, handoffs=first.handoffs), as_of=month_later))
    assert again.decisions["decision"].to_list() == ["sent"]
    assert again.decisions["candidate_key"][0] != first.decisions["candidate_key"][0]


def test_the_frames_are_the_ledgers_even_when_empty() -> None:
    for plan in (planned(inputs(users(HOT))), planned(inputs(users(), accounts()))):
        assert plan.decisions.schema == DECISION_SCHEMA
        assert plan.handoffs.schema == HANDOFF_SCHEMA
        assert plan.candidates.schema == CANDIDATE_SCHEMA
        assert plan.states.schema == STATE_SCHEMA


# --- laws ------------------------------------------------------------------------------------------


@given(runs(), st.randoms(use_true_random=False))
def test_no_decision_depends_on_the_order_of_rows(run: HandoffInputs, chance: Any) -> None:
    def shuffled(frame: pl.DataFrame) -> pl.DataFrame:
        return frame[chance.sample(range(len(frame)), len(frame))]

    mixed = replace(run, users=shuffled(run.users), accounts=shuffled(run.accounts), owners=shuffled(run.owners))
    one, other = scarce(run), scarce(mixed)
    for part in ("decisions", "handoffs", "states", "candidates", "turns"):
        assert getattr(one, part).equals(getattr(other, part))


@given(runs())
def test_whoever_must_not_be_contacted_is_in_no_handoff(run: HandoffInputs) -> None:
    plan = scarce(run)
    flagged = run.users.filter(pl.any_horizontal(BLOCKS))["user_id"].to_list()
    closed = run.accounts.filter("do_not_contact")["account_id"].to_list()
    assert not set(plan.handoffs["user_id"]) & set(flagged)
    assert not set(plan.handoffs["account_id"]) & set(closed)
    about_flagged = plan.decisions.filter(pl.col("user_id").is_in(flagged))
    assert set(about_flagged["decision"]) <= {"suppressed_no_contact"}


@given(runs())
def test_the_same_facts_never_alert_twice(run: HandoffInputs) -> None:
    first = scarce(run)
    again = replace(
        run,
        states=first.states,
        open_candidates=first.candidates,
        turns=first.turns,
        past=pl.concat(
            [
                f.select(
                    "account_id",
                    "user_id",
                    "triggers",
                    "priority",
                    "classification",
                    "recipient_id",
                    "created_at",
                    "status",
                )
                for f in (run.past, first.handoffs)
                if f.width
            ]
        ),
    )
    second = scarce(again)
    assert second.handoffs.is_empty()
    assert second.decisions.is_empty()
    assert second.candidates.equals(first.candidates)
    assert second.states.equals(first.states)


@given(runs())
def test_each_candidate_is_decided_once_and_each_sent_one_has_one_recipient(run: HandoffInputs) -> None:
    plan = scarce(run)
    assert plan.decisions["candidate_key"].is_unique().all()
    assert plan.handoffs["candidate_key"].is_unique().all()
    sent = plan.decisions.filter(pl.col("decision") == "sent")
    assert sorted(sent["handoff_id"]) == sorted(plan.handoffs["handoff_id"])
    assert plan.handoffs["recipient_id"].null_count() == 0
    held = plan.decisions.filter(pl.col("decision").str.starts_with("held"))
    assert sorted(held["candidate_key"]) == sorted(plan.candidates["candidate_key"])
    assert plan.decisions["reason"].str.len_chars().min() or plan.decisions.is_empty()


@given(runs())
def test_nobody_gets_more_than_a_day_holds(run: HandoffInputs) -> None:
    today = run.past.filter(pl.col("created_at").dt.date() == AS_OF.date()) if run.past.width else run.past
    taken = Counter(today["recipient_id"] if today.width else [])
    taken.update(person for person in scarce(run).handoffs["recipient_id"] if not person.startswith("team:"))
    assert all(count <= 2 for count in taken.values())


@settings(max_examples=14)
@given(runs())
def test_one_account_gets_one_handoff(run: HandoffInputs) -> None:
    with_account = scarce(run).handoffs["account_id"].drop_nulls()
    assert with_account.is_unique().all()


def test_a_hundred_thousand_users_take_seconds() -> None:
    count, firing = 100_000, 2_000
    people = users({}).join(pl.DataFrame({"n": pl.int_range(count, eager=True)}), how="cross")
    people = people.with_columns(
        user_id=pl.format("u_{}", "n"),
        account_id=pl.format("a_{}", pl.col("n") // 4),
        pql_score=pl.when(pl.col("n") % (count // firing) == 0).then(90.0).otherwise(30.0),
    ).drop("n")
    companies = accounts({}).join(pl.DataFrame({"n": pl.int_range(count // 4, eager=True)}), how="cross")
    companies = companies.with_columns(account_id=pl.format("a_{}", "n")).drop("n")
    started = time.perf_counter()
    plan = planned(inputs(people, companies, team=EVERY_TEAM))
    assert len(plan.decisions) == firing
    assert time.perf_counter() - started < 10
