"""What follows from a handoff or from leaving one to somebody else: a task, an owner, a note, and word to marketing.

All of it comes from decisions that have passed the guardrails already, and is kept in one transaction with them.
Source: sections 6 and 7.2 of the specification.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.core.actions import Action
from dagster_project.core.automation import ACTED, NO_COMPANY, SKIPPED, Outcome, notice_row, rule_decision_row
from dagster_project.core.candidates import identity
from dagster_project.core.decisions import Verdict
from dagster_project.core.key_signals import scored_signal, telling_entries
from dagster_project.core.package_model import HandoffPackage, Told
from dagster_project.core.packages import firing_titles, told_firings
from dagster_project.core.rendering import handoff_text
from dagster_project.core.routing import TEAM, Desk, Request
from dagster_project.core.wording import Row, company_name, person_name, score_text, short

if TYPE_CHECKING:
    from dagster_project.core.playbook import Playbook

TASK, ENTERPRISE_OWNER, OPPORTUNITY_NOTE = "task", "enterprise_owner", "opportunity_note"
MARKETING = "marketing"
"""Whom a notice is for that goes to marketing's channel, and its topic."""
WITH_SALES, RECYCLED, WITHDRAWN = "with_sales", "recycled", "withdrawn"
UNKNOWN_STAGE = "unknown"
"""What stands for the lifecycle stage of a contact of which the CRM says none any more."""
OVERLAP_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(("handoff_id", "contact_id", "user_id", "account_id", "email"), pl.String()),
        **dict.fromkeys(("lifecycle_stage", "status"), pl.String()),
        **dict.fromkeys(("paused_at", "recycled_at"), pl.Datetime("us")),
        "recycled_reason": pl.String(),
    }
)


@dataclass(frozen=True)
class HandedOver:
    """A handoff of this run: its row, its package, and the decision that made it."""

    row: Row
    package: HandoffPackage
    verdict: Verdict
    person: Row
    account: Row | None


@dataclass(frozen=True)
class SalesAnswer:
    """What became of a handoff to an MQL: sales rejected it (``is_rejected``), or it was never sent."""

    handoff_id: str
    is_rejected: bool
    reason: str
    at: datetime


def follow_up(handed_over: Sequence[HandedOver], desk: Desk, playbook: Playbook, *, as_of: datetime) -> Outcome:
    """Tasks and owners that come with handoffs.

    Args:
        handed_over: The handoffs of this run.
        desk: Whose turn it is; an owner may be taken from it.
        playbook: The rules.
        as_of: The moment of the run, naive UTC.
    """
    outcome = Outcome()
    for handoff in handed_over:
        if playbook.automation.task.enabled and playbook.automation.task.triggers & set(handoff.row["triggers"]):
            _task(handoff, playbook, outcome, as_of=as_of)
        if playbook.automation.enterprise_owner.enabled and "enterprise_signup" in handoff.row["triggers"]:
            _owner(handoff, desk, playbook, outcome=outcome, as_of=as_of)
    return outcome


def _told(handoff: HandedOver, rule: str, decision: str, *, reason: str, as_of: datetime) -> dict[str, Any]:
    recipient = handoff.row["recipient_id"]
    return rule_decision_row(
        (rule, "user", handoff.row["user_id"], handoff.row["handoff_id"]),
        (handoff.row["user_id"], handoff.row["account_id"]),
        decision,
        moment=as_of.isoformat(),
        rest={"reason": reason, "recipient_id": recipient, "decided_at": as_of},
    )


def _record(person: Row, account: Row | None) -> tuple[str, str] | None:
    """Where in the CRM something about a person stands: at the contact, else at the account; None for nowhere."""
    if person["contact_id"]:
        return "contact", person["contact_id"]
    return ("account", account["account_id"]) if account and account["in_crm"] else None


