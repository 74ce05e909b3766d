"""Reads a connected CRM beside the batches of `pls watch`, so that they don't wait for the CRM's pages.

What belongs here: when it is read, and that one reading goes on at a time. What is read is `extraction.py`'s business;
what becomes of it, that of the run which loads it.
"""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from dagster_project.core.crm_source_rules import CrmSourceRules
from dagster_project.defs.resources import Workplace
from dagster_project.extraction import ENTITIES, due_entities, due_in, fetch
from dagster_project.landing.crm_api import standings
from dagster_project.pauses import doubled

LOOK_SECONDS = 60.0
"""Between two looks at the rules, and at the least between two looks into the warehouse, which others may want."""
LONGEST_PAUSE = 3600.0
"""After what was read could not be loaded: doubled from `LOOK_SECONDS` each time, up to this."""
LAST_WORDS_SECONDS = 2.0
"""For which the end waits. A look changes nothing in the warehouse, so that closing it is quick."""


class CrmBeside:
    """Reads what is due of the connected CRM, each time in a thread of its own, until it is told to stop.

    Args:
        workplace: Makes the stores and rules of a reading, as they are by then.
        say: Tells a person why there is nothing new.
        done: Called in the thread when a look is over.
        stop: Set from elsewhere to begin nothing more. Pages that have come stay.
        clock: Seconds since whenever.
    """

    def __init__(
        self,
        workplace: Callable[[], Workplace],
        say: Callable[[str], None],
        *,
        done: Callable[[], None],
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workplace = workplace
        self._say = say
        self._done = done
        self._clock = clock
        self._fetched: Mapping[str, str] = {}
        self._look_at = self._due_at = clock()
        self._rules: CrmSourceRules | None = None
        self._failures = 0
        self._thread: threading.Thread | None = None
        self._is_looking = False
        self._stop = stop

    @property
    def fetched(self) -> Mapping[str, str]:
        """The entities that were read and are not taken yet, each with why it is not complete, empty if it is."""
        return self._fetched

    def begin(self) -> bool:
        """Begin to read, unless it is not time yet, somebody is at it, or what was read is still to be taken.

        Returns:
            Whether it began.
        """
        if self._is_looking or self._fetched or self._stop.is_set() or self._clock() < self._look_at:
            return False
        self._look_at = self._clock() + LOOK_SECONDS
        self._is_looking = True
        self._thread = threading.Thread(target=self._look, name="pls-watch-crm", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads can be had now
            self._is_looking = False
            raise
        return True

    def taken(self, *, is_done: bool) -> None:
        """A run had what was read to load. Of what it has not loaded the next look finds the pages.

        Args:
            is_done: Whether the run came to its end: otherwise it may have loaded it, or not.
        """
        self._fetched = {}
        self._failures = 0 if is_done else self._failures + 1
        if not is_done:
            self._due_at = self._clock()
            self._look_at = self._due_at + doubled(LOOK_SECONDS, self._failures, longest=LONGEST_PAUSE)

    def end(self) -> None:
        """Give a look that goes on the time to close the warehouse; for pages nobody waits."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(LAST_WORDS_SECONDS)

    def _look(self) -> None:
        try:
            workplace = self._workplace()
            rules = workplace.playbook.crm_sources
            if self._clock() < self._due_at and rules == self._rules:
                return
            wait, self._fetched = self._read(workplace)
            self._due_at, self._rules = self._clock() + wait.total_seconds(), rules
        except Exception as error:  # whatever it is, batches go on
            self._say(f"the connected CRM was not read: {error}")
        finally:
            # A thread is alive for a moment longer: whoever is told that the look is over may begin another one.
            self._is_looking = False
            self._done()

    def _read(self, workplace: Workplace) -> tuple[timedelta, Mapping[str, str]]:
        """How long until more is due, and what was read."""
        settings, rules = workplace.settings, workplace.playbook.crm_sources
        with workplace.folder_locked(), workplace.connect() as connection:
            now, known = workplace.now(), standings(connection, settings.crm)
        due = due_entities(known, rules, now, crm=settings.crm)
        waits = [due_in(one, known, rules, now, crm=settings.crm) for one in ENTITIES if one not in due]
        wait = min([timedelta(minutes=rules.extract_every_minutes), *waits])
        if not due:
            self._failures = 0  # what failed was not the loading
            return wait, {}
        with workplace.crm_pages_locked(timeout_seconds=0) as are_ours:
            if not are_ours:
                return timedelta(), {}  # a run reads it
            # A client that knows nothing yet: a field that the CRM does not show any more is missing from what comes.
            crm = workplace.own_crm()
            fetched = fetch(crm, due, known, settings.crm_pages, rules=rules, now=now, after_page=self._rest())
        return wait, {one.entity: one.trouble or "" for one in fetched}

    def _rest(self) -> Callable[[], None]:
        """Rests after a page for as long as it took, so that half of the time is left to batches."""
        began = self._clock()

        def rest() -> None:
            nonlocal began
            self._stop.wait(self._clock() - began)
            began = self._clock()

        return rest
