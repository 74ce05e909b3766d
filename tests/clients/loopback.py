"""A server on this machine that stands for an outside system: state, scripted faults, a record of what was asked.

What it answers is the business of its subclasses (`hubspot_server.py`, `salesforce_server.py`).
"""

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from dagster_project.clients.http import Clock

FaultKind = Literal["answer", "reset", "lost", "cut", "delay", "twice"]


class FakeClock(Clock):
    """A clock that moves only when somebody sleeps or a request takes its time."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self.time = start
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        with self._lock:
            self.time += seconds


@dataclass(frozen=True)
class Asked:
    """A request that arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        if self.body is None:
            return b""
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose line matches, after `after` of them went well.

    Kinds: `answer` gives `reply` and does nothing; `reset` breaks off before anything is done, `lost` after it; `cut`
    breaks off in the middle of the answer; `delay` answers after the caller has stopped waiting; `twice` does it twice.
    `then` is done right before the connection breaks off: the caller is still waiting.
    """

    kind: FaultKind
    on: str
    times: int = 1
    reply: Reply = field(default_factory=Reply)
    after: int = 0
    then: Callable[[], None] | None = None


class _Server(ThreadingHTTPServer):
    """Without the look-up of its own name, which takes seconds where no name server answers."""

    daemon_threads = True
    connections = 0

    def get_request(self) -> tuple[socket.socket, Any]:
        self.connections += 1
        return super().get_request()

    def server_bind(self) -> None:
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]


class Loopback:
    """A server with a state; `with` starts and stops it.

    Attributes:
        asked: The requests that arrived, in order.
        clock: What limits are measured in.
        seconds_per_request: How far a request moves the clock.
    """

    def __init__(self, clock: FakeClock | None = None, *, seconds_per_request: float = 0.0) -> None:
        self.asked: list[Asked] = []
        self.clock = clock or FakeClock()
        self.seconds_per_request = seconds_per_request
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def fail(
        self,
        kind: FaultKind,
        on: str,
        *,
        times: int = 1,
        reply: Reply | None = None,
        after: int = 0,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Script a fault for requests whose line (`POST /path`) matches a regular expression."""
        self._faults.append(Fault(kind, on, times, reply or Reply(), after, then))

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()

    @property
    def connections(self) -> int:
        """How many were opened so far."""
        return self._server.connections

    def lines(self, pattern: str = "") -> list[str]:
        """The lines of the requests that match."""
        return [asked.line for asked in self.asked if re.search(pattern, asked.line)]

    def answer(self, asked: Asked) -> Reply:
        """What a request does and gives; called by one thread at a time."""
        raise NotImplementedError

    def _fault(self, asked: Asked) -> Fault | None:
        for fault in self._faults:
            if fault.times <= 0 or not re.search(fault.on, asked.line):
                continue
            fault.after -= 1
            if fault.after < 0:
                fault.times -= 1
                return fault
        return None

    def _serve(self, asked: Asked) -> tuple[Reply | None, Fault | None]:
        with self._lock:
            self.asked.append(asked)
            self.clock.advance(self.seconds_per_request)
            fault = self._fault(asked)
            if fault and fault.kind == "answer":
                return fault.reply, fault
            if fault and fault.kind == "reset":
                return None, fault
            reply = self.answer(asked)
            if fault and fault.kind == "twice":
                reply = self.answer(asked)
            return reply, fault

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # otherwise every answer waits 40 ms for an acknowledgement

            def _respond(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = urlsplit(self.path)
                asked = Asked(
                    self.command,
                    parts.path,
                    dict(parse_qsl(parts.query)),
                    dict(self.headers),
                    _decoded(self.headers, raw),
                )
                reply, fault = loopback._serve(asked)
                kind = fault.kind if fault else None
                if reply is None or kind == "lost":
                    return self._break_off(fault)
                if kind == "delay":
                    loopback._closing.wait(timeout=10)
                    return self._break_off(fault)
                content = reply.encoded()
                self.send_response(reply.status)
                for name, value in {"Content-Type": reply.content_type, **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if kind == "cut":
                    self.wfile.write(content[: len(content) // 2])
                    self.wfile.flush()
                    return self._break_off(fault)
                self.wfile.write(content)
                return None

            def _break_off(self, fault: Fault | None) -> None:
                """Reset the connection instead of closing it in order."""
                if fault and fault.then:
                    fault.then()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _respond

            def log_message(self, *unused: object) -> None:
                """Nothing is printed."""

            def finish(self) -> None:
                try:
                    super().finish()
                except (OSError, ValueError):
                    self.close_connection = True

        return Handler


def _decoded(headers: Mapping[str, str], raw: bytes) -> Any:
    kind = headers.get("Content-Type") or ""
    if "json" in kind:
        return json.loads(raw or b"null")
    if "form" in kind:
        return dict(parse_qsl(raw.decode()))
    return raw.decode()
