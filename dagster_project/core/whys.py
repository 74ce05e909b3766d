"""Why somebody was, or was not, handed over: what is known of them, and the answer in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dagster_project.core.standings import ACCOUNT_FLAGS, USER_FLAGS
from dagster_project.core.wording import Row, company_name, person_name, score_text

if TYPE_CHECKING:
    from dagster_project.core.playbook import Playbook

_LATEST = 10
"""Decisions that an answer tells, the newest first."""


@dataclass(frozen=True)
class Dossier:
    """What the serving copy knows of a user and their account; lists have the newest first.

    ``user`` and ``account`` are rows of profiles with scores; ``is_account`` says that the account was asked for, and
    the user is its best one. ``excluded`` is a row of the exclusions.
    """

    user: Row | None
    account: Row | None
    is_account: bool
    decisions: tuple[Row, ...] = ()
    handoffs: tuple[Row, ...] = ()
    rules: tuple[Row, ...] = ()
    deliveries: tuple[Row, ...] = ()
    audiences: tuple[Row, ...] = ()
    owners: Mapping[str, str | None] = field(default_factory=dict)
    excluded: Row | None = None

    def sent(self) -> Row | None:
        """The latest handoff that was not withdrawn: of the account, or for a user one that names them.

        Who has no account may be named by another id of theirs.
        """
        user_id = self.user["user_id"] if self.user else None
        for handoff in self.handoffs:
            is_theirs = self.is_account or self.account is None or handoff["user_id"] == user_id
            if is_theirs and handoff["status"] != "cancelled":
                return handoff
        return None


def why_nobody(dossier: Dossier) -> str | None:
    """Why nobody may contact them; None where somebody may."""
    found = [(dossier.user, USER_FLAGS)] if dossier.user else []
    found += [(dossier.account, ACCOUNT_FLAGS)] if dossier.account else []
    for row, flags in found:
        if reason := next((reason for column, reason in flags.items() if row[column]), None):
            return reason
        if row["suppression_reason"]:
            return f"on the suppression list: {row['suppression_reason']}"
    return None


def why_no_package(dossier: Dossier, playbook: Playbook) -> str:
    """Why there is no handoff package, from the latest decision or from what has not fired."""
    if dossier.decisions:
        latest = dossier.decisions[0]
        if latest["decision"] == "sent":
            named = next((h for h in dossier.handoffs if h["handoff_id"] == latest["handoff_id"]), None)
            whom = f", which names {named['user_id']}" if named else ""
            return f"the account was handed over on {latest['decided_at']:%Y-%m-%d}{whom}"
        return f"{latest['decision']} on {latest['decided_at']:%Y-%m-%d}: {latest['reason']}"
    if reason := why_nobody(dossier):
        return f"nothing has fired, and nobody may contact them: {reason}"
    return "nothing has fired: " + "; ".join(_not_fired(dossier, playbook))


def _not_fired(dossier: Dossier, playbook: Playbook) -> Iterator[str]:
    """How far each trigger is from firing, as far as that is a number."""
    rules, user, account = playbook.handoffs.triggers, dossier.user, dossier.account
    if user:
        yield f"the PQL score is {score_text(user['pql_score'])}, and fires above {rules.hot_pql.score_above:g}"
        yield (
            f"{user['pricing_visits'] or 0} pricing visits of {rules.pricing_visits.visits}, "
            f"{user['upgrade_click'] or 0} upgrade clicks with usage {user['usage_tier']} "
            f"({rules.upgrade_intent.usage_tier} is needed)"
        )
        yield f"{user['limit_support_contact'] or 0} requests about limits, {user['sales_request'] or 0} for sales"
    if account:
        yield f"{account['active_users_30d'] or 0} active users of {rules.team_growth.active_users}"


def why(dossier: Dossier, playbook: Playbook) -> list[str]:
    """The answer to "why didn't I hear about them?", line by line in plain text."""
    if dossier.excluded:
        row = dossier.excluded
        return [f"{row['email'] or row['user_id']} is not scored: {row['reason']}."]
    return [*_who(dossier), "", *_decided(dossier, playbook), *_ruled(dossier), *_kept(dossier)]


def _who(dossier: Dossier) -> Iterator[str]:
    user, account = dossier.user, dossier.account
    if user and not dossier.is_account:
        score = f"PQL {score_text(user['pql_score'])} ({user['classification']})"
        stands = f"{score}, {user['activation_stage']}, usage {user['usage_tier']}"
        yield f"{person_name(user)}, user {user['user_id']}: {stands}"
    if account:
        score = f"PQA {score_text(account['pqa_score'])} ({account['classification']})"
        segment = f"{account['segment']} ({account['segment_source']}), {account['motion']}"
        yield f"{company_name({}, account)}, account {account['account_id']}: {score}, {segment}"
    if user and dossier.is_account:
        score = f"PQL {score_text(user['pql_score'])} ({user['classification']})"
        yield f"Its best user is {person_name(user)}, user {user['user_id']}: {score}"
    if reason := why_nobody(dossier):
        yield f"Nobody may contact them: {reason}."


def _decided(dossier: Dossier, playbook: Playbook) -> Iterator[str]:
    if not dossier.decisions:
        yield f"No handoff: {why_no_package(dossier, playbook)}."
        return
    yield "Decisions, the newest first:"
    for row in dossier.decisions[:_LATEST]:
        fired = f"{row['priority']} {', '.join(row['triggers'])}"
        what = f"{row['decided_at']:%Y-%m-%d %H:%M}  {row['decision']}  [{fired}]"
        is_asked_for = not dossier.is_account and dossier.user and row["user_id"] == dossier.user["user_id"]
        whose = f" {row['user_id']}" if row["user_id"] and not is_asked_for else ""
        yield f"  {what}{whose}: {row['reason']}"
        if row["handoff_id"]:
            yield from (f"      {line}" for line in _sent(row["handoff_id"], dossier))
    if len(dossier.decisions) > _LATEST:
        yield f"  and {len(dossier.decisions) - _LATEST} older ones in marts.handoff_decisions"


def _sent(handoff_id: str, dossier: Dossier) -> Iterator[str]:
    for row in dossier.handoffs:
        if row["handoff_id"] == handoff_id:
            to = dossier.owners.get(row["recipient_id"]) or row["recipient_id"]
            yield f"{handoff_id} to {to}, due {row['due_at']:%Y-%m-%d %H:%M} UTC, {row['status']}"
    for row in dossier.deliveries:
        if row["object_id"] == handoff_id:
            error = f": {row['error']}" if row["error"] else ""
            yield f"{row['operation']} by {row['destination']}: {row['status']}{error}"


def _ruled(dossier: Dossier) -> Iterator[str]:
    if dossier.rules:
        yield "Rules, the newest first:"
    for row in dossier.rules[:_LATEST]:
        yield f"  {row['decided_at']:%Y-%m-%d %H:%M}  {row['rule']}  {row['decision']}: {row['reason']}"


def _kept(dossier: Dossier) -> Iterator[str]:
    for row in dossier.audiences:
        whose = f"{row['email'] or row['user_id']} " if dossier.is_account else ""
        since = f"{row['joined_at']:%Y-%m-%d}"
        yield f"In the automation {whose}since {since}: {row['playbook']}, next: {row['next_step']}."
