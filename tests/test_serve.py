"""Clicks on a handoff's buttons: believed only from Slack and only once, kept at once, shown to everybody."""

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import requests
import uvicorn
from clients.slack_server import Fault, SlackServer, slack_server
from ledger_files import empty_ledger
from ledger_rows import NOW, handoff, plan
from letter_rows import Clock, letter, slack_bot

from dagster_project.core.signatures import sign
from dagster_project.delivery import deliver
from dagster_project.ledger import Ledger
from dagster_project.serve import Clicks, slack_app

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
AT = NOW.replace(tzinfo=UTC).timestamp()


@dataclass
class Desk:
    """A server for clicks with everything around it."""

    url: str
    ledger: Ledger
    slack: SlackServer
    now: float = AT
    said: list[str] = field(default_factory=list)

    def press(self, payload: str, **changed: Any) -> requests.Response:
        """What Slack sends for a click; `changed` is what is wrong with it."""
        body = urlencode({"payload": payload}).encode()
        timestamp = str(changed.get("timestamp", int(self.now)))
        signature = changed.get("signature", sign(changed.get("secret", SECRET), timestamp, body))
        headers = {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}
        headers = {name: value for name, value in headers.items() if value}
        return requests.post(f"{self.url}/slack/actions", data=changed.get("body", body), headers=headers, timeout=10)

    def labels(self) -> list[tuple[str, str, str]]:
        rows = self.ledger.read_frame("handoff_feedback").sort("answered_at", "handoff_id")
        return list(rows.select("handoff_id", "label", "answered_by").iter_rows())

    def status(self) -> list[str]:
        return self.ledger.read_frame("handoffs").sort("handoff_id")["status"].to_list()

    def shown(self) -> list[str]:
        """What stands above the buttons of the first message."""
        blocks = self.slack.messages["D0000001"][0]["blocks"]
        return [block["elements"][0]["text"] for block in blocks if block["type"] == "context"]

    def wait_for(self, happened: Callable[[], bool]) -> None:
        """What is done behind the reply needs a moment."""
        give_up = time.monotonic() + 10
        while not happened():
            assert time.monotonic() < give_up, self.said
            time.sleep(0.005)


def click(desk: Desk, action_id: str, *, after: float = 0.0, handoff_id: str = "ho_1", who: str = "U0000002") -> str:
    """A click on the alert, that many seconds after it was posted."""
    message = desk.slack.messages["D0000001"][0]
    return json.dumps(
        {
            "type": "block_actions",
            "user": {"id": who, "username": "bo"},
            "container": {"type": "message", "channel_id": "D0000001", "message_ts": message["ts"]},
            "message": {"text": message["text"], "blocks": message["blocks"]},
            "actions": [{"action_id": action_id, "value": handoff_id, "action_ts": f"{AT + after:.6f}"}],
        }
    )


@contextmanager
def serving(clicks: Clicks) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(slack_app(clicks), port=0, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.002)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    url = empty_ledger(tmp_path / "ledger.sqlite")
    with slack_server() as slack, Ledger(url) as ledger:
        clock = Clock()
        bot = slack_bot(slack.base_url, clock)
        ledger.apply_handoff_plan(plan(handoff()))
        deliver(ledger, bot, [letter(row) for row in ledger.pending_handoffs()], blocked={}, pace=clock.pace)
        desk = Desk("", ledger, slack)
        clicks = Clicks(Ledger(url), bot, SECRET, desk.said.append, now=lambda: desk.now)
        with serving(clicks) as desk.url:
            yield desk


@pytest.mark.parametrize(
    ("action_id", "label", "shown"),
    [
        ("pls_claim", "claimed", "✅ Claimed by <@U0000002>"),
        ("pls_snooze_7", "snoozed", "💤 Snoozed until 2026-05-09 by <@U0000002>"),
        ("pls_not_a_fit", "not_a_fit", "🚫 Not a fit, says <@U0000002>"),
    ],
)
def test_a_click_is_kept_and_shown(desk: Desk, action_id: str, label: str, shown: str) -> None:
    answer = desk.press(click(desk, action_id))
    assert (answer.status_code, answer.text) == (200, "")
    assert desk.labels() == [("ho_1", label, "U0000002")]
    assert desk.status() == [label]
    desk.wait_for(lambda: desk.shown() == [shown])
    assert desk.slack.messages["D0000001"][0]["blocks"][-1]["type"] == "actions"


def test_a_snooze_says_until_when(desk: Desk) -> None:
    desk.press(click(desk, "pls_snooze_30"))
    [row] = desk.ledger.read_frame("handoff_feedback").to_dicts()
    assert (row["answered_at"], row["until"]) == (NOW, datetime(2026, 6, 1, 10, 0))


