"""A Slack and a HubSpot for `pls watch` to write to: on this machine, and as slow to answer as over the internet."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "clients"))  # the servers that the tests use

import hubspot_server  # noqa: E402
import slack_server  # noqa: E402
from hubspot_server import HubSpotServer, Record, Refused  # noqa: E402
from loopback import Asked, Reply  # noqa: E402

ANSWERS_AFTER = 0.1
"""Seconds: about what a request to either of them takes over the internet."""


class BenchHubSpot(HubSpotServer):
    """Has every record that is written to, and shows none: what is known of the CRM stays what its files say."""

    def __init__(self) -> None:
        super().__init__(limit=10**9, daily=10**9)

    def answer(self, asked: Asked) -> Reply:
        time.sleep(ANSWERS_AFTER)
        return super().answer(asked)

    def _search(self, asked: Asked, kind: str) -> Reply:
        raise Refused(403, "MISSING_SCOPES", "This account shows no records.")

    def _list(self, asked: Asked, kind: str) -> Reply:
        return self._search(asked, kind)

    def _owners(self, asked: Asked) -> Reply:
        return self._search(asked, "owners")

    def _find(self, kind: str, key: str, unique: str | None) -> Record | None:
        return super()._find(kind, key, unique) or self.state.objects[kind][self.add(kind, key)]


@contextmanager
def outside_systems() -> Iterator[Mapping[str, str]]:
    """Both of them until the end of the block, as PLS_* variables."""
    with BenchHubSpot() as hubspot, slack_server.slack_server() as slack:
        slack.noticed = lambda method, stage: time.sleep(ANSWERS_AFTER) if stage == "received" else None
        yield {
            "PLS_CRM": "hubspot",
            "PLS_HUBSPOT_TOKEN": hubspot_server.TOKEN,
            "PLS_HUBSPOT_BASE_URL": hubspot.base_url,
            "PLS_SLACK_BOT_TOKEN": slack_server.TOKEN,
            "PLS_SLACK_BASE_URL": slack.base_url,
        }
