"""Routing: the one person who receives a handoff, within what a person can take in a day.

The CRM owner comes first, otherwise the handoff type's team in turn. Whether there is a handoff at all is
decided in ``decisions``; nothing is sent here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from dagster_project.core.calendars import Calendar
from dagster_project.core.handoff_rules import RoutingRules
from dagster_project.core.triggers import conform

TEAM = "team:"
"""How a recipient begins that is a team's queue and no person."""
TURN_SCHEMA = pl.Schema({"team": pl.String, "owner_id": pl.String, "assigned_seq": pl.Int64})
GIVEN_SCHEMA = pl.Schema({"recipient_id": pl.String(), "created_at": pl.Datetime("us")})
"""What somebody was given, a handoff or a notice, as far as the daily limit looks at it."""
A_DAY_ANYWHERE = 2
"""Days that hold the whole of today in every time zone: what was given since then has to be known."""


@dataclass(frozen=True)
class Owner:
    """One person of the CRM's owners."""

    owner_id: str
    name: str | None
    email: str | None
    team: str | None
    is_active: bool


@dataclass(frozen=True)
class Request:
    """Who could take a handoff: CRM owners in order, each with what they own; else the team."""

    claims: tuple[tuple[str | None, str], ...]
    team: str
    priority: str


@dataclass(frozen=True)
class Assignment:
    """``recipient_id`` is an owner's id or ``team:<team>``; None when whoever could take it is full."""

    recipient_id: str | None
    reason: str


def team_for(handoff_type: str, rules: RoutingRules, *, segment: str | None, is_customer: bool) -> str:
    """The team of a handoff type; customers and enterprise accounts may have their own."""
    found = rules.teams[handoff_type]  # type: ignore[index]
    if is_customer and found.customer:
        return found.customer
    return found.enterprise if segment == "enterprise" and found.enterprise else found.team


def owners_by_id(owners: pl.DataFrame) -> dict[str, Owner]:
    """``owners`` (``owner_id, name, email, team, is_active``) by id."""
    if not owners.width:
        return {}
    slim = owners.select("owner_id", "name", "email", "team", "is_active")
    return {row["owner_id"]: Owner(**row) for row in slim.iter_rows(named=True)}


