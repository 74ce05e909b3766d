"""What people are sent about handoffs: the alert, what joins its thread, reminders, single lines.

Pure: handoffs in, letters out. A letter says everything once, as Markdown and as Block Kit; where it is posted and that
it is posted once is ``delivery``'s business. Text that users typed stands in plain-text elements only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from html import escape
from typing import Any

from dagster_project.core.delivery_rules import DeliveryRules
from dagster_project.core.escaping import markdown, unescaped
from dagster_project.core.reminders import Nudge
from dagster_project.core.routing import TEAM

Row = Mapping[str, Any]
Block = Mapping[str, Any]

ALERT = "alert"
NOTICE = "notice"
STOP = "stop"
HANDOFF = "handoff"
CLAIM, SNOOZE, NOT_A_FIT = "pls_claim", "pls_snooze", "pls_not_a_fit"
"""What Slack calls the buttons when it tells of a click; a snooze has its days behind it."""
STATUS_BLOCK, BUTTON_BLOCK = "pls_status", "pls_buttons"
_MARKDOWN_LIMIT = 11_000
"""Slack takes 12,000 characters in the Markdown blocks of one message."""
_LINE_LIMIT = 2_900
"""Slack takes 3,000 characters in one text."""


@dataclass(frozen=True)
class Recipient:
    """Who answers a handoff: a person, or a team in which nobody is active."""

    name: str
    team: str | None
    person: str | None
    """Their id in the chat, if known."""
    is_active: bool = True
    """Whether they were when they were asked for; of somebody who is not, the team hears."""


@dataclass(frozen=True)
class Thread:
    """The message that hands a handoff over, and what is said below it."""

    handoff_id: str
    priority: str
    channel: str
    message: str


@dataclass(frozen=True)
class Letter:
    """One message. Its three ids are its identity: nobody gets two of the same.

    Attributes:
        object_type: What it is about, such as `handoff`.
        object_id: Which one.
        operation: What is said about it, such as `alert` or `remind:0`.
        day: The day it belongs to, UTC.
        title: One line of plain text.
        markdown: All of it as Markdown.
        blocks: All of it as Block Kit; empty where Markdown has to do.
        person: The chat's id of the person that it is for, when it goes to them directly.
        channel: The channel it goes to otherwise, by name or id.
        about: The user whose no-contact flags count.
        thread: The thread it joins, if there is one.
        is_loud: Whether what joins a thread is shown outside of it too.
        hands_over: The handoff that is delivered by it.
    """

    object_type: str
    object_id: str
    operation: str
    day: date
    title: str
    markdown: str
    channel: str
    blocks: Sequence[Block] = ()
    person: str | None = None
    about: str | None = None
    thread: Thread | None = None
    is_loud: bool = False
    hands_over: Row | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """The identity in one word, which the message carries."""
        return f"{self.object_type}/{self.object_id}/{self.operation}"


def recipient_of(recipient_id: str, owners: Mapping[str, Row]) -> Recipient:
    """Who a handoff's recipient is.

    Args:
        recipient_id: An owner's id, or `team:<team>`.
        owners: `name, team, slack_user_id` by owner id, and whether each `is_active` if that is asked.

    Returns:
        Somebody who is not active any more as their team: what waited for them is nobody's to answer.
    """
    if recipient_id.startswith(TEAM):
        team = recipient_id.removeprefix(TEAM)
        return Recipient(f"team {team}", team, None)
    owner = owners.get(recipient_id, {})
    if not owner.get("is_active", True):
        their, name = owner.get("team"), owner.get("name") or recipient_id
        who = f"team {their}" if their else "anybody"
        return Recipient(f"{who} ({name} is not active any more)", their, None, False)
    return Recipient(owner.get("name") or recipient_id, owner.get("team"), owner.get("slack_user_id") or None)


def alert(
    handoff: Row,
    to: Recipient,
    rules: DeliveryRules,
    *,
    thread: Thread | None,
    has_buttons: bool,
    beware: Sequence[str] = (),
) -> Letter:
    """The message that hands a handoff over.

    Args:
        handoff: A row of the ledger's handoffs.
        to: Its recipient.
        rules: Channels and choices.
        thread: The thread of an open handoff that it joins, if there is one.
        has_buttons: Whether somebody listens to buttons.
        beware: What is to be said of others whom the package names, as plain text.
    """
    title = title_of(handoff)
    thread = thread if to.is_active else None  # it may be in a conversation that nobody reads any more
    lead = f"{_called(to)} · *{handoff['priority']}*, due {_local(handoff['due_at'])}"
    if thread:
        lead = f"{_called(to)} · new in this thread · *{handoff['priority']}*"
    blocks = [_line(lead), *map(_plain, beware), *package_blocks(handoff)]
    if has_buttons and not thread:
        blocks.append(buttons(handoff["handoff_id"], rules.snooze_days))
    return Letter(
        object_type=HANDOFF,
        object_id=handoff["handoff_id"],
        operation=ALERT,
        day=handoff["created_at"].date(),
        title=title,
        markdown=("" if to.is_active else f"For {markdown(to.name)}.\n\n")
        + _warned(beware)
        + handoff["package_markdown"],
        blocks=blocks,
        person=to.person if rules.slack.send_to == "direct" else None,
        channel=rules.slack.channel_of(to.team),
        about=handoff["user_id"],
        thread=thread,
        is_loud=thread is not None and handoff["priority"] < thread.priority,
        hands_over=handoff,
    )


def reminder(
    nudge: Nudge, to: Recipient, rules: DeliveryRules, *, thread: Thread | None, day: date, has_buttons: bool
) -> Letter:
    """What the recipient hears of a handoff that is overdue, or awake again.

    Args:
        nudge: What there is to say.
        to: The handoff's recipient.
        rules: Channels.
        thread: The handoff's own, if it can be found.
        day: The day it is said on, UTC.
        has_buttons: Whether somebody hears of them; those of the alert are gone once it was answered.
    """
    title = title_of(nudge.handoff)
    thread = thread if to.is_active else None  # as in an alert
    what = "is awake again" if nudge.kind == "wake" else "is waiting for an answer"
    when = "snoozed until" if nudge.kind == "wake" else "due"
    blocks = [_line(f"{_called(to)} ⏰ *{nudge.handoff['priority']}*, {when} {_local(nudge.due_at)}")]
    blocks.append(_plain(f"{title} {what}. Claim it, snooze it or say that it is not a fit."))
    if has_buttons and nudge.round:
        blocks.append(buttons(nudge.handoff["handoff_id"], rules.snooze_days))
    heading = f"## ⏰ {_first_line(nudge.handoff)} {what}"
    told = [heading, f"For {markdown(to.name)}, {when} {nudge.due_at:%Y-%m-%d %H:%M} UTC."]
    return Letter(
        object_type=HANDOFF,
        object_id=nudge.handoff["handoff_id"],
        operation=nudge.operation,
        day=day,
        title=f"⏰ {title} {what}",
        markdown="\n\n".join(told) + "\n",
        blocks=blocks,
        person=to.person if rules.slack.send_to == "direct" else None,
        channel=rules.slack.channel_of(to.team),
        about=nudge.handoff["user_id"],
        thread=thread,
        is_loud=True,
    )


def escalation(
    nudge: Nudge, to: Recipient, rules: DeliveryRules, *, day: date, has_buttons: bool, beware: Sequence[str] = ()
) -> Letter:
    """What the team hears of a handoff that its recipient has not answered, with all that a teammate needs."""
    handoff = nudge.handoff
    lead = f"🚨 *{handoff['priority']}* overdue since {_local(nudge.due_at)}, not answered by {_called(to)}"
    blocks = [_line(lead), *map(_plain, beware), *package_blocks(handoff)]
    if has_buttons:
        blocks.append(buttons(handoff["handoff_id"], rules.snooze_days))
    told = f"🚨 Overdue since {nudge.due_at:%Y-%m-%d %H:%M} UTC, not answered by {markdown(to.name)}."
    return Letter(
        object_type=HANDOFF,
        object_id=handoff["handoff_id"],
        operation=nudge.operation,
        day=day,
        title=f"🚨 Overdue: {title_of(handoff)}",
        markdown=f"{told}\n\n{_warned(beware)}{handoff['package_markdown']}",
        blocks=blocks,
        channel=rules.slack.channel_of(to.team),
        about=handoff["user_id"],
    )


def stop(
    handoff: Row, who: str, reason: str, to: Recipient, rules: DeliveryRules, *, thread: Thread | None, day: date
) -> Letter:
    """What the recipient hears where somebody who was handed over says no afterwards.

    Args:
        handoff: The newest of their handoffs: its id and package.
        who: The person's name, as plain text.
        reason: How they said it.
        to: The handoff's recipient.
        rules: Channels.
        thread: The one that the handoff is in, if it can be found.
        day: The day it is said on, UTC.
    """
    said = f"Do not contact {who} any more: {reason}."
    about = title_of(handoff)
    return Letter(
        object_type=HANDOFF,
        object_id=handoff["handoff_id"],
        operation=STOP,
        day=day,
        title=f"🛑 {said}",
        markdown=f"## 🛑 {markdown(said)}\n\nFor {markdown(to.name)}, who has: {markdown(about)}\n",
        blocks=[_line(f"{_called(to)} 🛑"), _plain(f"{said} ({about})")],
        person=to.person if rules.slack.send_to == "direct" else None,
        channel=rules.slack.channel_of(to.team),
        thread=thread if to.is_active else None,  # as in an alert
        is_loud=True,
    )


def line(text: str, *, key: tuple[str, str, str], day: date, channel: str, about: str | None = None) -> Letter:
    """One line of plain text to a channel.

    Args:
        text: What is said; nothing in it is markup.
        key: What it is about: object type, object id and operation.
        day: The day it belongs to, UTC.
        channel: A channel's name or id.
        about: The user whose no-contact flags count, if it is about one.
    """
    object_type, object_id, operation = key
    shown = text[:_LINE_LIMIT]
    return Letter(
        object_type=object_type,
        object_id=object_id,
        operation=operation,
        day=day,
        title=shown,
        markdown=markdown(shown, _LINE_LIMIT) + "\n",
        blocks=[_plain(shown)],
        channel=channel,
        about=about,
    )


def notice(told: Row, to: Recipient | None, rules: DeliveryRules) -> Letter:
    """The line that tells somebody what a rule has seen.

    Args:
        told: A row of the ledger's notices.
        to: Who hears of it; None is marketing.
        rules: Channels and choices.
    """
    channel = rules.slack.channel_of(to.team) if to else rules.slack.marketing_channel
    letter = line(
        told["text"], key=(NOTICE, told["notice_id"], "tell"), day=told["created_at"].date(), channel=channel,
        about=told["user_id"],
    )  # fmt: skip
    if to is None:
        return letter
    return replace(
        letter,
        markdown=f"For {markdown(to.name)}: {letter.markdown}",
        blocks=[_line(_called(to)), *letter.blocks],
        person=to.person if rules.slack.send_to == "direct" else None,
    )


def title_of(handoff: Row) -> str:
    """The first heading of a package, as plain text."""
    return unescaped(_first_line(handoff)) or handoff["handoff_id"]


def package_blocks(handoff: Row) -> list[Block]:
    """The package as Block Kit: as it was rendered, or its Markdown in a block of its own."""
    rendered = json.loads(handoff.get("package_blocks") or "[]")
    return rendered or [{"type": "markdown", "text": handoff["package_markdown"][:_MARKDOWN_LIMIT]}]


def buttons(handoff_id: str, snooze_days: Sequence[int]) -> Block:
    """Claim, Snooze and Not a fit for one handoff."""
    choices = [("Claim", CLAIM, "primary")]
    choices += [(f"Snooze {days} day{'s' if days > 1 else ''}", f"{SNOOZE}_{days}", "") for days in snooze_days]
    choices += [("Not a fit", NOT_A_FIT, "danger")]
    return {
        "type": "actions",
        "block_id": BUTTON_BLOCK,
        "elements": [
            {
                "type": "button",
                "action_id": action_id,
                "text": {"type": "plain_text", "text": text},
                "value": handoff_id,
                **({"style": style} if style else {}),
            }
            for text, action_id, style in choices
        ],
    }


def answered(blocks: Sequence[Block], status: str) -> list[Block]:
    """A message's blocks with what was answered above the buttons, which stay: a later answer counts.

    Args:
        blocks: What the message shows now.
        status: The answer as mrkdwn.
    """
    told = {"type": "context", "block_id": STATUS_BLOCK, "elements": [{"type": "mrkdwn", "text": status}]}
    kept = [block for block in blocks if block.get("block_id") != STATUS_BLOCK]
    place = next((n for n, block in enumerate(kept) if block.get("block_id") == BUTTON_BLOCK), len(kept))
    return [*kept[:place], told, *kept[place:]]


def harmless(text: str) -> str:
    """Text that Slack reads as text: no mention, link or command can be in it."""
    return escape(text, quote=False)


def _first_line(handoff: Row) -> str:
    return str(handoff["package_markdown"]).partition("\n")[0].lstrip("# ")


def _warned(beware: Sequence[str]) -> str:
    return "".join(f"**{markdown(said)}**\n\n" for said in beware)


def _called(to: Recipient) -> str:
    # Whoever writes the CRM writes the person's id, and Slack would take a mention of everybody in it for one.
    return f"<@{to.person}>" if to.person and to.person.isalnum() else harmless(to.name)


def _local(moment: datetime) -> str:
    """A moment that Slack shows in the reader's own time zone."""
    seconds = int(moment.replace(tzinfo=UTC).timestamp())
    return f"<!date^{seconds}^{{date_short_pretty}} {{time}}|{moment:%Y-%m-%d %H:%M} UTC>"


def _line(mrkdwn: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": mrkdwn[:_LINE_LIMIT]}}


def _plain(text: str) -> Block:
    return {"type": "section", "text": {"type": "plain_text", "text": text[:_LINE_LIMIT]}}
