"""What every way to a seller can do for us: Slack's bot, Slack's webhook, the outbox.

ChatError
 ├─ NotPosted: it did certainly not arrive
 │   ├─ Refused: not this message at this place; others may be taken
 │   └─ Unavailable: nothing is taken now; the same may be taken later
 ├─ Uncertain: it arrived or it didn't, nobody said
 └─ Unreadable: what has arrived at this place can't be read back until somebody changes something
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from dagster_project.core.letters import Letter


class ChatError(RuntimeError):
    """A message was not sent as it should be, or not looked up."""


class NotPosted(ChatError):
    """The message is certainly not there."""


class Refused(NotPosted):
    """This message is not taken at this place."""


class Unavailable(NotPosted):
    """Nothing can be sent now."""


class Uncertain(ChatError):
    """Whether the message arrived is not known."""


class Unreadable(ChatError):
    """What has arrived can't be read back."""


@dataclass(frozen=True)
class Place:
    """Where a message goes: a channel or a conversation, by id, and the message whose thread it joins."""

    channel: str
    thread: str | None = None


@dataclass(frozen=True)
class Posted:
    """Where a message is."""

    channel: str
    message: str


class Chat(Protocol):
    """A way to people.

    Attributes:
        name: What deliveries call it.
    """

    name: str

    def places(self, letter: Letter) -> Iterator[Place]:
        """Where the letter may go, the best place first, each found when it is asked for. Sends nothing.

        Raises:
            Refused: At the end, when a place could not be found; the text says which and why.
            Unavailable: Nobody can say now.
        """
        ...

    def post(self, letter: Letter, place: Place) -> Posted:
        """Send it.

        Raises:
            Refused: Not this letter, not there.
            Unavailable: Nothing can be sent now.
            Uncertain: It may have arrived.
        """
        ...

    def find(self, key: str, place: Place, since: datetime) -> Posted | None:
        """The message that carries this key, None if it certainly never arrived.

        Args:
            key: What `Letter.key` was.
            place: Where it was sent to.
            since: Naive UTC, not later than it was sent.

        Raises:
            Unreadable: The place's history can't be read.
            Unavailable: It can't be read now.
        """
        ...