def _task(handoff: HandedOver, playbook: Playbook, outcome: Outcome, *, as_of: datetime) -> None:
    row, person, account = handoff.row, handoff.person, handoff.account
    record = _record(person, account)
    if record is None:
        reason = f"{person_name(person)} is neither a contact of the CRM nor in one of its accounts: no task"
        outcome.decisions.append(_told(handoff, TASK, SKIPPED, reason=reason, as_of=as_of))
        return
    payload = {
        "subject": playbook.automation.task.subject.format_map(_words(person, account, as_of)),
        "body": handoff_text(handoff.package),
        "due_at": row["due_at"].isoformat(timespec="seconds") + "Z",
        "owner_id": None if row["recipient_id"].startswith(TEAM) else row["recipient_id"],
        "contact_id": person["contact_id"],
        "account_id": account["account_id"] if account and account["in_crm"] else None,
        "priority": row["priority"],
        "user_id": person["user_id"],
    }
    outcome.actions.append(Action(task_key(row["handoff_id"]), "task", *record, payload))
    reason = f"a task on the {record[0]} {record[1]} for {row['recipient_id']}"
    outcome.decisions.append(_told(handoff, TASK, ACTED, reason=reason, as_of=as_of))


def task_key(handoff_id: str) -> str:
    """The key of the task that a handoff has in the CRM, if it has one; its answer is read back under it."""
    return identity("ac", TASK, handoff_id)


def _words(person: Row, account: Row | None, as_of: datetime) -> dict[str, str]:
    return {
        "person": short(person_name(person)),
        "company": short(company_name(person, account)) if account else NO_COMPANY,
        "score": score_text(person["pql_score"] or 0.0),
        "active_users": str((account["active_users_30d"] if account else 1) or 0),
        "date": f"{as_of:%Y-%m-%d}",
    }


def _owner(handoff: HandedOver, desk: Desk, playbook: Playbook, *, outcome: Outcome, as_of: datetime) -> None:
    account = handoff.account
    decision, reason, owner_id = SKIPPED, "the account is none of the CRM's", None
    if account and account["in_crm"]:
        owner = desk.owners.get(account["owner_id"] or "")
        if owner and owner.is_active:
            reason = f"{owner.owner_id} owns {company_name({}, account)} already and is active"
        elif owner_id := _of_team(handoff, desk, playbook.automation.enterprise_owner.team):
            decision, reason = ACTED, f"{company_name({}, account)} is assigned to {owner_id}"
        else:
            reason = f"nobody of team {playbook.automation.enterprise_owner.team} is active and has room"
    if owner_id and account:
        payload = {
            "owner_id": owner_id,
            "instead_of": [account["owner_id"]] if account["owner_id"] else [],
            "user_id": handoff.row["user_id"],
        }
        key = identity("ac", ENTERPRISE_OWNER, handoff.row["handoff_id"])
        outcome.actions.append(Action(key, "assign_owner", "account", account["account_id"], payload))
    told = _told(handoff, ENTERPRISE_OWNER, decision, reason=reason, as_of=as_of)
    outcome.decisions.append(told | ({"recipient_id": owner_id} if owner_id else {}))


def _of_team(handoff: HandedOver, desk: Desk, team: str) -> str | None:
    """Who of a team has the handoff already, else whose turn it is."""
    recipient = desk.owners.get(handoff.row["recipient_id"])
    if recipient and recipient.team == team:
        return recipient.owner_id
    found = desk.assign(Request((), team, handoff.row["priority"])).recipient_id
    return found if found and not found.startswith(TEAM) else None


def opportunity_notes(
    verdicts: Sequence[Verdict], users: Mapping[str, Row], accounts: Mapping[str, Row], playbook: Playbook
) -> list[Action]:
    """A note on the record for each candidate that is left to the owner of an open opportunity.

    Args:
        verdicts: Decisions that are new in this run: these candidates are left to such an owner.
        users: Features with scores by user id, of everybody behind them.
        accounts: The same by account id.
        playbook: The rules.
    """
    if not playbook.automation.opportunity_note.enabled:
        return []
    notes = []
    for verdict in verdicts:
        standing = verdict.candidate.person(playbook.handoffs.triggers)
        person = users.get(standing.id) if standing else None
        account = accounts.get(verdict.candidate.account_id or "")
        record = _record(person, account) if person else None
        if person and record:
            fired = told_firings(verdict.candidate, person, users, playbook.handoffs.triggers)
            notes.append(_note(verdict, person, account, fired=fired, record=record, playbook=playbook))
    return notes


