"""The model of ``sources.yml``: how landed files are read, and when CRM data can't be trusted.

Here are the settings and the checks that name what was expected; the reading itself is in `landing/`.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator, model_validator

from dagster_project.core.crm_source_rules import COLUMNS, IN_FILES, KEYS
from dagster_project.core.iso_moments import is_moment
from dagster_project.core.strict import MOST_DAYS, SomeDays, SomeHours, StrictModel, TimeZone

EVENT_COLUMNS = (
    "message_id", "type", "event", "name", "user_id", "anonymous_id", "group_id", "session_id", "timestamp",
    "received_at", "properties", "traits", "context", "previous_id",
)  # fmt: skip
"""What an event may say, in our words; `previous_id` is read for `alias` only."""

MOMENTS = ("timestamp", "received_at")
"""The columns that hold a moment."""

OBJECTS = ("properties", "traits", "context")
"""The columns that hold a JSON object."""

EVENT_TYPES = ("track", "page", "screen", "identify", "group", "alias")
"""What `type` may say; an `alias` is stored as an `identify`."""

EPOCH_FORMATS = {
    "epoch_s": Decimal(1_000_000),
    "epoch_ms": Decimal(1_000),
    "epoch_us": Decimal(1),
    "epoch_ns": Decimal("0.001"),
}
"""Formats of numeric timestamps -> microseconds per unit."""

OTHERWISE = "*"
"""In `types`: every word that isn't listed."""

_DIRECTIVES = re.compile(r"%(-[djmyHIMS]|[abcdfghjmnpuwxyzABGHIMSTUVWXYZ%])?")
"""What DuckDB understands in a strptime format; a `%` without a word after it is none of it."""


def _by_our_name(said: object) -> object:
    """A list of their columns as our name -> theirs, each under its own name."""
    if isinstance(said, (list, tuple)) and all(isinstance(name, str) for name in said):
        return {name: name for name in said}
    if not isinstance(said, dict):
        raise ValueError("expected a list of their columns, or a table of our name: their column")
    return said


Gathered = Annotated[dict[str, str], BeforeValidator(_by_our_name)]
"""Columns that are gathered into an object: its key -> their column; a list keeps their names."""


