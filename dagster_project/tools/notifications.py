"""`messaging.send_notification`: an alert that an assistant asks for, decided and sent as the pipeline's own are.

The triggers that it names have to hold in the data; who receives it, and whether anybody may, is `plan_handoffs`'s
word.
What the assistant wrote stands in the message as a note of its own, signed and as plain text.
"""

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from dagster_project.actions import action_request
from dagster_project.clients.chats import connect_chat, look_up_after
from dagster_project.core.assistant_rules import NotificationRule
from dagster_project.core.escaping import markdown, plain
from dagster_project.core.follow_ups import pause_key, resume_nurture, word_key
from dagster_project.core.handoff_plan import HandoffInputs, HandoffPlan, Subject
from dagster_project.core.handoff_rules import ACCOUNT_TRIGGERS, TriggerKey
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.letters import alert, recipient_of
from dagster_project.core.playbook import Playbook
from dagster_project.core.routing import A_DAY_ANYWHERE
from dagster_project.delivery import Pace, deliver
from dagster_project.ledger import ASKED_FOR, Overtaken
from dagster_project.past_accounts import by_accounts_of_now
from dagster_project.tools.desk import Desk, Name, arguments, one_of
from dagster_project.tools.errors import Refused, Unavailable
from dagster_project.tools.subjects import ACCOUNTS, USERS, Row, find
from dagster_project.tools.writes import Intent, Writer, ask_common_guardrails

NAME = "messaging.send_notification"
_SAME_SCORE = 0.05
_LONGEST_NOTE = 500
_LONGEST_BLOCK = 2_900
"""Slack takes 3,000 characters in one text."""
Words = Annotated[str, Field(max_length=_LONGEST_NOTE)]
Note = Words | Annotated[list[Words], Field(max_length=20)]
_NOTES = {"user_journey": "Journey", "context": "Context", "suggested_approach": "Suggested approach"}


class Content(BaseModel):
    """What a notification says."""

    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=True, frozen=True)

    account: Name = Field(description="The account's id, domain or name; for a user without one their id or e-mail")
    triggers: Annotated[list[TriggerKey], Field(min_length=1, max_length=10)] = Field(
        description="What happened; each has to hold in the data"
    )
    pql_score: float | int | None = Field(default=None, description="As published; another one is refused")
    user_journey: Note | None = Field(default=None, description="In your words")
    context: Note | None = Field(default=None, description="In your words")
    suggested_approach: Note | None = Field(default=None, description="In your words")


def send_notification_writer(rule: NotificationRule) -> Writer:
    """The tool with the channels and types that the whitelist names."""
    channels = tuple(rule.channels)
    return Writer(
        name=NAME,
        title="Alert a sales channel",
        description=(
            "Hands a hot user (pql_alert) or account (pqa_alert) over to sales in a channel. The message is made from "
            "the data; what you write is added as a note. Triggers have to hold in the data. It is refused where the "
            "pipeline would not alert either: no-contact, self-serve, an open opportunity, cooldown, a full recipient."
        ),
        arguments=arguments(
            NAME,
            channel=(one_of(channels), Field(description="Where to")),
            type=(one_of(rule.types), Field(description="What about")),
            content=(Content, Field(description="What it says")),
        ),
        intend=lambda desk, **asked: _intend(desk, rule, **asked),
        needs_confirmation=rule.confirm,
    )


def _intend(desk: Desk, rule: NotificationRule, *, channel: str, type: str, content: Any) -> Intent:
    wants_account = bool(ACCOUNT_TRIGGERS.intersection(content.triggers))
    if type == "pqa_alert" and not wants_account:
        raise Refused(
            f"a pqa_alert is about an account: name one of {', '.join(sorted(ACCOUNT_TRIGGERS))}, or send a pql_alert"
        )
    users, accounts, name = _concerned(desk, content.account)
    as_of: datetime = max(frame["as_of"].max() for frame in (users, accounts) if frame.height)  # type: ignore[type-var, assignment]
    ask_common_guardrails(desk, as_of)
    read_at = desk.ledger.last_handoff_change()
    plan = _plan(desk, users, accounts, triggers=content.triggers)
    sent = plan.handoffs.sort("priority", "handoff_id").head(1).to_dicts()
    if not sent:
        raise Refused(_why_not(plan, content.triggers, name))
    handoff = sent[0]
    _check_score(content.pql_score, handoff, users=users, accounts=accounts)
    handoff = {**handoff, "status": ASKED_FOR, **_with_note(handoff, _note(desk.who, content))}
    people = users.select("email", "user_name", "contact_name").to_dicts()
    where = rule.channels[channel]
    return Intent(
        summary=f"{type} about {name} to {channel} ({where}), for {handoff['recipient_id']}, asked for by {desk.who}",
        preview=desk.mask.text(handoff["package_markdown"], people).splitlines(),
        carry_out=lambda: _send(desk, _belonging(plan, handoff["handoff_id"]), handoff, where=where, read_at=read_at),
    )


