"""The model of ``sources.yml``: how landed files are read, and when CRM data can't be trusted.

Here are the settings and the checks that name what was expected; the reading itself is in `landing/`.
"""

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from dagster_project.core.strict import StrictModel

EVENT_COLUMNS = (
    "message_id", "type", "event", "name", "user_id", "anonymous_id", "group_id", "session_id", "timestamp",
    "received_at", "properties", "traits", "context", "previous_id",
)  # fmt: skip
"""What an event may say, in our words; `previous_id` is read for `alias` only."""

EPOCH_FORMATS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Formats of numeric timestamps -> microseconds per unit."""


class EventMapping(StrictModel):
    """How event files of another shape are read.

    Attributes:
        files: Glob of paths below `landing/events`; `*` stays within a folder, `**` crosses folders.
        columns: Our column -> theirs. Columns that are not listed are looked for under our own names. In
            NDJSON a dotted name reaches into objects.
        constants: Our column -> a value for every row.
        timestamp_format: A strptime format, or `epoch_s`, `epoch_ms`, `epoch_us`; None means ISO 8601. Holds
            for `timestamp` and `received_at`.
        properties: Their columns that are gathered into `properties`, under their own names.
    """

    files: str = Field(min_length=1)
    columns: dict[str, str] = {}
    constants: dict[str, str] = {}
    timestamp_format: str | None = None
    properties: tuple[str, ...] = ()

    @field_validator("columns", "constants")
    @classmethod
    def _our_columns(cls, mapping: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(mapping) - set(EVENT_COLUMNS))
        if unknown:
            raise ValueError(f"unknown columns {', '.join(unknown)}: expected some of {', '.join(EVENT_COLUMNS)}")
        return mapping

    @field_validator("timestamp_format")
    @classmethod
    def _known_format(cls, text: str | None) -> str | None:
        if text is not None and "%" not in text and text not in EPOCH_FORMATS:
            raise ValueError(
                f"{text!r}: expected a strptime format such as '%d.%m.%Y %H:%M' or one of {list(EPOCH_FORMATS)}"
            )
        return text

    @model_validator(mode="after")
    def _said_once(self) -> "EventMapping":
        both = sorted(set(self.columns) & set(self.constants))
        if both:
            raise ValueError(f"{', '.join(both)} is both a column and a constant: expected one of them")
        return self

    def matches(self, path: str) -> bool:
        """Whether a path (relative to `landing/events`, with `/`) is one of these files."""
        return re.fullmatch(_pattern_of(self.files), path) is not None


class Staleness(StrictModel):
    """After how many hours no-contact flags can't be trusted any more.

    Attributes:
        files: Since a CRM file was last delivered.
        api: Since the last complete extract from a CRM's API.
    """

    files: Annotated[float, Field(gt=0)]
    api: Annotated[float, Field(gt=0)]


class SourceRules(StrictModel):
    """``sources.yml``.

    Attributes:
        settle_seconds: How long a file must have been left alone before it is read.
        crm_staleness_hours: See `Staleness`.
        shrink_limit: Share of its keys that a CRM extract may lose against the one before, 0..1.
        event_files: Mappings for foreign event files; the first whose glob matches holds.
    """

    settle_seconds: Annotated[float, Field(ge=0)]
    crm_staleness_hours: Staleness
    shrink_limit: Annotated[float, Field(gt=0, le=1)]
    event_files: tuple[EventMapping, ...] = ()

    def mapping_for(self, path: str) -> EventMapping | None:
        """The mapping of an event file (path relative to `landing/events`), if it has one."""
        return next((mapping for mapping in self.event_files if mapping.matches(path)), None)


def _pattern_of(glob: str) -> str:
    """A path glob as a regular expression: `**/` is any number of folders, `*` and `?` stay within one."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(words.get(part, re.escape(part)) for part in parts)
