"""What has to be written elsewhere: only what differs, and never an unknown value."""

import json
from datetime import datetime
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.core.crm_fields import account_fields, contact_fields
from dagster_project.core.sync import FieldUpdate, plan_sync

NAMES = {"pql_score": "Score__c", "usage_tier": "Tier__c", "pls_segment": None, "pls_scored_at": "Scored_At__c"}


def planned(
    desired: dict[str, Any], confirmed: dict[str, Any] | None = None, parked: str | None = None
) -> FieldUpdate | None:
    """The update of one contact, if there is one."""
    held = {} if confirmed is None else {"c_1": confirmed}
    updates = plan_sync({"c_1": desired}, held, {"c_1": parked} if parked else {}, names=NAMES)
    assert len(updates) < 2
    return updates[0] if updates else None


def test_fields_are_written_under_the_names_of_the_destination() -> None:
    update = planned({"pql_score": 81.0, "usage_tier": "high", "pls_segment": "enterprise", "pls_scored_at": "now"})
    assert update is not None
    assert (update.object_id, update.fields) == (
        "c_1",
        {"Score__c": 81.0, "Tier__c": "high", "Scored_At__c": "now"},
    )


def test_only_what_differs_is_written() -> None:
    held = {"Score__c": 81.0, "Tier__c": "high", "Theirs__c": "x"}
    update = planned({"pql_score": 81.0, "usage_tier": "low"}, held)
    assert update is not None
    assert update.fields == {"Tier__c": "low"}
    assert planned({"pql_score": 81.0, "usage_tier": "high"}, held) is None


def test_an_unknown_value_is_never_written_and_an_empty_one_is() -> None:
    held = {"Score__c": 81.0, "Tier__c": ["a"]}
    assert planned({"pql_score": None, "usage_tier": None}, held) is None
    assert planned({"pql_score": None}) is None
    update = planned({"pql_score": None, "usage_tier": []}, held)
    assert update is not None
    assert update.fields == {"Tier__c": []}


def test_zero_and_false_are_known_values() -> None:
    update = planned({"pql_score": 0.0, "usage_tier": False})
    assert update is not None
    assert update.fields == {"Score__c": 0.0, "Tier__c": False}


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


def test_updates_come_in_the_order_of_their_ids() -> None:
    desired = {object_id: {"pql_score": 1.0} for object_id in ("c_3", "c_1", "c_2")}
    assert [update.object_id for update in plan_sync(desired, {}, {}, names=NAMES)] == ["c_1", "c_2", "c_3"]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-3, 3),
    st.text(max_size=2),
    st.lists(st.text(max_size=2), max_size=2),
)
RECORDS = st.dictionaries(
    st.sampled_from(["c_1", "c_2", "c_3"]), st.dictionaries(st.sampled_from(list(NAMES)), VALUES, max_size=4)
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(RECORDS, RECORDS)
def test_once_taken_nothing_is_left_to_write(before: dict[str, Any], desired: dict[str, Any]) -> None:
    held = {
        object_id: {NAMES[ours]: value for ours, value in record.items() if NAMES[ours]}
        for object_id, record in before.items()
    }
    for update in plan_sync(desired, held, {}, names=NAMES):
        assert None not in update.fields.values()
        assert update.fields.keys() <= {name for name in NAMES.values() if name}
        held[update.object_id] = held.get(update.object_id, {}) | update.fields
    remembered = json.loads(json.dumps(held))
    assert plan_sync(desired, remembered, {}, names=NAMES) == []


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
    kinds = {"explanation": _EXPLANATION, "milestones": _MILESTONES, "features_used": pl.List(pl.String)}
    return pl.DataFrame([USER | changed for changed in changes], schema_overrides=kinds, orient="row")


def test_a_contact_is_told_in_plain_values() -> None:
    assert contact_fields(users({}), top_signals=2) == {
        "c_1": {
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
    }


def test_what_adds_nothing_to_a_score_is_no_top_signal() -> None:
    fields = contact_fields(users({}), top_signals=9)["c_1"]
    assert fields["pls_top_signals"] == ["invites: 3", "alerts: 1", "logins: 12"]


def test_what_is_not_known_of_a_user_is_unknown_and_not_empty() -> None:
    names = ("last_active_at", "features_used", "milestones", "explanation", "usage_tier")
    fields = contact_fields(users({}, {"contact_id": "c_2", **dict.fromkeys(names)}), top_signals=2)["c_2"]
    theirs = ("last_active", "features_used", "activation_milestones", "pls_top_signals", "usage_tier")
    assert [fields[name] for name in theirs] == [None] * 5
    assert contact_fields(users({"milestones": []}), 2)["c_1"]["activation_milestones"] == []


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
    assert {contact_id: fields["pls_segment"] for contact_id, fields in found.items()} == {"c_1": "first"}


def test_only_accounts_that_the_crm_knows_are_told() -> None:
    account = {"account_id": "a_1", "pqa_score": 70.0, "quadrant": "expand", "segment": "enterprise", "in_crm": True}
    rows = [account, account | {"account_id": "a_2", "in_crm": False}, account | {"account_id": "a_3", "in_crm": None}]
    frame = pl.DataFrame([row | {"active_users_30d": 4, "as_of": AS_OF} for row in rows])
    assert account_fields(frame) == {
        "a_1": {
            "pqa_score": 70.0,
            "pqa_quadrant": "expand",
            "pls_segment": "enterprise",
            "active_users_30d": 4,
            "pls_scored_at": "2026-05-02T10:00:00Z",
        }
    }
