"""The policy that every request follows: what is sent again, what is not, and what a message never says."""

import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from loopback import Asked, FakeClock, FaultKind, Loopback, Reply

from dagster_project.clients.http import (
    LARGEST_ANSWER,
    ApiBusy,
    ApiRefused,
    ApiUnavailable,
    ApiUnknown,
    EndpointRefused,
    HttpApi,
    RetryPolicy,
    checked_endpoint,
    retry_after,
)
from dagster_project.clients.limits import NEVER, Allowance, RollingLimit, whole_number

TOKEN = "pat-eu1-very-secret"
CALM = RetryPolicy(attempts=3, read_timeout=30)
HASTY = RetryPolicy(attempts=3, read_timeout=0.2)
"""For answers that come too late; elsewhere a busy machine must not look like one."""


class Counter(Loopback):
    """Counts what was carried out, and limits requests to `limit` in any `window` seconds."""

    def __init__(
        self, clock: FakeClock | None = None, *, limit: int = 1_000, window: float = 10.0, **more: Any
    ) -> None:
        super().__init__(clock, **more)
        self.done = 0
        self.refused = 0
        self.limit = limit
        self.window = window
        self.others = 0
        self._received: list[float] = []

    def answer(self, asked: Asked) -> Reply:
        now = self.clock.now()
        self._received = [at for at in self._received if at > now - self.window]
        if len(self._received) >= self.limit:
            self.refused += 1
            return Reply(429, {"status": "error", "message": "too fast", "policyName": "ROLLING"})
        self._received += [now] * (1 + self.others)
        self.done += 1
        left = max(0, self.limit - len(self._received))
        return Reply(200, {"done": self.done}, {"X-Max": str(self.limit), "X-Left": str(left)})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> Iterator[Counter]:
    with Counter(clock) as counter:
        yield counter


def api(server: Loopback, **more: Any) -> HttpApi:
    said = {"authorize": lambda: {"Authorization": f"Bearer {TOKEN}"}, "secrets": lambda: [TOKEN]}
    return HttpApi(server.base_url, **said, **{"policy": CALM, "clock": server.clock, **more})


def patience(kind: FaultKind) -> RetryPolicy:
    return HASTY if kind == "delay" else CALM


def test_who_has_not_answered_in_time_is_left_alone_for_a_while(server: Counter, clock: FakeClock) -> None:
    server.fail("delay", "GET", times=9)
    asked = api(server, policy=HASTY)
    began = clock.now()
    with pytest.raises(ApiUnavailable, match="no answer within the time limit"):
        asked.request("GET", "/things")
    waited = clock.now() - began
    server.heal()
    with pytest.raises(ApiUnavailable, match="nobody has answered in time: asked again in") as caught:
        asked.request("POST", "/things", may_repeat=False)
    assert caught.value.is_silent and not isinstance(caught.value, ApiUnknown), "nothing was sent"
    clock.advance(5 * waited)
    before = server.done
    assert asked.request("POST", "/things", may_repeat=False).status == 200
    assert server.done == before + 1


def test_who_is_too_busy_is_left_alone_for_a_while_as_well(server: Counter, clock: FakeClock) -> None:
    server.fail("answer", "/things", times=9, reply=Reply(429, {"message": "too fast"}, {"Retry-After": "30"}))
    asked = api(server)
    began = clock.now()
    with pytest.raises(ApiBusy):
        asked.request("GET", "/things")
    waited = clock.now() - began
    assert waited >= 2 * 30
    server.heal()
    before = server.done
    with pytest.raises(ApiUnavailable, match="status 429: too fast: asked again in"):
        asked.request("POST", "/things")
    assert server.done == before
    clock.advance(5 * waited)
    assert asked.request("POST", "/things").status == 200


def test_a_connection_is_used_again_unless_it_was_idle(server: Counter, clock: FakeClock) -> None:
    """What lies between may have dropped an idle one without a word: that request would wait for its time limit."""
    asking = api(server)
    opened = []
    for seconds in (0.0, 60.0, 60.1, 1.0):
        clock.advance(seconds)
        asking.request("GET", "/things")
        opened.append(server.connections)
    assert opened == [1, 1, 2, 2]


