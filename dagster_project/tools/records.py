"""`crm.update_record`: fields of one record in the CRM, as far as the whitelist goes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from dagster_project.clients.connectors import connect_crm
from dagster_project.clients.crm import CrmClient, CrmError, CrmRefused, CrmUnknown, Receipt
from dagster_project.core.assistant_rules import ObjectType, RecordRule
from dagster_project.core.crm_fields import account_fields, contact_fields
from dagster_project.core.escaping import plain
from dagster_project.core.standings import account_block_reason, with_block_reasons
from dagster_project.core.sync import FieldUpdate, kept_by_policy
from dagster_project.ledger_writing import Outcome, Request, outcome_of
from dagster_project.tools.desk import Desk, Name, arguments, one_of
from dagster_project.tools.errors import NotFound, Refused, Unavailable
from dagster_project.tools.subjects import ACCOUNTS, USERS
from dagster_project.tools.writes import Intent, Writer, ask_common_guardrails

NAME = "crm.update_record"
OPERATION = "assistant"
"""Apart from the pipeline's own `update`: what an assistant writes supersedes nothing of it."""
Text = Annotated[str, Field(min_length=1, max_length=500)]
LARGEST = 1e15
"""Beyond it a number is not kept exactly by whoever reads JSON."""
Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Value = Text | Whole | Number | bool | Annotated[list[Text], Field(min_length=1, max_length=50)]


def update_record_writer(rule: RecordRule) -> Writer:
    """The tool with the objects and fields that the whitelist names."""
    types = tuple(rule.fields)
    names = sorted({name for of_type in rule.fields.values() for name in of_type})
    listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in rule.fields.items())
    return Writer(
        name=NAME,
        title="Change fields of a CRM record",
        description=(
            f"Writes fields of a contact or account in the CRM. Fields that may be written: {listed}. A value is never "
            "emptied, and a field that the pipeline computes takes only what it has computed."
        ),
        arguments=arguments(
            NAME,
            object_type=(one_of(types), Field(description="Which kind of record")),
            id=(
                Name,
                Field(description="The CRM's id of the record"),
            ),
            fields=(
                Annotated[dict[one_of(names), Value], Field(min_length=1, max_length=20)],  # type: ignore[misc]
                Field(description="The CRM's name of each field and its new value"),
            ),
        ),
        intend=lambda desk, **asked: _intend(desk, rule, **asked),
        needs_confirmation=rule.confirm,
    )


def _intend(desk: Desk, rule: RecordRule, *, object_type: ObjectType, id: str, fields: Mapping[str, Any]) -> Intent:
    allowed = rule.fields[object_type]
    if unknown := sorted(set(fields) - set(allowed)):
        named = ", ".join(plain(name) for name in unknown)
        raise Refused(f"{named} of a {object_type} may not be written; these may: {', '.join(allowed)}")
    found = _known(desk, object_type, id)
    ask_common_guardrails(desk, max(found["as_of"].to_list()))
    _ask_no_contact(desk, object_type, id, found)
    written = {name: _cleaned(name, value) for name, value in fields.items()}
    _ask_ownership(desk, object_type, id, found=found, fields=written)
    crm = _connected(desk)
    signature = rule.signature.get(object_type)
    held = _held(crm, object_type, id, names=[*written, *([signature] if signature else [])])
    changed: dict[str, Any] = {name: value for name, value in written.items() if held.get(name) != value}
    if not changed:
        raise Refused(f"the {object_type} {id} holds exactly that already: nothing to write")
    _ask_policies(desk, object_type, held=held, fields=changed)
    if signature:
        changed[signature] = f"assistant for {desk.who}"
    shown = desk.mask.row(held)
    return Intent(
        summary=f"write {', '.join(changed)} of the {object_type} {id} in {crm.name}, asked for by {desk.who}",
        preview=[f"{name}: {shown.get(name)!r} -> {value!r}" for name, value in changed.items()],
        carry_out=lambda: _write(desk, crm, object_type, object_id=id, fields=changed),
    )


def _cleaned(name: str, value: Any) -> Any:
    """A value without what can't be seen in it.

    Raises:
        Refused: Nothing is left of it, or of one of its items.
    """
    if isinstance(value, list):
        return [_cleaned(name, item) for item in value]
    if not isinstance(value, str):
        return value
    if not (text := plain(value, longest=500)):
        raise Refused(f"{name}: nothing of {value!r} can be seen, and a value is never emptied")
    return text


def _known(desk: Desk, object_type: str, object_id: str) -> pl.DataFrame:
    query = (
        f"{ACCOUNTS} where scores.account_id = ?"
        if object_type == "account"
        else f"{USERS} where scores.contact_id = ?"
    )
    found = desk.serving.frame(query, [object_id])
    if found.is_empty() or (object_type == "account" and not found["in_crm"][0]):
        raise NotFound(
            f"no scored {'user has the contact' if object_type == 'contact' else 'CRM account has the id'} "
            f"{object_id!r}: nobody knows whether it may be written to; ids are the CRM's"
        )
    return found


