"""Makes the handoffs of what was decided to be sent: whom each names, until when, and its package in every layout."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import polars as pl

from dagster_project.core.block_kit import handoff_blocks
from dagster_project.core.candidates import Slot, identity
from dagster_project.core.decisions import Verdict
from dagster_project.core.escaping import plain
from dagster_project.core.feedback import ENDED
from dagster_project.core.follow_ups import HandedOver
from dagster_project.core.handoff_plan import PAST_SCHEMA, HandoffInputs
from dagster_project.core.handoff_rules import HandoffRules
from dagster_project.core.package_model import HandoffFacts, HandoffPackage, Told
from dagster_project.core.packages import build_package, told_firings
from dagster_project.core.rendering import handoff_markdown
from dagster_project.core.routing import TEAM, Assignment, Desk
from dagster_project.core.triggers import conform
from dagster_project.core.wording import Row, short

_NAMED = 3
"""Sellers whom a letter names who have a handoff of the same person or account."""


def hand_over(
    sent: Sequence[Verdict],
    assigned: Mapping[str, Assignment],
    inputs: HandoffInputs,
    *,
    desk: Desk,
    rules: HandoffRules,
    other_ids: Mapping[str, Collection[str]],
) -> list[HandedOver]:
    """The handoffs of the verdicts to send, in the order of their ids.

    Args:
        sent: Verdicts with the decision to send.
        assigned: Who receives each, by candidate key.
        inputs: The run.
        desk: Owners and their working hours.
        rules: `handoffs.yml`.
        other_ids: See `decisions.Circumstances`.
    """
    named = {verdict.candidate.key: verdict.candidate.person(rules.triggers) for verdict in sent}
    behind = {user_id for verdict in sent for user_id in verdict.candidate.people}
    people = inputs.whole("user", behind | {person.id for person in named.values() if person})
    accounts = inputs.whole("account", {v.candidate.account_id for v in sent if v.candidate.account_id})
    ids_of_people = {*people, *(other for user_id in people for other in other_ids.get(user_id, ()))}
    open_ones = _open_ones(inputs.past, accounts, ids_of_people) if sent else {}
    found = []
    for verdict in sent:
        candidate, person = verdict.candidate, named[verdict.candidate.key]
        assert person is not None, "who is sent has somebody to talk to: the first row of the table sees to it"
        facts = _facts(
            verdict,
            str(assigned[candidate.key].recipient_id),
            (people[person.id], accounts.get(candidate.account_id or "")),
            fired=told_firings(candidate, people[person.id], people, rules.triggers),
            desk=desk,
            rules=rules,
        )
        ids = {person.id, *other_ids.get(person.id, ())}
        theirs = [row for user_id in sorted(ids) for row in open_ones.get(("user", user_id), ())]
        theirs += open_ones.get(("account", candidate.account_id or ""), ())
        also_with = _also_with(theirs, facts.recipient_id, desk)
        facts = replace(facts, scored_since=inputs.scored_since, also_with=also_with)
        package = build_package(facts, rules)
        row = _row(verdict, facts, package, rules=rules, as_of=inputs.as_of)
        found.append(HandedOver(row, package, verdict, facts.person, facts.account))
    return sorted(found, key=lambda handoff: handoff.row["handoff_id"])


def _facts(
    verdict: Verdict,
    recipient_id: str,
    whose: tuple[Row, Row | None],
    *,
    fired: list[Told],
    desk: Desk,
    rules: HandoffRules,
) -> HandoffFacts:
    calendar, priority = desk.calendar(recipient_id), verdict.candidate.priority(rules.triggers)
    due_at = calendar.due(desk.as_of, rules.due_hours[priority])
    return HandoffFacts(
        person=whose[0],
        account=whose[1],
        fired=fired,
        is_about_the_account=verdict.candidate.is_about_the_account,
        priority=priority,
        handoff_type=verdict.handoff_type,
        recipient_id=recipient_id,
        owner=desk.owners.get(recipient_id),
        due_at=due_at,
        due_text=calendar.text(due_at),
    )


def _row(
    verdict: Verdict, facts: HandoffFacts, package: HandoffPackage, *, rules: HandoffRules, as_of: datetime
) -> dict[str, Any]:
    candidate = verdict.candidate
    triggers, scored = candidate.triggers(rules.triggers), candidate.scored(rules.triggers)
    return {
        "handoff_id": handoff_id(candidate.key),
        "candidate_key": candidate.key,
        "user_id": facts.person["user_id"],
        "account_id": candidate.account_id,
        "trigger": triggers[0],
        "triggers": triggers,
        "priority": facts.priority,
        "handoff_type": verdict.handoff_type,
        "recipient_id": facts.recipient_id,
        "due_at": facts.due_at,
        "package_markdown": handoff_markdown(package),
        "package_blocks": json.dumps(handoff_blocks(package), ensure_ascii=False),
        "status": "pending",
        "classification": scored.classification if scored else None,
        "created_at": as_of,
    }


def _open_ones(past: pl.DataFrame, accounts: Collection[str], people: Collection[str]) -> Mapping[Slot, list[Row]]:
    """Handoffs that somebody may be working on, by the account and by the person that they name."""
    theirs = pl.col("account_id").is_in(list(accounts)) | pl.col("user_id").is_in(list(people))
    is_over = pl.col("status").is_in(ENDED).fill_null(False)
    found: dict[Slot, list[Row]] = defaultdict(list)
    for row in conform(past, PAST_SCHEMA).filter(theirs, ~is_over).iter_rows(named=True):
        for subject in ("account", "user"):
            found[subject, row[f"{subject}_id"]].append(row)
    return found


def _also_with(open_ones: Sequence[Row], recipient_id: str, desk: Desk) -> str:
    """Who else was given these, and when last; the latest first, empty for nobody."""
    by_age = sorted(open_ones, key=lambda row: row["created_at"])
    last = {row["recipient_id"]: row for row in by_age if row["recipient_id"] != recipient_id}
    told = []
    for row in sorted(last.values(), key=lambda row: row["created_at"], reverse=True):
        owner = desk.owners.get(row["recipient_id"])
        name = (plain(owner.name) if owner else "") or row["recipient_id"].replace(TEAM, "team ")
        told.append(f"{short(name)}, since {row['created_at']:%Y-%m-%d} ({row['status']})")
    more = [f"{len(told) - _NAMED} more"] if len(told) > _NAMED else []
    return "; ".join([*told[:_NAMED], *more])


def handoff_id(candidate_key: str) -> str:
    """The id of the one handoff that a candidate can become."""
    return identity("ho", candidate_key)
