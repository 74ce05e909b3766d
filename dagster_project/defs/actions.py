"""What decisions ask of the CRM (tasks, owners, tiers, notes, fields): carried out after they are in the ledger."""

import json
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.actions import ActionReport, carry_out
from dagster_project.core.actions import Action, ActionKind
from dagster_project.core.feedback import ENDED
from dagster_project.core.threads import OPEN
from dagster_project.defs.activation import crm_fields
from dagster_project.defs.delivery import contact_hold, delivered_handoffs
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace, begun_by
from dagster_project.defs.stops import task_stops
from dagster_project.defs.tables import markdown_table
from dagster_project.defs.transform import OWNERS
from dagster_project.ledger import Ledger
from dagster_project.no_contact import blocked_people, said_no
from dagster_project.refresh import current_refresh, features_stand

ABOUT_CONTACTING: frozenset[ActionKind] = frozenset({"task", "note", "assign_owner"})
"""Kinds that send somebody to a person: no-contact flags are asked again before each, and before nurture goes on."""


_WORKED_ON = timedelta(days=365)
"""How old a handoff may be whose task somebody may still work on."""
_ANY = OPEN | set(ENDED) | {"pending", "parked", "cancelled"}
"""Statuses of such handoffs: the task stands in the CRM, whatever became of the letter and whatever was answered."""
_TAKEN_BACK = "what was said has been taken back"
_TOUCHED = "select user_id from scores.rescored_users union select user_id from intermediate.int_users_touched"


@dg.asset(
    key=["crm", "actions"],
    deps=[delivered_handoffs, crm_fields],
    group_name="activation",
    owners=OWNERS,
    kinds={"crm"},
    pool=WAREHOUSE_POOL,
)
def crm_actions(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Tasks, owners, tiers, notes and field changes that handoffs and rules asked for, each done once in the CRM.

    A task whose person has said no since says so.
    """
    with workplace.ledger() as ledger:
        begun = ledger.open_actions(workplace.settings.crm_destination)
        stops = _stops(ledger, begun_by(context.run), begun.keys(), workplace)
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
    asked_for = begun.keys() | {action.key for action in stops}
    return dg.MaterializeResult(metadata={"asked for": len(asked_for), **_told(report)})


def _stops(ledger: Ledger, run_id: str, begun: Collection[str], workplace: Workplace) -> list[Action]:
    """What the tasks of people who have said no are to say."""
    handed_over = ledger.threads_since(workplace.now() - _WORKED_ON, _ANY)
    if not handed_over:
        return []
    with workplace.connect(stays_open=True) as connection:
        if not features_stand(connection):  # nobody knows who has said no
            return []
        if not current_refresh(connection, run_id).is_full:
            # Of nobody else a delta has heard anything.
            touched = {name for (name,) in connection.sql(_TOUCHED).fetchall()}
            handed_over = [row for row in handed_over if row["user_id"] in touched]
        return task_stops(ledger, connection, handed_over, begun, workplace)


def _stopped(workplace: Workplace, begun: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """By its key, why an action must not be done any more; and why one waits, while nobody knows whether it may be.

    A task that was to be stopped is left as it is where the no has been taken back since.
    """
    actions = {key: json.loads(payload) for key, payload in begun.items()}
    concerned = {key: action["payload"] for key, action in actions.items() if _is_about_contacting(action)}
    people = {key: payload["user_id"] for key, payload in concerned.items() if "user_id" in payload}
    to_stop = {key: action["payload"]["user_id"] for key, action in actions.items() if action["kind"] == "stop_task"}
    with workplace.connect(stays_open=True) as connection:
        blocked = blocked_people(connection, sorted(set(people.values())))
        nos = said_no(connection, sorted(set(to_stop.values()))) if to_stop else {}
        hold = contact_hold(connection, workplace)
    held = dict.fromkeys(concerned, hold) if hold is not None else {}
    over = {key: _TAKEN_BACK for key, user_id in to_stop.items() if user_id not in nos}
    for key, user_id in people.items():
        if user_id in blocked:
            # Nurture may go on once they take it back: nobody would ask for it again.
            (held if _resumes_nurture(actions[key]) else over)[key] = blocked[user_id]
    return over, held


def _is_about_contacting(action: Mapping[str, Any]) -> bool:
    return action["kind"] in ABOUT_CONTACTING or _resumes_nurture(action)


def _resumes_nurture(action: Mapping[str, Any]) -> bool:
    return action["payload"].get("fields", {}).get("pause_nurture") is False


def _told(report: ActionReport) -> dict[str, dg.MetadataValue | int]:
    told: dict[str, dg.MetadataValue | int] = {"done": len(report.done)}
    for name in ("needless", "refused", "failed", "held"):
        reasons = getattr(report, name)
        told[name] = len(reasons)
        if reasons:
            rows = [{"action": key, "why": why} for key, why in list(reasons.items())[:20]]
            told[f"why {name}"] = markdown_table(pl.DataFrame(rows))
    return told