def _note(
    verdict: Verdict,
    person: Row,
    account: Row | None,
    *,
    fired: Sequence[Told],
    record: tuple[str, str],
    playbook: Playbook,
) -> Action:
    rules = playbook.handoffs
    own = firing_titles([told for told in fired if not told[1]], rules.triggers)
    others = firing_titles([told for told in fired if told[1]], rules.triggers)
    address = f" ({short(person['email'])})" if person["email"] and person["email"] != person_name(person) else ""
    entries = telling_entries(person["explanation"] or ())[: rules.package.key_signals]
    signals = [scored_signal(entry, rules.package) for entry in entries]
    lines = [
        f"{person_name(person)}{address}: {own}. PQL score {score_text(person['pql_score'] or 0.0)}/100.",
        *([f"Also: {others}"] if others else []),
        *(f"{signal.label}: {signal.value} ({signal.meaning})" for signal in signals),
        f"Not sent as an alert: {verdict.reason}.",
    ]
    payload = {
        "subject": playbook.automation.opportunity_note.subject.format_map(_words(person, account, person["as_of"])),
        "body": "\n".join(lines) + "\n",
        "owner_id": account["owner_id"] if account else None,
        "contact_id": person["contact_id"],
        "account_id": account["account_id"] if account and account["in_crm"] else None,
        "priority": verdict.candidate.priority(rules.triggers),
        "user_id": person["user_id"],
    }
    key = identity("ac", OPPORTUNITY_NOTE, verdict.candidate.key)
    return Action(key, "note", *record, payload)


# --- marketing ------------------------------------------------------------------------------------


def taken_over(
    handed_over: Sequence[HandedOver],
    playbook: Playbook,
    outcome: Outcome,
    *,
    paused: Collection[str] = (),
    as_of: datetime,
) -> list[dict[str, Any]]:
    """The MQLs that sales takes over.

    Sales may have somebody already whose nurture is paused, whatever marketing calls them by now: what is handed over
    then is one more reason for the pause, and no news to marketing.

    Args:
        handed_over: The handoffs of this run.
        playbook: The rules.
        outcome: Gets the pause and the word to marketing.
        paused: Ids of contacts that sales has already and whose nurture is paused for that.
        as_of: The moment of the run, naive UTC.

    Returns:
        Rows of ``OVERLAP_SCHEMA``.
    """
    rules, rows = playbook.automation.marketing, []
    for handoff in handed_over:
        person = handoff.person
        stage = (person["contact_lifecycle_stage"] or "").strip().lower()
        is_mql = stage in rules.mql_stages
        if not person["contact_id"] or not (is_mql or person["contact_id"] in paused):
            continue
        handoff_id = handoff.row["handoff_id"]
        if is_mql:
            outcome.actions.append(_nurture(handoff_id, person["contact_id"], is_paused=True))
        if is_mql and person["contact_id"] not in paused:
            text = rules.taken_over.format_map(_words(person, handoff.account, as_of))
            outcome.notices.append(
                notice_row(word_key(handoff_id), MARKETING, MARKETING, person=person, text=text, at=as_of)
            )
        rows.append(
            {
                "handoff_id": handoff_id,
                **{name: person[name] for name in ("contact_id", "user_id", "account_id", "email")},
                "lifecycle_stage": person["contact_lifecycle_stage"] or UNKNOWN_STAGE,
                "status": WITH_SALES,
                "paused_at": as_of,
                "recycled_at": None,
                "recycled_reason": None,
            }
        )
    return rows


def word_key(handoff_id: str) -> str:
    """The id of the notice that tells marketing of a handoff."""
    return identity("no", MARKETING, handoff_id, WITH_SALES)


def pause_key(handoff_id: str) -> str:
    """The key of the action that pauses nurture for a handoff."""
    return identity("ac", "pause_nurture", handoff_id, str(True))


