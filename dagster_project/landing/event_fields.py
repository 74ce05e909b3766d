"""Where each event column comes from in a file: our names and Segment's, or the mapping of `sources.yml`.

Out come SQL expressions over a source relation of `row_sources`. What makes a row readable is judged in
`event_sql`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from dagster_project.core.source_rules import EVENT_COLUMNS, MOMENTS, OTHERWISE, EventMapping
from dagster_project.landing.opening import UnreadableFile
from dagster_project.landing.register import SETTINGS_FILE
from dagster_project.landing.row_sources import Rows, csv_rows, line_rows, parquet_rows, parquet_text
from dagster_project.landing.sql_text import (
    first_said,
    id_of_json,
    in_range_of_events,
    is_moment_type,
    json_path,
    literal,
    moment_of,
    typed_moment,
)

IDS = ("user_id", "anonymous_id", "group_id")


@dataclass(frozen=True)
class EventSource:
    """How the events of one file are read.

    Attributes:
        rows: How its rows are split.
        text: Our column -> SQL of type VARCHAR.
        moment: `timestamp` and `received_at` -> SQL of type TIMESTAMP, over `src` or the trimmed text
            (`timestamp_text`, `received_at_text`).
        gathered: `properties` and `traits` -> SQL of a JSON object that is merged into them; only those that
            gather columns.
        event_type: SQL of our word for the type, over the trimmed text `type`.
        identifies: As in `EventMapping`.
    """

    rows: Rows
    text: Mapping[str, str]
    moment: Mapping[str, str]
    gathered: Mapping[str, str]
    event_type: str
    identifies: bool


def ndjson_source(path: Path, mapping: EventMapping) -> EventSource:
    """One JSON object per line."""
    paths: list[str] = []

    def said(path: str) -> str:
        if path not in paths:
            paths.append(path)
        return f"src.said[{paths.index(path) + 1}]"

    def value(column: str, key: str) -> str:
        is_id = column.endswith("_id")
        texts = [id_of_json(said(path), path) if is_id else said(path) for path in _spellings(key)]
        first, _, others = key.partition(".")
        if others:  # where the object is a text with JSON in it
            texts.append(_inner_text(key, {first: said(json_path(first))}, is_id=is_id) or "null")
        return first_said(texts)

    def part(key: str) -> str:
        found = [f"json_extract(src.line, {path})" for path in _spellings(key)]
        first, _, others = key.partition(".")
        if others:
            found.append(f"try(json_extract(src.line ->> {json_path(first)}, {json_path(*others.split('.'))}))")
        return f"coalesce({', '.join(found)})"

    value("type", "type")
    text = _texts(mapping, lambda ours: first_said([value(ours, key) for key in (ours, _camel_case(ours))]), value)
    return EventSource(
        rows=line_rows(path, paths, certain=json_path("type")),
        text=text,
        moment=_moments(mapping),
        gathered={
            column: f"case when problem is null then {made} end" for column, made in _gathered(mapping, part).items()
        },
        event_type=_event_type(mapping),
        identifies=mapping.identifies,
    )


def csv_source(path: Path, mapping: EventMapping) -> EventSource | None:
    """Rows with a header; None for a file without even that."""
    rows = csv_rows(path)
    if rows is None:
        return None
    text = _column_texts(mapping, rows.places)
    gathered = _gathered(mapping, lambda name: _part(name, rows.places, rows.places, "nullif({}, '')"))
    return EventSource(rows, text, _moments(mapping), gathered, _event_type(mapping), mapping.identifies)


def parquet_source(connection: duckdb.DuckDBPyConnection, path: Path, mapping: EventMapping) -> EventSource:
    """A Parquet file; only the columns that an event needs are read."""
    rows = parquet_rows(connection, path, lambda name: _is_used(name, mapping))
    texts = {name: parquet_text(place, rows.types[name]) for name, place in rows.places.items()}
    text = _column_texts(mapping, texts)
    moment = _moments(mapping)
    for ours in MOMENTS:
        theirs = _theirs(ours, mapping, list(rows.types))
        typed = [
            typed_moment(rows.places[name], rows.types[name], mapping.time_zone)
            for name in theirs
            if is_moment_type(rows.types[name])
        ]
        if typed and ours not in mapping.constants:
            known = f"coalesce({', '.join(typed)})"
            text[ours] = f"case when {in_range_of_events(known)} is null then {text[ours]} end"
            # What stands in another spelling as a text is read where no typed column says anything.
            moment[ours] = known if len(typed) == len(theirs) else f"coalesce({known}, {moment[ours]})"
    gathered = _gathered(mapping, lambda name: _part(name, rows.places, texts))
    return EventSource(rows, text, moment, gathered, _event_type(mapping), mapping.identifies)


def _texts(mapping: EventMapping, ours: Callable[[str], str], theirs: Callable[[str, str], str]) -> dict[str, str]:
    """Our column -> SQL: the constant, else their column, else our own names."""
    found = {}
    for column in EVENT_COLUMNS:
        if column in mapping.constants:
            found[column] = literal(mapping.constants[column])
        elif column in mapping.columns:
            found[column] = theirs(column, mapping.columns[column])
        else:
            found[column] = ours(column)
    return found


def _column_texts(mapping: EventMapping, places: Mapping[str, str]) -> dict[str, str]:
    """`_texts` for a file with named columns, which must have those without which no row can be read."""
    names = tuple(places)
    found = {column: _theirs(column, mapping, names) for column in EVENT_COLUMNS}
    inner = {
        ours: said
        for ours, theirs in mapping.columns.items()
        if not found[ours] and (said := _inner_text(theirs, places, is_id=ours.endswith("_id")))
    }
    given = {column for column, theirs in found.items() if theirs} | set(mapping.constants) | set(inner)
    missing = [column for column in ("type", "timestamp") if column not in given | set(mapping.columns)]
    if not (given | set(mapping.columns)) & {*IDS, "context"}:
        missing.append("user_id (or anonymous_id or group_id)")
    causes = [
        *([f"no column for {', '.join(missing)}"] if missing else []),
        *(f"no column {theirs}, mapped to {ours}" for ours, theirs in mapping.columns.items() if ours not in given),
    ]
    if causes:
        raise UnreadableFile(
            f"{'; '.join(causes)}; found {', '.join(names)}. If they have other names here, say so under "
            f"event_files in the playbook's {SETTINGS_FILE}"
        )
    return {
        column: literal(mapping.constants[column])
        if column in mapping.constants
        else inner.get(column) or first_said([places[name] for name in found[column]])
        for column in EVENT_COLUMNS
    }


def _theirs(ours: str, mapping: EventMapping, names: Sequence[str]) -> list[str]:
    """The file's columns that hold our column, the first one best."""
    if ours in mapping.columns:
        wanted = mapping.columns[ours]
        return [n for n in names if n == wanted] or [n for n in names if n.lower() == wanted.lower()]
    return [name for name in names if _plain(name) == _plain(ours)]


