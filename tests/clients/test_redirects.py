"""What asks to be sent elsewhere is not followed: neither a token nor an alert goes to an address that nobody set."""

from collections.abc import Iterator

import pytest
from ledger_rows import handoff
from letter_rows import letter
from loopback import Asked, Loopback, Reply

from dagster_project.clients.chat import Place, Refused, Unavailable, Uncertain
from dagster_project.clients.slack import SlackBot, SlackWebhook

PLACE = Place("C0000001")


class Elsewhere(Loopback):
    """Takes everything for something that it can do."""

    def answer(self, asked: Asked) -> Reply:
        return Reply(200, {"ok": True, "channel": "C0000001", "ts": "1.0"})


class Redirecting(Loopback):
    """Sends everybody somewhere else."""

    to = ""

    def answer(self, asked: Asked) -> Reply:
        return Reply(302, None, {"Location": self.to})


@pytest.fixture
def servers() -> Iterator[tuple[Redirecting, Elsewhere]]:
    with Elsewhere() as elsewhere, Redirecting() as redirecting:
        redirecting.to = f"{elsewhere.base_url}/there"
        yield redirecting, elsewhere


def test_slacks_token_goes_nowhere_else(servers: tuple[Redirecting, Elsewhere]) -> None:
    redirecting, elsewhere = servers
    bot = SlackBot("xoxb-secret", f"{redirecting.base_url}/api/", longest_wait=0)
    with pytest.raises(Unavailable, match="status 302: a redirect is not followed"):
        bot.post(letter(handoff()), PLACE)
    assert elsewhere.asked == []


def test_an_alert_that_was_sent_elsewhere_has_not_arrived(servers: tuple[Redirecting, Elsewhere]) -> None:
    redirecting, elsewhere = servers
    with pytest.raises(Refused, match="status 302"):
        SlackWebhook(f"{redirecting.base_url}/services/T0").post(letter(handoff()), PLACE)
    assert elsewhere.asked == []


def test_what_cannot_be_asked_for_repeats_no_secret(servers: tuple[Redirecting, Elsewhere]) -> None:
    redirecting, _ = servers
    for chat in (
        SlackBot("xoxb-sec\nret", f"{redirecting.base_url}/api/", longest_wait=0),
        SlackWebhook(f"{redirecting.base_url}/services/sec ret"),
    ):
        with pytest.raises(Uncertain) as unknown:
            chat.post(letter(handoff()), PLACE)
        assert "the request could not be made" in str(unknown.value)
        assert "ret" not in str(unknown.value)
