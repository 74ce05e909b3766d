"""Where an extract goes on: as the text that is kept between runs, and from page to page. How records are read is the
connectors' business.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from dagster_project.clients.crm import CrmUnavailable
from dagster_project.clients.crm_values import utc_text


@dataclass(frozen=True)
class Cursor:
    """Where to go on.

    Attributes:
        since: Changes after this moment are wanted, ISO 8601; None for everything.
        started: When this extract began, where the next one goes on from.
        part: Which part of the extract; the connector's word, None for the first.
        after: The end of what was read of that part.
    """

    since: str | None = None
    started: str | None = None
    part: str | None = None
    after: str | None = None

    @classmethod
    def of(cls, text: str | None, now: Callable[[], datetime]) -> Self:
        """The cursor that a text stands for; one that has not begun begins now, naive UTC."""
        said = json.loads(text) if text else {}
        if said.keys() - {"since", "started", "part", "after"}:  # of an older version: what it was reading begins anew
            said = {"since": said.get("since"), "started": said.get("started")}
        at = cls(**said)
        return at if at.started else replace(at, started=utc_text(now()))

    def text(self) -> str:
        """What is kept of it."""
        return json.dumps({name: value for name, value in vars(self).items() if value is not None})

    def following(self) -> str:
        """What is kept once all is read: the next extract asks for changes since this one began."""
        return Cursor(since=self.started).text()


class Onwards:
    """Where the pages of a listing have led: one that leads back would be read for ever."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def to(self, page: str) -> str:
        """The next page.

        Raises:
            CrmUnavailable: It has been next before.
        """
        if page in self._seen:
            raise CrmUnavailable(f"the CRM's pages lead back to where they have been ({page}): they have no end")
        self._seen.add(page)
        return page