def test_an_answer_is_read_as_json(server: Counter) -> None:
    answer = api(server).request("POST", "/things", body={"a": 1})
    assert (answer.status, answer.body) == (200, {"done": 1})
    assert server.asked[0].body == {"a": 1}
    assert server.asked[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("kind", ["reset", "lost", "cut", "delay"])
def test_what_may_be_repeated_is_sent_again(server: Counter, kind: FaultKind) -> None:
    server.fail(kind, "/things")
    assert api(server, policy=patience(kind)).request("GET", "/things").status == 200
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_status_that_may_be_another_one_next_time_is_tried_again(server: Counter, status: int) -> None:
    server.fail("answer", "/things", reply=Reply(status, {"message": "later"}))
    assert api(server).request("POST", "/things", may_repeat=status not in (429, 503)).body == {"done": 1}


def test_attempts_end(server: Counter) -> None:
    server.fail("answer", "/things", times=9, reply=Reply(500, {"message": "broken"}))
    with pytest.raises(ApiUnavailable, match="status 500: broken"):
        api(server).request("GET", "/things")
    assert len(server.asked) == 3


@pytest.mark.parametrize("kind", ["lost", "cut", "delay"])
def test_what_must_happen_once_is_not_sent_again_when_nobody_knows(server: Counter, kind: FaultKind) -> None:
    server.fail(kind, "/things")
    with pytest.raises(ApiUnknown, match="may have been carried out"):
        api(server, policy=patience(kind)).request("POST", "/things", may_repeat=False)
    assert server.done == 1


def test_no_is_no(server: Counter) -> None:
    server.fail("answer", "/things", reply=Reply(400, {"category": "VALIDATION_ERROR", "message": "no such field"}))
    with pytest.raises(ApiRefused, match="VALIDATION_ERROR: no such field") as refused:
        api(server).request("GET", "/things")
    assert (refused.value.status, len(server.asked)) == (400, 1)


def test_a_status_that_the_caller_knows_is_an_answer(server: Counter) -> None:
    server.fail("answer", "/things", reply=Reply(404, {"message": "gone"}))
    assert api(server).request("GET", "/things", also=[404]).status == 404


def test_a_redirect_is_not_followed_with_the_token(server: Counter) -> None:
    server.fail("answer", "/things", reply=Reply(302, None, {"Location": "http://127.0.0.1:9/elsewhere"}))
    with pytest.raises(ApiRefused, match="status 302"):
        api(server).request("GET", "/things")


def test_an_answer_that_is_no_json_is_no_answer(server: Counter) -> None:
    server.fail("answer", "/things", reply=Reply(200, "<html>"))
    assert api(server).request("GET", "/things").body == {"done": 1}


def test_retry_after_is_waited_for(server: Counter) -> None:
    server.fail("answer", "/things", reply=Reply(503, None, {"Retry-After": "7"}))
    api(server).request("GET", "/things")
    assert server.clock.slept == [7.0]


def test_a_retry_after_that_nobody_waits_for_ends_the_attempts(server: Counter) -> None:
    server.fail(
        "answer", "/things", reply=Reply(429, {"policyName": "DAILY", "message": "used up"}, {"Retry-After": "9000"})
    )
    with pytest.raises(ApiBusy, match="DAILY: used up"):
        api(server).request("GET", "/things")
    assert (len(server.asked), server.clock.slept) == (1, [])


@pytest.mark.parametrize(("said", "seconds"), [("3", 3.0), ("", None), ("soon", None), ("-1", 0.0)])
def test_retry_after_is_a_number_of_seconds(said: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": said}) == seconds


def test_retry_after_may_be_a_date() -> None:
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert (retry_after({"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}) or 0) > 1e6
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 -0000"}) == 0.0


def test_nothing_answers() -> None:
    with Counter() as server:
        gone = api(server)
    with pytest.raises(ApiUnavailable, match="no connection"):
        gone.request("GET", "/things", may_repeat=False)


@pytest.mark.parametrize("kind", ["answer", "cut", "delay", "lost", "reset"])
def test_no_message_log_or_traceback_holds_the_token(
    server: Counter, kind: FaultKind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.fail(kind, "/things", times=9, reply=Reply(401, {"message": f"token {TOKEN} has expired"}))
    try:
        api(server, policy=patience(kind)).request("POST", "/things", params={"token": TOKEN})
    except Exception:
        said = traceback.format_exc()
    assert "/things" in said
    assert TOKEN not in said
    assert f"Bearer {TOKEN}" not in caplog.text


@pytest.mark.parametrize(
    "url", ["https://api.hubapi.com", "https://api.hubapi.com/", "http://127.0.0.1:1", "http://localhost"]
)
def test_addresses_that_secrets_may_be_sent_to(url: str) -> None:
    assert checked_endpoint(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.hubapi.com",
        "http://localhost.evil.org",
        "ftp://127.0.0.1",
        "",
        "api.hubapi.com",
        "https://u:p@x.org",
    ],
)
def test_addresses_that_secrets_must_not_be_sent_to(url: str) -> None:
    with pytest.raises(EndpointRefused) as refused:
        checked_endpoint(url)
    assert "u:p" not in str(refused.value)


def read(headers: Any) -> Allowance:
    return Allowance(limit=whole_number(headers, "X-Max"), remaining=whole_number(headers, "X-Left"), seconds=10.0)


@pytest.mark.parametrize("seconds_per_request", [0.0, 0.001, 0.05])
def test_the_limit_is_used_to_95_percent_and_never_exceeded(seconds_per_request: float) -> None:
    clock = FakeClock()
    with Counter(clock, limit=190, window=10.0, seconds_per_request=seconds_per_request) as server:
        limiter = RollingLimit(100, 10.0, clock=clock, read=read)
        client = api(server, limiter=limiter)
        started = clock.now()
        for _ in range(190 * 5 + 1):
            client.request("GET", "/things")
        took = clock.now() - started
    assert server.refused == 0
    assert 190 * 5 / took >= 0.95 * 190 / 10.0


def test_requests_that_take_different_times_never_exceed_the_limit() -> None:
    clock = FakeClock()
    with Counter(clock, limit=20, window=10.0) as server:
        client = api(server, limiter=RollingLimit(20, 10.0, clock=clock, read=read))
        for number in range(100):
            server.seconds_per_request = 0.3 if number % 40 == 0 else 0.0
            client.request("GET", "/things")
    assert server.refused == 0


def test_what_others_send_is_seen_in_what_remains() -> None:
    clock = FakeClock()
    with Counter(clock, limit=30, window=10.0) as server:
        server.others = 2
        client = api(server, limiter=RollingLimit(30, 10.0, clock=clock, read=read))
        for _ in range(25):
            client.request("GET", "/things")
    assert server.refused == 0


def test_a_limit_that_was_exceeded_is_waited_for_and_a_used_up_day_is_not() -> None:
    clock = FakeClock()
    with Counter(clock) as server:
        limiter = RollingLimit(100, 10.0, clock=clock, pauses={"SECONDLY": 1.0, "DAILY": NEVER})
        client = api(server, limiter=limiter)
        server.fail("answer", "/things", reply=Reply(429, {"policyName": "SECONDLY", "message": "slow down"}))
        assert client.request("GET", "/things").status == 200
        assert clock.slept == [1.0]
        server.fail("answer", "/things", reply=Reply(429, {"policyName": "DAILY", "message": "come back tomorrow"}))
        with pytest.raises(ApiBusy, match="DAILY: come back tomorrow"):
            client.request("GET", "/things")


def test_a_share_of_the_day_is_left_to_others() -> None:
    clock = FakeClock()
    with Counter(clock) as server:
        limiter = RollingLimit(
            None, 1.0, clock=clock, read=lambda headers: Allowance(daily=1000, daily_remaining=50), daily_reserve=0.05
        )
        client = api(server, limiter=limiter)
        assert client.request("GET", "/things").status == 200
        with pytest.raises(ApiBusy, match="50 of the day's 1000 requests are left, and 5% of them are left to others"):
            client.request("GET", "/things")
    assert server.done == 1


@pytest.mark.parametrize("status", [500, 502, 504])
def test_what_must_happen_once_is_not_sent_again_after_a_status_that_does_not_say_it_was_not_done(
    server: Counter, status: int
) -> None:
    server.fail("answer", "/things", reply=Reply(status, {"message": "later"}))
    with pytest.raises(ApiUnknown, match="may have been carried out"):
        api(server).request("POST", "/things", may_repeat=False)
    assert len(server.asked) == 1


def test_what_may_have_been_carried_out_once_may_have_been_whatever_is_said_later(server: Counter) -> None:
    server.fail("lost", "/things")
    server.fail("answer", "/things", times=9, reply=Reply(503, {"message": "down"}))
    with pytest.raises(ApiUnknown, match="may have been carried out"):
        api(server).request("POST", "/things")


def test_an_address_with_a_user_in_it_is_refused() -> None:
    with pytest.raises(EndpointRefused):
        checked_endpoint("https://token@x.org")


def test_an_answer_that_is_larger_than_any_is_no_answer(server: Counter) -> None:
    server.fail("answer", "/things", times=9, reply=Reply(200, "x" * (LARGEST_ANSWER + 1)))
    with pytest.raises(ApiUnknown, match="the answer does not end"):
        api(server).request("GET", "/things")


def test_an_answer_that_comes_for_longer_than_any_is_no_answer(server: Counter) -> None:
    class Slow(FakeClock):
        def now(self) -> float:
            self.advance(11 * CALM.read_timeout)
            return super().now()

    with pytest.raises(ApiUnknown, match="the answer does not end"):
        api(server, clock=Slow()).request("GET", "/things")
