"""Leaving candidates that wait as they are comes to the same as deciding all of them again."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from handoff_frames import AS_OF, accounts, inputs, owners, past, playbook, users
from handoff_runs import person, runs, scarce
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.core.concerned import concerned_by_accounts
from dagster_project.core.handoff_plan import HandoffInputs, HandoffPlan
from dagster_project.core.routing import open_desk
from dagster_project.core.waiting import named_by, to_decide_again

TONIGHT = AS_OF.replace(hour=22)
TOMORROW = AS_OF + timedelta(days=1)


def delta(run: HandoffInputs, before: HandoffPlan, touched: set[str]) -> tuple[HandoffInputs, pl.DataFrame]:
    """What a delta gives to the plan, and the candidates that it leaves as they are."""
    routing = playbook().routing.model_copy(update={"daily_capacity": 2})
    kept = pl.col("triggers").map_elements(lambda firings: json.dumps(list(firings)), return_dtype=pl.String)
    again = to_decide_again(
        run.open_candidates.select("candidate_key", "last_decision", named=named_by(kept)),
        touched=touched,
        past=run.past,
        desk=open_desk(run.owners, (run.past,), run.turns, rules=routing, as_of=run.as_of),
        had_room=before.with_room,
        crm_hold_reason=run.crm_hold_reason,
    )
    held = run.open_candidates.filter(pl.col("candidate_key").is_in(again))
    people = touched | set(held["user_id"])
    companies = set(held["account_id"]) | touched
    companies |= set(run.users.filter(pl.col("user_id").is_in(people))["account_id"])
    some_accounts = run.accounts.filter(pl.col("account_id").is_in(list(companies - {None})))
    fired = concerned_by_accounts(some_accounts, run.users.clear(), run.states, held, playbook())
    looked_at = pl.col("user_id").is_in([*people, *fired.users]) | pl.col("account_id").is_in(list(fired.accounts))
    some_users = run.users.filter(looked_at.fill_null(False))
    known = [*some_users["user_id"], *some_accounts["account_id"]]
    given = replace(
        run,
        users=some_users,
        accounts=some_accounts,
        open_candidates=held,
        states=run.states.filter(pl.col("subject_id").is_in(known)),
    )
    return given, run.open_candidates.join(held, on="candidate_key", how="anti")


def later(
    run: HandoffInputs, first: HandoffPlan, people: pl.DataFrame, as_of: datetime, companies: pl.DataFrame | None = None
) -> HandoffInputs:
    """The run after a plan, with its people and companies as they are then."""
    companies = run.accounts if companies is None else companies
    after = inputs(people, companies, as_of=as_of, team=run.owners, handed_over=run.past, after=first)
    return replace(after, crm_hold_reason=run.crm_hold_reason)


@settings(max_examples=40)
@given(runs(most=14), st.data())
def test_a_delta_decides_what_a_run_over_everybody_would(run: HandoffInputs, data: Any) -> None:
    first = scarce(run)
    rows = run.users.to_dicts()
    changed = data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=2))
    for number in changed:
        rows[number] |= data.draw(person(number))
    people = pl.DataFrame(rows, schema=run.users.schema, orient="row")
    as_of = data.draw(st.sampled_from([TONIGHT, TONIGHT, TOMORROW]))
    touched = {f"u_{number}" for number in changed}
    alone = people.filter(pl.col("account_id").is_null())
    emails = alone.filter(pl.col("user_id").is_in(list(touched)))["email"]
    touched |= set(alone.filter(pl.col("email").is_in(emails.implode()))["user_id"])
    for frame in (run.users, people):
        touched |= set(frame.filter(pl.col("user_id").is_in(list(touched)))["account_id"].drop_nulls())
    # What a company's people do together may fire for the company itself, which names the best of all of them.
    grown = [
        row | ({"active_users_30d": data.draw(st.integers(3, 12))} if row["account_id"] in touched else {})
        for row in run.accounts.to_dicts()
    ]
    companies = pl.DataFrame(grown, schema=run.accounts.schema, orient="row")
    whole = later(run, first, people, as_of, companies)
    if data.draw(st.booleans()):
        whole = replace(whole, crm_hold_reason=data.draw(st.sampled_from([None, "contacts are 9 days old"])))
    part, untouched = delta(whole, first, touched)
    one, other = scarce(whole), scarce(part)
    for name in ("decisions", "handoffs", "turns", "with_room"):
        expected, found = getattr(one, name), getattr(other, name)
        assert found.equals(expected) if isinstance(found, pl.DataFrame) else found == expected
    assert pl.concat([other.candidates, untouched]).sort("candidate_key").equals(one.candidates)


FULL_OWNER = owners(("o_1", "ae"))
WAITING = users(
    *(
        {
            "user_id": f"u_{n}",
            "account_id": None,
            "email": f"u_{n}@acme.com",
            "pql_score": 99.0 - n,
            "classification": "hot",
        }
        for n in range(6)
    )
)


@pytest.mark.parametrize(
    ("as_of", "touched", "again"),
    [
        pytest.param(TONIGHT, set(), set(), id="nothing has happened"),
        pytest.param(TONIGHT, {"u_4"}, {"u_4"}, id="somebody who waits is heard of"),
        pytest.param(TOMORROW, set(), {"u_2", "u_3", "u_4", "u_5"}, id="the owner's day has turned"),
    ],
)
def test_who_waits_for_room_is_decided_again_when_something_changes(
    as_of: datetime, touched: set[str], again: set[str]
) -> None:
    run = inputs(WAITING, accounts(), team=FULL_OWNER)
    first = scarce(run)
    assert set(first.handoffs["user_id"]) == {"u_0", "u_1"}
    part, _ = delta(later(run, first, WAITING, as_of), first, touched)
    assert set(part.open_candidates["user_id"]) == again


def test_a_trigger_that_cools_down_is_looked_at_each_time() -> None:
    run = inputs(WAITING, accounts(), team=FULL_OWNER)
    first = scarce(run)
    cooling = past({"user_id": "u_5", "account_id": None, "created_at": AS_OF - timedelta(days=20)})
    part, _ = delta(replace(later(run, first, WAITING, TONIGHT), past=cooling), first, set())
    assert "u_5" in set(part.open_candidates["user_id"])


def test_a_candidate_names_whom_it_is_about_and_what_it_fired_for_whatever_they_are_called() -> None:
    names = ("u_1", "ünal", 'say "hi"', "a:b", "a b", "domain:x.example")
    for name in names:
        firing = f"hot_pql 2026-05-02T10:00:00.000000 new user:{name}"
        for subject, triggers in ((name, []), ("other", [firing])):
            row = {
                "candidate_key": "ca",
                "last_decision": "held_capacity",
                "subject_id": subject,
                "triggers": json.dumps(triggers),
            }
            waiting = pl.DataFrame(
                [row | {"user_id": None, "account_id": None}],
                schema_overrides={"user_id": pl.String, "account_id": pl.String},
            )
            found = [
                bool(
                    to_decide_again(
                        waiting.select("candidate_key", "last_decision", named=named_by(pl.col("triggers"))),
                        touched={touched},
                        past=past(),
                        desk=open_desk(FULL_OWNER, (past(),), pl.DataFrame(), rules=playbook().routing, as_of=AS_OF),
                        had_room=frozenset({"o_1"}),
                        crm_hold_reason=None,
                    )
                )
                for touched in (name, name[:-1], name + "x")
            ]
            assert found == [True, False, False], (name, triggers)
