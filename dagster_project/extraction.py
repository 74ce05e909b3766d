"""Reads what has changed in the connected CRM, page by page, into page stores; no store is locked meanwhile.

When an extract is due, and whether a run reads it itself, is decided here as well. What becomes of a complete one is
`landing/crm_api.py`'s business.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dagster_project.clients.crm import CrmClient, CrmError, CrmRefused, CrmUnavailable
from dagster_project.clients.crm_values import UNREADABLE, unknown_shape
from dagster_project.core.crm_source_rules import CrmSourceRules, fields_text, is_of_mapping
from dagster_project.landing.crm_pages import PageStore, Progress

ENTITIES = ("owners", "accounts", "contacts", "opportunities", "tickets")


FRESH = timedelta(days=1)
"""How old an extract may be that was interrupted and is gone on with."""
LATE = timedelta(minutes=5)
"""Whoever reads beside runs is late after twice the time between two readings, and at the least after this."""


@dataclass(frozen=True)
class Standing:
    """What is known of one entity of the connected CRM.

    Attributes:
        cursor: Where the next extract goes on.
        extracted_at: When the last complete extract began, naive UTC; None before the first.
        full_at: When the last one began that read everything.
        tried_at: When the last attempt was made; None also where the next one is to be made at once.
        fields: What all that is known was made of, from `fields_text`; None if nobody wrote it down.
        wanted: What the last attempt was to be made of.
    """

    cursor: str | None = None
    extracted_at: datetime | None = None
    full_at: datetime | None = None
    tried_at: datetime | None = None
    fields: str | None = None
    wanted: str | None = None


@dataclass(frozen=True)
class Fetched:
    """What became of reading one entity.

    Attributes:
        entity: Which.
        progress: How far it has come; None if not even the first page came.
        wanted: What its rows are to be made of, from `fields_text`.
        trouble: Why it is not complete, in the CRM's words; None if it is.
        is_asked: Whether the CRM was asked for it.
    """

    entity: str
    progress: Progress | None
    wanted: str
    trouble: str | None = None
    is_asked: bool = True


def due_entities(known: Mapping[str, Standing], rules: CrmSourceRules, now: datetime, *, crm: str) -> list[str]:
    """Those that are to be read again: never tried, long enough ago, or with another mapping.

    Args:
        known: How far each was read; one that was never tried is absent.
        rules: `crm_sources.yml`.
        now: Naive UTC.
        crm: The CRM's name.
    """
    return [entity for entity in ENTITIES if due_in(entity, known, rules, now, crm=crm) <= timedelta()]


def due_in(entity: str, known: Mapping[str, Standing], rules: CrmSourceRules, now: datetime, *, crm: str) -> timedelta:
    """How long until an entity is to be read again, zero or less if it is; arguments as of `due_entities`."""
    standing = known.get(entity, Standing())
    was_the_clock_wrong = standing.tried_at is not None and standing.tried_at > now
    if standing.tried_at is None or was_the_clock_wrong or _is_mapped_anew(standing, rules.mapping_of(crm, entity)):
        return timedelta()
    return standing.tried_at + timedelta(minutes=rules.extract_every_minutes) - now


def _is_mapped_anew(standing: Standing, mapping: Mapping[str, Any]) -> bool:
    """Whether an entity was tried, but not by this mapping."""
    return standing.tried_at is not None and not is_of_mapping(standing.wanted, mapping)


def _is_late(standing: Standing, rules: CrmSourceRules, now: datetime) -> bool:
    """Whether whoever reads an entity beside runs should have long since, and a run had better ask what has changed.

    To read everything would take a run too long: what is known is held to be too old before that is.
    """
    if standing.tried_at is None or is_full_due(standing, rules, now, fields=standing.wanted or ""):
        return False
    return now - standing.tried_at >= _too_long(rules)


def _too_long(rules: CrmSourceRules) -> timedelta:
    return max(2 * timedelta(minutes=rules.extract_every_minutes), LATE)


def is_full_due(standing: Standing, rules: CrmSourceRules, now: datetime, *, fields: str) -> bool:
    """Whether everything is to be read: also when rows are made of other fields than those that are known, or when they
    were read by a clock that was ahead.

    A record that has not changed would otherwise stay as it was without the new ones, and what has changed since the
    clock is right would count as read.
    """
    if standing.cursor is None or standing.full_at is None or standing.fields != fields:
        return True
    was_clock_ahead = max(standing.full_at, standing.extracted_at or standing.full_at) > now
    return was_clock_ahead or now - standing.full_at >= timedelta(days=rules.full_every_days)


def page_store(root: Path, crm: str, entity: str) -> PageStore:
    """Where the pages of an entity are kept, below the data folder's `.crm_pages`."""
    return PageStore(root / crm / entity)


