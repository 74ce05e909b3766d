"""Candidates for a handoff: what fired for one account or one person, with the facts a decision needs.

Here triggers become candidates and open ones of earlier runs join them. What is decided about a candidate is
in ``decisions``; a candidate names people, it does not contact them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

import polars as pl

from dagster_project.core.handoff_rules import HandoffRules, Priority, Triggers
from dagster_project.core.standings import (
    STANDING_OF_ACCOUNTS,
    STANDING_OF_USERS,
    Standing,
    account_block_reason,
    accounts_standing,
    best_contactable,
    people_standing,
    same_people,
    with_block_reasons,
)
from dagster_project.core.triggers import conform

CANDIDATE_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(("candidate_key", "subject_type", "subject_id", "user_id", "account_id"), pl.String()),
        "triggers": pl.List(pl.String),
        "priority": pl.String(),
        "explicit_request": pl.Boolean(),
        "first_seen_at": pl.Datetime("us"),
        "last_decision": pl.String(),
    }
)
REOPENED = "reopened"
"""The last decision of a candidate that is what a withdrawn handoff leaves: none has been made about it yet."""
Slot = tuple[str, str]
"""What is decided as one: ``("account", id)`` or ``("user", id)``."""


@dataclass(frozen=True, slots=True)
class Firing:
    """One trigger that fired. ``stood_before``: on a first run, its condition is older than the baseline."""

    trigger: str
    subject_type: str
    subject_id: str
    occurrence: str
    stood_before: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is decided as one: all firings of an account, of a person without one under all ids, or of one blocked.

    ``people`` holds the persons behind the firings; ``champion`` is the account's best contactable user.
    """

    key: str
    subject_type: str
    subject_id: str
    account_id: str | None
    account: Standing | None
    people: Mapping[str, Standing]
    champion: Standing | None
    firings: tuple[Firing, ...]
    blocked: str | None
    first_seen_at: datetime

    @property
    def is_about_the_account(self) -> bool:
        """Whether only the account's own triggers fired, so that its score is the one that counts."""
        return all(firing.subject_type == "account" for firing in self.firings)

    @property
    def subject(self) -> Standing | None:
        """Whose segment, motion and opportunities apply: the account's, else the person's."""
        return self.account or next(iter(self.people.values()), None)

    def triggers(self, rules: Triggers) -> list[str]:
        """The triggers that fired, the most urgent first."""
        return sorted({firing.trigger for firing in self.firings}, key=rules.urgency)

    def priority(self, rules: Triggers) -> Priority:
        """The highest priority among the triggers."""
        return rules.by_key()[self.triggers(rules)[0]].priority

    def person(self, rules: Triggers) -> Standing | None:
        """Whom the handoff names: of those behind it the most urgent, then the best; else the champion."""
        behind = [
            (rules.urgency(firing.trigger), -self.people[firing.subject_id].score, firing.subject_id)
            for firing in self.firings
            if firing.subject_id in self.people and firing.subject_type == "user"
        ]
        return self.people[min(behind)[2]] if behind else self.champion

    def scored(self, rules: Triggers) -> Standing | None:
        """Whose score and class stand on the handoff."""
        return self.account if self.is_about_the_account and self.account else self.person(rules)


@dataclass(frozen=True)
class OpenCandidate:
    """A candidate that an earlier run left open."""

    key: str
    firings: frozenset[Firing]
    first_seen_at: datetime
    last_decision: str


@dataclass(frozen=True)
class Standings:
    """Everybody the firings are about, and the best contactable user of each account that fired itself.

    ``first_ids`` has, of those without an account who may be contacted, the first id of whoever has several.
    """

    people: Mapping[str, Standing]
    accounts: Mapping[str, Standing]
    champions: Mapping[str, Standing]
    first_ids: Mapping[str, str] = field(default_factory=dict)

    def slot(self, firing: Firing) -> Slot:
        """An account's firings are decided together, and those of one person; whoever is blocked is decided alone."""
        person = self.people.get(firing.subject_id) if firing.subject_type == "user" else None
        if person and person.account_id and not person.blocked:
            return "account", person.account_id
        if firing.subject_type == "user":
            return "user", self.first_ids.get(firing.subject_id, firing.subject_id)
        return firing.subject_type, firing.subject_id


