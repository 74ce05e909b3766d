"""Delivers letters: each once, and none to whom it may not go.

The intent is in the ledger before a letter is posted and what became of it after. Whoever finds an intent without an
end asks the place whether the letter arrived before it is posted again; where that can't be asked the letter is parked
and waits for a person. What a letter says is `core/letters`'s business, how a place is spoken to that of `clients/`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from dagster_project.clients.chat import Chat, NotPosted, Place, Posted, Refused, Unavailable, Uncertain, Unreadable
from dagster_project.core.letters import HANDOFF, Letter
from dagster_project.ledger import Ledger
from dagster_project.ledger_writing import Outcome, Request

TRIES = 2
"""How often a letter that did not arrive is posted in one run."""
NOWHERE = Place("")
_OVER, _IN_DOUBT = ("confirmed", "cancelled"), ("pending", "parked")
CLOCKS_APART = timedelta(hours=1)
"""How far another machine's clock may be behind ours when its history is searched; more only means to read more."""


@dataclass(frozen=True)
class DeliveryReport:
    """What became of the letters that were waiting; the mappings are by letter.

    Attributes:
        delivered: Letters that have arrived.
        cancelled: Letters withdrawn because their person may not be contacted any more.
        failed: Why letters have not arrived; the next run tries again.
        parked: Letters that may have arrived, and why nobody can tell: a person has to look.
        held: Why letters about people wait: nobody knows whether these may be contacted.
    """

    delivered: int
    cancelled: int
    failed: Mapping[str, str]
    parked: Mapping[str, str]
    held: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """The clock, and how to wait: `now` is naive UTC."""

    now: Callable[[], datetime]
    pause: Callable[[float], None]


class _Parked(Exception):
    """The letter waits for a person; what is known of it is recorded."""


def _pass(point: str) -> None:
    """Nothing happens at the named points of a delivery, except in tests."""


def deliver(
    ledger: Ledger,
    chat: Chat,
    letters: Sequence[Letter],
    *,
    blocked: Mapping[str, str],
    pace: Pace,
    hold: str | None = None,
    look_up_after: float = 0.0,
    needless: Callable[[Letter], bool] | None = None,
    at: Callable[[str], None] = _pass,
) -> DeliveryReport:
    """Post every letter that has not arrived yet.

    Args:
        ledger: Where intents and ends are kept; no transaction of it is open while something is on the wire.
        chat: The way to people.
        letters: The most urgent first.
        blocked: Why a user may not be contacted now, by user id; to be in it is enough.
        pace: Clock and pause.
        hold: Why `blocked` can't be trusted now, so that letters about people wait; None if it can.
        look_up_after: Seconds after which a letter that was posted can be found where it went.
        needless: Whether something has happened since after which nobody need be told; asked right before posting. None
            where letters are wanted whatever happens.
        at: Told when a named point is passed.
    """
    post = _Delivering(ledger, chat, blocked, hold, pace, look_up_after, needless, at)
    begun = ledger.begun(chat.name, {letter.object_id for letter in letters})
    stopped: str | None = None
    for letter in letters:
        if stopped is not None:
            post.failed[letter.key] = f"not tried: {stopped}"
            continue
        try:
            post.deliver(letter, begun.get((letter.object_type, letter.object_id, letter.operation)))
        except Unavailable as error:
            # The others would fail in the same way.
            post.failed[letter.key] = stopped = str(error)
        except (NotPosted, Uncertain) as error:
            post.failed[letter.key] = str(error)
    return DeliveryReport(post.delivered, post.cancelled, post.failed, post.parked, post.held)


