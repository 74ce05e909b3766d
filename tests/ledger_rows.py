"""Builders of what a ledger keeps: an ordinary handoff with its decision, and a plan of them."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from dagster_project.core.candidates import CANDIDATE_SCHEMA
from dagster_project.core.handoff_plan import DECISION_SCHEMA, HANDOFF_SCHEMA, HandoffPlan
from dagster_project.core.routing import TURN_SCHEMA
from dagster_project.core.triggers import STATE_SCHEMA
from dagster_project.ledger_writing import Request

NOW = datetime(2026, 5, 2, 10, 0)
LATER = NOW + timedelta(hours=1)


def handoff(**changed: Any) -> dict[str, Any]:
    """A handoff that waits to be sent."""
    return {
        "handoff_id": "ho_1",
        "candidate_key": "ca_1",
        "user_id": "u_1",
        "account_id": "a_1",
        "trigger": "hot_pql",
        "triggers": ["hot_pql", "team_growth"],
        "priority": "P0",
        "handoff_type": "immediate outreach",
        "recipient_id": "o_1",
        "due_at": NOW + timedelta(hours=1),
        "package_markdown": "## 🔥 Hot PQL Alert: Acme\n",
        "package_blocks": "[]",
        "status": "pending",
        "classification": "hot",
        "created_at": NOW,
    } | changed


def state(**changed: Any) -> dict[str, Any]:
    """A trigger that has fired."""
    return {
        "subject_type": "user",
        "subject_id": "u_1",
        "trigger": "hot_pql",
        "occurrence": "2026-05-02T10:00:00.000000",
        "is_armed": False,
        "changed_at": NOW,
    } | changed


def candidate(**changed: Any) -> dict[str, Any]:
    """A candidate that is held."""
    return {
        "candidate_key": "ca_9",
        "subject_type": "user",
        "subject_id": "u_9",
        "user_id": "u_9",
        "account_id": None,
        "triggers": ["limit_ticket"],
        "priority": "P2",
        "explicit_request": True,
        "first_seen_at": NOW,
        "last_decision": "held_capacity",
    } | changed


def plan(
    *handoffs: dict[str, Any],
    states: tuple[dict[str, Any], ...] = (),
    candidates: tuple[dict[str, Any], ...] = (),
    turns: tuple[dict[str, Any], ...] = (),
) -> HandoffPlan:
    """A plan that sends these handoffs, each with its decision."""
    decisions = [
        {name: row[name] for name in ("candidate_key", "handoff_id", "user_id", "account_id", "triggers", "priority")}
        | {"decision_id": f"de_{row['handoff_id']}", "decision": "sent", "reason": "to o_1", "decided_at": NOW}
        for row in handoffs
    ]
    return HandoffPlan(
        decisions=pl.DataFrame(decisions, schema=DECISION_SCHEMA, orient="row"),
        handoffs=pl.DataFrame(list(handoffs), schema=HANDOFF_SCHEMA, orient="row"),
        states=pl.DataFrame(list(states), schema=STATE_SCHEMA, orient="row"),
        candidates=pl.DataFrame(list(candidates), schema=CANDIDATE_SCHEMA, orient="row"),
        turns=pl.DataFrame(list(turns), schema=TURN_SCHEMA, orient="row"),
    )


def request(**changed: Any) -> Request:
    """An update of a contact's score."""
    values = {
        "destination": "crm:local",
        "object_type": "contact",
        "object_id": "c_1",
        "operation": "update",
        "payload": '{"pql_score": 81.0}',
        "payload_hash": "h81",
    }
    return Request(**(values | changed))
