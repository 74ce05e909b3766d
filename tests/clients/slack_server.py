"""A Slack to talk to in tests: channels, conversations, messages and what goes wrong, on this machine's loopback.

It keeps what a real one keeps and refuses what a real one refuses: tokens, scopes, places it isn't in, blocks that are
none. Faults are put in front of the next calls of a method.
"""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "xoxb-test"
WEBHOOK = "/services/T0/B0/secret"
ALL_SCOPES = frozenset({"chat:write", "im:write", "channels:read", "channels:history", "im:history"})
_BLOCK_TYPES = {"section", "header", "context", "divider", "actions", "markdown", "rich_text"}
_TEXT_LIMITS = {"section": 3000, "header": 150, "markdown": 12_000}


@dataclass(frozen=True)
class Fault:
    """What happens to one call instead of what should.

    Attributes:
        status: The HTTP status; 0 closes the connection without an answer.
        error: Slack's word for it; where the status is 200.
        is_done: Whether the call is carried out all the same.
        retry_after: What the header of a 429 says; None is no header.
        body: What is answered instead of JSON.
    """

    status: int = 200
    error: str | None = None
    is_done: bool = False
    retry_after: str | None = None
    body: str | None = None


SLOW_DOWN = Fault(429, "ratelimited", retry_after="7")
HUNG_UP = Fault(0)
HUNG_UP_AFTERWARDS = Fault(0, is_done=True)


