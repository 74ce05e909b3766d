"""The handoff package as a model: everything a seller is told, in plain text, before any layout.

What is put into it is decided in ``packages`` and the modules that it calls; how it looks is a renderer's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dagster_project.core.routing import Owner
from dagster_project.core.wording import Row


@dataclass(frozen=True)
class Signal:
    """What was seen, how much of it, and what that means to a seller."""

    label: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Moment:
    """One dated step of the journey (UTC)."""

    at: datetime
    what: str


@dataclass(frozen=True)
class Line:
    """A labelled line of text."""

    label: str
    text: str


@dataclass(frozen=True)
class HandoffPackage:
    """The single source of every rendering of a handoff; all texts are plain and of one line."""

    title: str
    company: str
    score: float
    signals: tuple[Signal, ...]
    journey: tuple[Moment, ...]
    product: tuple[Line, ...]
    approach: tuple[Line, ...]
    contact: tuple[Line, ...]


Told = tuple[str, str, datetime]
"""A trigger that fired, who is behind it, empty for the person that is named and for the account, and when."""


@dataclass(frozen=True)
class HandoffFacts:
    """What a package is built from.

    ``person`` is a row of user features with scores, ``account`` one of account features with scores or None;
    ``fired`` is what fired, the headline first; ``also_with`` names who has a handoff of them already.
    ``scored_since`` is the first moment that was ever scored: what held then has held since nobody knows when.
    """

    person: Row
    account: Row | None
    fired: Sequence[Told]
    is_about_the_account: bool
    priority: str
    handoff_type: str
    recipient_id: str
    owner: Owner | None
    due_at: datetime
    due_text: str
    scored_since: datetime | None = None
    also_with: str = ""

    @property
    def is_customer(self) -> bool:
        """Whether they pay already, as a person or through their account."""
        return bool(self.person["is_customer"] or (self.account and self.account["is_customer"]))