def _is_used(name: str, mapping: EventMapping) -> bool:
    wanted = {*mapping.columns.values(), *mapping.properties.values(), *mapping.traits.values()}
    return any(f"{theirs.lower()}.".startswith(f"{name.lower()}.") for theirs in wanted) or any(
        _theirs(ours, mapping, [name]) for ours in EVENT_COLUMNS
    )


def _inner_text(name: str, places: Mapping[str, str], *, is_id: bool) -> str | None:
    """SQL of the text that a name with dots says of what is in a column; None where no column begins it."""
    if (inner := _inner(name, places)) is None:
        return None
    document, path = inner
    text = f"json_extract_string({document}, {path})"
    return f"try({id_of_json(text, path, document) if is_id else text})"


def _inner(name: str, places: Mapping[str, str]) -> tuple[str, str] | None:
    """The SQL of a column that may hold JSON and of the path in it that a name with dots says, the longest column's."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        place = _cell(".".join(parts[:length]), places)
        if place is not None:
            return place, json_path(*parts[length:])
    return None


def _moments(mapping: EventMapping) -> dict[str, str]:
    """The moments of texts: `event_sql` trims them into these columns first."""
    return {
        ours: moment_of(f"{ours}_text")
        if ours in mapping.constants
        else moment_of(f"{ours}_text", mapping.timestamp_format, mapping.time_zone)
        for ours in MOMENTS
    }


def _gathered(mapping: EventMapping, value: Callable[[str], str | None]) -> dict[str, str]:
    """`properties` and `traits` -> SQL of the object of their columns; columns that aren't there are left out."""
    made = {}
    for column, wanted in (("properties", mapping.properties), ("traits", mapping.traits)):
        found = {key: value(theirs) for key, theirs in wanted.items()}
        pairs = ", ".join(f"{literal(key)}, {place}" for key, place in found.items() if place is not None)
        if pairs:
            made[column] = f"json_merge_patch('{{}}', json_object({pairs}))"  # in a patch, null would take away
    return made


def _cell(name: str, places: Mapping[str, str], shape: str = "{}") -> str | None:
    found = [n for n in places if n == name] or [n for n in places if n.lower() == name.lower()]
    return shape.format(places[found[0]]) if found else None


def _part(name: str, places: Mapping[str, str], texts: Mapping[str, str], shape: str = "{}") -> str | None:
    """SQL of a column's value, or of what a name with dots says of one: its JSON, so that numbers stay numbers."""
    if (place := _cell(name, places, shape)) is not None:
        return place
    inner = _inner(name, texts)
    return f"try(json_extract({inner[0]}, {inner[1]}))" if inner else None


def _event_type(mapping: EventMapping) -> str:
    """Our word for what `type` says; words that the mapping doesn't know stay as they are."""
    words = {theirs: ours for theirs, ours in mapping.types.items() if theirs != OTHERWISE}
    cases = " ".join(f"when {literal(theirs)} then {literal(ours)}" for theirs, ours in words.items())
    other = "lower(type)"
    if OTHERWISE in mapping.types:
        other = f"case when type is not null then {literal(mapping.types[OTHERWISE])} end"
    return f"case lower(type) {cases} else {other} end" if cases else other


def _spellings(key: str) -> list[str]:
    """JSON paths to a key: as one name, and through objects if it has dots."""
    return [json_path(key), json_path(*key.split("."))] if "." in key else [json_path(key)]


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "")


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)