WRONG: dict[str, dict[str, Any]] = {
    "not signed": {"signature": ""},
    "signed with another secret": {"secret": "another"},
    "a signature of another scheme": {"signature": "v1=abc"},
    "a signature that is no ASCII": {"signature": "v0=\u00e4"},
    "another body": {"body": b"payload=%7B%7D"},
    "five minutes old": {"timestamp": int(AT) - 301},
    "five minutes early": {"timestamp": int(AT) + 301},
    "a time that is none": {"timestamp": "now"},
    "a time of other digits": {"timestamp": "\u00b2"},
    "a time without end": {"timestamp": "9" * 400},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_slack_did_not_sign_just_now_is_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    for name in ("signature", "timestamp"):
        if isinstance(wrong.get(name), str):
            wrong = {**wrong, name: wrong[name].encode("latin-1").decode("latin-1")}
    assert desk.press(click(desk, "pls_claim"), **wrong).status_code == 401
    assert (desk.labels(), desk.status()) == ([], ["delivered"])
    assert desk.said[-1].startswith("refused: ")


def test_the_same_request_again_is_refused(desk: Desk) -> None:
    told = click(desk, "pls_claim")
    assert [desk.press(told).status_code for _ in range(2)] == [200, 401]
    assert "refused: this very request has been received before" in desk.said
    desk.now += 299
    assert desk.press(told, timestamp=int(AT)).status_code == 401
    assert len(desk.labels()) == 1


def test_an_old_click_told_late_does_not_undo_a_new_one(desk: Desk) -> None:
    desk.press(click(desk, "pls_not_a_fit", after=5))
    desk.press(click(desk, "pls_claim", after=1))
    assert [label for _, label, _ in desk.labels()] == ["claimed", "not_a_fit"]
    assert desk.status() == ["not_a_fit"]
    desk.wait_for(lambda: len(desk.slack.methods()) >= 4)
    assert desk.shown() == ["🚫 Not a fit, says <@U0000002>"]


def test_the_last_answer_counts_and_stands_alone_in_the_message(desk: Desk) -> None:
    for after, action_id in enumerate(("pls_snooze_1", "pls_claim")):
        desk.press(click(desk, action_id, after=after))
        desk.wait_for(lambda: len(desk.shown()) == 1)
    desk.wait_for(lambda: desk.shown() == ["✅ Claimed by <@U0000002>"])
    assert desk.status() == ["claimed"]


def test_what_joined_the_thread_is_answered_with_it(desk: Desk) -> None:
    desk.ledger.apply_handoff_plan(plan(handoff(handoff_id="ho_2"), handoff(handoff_id="ho_3")))
    where = {"channel": "D0000001", "message": "2.0"}
    desk.ledger.settle(
        [],
        NOW,
        confirmed={
            ("slack", "handoff", "ho_2"): {**where, "root": "ho_1"},
            ("slack", "handoff", "ho_3"): {**where, "root": None},
        },
        handoffs={"ho_2": "delivered"},
    )
    desk.press(click(desk, "pls_claim"))
    assert [handoff_id for handoff_id, _, _ in desk.labels()] == ["ho_1", "ho_2"]
    assert desk.status() == ["claimed", "claimed", "pending"]


def test_slack_is_answered_although_the_ledger_is_busy(desk: Desk, tmp_path: Path) -> None:
    busy = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    busy.execute("begin immediate")
    clicks = Clicks(
        Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}"), None, SECRET, desk.said.append, lambda: AT, patience=0.05
    )
    busy.execute("commit")
    with serving(clicks) as desk.url:
        busy.execute("begin immediate")
        assert desk.press(click(desk, "pls_claim")).status_code == 200
        assert busy.execute("select count(*) from handoff_feedback").fetchone() == (0,)
        busy.execute("commit")
        desk.wait_for(lambda: desk.labels() == [("ho_1", "claimed", "U0000002")])
    busy.close()


def test_an_answer_that_slack_will_not_show_is_kept(desk: Desk) -> None:
    desk.slack.faults["chat.update"].append(Fault(200, "cant_update_message"))
    assert desk.press(click(desk, "pls_claim")).status_code == 200
    desk.wait_for(lambda: "kept, but not shown in Slack: chat.update: cant_update_message" in desk.said)
    assert desk.status() == ["claimed"]


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ("{", 400),
        ("[]", 400),
        ("null", 400),
        ('{"type": "block_actions"}', 400),
        ('{"type": "view_submission"}', 200),
        ('{"type": "block_actions", "actions": [{"action_id": "somebody_elses"}]}', 200),
    ],
)
def test_what_is_no_click_on_a_handoff_changes_nothing(desk: Desk, payload: str, status: int) -> None:
    assert desk.press(payload).status_code == status
    assert desk.labels() == []


def test_a_handoff_that_nobody_knows_and_a_button_that_nobody_has(desk: Desk) -> None:
    assert desk.press(click(desk, "pls_claim", handoff_id="ho_9")).status_code == 404
    assert desk.press(click(desk, "pls_snooze_x")).status_code == 400
    assert desk.labels() == []


def test_what_is_too_large_is_not_read_to_its_end(desk: Desk) -> None:
    assert desk.press(click(desk, "pls_claim"), body=b"x" * 2_000_000).status_code == 413


def test_whoever_does_not_send_on_is_let_go(desk: Desk, tmp_path: Path) -> None:
    clicks = Clicks(Ledger(empty_ledger(tmp_path / "other.sqlite")), None, SECRET, desk.said.append, longest_body=0.05)
    with serving(clicks) as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port), timeout=10) as slow:
            slow.sendall(b"POST /slack/actions HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\npay")
            answered = b"".join(iter(partial(slow.recv, 1000), b""))  # until the connection is closed
    assert answered.startswith(b"HTTP/1.1 408 ")


def test_who_watches_over_the_server_is_told_that_it_runs(desk: Desk) -> None:
    assert requests.get(f"{desk.url}/health", timeout=10).text == "ok"
    assert requests.get(f"{desk.url}/slack/actions", timeout=10).status_code == 405
