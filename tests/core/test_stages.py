"""Activation stages and milestones."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from scoring_frames import AS_OF, NO_PQL, PLAYBOOK, accounts, users

from dagster_project.core.stage_rules import StageRules
from dagster_project.core.stages import FIRST_PQL_SCHEMA, customers, stage_users

DAY = timedelta(days=1)
SETUP = [
    {"step": "Workspace Created", "reached_at": AS_OF - 50 * DAY},
    {"step": "Profile Completed", "reached_at": AS_OF - 40 * DAY},
    {"step": "Teammate Added", "reached_at": AS_OF - 30 * DAY},
]
ACTIVATED = {"first_import_at": AS_OF - 45 * DAY, "setup_steps": SETUP[:2]}


def staged(
    user: dict[str, Any],
    *,
    account: dict[str, Any] | None = None,
    classification: str = "developing",
    first_pql: pl.DataFrame = NO_PQL,
    rules: StageRules = PLAYBOOK.stages,
) -> dict[str, Any]:
    people = users(user | ({"account_id": "a_1"} if account is not None else {}))
    return stage_users(
        people.with_columns(classification=pl.lit(classification)),
        customers(accounts(account or {})),
        first_pql,
        rules=rules,
        inactive_days=PLAYBOOK.scoring.measurement.inactive_days,
    ).row(0, named=True)


@pytest.mark.parametrize(
    ("user", "account", "classification", "stage"),
    [
        ({}, None, "developing", "signed_up"),
        (ACTIVATED, None, "developing", "activated"),
        ({"first_import_at": AS_OF - 45 * DAY, "setup_steps": SETUP[:1]}, None, "developing", "signed_up"),
        ({"setup_steps": SETUP}, None, "developing", "signed_up"),
        ({"first_integration_at": AS_OF - DAY, "setup_steps": SETUP}, None, "developing", "activated"),
        ({"first_import_at": AS_OF - DAY, "setup_steps_total": 0}, None, "developing", "activated"),
        ({}, None, "warm", "pql"),
        (ACTIVATED, None, "hot", "pql"),
        ({"has_open_opportunity": True}, {}, "hot", "opportunity"),
        ({"has_open_opportunity": True}, {"subscription_status": "paying"}, "hot", "customer"),
        ({"has_won_opportunity": True}, {}, "developing", "customer"),
        ({"subscription_status": "paying"}, None, "developing", "customer"),
        ({}, {"has_won_opportunity": True}, "developing", "customer"),
        ({"last_active_at": AS_OF - 30 * DAY}, None, "developing", "churned"),
        ({"last_active_at": AS_OF - 29 * DAY}, None, "developing", "signed_up"),
        ({"last_active_at": AS_OF - 30 * DAY}, {"subscription_status": "paying"}, "developing", "churned"),
        ({"reactivated_at": AS_OF - 13 * DAY}, None, "hot", "reactivated"),
        ({"reactivated_at": AS_OF - 14 * DAY}, None, "hot", "pql"),
        ({"reactivated_at": AS_OF - 5 * DAY, "last_active_at": AS_OF - 31 * DAY}, None, "hot", "churned"),
        ({}, {"subscription_status": "churned", "subscription_status_since": AS_OF}, "hot", "churned"),
        ({}, {"subscription_status": "churned", "subscription_status_since": AS_OF - 9 * DAY}, "hot", "reactivated"),
        *(
            (
                {"last_day_before_lately": (AS_OF - days * DAY).date()},
                {"subscription_status": "churned", "subscription_status_since": AS_OF - 20 * DAY},
                "hot",
                stage,
            )
            for days, stage in ((21, "reactivated"), (20, "reactivated"), (19, "pql"))
        ),
        (
            {"last_active_at": AS_OF - 20 * DAY},
            {"subscription_status": "churned", "subscription_status_since": AS_OF - 25 * DAY},
            "hot",
            "pql",
        ),
        ({"last_active_at": AS_OF - 20 * DAY}, {"subscription_status": "churned"}, "hot", "churned"),
        # Who was here within the last 14 days is back where nobody knows since when the CRM says churned.
        ({"last_active_at": AS_OF - 13 * DAY}, {"subscription_status": "churned"}, "hot", "reactivated"),
        ({"last_active_at": AS_OF - 14 * DAY}, {"subscription_status": "churned"}, "hot", "churned"),
        # The event with which the status came is none after it.
        (
            {"last_active_at": AS_OF - DAY},
            {"subscription_status": "churned", "subscription_status_since": AS_OF - DAY},
            "hot",
            "churned",
        ),
        # What an account is, its users are, and the date goes with it.
        ({"subscription_status": "paying"}, {"subscription_status": "free"}, "developing", "signed_up"),
        (
            {"subscription_status": "churned", "subscription_status_since": AS_OF},
            {"subscription_status": "churned"},
            "hot",
            "reactivated",
        ),
        # Days are those of the calendar, in UTC.
        ({"last_active_at": AS_OF - 30 * DAY + timedelta(hours=13)}, None, "developing", "churned"),
        ({"last_active_at": AS_OF - 29 * DAY - timedelta(hours=10)}, None, "developing", "signed_up"),
        # Half of three steps are two of them.
        (ACTIVATED | {"setup_steps_total": 3}, None, "developing", "activated"),
        (ACTIVATED | {"setup_steps": SETUP[:1], "setup_steps_total": 3}, None, "developing", "signed_up"),
    ],
)
def test_the_stage(user: dict[str, Any], account: dict[str, Any] | None, classification: str, stage: str) -> None:
    assert staged(user, account=account, classification=classification)["activation_stage"] == stage


@pytest.mark.parametrize(
    ("user", "account", "classification", "stage"),
    [
        ({}, None, "developing", "signed_up"),
        (ACTIVATED, None, "developing", "activated"),
        (ACTIVATED, None, "warm", "pql"),
        ({"had_opportunity": True}, {}, "developing", "pql"),
        ({"had_opportunity": True, "last_active_at": AS_OF - 30 * DAY}, {}, "developing", "pql"),
        ({"has_won_opportunity": True}, {}, "developing", "closed"),
        ({"had_opportunity": True, "had_won_opportunity": True}, {}, "developing", "closed"),
        ({}, {"subscription_status": "churned", "was_paying": True}, "developing", "closed"),
        ({"subscription_status": "churned", "first_paying_at": AS_OF - 9 * DAY}, None, "developing", "closed"),
        ({"first_paying_at": AS_OF - 9 * DAY}, {"subscription_status": "free"}, "developing", "signed_up"),
    ],
)
def test_the_furthest_stage_ever(
    user: dict[str, Any], account: dict[str, Any] | None, classification: str, stage: str
) -> None:
    assert staged(user, account=account, classification=classification)["funnel_stage"] == stage


def test_the_classes_that_make_a_pql_are_the_playbooks() -> None:
    hot_only = PLAYBOOK.stages.model_copy(update={"pql_classes": frozenset({"hot"})})
    stages = ("is_pql", "activation_stage", "funnel_stage")
    warm = staged(ACTIVATED, classification="warm", rules=hot_only)
    assert [warm[name] for name in stages] == [False, "activated", "activated"]
    hot = staged(ACTIVATED, classification="hot", rules=hot_only)
    assert [hot[name] for name in stages] == [True, "pql", "pql"]


def test_activation_is_dated_by_the_later_of_its_halves() -> None:
    assert staged(ACTIVATED)["activated_at"] == AS_OF - 40 * DAY
    late = {"first_import_at": AS_OF - 3 * DAY, "first_integration_at": AS_OF - 2 * DAY, "setup_steps": SETUP}
    assert staged(late)["activated_at"] == AS_OF - 3 * DAY
    mixed = {"first_import_at": AS_OF - 60 * DAY, "setup_steps": [SETUP[2], SETUP[0], SETUP[1]]}
    assert staged(mixed)["activated_at"] == AS_OF - 40 * DAY, "by the second step that was done, however they are told"


def test_milestones_are_in_the_order_in_which_they_were_reached() -> None:
    reached = staged({**ACTIVATED, "first_invite_at": AS_OF - 60 * DAY}, classification="hot")["milestones"]
    assert [(milestone["name"], milestone["reached_at"]) for milestone in reached] == [
        ("first_invite", AS_OF - 60 * DAY),
        ("setup:Workspace Created", AS_OF - 50 * DAY),
        ("first_import", AS_OF - 45 * DAY),
        ("activated", AS_OF - 40 * DAY),
        ("setup:Profile Completed", AS_OF - 40 * DAY),
        ("first_pql", AS_OF),
    ]
    assert staged({})["milestones"] == []
    at_once = {"first_invite_at": AS_OF, "first_integration_at": AS_OF, "first_import_at": AS_OF}
    assert [milestone["name"] for milestone in staged(at_once)["milestones"]] == [
        "first_import",
        "first_integration",
        "first_invite",
    ], "of one moment by their names, so that the same is told each time"


def test_the_first_pql_keeps_its_date() -> None:
    then = datetime(2026, 1, 5)
    known = pl.DataFrame({"user_id": ["u_1"], "first_pql_at": [then]}, schema=FIRST_PQL_SCHEMA)
    for now in ("developing", "hot"):
        reached = staged({}, classification=now, first_pql=known)["milestones"]
        assert reached == [{"name": "first_pql", "reached_at": then}]


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ({}, False),
        ({"subscription_status": "paying"}, True),
        ({"subscription_status": "trial"}, False),
        ({"has_won_opportunity": True}, True),
    ],
)
def test_a_customer_pays_or_has_bought(account: dict[str, Any], expected: bool) -> None:
    assert customers(accounts(account))["is_customer"].to_list() == [expected]
