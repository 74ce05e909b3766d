"""The process is killed anywhere, twice in a row, and then left alone: no handoff is lost and none is told twice.

Killed is meant: SIGKILL, at every named point of a delivery and at every stage of a request at Slack's, while posting
as well as while looking up what an earlier victim has left.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from clients.slack_server import HUNG_UP, HUNG_UP_AFTERWARDS, SlackServer, slack_server
from ledger_files import empty_ledger
from ledger_rows import NOW, handoff, plan
from letter_rows import Clock, letter, slack_bot

from dagster_project.delivery import deliver
from dagster_project.ledger import Ledger

HERE = Path(__file__).parent
POST = "chat.postMessage"
BLOCKED = {"u_3": "opted out"}
KEYS = [
    "handoff/ho_0/alert",  # stands there already
    "handoff/ho_0/remind:0",
    "handoff/ho_1/alert",
    "handoff/ho_1/remind:0",
    "handoff/ho_2/alert",  # joins the thread of ho_0
]
FIRST = [
    *(("intent recorded", n) for n in (1, 2, 3, 4)),
    *(("posted", n) for n in (1, 2, 3, 4)),
    *(("end recorded", n) for n in (1, 2, 3, 4)),
    *((f"{POST} received", n) for n in (1, 2, 3, 4)),
    *((f"{POST} done", n) for n in (1, 2, 3, 4)),
    ("conversations.open received", 1),
    ("conversations.open done", 1),
    ("in doubt", 1),
    ("to be cancelled", 1),
]
SECOND = ["look up", "looked up", "conversations.history received", "conversations.history done", "intent recorded"]


@dataclass
class Forge:
    """Children by the line; see `delivery_child`."""

    process: "subprocess.Popen[str]"

    def run(self, slack: SlackServer, ledger_url: str, point: str = "", number: int = 1) -> int:
        """One child from its birth to its end; how it ended."""
        known, pid = threading.Event(), [0]
        reached: Counter[str] = Counter()

        def noticed(method: str, stage: str) -> None:
            reached[f"{method} {stage}"] += 1
            if f"{method} {stage}" == point and reached[point] == number:
                assert known.wait(10)
                os.kill(pid[0], signal.SIGKILL)

        slack.noticed = noticed
        request = {
            "ledger_url": ledger_url,
            "base_url": slack.base_url,
            "now": (NOW + timedelta(hours=1, minutes=1)).isoformat(),
            "blocked": BLOCKED,
            "point": point,
            "number": number,
        }
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        pid[0] = int(self.process.stdout.readline())
        known.set()
        code = int(self.process.stdout.readline())
        while slack.busy:  # what Slack has received it goes on to do, whoever has died since
            time.sleep(0.001)
        return code


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    # Every child starts the threads of Polars itself, for a few rows.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]), "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, str(HERE / "delivery_child.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True) as process:
        yield Forge(process)
        assert process.stdin
        process.stdin.close()


def waiting(ledger: Ledger, slack: SlackServer) -> None:
    """A handoff whose alert stands in Slack, and three that wait: another account's, one of the same, one blocked."""
    clock = Clock()
    ledger.apply_handoff_plan(plan(handoff(handoff_id="ho_0")))
    bot = slack_bot(slack.base_url, clock)
    deliver(ledger, bot, [letter(row) for row in ledger.pending_handoffs()], blocked={}, pace=clock.pace)
    later = {"created_at": NOW + timedelta(minutes=1)}
    ledger.apply_handoff_plan(
        plan(
            handoff(handoff_id="ho_1", account_id="a_2", user_id="u_2"),
            handoff(handoff_id="ho_2", **later),
            handoff(handoff_id="ho_3", account_id="a_3", user_id="u_3"),
        )
    )


def test_whoever_is_killed_anywhere_loses_no_handoff_and_tells_none_twice(tmp_path: Path, forge: Forge) -> None:
    kills, scenarios = 0, [(first, second) for n, first in enumerate(FIRST) for second in SECOND[n % 3 :: 3]]
    for number, ((point, nth), second) in enumerate(scenarios):
        told = f"killed at {point} ({nth}), then at {second}"
        url = empty_ledger(tmp_path / f"{number}.sqlite")
        with slack_server() as slack:
            with Ledger(url) as ledger:
                waiting(ledger, slack)
            slack.started_at += 3600  # an hour later, when the reminders are due
            if point == "in doubt":
                slack.faults[POST].append((HUNG_UP, HUNG_UP_AFTERWARDS)[number % 2])
            first_end = forge.run(slack, url, point, nth)
            assert first_end == -signal.SIGKILL, f"{told}: ended with {first_end}"
            second_end = forge.run(slack, url, second)
            assert second_end in (0, -signal.SIGKILL), f"{told}: ended with {second_end}"
            kills += 1 + (second_end != 0)
            assert forge.run(slack, url) == 0, told
            assert slack.keys() == KEYS, told
            thread = [m for m in slack.messages["D0000001"] if m["metadata"]["event_payload"]["key"] == KEYS[4]]
            assert thread[0]["thread_ts"] == slack.messages["D0000001"][0]["ts"], told
            with Ledger(url) as ledger:
                handoffs = ledger.read_frame("handoffs").sort("handoff_id")["status"].to_list()
                ends = Counter(ledger.read_frame("deliveries")["status"])
            assert handoffs == ["delivered", "delivered", "delivered", "cancelled"], told
            assert ends == {"confirmed": len(KEYS), "cancelled": 1}, told
    assert kills >= 60, kills
