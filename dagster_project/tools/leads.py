"""`leads.get_hottest`: whom to call, and why."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from dagster_project.tools.desk import Desk, Name, Result, Tool, arguments
from dagster_project.tools.errors import NotFound, WrongArguments

NAME = "leads.get_hottest"
MOST = 25
REASONS = 3
_NOT_SIGNALS = frozenset({"fit_multiplier", "cap", "rounding"})
_NOT_BLOCKED = (
    "not (profiles.is_unsubscribed or profiles.email_opt_out or profiles.contact_do_not_contact "
    "or profiles.account_do_not_contact or profiles.contact_deleted or profiles.account_deleted) "
    "and profiles.suppression_reason is null"
)
_OWNER_OF = "coalesce(profiles.contact_owner_id, accounts.owner_id)"


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
        "with best as (select user_id, pql_score from marts.pql_scores where list_contains(?, classification)), "
        "leads as (select best.user_id, best.pql_score, accounts.name as company, "
        f"{_OWNER_OF} as owner_id, coalesce(profiles.contact_name, profiles.user_name, best.user_id) as person, "
        "profiles.has_open_opportunity from best join marts.user_profiles as profiles using (user_id) "
        "left join marts.account_profiles as accounts on accounts.account_id = profiles.account_id "
        f"where {_NOT_BLOCKED} and (? is null or {_OWNER_OF} = ?) "
        "order by best.pql_score desc, best.user_id limit ?) "
        "select leads.*, scores.email, scores.account_id, scores.classification, scores.segment, scores.motion, "
        "scores.activation_stage, scores.last_active_at, scores.explanation, scores.as_of "
        "from leads join marts.pql_scores as scores using (user_id) order by leads.pql_score desc, leads.user_id",
        [sorted(desk.playbook.stages.pql_classes), owner_id, owner_id, limit],
    )
    return Leads(
        owner_id=owner_id,
        as_of=max((row["as_of"] for row in rows), default=None),
        leads=[_lead(desk, row) for row in rows],
    )


def _lead(desk: Desk, row: dict[str, Any]) -> Lead:
    person = row["user_id"] if row["person"] == row["user_id"] else desk.mask.value("person", row["person"])
    shown = desk.mask.row({name: value for name, value in row.items() if name in Lead.model_fields})
    return Lead(**{**shown, "person": person}, reasons=_reasons(desk, row))


def _reasons(desk: Desk, row: dict[str, Any]) -> list[Reason]:
    adding = [entry for entry in row["explanation"] or () if entry["signal"] not in _NOT_SIGNALS]
    adding = sorted(
        (entry for entry in adding if entry["contribution"] > 0), key=lambda e: (-e["contribution"], e["signal"])
    )
    texts = desk.playbook.handoffs.package.signals
    reasons = []
    for entry in adding[:REASONS]:
        text = texts.get(entry["signal"])
        means = text.means if text else ""
        reasons.append(
            Reason(
                signal=text.label if text else entry["signal"],
                value=entry["value"],
                meaning=means if isinstance(means, str) else means.get(entry["tier"], ""),
                contribution=round(entry["contribution"], 1),
            )
        )
    return reasons


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
