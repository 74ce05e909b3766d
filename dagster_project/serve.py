"""`pls serve`: what Slack tells of clicks on a handoff's buttons. Believes nothing that Slack hasn't signed just now.

Slack waits for three seconds. The answer is kept in the ledger meanwhile; if that takes longer it goes on behind the
reply, and changing the message always does.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dagster_project.clients.chat import ChatError
from dagster_project.clients.slack import SlackBot
from dagster_project.core.feedback import Click, NoAnswer, read_click, shown_answer
from dagster_project.core.letters import answered
from dagster_project.core.signatures import LONGEST_AGE_SECONDS, why_refused
from dagster_project.ledger import Ledger

LARGEST_BODY = 1_000_000
"""Bytes of a request: a click carries its whole message, which is never that large."""
NOT_KEPT = "⚠️ The last answer could not be kept: please press again"
BODY_SECONDS = 10.0
"""How long a request may take to arrive: until its signature can be checked anybody may have sent it."""
PATIENCE_SECONDS = 2.0
"""How long Slack is kept waiting for the ledger."""


@dataclass
class Clicks:
    """Keeps answers and shows them.

    Attributes:
        ledger: Open for as long as the app runs.
        bot: Changes the message in which somebody clicked; None leaves it as it is.
        secret: What Slack signs with.
        now: Seconds since 1970.
        say: Tells whoever runs the server what happens.
        patience: Seconds that Slack is kept waiting for the ledger.
        longest_body: Seconds that a request may take to arrive.
    """

    ledger: Ledger
    bot: SlackBot | None
    secret: str
    say: Callable[[str], None]
    now: Callable[[], float] = time.time
    patience: float = PATIENCE_SECONDS
    longest_body: float = BODY_SECONDS
    _seen: dict[str, float] = field(default_factory=dict)
    _showing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def receive(self, request: Request) -> Response:
        """One request of Slack's."""
        try:
            async with asyncio.timeout(self.longest_body):
                body = await _body(request)
        except TimeoutError:
            return PlainTextResponse("too slow", 408, headers={"Connection": "close"})
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return PlainTextResponse("too large", 413)
        timestamp, signature = (request.headers.get(f"x-slack-{name}") for name in ("request-timestamp", "signature"))
        refusal = why_refused(body, timestamp, signature, secret=self.secret, now=self.now())
        if refusal is None and self._was_seen(str(signature)):
            refusal = "this very request has been received before"
        if refusal is not None:
            self.say(f"refused: {refusal}")
            return PlainTextResponse(refusal, 401)
        try:
            click = read_click(parse_qs(body.decode(), strict_parsing=True)["payload"][0])
        except (NoAnswer, KeyError, ValueError) as error:
            self.say(f"not understood: {error}")
            return PlainTextResponse("this is no click on a handoff", 400)
        if click is None:
            return Response(status_code=200)
        return await self._keep(click, str(signature))

    async def _keep(self, click: Click, signature: str) -> Response:
        keeping = asyncio.create_task(run_in_threadpool(self.ledger.keep_answer, click.answer, chat=SlackBot.name))
        done, _ = await asyncio.wait({keeping}, timeout=self.patience)
        if done and (error := keeping.exception()) is not None:
            self.say(f"not kept: {click.answer.handoff_id}: {error}")
            return PlainTextResponse("not kept", 404 if isinstance(error, LookupError) else 500)
        self._seen[signature] = self.now()
        return Response(status_code=200, background=BackgroundTask(self._show, click, keeping))

    async def _show(self, click: Click, keeping: "asyncio.Task[None]") -> None:
        """Put the answer that counts into the message, or that none could be kept."""
        # One after the other, so that what is shown last is what counts.
        async with self._showing:
            try:
                await keeping
                counts = await run_in_threadpool(self.ledger.answer_to, click.answer.handoff_id)
            except Exception as error:
                self.say(f"not kept: {click.answer.handoff_id}: {error}")
                status = NOT_KEPT
            else:
                self.say(f"{counts.handoff_id}: {counts.label} by {counts.by}")
                status = shown_answer(counts)
            if self.bot is None:
                return
            blocks = answered(click.blocks, status)
            show = partial(self.bot.show_answer, click.channel, click.message, text=click.text, blocks=blocks)
            try:
                await run_in_threadpool(show)
            except ChatError as error:
                self.say(f"kept, but not shown in Slack: {error}")

    def _was_seen(self, signature: str) -> bool:
        """Whether a signature was there before; those that are too old to be believed are forgotten."""
        oldest = self.now() - 2 * LONGEST_AGE_SECONDS
        self._seen = {known: at for known, at in self._seen.items() if at > oldest}
        return signature in self._seen


async def _body(request: Request) -> bytes | None:
    """The body, None if it is larger than anything Slack sends."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            return None
    return bytes(body)


def slack_app(clicks: Clicks) -> Starlette:
    """The web application: `POST /slack/actions` for Slack, `GET /health` for whoever watches over it."""

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with clicks.ledger:
            yield

    routes = [Route("/slack/actions", clicks.receive, methods=["POST"]), Route("/health", health)]
    return Starlette(routes=routes, lifespan=lifespan)