@dataclass(frozen=True)
class Reading:
    """What a run has to do with the connected CRM.

    Attributes:
        never_tried: Entities of which nothing is known: who says no, or whom to compare with.
        to_ask_for: Those that the run asks the CRM for, unless their pages are there.
        told: What was read beside the run and is to be loaded, each with why it is not complete, empty if it is.
        unknown_until_read: Those of which nothing may be believed any more, since they are mapped anew.
    """

    never_tried: tuple[str, ...]
    to_ask_for: tuple[str, ...]
    told: Mapping[str, str]
    unknown_until_read: tuple[str, ...]


def plan_reading(
    known: Mapping[str, Standing], beside: Mapping[str, str] | None, rules: CrmSourceRules, now: datetime, *, crm: str
) -> Reading:
    """What a run reads itself, and what it leaves to whoever reads beside runs.

    Args:
        known: How far each entity was read; one that was never tried is absent.
        beside: What was read beside runs, each entity with why it is not complete; None where nobody reads beside.
        rules: `crm_sources.yml`.
        now: Naive UTC.
        crm: The CRM's name.
    """
    due = due_entities(known, rules, now, crm=crm)
    never_tried = tuple(entity for entity in due if entity not in known)
    mapped_anew = tuple(one for one in due if one in known and _is_mapped_anew(known[one], rules.mapping_of(crm, one)))
    if beside is None:
        return Reading(never_tried, tuple(due), {}, mapped_anew)
    late = (one for one in due if one in known and one not in mapped_anew and _is_late(known[one], rules, now))
    told = {entity: trouble for entity, trouble in beside.items() if not trouble or entity in due}
    return Reading(never_tried, (*never_tried, *late), told, mapped_anew)


def fetch(
    crm: CrmClient,
    entities: Sequence[str],
    standings: Mapping[str, Standing],
    root: Path,
    *,
    rules: CrmSourceRules,
    now: datetime,
    after_page: Callable[[], None] = lambda: None,
) -> list[Fetched]:
    """Read entities. One that fails keeps its pages, and no other from being read, unless nobody answers.

    Args:
        crm: The connected CRM.
        entities: Those that are due.
        standings: By entity; one that was never read is absent.
        root: Where page stores are.
        rules: `crm_sources.yml`.
        now: Naive UTC.
        after_page: Called after each page.
    """
    fetched = []
    silence: str | None = None
    name = crm.name.removeprefix("crm:")
    for entity in entities:
        standing = standings.get(entity, Standing())
        store = page_store(root, name, entity)
        mapping = rules.mapping_of(name, entity)
        wanted = _last_wanted(standing, mapping)
        if silence is not None:  # to wait for as long as before, once for each of them, would hold up everybody
            fetched.append(Fetched(entity, store.progress(), wanted, f"not asked for, since nobody answers: {silence}"))
            continue
        begun = store.progress()
        try:
            progress = _unfinished(store, standing, rules, now)
            if progress is None or not (progress.is_complete and is_of_mapping(progress.fields, mapping)):
                wanted = fields_text(mapping, crm.missing_fields(entity))
                progress = _begun(store, standing, rules, now=now, fields=wanted)
            progress = _read(crm, entity, store, progress, after_page)
            fetched.append(Fetched(entity, progress, progress.fields or wanted))
        except CrmError as error:
            # The CRM may have forgotten how far we were when we went on.
            if isinstance(error, CrmRefused) and begun is not None and store.progress() == begun:
                store.clear()
            fetched.append(Fetched(entity, store.progress(), wanted, str(error)))
            if isinstance(error, CrmUnavailable) and error.is_silent:
                silence = str(error)
        except UNREADABLE as error:
            fetched.append(Fetched(entity, store.progress(), wanted, unknown_shape(error)))
    return fetched