def _ask_no_contact(desk: Desk, object_type: str, object_id: str, found: pl.DataFrame) -> None:
    """What a person or their company has said counts for a contact; for an account what the company has."""
    if object_type == "account":
        blocked = found.select(reason=account_block_reason())["reason"].drop_nulls()
    else:
        whose = found["account_id"].drop_nulls().unique().to_list()
        marks = ", ".join("?" for _ in whose) or "null"
        accounts = desk.serving.frame(f"{ACCOUNTS} where scores.account_id in ({marks})", whose)
        blocked = with_block_reasons(found, accounts)["blocked"].drop_nulls()
    if len(blocked):
        raise Refused(
            f"suppressed_no_contact: {object_type} {object_id}: {blocked[0]}; a person may change it, in the CRM"
        )


def _ask_ownership(
    desk: Desk, object_type: str, object_id: str, *, found: pl.DataFrame, fields: Mapping[str, Any]
) -> None:
    """What the pipeline computes is the pipeline's: an assistant can only repeat it."""
    rules = desk.playbook.crm_fields
    names: Mapping[Any, str | None]
    if object_type == "contact":
        frame, names = contact_fields(found, rules.top_signals), rules.contact
    else:
        frame, names = account_fields(found), rules.account
    [computed] = frame.filter(pl.col("object_id") == object_id).to_dicts()
    for ours, theirs in names.items():
        if theirs is not None and theirs in fields and fields[theirs] != computed.get(ours):
            raise Refused(
                f"{theirs} is computed by the pipeline and is {computed.get(ours)!r} now, not {fields[theirs]!r}: "
                "change the playbook, or leave it to the next run"
            )


def _ask_policies(desk: Desk, object_type: str, *, held: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Of the pipeline's own fields a policy may leave to people what stands in the CRM."""
    target = desk.playbook.crm_fields.targets()[object_type]
    ours = {name: fields[theirs] for name, theirs in target.written.items() if theirs in fields}
    if kept := sorted(kept_by_policy(ours, held, target)):
        raise Refused(
            f"{', '.join(kept)}: crm_fields.yml (policies) leaves what stands in the CRM to people, and it holds "
            f"{', '.join(repr(held[name]) for name in kept)}"
        )


def _connected(desk: Desk) -> CrmClient:
    settings = desk.settings
    try:
        return connect_crm(settings.crm, settings.crm_access, desk.playbook.crm_sources, local=settings.local_crm)
    except ValueError as error:
        raise Unavailable(f"PLS_CRM is {settings.crm}: {error}") from None


def _held(crm: CrmClient, object_type: str, object_id: str, *, names: list[str]) -> dict[str, Any]:
    try:
        records = crm.read(object_type, [object_id], names)
    except CrmError as error:
        raise Unavailable(f"{crm.name} could not be read: {error}") from error
    if object_id not in records:
        raise NotFound(f"{crm.name} has no {object_type} {object_id!r}")
    return {name: records[object_id].get(name) for name in names}


def _write(desk: Desk, crm: CrmClient, object_type: str, *, object_id: str, fields: Mapping[str, Any]) -> str:
    """Intent, request, receipt."""
    payload = json.dumps({"fields": dict(fields), "asked_by": desk.who}, sort_keys=True)
    fingerprint = sha256(payload.encode()).hexdigest()[:16]
    request = Request(
        destination=crm.name,
        object_type=object_type,
        object_id=object_id,
        operation=OPERATION,
        payload=payload,
        payload_hash=fingerprint,
    )
    [delivery_id] = desk.ledger.request([request], desk.clock())
    try:
        receipts = crm.update(object_type, [FieldUpdate(object_id, dict(fields), fingerprint)])
    except CrmRefused as error:
        desk.ledger.settle([Outcome(delivery_id, "parked", str(error))], desk.clock())
        raise Refused(f"{crm.name} refused: {error}") from error
    except CrmError as error:
        # Nobody tries it again but whoever asked.
        is_unknown = isinstance(error, CrmUnknown)
        words = f"nobody knows whether it was written: {error}" if is_unknown else str(error)
        desk.ledger.settle([Outcome(delivery_id, "cancelled", words)], desk.clock())
        raise Unavailable(f"{crm.name} could not be written to, plan it again later: {words}") from error
    silence = Receipt(object_id, "the CRM did not say what became of this record", is_unknown=True)
    outcome = outcome_of(delivery_id, receipts[0] if receipts else silence)
    if outcome.status in ("failed", "unknown"):
        desk.ledger.settle([replace(outcome, status="cancelled")], desk.clock())
        raise Unavailable(f"{crm.name} could not be written to, plan it again later: {outcome.error}")
    desk.ledger.settle([outcome], desk.clock())
    if outcome.status != "confirmed":
        raise Refused(f"{crm.name} refused: {outcome.error}")
    return delivery_id
