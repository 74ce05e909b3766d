"""`leads.get_hottest`: whom to call, and why."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from dagster_project.core.key_signals import scored_signal, telling_entries
from dagster_project.tools.desk import Desk, Name, Result, Tool, arguments
from dagster_project.tools.errors import NotFound, WrongArguments
from dagster_project.tools.subjects import Row

NAME = "leads.get_hottest"
MOST = 25
REASONS = 3


class Reason(Result):
    """A signal that makes the lead hot, the strongest first."""

    signal: str
    value: str
    meaning: str
    contribution: float = Field(description="Points of the score that it brings")


class Lead(Result):
    """A user worth a call."""

    user_id: str
    person: str
    email: str | None
    account_id: str | None
    company: str | None
    owner_id: str | None
    pql_score: float
    classification: str
    segment: str
    motion: str
    activation_stage: str
    has_open_opportunity: bool
    last_active_at: datetime | None
    reasons: list[Reason]


class Leads(Result):
    """The hottest leads, the best first. Whoever may not be contacted is not among them."""

    owner_id: str | None
    as_of: datetime | None
    leads: list[Lead]


def get_hottest_tool() -> Tool:
    """The tool."""
    return Tool(
        name=NAME,
        title="Hottest leads, with reasons",
        description=(
            "Who is worth a call today, and why: the hot and warm leads of one owner, or of everybody, the best first. "
            "Start here when somebody asks whom to call. People who may not be contacted are left out; one with an "
            "open opportunity is its owner's to talk to."
        ),
        arguments=arguments(
            NAME,
            owner=(
                Name | None,
                Field(default=None, description="A seller's id in the CRM, e-mail or name; null for all"),
            ),
            limit=(Annotated[int, Field(ge=1, le=MOST)], Field(default=10, description="How many")),
        ),
        result=Leads,
        run=get_hottest,
    )


def get_hottest(desk: Desk, *, owner: str | None, limit: int) -> Leads:
    """The best leads of an owner, or of all."""
    owner_id = _owner_id(desk, owner) if owner else None
    rows = desk.serving.rows(
        "select * from marts.leads where ? is null or owner_id = ? order by pql_score desc, user_id limit ?",
        [owner_id, owner_id, limit],
    )
    scores = desk.serving.rows(
        "select user_id, explanation, as_of from marts.pql_scores where user_id in (select unnest(?::varchar[]))",
        [[row["user_id"] for row in rows]],
    )
    explained = {row["user_id"]: row["explanation"] for row in scores}
    return Leads(
        owner_id=owner_id,
        as_of=max((row["as_of"] for row in scores), default=None),
        leads=[_lead(desk, row, explained[row["user_id"]]) for row in rows],
    )


def _lead(desk: Desk, row: Row, explanation: list[Row] | None) -> Lead:
    person = row["user_id"] if row["person"] == row["user_id"] else desk.mask.value("person", row["person"])
    shown = desk.mask.row({name: value for name, value in row.items() if name in Lead.model_fields})
    return Lead(**{**shown, "person": person}, reasons=_reasons(desk, explanation or []))


def _reasons(desk: Desk, explanation: list[Row]) -> list[Reason]:
    rules = desk.playbook.handoffs.package
    return [
        Reason(signal=told.label, value=told.value, meaning=told.meaning, contribution=round(entry["contribution"], 1))
        for entry in telling_entries(explanation)[:REASONS]
        for told in [scored_signal(entry, rules)]
    ]


def _owner_id(desk: Desk, owner: str) -> str:
    found = desk.serving.rows(
        "select owner_id, name from marts.crm_owners where owner_id = ? or lower(email) = lower(?) "
        "or lower(name) = lower(?) order by owner_id",
        [owner, owner, owner],
        at_most=10,
    )
    exact = [row for row in found if row["owner_id"] == owner]
    if len(exact or found) > 1:
        ids = ", ".join(f"{row['owner_id']!r} ({row['name']})" for row in found)
        raise WrongArguments(f"several owners are called {owner!r}: ask for one of them by id: {ids}")
    if not found:
        raise NotFound(
            f"the CRM has no owner {owner!r}: expected an owner's id, e-mail or name; without one, all leads"
        )
    return str((exact or found)[0]["owner_id"])
