"""Reminders: handoffs that are overdue or awake again, said to their recipients and then to their teams."""

from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from dagster_project.clock import utc_now
from dagster_project.core.delivery_rules import DeliveryRules
from dagster_project.core.letters import HANDOFF, Letter, Thread, escalation, recipient_of, reminder
from dagster_project.core.reminders import Nudge, nudges
from dagster_project.defs.answers import read_back
from dagster_project.defs.delivery import contact_hold, has_buttons, owners_by_id, send, told_of
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.ledger import CRM_HOLD, Ledger
from dagster_project.ledger_memory import check_memory
from dagster_project.no_contact import blocked_people, colleagues_who_said_no
from dagster_project.playbook_files import read_playbook
from dagster_project.refresh import NO_FEATURES, features_stand
from dagster_project.settings import environment_settings

REMIND_SELLERS = "remind_sellers"
NUDGES = ("wake", "remind", "escalate")
SECONDS_BETWEEN_LOOKS = 300


def due_nudges(ledger: Ledger, chat: str, rules: DeliveryRules, now: datetime) -> list[Nudge]:
    """What has to be said now, as the ledger has it.

    Args:
        ledger: Handoffs, answers and what was said before.
        chat: The name of the way to people: what was said elsewhere may be said again here.
        rules: `delivery.yml`.
        now: Naive UTC.
    """
    # Older ones can only matter while something snoozed them.
    longest = timedelta(days=max(rules.snooze_days) + rules.reminders.give_up_after_days + rules.slack.thread_days)
    handoffs = ledger.handoffs(since=now - longest, with_packages=True)
    ids = handoffs["handoff_id"].to_list()
    messages = ledger.confirmed(chat, HANDOFF, ids)
    deliveries = ledger.begun(chat, ids).items()
    return nudges(
        handoffs.to_dicts(),
        ledger.read_frame("handoff_feedback").to_dicts(),
        {handoff_id: message["root"] for handoff_id, message in messages.items() if message["root"]},
        {
            (handoff_id, operation): row["confirmed_at"] or row["requested_at"]
            for (_, handoff_id, operation), row in deliveries
            if operation.partition(":")[0] in NUDGES and row["status"] in ("confirmed", "cancelled")
        },
        now=now,
        rules=rules.reminders,
    )


@dg.op(pool=WAREHOUSE_POOL, description="Says what is due: reminders to recipients, then escalations to their teams.")
def send_reminders(context: dg.OpExecutionContext, workplace: Workplace) -> None:
    """Gather, decide, say it."""
    rules, now = workplace.playbook.delivery, workplace.now()
    chat = workplace.chat()
    with workplace.ledger() as ledger:
        read_back(ledger, workplace, context.log)
        due = due_nudges(ledger, chat.name, rules, now)
        if not due:
            context.log.info("nobody has to be reminded of anything")
            return
        with workplace.connect() as connection:
            check_memory(ledger, connection, workplace.settings)
            if not features_stand(connection):
                context.log.warning(f"{len(due)} reminders are held: {NO_FEATURES}")
                return
            owners = owners_by_id(connection)
            blocked = blocked_people(connection, [nudge.handoff["user_id"] for nudge in due])
            hold = contact_hold(connection, workplace)
            beware = colleagues_who_said_no(connection, [nudge.handoff for nudge in due if nudge.kind == "escalate"])
        if hold is not None:
            ledger.set_meta(CRM_HOLD, hold)  # until the next run has newer data, the sensor asks in vain
        messages = ledger.confirmed(chat.name, HANDOFF, [nudge.handoff["handoff_id"] for nudge in due])
        messages |= ledger.confirmed(chat.name, HANDOFF, [root for m in messages.values() if (root := m["root"])])
        letters = [_letter(nudge, messages, beware, owners=owners, workplace=workplace, now=now) for nudge in due]
        # Slack may ask to wait for minutes, in which somebody answers.
        report = send(
            ledger,
            chat,
            letters,
            blocked=blocked,
            hold=hold,
            workplace=workplace,
            needless=lambda letter: ledger.is_answered(letter.object_id, now),
        )
    context.add_output_metadata(told_of(report, chat, context.log))


def _letter(
    nudge: Nudge,
    messages: dict[str, dict[str, Any]],
    beware: dict[str, list[str]],
    *,
    owners: dict[str, Any],
    workplace: Workplace,
    now: datetime,
) -> Letter:
    rules, handoff = workplace.playbook.delivery, nudge.handoff
    to = recipient_of(handoff["recipient_id"], owners)
    if nudge.kind == "escalate":
        about = beware.get(handoff["handoff_id"], ())
        return escalation(nudge, to, rules, day=now.date(), has_buttons=has_buttons(workplace), beware=about)
    message = messages.get(handoff["handoff_id"])
    if message and message["root"]:  # it has joined a thread
        message = messages.get(message["root"])
    thread = None
    if message and message["message"]:
        thread = Thread(handoff["handoff_id"], handoff["priority"], message["channel"], message["message"])
    return reminder(nudge, to, rules, thread=thread, day=now.date(), has_buttons=has_buttons(workplace))


@dg.job(name=REMIND_SELLERS, description="Remind recipients of overdue handoffs, then tell their teams; each once.")
def remind_sellers() -> None:
    """One step, so that it shows in the UI what was said."""
    send_reminders()


def reminder_sensor(*, automate: bool) -> dg.SensorDefinition:
    """The sensor that starts the job when there is something to say.

    Args:
        automate: Whether it runs from the start. It reaches sellers, so that somebody has to want it.
    """

    @dg.sensor(
        name="overdue_handoffs",
        job=remind_sellers,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.RUNNING if automate else dg.DefaultSensorStatus.STOPPED,
        description="Starts remind_sellers when a handoff is overdue or its snooze is over.",
    )
    def overdue_handoffs(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        settings = environment_settings()
        if not settings.warehouse.exists():
            return dg.SkipReason("nothing has been scored yet")
        now = utc_now()
        chat = Workplace().chat().name
        with Ledger(settings.ledger_url) as ledger:
            if hold := ledger.get_meta(CRM_HOLD):
                return dg.SkipReason(f"reminders are held until it is known who may be contacted: {hold}")
            due = due_nudges(ledger, chat, read_playbook(settings.playbook_dir).delivery, now)
        return dg.RunRequest() if due else dg.SkipReason("nobody has to be reminded of anything")

    return overdue_handoffs