@dataclass
class Desk:
    """The state of one run's routing: how much everybody has today, and whose turn it is in each team.

    ``taken`` counts what each recipient was given on the day that it is for them at ``as_of`` (naive UTC); ``turns``
    is the sequence number of the last handoff that somebody got by turn, per team and owner. Both grow with every
    assignment.
    """

    owners: Mapping[str, Owner]
    rules: RoutingRules
    as_of: datetime
    taken: Counter[str] = field(default_factory=Counter)
    turns: dict[tuple[str, str], int] = field(default_factory=dict)

    def assign(self, request: Request) -> Assignment:
        """The recipient of ``request``, who is then one handoff fuller; or why it has to wait."""
        for owner_id, owned in request.claims:
            owner = self.owners.get(owner_id) if owner_id else None
            if owner and owner.is_active:
                return self._to_owner(owner, owned, request)
        return self._in_turn(request.team, request.priority)

    def with_room(self) -> frozenset[str]:
        """Whoever of the active owners can take more on this day of theirs."""
        return frozenset(owner.owner_id for owner in self.owners.values() if owner.is_active and self._has_room(owner))

    def calendar(self, recipient_id: str) -> Calendar:
        """The working time of an owner, or of the team in `team:<team>`."""
        hours, owner = self.rules.working_hours, self.owners.get(recipient_id)
        named = [hours.owners.get(name) for name in (recipient_id, owner.email if owner else None) if name]
        team = owner.team if owner else recipient_id.removeprefix(TEAM)
        found = [*named, hours.teams.get(team or ""), hours.default]
        return Calendar(next((known for known in found if known), None), hours.holidays)

    def _to_owner(self, owner: Owner, owned: str, request: Request) -> Assignment:
        if self._has_room(owner):
            return self._give(owner.owner_id, f"to {owner.owner_id}, owner of the {owned}")
        full = f"{self._limit()} reached for owner {owner.owner_id} on {self.calendar(owner.owner_id).day(self.as_of)}"
        if request.priority not in self.rules.overflow_to_teammate:
            return Assignment(None, full)
        for team in dict.fromkeys((owner.team, request.team)):
            if team and (teammate := self._next(team, request.priority)):
                return self._take_turn(team, teammate, f"{full}: to teammate {teammate.owner_id} of team {team}")
        return Assignment(None, f"{full} and nobody else of team {owner.team or request.team} has room")

    def _in_turn(self, team: str, priority: str) -> Assignment:
        if not self._active(team):
            return Assignment(f"{TEAM}{team}", f"to the queue of team {team}, where nobody is active")
        if teammate := self._next(team, priority):
            return self._take_turn(team, teammate, f"to {teammate.owner_id}, whose turn it is in team {team}")
        return Assignment(
            None, f"{self._limit()} reached for every active member of team {team} on {self.as_of:%Y-%m-%d}"
        )

    def _limit(self) -> str:
        return f"daily limit of {self.rules.daily_capacity}"

    def _active(self, team: str) -> list[Owner]:
        return [owner for owner in self.owners.values() if owner.team == team and owner.is_active]

    def _has_room(self, owner: Owner) -> bool:
        return self.taken[owner.owner_id] < self.rules.daily_capacity

    def _next(self, team: str, priority: str) -> Owner | None:
        waiting = [owner for owner in self._active(team) if self._has_room(owner)]
        if priority in self.rules.prefer_at_work:
            at_work = [owner for owner in waiting if self.calendar(owner.owner_id).is_working(self.as_of)]
            waiting = at_work or waiting
        # sequence numbers start at 1, so who never had a turn comes before everybody who did
        return min(
            waiting,
            key=lambda owner: (self.turns.get((team, owner.owner_id), 0), owner.owner_id),
            default=None,
        )

    def _take_turn(self, team: str, owner: Owner, reason: str) -> Assignment:
        self.turns[team, owner.owner_id] = max(self.turns.values(), default=0) + 1
        return self._give(owner.owner_id, reason)

    def _give(self, owner_id: str, reason: str) -> Assignment:
        self.taken[owner_id] += 1
        return Assignment(owner_id, reason)


def open_desk(
    owners: pl.DataFrame, given: Iterable[pl.DataFrame], turns: pl.DataFrame, *, rules: RoutingRules, as_of: datetime
) -> Desk:
    """The desk as a run finds it.

    Args:
        owners: See `owners_by_id`.
        given: Handoffs and notices as `GIVEN_SCHEMA`, at least of today in every time zone.
        turns: `TURN_SCHEMA`.
        rules: The playbook's.
        as_of: The moment of the run, naive UTC.
    """
    desk = Desk(owners_by_id(owners), rules, as_of, turns=turns_from(turns))
    every = pl.concat([conform(frame, GIVEN_SCHEMA) for frame in given])
    for recipient_id, at in every.drop_nulls("recipient_id").iter_rows():
        calendar = desk.calendar(recipient_id)
        desk.taken[recipient_id] += calendar.day(at) == calendar.day(as_of)
    return desk


def turns_from(frame: pl.DataFrame) -> dict[tuple[str, str], int]:
    """``TURN_SCHEMA`` as a mapping."""
    return {(team, owner_id): seq for team, owner_id, seq in conform(frame, TURN_SCHEMA).iter_rows()}


def turns_frame(turns: Mapping[tuple[str, str], int]) -> pl.DataFrame:
    """The mapping as ``TURN_SCHEMA``, sorted by team and owner."""
    rows: Iterable[tuple[str, str, int]] = ((team, owner_id, seq) for (team, owner_id), seq in turns.items())
    return pl.DataFrame(sorted(rows), schema=TURN_SCHEMA, orient="row")