def _concerned(desk: Desk, text: str) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """Everybody of the account, the account, and what to call it; a user without one stands alone."""
    _, found = find(desk.serving, text)
    account_id = found["account_id"]
    if account_id is None:
        users = desk.serving.frame(f"{USERS} where scores.user_id = ?", [found["user_id"]])
        return users, desk.serving.frame(f"{ACCOUNTS} where false"), found["user_id"]
    users = desk.serving.frame(f"{USERS} where scores.account_id = ?", [account_id])
    accounts = desk.serving.frame(f"{ACCOUNTS} where scores.account_id = ?", [account_id])
    return users, accounts, str(accounts["name"][0] or account_id)


def _plan(desk: Desk, users: pl.DataFrame, accounts: pl.DataFrame, *, triggers: list[str]) -> HandoffPlan:
    """What the pipeline would decide if these triggers fired now, and no others."""
    now, rules = desk.clock(), desk.playbook.handoffs
    since = now - timedelta(days=max(rules.cooldown_days, A_DAY_ANYWHERE))
    thread_since = now - timedelta(days=desk.playbook.delivery.slack.thread_days)
    past = desk.ledger.past_handoffs(since, going_on_since=thread_since)
    overlaps = desk.ledger.overlaps_with_sales()
    inputs = HandoffInputs(
        as_of=now,
        users=users,
        accounts=accounts,
        baseline=None,
        owners=desk.serving.frame("select * from marts.crm_owners"),
        crm_hold_reason=None,  # asked already
        states=pl.DataFrame(),
        open_candidates=pl.DataFrame(),
        past=by_accounts_of_now(past, desk.serving.frame, schema="marts"),
        past_notices=desk.ledger.given_notices(since),
        turns=desk.ledger.read_frame("routing_turns"),
        overlaps=overlaps.filter(pl.col("contact_id").is_in(users["contact_id"].implode())),
        read_whole=partial(_whole, desk),
    )
    return plan_handoffs(inputs, _only(desk.playbook, triggers))


def _whole(desk: Desk, subject: Subject, ids: Collection[str]) -> pl.DataFrame:
    """Everything that is known of some users or accounts: whoever was handed over may be the same person."""
    query = USERS if subject == "user" else ACCOUNTS
    return desk.serving.frame(f"{query} where scores.{subject}_id in (select unnest(?::varchar[]))", [sorted(ids)])


def _belonging(plan: HandoffPlan, handoff_id: str) -> HandoffPlan:
    """What a plan says of one handoff: its decision, and what marketing has to know and to do if it holds an MQL."""
    return replace(
        plan,
        decisions=plan.decisions.filter(pl.col("handoff_id") == handoff_id),
        notices=plan.notices.filter(pl.col("notice_id") == word_key(handoff_id)),
        overlaps=plan.overlaps.filter(pl.col("handoff_id") == handoff_id),
        actions=tuple(action for action in plan.actions if action.key == pause_key(handoff_id)),
    )


def _only(playbook: Playbook, triggers: list[str]) -> Playbook:
    """The playbook with these triggers enabled, if they are, and no others, and no rules: nothing else takes a turn."""
    kept = {
        key: rule.model_copy(update={"enabled": rule.enabled and key in triggers})
        for key, rule in playbook.handoffs.triggers.by_key().items()
    }
    narrowed = playbook.handoffs.triggers.model_copy(update=kept)
    return replace(
        playbook,
        handoffs=playbook.handoffs.model_copy(update={"triggers": narrowed}),
        automation=playbook.automation.switched_off(),
    )


def _why_not(plan: HandoffPlan, triggers: list[str], name: str) -> str:
    decided = plan.decisions.sort("priority", "decision_id").to_dicts()
    if not decided:
        return f"none of {', '.join(triggers)} holds for {name} in the data: alerts.explain says what was decided"
    return "; ".join(dict.fromkeys(f"{row['decision']}: {row['reason']}" for row in decided))