class EventMapping(StrictModel):
    """How event files of another shape are read.

    Attributes:
        files: Glob of paths below `landing/events`; `*` stays within a folder, `**` crosses folders.
        columns: Our column -> theirs. Columns that are not listed are looked for under our own names. In
            NDJSON a dotted name reaches into objects.
        constants: Our column -> a value for every row; an empty one says nothing, whatever the file says.
        types: Their words for an event's type, in any case -> ours; `*` stands for every other word.
        timestamp_format: A strptime format, or one of `EPOCH_FORMATS`; None means ISO 8601. Holds for
            `timestamp` and `received_at`.
        time_zone: Of moments that don't say it themselves; None means UTC. Epoch formats and constants have one.
        identifies: Whether a row says who somebody is whatever its type (a group's aside): its traits are a user's,
            and a user id and an anonymous id in one row belong together, as in an `identify`.
        properties: Their columns that are gathered into `properties`.
        traits: The same for `traits`.
    """

    files: str = Field(min_length=1)
    columns: dict[str, str] = {}
    constants: dict[str, str] = {}
    types: dict[str, str] = {}
    timestamp_format: str | None = None
    time_zone: TimeZone | None = None
    identifies: bool = False
    properties: Gathered = {}
    traits: Gathered = {}

    @field_validator("files")
    @classmethod
    def _below_events(cls, glob: str) -> str:
        if glob.startswith(("/", "./", "landing/", "events/")):
            raise ValueError(f"{glob!r}: expected a path below landing/events, such as 'billing/*.csv'")
        return glob

    @field_validator("columns", "constants")
    @classmethod
    def _our_columns(cls, mapping: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(mapping) - set(EVENT_COLUMNS))
        if unknown:
            raise ValueError(f"unknown columns {', '.join(unknown)}: expected some of {', '.join(EVENT_COLUMNS)}")
        return mapping

    @field_validator("columns", "properties", "traits")
    @classmethod
    def _named(cls, mapping: dict[str, str]) -> dict[str, str]:
        for ours, theirs in mapping.items():
            if not ours.strip() or not theirs.strip():
                raise ValueError(f"{ours!r}: {theirs!r} has an empty name, expected our name: their column")
        return mapping

    @field_validator("timestamp_format")
    @classmethod
    def _known_format(cls, text: str | None) -> str | None:
        if text is not None and "%" not in text and text not in EPOCH_FORMATS:
            raise ValueError(
                f"{text!r}: expected a strptime format such as '%d.%m.%Y %H:%M' or one of {list(EPOCH_FORMATS)}"
            )
        unknown = next((word for word in _DIRECTIVES.finditer(text or "") if not word[1]), None)
        if unknown is not None and text is not None:
            found = text[unknown.start() : unknown.start() + 2]
            raise ValueError(
                f"{text!r}: {found!r} stands for nothing that can be read, expected such as %Y, %m, %d, %H, %M, %S"
            )
        return text

    @field_validator("types")
    @classmethod
    def _our_types(cls, types: dict[str, str]) -> dict[str, str]:
        _expect_types(types.values())
        known: dict[str, str] = {}
        for theirs, ours in types.items():
            word = theirs.strip().lower()
            if not word:
                raise ValueError('found an empty word, expected their word for a type, or "*" for every other one')
            if word in known:
                raise ValueError(f"{theirs!r} stands twice (case doesn't matter), expected each of their words once")
            known[word] = ours
        return known

    @field_validator("constants")
    @classmethod
    def _can_be_read(cls, constants: dict[str, str]) -> dict[str, str]:
        for column, text in constants.items():
            said = text.strip(" \t\r\n")
            if column == "type":
                _expect_types([said.lower()])
            elif column in MOMENTS and not is_moment(said) and (said or column == "timestamp"):
                raise ValueError(f"{column} is {text!r}, expected a moment in ISO 8601 such as 2026-06-24T18:30:00Z")
            elif column in OBJECTS and said and not _is_object(said):
                raise ValueError(
                    f'{column} is {text!r}, expected the text of a JSON object such as \'{{"plan": "pro"}}\''
                )
        return constants

    @model_validator(mode="after")
    def _said_once(self) -> "EventMapping":
        both = sorted(set(self.columns) & set(self.constants))
        if both:
            raise ValueError(f"{', '.join(both)} is both a column and a constant: expected one of them")
        if self.time_zone and self.timestamp_format in EPOCH_FORMATS:
            raise ValueError(f"time_zone says nothing of {self.timestamp_format}, which is UTC: expected one of them")
        if self.types and "type" in self.constants:
            raise ValueError("type is a constant, so that types has nothing to translate: expected one of them")
        return self

    @property
    def version(self) -> str:
        """Changes with whatever changes how a file is read."""
        # What says nothing is left out: files that were read before there was such a key are not read again for it.
        silent = {key for key in ("time_zone", "identifies") if not getattr(self, key)}
        return hashlib.sha256(self.model_dump_json(exclude={"files", *silent}).encode()).hexdigest()[:8]

    def matches(self, path: str) -> bool:
        """Whether a path (relative to `landing/events`, with `/`) is one of these files."""
        return re.fullmatch(_pattern_of(self.files), path) is not None


class Staleness(StrictModel):
    """After how many hours no-contact flags can't be trusted any more.

    Attributes:
        files: Since a CRM file was last delivered.
        api: Since the last complete extract from a CRM's API.
    """

    files: SomeHours
    api: SomeHours


