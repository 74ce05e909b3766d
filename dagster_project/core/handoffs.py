"""The handoffs of one run: which triggers fired, what is decided, and who receives what is sent.

This is where the parts meet: edges (``triggers``) become candidates here, ``decisions`` decides, ``routing``
assigns, ``packages`` and ``rendering`` say it. The plan is only a plan: the ledger keeps it, and sending
comes after that.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import polars as pl

from dagster_project.core import decisions as table
from dagster_project.core.block_kit import handoff_blocks
from dagster_project.core.candidates import (
    CANDIDATE_SCHEMA,
    Candidate,
    Firing,
    OpenCandidate,
    Slot,
    Standing,
    candidate_row,
    gather,
    identity,
    open_candidates,
    standings_of,
)
from dagster_project.core.decisions import Circumstances, PastHandoff, Verdict
from dagster_project.core.handoff_rules import PRIORITIES, HandoffRules
from dagster_project.core.package_model import HandoffFacts
from dagster_project.core.packages import build_package
from dagster_project.core.rendering import handoff_markdown
from dagster_project.core.routing import (
    Assignment,
    Desk,
    Request,
    owners_by_id,
    team_for,
    turns_frame,
    turns_from,
)
from dagster_project.core.triggers import conditions, conform, edges, stood_before
from dagster_project.core.wording import Row

if TYPE_CHECKING:
    from dagster_project.core.playbook import Playbook

_TEXT: pl.DataType = pl.String()
_TEXTS: pl.DataType = pl.List(pl.String)
_MOMENT: pl.DataType = pl.Datetime("us")
DECISION_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(("decision_id", "candidate_key", "handoff_id", "user_id", "account_id"), _TEXT),
        "triggers": _TEXTS,
        **dict.fromkeys(("priority", "decision", "reason"), _TEXT),
        "decided_at": _MOMENT,
    }
)
HANDOFF_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(("handoff_id", "candidate_key", "user_id", "account_id", "trigger"), _TEXT),
        "triggers": _TEXTS,
        **dict.fromkeys(("priority", "handoff_type", "recipient_id"), _TEXT),
        "due_at": _MOMENT,
        **dict.fromkeys(("package_markdown", "package_blocks", "status", "classification"), _TEXT),
        "created_at": _MOMENT,
    }
)
PAST_SCHEMA = pl.Schema(
    {name: HANDOFF_SCHEMA[name] for name in ("account_id", "user_id", "triggers", "priority", "classification")}
    | {"recipient_id": _TEXT, "created_at": _MOMENT}
)


@dataclass(frozen=True)
class HandoffInputs:
    """Everything the handoffs of a run depend on; ``as_of`` is naive UTC.

    ``users`` is user features with PQL columns, ``accounts`` account features with PQA columns, both of the
    live moment; ``baseline`` the conditions of the earlier moment ``baseline_at``, on a first run only;
    ``crm_hold_reason`` why no-contact flags can't be trusted now. ``states``, ``open_candidates``, ``past`` (the
    handoffs) and ``turns`` are what the ledger kept of earlier plans; a frame without columns counts as empty.
    ``scored_since`` is the first moment that this installation ever scored.
    """

    as_of: datetime
    users: pl.DataFrame
    accounts: pl.DataFrame
    baseline: pl.DataFrame | None
    owners: pl.DataFrame
    crm_hold_reason: str | None
    states: pl.DataFrame
    open_candidates: pl.DataFrame
    past: pl.DataFrame
    turns: pl.DataFrame
    baseline_at: datetime | None = None
    scored_since: datetime | None = None


@dataclass(frozen=True)
class HandoffPlan:
    """What one ledger transaction has to keep.

    ``decisions`` and ``handoffs`` are new rows; ``states``, ``candidates`` (the open ones) and ``turns`` are
    whole: what they lack is no longer so.
    """

    decisions: pl.DataFrame
    handoffs: pl.DataFrame
    states: pl.DataFrame
    candidates: pl.DataFrame
    turns: pl.DataFrame


def plan_handoffs(inputs: HandoffInputs, playbook: Playbook) -> HandoffPlan:
    """A decision for each candidate that is new, has changed or is decided differently now; the handoffs."""
    rules = playbook.handoffs
    current = conditions(inputs.users, inputs.accounts, playbook)
    edge = edges(current, inputs.states, inputs.as_of)
    fired = [
        Firing(**row) for row in stood_before(edge.fired, inputs.baseline, inputs.baseline_at).iter_rows(named=True)
    ]
    held = open_candidates(inputs.open_candidates, rules)
    standings = standings_of(
        inputs.users, inputs.accounts, [*fired, *(firing for was in held for firing in was.firings)]
    )
    candidates, joined = gather(fired, held, standings, inputs.as_of)

    run = Circumstances(inputs.as_of, rules, inputs.crm_hold_reason, _past_by_subject(inputs.past))
    verdicts = {key: table.decide(candidate, run) for key, candidate in candidates.items()}
    desk = Desk(
        owners_by_id(inputs.owners),
        playbook.routing,
        inputs.as_of.date(),
        taken=_taken_today(inputs.past, inputs.as_of),
        turns=turns_from(inputs.turns),
    )
    assigned = _route(verdicts, desk, rules)
    final = {key: _settled(verdict, assigned.get(key)) for key, verdict in verdicts.items()}

    known = {was.key: was for was in held}
    news = {key: verdict for key, verdict in final.items() if _is_news(verdict, candidates[key], known.get(key))}
    rows = [_decision_row(verdict, inputs.as_of, rules) for verdict in news.values()]
    rows += [_joined_row(was, candidates[key], inputs.as_of, rules) for was, key in joined]
    still_open = [
        candidate_row(candidates[key], v.decision, rules) for key, v in final.items() if v.decision in table.HELD
    ]
    sent = [verdict for verdict in final.values() if verdict.decision == table.SENT]
    return HandoffPlan(
        decisions=_frame(rows, DECISION_SCHEMA, "decision_id"),
        handoffs=_handoffs(sent, assigned, inputs, desk=desk, rules=rules),
        states=edge.states,
        candidates=_frame(still_open, CANDIDATE_SCHEMA, "candidate_key"),
        turns=turns_frame(desk.turns),
    )


# --- what there is to decide ----------------------------------------------------------------------


def _past_by_subject(past: pl.DataFrame) -> dict[Slot, list[PastHandoff]]:
    """Handoffs of each account, and of each person who had none at the time."""
    found: dict[Slot, list[PastHandoff]] = defaultdict(list)
    for row in conform(past, PAST_SCHEMA).drop("recipient_id").iter_rows(named=True):
        handoff = PastHandoff(**{**row, "triggers": frozenset(row["triggers"])})
        slot = ("account", row["account_id"]) if row["account_id"] is not None else ("user", row["user_id"])
        found[slot].append(handoff)
    return found


# --- who receives it ------------------------------------------------------------------------------


def _taken_today(past: pl.DataFrame, as_of: datetime) -> Counter[str]:
    today = conform(past, PAST_SCHEMA).filter(pl.col("created_at").dt.date() == as_of.date())
    return Counter(today["recipient_id"].drop_nulls())


def _route(verdicts: Mapping[str, Verdict], desk: Desk, rules: HandoffRules) -> dict[str, Assignment]:
    """An assignment for each candidate that no row stopped, by priority, score (descending) and key."""
    cleared = [verdict for verdict in verdicts.values() if verdict.decision is None]

    def urgency(verdict: Verdict) -> tuple[int, float, str]:
        scored = verdict.candidate.scored(rules.triggers)
        priority = PRIORITIES.index(verdict.candidate.priority(rules.triggers))
        return priority, -(scored.score if scored else 0.0), verdict.candidate.key

    return {
        verdict.candidate.key: desk.assign(_request(verdict, desk, rules)) for verdict in sorted(cleared, key=urgency)
    }


def _request(verdict: Verdict, desk: Desk, rules: HandoffRules) -> Request:
    candidate = verdict.candidate
    person, account = candidate.person(rules.triggers), candidate.account
    whose = candidate.subject
    return Request(
        claims=(
            (person.owner_id if person else None, "contact"),
            (account.owner_id if account else None, "account"),
        ),
        team=team_for(
            verdict.handoff_type,
            desk.rules,
            segment=whose.segment if whose else None,
            is_customer=bool(whose and whose.is_customer),
        ),
        priority=candidate.priority(rules.triggers),
    )


def _settled(verdict: Verdict, assignment: Assignment | None) -> Verdict:
    """The verdict with the last two rows of the table: capacity, or sent."""
    if assignment is None:
        return verdict
    decision = table.SENT if assignment.recipient_id else table.HELD_CAPACITY
    left_out = f"; left out: {verdict.reason}" if verdict.reason else ""
    return replace(verdict, decision=decision, reason=assignment.reason + left_out)


# --- what is kept ---------------------------------------------------------------------------------


def _is_news(verdict: Verdict, candidate: Candidate, was: OpenCandidate | None) -> bool:
    """An open candidate is told of again only when its decision changed or another trigger has joined it."""
    return was is None or verdict.decision != was.last_decision or not was.firings.issuperset(candidate.firings)


def _handoff_id(key: str) -> str:
    return identity("ho", key)


def _decision_row(verdict: Verdict, as_of: datetime, rules: HandoffRules) -> dict[str, object]:
    candidate = verdict.candidate
    person = candidate.person(rules.triggers)
    decision = str(verdict.decision)
    return {
        "decision_id": "de_" + sha256(f"{candidate.key}{decision}{as_of.isoformat()}".encode()).hexdigest()[:16],
        "candidate_key": candidate.key,
        "handoff_id": _handoff_id(candidate.key) if decision == table.SENT else None,
        "user_id": person.id if person else candidate.subject_id if candidate.subject_type == "user" else None,
        "account_id": candidate.account_id,
        "triggers": candidate.triggers(rules.triggers),
        "priority": candidate.priority(rules.triggers),
        "decision": decision,
        "reason": verdict.reason,
        "decided_at": as_of,
    }


def _joined_row(was: OpenCandidate, into: Candidate, as_of: datetime, rules: HandoffRules) -> dict[str, object]:
    """The end of an open candidate whose subject is another one's now: they will be one handoff."""
    gone = replace(into, key=was.key)
    reason = f"joined to candidate {into.key} of the same account, which will be handed over once"
    return _decision_row(Verdict(table.SUPPRESSED_COOLDOWN, reason, gone, ""), as_of, rules)


