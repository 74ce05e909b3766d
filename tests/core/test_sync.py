"""What has to be written elsewhere: only what differs, and never an unknown value."""

import json
from datetime import datetime
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.core.crm_field_rules import AccountField, ContactField, CrmFieldRules
from dagster_project.core.crm_fields import FIELDS, account_fields, contact_fields
from dagster_project.core.sync import (
    PLAN_SCHEMA,
    FieldUpdate,
    Standing,
    Target,
    changed_records,
    counts_of,
    differences,
    kept_by_policy,
    plan_records,
    with_digest,
    without_confirmed,
)

TARGET = Target(
    {"pql_score": "Score__c", "usage_tier": "Tier__c", "pls_segment": None, "pls_scored_at": "Scored_At__c"}
)
KINDS = {
    "object_id": pl.String(),
    "pql_score": pl.Float64(),
    "usage_tier": pl.List(pl.String()),
    "pls_segment": pl.String(),
    "pls_scored_at": pl.String(),
}


def wanted(desired: dict[str, dict[str, Any]], target: Target = TARGET) -> pl.DataFrame:
    rows = [{"object_id": object_id, **fields} for object_id, fields in desired.items()]
    return with_digest(pl.DataFrame(rows, schema=KINDS, orient="row"), target)


def planned(
    desired: dict[str, Any], confirmed: dict[str, Any] | None = None, parked: str | None = None
) -> FieldUpdate | None:
    """The update of one contact, if there is one."""
    standing = Standing({} if confirmed is None else {"c_1": confirmed}, parked={"c_1": parked} if parked else {})
    [row] = plan_records(wanted({"c_1": desired}), standing, TARGET).to_dicts()
    if row["operation"] != "update":
        return None
    return FieldUpdate("c_1", json.loads(row["fields"]), row["fingerprint"])


def test_fields_are_written_under_the_names_of_the_destination() -> None:
    update = planned({"pql_score": 81.0, "usage_tier": ["high"], "pls_segment": "enterprise", "pls_scored_at": "now"})
    assert update is not None
    assert (update.object_id, update.fields) == (
        "c_1",
        {"Score__c": 81.0, "Tier__c": ["high"], "Scored_At__c": "now"},
    )


def test_only_what_differs_is_written() -> None:
    held = {"Score__c": 81.0, "Tier__c": ["high"], "Theirs__c": "x"}
    update = planned({"pql_score": 81.0, "usage_tier": ["low"]}, held)
    assert update is not None
    assert update.fields == {"Tier__c": ["low"]}
    assert planned({"pql_score": 81.0, "usage_tier": ["high"]}, held) is None


def test_an_unknown_value_is_never_written_and_an_empty_one_is() -> None:
    held = {"Score__c": 81.0, "Tier__c": ["a"]}
    assert planned({"pql_score": None, "usage_tier": None}, held) is None
    assert planned({"pql_score": None}) is None
    update = planned({"pql_score": None, "usage_tier": []}, held)
    assert update is not None
    assert update.fields == {"Tier__c": []}


def test_zero_is_a_known_value() -> None:
    update = planned({"pql_score": 0.0})
    assert update is not None
    assert update.fields == {"Score__c": 0.0}


def test_the_moment_of_scoring_rides_along_and_is_no_reason_to_write() -> None:
    held = {"Score__c": 81.0, "Scored_At__c": "yesterday"}
    assert planned({"pql_score": 81.0, "pls_scored_at": "today"}, held) is None
    assert planned({"pls_scored_at": "today"}) is None
    update = planned({"pql_score": 82.0, "pls_scored_at": "today"}, held)
    assert update is not None
    assert update.fields == {"Score__c": 82.0, "Scored_At__c": "today"}


