"""Writing, in two steps: a plan that says what would happen, and its confirmation. Each step asks every guardrail.

What is written, and what forbids it, is the business of `notifications` and `records`.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from dagster_project.ledger import CRM_HOLD
from dagster_project.tools.desk import Desk, Result, Tool, arguments
from dagster_project.tools.errors import NotFound, Refused, Unavailable

CONFIRM = "writes.confirm"
_TWO_STEPS = (
    " This plans the write and answers with a token: show the plan to the person you work for, and call "
    f"{CONFIRM} with the token when they agree."
)


class Written(Result):
    """A write that is planned or done."""

    decision: Literal["planned", "written"]
    summary: str = Field(description="What would be, or was, done")
    preview: list[str] = Field(default=[], description="What it would look like, line by line; masked as all answers")
    token: str | None = Field(default=None, description="Confirms the plan, once")
    expires_at: datetime | None = Field(default=None, description="Until when it can be confirmed; UTC")
    delivery_id: str | None = Field(default=None, description="The write in marts.deliveries")


@dataclass(frozen=True)
class Intent:
    """A write that no guardrail forbids now.

    Attributes:
        summary: What it will do.
        preview: What it will look like to whoever reads the plan.
        carry_out: Does it and returns the id of its delivery.
    """

    summary: str
    preview: list[str]
    carry_out: Callable[[], str]


@dataclass(frozen=True)
class Writer:
    """A writing tool before it is decided whether it takes two steps.

    Attributes:
        intend: Checks every guardrail; raises `Refused` or says what would be done.
        needs_confirmation: Whether it is planned first.
    """

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    intend: Callable[..., Intent]
    needs_confirmation: bool


def writing_tools(writers: list[Writer]) -> list[Tool]:
    """The tools of the writers, and the one that confirms if any of them needs it."""
    tools = [_tool(writer) for writer in writers]
    if any(writer.needs_confirmation for writer in writers):
        tools.append(_confirm_tool({writer.name: writer for writer in writers}))
    return tools


def ask_common_guardrails(desk: Desk, as_of: datetime) -> None:
    """What forbids any write, whoever it is about.

    Args:
        desk: The stores and rules.
        as_of: The moment of the scores that the write stands on.

    Raises:
        Refused: The scores are old, the CRM's no-contact flags can't be trusted, or somebody has written enough.
    """
    limits, now = desk.playbook.assistant.limits, desk.clock()
    if now - as_of > timedelta(hours=limits.write_within_hours):
        raise Refused(
            f"the scores are of {as_of:%Y-%m-%d %H:%M} UTC, more than {limits.write_within_hours:g} h old: nothing is "
            "written on them; run `pls run` first"
        )
    hold = desk.ledger.get_meta(CRM_HOLD)
    if hold is None or hold:
        raise Refused(f"held_stale_crm: {hold or 'no run has looked yet whether the no-contact flags can be trusted'}")
    if desk.ledger.tool_writes(desk.who, now - timedelta(hours=1)) >= limits.writes_per_hour:
        raise Refused(f"{desk.who} has had {limits.writes_per_hour} writes within an hour, which is the limit: later")


def _tool(writer: Writer) -> Tool:
    def run(desk: Desk, **asked: Any) -> Written:
        intent = writer.intend(desk, **asked)
        return _planned(desk, writer, intent, asked) if writer.needs_confirmation else _done(intent)

    return Tool(
        name=writer.name,
        title=writer.title,
        description=writer.description + (_TWO_STEPS if writer.needs_confirmation else ""),
        arguments=writer.arguments,
        result=Written,
        run=run,
        writes=True,
    )


def _confirm_tool(writers: Mapping[str, Writer]) -> Tool:
    def run(desk: Desk, *, token: str) -> Written:
        taken = desk.ledger.take_planned_write(_hash(token), desk.who, desk.clock())
        writer = writers.get(taken["tool"]) if taken else None
        if taken is None or writer is None:
            raise NotFound(
                "nothing is waiting under this token: it was used, has expired, or is somebody else's; plan the write "
                "again"
            )
        asked = writer.arguments.model_validate(json.loads(taken["arguments"]))
        try:
            intent = writer.intend(desk, **{name: getattr(asked, name) for name in type(asked).model_fields})
        except Unavailable:
            desk.ledger.plan_write(taken, desk.clock())  # nothing was done: the same call may succeed later
            raise
        return _done(intent)

    return Tool(
        name=CONFIRM,
        title="Confirm a planned write",
        description=(
            "Does what was planned, once, after every guardrail was asked again. Only when the person you work for has "
            "seen the plan and agreed."
        ),
        arguments=arguments(
            CONFIRM,
            token=(Annotated[str, Field(min_length=10, max_length=100)], Field(description="The plan's token")),
        ),
        result=Written,
        run=run,
        writes=True,
    )


def _planned(desk: Desk, writer: Writer, intent: Intent, asked: Mapping[str, Any]) -> Written:
    token, now = secrets.token_urlsafe(18), desk.clock()
    expires_at = now + timedelta(minutes=desk.playbook.assistant.limits.plan_minutes)
    kept = writer.arguments.model_construct(**asked).model_dump_json()
    row = {"token_hash": _hash(token), "asked_by": desk.who, "tool": writer.name, "arguments": kept}
    desk.ledger.plan_write({**row, "planned_at": now, "expires_at": expires_at}, now)
    return Written(
        decision="planned", summary=intent.summary, preview=intent.preview, token=token, expires_at=expires_at
    )


def _done(intent: Intent) -> Written:
    return Written(decision="written", summary=intent.summary, delivery_id=intent.carry_out())


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
