"""Reads answers to handoffs back from the CRM: a task that is closed, with its outcome, is what its seller says.

Which outcome means what is `core/feedback`'s business. Nothing is written to the CRM here.
"""

from datetime import datetime, timedelta

from dagster_project.clients.crm import CrmClient
from dagster_project.core.delivery_rules import TaskOutcomes
from dagster_project.core.feedback import task_answer
from dagster_project.core.follow_ups import task_key
from dagster_project.core.threads import OPEN
from dagster_project.ledger import Ledger


def read_task_answers(ledger: Ledger, crm: CrmClient, rules: TaskOutcomes, *, chat: str, now: datetime) -> int:
    """Keep what the tasks of open handoffs say.

    Args:
        ledger: Where handoffs and answers are; no transaction of it is open while the CRM is asked.
        crm: The CRM.
        rules: Which outcome means what.
        chat: In whose threads handoffs have joined each other.
        now: When the tasks are looked at, naive UTC.

    Returns:
        How many answers are new.

    Raises:
        CrmError: The CRM can't be read now; what is known stays as it is.
    """
    open_ones = ledger.handoffs(statuses=OPEN)
    by_key = {task_key(row["handoff_id"]): row for row in open_ones.to_dicts()}
    made = sorted(key for key, (status, _) in ledger.ended_actions(crm.name, by_key).items() if status == "confirmed")
    if not made:
        return 0
    known = set(ledger.read_frame("handoff_feedback")["feedback_id"])
    done = {key: state for key, state in crm.find_tasks(made).items() if state.status == "done"}
    # One after the other: what is said of a thread's first handoff holds for the others until their own task says more.
    in_order = sorted(done, key=lambda key: (by_key[key]["created_at"], key))
    answers = [
        task_answer(
            by_key[key]["handoff_id"],
            done[key].outcome,
            by_key[key]["recipient_id"],
            at=now + timedelta(microseconds=place),
            rules=rules,
        )
        for place, key in enumerate(in_order)
    ]
    new = [answer for answer in answers if answer.feedback_id not in known]
    for answer in new:
        ledger.keep_answer(answer, chat=chat)
    return len(new)
