"""How requests are made, whatever they ask for: one policy for every outside system.

Always a timeout; declared retries with backoff and Retry-After; no redirects; https unless loopback; no secret in a
message. What requests mean is the business of the clients that use it.

ApiError
 ├─ ApiUnavailable: no usable answer came, in spite of all attempts; the same may succeed later
 │   ├─ ApiBusy: a limit is used up
 │   └─ ApiUnknown: the request may have been carried out
 └─ ApiRefused: an answer that will not change by itself; `status` says how
EndpointRefused (a ValueError): secrets would travel in the clear
"""

import json
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests

from dagster_project.pauses import doubled

RETRYABLE = frozenset({408, 423, 425, 429, 477, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""Statuses that may be another one next time."""
NOT_CARRIED_OUT = frozenset({429, 503})
"""Statuses that say that nothing was done, so that even what must happen once may be sent again."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_IDLE_SECONDS = 60.0
"""After so long without a request a connection is not used again: what lies between may have dropped it unheard, and
the request that tells would wait for its whole time limit."""
_REST = 5
"""Times as long as it was waited for in vain a system is left alone: who waits meanwhile waits for a sixth of it."""
LARGEST_ANSWER = 64 << 20
"""Bytes of an answer, unpacked: any page of any system is smaller."""
_READ_PATIENCE = 10
"""Times the time limit of a read within which an answer has to end."""
_WORDS = 500
"""How much of an answer a message repeats."""


class ApiError(RuntimeError):
    """A system did not do what it was asked.

    Attributes:
        status: The status of its answer, None if there was none.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ApiUnavailable(ApiError):
    """No usable answer came; the same request may succeed later.

    Attributes:
        is_silent: Whether nobody answered at all, the last time that was tried.
    """

    is_silent = False


class ApiBusy(ApiUnavailable):
    """A limit is used up."""


class ApiUnknown(ApiUnavailable):
    """Whether the request was carried out is not known."""


class ApiRefused(ApiError):
    """The system understood and said no.

    Attributes:
        body: What it said, as JSON where it is.
    """

    def __init__(self, message: str, *, status: int, body: Any = None) -> None:
        super().__init__(message, status=status)
        self.body = body


class EndpointRefused(ValueError):
    """An address that secrets must not be sent to."""


class Clock:
    """The time that waiting is measured in; another one is passed in by tests."""

    def now(self) -> float:
        """Seconds since whenever, never backwards."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Limiter(Protocol):
    """Keeps requests within a system's limits."""

    def admit(self) -> None:
        """Wait until another request may be sent. Raises ApiBusy when that would take too long."""
        ...

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take note of an answer's headers."""
        ...

    def pause(self, status: int, body: Any) -> float | None:
        """Seconds to wait before the next attempt, infinite where waiting is of no use; None if nothing is known."""
        ...


@dataclass(frozen=True)
class RetryPolicy:
    """When and how often a request is sent again.

    Attributes:
        attempts: How often it is sent at most.
        unheard: How often at most while nobody answers in time: each of these takes as long as a timeout.
        first_pause: Seconds before the second attempt; each further pause is twice as long.
        longest_pause: No pause is longer; a Retry-After beyond it ends the attempts.
        connect_timeout: Seconds.
        read_timeout: Seconds without a byte of the answer.
    """

    attempts: int = 5
    unheard: int = 2
    first_pause: float = 0.5
    longest_pause: float = 60.0
    connect_timeout: float = 10.0
    read_timeout: float = 60.0


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: 2xx, or one that the caller asked to see.
        body: JSON, or text where it is none; None when there is nothing.
        headers: Case-insensitive.
    """

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpApi:
    """One system's API.

    Args:
        base_url: What paths are appended to.
        authorize: The headers that prove who asks, asked for at every attempt.
        secrets: Texts that no message may repeat, asked for whenever one is written.
        limiter: Keeps the system's limits; None if it has none.
        policy: Timeouts and retries.
        clock: What waiting is measured in.

    Raises:
        EndpointRefused: The address is neither https nor this machine.
    """

    def __init__(
        self,
        base_url: str,
        *,
        authorize: Callable[[], Mapping[str, str]],
        secrets: Callable[[], Collection[str]],
        limiter: Limiter | None = None,
        policy: RetryPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._base = checked_endpoint(base_url)
        self._authorize = authorize
        self._secrets = secrets
        self._limiter = limiter
        self._policy = policy or RetryPolicy()
        self._clock = clock or Clock()
        self._session = requests.Session()
        self._asked_at = self._clock.now()
        self._rests_until = self._asked_at
        self._rests_because = ""
        if is_loopback(base_url):
            self._session.trust_env = False
        # Without it requests looks into ~/.netrc, whose entry would replace our header.
        self._session.auth = lambda prepared: prepared

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        data: bytes | None = None,
        content_type: str | None = None,
        params: Mapping[str, Any] | None = None,
        may_repeat: bool = True,
        also: Collection[int] = (),
    ) -> Answer:
        """Ask, as often as the policy allows; not at all for a while after nobody answered in time, or had time.

        Args:
            method: HTTP's.
            path: Below the base address, with a leading slash.
            body: Sent as JSON.
            form: Sent as a form.
            data: Sent as it is, as `content_type`.
            content_type: Of `data`.
            params: The query.
            may_repeat: Whether carrying it out twice does no harm.
            also: Statuses beside 2xx that the caller wants to see.

        Raises:
            ApiUnavailable: No usable answer came.
            ApiUnknown: Likewise, and it may have been carried out.
            ApiRefused: The answer is no.
        """
        sending = {"json": body, "data": form if data is None else data, "params": params}
        began = self._clock.now()
        if began < self._rests_until:
            wait = f"asked again in {self._rests_until - began:.0f} s"
            raise self._silence(ApiUnavailable(self._say(method, path, f"{self._rests_because}: {wait}")))
        trouble: _Trouble | None = None
        is_unknown = False
        unheard = 0
        for attempt in range(self._policy.attempts):
            if trouble is not None:
                self._clock.sleep(trouble.pause if trouble.pause is not None else self._backoff(attempt))
            if self._limiter:
                self._limiter.admit()
            outcome = self._attempt(method, path, content_type, sending)
            if isinstance(outcome, Answer):
                if outcome.status < 300 or outcome.status in also:
                    return outcome
                if outcome.status not in RETRYABLE:
                    raise self._refusal(method, path, outcome)
                outcome = self._declined(outcome)
            trouble = outcome
            is_unknown = is_unknown or trouble.is_carried_out_perhaps
            unheard += trouble.is_timeout
            if (is_unknown and not may_repeat) or unheard == self._policy.unheard:
                break
            if trouble.pause is not None and trouble.pause > self._policy.longest_pause:
                break
        assert trouble is not None
        kind = ApiUnknown if is_unknown else ApiBusy if trouble.status == 429 else ApiUnavailable
        words = f"{trouble.words}; it may have been carried out" if is_unknown else trouble.words
        unavailable = kind(self._say(method, path, words), status=trouble.status)
        if trouble.is_timeout or trouble.status == 429:
            now = self._clock.now()
            self._rests_until = now + _REST * (now - began)
            self._rests_because = "nobody has answered in time" if trouble.is_timeout else trouble.words
        raise self._silence(unavailable) if trouble.is_timeout or trouble.words == _NOBODY_THERE else unavailable

    @staticmethod
    def _silence(error: ApiUnavailable) -> ApiUnavailable:
        error.is_silent = True
        return error

    def _attempt(
        self, method: str, path: str, content_type: str | None, sending: Mapping[str, Any]
    ) -> "Answer | _Trouble":
        now = self._clock.now()
        if now - self._asked_at > _IDLE_SECONDS:
            self._session.close()
        self._asked_at = now
        headers = {"Accept": "application/json", **self._authorize()}
        if content_type:
            headers["Content-Type"] = content_type
        try:
            response = self._session.request(
                method,
                self._base + path,
                headers=headers,
                timeout=(self._policy.connect_timeout, self._policy.read_timeout),
                allow_redirects=False,
                stream=True,
                **sending,
            )
            content = self._content(response)
        except requests.ConnectTimeout:
            return _Trouble("no connection within the time limit", is_timeout=True)
        except requests.Timeout:
            return _Trouble("no answer within the time limit", is_timeout=True, is_carried_out_perhaps=True)
        except requests.ConnectionError as error:
            was_sent = "NewConnectionError" not in repr(error)
            how = "the connection broke off" if was_sent else _NOBODY_THERE
            return _Trouble(how, is_carried_out_perhaps=was_sent)
        except requests.RequestException as error:
            return _Trouble(f"the answer can't be read ({type(error).__name__})", is_carried_out_perhaps=True)
        finally:
            del headers
        if content is None:
            return _Trouble("the answer does not end", is_carried_out_perhaps=True)
        if self._limiter:
            self._limiter.learn(response.headers)
        parsed = _parsed(response, content)
        if parsed is _BROKEN and response.status_code < 300:
            return _Trouble("the answer is no JSON", is_carried_out_perhaps=True)
        return Answer(response.status_code, _text(response, content) if parsed is _BROKEN else parsed, response.headers)

    def _content(self, response: requests.Response) -> bytes | None:
        """The body, None if it is larger than any answer, or comes for longer than any takes."""
        parts, size, until = [], 0, self._clock.now() + _READ_PATIENCE * self._policy.read_timeout
        with response:
            for part in response.iter_content(1 << 16):
                parts.append(part)
                size += len(part)
                if size > LARGEST_ANSWER or self._clock.now() > until:
                    return None
        return b"".join(parts)

    def _declined(self, answer: Answer) -> "_Trouble":
        """An answer that may be another one next time."""
        pause = retry_after(answer.headers)
        if self._limiter:
            wanted = self._limiter.pause(answer.status, answer.body)
            pause = wanted if pause is None else pause
        return _Trouble(
            f"status {answer.status}: {words_of(answer.body)}",
            status=answer.status,
            pause=pause,
            is_carried_out_perhaps=answer.status not in NOT_CARRIED_OUT,
        )

    def _refusal(self, method: str, path: str, answer: Answer) -> ApiRefused:
        words = f"status {answer.status}: {words_of(answer.body)}"
        return ApiRefused(self._say(method, path, words), status=answer.status, body=answer.body)

    def _backoff(self, attempt: int) -> float:
        longest = doubled(self._policy.first_pause, attempt, longest=self._policy.longest_pause)
        return longest * (0.5 + random.random() / 2)  # apart from others who were turned away at the same moment

    def _say(self, method: str, path: str, words: str) -> str:
        """A message without anything that is secret; a query may hold names and is left out."""
        return without_secrets(
            f"{method} {urlsplit(self._base).netloc}{path.partition('?')[0]}: {words}", self._secrets()
        )


@dataclass(frozen=True)
class _Trouble:
    """Why an attempt has no usable answer."""

    words: str
    status: int | None = None
    pause: float | None = None
    is_timeout: bool = False
    is_carried_out_perhaps: bool = False


_NOBODY_THERE = "no connection"
_BROKEN = object()


def _parsed(response: requests.Response, content: bytes) -> Any:
    """The answer's JSON; `_BROKEN` where it claims to be some and is none."""
    if not content:
        return None
    if "json" not in response.headers.get("Content-Type", "json"):
        return _text(response, content)
    try:
        return json.loads(content)
    except ValueError:
        return _BROKEN


def _text(response: requests.Response, content: bytes) -> str:
    says = "charset" in response.headers.get("Content-Type", "")  # requests takes texts that don't say for Latin 1
    try:
        return content.decode(response.encoding or "utf-8" if says else "utf-8", "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


def checked_endpoint(url: str) -> str:
    """An address that secrets may be sent to, without a slash at its end.

    Raises:
        EndpointRefused: It is neither https nor this machine, or holds a password.
    """
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise EndpointRefused("an address with a user or a password in it is refused: set the token's own variable")
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(url))):
        raise EndpointRefused(f"{url!r} is refused: expected https://..., or http on this machine")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's own."""
    return urlsplit(url).hostname in _LOOPBACK


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After asks for, as a number or a date; None if it is absent or makes no sense."""
    said = headers.get("Retry-After", "").strip()
    if not said:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(said)
    except ValueError:
        return None
    if until.tzinfo is None:  # that is what -0000 means: UTC of a place that is not told
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def words_of(body: Any) -> str:
    """What a system said, short enough for a message."""
    if isinstance(body, list) and body and isinstance(body[0], dict):
        body = body[0]
    if isinstance(body, dict):
        said = body.get("message") or body.get("error_description") or body.get("error") or json.dumps(body)
        code = body.get("errorCode") or body.get("category") or body.get("policyName")
        body = f"{code}: {said}" if code else str(said)
    text = " ".join(str(body if body is not None else "nothing").split())
    return text if len(text) <= _WORDS else text[:_WORDS] + "…"


def without_secrets(text: str, secrets: Collection[str]) -> str:
    """The text with every secret replaced."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text
