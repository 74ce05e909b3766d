"""What decisions ask of the CRM (tasks, owners, tiers, notes, fields): carried out after they are in the ledger."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.actions import ActionReport, carry_out
from dagster_project.core.actions import ActionKind
from dagster_project.core.threads import OPEN
from dagster_project.defs.activation import crm_fields
from dagster_project.defs.delivery import contact_hold, delivered_handoffs
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.defs.stops import task_stops
from dagster_project.defs.tables import markdown_table
from dagster_project.defs.transform import OWNERS
from dagster_project.no_contact import blocked_people

ABOUT_CONTACTING: frozenset[ActionKind] = frozenset({"task", "note", "assign_owner"})
"""Kinds that send somebody to a person: no-contact flags are asked again before each, and before nurture goes on."""


_EVER = datetime(1970, 1, 1)
"""Before all handoffs: a task may be open for long."""


@dg.asset(
    key=["crm", "actions"],
    deps=[delivered_handoffs, crm_fields],
    group_name="activation",
    owners=OWNERS,
    kinds={"crm"},
    pool=WAREHOUSE_POOL,
)
def crm_actions(workplace: Workplace) -> dg.MaterializeResult:
    """Tasks, owners, tiers, notes and field changes that handoffs and rules asked for, each done once in the CRM.

    A task whose person has said no since says so.
    """
    with workplace.ledger() as ledger:
        begun = ledger.open_actions(workplace.settings.crm_destination)
        with workplace.connect(stays_open=True) as connection:
            stops = task_stops(ledger, connection, ledger.threads_since(_EVER, OPEN), workplace)
        if not begun and not stops:
            return dg.MaterializeResult(metadata={"asked for": 0})
        blocked, held = _stopped(workplace, begun)
        report = carry_out(
            ledger,
            workplace.crm(),
            stops,
            rules=workplace.playbook.crm_fields,
            now=workplace.now(),
            blocked=blocked,
            held=held,
        )
    if report.refused:
        workplace.connect_anew()  # a field may not be there any more
    return dg.MaterializeResult(metadata={"asked for": len(begun) + len(stops), **_told(report)})


def _stopped(workplace: Workplace, begun: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """By its key, why an action must not be done any more; and why one waits, while nobody knows whether it may be."""
    actions = {key: json.loads(payload) for key, payload in begun.items()}
    concerned = {key: action["payload"] for key, action in actions.items() if _is_about_contacting(action)}
    people = {key: payload["user_id"] for key, payload in concerned.items() if "user_id" in payload}
    with workplace.connect(stays_open=True) as connection:
        blocked = blocked_people(connection, sorted(set(people.values())))
        hold = contact_hold(connection, workplace)
    held = dict.fromkeys(concerned, hold) if hold is not None else {}
    return {key: blocked[user_id] for key, user_id in people.items() if user_id in blocked}, held


def _is_about_contacting(action: Mapping[str, Any]) -> bool:
    return action["kind"] in ABOUT_CONTACTING or action["payload"].get("fields", {}).get("pause_nurture") is False


def _told(report: ActionReport) -> dict[str, dg.MetadataValue | int]:
    told: dict[str, dg.MetadataValue | int] = {"done": len(report.done)}
    for name in ("needless", "refused", "failed", "held"):
        reasons = getattr(report, name)
        told[name] = len(reasons)
        if reasons:
            rows = [{"action": key, "why": why} for key, why in list(reasons.items())[:20]]
            told[f"why {name}"] = markdown_table(pl.DataFrame(rows))
    return told
