"""`alerts.explain`: why an alert was sent, or wasn't."""

from datetime import datetime

from pydantic import Field

from dagster_project.core.rendering import named_in
from dagster_project.subjects import DECISIONS_IN_ORDER, about
from dagster_project.tools.desk import Desk, Name, Result, Tool, arguments
from dagster_project.tools.subjects import Kind, Row, find, people_of

NAME = "alerts.explain"
_SCORES: dict[Kind, str] = {"user": "pql_score", "account": "pqa_score"}
_MOST = 10


class Decision(Result):
    """What was decided when triggers fired."""

    decided_at: datetime
    decision: str
    reason: str
    triggers: list[str]
    priority: str
    user_id: str | None
    handoff_id: str | None


class Handoff(Result):
    """A handoff that came of it."""

    handoff_id: str
    created_at: datetime
    priority: str
    handoff_type: str
    recipient_id: str
    due_at: datetime
    status: str
    deliveries: list[str] = Field(description="Where it went, and what became of it there")


class Explanation(Result):
    """Why sellers heard of somebody, or didn't."""

    subject: str
    subject_id: str
    summary: str
    score: float
    classification: str
    as_of: datetime
    decisions: list[Decision] = Field(description="Newest first")
    handoffs: list[Handoff] = Field(description="Newest first")


def explain_tool() -> Tool:
    """The tool."""
    return Tool(
        name=NAME,
        title="Why an alert was or wasn't sent",
        description=(
            'Answers "why didn\'t I hear about Acme?": the decisions about a user or an account, each with its reason, '
            "and the handoffs that came of them. Where no trigger ever fired it says so."
        ),
        arguments=arguments(
            NAME,
            subject=(
                Name,
                Field(description="A user's id or e-mail, or an account's id, domain or name"),
            ),
        ),
        result=Explanation,
        run=explain,
    )


def explain(desk: Desk, *, subject: str) -> Explanation:
    """The decisions about somebody."""
    kind, found = find(desk.serving, subject)
    key = f"{kind}_id"
    whose, which = about(found.get("user_id"), found["account_id"])
    people = people_of(desk.serving, user_id=found.get("user_id"), account_id=found["account_id"])
    packages = desk.serving.rows(
        f"select package_markdown from marts.handoffs where {whose} order by created_at desc limit ?", [*which, _MOST]
    )
    people += [named_in(row["package_markdown"]) for row in packages]
    decisions = [
        Decision(**{**row, "reason": desk.mask.text(row["reason"], people)})
        for row in desk.serving.rows(
            "select decided_at, decision, reason, triggers, priority, user_id, handoff_id from marts.handoff_decisions "
            f"where {whose} order by {DECISIONS_IN_ORDER} limit ?",
            [*which, found.get("user_id"), _MOST],
        )
    ]
    handoffs = desk.serving.rows(
        "select handoff_id, created_at, priority, handoff_type, recipient_id, due_at, status from marts.handoffs "
        f"where {whose} order by created_at desc, handoff_id limit ?",
        [*which, _MOST],
    )
    return Explanation(
        subject=kind,
        subject_id=found[key],
        summary=_summary(kind, found, decisions),
        score=found[_SCORES[kind]],
        classification=found["classification"],
        as_of=found["as_of"],
        decisions=decisions,
        handoffs=[Handoff(**row, deliveries=_deliveries(desk, row["handoff_id"])) for row in handoffs],
    )


def _deliveries(desk: Desk, handoff_id: str) -> list[str]:
    rows = desk.serving.rows(
        "select destination, operation, status, error from marts.deliveries "
        "where object_type = 'handoff' and object_id = ? order by requested_at, delivery_id",
        [handoff_id],
        at_most=_MOST,
    )
    return [
        f"{row['destination']}, {row['operation']}: {row['status']}" + (f" ({row['error']})" if row["error"] else "")
        for row in rows
    ]


def _summary(kind: Kind, found: Row, decisions: list[Decision]) -> str:
    name = "PQL" if kind == "user" else "PQA"
    stands = f"{name} score {found[_SCORES[kind]]:g}, {found['classification'].replace('_', ' ')}"
    if not decisions:
        return f"Nothing was decided: no trigger has ever fired for this {kind}. {stands}."
    last = decisions[0]
    fired = ", ".join(last.triggers)
    when = f"{last.decided_at:%Y-%m-%d %H:%M} UTC"
    # Whoever asks about a user must not take an alert about a colleague for theirs.
    whom = f" about {last.user_id}" if kind == "user" and last.user_id not in (None, found["user_id"]) else ""
    if last.decision == "sent":
        return f"An alert{whom} was sent on {when} ({fired}): {last.reason}. {stands}."
    verb = "is held back" if last.decision.startswith("held") else "was not sent"
    return f"{fired} fired, and the alert{whom} {verb} ({last.decision}, {when}): {last.reason}. {stands}."
