"""Clients of outside systems, kept for the runs of one process that follow each other.

What a client has learnt saves the next run the requests that it took: a session, which fields a CRM has, the id of a
channel. Where it is connected to is decided in `connectors.py` and `chats.py`.
"""

import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Client = TypeVar("Client")
KEPT_SECONDS = 300.0
"""What somebody changes over there may be noticed so much later."""


class KeptClients:
    """The client that was connected last, by the kind of what it is a client of.

    Args:
        seconds: How long each is used; then what it has learnt may not be so any more.
        now: Seconds since whenever.
    """

    def __init__(self, seconds: float = KEPT_SECONDS, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._kept: dict[str, tuple[Hashable, float, Any]] = {}

    def get(self, kind: str, access: Hashable, connect: Callable[[], Client]) -> Client:
        """The client that is kept for this access, or a new one.

        Args:
            kind: Of the client.
            access: All that decides how it is connected; one that was connected otherwise is not used.
            connect: Connects a new one; what it raises is raised.
        """
        if kind in self._kept:
            held, connected_at, client = self._kept[kind]
            if held == access and self._now() - connected_at < self._seconds:
                kept: Client = client
                return kept
        client = connect()
        self._kept[kind] = access, self._now(), client
        return client

    def forget(self) -> None:
        """The next ones are new: what these have learnt may not be so any more."""
        self._kept.clear()
