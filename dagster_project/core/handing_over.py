"""Makes the handoffs of what was decided to be sent: whom each names, until when, and its package in every layout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from dagster_project.core.block_kit import handoff_blocks
from dagster_project.core.candidates import Candidate, identity
from dagster_project.core.decisions import Verdict
from dagster_project.core.follow_ups import HandedOver
from dagster_project.core.handoff_plan import HandoffInputs
from dagster_project.core.handoff_rules import HandoffRules
from dagster_project.core.package_model import HandoffFacts, HandoffPackage
from dagster_project.core.packages import build_package
from dagster_project.core.rendering import handoff_markdown
from dagster_project.core.routing import Assignment, Desk
from dagster_project.core.standings import Standing
from dagster_project.core.wording import Row


def hand_over(
    sent: Sequence[Verdict],
    assigned: Mapping[str, Assignment],
    inputs: HandoffInputs,
    *,
    desk: Desk,
    rules: HandoffRules,
) -> list[HandedOver]:
    """The handoffs of the verdicts to send, in the order of their ids.

    Args:
        sent: Verdicts with the decision to send.
        assigned: Who receives each, by candidate key.
        inputs: The run.
        desk: Owners and their working hours.
        rules: `handoffs.yml`.
    """
    named = {verdict.candidate.key: verdict.candidate.person(rules.triggers) for verdict in sent}
    people = inputs.whole("user", {person.id for person in named.values() if person})
    accounts = inputs.whole("account", {v.candidate.account_id for v in sent if v.candidate.account_id})
    found = []
    for verdict in sent:
        candidate, person = verdict.candidate, named[verdict.candidate.key]
        assert person is not None, "who is sent has somebody to talk to: the first row of the table sees to it"
        facts = _facts(
            verdict,
            str(assigned[candidate.key].recipient_id),
            (people[person.id], accounts.get(candidate.account_id or "")),
            fired=_told(candidate, person, people[person.id], rules=rules),
            desk=desk,
            rules=rules,
        )
        facts = replace(facts, scored_since=inputs.scored_since)
        package = build_package(facts, rules)
        row = _row(verdict, facts, package, rules=rules, as_of=inputs.as_of)
        found.append(HandedOver(row, package, verdict, facts.person, facts.account))
    return sorted(found, key=lambda handoff: handoff.row["handoff_id"])


def _facts(
    verdict: Verdict,
    recipient_id: str,
    whose: tuple[Row, Row | None],
    *,
    fired: list[tuple[str, str, datetime]],
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


def handoff_id(candidate_key: str) -> str:
    """The id of the one handoff that a candidate can become."""
    return identity("ho", candidate_key)


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
