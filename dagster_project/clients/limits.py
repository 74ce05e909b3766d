"""Keeps requests just below what a system allows, as its headers tell it. Sending them is `http.py`'s business."""

import math
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dagster_project.clients.http import ApiBusy, Clock


@dataclass(frozen=True)
class Allowance:
    """What an answer's headers say of the limits; None is unsaid.

    Attributes:
        limit: Requests per window.
        seconds: The window's length.
        remaining: Requests left in the window, others' counted too.
        daily: Requests per day.
        daily_remaining: Requests left of them.
    """

    limit: int | None = None
    seconds: float | None = None
    remaining: int | None = None
    daily: int | None = None
    daily_remaining: int | None = None


class RollingLimit:
    """At most so many requests in any window of so many seconds, and a share of the day's left to others.

    A request counts from its answer, which is later than the system counts it from: so the limit is never exceeded by
    us alone. What others send is seen in `remaining`.

    Args:
        limit: Requests per window until a header says otherwise; None is no limit.
        seconds: The window's length, likewise.
        clock: What waiting is measured in.
        read: Vendor's headers -> allowance.
        pauses: By the vendor's name of a limit that was exceeded, seconds to wait; infinite where waiting is of no use.
        daily_reserve: Share of the day's requests that is left to others, 0..1.
    """

    def __init__(
        self,
        limit: int | None,
        seconds: float,
        *,
        clock: Clock,
        read: Callable[[Mapping[str, str]], Allowance] = lambda headers: Allowance(),
        pauses: Mapping[str, float] | None = None,
        daily_reserve: float = 0.0,
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._read = read
        self._pauses = dict(pauses or {})
        self._daily_reserve = daily_reserve
        self._taken: deque[float] = deque()
        self._daily_used_up: str | None = None

    def admit(self) -> None:
        """Wait until another request fits. Raises ApiBusy when the day's are used up."""
        if self._daily_used_up:
            raise ApiBusy(self._daily_used_up)
        self._forget()
        if self._limit is not None and len(self._taken) >= self._limit:
            oldest_that_must_go = self._taken[len(self._taken) - self._limit]
            self._clock.sleep(max(0.0, oldest_that_must_go + self._seconds - self._clock.now()))
            self._forget()
        self._taken.append(self._clock.now())

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take the limits over from an answer."""
        now = self._clock.now()
        if self._taken:
            self._taken[-1] = now
        said = self._read(headers)
        if said.limit is not None:
            self._limit = said.limit
        if said.seconds is not None:
            self._seconds = said.seconds
        if said.remaining is not None and self._limit is not None:
            self._forget()
            of_others = self._limit - said.remaining - len(self._taken)
            self._taken.extend([now] * max(0, of_others))
        if said.daily and said.daily_remaining is not None and said.daily_remaining <= self._daily_reserve * said.daily:
            self._daily_used_up = (
                f"{said.daily_remaining} of the day's {said.daily} requests are left, and "
                f"{self._daily_reserve:.0%} of them are left to others: the next run goes on"
            )

    def pause(self, status: int, body: Any) -> float | None:
        """How long a limit that was exceeded asks us to wait."""
        if status != 429:
            return None
        return self._pauses.get(_limit_named(body), self._seconds if self._limit is not None else None)

    def _forget(self) -> None:
        now = self._clock.now()
        while self._taken and self._taken[0] + self._seconds <= now:
            self._taken.popleft()


def _limit_named(body: Any) -> str:
    """The limit that an answer names: as `policyName`, or only in its message (`... reached your daily limit.`)."""
    if not isinstance(body, dict):
        return ""
    in_words = re.search(r"your (\w+) limit", str(body.get("message")))
    return str(body.get("policyName") or (in_words[1] if in_words else "")).upper()


def whole_number(headers: Mapping[str, str], name: str) -> int | None:
    """A header's number; None where it is absent or none."""
    said = headers.get(name, "").strip()
    return int(said) if said.isdecimal() else None


NEVER = math.inf