@dataclass
class _Delivering:
    """One round of deliveries and what has become of them so far."""

    ledger: Ledger
    chat: Chat
    blocked: Mapping[str, str]
    hold: str | None
    pace: Pace
    look_up_after: float
    needless: Callable[[Letter], bool] | None
    at: Callable[[str], None]
    delivered: int = 0
    cancelled: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    parked: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)

    def deliver(self, letter: Letter, begun: Mapping[str, Any] | None) -> None:
        """Find out what became of an earlier try, then post."""
        status = begun["status"] if begun is not None else None
        if status in _OVER:
            return
        with suppress(_Parked):
            if begun is not None and status in _IN_DOUBT and self._has_arrived(letter, begun):
                return
            if letter.about is not None and (reason := self.blocked.get(letter.about)) is not None:
                self._cancel(letter, reason)
            elif letter.about is not None and self.hold is not None:
                self.held[letter.key] = self.hold
            elif self.needless is None or not self.needless(letter):
                self._send(letter)

    def _has_arrived(self, letter: Letter, begun: Mapping[str, Any]) -> bool:
        """Whether a begun letter is where it was sent to; then it is confirmed."""
        sent = json.loads(begun["payload"])
        delivery_id, place = begun["delivery_id"], Place(sent["channel"], sent["thread"])
        self.at("look up")
        found = self._look_up(letter, place, delivery_id, since=datetime.fromisoformat(sent["posted_at"]))
        self.at("looked up")
        if found is None:
            self._settle(delivery_id, "failed", "it did not arrive")
            return False
        self._confirm(letter, delivery_id, found, place)
        return True

    def _look_up(self, letter: Letter, place: Place, delivery_id: str, *, since: datetime) -> Posted | None:
        """Where the letter is, None if it is certainly nowhere. Where that can't be told it is parked."""
        if not place.channel:
            return None
        left = self.look_up_after - (self.pace.now() - since).total_seconds()
        if left > 0:
            self.pace.pause(min(left, self.look_up_after))
        try:
            return self.chat.find(letter.key, place, since - CLOCKS_APART)
        except Unreadable as error:
            handoffs = {letter.object_id: "parked"} if letter.hands_over is not None else None
            self.ledger.settle([Outcome(delivery_id, "parked", str(error))], self.pace.now(), handoffs=handoffs)
            self.parked[letter.key] = str(error)
            raise _Parked from error

    def _send(self, letter: Letter) -> None:
        """Post at the first place that takes it."""
        refusals: list[str] = []
        places = iter(self.chat.places(letter))
        while (place := self._next_place(letter, places, refusals)) is not None:
            try:
                self._post(letter, place)
                return
            except Refused as error:
                refusals.append(str(error))
        raise Refused("; ".join(refusals))

    def _next_place(self, letter: Letter, places: Iterator[Place], refusals: list[str]) -> Place | None:
        """The next place that may take the letter, None if there is no other. Where none can be found, the intent says
        why."""
        try:
            return next(places, None)
        except Refused as error:
            refusals.append(str(error))
            self._settle(self._intend(letter, NOWHERE), "failed", "; ".join(refusals))
            return None
        except Unavailable as error:
            self._settle(self._intend(letter, NOWHERE), "failed", str(error))
            raise

    def _post(self, letter: Letter, place: Place) -> None:
        """Post at one place; what may have arrived is looked up, and posted again if it has not."""
        for tries_left in reversed(range(TRIES)):
            since = self.pace.now()
            delivery_id = self._intend(letter, place)
            self.at("intent recorded")
            try:
                posted = self.chat.post(letter, place)
            except NotPosted as error:
                self._settle(delivery_id, "failed", str(error))
                raise
            except Uncertain as error:
                self._settle(delivery_id, "pending", str(error))
                self.at("in doubt")
                found = self._look_up(letter, place, delivery_id, since=since)
                if found is None:
                    self._settle(delivery_id, "failed", f"it did not arrive: {error}")
                    if tries_left:
                        continue
                    raise
                posted = found
            self.at("posted")
            self._confirm(letter, delivery_id, posted, place)
            self.at("end recorded")
            return

    def _intend(self, letter: Letter, place: Place) -> str:
        payload = {
            "channel": place.channel,
            "thread": place.thread,
            "title": letter.title,
            "posted_at": self.pace.now().isoformat(),
        }
        request = Request(
            destination=self.chat.name,
            object_type=letter.object_type,
            object_id=letter.object_id,
            operation=letter.operation,
            payload=json.dumps(payload),
            # Of the identity alone: another wording or another channel is no reason to send it twice.
            payload_hash=sha256(letter.key.encode()).hexdigest()[:16],
        )
        return self.ledger.request([request], self.pace.now())[0]

    def _confirm(self, letter: Letter, delivery_id: str, posted: Posted, place: Place) -> None:
        handoffs, where = None, None
        if letter.hands_over is not None:
            handoffs = {letter.object_id: "delivered"}
            root = letter.thread.handoff_id if letter.thread and place.thread else None
            fields = {"channel": posted.channel, "message": posted.message, "root": root}
            where = {(self.chat.name, HANDOFF, letter.object_id): fields}
        self.ledger.settle([Outcome(delivery_id, "confirmed")], self.pace.now(), confirmed=where, handoffs=handoffs)
        self.delivered += 1

    def _cancel(self, letter: Letter, reason: str) -> None:
        delivery_id = self._intend(letter, NOWHERE)
        self.at("to be cancelled")
        if letter.hands_over is not None:
            self.ledger.cancel_handoff(letter.hands_over, delivery_id, reason, self.pace.now())
        else:
            self._settle(delivery_id, "cancelled", reason)
        self.cancelled += 1

    def _settle(self, delivery_id: str, status: Any, error: str) -> None:
        self.ledger.settle([Outcome(delivery_id, status, error)], self.pace.now())
