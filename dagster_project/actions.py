"""Carries out what rules and handoffs ask of the CRM, each once: intent first, the receipt after it.

Which actions there are is decided elsewhere; how a CRM is spoken to is the business of `clients/`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from dagster_project.clients.crm import (
    CrmClient,
    CrmDenied,
    CrmError,
    CrmRefused,
    CrmUnavailable,
    CrmUnknown,
    Receipt,
    Task,
    TaskState,
)
from dagster_project.core.actions import Action
from dagster_project.core.crm_field_rules import CrmFieldRules
from dagster_project.core.sync import FieldUpdate
from dagster_project.ledger import Ledger
from dagster_project.ledger_writing import SUPERSEDED, Outcome, Request, outcome_of

_TASKS = ("task", "note")


@dataclass
class ActionReport:
    """What became of actions, by key.

    Attributes:
        done: Carried out now, or found carried out.
        needless: Nothing was left to do, or it must not be done any more, and why.
        refused: What the CRM said to those that it will not do as they are.
        failed: Why the next run tries again.
        held: Why nothing was tried.
    """

    done: list[str] = field(default_factory=list)
    needless: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)


def carry_out(
    ledger: Ledger,
    crm: CrmClient,
    actions: Sequence[Action],
    *,
    rules: CrmFieldRules,
    now: datetime,
    blocked: Mapping[str, str] | None = None,
    held: Mapping[str, str] | None = None,
    at: Callable[[str], None] = lambda point: None,
) -> ActionReport:
    """Carry out what has not been, and what earlier runs left unfinished.

    Args:
        ledger: Where intents and receipts are kept; no transaction of it is open while the CRM is called.
        crm: The CRM.
        actions: What is asked for.
        rules: `crm_fields.yml`: names of fields, order of tiers.
        now: Naive UTC.
        blocked: By action key, why it must not be done any more, as it is known at this moment.
        held: By action key, why it has to wait unless it is blocked.
        at: Told where the work stands; for tests that stop it there.
    """
    report = ActionReport(held={key: why for key, why in (held or {}).items() if key not in (blocked or {})})
    todo = [action for action in _unfinished(ledger, crm.name, actions) if action.key not in report.held]
    if not todo:
        return report
    # Last of all: who may not change tasks can still have some made, and what waits is not to wait for that.
    todo.sort(key=lambda action: action.kind == "stop_task")
    delivery_ids = ledger.request([action_request(crm.name, action) for action in todo], now)
    at("actions intended")
    open_keys = ledger.open_actions(crm.name).keys()
    existing: Mapping[str, TaskState] = {}
    cause: CrmError | None = None
    try:
        existing = crm.find_tasks([action.key for action in todo if action.kind in _TASKS])
    except CrmError as error:
        cause = error
    for action, delivery_id in zip(todo, delivery_ids, strict=True):
        if action.key not in open_keys:  # another one of this call is about the same, and is the last word
            report.needless[action.key] = SUPERSEDED
            continue
        why = (blocked or {}).get(action.key)
        if action.key in existing:
            outcome = Outcome(delivery_id, "confirmed")
        elif why is not None:
            outcome = Outcome(delivery_id, "cancelled", why)
        elif cause is not None:  # what comes after would fail in the same way
            outcome = Outcome(delivery_id, "failed", str(cause))
        else:
            at("action to be sent")
            try:
                outcome = outcome_of(delivery_id, _carried_out(crm, action, rules))
            except CrmRefused as error:
                outcome = Outcome(delivery_id, "parked", str(error))
            except (CrmUnavailable, CrmDenied) as error:
                outcome = Outcome(delivery_id, "unknown" if isinstance(error, CrmUnknown) else "failed", str(error))
                cause = error
            at("action sent")
        ledger.settle([outcome], now)
        at("action settled")
        _tell(report, action.key, outcome)
    return report


def action_request(destination: str, action: Action) -> Request:
    """The intent of an action; who decides may record it together with the decision (`Ledger.request`)."""
    content = {"kind": action.kind, "object_type": action.object_type, "object_id": action.object_id}
    payload = json.dumps({**content, "payload": dict(action.payload)}, sort_keys=True)
    is_task = action.kind in _TASKS
    operation: str = action.kind
    if action.kind == "set_field":  # those of other fields of the record stand beside it
        operation += ":" + ",".join(sorted(action.payload["fields"]))
    return Request(
        destination=destination,
        object_type=action.kind if is_task else action.object_type,
        object_id=action.key if is_task else action.object_id,
        operation="create" if is_task else operation,
        payload=payload,
        only_adds=action.kind in ("assign_owner", "raise_tier"),
        payload_hash=sha256(f"{action.key} {payload}".encode()).hexdigest()[:16],
        action_key=action.key,
    )


def _unfinished(ledger: Ledger, destination: str, actions: Sequence[Action]) -> list[Action]:
    """What has to be done: what was begun before, as it was begun, then what is new; each key once."""
    begun = {key: _action(key, payload) for key, payload in ledger.open_actions(destination).items()}
    asked = {action.key: action for action in actions if action.key not in begun}
    for key, (status, payload_hash) in ledger.ended_actions(destination, asked).items():
        is_same = action_request(destination, asked[key]).payload_hash == payload_hash
        if status != "parked" or is_same:  # a refused one has another chance when it is another one
            del asked[key]
    return [*begun.values(), *asked.values()]


def _action(key: str, payload: str) -> Action:
    return Action(key=key, **json.loads(payload))


def _carried_out(crm: CrmClient, action: Action, rules: CrmFieldRules) -> Receipt:
    payload = action.payload
    match action.kind:
        case "task" | "note":
            return _task_made(crm, _task(action))
        case "stop_task":
            return crm.stop_task(action.object_id, payload["why"])
        case "assign_owner":
            return crm.assign_owner(
                action.object_type, action.object_id, payload["owner_id"], instead_of=payload.get("instead_of", ())
            )
        case "raise_tier":
            return _tier_raised(crm, action, rules)
        case "set_field":
            names: Mapping[Any, str | None] = rules.contact if action.object_type == "contact" else rules.account
            fields = {str(names[ours]): value for ours, value in payload["fields"].items() if names.get(ours)}
            if not fields:
                asked = ", ".join(payload["fields"])
                return Receipt(action.object_id, f"crm_fields.yml maps {asked} to no field", is_needless=True)
            return _written(crm, action, fields)
        case _:
            raise ValueError(f"{action.kind} is nothing that a CRM does")


def _task_made(crm: CrmClient, task: Task) -> Receipt:
    """Make a task; if nobody saw whether it was made, look."""
    try:
        return crm.create_task(task)
    except CrmUnknown:
        found = crm.find_tasks([task.key])
        return Receipt(task.key, created_id=found[task.key].task_id) if task.key in found else crm.create_task(task)


def _task(action: Action) -> Task:
    payload = action.payload
    due_at = datetime.fromisoformat(payload["due_at"]) if payload.get("due_at") else None
    return Task(
        key=action.key,
        subject=payload["subject"],
        body=payload["body"],
        due_at=due_at.astimezone(UTC).replace(tzinfo=None) if due_at and due_at.tzinfo else due_at,
        owner_id=payload.get("owner_id"),
        contact_id=payload.get("contact_id"),
        account_id=payload.get("account_id"),
        priority=payload.get("priority", "P2"),
        is_done=action.kind == "note",
    )


def _tier_raised(crm: CrmClient, action: Action, rules: CrmFieldRules) -> Receipt:
    """Write the tier unless the record's own is as high."""
    name, wanted, tiers = rules.account.get("account_tier"), action.payload["to"], rules.account_tiers
    if name is None:
        return Receipt(action.object_id, "crm_fields.yml maps account_tier to no field", is_needless=True)
    if wanted not in tiers:
        return Receipt(action.object_id, f"{wanted!r} is none of account_tiers in crm_fields.yml: {', '.join(tiers)}")
    held = crm.read(action.object_type, [action.object_id], [name]).get(action.object_id)
    if held is None:
        return Receipt(action.object_id, f"the {action.object_type} {action.object_id} is not in the CRM")
    current = held[name]
    if current and (current not in tiers or tiers.index(current) >= tiers.index(wanted)):
        return Receipt(action.object_id, f"its tier is {current}", is_needless=True)
    return _written(crm, action, {name: wanted})


def _written(crm: CrmClient, action: Action, fields: Mapping[str, Any]) -> Receipt:
    receipts = crm.update(action.object_type, [FieldUpdate(action.object_id, fields, action.key)])
    if not receipts:
        raise CrmUnknown("the CRM did not say what became of this record")
    return receipts[0]


def _tell(report: ActionReport, key: str, outcome: Outcome) -> None:
    why = outcome.error or ""
    match outcome.status:
        case "confirmed":
            report.done.append(key)
        case "cancelled":
            report.needless[key] = why
        case "parked":
            report.refused[key] = why
        case _:
            report.failed[key] = why
