"""Handing over: what waits in the ledger goes to Slack, or to the outbox while no chat is connected.

That somebody who was handed over says no is told with it, see `stops`.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import duckdb

from dagster_project.clients.chat import Chat
from dagster_project.clients.chats import look_up_after
from dagster_project.clients.slack import SlackBot
from dagster_project.core.follow_ups import MARKETING
from dagster_project.core.letters import HANDOFF, Letter, alert, notice, recipient_of
from dagster_project.core.moments import resolve_as_of
from dagster_project.core.threads import OPEN, open_thread
from dagster_project.defs.handoffs import COMMON, handoff_decisions
from dagster_project.defs.resources import Workplace
from dagster_project.defs.stops import newest_of_each, not_told, stop_letters
from dagster_project.delivery import DeliveryReport, Pace, deliver
from dagster_project.landing.freshness import crm_freshness
from dagster_project.ledger import Ledger
from dagster_project.no_contact import blocked_people, colleagues_who_said_no, names_of, said_no
from dagster_project.parked import parked_messages
from dagster_project.refresh import LIVE, require_tables


@dg.asset(
    key=["handoffs", "delivered"],
    deps=[handoff_decisions],
    kinds={"slack", "markdown"},
    **COMMON,
)
def delivered_handoffs(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Handoffs in Slack, or in the outbox as Markdown; each once. No-contact flags are asked again before each.

    Who says no after they were handed over is told of once: whoever has them must not go on.
    """
    chat = workplace.chat()
    with workplace.ledger() as ledger:
        waiting, told = ledger.pending_handoffs(), ledger.pending_notices()
        handed_over = ledger.threads_since(_threads_since(workplace), OPEN)
        with workplace.connect(stays_open=True) as connection:
            require_tables(connection, ["features.owners", "features.user_features"])
            owners = owners_by_id(connection)
            about = {row["user_id"] for row in (*waiting, *told, *handed_over)}
            blocked = blocked_people(connection, about)
            hold = contact_hold(connection, workplace)
            beware = colleagues_who_said_no(connection, waiting)
            stopped = newest_of_each([row for row in handed_over if row["user_id"] in blocked], workplace)
            nos, names = (said_no(connection, stopped), names_of(connection, stopped)) if stopped else ({}, {})
        to_tell = not_told(ledger, chat, [row for user, rows in stopped.items() for row in rows if user in nos])
        letters = _alerts(ledger, chat, waiting, beware, owners=owners, workplace=workplace)
        letters += stop_letters(ledger, chat, to_tell, nos=nos, names=names, owners=owners, workplace=workplace)
        letters += [_notice(row, owners, workplace) for row in told]
        report = send(ledger, chat, letters, blocked=blocked, hold=hold, workplace=workplace)
        ledger.settle_notices(chat.name)
    return dg.MaterializeResult(metadata=told_of(report, chat, context.log))


@dg.asset_check(
    asset=["handoffs", "delivered"],
    name="every_message_has_a_certain_end",
    description="No message is parked: of a parked one nobody can tell whether it arrived (pls parked).",
)
def every_message_has_a_certain_end(workplace: Workplace) -> dg.AssetCheckResult:
    """Look for parked messages in the ledger."""
    with workplace.ledger() as ledger:
        parked = parked_messages(ledger)
    told = {message.key: message.reason for message in parked[:20]}
    return dg.AssetCheckResult(passed=not parked, severity=dg.AssetCheckSeverity.WARN, metadata={"parked": told})


CHECKS = [every_message_has_a_certain_end]


def has_buttons(workplace: Workplace) -> bool:
    """Whether somebody listens to buttons: only the bot's messages can have some."""
    slack = workplace.settings.slack
    return slack.bot_token is not None and slack.signing_secret is not None


def contact_hold(connection: duckdb.DuckDBPyConnection, workplace: Workplace) -> str | None:
    """Why nobody knows who may be contacted at this moment: the CRM's data are too old. None if they are not."""
    as_of = resolve_as_of(workplace.settings.as_of, workplace.now())
    return crm_freshness(connection, as_of, workplace.playbook.sources).hold_reason


def told_of(report: DeliveryReport, chat: Chat, log: logging.Logger) -> dict[str, Any]:
    """What the UI shows of a round of deliveries; that letters wait for newer CRM data is said in the log too."""
    told: dict[str, Any] = {"to": chat.name, **vars(report), "held": len(report.held)}
    if report.held:
        told["why held"] = why = next(iter(report.held.values()))
        log.warning(f"{len(report.held)} letters are held until it is known who may be contacted: {why}")
    if report.failed:
        log.warning(f"{len(report.failed)} letters have not arrived: {next(iter(report.failed.values()))}")
    return told


def send(
    ledger: Ledger,
    chat: Chat,
    letters: list[Letter],
    *,
    blocked: dict[str, str],
    hold: str | None,
    workplace: Workplace,
    needless: Callable[[Letter], bool] | None = None,
) -> DeliveryReport:
    """Deliver letters at the pace of the playbook; see `deliver`."""
    report = deliver(
        ledger,
        chat,
        letters,
        blocked=blocked,
        hold=hold,
        pace=Pace(workplace.now, time.sleep),
        look_up_after=look_up_after(chat, workplace.playbook.delivery.slack),
        needless=needless,
    )
    if report.failed:
        workplace.connect_anew()  # a channel may be another one by now
    return report


def _alerts(
    ledger: Ledger,
    chat: Chat,
    waiting: list[dict[str, Any]],
    beware: dict[str, list[str]],
    *,
    owners: dict[str, Any],
    workplace: Workplace,
) -> list[Letter]:
    """A letter for every handoff that waits."""
    rules, since = workplace.playbook.delivery, _threads_since(workplace)
    has_threads = bool(waiting) and chat.name == SlackBot.name
    earlier = ledger.threads_since(since, OPEN) if has_threads else []
    messages = ledger.confirmed(chat.name, HANDOFF, [row["handoff_id"] for row in earlier])
    return [
        alert(
            handoff,
            recipient_of(handoff["recipient_id"], owners),
            rules,
            thread=open_thread(handoff, earlier, messages, since=since),
            has_buttons=has_buttons(workplace),
            beware=beware.get(handoff["handoff_id"], ()),
        )
        for handoff in waiting
    ]


def _threads_since(workplace: Workplace) -> datetime:
    return workplace.now() - timedelta(days=workplace.playbook.delivery.slack.thread_days)


def _notice(row: dict[str, Any], owners: dict[str, Any], workplace: Workplace) -> Letter:
    to = None if row["recipient_id"] == MARKETING else recipient_of(row["recipient_id"], owners)
    return notice(row, to, workplace.playbook.delivery)


def owners_by_id(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """Name, team and Slack's id of the CRM's owners, and whether they are active."""
    found = connection.sql(
        f"select owner_id, name, team, slack_user_id, is_active from features.owners where {LIVE}"
    ).pl()
    return {row["owner_id"]: row for row in found.to_dicts()}