def _check_score(said: float | None, handoff: Row, *, users: pl.DataFrame, accounts: pl.DataFrame) -> None:
    """A score that the assistant names has to be the published one."""
    if said is None:
        return
    of_user = users.filter(pl.col("user_id") == handoff["user_id"])["pql_score"].to_list()
    known = [*of_user, *accounts["pqa_score"].to_list()]
    if not any(abs(score - said) <= _SAME_SCORE for score in known):
        told = " and ".join(f"{score:g}" for score in known)
        raise Refused(
            f"the scores of {handoff['user_id']} and the account are {told}, not {said:g}: use those, or none"
        )


def _note(who: str, content: Any) -> list[str]:
    """What the assistant wrote, line by line, under who asked for it."""
    lines = [f"Asked for by {who}, through an assistant"]
    for field, label in _NOTES.items():
        said = getattr(content, field)
        lines += [f"{label}: {text}" for text in ([said] if isinstance(said, str) else said or []) if text]
    return [plain(line, longest=2 * _LONGEST_NOTE) for line in lines]


def _with_note(handoff: Row, note: list[str]) -> dict[str, str]:
    """The package with the note below it: Markdown in which it does nothing, Block Kit in which it is plain text."""
    shown = "\n".join(["", "### Note", "", *(f"- {markdown(line)}" for line in note), ""])
    block = {"type": "section", "text": {"type": "plain_text", "text": "\n".join(note)[:_LONGEST_BLOCK]}}
    return {
        "package_markdown": handoff["package_markdown"] + shown,
        "package_blocks": json.dumps([*json.loads(handoff["package_blocks"]), block], ensure_ascii=False),
    }


def _send(desk: Desk, plan: HandoffPlan, handoff: Mapping[str, Any], *, where: str, read_at: int) -> str:
    """The handoff into the ledger, then the letter; one that certainly did not arrive takes the handoff back."""
    asked = [action_request(desk.settings.crm_destination, action) for action in plan.actions]
    try:
        if not desk.ledger.add_handoff(plan, handoff, requests=asked, now=desk.clock(), read_at=read_at):
            raise Refused("this was handed over before: a new event makes a new alert")
    except Overtaken:
        raise Unavailable("somebody else was handed over at this moment: plan it again") from None
    slack = desk.playbook.delivery.slack
    chat = connect_chat(desk.settings.slack, slack, outbox=desk.settings.outbox)
    owners = {row["owner_id"]: row for row in desk.serving.rows("select * from marts.crm_owners")}
    letter = alert(
        handoff, recipient_of(handoff["recipient_id"], owners), desk.playbook.delivery, thread=None, has_buttons=False
    )
    report = deliver(
        desk.ledger,
        chat,
        [replace(letter, channel=where, person=None)],
        blocked={},  # asked a moment ago, by the plan
        pace=Pace(desk.clock, time.sleep),
        look_up_after=look_up_after(chat, slack),
    )
    begun = desk.ledger.begun(chat.name, [handoff["handoff_id"]])
    delivery = begun.get((letter.object_type, letter.object_id, letter.operation), {})
    if report.delivered:
        return str(delivery["delivery_id"])
    if report.parked:
        raise Unavailable(
            f"nobody knows whether it arrived ({next(iter(report.parked.values()))}): look in the channel"
        )
    said = next(iter(report.failed.values()), "no reason given")
    if delivery.get("status") == "pending":  # it may be there: whoever delivers next looks before it is sent again
        raise Unavailable(
            f"nobody knows yet whether it arrived ({said}): a run a quarter of an hour from now looks, and sends it if "
            "it did not"
        )
    why = f"it did not arrive ({said})"
    _take_back(desk, plan, handoff["handoff_id"], why)
    raise Unavailable(f"{why}: plan it again later")


def _take_back(desk: Desk, plan: HandoffPlan, handoff_id: str, why: str) -> None:
    """Nobody got it: marketing is not told of it, and goes on with the lead."""
    paused = [action.object_id for action in plan.actions]
    resume = action_request(desk.settings.crm_destination, resume_nurture(handoff_id, paused[0])) if paused else None
    desk.ledger.take_back(
        handoff_id, why, desk.clock(), notice_id=word_key(handoff_id), paused_by=pause_key(handoff_id), resume=resume
    )