def read_before(
    entities: Mapping[str, str],
    standings: Mapping[str, Standing],
    root: Path,
    *,
    rules: CrmSourceRules,
    crm: str,
    now: datetime,
) -> list[Fetched]:
    """What became of reading entities, by their pages.

    What somebody else has loaded since is not among it, nor what was read by another mapping or is no news any more.

    Args:
        entities: Those that were read, each with why it is not complete, empty if it is.
        standings: By entity; one that was never read is absent.
        root: Where page stores are.
        rules: `crm_sources.yml`.
        crm: The CRM's name.
        now: Naive UTC.
    """
    found = []
    for entity, trouble in entities.items():
        standing, mapping = standings.get(entity, Standing()), rules.mapping_of(crm, entity)
        progress, wanted = page_store(root, crm, entity).progress(), _last_wanted(standing, mapping)
        if trouble:
            found.append(Fetched(entity, progress, wanted, trouble))
        elif (
            progress is not None
            and progress.is_complete
            and is_of_mapping(progress.fields, mapping)
            and _is_news(progress, standing, now)
        ):
            found.append(Fetched(entity, progress, progress.fields or wanted))
    return found


def still_to_come(entity: str, standing: Standing, mapping: Mapping[str, Any]) -> Fetched:
    """What becomes of an entity that is mapped anew and that somebody else will read: that it is unknown until then."""
    trouble = "they are mapped anew, and are still to be read by that"
    return Fetched(entity, None, _last_wanted(standing, mapping), trouble, is_asked=False)


def _last_wanted(standing: Standing, mapping: Mapping[str, Any]) -> str:
    """What rows are to be made of, as far as that is known without asking the CRM."""
    known = standing.wanted
    return known if known is not None and is_of_mapping(known, mapping) else fields_text(mapping, None)


def _unfinished(store: PageStore, standing: Standing, rules: CrmSourceRules, now: datetime) -> Progress | None:
    """The extract that was interrupted, or not loaded, unless it is too old or older than what is known."""
    before = store.progress()
    if before is None or not _is_news(before, standing, now):
        return None
    # One that is complete asks nobody any more: what has changed since would count as read.
    is_old = now - before.kept_at >= _too_long(rules) if before.is_complete else now - before.started_at >= FRESH
    return None if is_old else before


def _is_news(progress: Progress, standing: Standing, now: datetime) -> bool:
    """Whether an extract began after the one that is known. Of what it lacks the cursor behind it would never tell."""
    known_at = standing.extracted_at
    return known_at is None or known_at > now or progress.started_at >= known_at


def _begun(store: PageStore, standing: Standing, rules: CrmSourceRules, *, now: datetime, fields: str) -> Progress:
    """The extract to go on with: the one that was interrupted, if its rows are made of the same fields."""
    before = _unfinished(store, standing, rules, now)
    if before is not None and before.fields == fields:
        return before
    store.clear()
    is_full = is_full_due(standing, rules, now, fields=fields)
    return Progress(now, is_full, None if is_full else standing.cursor, fields=fields)


def _read(
    crm: CrmClient, entity: str, store: PageStore, progress: Progress, after_page: Callable[[], None]
) -> Progress:
    if progress.is_complete:
        return progress
    for page in crm.extract(entity, progress.cursor):
        progress = store.keep(progress, list(page.rows), page.cursor, is_last=page.is_last)
        after_page()
    if not progress.is_complete:
        raise CrmError(f"{entity} ended without a last page")
    return progress