def open_candidates(frame: pl.DataFrame, rules: HandoffRules) -> list[OpenCandidate]:
    """Open candidates as they were kept; a trigger that the playbook no longer has, or has switched off, is dropped."""
    known = {key for key, rule in rules.triggers.by_key().items() if rule.enabled}
    found = []
    for row in conform(frame, CANDIDATE_SCHEMA).sort("candidate_key").iter_rows(named=True):
        firings = frozenset(firing for text in row["triggers"] if (firing := _read_firing(text)).trigger in known)
        if firings:
            found.append(OpenCandidate(row["candidate_key"], firings, row["first_seen_at"], row["last_decision"]))
    return found


def firing_texts(candidate: Candidate) -> list[str]:
    """What fired for a candidate, as the ledger keeps it."""
    return [_write_firing(firing) for firing in candidate.firings]


def left_of(handoff: Mapping[str, Any], firings: Sequence[str]) -> dict[str, object] | None:
    """The open candidate that a withdrawn handoff leaves, a row of ``CANDIDATE_SCHEMA``; None if it leaves nothing.

    The person that it names is out of it; what colleagues asked for, and what fired for the account itself, is to be
    decided anew. Another handoff has another id, so that the candidate has another key.

    Args:
        handoff: The handoff's row.
        firings: What fired for it, see `firing_texts`.
    """
    named = ("user", handoff["user_id"])
    left = [(text, found) for text in firings if _subject(found := _read_firing(text)) != named]
    if not left:
        return None
    people = [found.subject_id for _, found in left if found.subject_type == "user"]
    account_id = handoff["account_id"]
    return {
        "candidate_key": identity("ca", handoff["candidate_key"], "without", handoff["user_id"]),
        "subject_type": "account" if account_id else left[0][1].subject_type,
        "subject_id": account_id or left[0][1].subject_id,
        "user_id": people[0] if people else None,
        "account_id": account_id,
        "triggers": [text for text, _ in left],
        "priority": handoff["priority"],
        "explicit_request": False,  # as the priority: the next decision says which it is
        "first_seen_at": handoff["created_at"],
        "last_decision": REOPENED,
    }


def _subject(firing: Firing) -> Slot:
    return firing.subject_type, firing.subject_id


def _write_firing(firing: Firing) -> str:
    """A firing as an open candidate keeps it: ``hot_pql 2026-05-02T10:00:00.000000 new user:u_1``."""
    age = "old" if firing.stood_before else "new"
    return f"{firing.trigger} {firing.occurrence} {age} {firing.subject_type}:{firing.subject_id}"


def _read_firing(text: str) -> Firing:
    trigger, occurrence, age, subject = text.split(" ", 3)
    subject_type, subject_id = subject.split(":", 1)
    return Firing(trigger, subject_type, subject_id, occurrence, age == "old")


def standings_of(users: pl.DataFrame, accounts: pl.DataFrame, firings: Iterable[Firing]) -> Standings:
    """The standings of everybody in ``firings``, and of the accounts they belong to.

    ``users`` is user features with PQL columns, ``accounts`` account features with PQA columns.
    """
    ids: dict[str, set[str]] = {"user": set(), "account": set()}
    for firing in firings:
        ids[firing.subject_type].add(firing.subject_id)
    behind = pl.col("user_id").is_in(list(ids["user"]))
    users, accounts = users.select(STANDING_OF_USERS), accounts.select(STANDING_OF_ACCOUNTS)
    # the account's own triggers need everybody in it, to name the best of them
    users = users.filter(behind | pl.col("account_id").is_in(list(ids["account"])).fill_null(False))
    wanted = ids["account"] | set(users.filter(pl.col("account_id").is_not_null())["account_id"])
    accounts = accounts.filter(pl.col("account_id").is_in(list(wanted)))
    accounts = accounts.with_columns(blocked=account_block_reason())
    users = with_block_reasons(users, accounts)
    best = best_contactable(users.filter(pl.col("account_id").is_in(list(ids["account"]))))
    named = users.filter(behind)
    people = people_standing(named)
    alone = named.filter(pl.col("account_id").is_null() & pl.col("blocked").is_null())
    several = same_people(alone.select("user_id", "email", "user_name").iter_rows())
    champions = {standing.account_id: standing for standing in people_standing(best).values()}
    return Standings(
        people=people,
        accounts=accounts_standing(accounts),
        champions={account_id: person for account_id, person in champions.items() if account_id},
        first_ids={user_id: min(known) for user_id, known in several.items()},
    )