def test_the_fingerprint_tells_what_makes_it_necessary_and_not_when() -> None:
    first, again, other = (
        planned({"pql_score": score, "pls_scored_at": when})
        for score, when in ((81.0, "today"), (81.0, "tomorrow"), (82.0, "today"))
    )
    assert first and again and other
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_a_refused_update_is_tried_again_only_when_it_changes() -> None:
    refused = planned({"pql_score": 81.0, "pls_scored_at": "today"})
    assert refused is not None
    assert planned({"pql_score": 81.0, "pls_scored_at": "tomorrow"}, parked=refused.fingerprint) is None
    assert planned({"pql_score": 82.0}, parked=refused.fingerprint) is not None


def test_records_are_looked_at_again_when_a_value_or_the_mapping_changes_and_not_for_a_rider() -> None:
    before = wanted({"c_1": {"pql_score": 1.0, "usage_tier": ["a", "b"], "pls_scored_at": "monday"}})
    known = before.select("object_id", "digest")

    def looked_at(target: Target = TARGET, **changed: Any) -> bool:
        fields = {"pql_score": 1.0, "usage_tier": ["a", "b"], "pls_scored_at": "monday"} | changed
        return not changed_records(wanted({"c_1": fields}, target), known).is_empty()

    assert not looked_at()
    assert not looked_at(pls_scored_at="tuesday", pls_segment="smb")
    assert looked_at(pql_score=1.1)
    assert looked_at(usage_tier=["b", "a"])
    assert looked_at(usage_tier=None)
    assert looked_at(Target({**TARGET.names, "usage_tier": "Other__c"}))
    assert looked_at(Target(TARGET.names, {"pql_score": "if_empty"}))


def test_a_plan_is_shown_field_by_field() -> None:
    plan = plan_records(
        wanted({"c_1": {"pql_score": 2.0, "usage_tier": ["a"]}, "c_2": {"pql_score": 1.0}}),
        Standing({"c_1": {"Score__c": 1.0}, "c_2": {"Score__c": 1.0}}),
        TARGET,
    )
    assert counts_of(plan) == {"update": 1}
    assert differences(plan).rows() == [
        ("c_1", "update", "Score__c", "1.0", "2.0"),
        ("c_1", "update", "Tier__c", None, '["a"]'),
    ]


@pytest.mark.parametrize("ours", ["pls_motion", "features_used"])
def test_what_has_no_order_cannot_only_rise(ours: str) -> None:
    with pytest.raises(ValueError, match="its values have no order"):
        CrmFieldRules(top_signals=1, contact={}, account={}, policies={"contact": {ours: "if_higher"}})


def test_without_a_limit_of_its_own_a_crm_has_that_of_the_others() -> None:
    rules = CrmFieldRules(top_signals=1, contact={}, account={}, max_changed_records={"local": None, "other": 7})
    assert [rules.changes_allowed(crm) for crm in ("local", "hubspot")] == [None, 7]


