"""Slack, through slack_sdk: the app's bot, and the incoming webhook as the lesser way.

The SDK's own retries are switched off: it would post again what may have arrived. What is certain after a failure and
what is not is told apart here; what to do about it is the business of `delivery`.
"""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import isnan
from typing import Any, NoReturn
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient, WebhookResponse

from dagster_project.clients.chat import Place, Posted, Refused, Unavailable, Uncertain, Unreadable
from dagster_project.core.letters import Block, Letter, harmless

TIMEOUT_SECONDS = 15
EVENT_TYPE = "pls_letter"
"""What the metadata of our messages is called; what it carries is the letter's key."""
PAGE = 200
LARGEST_ANSWER = 16 << 20
"""Bytes of an answer, at most."""
_TEXT_LIMIT = 3_900
"""Slack cuts a text of more than 4,000 characters into several messages."""
_FEWEST_SECONDS = 1.0
"""Waited where Slack asks to slow down and doesn't say how long."""

_MAY_HAVE_HAPPENED = {"internal_error", "fatal_error", "request_timeout", "service_unavailable"}
_SLOW_DOWN = {"ratelimited", "rate_limited", "message_limit_exceeded"}
_NO_ACCESS = {
    "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "team_access_not_granted",
    "access_denied", "org_login_required", "ekm_access_denied", "accesslimited", "not_allowed_token_type",
}  # fmt: skip
_BAD_BLOCKS = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"}
_NEVER_CONNECTED = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)


class _NoRedirects(HTTPRedirectHandler):
    """The SDK would follow to any host, with the token, and as a GET that posts nothing."""

    def redirect_request(self, *_: Any) -> None:
        """None: the answer that asks for it is the last."""


def _asked(request: Request, *, timeout: float, context: ssl.SSLContext | None) -> tuple[int, Any, str]:
    """Status, headers and body; urllib's errors for what is no answer."""
    opener = build_opener(_NoRedirects, HTTPSHandler(context=context))
    with opener.open(request, timeout=timeout) as answer:
        body = answer.read(LARGEST_ANSWER + 1)
        if len(body) > LARGEST_ANSWER:
            raise Uncertain(f"the answer is larger than {LARGEST_ANSWER >> 20} MiB")
        return answer.status, answer.headers, body.decode(answer.headers.get_content_charset() or "utf-8", "replace")


class _Bot(WebClient):
    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        status, headers, body = _asked(req, timeout=self.timeout, context=self.ssl)
        return {"status": status, "headers": headers, "body": body}


class _Hook(WebhookClient):
    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        status, headers, body = _asked(req, timeout=self.timeout, context=self.ssl)
        return WebhookResponse(url=url, status_code=status, body=body, headers=headers)


class _Failed(Exception):
    """Slack's answer to a request that it did not carry out."""

    def __init__(self, method: str, code: str, detail: str) -> None:
        super().__init__(f"{method}: {code}{detail}")
        self.code = code