def resume_nurture(handoff_id: str, contact_id: str, user_id: str | None = None) -> Action:
    """Ends the pause that a handoff began.

    Args:
        handoff_id: Of the handoff.
        contact_id: Whose nurture goes on.
        user_id: Of whom it is asked, right before, whether they may be written to; None to ask nobody.
    """
    return _nurture(handoff_id, contact_id, is_paused=False, user_id=user_id)


def _nurture(handoff_id: str, contact_id: str, *, is_paused: bool, user_id: str | None = None) -> Action:
    key = pause_key(handoff_id) if is_paused else identity("ac", "pause_nurture", handoff_id, str(is_paused))
    who = {"user_id": user_id} if user_id else {}
    return Action(key, "set_field", "contact", contact_id, {"fields": {"pause_nurture": is_paused}, **who})


def given_back(
    open_overlaps: pl.DataFrame,
    answers: Mapping[str, SalesAnswer],
    playbook: Playbook,
    outcome: Outcome,
    *,
    people: Mapping[str, Row],
    accounts: Mapping[str, Row],
    taken: Collection[Row],
    as_of: datetime,
) -> list[dict[str, Any]]:
    """The overlaps that have ended: sales said no, so nurture goes on; or nothing was sent after all.

    It goes on only when sales has nothing of the contact left: the last answer gives it back. Whoever takes up what was
    given back has it again, and nurture pauses again.

    Args:
        open_overlaps: ``OVERLAP_SCHEMA``, those with sales, and those given back whose latest answer is another one.
        answers: What is known of their handoffs, by handoff id.
        playbook: The rules.
        outcome: Gets the field changes and the word to marketing.
        people: Features by user id, at least of those whose overlaps may end; who is gone is called by their address.
        accounts: The same of their accounts, by account id.
        taken: The overlaps that begin in this run.
        as_of: The moment of the run, naive UTC.
    """
    ended = []
    paused = {row["contact_id"] for row in taken}
    for row in open_overlaps.iter_rows(named=True):
        answer = answers.get(row["handoff_id"])
        if answer is None or not answer.is_rejected:  # whom nobody may write to stays out of nurture as well
            paused.add(row["contact_id"])
    for row in open_overlaps.sort("handoff_id").iter_rows(named=True):
        answer = answers.get(row["handoff_id"])
        if answer is None:
            if row["status"] == RECYCLED:
                again = {"status": WITH_SALES, "paused_at": as_of, "recycled_at": None, "recycled_reason": None}
                ended.append({**row, **again})
                outcome.actions.append(_nurture(row["handoff_id"], row["contact_id"], is_paused=True))
                text = playbook.automation.marketing.taken_over.format_map(_told_of(row, people, accounts))
                key = identity("no", MARKETING, row["handoff_id"], WITH_SALES, as_of.isoformat())
                outcome.notices.append(notice_row(key, MARKETING, MARKETING, person=row, text=text, at=as_of))
            continue
        status = RECYCLED if answer.is_rejected else WITHDRAWN
        ended.append({**row, "status": status, "recycled_at": answer.at, "recycled_reason": answer.reason})
        if row["contact_id"] in paused:
            continue
        paused.add(row["contact_id"])  # it is given back once
        outcome.actions.append(resume_nurture(row["handoff_id"], row["contact_id"], row["user_id"]))
        told = {**_told_of(row, people, accounts), "reason": answer.reason}
        outcome.notices.append(
            notice_row(
                identity("no", MARKETING, row["handoff_id"], RECYCLED, answer.at.isoformat()),
                MARKETING,
                MARKETING,
                person=row,
                text=playbook.automation.marketing.given_back.format_map(told),
                at=as_of,
            )
        )
    return ended


def _told_of(overlap: Row, people: Mapping[str, Row], accounts: Mapping[str, Row]) -> dict[str, str]:
    person, account = people.get(overlap["user_id"]), accounts.get(overlap["account_id"] or "")
    return {
        "person": short(person_name(person) if person else overlap["email"] or overlap["user_id"]),
        "company": short(company_name({}, account) if account else overlap["account_id"] or NO_COMPANY),
    }
