"""Audiences: who is left to self-serve, by which automation, and what it should bring them to next.

The leads that sales does not get are not dropped: marketing's tools act on two fields of the contact, and on the
published table of the same. Whoever may not be written to is in no audience.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.core import decisions as table
from dagster_project.core.actions import Action
from dagster_project.core.candidates import identity
from dagster_project.core.decisions import Verdict
from dagster_project.core.wording import Row

if TYPE_CHECKING:
    from dagster_project.core.playbook import Playbook

NOBODYS = "none"
"""What the two fields say of a contact that has left its audience: empty would be `unknown`."""
MEMBER_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(("member_id", "user_id", "contact_id", "account_id"), pl.String()),
        **dict.fromkeys(("playbook", "next_step", "reason"), pl.String()),
        **dict.fromkeys(("joined_at", "left_at"), pl.Datetime("us")),
    }
)


AUDIENCE_COLUMNS = ("user_id", "contact_id", "account_id", "activation_stage")
"""What is read of users."""


def audiences(
    verdicts: Sequence[Verdict],
    members: pl.DataFrame,
    users: Mapping[str, Row],
    *,
    blocked: Mapping[str, str],
    with_sales: Collection[str] = (),
    deleted: Collection[str] = (),
    playbook: Playbook,
    as_of: datetime,
) -> tuple[list[dict[str, Any]], list[Action]]:
    """Who joins, stays with something new, or leaves; and what the CRM's lists have to know of it.

    Args:
        verdicts: Decisions that are new in this run.
        members: ``MEMBER_SCHEMA``, those who are in an audience now.
        users: `AUDIENCE_COLUMNS` of whoever is looked at, by user id.
        blocked: Why users may not be contacted, or are not scored any more, by user id.
        with_sales: Ids of the users whom a seller has: no automation writes to them beside that.
        deleted: Ids of contacts that the CRM has no more: there is nothing to write to.
        playbook: The rules.
        as_of: The moment of the run, naive UTC.

    Returns:
        Rows of ``MEMBER_SCHEMA`` to keep in place of those with the same id, and a field change for each.
    """
    rules = playbook.automation.self_serve
    now = {row["user_id"]: row for row in members.iter_rows(named=True)}
    wanted: dict[str, dict[str, Any]] = {user_id: dict(row) for user_id, row in now.items()}
    for verdict in verdicts:
        reason = f"{verdict.decision}: {verdict.reason}"
        told = verdict.candidate.triggers(playbook.handoffs.triggers)
        for user_id in _people(verdict, playbook):
            if user_id in users and _joins(verdict, user_id in with_sales, playbook):
                wanted[user_id] = _member(now.get(user_id), users[user_id], rules.playbook_of(told), reason, as_of)
            elif verdict.decision == table.SENT:
                wanted.pop(user_id, None)
    oldest = as_of.date() - timedelta(days=rules.days)
    names = {playbook.name for playbook in rules.playbooks}
    for user_id, row in list(wanted.items()):
        if user_id in blocked or row["playbook"] not in names or row["joined_at"].date() <= oldest:
            del wanted[user_id]
        elif user_id in users:
            row |= {name: users[user_id][name] for name in ("contact_id", "account_id")}
            row["next_step"] = rules.next_step[users[user_id]["activation_stage"]]
    changed = [row for user_id, row in wanted.items() if row != now.get(user_id)]
    gone = [{**row, "left_at": as_of} for user_id, row in now.items() if user_id not in wanted]
    rows = sorted([*changed, *gone], key=lambda row: row["member_id"])
    # Users who share a contact share its fields: of those who are in an audience whoever joined last counts.
    standing = {row["contact_id"]: row for row in sorted(wanted.values(), key=_age)}
    news = {
        row["contact_id"]: standing.get(row["contact_id"], row)
        for row in rows
        if row["contact_id"] and row["contact_id"] not in deleted and _is_told(row, now.get(row["user_id"]))
    }
    return rows, [_told(row, as_of) for row in news.values()]


def _age(row: Row) -> tuple[datetime, str]:
    return row["joined_at"], row["member_id"]


def _people(verdict: Verdict, playbook: Playbook) -> list[str]:
    """Everybody behind a candidate, or whom it names."""
    named = verdict.candidate.person(playbook.handoffs.triggers)
    return sorted(verdict.candidate.people) or ([named.id] if named else [])


def _joins(verdict: Verdict, is_with_sales: bool, playbook: Playbook) -> bool:
    is_both = verdict.decision == table.SENT and verdict.handoff_type in playbook.automation.self_serve.handoff_types
    return is_both or (verdict.decision == table.SELF_SERVE and not is_with_sales)


def _member(was: Row | None, person: Row, playbook: str, reason: str, as_of: datetime) -> dict[str, Any]:
    return {
        "member_id": was["member_id"] if was else identity("au", person["user_id"], as_of.isoformat()),
        **{name: person[name] for name in ("user_id", "contact_id", "account_id")},
        "playbook": playbook,
        "next_step": "",
        "reason": reason,
        "joined_at": as_of,
        "left_at": None,
    }


def _is_told(row: Row, was: Row | None) -> bool:
    said = ("playbook", "next_step", "contact_id", "left_at")
    return was is None or any(row[name] != was[name] for name in said)


def _told(row: Row, as_of: datetime) -> Action:
    is_gone = row["left_at"] is not None
    fields = {
        "pls_playbook": NOBODYS if is_gone else row["playbook"],
        "pls_next_step": NOBODYS if is_gone else row["next_step"],
    }
    key = identity("ac", "audience", row["member_id"], *fields.values(), as_of.isoformat())
    return Action(key, "set_field", "contact", row["contact_id"], {"fields": fields})
