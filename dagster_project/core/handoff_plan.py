"""What the handoffs of a run depend on, and what has to be kept of them: frames in, frames out, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import polars as pl

from dagster_project.core.actions import Action
from dagster_project.core.feeds import Silence
from dagster_project.core.follow_ups import SalesAnswer

Subject = Literal["user", "account"]
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
FIRINGS_SCHEMA = pl.Schema({"handoff_id": _TEXT, "firings": _TEXTS})
PAST_SCHEMA = pl.Schema(
    {name: HANDOFF_SCHEMA[name] for name in ("account_id", "user_id", "triggers", "priority", "classification")}
    | {"recipient_id": _TEXT, "created_at": _MOMENT, "status": _TEXT}
)


def _nothing() -> pl.DataFrame:
    return pl.DataFrame()


class RowsBy(Mapping[str, Mapping[str, Any]]):
    """The rows of a frame with these ids, by id; each is made when it is asked for.

    With all that is known of somebody a row takes many times as much room as in the frame, and few are looked at.
    """

    def __init__(self, frame: pl.DataFrame, key: str, ids: Collection[str]) -> None:
        self._frame = frame
        places = frame.select(key).with_row_index("place").filter(pl.col(key).is_in(list(ids)))
        self._places: dict[str, int] = dict(places.select(key, "place").iter_rows())

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        return self._frame.row(self._places[key], named=True)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


BY_PRIORITY = "by priority"
"""The metadata of `handoffs/decisions` under which it tells a run what it has decided, see `by_priority`."""


@dataclass(frozen=True)
class HandoffInputs:
    """Everything the handoffs of a run depend on; a frame without columns counts as empty, moments are naive UTC.

    Attributes:
        as_of: The moment of the run.
        users: User features with PQL columns, of the live moment; `concerned.DECIDED_OF_USERS` at least.
        accounts: Account features with PQA columns, of the live moment; `concerned.DECIDED_OF_ACCOUNTS` at least.
        baseline: The conditions of triggers and rules at `baseline_at`, on a first run only.
        owners: The CRM's owners.
        crm_hold_reason: Why no-contact flags can't be trusted now.
        states: What the ledger kept of triggers and rules, at least of everybody in `users` and `accounts`.
        open_candidates: What it kept of candidates that wait: all of them, or those that `waiting` does not leave as
            they are.
        past: Its handoffs within the cooldown, and older ones that somebody may be working on.
        turns: Whose turn it is.
        past_notices: `recipient_id, created_at` of notices within the last days.
        overlaps: `follow_ups.OVERLAP_SCHEMA`: MQLs that are with sales, and those that sales gave back and has taken up
            after all.
        baseline_at: See `baseline`.
        scored_since: The first moment that this installation ever scored.
        rises: `automation.RISE_SCHEMA`, over the days of the playbook's rule.
        past_rules: `automation.PAST_RULE_SCHEMA`: what rules acted on within the cooldown.
        held_rules: By rule, subject type and id, since when a firing of it is held.
        members: `audiences.MEMBER_SCHEMA`: who is in an audience.
        excluded: Why members are not scored any more, by user id.
        answers: What became of their handoffs, by handoff id.
        silences: When feeds of events were silent.
        read_whole: Reads the rows of those of whom more is told than `users` and `accounts` say; None if these say it
            all.
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
    past_notices: pl.DataFrame
    overlaps: pl.DataFrame
    baseline_at: datetime | None = None
    scored_since: datetime | None = None
    rises: pl.DataFrame = field(default_factory=_nothing)
    past_rules: pl.DataFrame = field(default_factory=_nothing)
    held_rules: Mapping[tuple[str, str, str], datetime] = field(default_factory=dict)
    members: pl.DataFrame = field(default_factory=_nothing)
    excluded: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, SalesAnswer] = field(default_factory=dict)
    silences: Sequence[Silence] = ()
    read_whole: Callable[[Subject, Collection[str]], pl.DataFrame] | None = None

    def whole(self, subject: Subject, ids: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
        """Everything that is known of these users or accounts, by id."""
        if not ids:
            return {}
        if self.read_whole is not None:
            return RowsBy(self.read_whole(subject, ids), f"{subject}_id", ids)
        return RowsBy({"user": self.users, "account": self.accounts}[subject], f"{subject}_id", ids)


@dataclass(frozen=True)
class HandoffPlan:
    """What one ledger transaction has to keep.

    Attributes:
        decisions: New rows.
        handoffs: New rows.
        firings: What fired for each of them, `FIRINGS_SCHEMA`.
        states: Of every trigger and rule that came in or has changed.
        candidates: Those of `open_candidates` and of the new ones that wait.
        turns: Whose turn it is, all of them.
        with_room: The owners who can take more after all of it.
        rule_decisions: New rows.
        notices: New rows.
        overlaps: New rows, and ended ones in their place.
        members: New rows, and changed ones in their place.
        actions: What the CRM is asked to do.
    """

    decisions: pl.DataFrame
    handoffs: pl.DataFrame
    states: pl.DataFrame
    candidates: pl.DataFrame
    turns: pl.DataFrame
    with_room: frozenset[str] = frozenset()
    firings: pl.DataFrame = field(default_factory=_nothing)
    rule_decisions: pl.DataFrame = field(default_factory=_nothing)
    notices: pl.DataFrame = field(default_factory=_nothing)
    overlaps: pl.DataFrame = field(default_factory=_nothing)
    members: pl.DataFrame = field(default_factory=_nothing)
    actions: tuple[Action, ...] = ()


def by_priority(decisions: pl.DataFrame) -> list[tuple[str, str, int]]:
    """How many candidates were decided, by decision and priority; the most first."""
    counts = decisions.group_by("decision", "priority").len()
    return counts.sort("len", "decision", "priority", descending=[True, False, False]).rows()