class SlackBot:
    """The app's bot.

    Args:
        token: `xoxb-...`.
        base_url: Where Slack's API is.
        longest_wait: Seconds in all that one request waits when Slack asks to slow down.
        pause: Waits for some seconds.
    """

    name = "slack"

    def __init__(
        self, token: str, base_url: str, *, longest_wait: float, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = _Bot(token=token, base_url=base_url, timeout=TIMEOUT_SECONDS, retry_handlers=[])
        self._longest_wait = longest_wait
        self._pause = pause
        self._ids: dict[str, str] = {}

    def places(self, letter: Letter) -> Iterator[Place]:
        """The thread that it joins, the person, the channel; see `Chat.places`."""
        if letter.thread:
            yield Place(letter.thread.channel, letter.thread.message)
        refused = []
        for find, whose in ((self._conversation, letter.person), (self._channel, letter.channel)):
            if not whose:
                continue
            try:
                yield Place(find(whose))
            except _Failed as error:
                refused.append(f"{whose}: {error}")
        if refused:
            raise Refused("; ".join(refused))

    def post(self, letter: Letter, place: Place) -> Posted:
        """Post with the key in the metadata; see `Chat.post`. Blocks that Slack refuses are left out."""
        try:
            answer = self._say(letter, place, letter.blocks)
        except _Failed as error:
            if error.code not in _BAD_BLOCKS:
                raise Refused(f"{place.channel}: {error}") from error
            try:
                answer = self._say(letter, place, ())
            except _Failed as again:
                raise Refused(f"{place.channel}: {again}") from again
        return Posted(answer["channel"], answer["ts"])

    def find(self, key: str, place: Place, since: datetime) -> Posted | None:
        """The message in the history of its channel or thread; see `Chat.find`."""
        oldest = f"{since.replace(tzinfo=UTC).timestamp():.6f}"
        asked = {"channel": place.channel, "oldest": oldest, "include_all_metadata": True, "limit": PAGE}
        if place.thread:
            asked["ts"] = place.thread
        method = "conversations.replies" if place.thread else "conversations.history"
        try:
            for page in self._pages(method, asked):
                for message in page.get("messages", ()):
                    metadata = message.get("metadata") or {}
                    if metadata.get("event_type") == EVENT_TYPE and metadata.get("event_payload", {}).get("key") == key:
                        return Posted(place.channel, message["ts"])
        except _Failed as error:
            if place.thread and error.code == "thread_not_found":
                return None
            raise Unreadable(f"whether it arrived in {place.channel} can't be read: {error}") from error
        except Uncertain as error:
            raise Unavailable(str(error)) from error
        return None

    def show_answer(self, channel: str, message: str, *, text: str, blocks: Sequence[Block]) -> None:
        """Change a message of ours.

        Raises:
            ChatError: It still shows what it showed; nothing else depends on it.
        """
        try:
            self._call("chat.update", channel=channel, ts=message, text=text, blocks=list(blocks))
        except _Failed as error:
            raise Refused(str(error)) from error

    def _say(self, letter: Letter, place: Place, blocks: Sequence[Block]) -> Any:
        said: dict[str, Any] = {
            "channel": place.channel,
            "text": harmless(letter.title if blocks else letter.markdown)[:_TEXT_LIMIT],
            "metadata": {"event_type": EVENT_TYPE, "event_payload": {"key": letter.key}},
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if blocks:
            said["blocks"] = list(blocks)
        if place.thread:
            said["thread_ts"] = place.thread
            said["reply_broadcast"] = letter.is_loud
        return self._call("chat.postMessage", **said)

    def _conversation(self, person: str) -> str:
        if person not in self._ids:
            self._ids[person] = self._call("conversations.open", users=person)["channel"]["id"]
        return self._ids[person]

    def _channel(self, channel: str) -> str:
        """The id of a channel that may be given by its name."""
        if not channel.startswith("#"):
            return channel
        if channel not in self._ids:
            asked = {"types": "public_channel,private_channel", "exclude_archived": True, "limit": PAGE}
            for page in self._pages("conversations.list", asked):
                self._ids.update({f"#{found['name']}": found["id"] for found in page["channels"]})
        if channel not in self._ids:
            raise _Failed("conversations.list", "channel_not_found", ": invite the app to it, or give its id")
        return self._ids[channel]

    def _pages(self, method: str, asked: dict[str, Any]) -> Iterator[Any]:
        cursor, seen = "", {""}
        while True:
            page = self._call(method, params={**asked, **({"cursor": cursor} if cursor else {})})
            yield page
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                return
            if cursor in seen:
                raise _Failed(method, "pages_without_end", f": the page {cursor} comes again")
            seen.add(cursor)

    def _call(self, method: str, params: dict[str, Any] | None = None, **arguments: Any) -> Any:
        """Slack's answer.

        Args:
            method: Slack's name of it.
            params: What is asked of a method that reads: those take no JSON.
            arguments: What is given to one that writes.

        Raises:
            _Failed: Slack has done nothing and says why.
            Unavailable: Slack does nothing now.
            Uncertain: Nobody knows what Slack has done.
        """
        waited = 0.0
        while True:
            try:
                if params is not None:
                    return self._client.api_call(method, http_verb="GET", params=params)
                return self._client.api_call(method, json=arguments)
            except SlackApiError as error:
                seconds = _asked_to_wait(error.response)
                if seconds is None:
                    _raise_failure(method, error.response)
                if waited + seconds > self._longest_wait:
                    raise Unavailable(f"{method}: Slack asks to wait {seconds:.0f} s") from error
                waited += seconds
                self._pause(seconds)
            except OSError as error:
                _raise_broken(method, error)
            except Uncertain:
                raise
            except Exception as error:  # http.client's, which have no common base with the others
                # Its words may be the token's, or the webhook's address.
                raise Uncertain(f"{method}: the request could not be made ({type(error).__name__})") from None


class SlackWebhook:
    """An incoming webhook: one channel, no reading back, no threads, no buttons.

    Args:
        url: The webhook's address, a secret.
    """

    name = "slack:webhook"

    def __init__(self, url: str) -> None:
        self._client = _Hook(url, timeout=TIMEOUT_SECONDS, retry_handlers=[])

    def places(self, letter: Letter) -> Iterator[Place]:
        """The webhook's channel, whichever that is."""
        yield Place("webhook")

    def post(self, letter: Letter, place: Place) -> Posted:
        """Post; see `Chat.post`."""
        try:
            answer = self._client.send(
                text=harmless(letter.title), blocks=[dict(block) for block in letter.blocks] or None
            )
        except OSError as error:
            _raise_broken("webhook", error)
        except Uncertain:
            raise
        except Exception as error:
            raise Uncertain(f"webhook: the request could not be made ({type(error).__name__})") from None
        if answer.status_code == 200:
            return Posted(place.channel, "")
        said = f"webhook: status {answer.status_code}: {answer.body}"
        if answer.status_code == 429:
            raise Unavailable(said)
        raise Uncertain(said) if answer.status_code >= 500 else Refused(said)

    def find(self, key: str, place: Place, since: datetime) -> Posted | None:
        """A webhook can't read."""
        raise Unreadable("a webhook can't look up whether it arrived")


def _asked_to_wait(response: Any) -> float | None:
    """Seconds, where Slack asks to slow down."""
    if response.status_code != 429 and _code(response) not in _SLOW_DOWN:
        return None
    try:
        seconds = float(response.headers.get("Retry-After", _FEWEST_SECONDS))
    except ValueError:
        return _FEWEST_SECONDS
    return _FEWEST_SECONDS if isnan(seconds) else max(seconds, _FEWEST_SECONDS)


def _raise_failure(method: str, response: Any) -> NoReturn:
    code = _code(response)
    if 300 <= response.status_code < 400:
        status = f"{method}: status {response.status_code}"
        raise Unavailable(f"{status}: a redirect is not followed, see PLS_SLACK_BASE_URL")
    if response.status_code >= 500 or code in _MAY_HAVE_HAPPENED or code is None:
        raise Uncertain(f"{method}: {code or f'status {response.status_code}'}")
    if code in _NO_ACCESS:
        raise Unavailable(f"{method}: {code}: Slack does not accept PLS_SLACK_BOT_TOKEN")
    needed = response.get("needed")
    raise _Failed(method, code, f": the app needs the scope {needed}" if needed else "")


def _code(response: Any) -> str | None:
    """Slack's word for what went wrong, None where the answer is none of Slack's."""
    data = response.data
    if isinstance(data, bytes | str):
        try:
            data = json.loads(data)
        except ValueError:
            return None
    code = data.get("error") if isinstance(data, dict) else None
    # The SDK puts an answer that it can't read there, with many words.
    return code if isinstance(code, str) and code.replace("_", "").isalnum() else None


def _raise_broken(method: str, error: OSError) -> NoReturn:
    """A connection that was never there is certain; one that broke is not."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, _NEVER_CONNECTED):
        raise Unavailable(f"{method}: Slack can't be reached: {reason}") from error
    raise Uncertain(f"{method}: the connection broke: {type(reason).__name__}: {reason}") from error