def gather(
    fired: Sequence[Firing], held: Sequence[OpenCandidate], standings: Standings, as_of: datetime
) -> tuple[dict[str, Candidate], list[tuple[OpenCandidate, str]]]:
    """Candidates by key, and the open ones that have been joined to an older one of the same subject.

    What fires for a subject that has an open candidate joins it and keeps its key: it will be one handoff.
    """
    slots: dict[Slot, set[Firing]] = defaultdict(set)
    claims: dict[Slot, list[OpenCandidate]] = defaultdict(list)
    for firing in fired:
        slots[standings.slot(firing)].add(firing)
    for was in held:
        places = sorted({standings.slot(firing) for firing in was.firings})  # an account sorts before its people
        claims[places[0]].append(was)
        for firing in was.firings:
            slots[standings.slot(firing)].add(firing)
    candidates: dict[str, Candidate] = {}
    joined: list[tuple[OpenCandidate, str]] = []
    for slot in sorted(slots):
        firings = tuple(sorted(slots[slot], key=_write_firing))
        claimed = sorted(claims[slot], key=lambda was: (was.first_seen_at, was.key))
        key = claimed[0].key if claimed else identity("ca", *slot, *map(_write_firing, firings))
        first_seen_at = claimed[0].first_seen_at if claimed else as_of
        candidates[key] = _candidate(key, slot, firings, standings=standings, first_seen_at=first_seen_at)
        joined += [(was, key) for was in claimed[1:]]
    return candidates, joined


def _candidate(
    key: str, slot: Slot, firings: tuple[Firing, ...], *, standings: Standings, first_seen_at: datetime
) -> Candidate:
    kind, subject_id = slot
    account_id: str | None = subject_id
    champion: Standing | None = None
    who = sorted({firing.subject_id for firing in firings if firing.subject_type == "user"})
    people = {user_id: standings.people[user_id] for user_id in who if user_id in standings.people}
    if kind == "account":
        account = standings.accounts.get(subject_id)
        champion = standings.champions.get(subject_id)
        blocked = None if people or champion else _why_nobody(account, subject_id)
    else:
        person = people.get(subject_id)
        account_id = person.account_id if person else None
        account = standings.accounts.get(account_id) if account_id else None
        blocked = f"{person.name}: {person.blocked}" if person and person.blocked else None
        blocked = blocked if person else f"user {subject_id} is no longer scored"
    return Candidate(
        key=key,
        subject_type=kind,
        subject_id=subject_id,
        account_id=account_id,
        account=account,
        people=people,
        champion=champion,
        firings=firings,
        blocked=blocked,
        first_seen_at=first_seen_at,
    )


def _why_nobody(account: Standing | None, account_id: str) -> str:
    if account is None:
        return f"account {account_id} is no longer scored"
    if account.blocked:
        return f"account {account.name}: {account.blocked}"
    return f"account {account.name} has no user who may be contacted"


def identity(kind: str, *parts: str) -> str:
    """An id that is the same whenever it is made of the same parts."""
    return f"{kind}_{sha256('|'.join(parts).encode()).hexdigest()[:16]}"


def is_explicit_request(candidate: Candidate, rules: HandoffRules) -> bool:
    """Whether somebody asked for a person."""
    return any(firing.trigger in rules.explicit_requests for firing in candidate.firings)


def candidate_row(candidate: Candidate, decision: str | None, rules: HandoffRules) -> dict[str, object]:
    """A row of ``CANDIDATE_SCHEMA`` for a candidate that stays open."""
    person = candidate.person(rules.triggers)
    return {
        "candidate_key": candidate.key,
        "subject_type": candidate.subject_type,
        "subject_id": candidate.subject_id,
        "user_id": person.id if person else None,
        "account_id": candidate.account_id,
        "triggers": firing_texts(candidate),
        "priority": candidate.priority(rules.triggers),
        "explicit_request": is_explicit_request(candidate, rules),
        "first_seen_at": candidate.first_seen_at,
        "last_decision": decision,
    }
