"""A process that delivers what waits and can be killed anywhere: `python delivery_child.py`, a request per line.

The process that reads the requests has imported everything once and forks for each, so that a kill costs little. It
answers with the child's id, then with how the child ended. Nothing here needs Dagster.
"""

import gc
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any

from letter_rows import ANA, RULES, Clock, letter, slack_bot

from dagster_project.core.letters import HANDOFF, Letter, Thread, reminder
from dagster_project.core.reminders import nudges
from dagster_project.core.threads import open_thread
from dagster_project.delivery import deliver
from dagster_project.ledger import Ledger


def run(ledger_url: str, base_url: str, now: datetime, blocked: dict[str, str], at: Callable[[str], None]) -> None:
    """One run: the alerts that wait, then the reminders that are due."""
    clock = Clock(now)
    bot = slack_bot(base_url, clock)
    with Ledger(ledger_url) as ledger:
        deliver(ledger, bot, _alerts(ledger, now), blocked=blocked, pace=clock.pace, at=at)
        deliver(ledger, bot, _reminders(ledger, now), blocked=blocked, pace=clock.pace, at=at)


def _alerts(ledger: Ledger, now: datetime) -> list[Letter]:
    rows, messages = ledger.read_frame("handoffs").to_dicts(), ledger.confirmed("slack", HANDOFF)
    since = now - timedelta(days=30)
    return [letter(row, thread=open_thread(row, rows, messages, since=since)) for row in ledger.pending_handoffs()]


def _reminders(ledger: Ledger, now: datetime) -> list[Letter]:
    rows, messages = ledger.read_frame("handoffs").to_dicts(), ledger.confirmed("slack", HANDOFF)
    sent = {
        (handoff_id, operation): now
        for (_, handoff_id, operation), row in ledger.begun("slack", messages).items()
        if row["status"] == "confirmed"
    }
    roots = {handoff_id: message["root"] for handoff_id, message in messages.items() if message["root"]}
    found = []
    for nudge in nudges(rows, [], roots, sent, now=now, rules=RULES.reminders):
        where = messages[nudge.handoff["handoff_id"]]
        thread = Thread(nudge.handoff["handoff_id"], "P0", where["channel"], where["message"])
        found.append(reminder(nudge, ANA, RULES, thread=thread, day=now.date(), has_buttons=False))
    return found


def _killed_at(point: str, number: int) -> Callable[[str], None]:
    """Ends the process when it passes a point for that time."""
    passed: Counter[str] = Counter()

    def at(name: str) -> None:
        passed[name] += 1
        if name == point and passed[name] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


def _child(request: dict[str, Any]) -> None:
    run(
        request["ledger_url"],
        request["base_url"],
        datetime.fromisoformat(request["now"]),
        request["blocked"],
        _killed_at(request["point"], request["number"]),
    )


def prepare() -> None:
    """Do once what every fork would do anew. No frame is touched: Polars' threads would be missing in the forks."""
    with TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.sqlite"):
        pass  # which revisions there are is known from now on
    gc.freeze()  # a collection would write to, and thereby copy, all that the forks share


def main() -> None:
    """Serve requests until there are no more."""
    prepare()
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            try:
                _child(json.loads(line))
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
