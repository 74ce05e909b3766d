"""SQL expressions that turn texts of foreign origin into values: quoting, moments, JSON objects."""

from collections.abc import Sequence

from dagster_project.core.iso_moments import BASIC, NAIVE_OR_Z, WITH_OFFSET
from dagster_project.core.source_rules import EPOCH_FORMATS

FIRST_MOMENT, LAST_MOMENT = "1900-01-01", "9999-12-31 23:59:59.999999"
"""What is before or after was misread, such as the 26 in 24.06.26 for a year, or can't be held by other languages."""
FIRST_EVENT_YEAR = 1990
"""No product has events from before: a clock was not set, or seconds were read as milliseconds."""
WHITE_SPACE = "' \t\r\n'"
_EXTENDED = r"\1-\2-\3T\4:\5:\6\7\8"


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def id_of_json(text: str, path: str, document: str = "src.line") -> str:
    """The text of an id at a path of a JSON text: 17 of the number 17.0, as of a number in any other kind of file.

    Whoever writes numbers of which some are missing writes them so.
    """
    is_whole = f"ends_with({text}, '.0') and json_type({document}, {path}) = 'DOUBLE'"
    return f"case when {is_whole} then left({text}, -2) else {text} end"


def text_of(expression: str) -> str:
    """Without surrounding white space; NULL when nothing is left.

    Trimming is dear, so only what needs it is trimmed.
    """
    return (
        f"case when {is_trimmed(expression)} then {expression} else nullif(trim({expression}, {WHITE_SPACE}), '') end"
    )


def first_said(expressions: Sequence[str]) -> str:
    """The first of texts that says more than white space, NULL if none does; a single one stays as it is."""
    texts = list(dict.fromkeys(expressions))
    if len(texts) == 1:
        return texts[0]
    # What begins with more than a space has something to say; only the rest is worth trimming.
    said = [f"case when {text} >= '!' then {text} else nullif(trim({text}, {WHITE_SPACE}), '') end" for text in texts]
    return f"coalesce({', '.join([*said, 'null::varchar'])})"


def is_trimmed(expression: str) -> str:
    """Whether a text has something to say and no white space around it; NULL for NULL.

    No as well for other control characters at its ends.
    """
    return f"({expression} >= '!' and ({expression})[-1] > ' ')"


def has_nul(expression: str) -> str:
    """Whether a text holds a NUL character, which PostgreSQL takes into no text; NULL for NULL."""
    return f"contains({expression}, chr(0))"


def json_path(*keys: str) -> str:
    """A key of a JSON object, or a way through objects, as an SQL literal."""
    escaped = [key.replace("\\", "\\\\").replace('"', '\\"') for key in keys]
    return literal("$" + "".join(f'."{key}"' for key in escaped))


def json_object_of(expression: str) -> str:
    """A text as minified JSON when it holds an object, else NULL."""
    trimmed = f"trim({expression}, {WHITE_SPACE})"
    return (
        f"case when starts_with({expression}, '{{') then try(json({expression})::varchar) "
        f"else case when starts_with({trimmed}, '{{') then try(json({trimmed})::varchar) end end"
    )


def moment_of(expression: str, timestamp_format: str | None = None, time_zone: str | None = None) -> str:
    """A text as naive UTC TIMESTAMP; NULL when it is none.

    Args:
        expression: SQL of type VARCHAR, trimmed.
        timestamp_format: As in `sources.yml`; None means ISO 8601.
        time_zone: Where no offset is said; None means UTC.
    """
    if timestamp_format is None:
        return _iso_8601(expression, time_zone)
    if timestamp_format in EPOCH_FORMATS:
        exact = f"try_cast({expression} as decimal(38, 6)) * {EPOCH_FORMATS[timestamp_format]}"
        return f"try(make_timestamp(cast(round({exact}) as bigint)))"
    parsed = f"try_strptime({expression}, {literal(timestamp_format)})"
    return f"{parsed} at time zone 'UTC'" if "%z" in timestamp_format.lower() else _from_zone(parsed, time_zone)


def typed_moment(expression: str, sql_type: str, time_zone: str | None = None) -> str:
    """A column of a date or timestamp type as naive UTC TIMESTAMP; `time_zone` as in `moment_of`."""
    moment = f"try_cast({without_zone(expression, sql_type)} as timestamp)"
    return moment if _has_zone(sql_type) else _from_zone(moment, time_zone)


def without_zone(expression: str, sql_type: str) -> str:
    """A column of a timestamp type with a zone as naive UTC; others as they are."""
    return f"{expression} at time zone 'UTC'" if _has_zone(sql_type) else expression


def _has_zone(sql_type: str) -> bool:
    return sql_type.endswith("WITH TIME ZONE") or sql_type.startswith("TIMESTAMPTZ")


def _from_zone(moment: str, time_zone: str | None) -> str:
    """A naive local TIMESTAMP as naive UTC; of the hour that comes twice in autumn it is the second."""
    return f"try(timezone({literal(time_zone)}, {moment}) at time zone 'UTC')" if time_zone else moment


def is_moment_type(sql_type: str) -> bool:
    """Whether a column type holds moments."""
    return sql_type == "DATE" or sql_type.startswith("TIMESTAMP")


def in_range(moment: str, first: str = FIRST_MOMENT) -> str:
    """NULL for moments that can't be meant, such as infinity.

    Args:
        moment: A column's name.
        first: The earliest that can.
    """
    bounds = f"timestamp '{first}' and timestamp '{LAST_MOMENT}'"
    return f"case when {moment} between {bounds} then {moment} end"


def in_range_of_events(moment: str) -> str:
    """The same for an event's moments."""
    return in_range(moment, f"{FIRST_EVENT_YEAR}-01-01")


def _iso_8601(text: str, time_zone: str | None) -> str:
    """The cast to TIMESTAMP ignores offsets, so that only texts without one, or with Z, may take it."""
    point = f"replace(upper({text}), ',', '.')"
    spelled = f"regexp_replace({point}, {literal(BASIC)}, {literal(_EXTENDED)})"
    unzoned = f"try_cast({point} as timestamp)"
    if time_zone:
        says_utc = f"ends_with({point}, 'Z') or ends_with({point}, 'UTC')"
        unzoned = f"case when {says_utc} then {unzoned} else {_from_zone(unzoned, time_zone)} end"
    return (
        f"case when regexp_full_match({text}, {literal(NAIVE_OR_Z)}) then {unzoned} "
        f"when regexp_full_match({text}, {literal(WITH_OFFSET)}) "
        f"then try_cast(replace(replace({point}, ' +', '+'), ' -', '-') as timestamptz) at time zone 'UTC' "
        f"when regexp_full_match({text}, {literal(BASIC)}) "
        f"then try_cast({spelled} as timestamptz) at time zone 'UTC' end"
    )