RECORDS = st.dictionaries(
    st.sampled_from(["c_1", "c_2", "c_3"]),
    st.fixed_dictionaries(
        {},
        optional={
            "pql_score": st.none() | st.floats(-3, 3),
            "usage_tier": st.none() | st.lists(st.text(max_size=2), max_size=2),
            "pls_segment": st.none() | st.text(max_size=2),
            "pls_scored_at": st.none() | st.text(max_size=2),
        },
    ),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(RECORDS, RECORDS)
def test_once_taken_nothing_is_left_to_write(before: dict[str, Any], desired: dict[str, Any]) -> None:
    held = {
        object_id: {TARGET.names[ours]: value for ours, value in record.items() if TARGET.names[ours]}
        for object_id, record in before.items()
    }
    for row in plan_records(wanted(desired), Standing(held), TARGET).to_dicts():
        fields = json.loads(row["fields"] or "{}")
        assert None not in fields.values()
        assert fields.keys() <= set(TARGET.written.values())
        held[row["object_id"]] = held.get(row["object_id"], {}) | fields
    again = plan_records(wanted(desired), Standing(held), TARGET)
    assert set(again["operation"]) <= {"none"}


# --- what should stand there ----------------------------------------------------------------------

AS_OF = datetime(2026, 5, 2, 10, 0)
_EXPLANATION = pl.List(pl.Struct({"signal": pl.String, "value": pl.String, "contribution": pl.Float64}))
_MILESTONES = pl.List(pl.Struct({"name": pl.String, "reached_at": pl.Datetime("us")}))
USER: dict[str, Any] = {
    "user_id": "u_1",
    "contact_id": "c_1",
    "pql_score": 81.0,
    "classification": "hot",
    "last_active_at": datetime(2026, 5, 1, 23, 59),
    "features_used": ["alerts", "reports"],
    "activation_stage": "activated",
    "milestones": [{"name": "signed_up", "reached_at": datetime(2026, 3, 1, 8, 0)}],
    "usage_tier": "high",
    "segment": "smb",
    "motion": "sales_assisted",
    "explanation": [
        {"signal": "logins", "value": "12", "contribution": 4.0},
        {"signal": "fit_multiplier", "value": "1.2", "contribution": 13.0},
        {"signal": "invites", "value": "3", "contribution": 9.0},
        {"signal": "inactive", "value": "2 days", "contribution": -5.0},
        {"signal": "alerts", "value": "1", "contribution": 4.0},
    ],
    "as_of": AS_OF,
}


def users(*changes: dict[str, Any]) -> pl.DataFrame:
    kinds: dict[str, Any] = {
        "explanation": _EXPLANATION,
        "milestones": _MILESTONES,
        "features_used": pl.List(pl.String),
        "last_active_at": pl.Datetime("us"),
    }
    return pl.DataFrame([USER | changed for changed in changes], schema_overrides=kinds, orient="row")


def test_a_contact_is_told_in_plain_values() -> None:
    assert contact_fields(users({}), top_signals=2).to_dicts() == [
        {
            "object_id": "c_1",
            "create_as": None,
            "pql_score": 81.0,
            "pql_classification": "hot",
            "last_active": "2026-05-01",
            "features_used": ["alerts", "reports"],
            "activation_status": "activated",
            "activation_milestones": [{"name": "signed_up", "date": "2026-03-01"}],
            "usage_tier": "high",
            "pls_segment": "smb",
            "pls_motion": "sales_assisted",
            "pls_top_signals": ["invites: 3", "alerts: 1"],
            "pls_scored_at": "2026-05-02T10:00:00Z",
        }
    ]


def test_what_adds_nothing_to_a_score_is_no_top_signal() -> None:
    [fields] = contact_fields(users({}), top_signals=9).to_dicts()
    assert fields["pls_top_signals"] == ["invites: 3", "alerts: 1", "logins: 12"]


def test_what_is_not_known_of_a_user_is_unknown_and_not_empty() -> None:
    names = ("last_active_at", "features_used", "milestones", "explanation", "usage_tier")
    fields = contact_fields(users({"contact_id": "c_2", **dict.fromkeys(names)}), top_signals=2).to_dicts()[0]
    theirs = ("last_active", "features_used", "activation_milestones", "pls_top_signals", "usage_tier")
    assert [fields[name] for name in theirs] == [None] * 5
    assert contact_fields(users({"milestones": []}), 2)["activation_milestones"].to_list() == [[]]


def test_of_several_users_of_one_contact_the_best_speaks_for_it() -> None:
    found = contact_fields(
        users(
            {"user_id": "u_3", "pql_score": 10.0, "segment": "low"},
            {"user_id": "u_2", "pql_score": 90.0, "segment": "second"},
            {"user_id": "u_1", "pql_score": 90.0, "segment": "first"},
            {"user_id": "u_0", "pql_score": 99.0, "contact_id": None},
        ),
        top_signals=1,
    )
    assert found.select("object_id", "pls_segment").rows() == [("c_1", "first")]


def test_a_contact_is_made_only_of_the_classes_that_are_named_and_of_nobody_who_said_no() -> None:
    people = users(
        *({"user_id": name, "contact_id": None, "email": f" {name}@Acme.com", "may_be_made": may, "classification": of}
          for name, may, of in (("u_1", True, "hot"), ("u_2", False, "hot"), ("u_3", True, "warm"))),
        {"email": "ann@acme.com", "may_be_made": True},
    )  # fmt: skip
    assert contact_fields(people, 1)["object_id"].to_list() == ["c_1"]
    made = contact_fields(people, 1, made_of=("hot",)).sort("object_id").select("object_id", "create_as").rows()
    assert made == [("c_1", None), ("email:u_1@acme.com", '{"email":"u_1@acme.com"}')]
    kept = contact_fields(people, 1, made_of=("hot",), made=("email:u_2@acme.com", "email:u_3@acme.com"))
    assert sorted(kept["object_id"]) == ["c_1", "email:u_1@acme.com", "email:u_3@acme.com"], "of any class, once made"


def test_only_accounts_that_the_crm_knows_are_told() -> None:
    account = {"account_id": "a_1", "pqa_score": 70.0, "quadrant": "expand", "segment": "enterprise", "in_crm": True}
    rows = [account, account | {"account_id": "a_2", "in_crm": False}, account | {"account_id": "a_3", "in_crm": None}]
    frame = pl.DataFrame([row | {"active_users_30d": 4, "as_of": AS_OF} for row in rows])
    assert account_fields(frame).to_dicts() == [
        {
            "object_id": "a_1",
            "pqa_score": 70.0,
            "pqa_quadrant": "expand",
            "pls_segment": "enterprise",
            "active_users_30d": 4,
            "pls_scored_at": "2026-05-02T10:00:00Z",
        }
    ]


def test_every_field_that_can_be_mapped_can_be_set_up_in_a_crm() -> None:
    assert {*get_args(ContactField), *get_args(AccountField)} == set(FIELDS)


LISTS = Target({"features_used": "Features"}, {"features_used": "if_empty"})


def test_a_list_without_items_is_an_empty_place() -> None:
    assert kept_by_policy({"features_used": ["a"]}, {"Features": []}, LISTS) == set()
    assert kept_by_policy({"features_used": ["a"]}, {"Features": ["b"]}, LISTS) == {"Features"}


def test_a_list_that_has_lost_one_and_got_another_has_fallen() -> None:
    target = Target({"features_used": "Features"})
    rows = with_digest(pl.DataFrame([{"object_id": "c_1", "features_used": ["alerts", "reports"]}]), target)
    held = Standing({"c_1": {"Features": ["alerts", "exports"]}}, hold_decreases="silent")
    assert plan_records(rows, held, target)["operation"].to_list() == ["skip"]


def test_of_a_contact_that_was_made_what_we_wrote_is_what_stands_there() -> None:
    target = Target({"plan": "Plan"}, {"plan": "if_empty"})
    rows = with_digest(pl.DataFrame([{"object_id": "email:a@b.c", "plan": "new", "create_as": "{}"}]), target)
    plan = plan_records(rows, Standing({"email:a@b.c": {"Plan": "old"}}), target)
    assert plan.select("operation", "reason").row(0) == ("none", "left as they are: Plan")


@pytest.mark.parametrize(
    ("held", "left"),
    [
        ({"Score": 81.0, "Tier": "high", "At": "before"}, 0),
        ({"Score": 81.0, "Tier": "low"}, 1),
        ({"Tier": "high"}, 1),
        (None, 1),
    ],
)
def test_a_record_is_done_with_when_all_but_the_riders_is_confirmed(held: dict[str, Any] | None, left: int) -> None:
    target = Target({"pql_score": "Score", "usage_tier": "Tier", "pls_scored_at": "At"})
    fields = json.dumps({"Score": 81.0, "Tier": "high", "At": "now"})
    row = dict.fromkeys(PLAN_SCHEMA) | {"object_id": "c_1", "operation": "update", "fields": fields}
    plan = pl.DataFrame([row], schema=PLAN_SCHEMA, orient="row")
    assert without_confirmed(plan, {} if held is None else {"c_1": held}, target).height == left