class FeedSilence(StrictModel):
    """When a feed of events has fallen silent.

    Attributes:
        hours: Without an event for longer than this.
        look_back_days: Whether it delivered daily is asked of so many days before.
        daily_share: On how many of them it must have delivered, as a share.
        given_up_days: After so many days of silence it counts as a feed that there is no more.
    """

    hours: SomeHours = 24
    look_back_days: Annotated[int, Field(ge=2, le=MOST_DAYS)] = 28
    daily_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    given_up_days: SomeDays = 30


class SourceRules(StrictModel):
    """``sources.yml``.

    Attributes:
        settle_seconds: How long a file must have been left alone before it is read.
        crm_staleness_hours: See `Staleness`.
        shrink_limit: Share of its keys that a CRM extract may lose against the one before, 0..1.
        feed_silence: See `FeedSilence`.
        crm_columns: Per CRM entity, our column -> the header that its files have instead; None says that the CRM has
            no such column, so that it counts as one in which nothing stands.
        event_files: Mappings for foreign event files; the first whose glob matches holds.
    """

    settle_seconds: Annotated[float, Field(ge=0)]
    crm_staleness_hours: Staleness
    shrink_limit: Annotated[float, Field(gt=0, le=1)]
    feed_silence: FeedSilence = FeedSilence()
    crm_columns: dict[str, dict[str, str | None]] = {}
    event_files: tuple[EventMapping, ...] = ()

    @field_validator("crm_columns")
    @classmethod
    def _columns_of_records(cls, columns: dict[str, dict[str, str | None]]) -> dict[str, dict[str, str | None]]:
        for entity, mapping in columns.items():
            if entity not in KEYS:
                raise ValueError(f"found {entity!r}, expected some of {', '.join(KEYS)}")
            known = (KEYS[entity], *COLUMNS[entity], *IN_FILES.get(entity, ()), "updated_at")
            if unknown := [ours for ours in mapping if ours not in known]:
                raise ValueError(f"{entity}: unknown columns {', '.join(unknown)}: expected some of {', '.join(known)}")
            if empty := [ours for ours, theirs in mapping.items() if theirs is not None and not theirs.strip()]:
                raise ValueError(f"{entity}: {empty[0]} has an empty name, expected our column: their header")
            if KEYS[entity] in mapping and mapping[KEYS[entity]] is None:
                raise ValueError(f"{entity}: {KEYS[entity]} is null, expected the header of the key")
        return columns

    @field_validator("event_files")
    @classmethod
    def _each_glob_once(cls, mappings: tuple[EventMapping, ...]) -> tuple[EventMapping, ...]:
        globs = [mapping.files for mapping in mappings]
        if twice := next((glob for glob in globs if globs.count(glob) > 1), None):
            raise ValueError(f"found {twice!r} twice, and the first mapping whose files match holds: expected it once")
        return mappings

    def crm_mapping(self, entity: str) -> str:
        """Changes with whatever changes how files of a CRM entity are read."""
        named = json.dumps(self.crm_columns.get(entity, {}), sort_keys=True)
        return hashlib.sha256(named.encode()).hexdigest()[:8]

    def mapping_for(self, path: str) -> EventMapping | None:
        """The mapping of an event file (path relative to `landing/events`), if it has one."""
        return next((mapping for mapping in self.event_files if mapping.matches(path)), None)


def _expect_types(types: Iterable[str]) -> None:
    unknown = sorted(set(types) - set(EVENT_TYPES))
    if unknown:
        raise ValueError(f"unknown types {', '.join(unknown)}: expected some of {', '.join(EVENT_TYPES)}")


def _is_object(text: str) -> bool:
    def no_json(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    try:
        return isinstance(json.loads(text, parse_constant=no_json), dict)
    except ValueError:
        return False


def _pattern_of(glob: str) -> str:
    """A path glob as a regular expression: `**/` is any number of folders, `*` and `?` stay within one."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(words.get(part, re.escape(part)) for part in parts)
