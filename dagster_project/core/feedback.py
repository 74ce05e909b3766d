"""What sellers answer to a handoff: claimed, snoozed, not a fit, closed. Pure: clicks and task states in, labels out.

The latest answer counts. An answer's id is made of what it is, so that the same one told twice is one answer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

from dagster_project.core.delivery_rules import TaskOutcomes
from dagster_project.core.letters import CLAIM, NOT_A_FIT, SNOOZE

Label = Literal["claimed", "snoozed", "not_a_fit", "closed"]
TAKEN: tuple[Label, ...] = ("claimed", "snoozed")
"""Answers by which a seller has the person: what a handoff's status is then, too."""
ENDED: tuple[Label, ...] = ("not_a_fit", "closed")
"""Answers after which no seller has the person any more."""
_SNOOZE = re.compile(rf"{SNOOZE}_(\d{{1,4}})")


class NoAnswer(ValueError):
    """What came is no answer to a handoff; the text says why."""


@dataclass(frozen=True)
class Answer:
    """One answer to one handoff.

    Attributes:
        handoff_id: The handoff.
        label: What was said.
        by: Who said it: Slack's id of a person, or the CRM's of an owner; None where nobody knows.
        at: When, naive UTC.
        until: Until when a snoozed one rests, naive UTC.
        source: `slack`, `crm`, or `cli` (`pls answer`).
    """

    handoff_id: str
    label: Label
    by: str | None
    at: datetime
    source: Literal["slack", "crm", "cli"]
    until: datetime | None = None

    @property
    def feedback_id(self) -> str:
        """The same for the same answer."""
        # Who answers does so at a moment; that a task is closed is seen again and again.
        moment = "" if self.source == "crm" else self.at.isoformat()
        words = (self.handoff_id, self.label, self.by or "", moment, self.source)
        return "fb_" + sha256("|".join(words).encode()).hexdigest()[:16]

    def about(self, handoff_id: str) -> "Answer":
        """The same said about another handoff of the thread."""
        return replace(self, handoff_id=handoff_id)


@dataclass(frozen=True)
class Click:
    """A button that was pressed in a message.

    Attributes:
        answer: What it says.
        channel: Where the message is.
        message: Which one.
        text: What it says in notifications.
        blocks: What it shows.
    """

    answer: Answer
    channel: str
    message: str
    text: str
    blocks: Sequence[Mapping[str, Any]]


def read_click(payload: str) -> Click | None:
    """What Slack tells of a click; None for a click on something that is not ours.

    Raises:
        NoAnswer: It is none of Slack's payloads.
    """
    try:
        told = json.loads(payload)
        if told["type"] != "block_actions":
            return None
        ours = [action for action in told["actions"] if action["action_id"].startswith("pls_")]
        if not ours:
            return None
        action, where = ours[0], told["container"]
        at = datetime.fromtimestamp(float(action["action_ts"]), UTC).replace(tzinfo=None)
        label, until = _meaning(action["action_id"], at)
        handoff_id, by = str(action["value"]), str(told["user"]["id"])
        f"{handoff_id} {by}".encode()  # half of a character is one that no database takes
        return Click(
            answer=Answer(handoff_id, label, by, at, "slack", until),
            channel=str(where["channel_id"]),
            message=str(where["message_ts"]),
            text=str(told["message"].get("text", "")),
            blocks=told["message"].get("blocks", []),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, OSError) as error:
        raise NoAnswer(f"this is no click on a handoff: {type(error).__name__}: {error}") from error


def _meaning(action_id: str, at: datetime) -> tuple[Label, datetime | None]:
    if action_id == CLAIM:
        return "claimed", None
    if action_id == NOT_A_FIT:
        return "not_a_fit", None
    if found := _SNOOZE.fullmatch(action_id):
        return "snoozed", at + timedelta(days=int(found.group(1)))
    raise ValueError(f"the button {action_id} is not known")


def task_answer(handoff_id: str, outcome: str | None, by: str | None, *, at: datetime, rules: TaskOutcomes) -> Answer:
    """What a CRM task that was closed says about its handoff.

    Args:
        handoff_id: The handoff.
        outcome: The CRM's word, None if its owner noted nothing.
        by: The owner of the task, as far as it is known.
        at: When it was seen to be closed, naive UTC.
        rules: Which outcome means what.
    """
    said = (outcome or "").strip().casefold()
    label: Label = "closed"
    if said in {word.casefold() for word in rules.claimed}:
        label = "claimed"
    elif said in {word.casefold() for word in rules.not_a_fit}:
        label = "not_a_fit"
    return Answer(handoff_id, label, by, at, "crm")


def shown_answer(answer: Answer) -> str:
    """An answer as mrkdwn."""
    who = f"<@{answer.by}>" if answer.by and answer.by.isalnum() else "somebody"
    match answer.label:
        case "claimed":
            return f"✅ Claimed by {who}"
        case "snoozed" if answer.until:
            return f"💤 Snoozed until {answer.until:%Y-%m-%d} by {who}"
        case "not_a_fit":
            return f"🚫 Not a fit, says {who}"
        case _:
            return f"Closed by {who}"
