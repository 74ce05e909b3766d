"""Triggers: each condition of section 6, and that only its edge fires."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from handoff_frames import AS_OF, LATER, NOTHING, accounts, playbook, users

from dagster_project.core.triggers import conditions, edges, stood_before

WEEK_BEFORE = AS_OF - timedelta(days=7)
CLICKED = WEEK_BEFORE - timedelta(days=1)


def fired(
    person: dict[str, Any], company: dict[str, Any] | None = None, *, states: pl.DataFrame = NOTHING
) -> list[str]:
    current = conditions(users(person), accounts(company or {}), playbook())
    return edges(current, states, AS_OF).fired["trigger"].to_list()


def states_after(person: dict[str, Any], *, states: pl.DataFrame = NOTHING) -> pl.DataFrame:
    return edges(conditions(users(person), accounts({}), playbook()), states, AS_OF).states


@pytest.mark.parametrize(
    ("person", "company", "expected"),
    [
        ({"pql_score": 80.0}, {}, []),
        ({"pql_score": 80.1}, {}, ["hot_pql"]),
        ({"pricing_visits": 2}, {}, []),
        ({"pricing_visits": 3}, {}, ["pricing_visits"]),
        ({}, {"active_users_30d": 4}, []),
        ({}, {"active_users_30d": 5}, ["team_growth"]),
        ({"last_upgrade_click_at": AS_OF, "usage_tier": "medium"}, {}, []),
        ({"last_upgrade_click_at": AS_OF, "usage_tier": "high"}, {}, ["upgrade_intent"]),
        ({"last_upgrade_click_at": None, "usage_tier": "high"}, {}, []),
        ({"last_limit_contact_at": AS_OF}, {}, ["limit_ticket"]),
        ({"last_sales_request_at": AS_OF}, {}, ["hand_raise"]),
        ({"first_event_at": AS_OF - timedelta(days=29)}, {"segment": "enterprise"}, ["enterprise_signup"]),
        ({"first_event_at": AS_OF - timedelta(days=30)}, {"segment": "enterprise"}, []),
        ({"first_event_at": AS_OF}, {"is_target_account": True}, ["enterprise_signup"]),
        ({"first_event_at": AS_OF}, {}, []),
        ({"first_event_at": AS_OF, "account_id": None}, {"segment": "enterprise"}, []),
        ({"pql_score": None, "pricing_visits": None, "usage_tier": None}, {"active_users_30d": None}, []),
    ],
)
def test_a_condition_fires_from_its_bound(person: dict[str, Any], company: dict[str, Any], expected: list[str]) -> None:
    assert fired(person, company) == expected


def test_a_score_fires_again_only_after_it_was_below_75() -> None:
    hot = states_after({"pql_score": 85.0})
    assert fired({"pql_score": 90.0}, states=hot) == []
    dipped = states_after({"pql_score": 75.0}, states=hot)
    assert fired({"pql_score": 90.0}, states=dipped) == []
    cooled = states_after({"pql_score": 74.9}, states=hot)
    assert fired({"pql_score": 90.0}, states=cooled) == ["hot_pql"]


def test_a_run_for_a_past_moment_does_not_make_old_news_new() -> None:
    hot = states_after({"pql_score": 85.0})
    before = conditions(users({"pql_score": 20.0}), accounts({}), playbook())
    past = edges(before, hot, WEEK_BEFORE).states
    assert fired({"pql_score": 90.0}, states=past) == []
    assert past.equals(hot.sort("subject_type", "subject_id", "trigger"))
    cooled = states_after({"pql_score": 69.6}, states=hot)
    level = conditions(users({"pql_score": 85.0}), accounts({}), playbook())
    assert edges(level, cooled, WEEK_BEFORE).fired.is_empty(), "it was hot then, which has been told"


def test_visits_fire_again_after_they_were_fewer() -> None:
    often = states_after({"pricing_visits": 4})
    assert fired({"pricing_visits": 5}, states=often) == []
    assert fired({"pricing_visits": 3}, states=states_after({"pricing_visits": 2}, states=often)) == ["pricing_visits"]


def test_only_a_later_event_is_a_new_edge() -> None:
    asked = states_after({"last_sales_request_at": AS_OF})
    assert fired({"last_sales_request_at": AS_OF}, states=asked) == []
    assert fired({"last_sales_request_at": AS_OF - timedelta(hours=5)}, states=asked) == []
    assert fired({"last_sales_request_at": AS_OF + timedelta(microseconds=1)}, states=asked) == ["hand_raise"]


def test_an_upgrade_click_waits_until_usage_is_high() -> None:
    click = {"last_upgrade_click_at": AS_OF - timedelta(days=2)}
    waiting = states_after(click | {"usage_tier": "low"})
    assert fired(click | {"usage_tier": "high"}, states=waiting) == ["upgrade_intent"]


def test_a_sign_up_fires_once_per_user() -> None:
    here = {"first_event_at": AS_OF - timedelta(days=1)}
    signed_up = edges(conditions(users(here), accounts({"segment": "enterprise"}), playbook()), NOTHING, AS_OF).states
    assert fired(here, {"segment": "enterprise"}, states=signed_up) == []


def test_a_switched_off_trigger_has_no_condition() -> None:
    rules = playbook()
    hot = rules.handoffs.triggers.hot_pql.model_copy(update={"enabled": False})
    triggers = rules.handoffs.triggers.model_copy(update={"hot_pql": hot})
    off = replace(rules, handoffs=rules.handoffs.model_copy(update={"triggers": triggers}))
    assert "hot_pql" not in conditions(users({"pql_score": 99.0}), accounts({}), off)["trigger"].to_list()


def test_a_subject_that_is_absent_keeps_its_state() -> None:
    hot = states_after({"pql_score": 85.0})
    gone = edges(conditions(users(), accounts(), playbook()), hot, LATER).states
    assert gone.equals(hot)


def test_another_episode_of_a_level_is_another_occurrence() -> None:
    current = conditions(users({"pql_score": 85.0}), accounts({}), playbook())
    moments = [edges(current, NOTHING, at).fired["occurrence"][0] for at in (AS_OF, LATER)]
    assert [datetime.fromisoformat(moment) for moment in moments] == [AS_OF, LATER]


def test_what_held_at_the_baseline_stood_before() -> None:
    earlier = conditions(
        users({"pql_score": 85.0, "last_sales_request_at": AS_OF - timedelta(days=8)}),
        accounts({}),
        playbook(),
    )
    now = {"pql_score": 88.0, "pricing_visits": 3, "last_sales_request_at": AS_OF - timedelta(days=8)}
    same = edges(conditions(users(now), accounts({}), playbook()), NOTHING, AS_OF).fired
    assert dict(stood_before(same, earlier, WEEK_BEFORE).select("trigger", "stood_before").iter_rows()) == {
        "hot_pql": True,
        "hand_raise": True,
        "pricing_visits": False,
    }
    again = edges(conditions(users(now | {"last_sales_request_at": AS_OF}), accounts({}), playbook()), NOTHING, AS_OF)
    marked = dict(stood_before(again.fired, earlier, WEEK_BEFORE).select("trigger", "stood_before").iter_rows())
    assert marked["hand_raise"] is False


def test_a_ticket_stood_since_its_date_though_the_crm_told_of_it_later() -> None:
    unknown_then = conditions(users({}), accounts({}), playbook())
    for opened, was_there in ((WEEK_BEFORE - timedelta(days=5), True), (WEEK_BEFORE + timedelta(hours=1), False)):
        now = conditions(users({"last_limit_contact_at": opened}), accounts({}), playbook())
        fired = edges(now, NOTHING, AS_OF).fired
        assert stood_before(fired, unknown_then, WEEK_BEFORE)["stood_before"].to_list() == [was_there]


def test_a_click_stands_only_since_usage_is_high_as_well() -> None:
    low_then = conditions(users({"usage_tier": "low", "last_upgrade_click_at": CLICKED}), accounts({}), playbook())
    high_now = conditions(users({"usage_tier": "high", "last_upgrade_click_at": CLICKED}), accounts({}), playbook())
    fired = edges(high_now, NOTHING, AS_OF).fired
    assert stood_before(fired, low_then, WEEK_BEFORE)["stood_before"].to_list() == [False]


def test_a_frame_that_lacks_a_column_is_not_an_empty_one() -> None:
    current = conditions(users({}), accounts({}), playbook())
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        edges(current, pl.DataFrame({"subject_type": ["user"]}), AS_OF)
