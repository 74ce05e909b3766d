"""Builders for tests of delivery: letters about ordinary handoffs, a clock that is set by hand, chats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ledger_rows import NOW

from dagster_project.clients.slack import SlackBot
from dagster_project.core.letters import Letter, Recipient, Thread, alert
from dagster_project.delivery import Pace
from dagster_project.playbook_files import read_playbook

RULES = read_playbook(None).delivery
ANA = Recipient("Ana", "ae", "U0000001")


@dataclass
class Clock:
    """Time that passes only by waiting."""

    at: datetime = NOW
    waits: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.at

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.at += timedelta(seconds=seconds)

    @property
    def pace(self) -> Pace:
        return Pace(self.now, self.pause)


def letter(
    row: Mapping[str, Any], to: Recipient = ANA, *, thread: Thread | None = None, has_buttons: bool = True
) -> Letter:
    """The alert of a handoff."""
    return alert(row, to, RULES, thread=thread, has_buttons=has_buttons)


def slack_bot(base_url: str, clock: Clock, token: str = "xoxb-test") -> SlackBot:
    """A bot that waits by that clock."""
    return SlackBot(token, base_url, longest_wait=60, pause=clock.pause)