@dataclass
class SlackServer:
    """One workspace.

    Attributes:
        channels: Name by id; the app is a member of all of them but `elsewhere`.
        people: Who can be written to, by id: the conversation with them.
        messages: What stands in each channel, oldest first.
        scopes: What the app may do.
        faults: By method, what happens to its next calls.
        calls: Every call: the method and what was given.
        noticed: Told of a call's method and its stage: received, done. A test may end somebody there.
        busy: How many calls are being answered.
        page: How many rows a page has.
    """

    base_url: str = ""
    channels: dict[str, str] = field(default_factory=lambda: {"C0000001": "sales-alerts", "C0000002": "marketing"})
    elsewhere: set[str] = field(default_factory=set)
    people: dict[str, str] = field(default_factory=lambda: {"U0000001": "D0000001", "U0000002": "D0000002"})
    messages: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    scopes: set[str] = field(default_factory=lambda: set(ALL_SCOPES))
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    noticed: Callable[[str, str], None] = lambda method, stage: None
    busy: int = 0
    page: int = 2
    started_at: float = datetime(2026, 5, 2, 10, 0, tzinfo=UTC).timestamp()
    lock: threading.Lock = field(default_factory=threading.Lock)
    _count: int = 0

    @property
    def webhook_url(self) -> str:
        return self.base_url.removesuffix("/api/") + WEBHOOK

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    def texts(self, channel: str) -> list[str]:
        return [message["text"] for message in self.messages[channel]]

    def keys(self) -> list[str]:
        """The keys of all messages, wherever they are, sorted."""
        return sorted(
            message["metadata"]["event_payload"]["key"]
            for messages in self.messages.values()
            for message in messages
            if message.get("metadata")
        )

    def answer(self, method: str, given: dict[str, Any], token: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of one call; status 0 is no answer."""
        with self.lock:
            self.calls.append((method, given))
            fault = self.faults[method].popleft() if self.faults[method] else None
            self.busy += 1
        try:
            self.noticed(method, "received")
            if fault and not fault.is_done:
                return _as_answered(fault)
            with self.lock:
                answer = self._carry_out(method, given, token)
            self.noticed(method, "done")
            return _as_answered(fault) if fault else (200, {}, json.dumps(answer))
        finally:
            with self.lock:
                self.busy -= 1

    def _carry_out(self, method: str, given: dict[str, Any], token: str) -> dict[str, Any]:
        if method == WEBHOOK:
            self._keep("webhook", given)
            return {"ok": True}
        if token != f"Bearer {TOKEN}":
            return _no("invalid_auth")
        handler = getattr(self, "_" + method.replace(".", "_"), None)
        return handler(given) if handler else _no("unknown_method")

    def _chat_postMessage(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Slack's name
        channel = given.get("channel", "")
        if "chat:write" not in self.scopes:
            return _no("missing_scope", needed="chat:write")
        if error := self._place_error(channel) or _blocks_error(given.get("blocks", [])):
            return _no(error)
        if not given.get("text") and not given.get("blocks"):
            return _no("no_text")
        thread = given.get("thread_ts")
        if thread and all(message["ts"] != thread for message in self.messages[channel]):
            return _no("thread_not_found")
        message = self._keep(channel, given)
        return {"ok": True, "channel": channel, "ts": message["ts"], "message": message}

    def _chat_update(self, given: dict[str, Any]) -> dict[str, Any]:
        for message in self.messages[given["channel"]]:
            if message["ts"] == given["ts"]:
                message.update(text=given["text"], blocks=given["blocks"])
                return {"ok": True, "channel": given["channel"], "ts": given["ts"]}
        return _no("message_not_found")

    def _conversations_open(self, given: dict[str, Any]) -> dict[str, Any]:
        if "im:write" not in self.scopes:
            return _no("missing_scope", needed="im:write")
        conversation = self.people.get(given["users"])
        return {"ok": True, "channel": {"id": conversation}} if conversation else _no("user_not_found")

    def _conversations_list(self, given: dict[str, Any]) -> dict[str, Any]:
        if "channels:read" not in self.scopes:
            return _no("missing_scope", needed="channels:read")
        found = [{"id": channel, "name": name} for channel, name in self.channels.items()]
        return self._paged("channels", found, given)

    def _conversations_history(self, given: dict[str, Any]) -> dict[str, Any]:
        channel = given["channel"]
        needed = "im:history" if channel.startswith("D") else "channels:history"
        if needed not in self.scopes:
            return _no("missing_scope", needed=needed)
        if channel in self.elsewhere:
            return _no("not_in_channel")
        if error := self._place_error(channel):
            return _no(error)
        # What stands in a thread is not part of the channel's history, unless it was shown there too.
        found = [m for m in self.messages[channel] if m.get("thread_ts") is None or m.get("reply_broadcast")]
        return self._paged("messages", _seen(found, given), given)

    def _conversations_replies(self, given: dict[str, Any]) -> dict[str, Any]:
        if "channels:history" not in self.scopes:
            return _no("missing_scope", needed="channels:history")
        thread = given["ts"]
        found = [m for m in self.messages[given["channel"]] if thread in (m["ts"], m.get("thread_ts"))]
        return self._paged("messages", _seen(found, given), given) if found else _no("thread_not_found")

    def _keep(self, channel: str, given: Mapping[str, Any]) -> dict[str, Any]:
        self._count += 1
        message = {**given, "ts": f"{self.started_at + self._count:.6f}"}
        self.messages[channel].append(message)
        return message

    def _place_error(self, channel: str) -> str | None:
        known = channel in self.channels or channel in self.people.values()
        return None if known else "channel_not_found"

    def _paged(self, name: str, found: list[dict[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
        start = int(given.get("cursor") or 0)
        end = start + self.page
        following = str(end) if end < len(found) else ""
        return {"ok": True, name: found[start:end], "response_metadata": {"next_cursor": following}}


def _seen(messages: list[dict[str, Any]], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The newest first, without what metadata says unless that is asked for."""
    recent = [message for message in messages if float(message["ts"]) >= float(given.get("oldest", 0))][::-1]
    if given.get("include_all_metadata") in ("1", "true", True):
        return recent
    return [{key: value for key, value in message.items() if key != "metadata"} for message in recent]


def _no(error: str, **more: str) -> dict[str, Any]:
    return {"ok": False, "error": error, **more}


def _blocks_error(blocks: list[dict[str, Any]]) -> str | None:
    """What Slack says about blocks that it doesn't take."""
    if len(blocks) > 50:
        return "msg_blocks_too_long"
    for block in blocks:
        text = block.get("text")
        said = text if isinstance(text, str) else (text or {}).get("text", "")
        if block.get("type") not in _BLOCK_TYPES or len(said) > _TEXT_LIMITS.get(block["type"], 3000):
            return "invalid_blocks"
        if block["type"] == "actions":
            ids = [element["action_id"] for element in block["elements"]]
            if not 0 < len(ids) <= 25 or len(set(ids)) < len(ids):
                return "invalid_blocks"
    return None


def _as_answered(fault: Fault) -> tuple[int, dict[str, str], str]:
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    body = fault.body if fault.body is not None else json.dumps(_no(fault.error or "internal_error"))
    return fault.status, headers, body


@contextmanager
def slack_server() -> Iterator[SlackServer]:
    """A workspace that can be reached until the end of the block."""
    slack = SlackServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - http.server's name
            path = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            given = dict(parse_qsl(path.query))
            if raw.startswith("{"):
                given |= json.loads(raw)
            else:
                given |= dict(parse_qsl(raw))
            method = path.path.removeprefix("/api/")
            status, headers, body = slack.answer(method, given, self.headers.get("Authorization", ""))
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"ok" if method == WEBHOOK and status == 200 else body.encode())

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    slack.base_url = f"http://127.0.0.1:{server.server_address[1]}/api/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield slack
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