def _frame(rows: Sequence[Mapping[str, object]], schema: pl.Schema, order: str) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schema, orient="row").sort(order)


def _handoffs(
    sent: Sequence[Verdict],
    assigned: Mapping[str, Assignment],
    inputs: HandoffInputs,
    *,
    desk: Desk,
    rules: HandoffRules,
) -> pl.DataFrame:
    named = {verdict.candidate.key: verdict.candidate.person(rules.triggers) for verdict in sent}
    people = _rows(inputs.users, "user_id", {person.id for person in named.values() if person})
    accounts = _rows(inputs.accounts, "account_id", {v.candidate.account_id for v in sent if v.candidate.account_id})
    rows = []
    for verdict in sent:
        candidate, person = verdict.candidate, named[verdict.candidate.key]
        assert person is not None, "who is sent has somebody to talk to: the first row of the table sees to it"
        recipient_id = str(assigned[candidate.key].recipient_id)
        triggers, priority = candidate.triggers(rules.triggers), candidate.priority(rules.triggers)
        scored = candidate.scored(rules.triggers)
        facts = HandoffFacts(
            person=people[person.id],
            account=accounts.get(candidate.account_id or ""),
            fired=_told(candidate, person, people[person.id], rules=rules),
            is_about_the_account=candidate.is_about_the_account,
            priority=priority,
            handoff_type=verdict.handoff_type,
            recipient_id=recipient_id,
            owner=desk.owners.get(recipient_id),
            due_at=inputs.as_of + timedelta(hours=rules.due_hours[priority]),
            due_text=f"{inputs.as_of + timedelta(hours=rules.due_hours[priority]):%Y-%m-%d %H:%M} UTC",
            scored_since=inputs.scored_since,
        )
        package = build_package(facts, rules)
        rows.append(
            {
                "handoff_id": _handoff_id(candidate.key),
                "candidate_key": candidate.key,
                "user_id": person.id,
                "account_id": candidate.account_id,
                "trigger": triggers[0],
                "triggers": triggers,
                "priority": priority,
                "handoff_type": verdict.handoff_type,
                "recipient_id": recipient_id,
                "due_at": facts.due_at,
                "package_markdown": handoff_markdown(package),
                "package_blocks": json.dumps(handoff_blocks(package), ensure_ascii=False),
                "status": "pending",
                "classification": scored.classification if scored else None,
                "created_at": inputs.as_of,
            }
        )
    return _frame(rows, HANDOFF_SCHEMA, "handoff_id")


def _rows(frame: pl.DataFrame, key: str, ids: set[str]) -> dict[str, Row]:
    return {row[key]: row for row in frame.filter(pl.col(key).is_in(list(ids))).iter_rows(named=True)}


def _told(
    candidate: Candidate, person: Standing, facts: Row, *, rules: HandoffRules
) -> list[tuple[str, str, datetime]]:
    """The firings as a package tells them, headline first: trigger, whose if not the named person's, when.

    Of several episodes of one person's trigger only the latest is told.
    """
    latest: dict[tuple[tuple[int, int], str, str], datetime] = {}
    for firing in candidate.firings:
        is_named = firing.subject_type == "account" or firing.subject_id == person.id
        at = datetime.fromisoformat(firing.occurrence)
        if firing.trigger == "enterprise_signup" and is_named:
            at = facts["first_event_at"]
        whose = "" if is_named else candidate.people[firing.subject_id].name
        told = (rules.triggers.urgency(firing.trigger), whose, firing.trigger)
        latest[told] = max(at, latest.get(told, at))
    return [(trigger, whose, at) for (_, whose, trigger), at in sorted(latest.items())]
