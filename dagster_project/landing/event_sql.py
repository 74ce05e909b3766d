"""The SQL that judges and canonizes event rows: one query from a file's rows to rows of `raw.events`.

It decides what can be read and with which reason a row can't. What becomes of the rows is in `event_merge`.
"""

from dagster_project.core.source_rules import EVENT_TYPES, OBJECTS
from dagster_project.landing.event_fields import IDS, EventSource
from dagster_project.landing.sql_text import (
    FIRST_EVENT_YEAR,
    first_said,
    has_nul,
    in_range_of_events,
    json_object_of,
    json_path,
    literal,
    text_of,
)

LIFTED = ("feature", "integration", "status", "path")
CONTENT = (
    "type", "event", "name", "user_id", "anonymous_id", "group_id", "session_id", "timestamp", "properties",
    "traits", "context",
)  # fmt: skip
"""What an event says: all but its id and when it was received.

Two events with the same content are the same event.
"""

EVENT_VALUES = ("message_id", *CONTENT[:8], "received_at", *CONTENT[8:], *LIFTED, "identifies")
"""The columns of a canonical row that go into `raw.events` as they are."""

NO_IDS = (
    "\\N", "NULL", "Null", "null", "(null)", "<null>", "nil", "None", "none", "NaN", "nan", "undefined",
    "[object Object]",
)  # fmt: skip
"""What stands for nothing in exports of databases and in scripts: it would be one person with everybody's events."""
_MANY = "'ARRAY', 'OBJECT', 'NULL', 'BOOLEAN'"
TOUCHED = "user_id, case when user_id is null then anonymous_id end, timestamp::date"
"""Whose day an event changes: an event that names a user never asks whose its anonymous id is."""


def message_key(message_id: str) -> str:
    """SQL of the number that stands for a message id in look-ups: ids with one key need not be one."""
    return f"hash({message_id})"


def content_hash(relation: str = "") -> str:
    """SQL of the hash of what a canonical row says."""
    prefix = f"{relation}." if relation else ""
    content = ", ".join(
        f"epoch_us({prefix}timestamp)::varchar" if column == "timestamp" else f"coalesce({prefix}{column}, '')"
        for column in CONTENT
    )
    return f"md5(concat_ws(chr(31), {content}))"


def lifted_values(properties: str) -> str:
    """SQL of the list of the properties in LIFTED; NULL when none is mentioned."""
    mentioned = " or ".join(f"contains({properties}, '\"{name}\"')" for name in LIFTED)
    paths = ", ".join(json_path(name) for name in LIFTED)
    return f"case when {mentioned} then json_extract_string({properties}, [{paths}]) end"


def lifted_columns() -> str:
    """SQL of the columns in LIFTED, out of the list `lifted`."""
    return ",\n  ".join(f"{text_of(f'lifted[{i}]')} as {name}" for i, name in enumerate(LIFTED, start=1))


def group_of_context(context: str) -> str:
    """SQL of the group id that a context names."""
    said = first_said([f"({context} ->> 'groupId')", f"({context} ->> 'group_id')"])
    return f"case when contains({context}, 'group') then nullif(trim({said}), '') end"


def is_no_id(text: str) -> str:
    """SQL of whether a text is what exports and scripts write who have no id; NULL for NULL."""
    return f"{text} in ({', '.join(map(literal, NO_IDS))})"


def may_be_several(text: str) -> str:
    """SQL of whether a text may be a list or an object; NULL for NULL."""
    return f"({text})[1] in ('[', '{{')"


def says_who(source: EventSource) -> str:
    """SQL of true where a canonical row says who somebody is though it is no `identify`, else NULL."""
    if not source.identifies:
        return "null::boolean"
    tells = "traits <> '{}' or (user_id is not null and anonymous_id is not null)"
    return f"case when type not in ('identify', 'group') and ({tells}) then true end"


def has_traits_elsewhere(context: str) -> str:
    """SQL of whether a row, of which `type` is known, may have its traits in its context."""
    return f"type = 'identify' and contains({context}, '\"traits\"')"


def session_of(text: str) -> str:
    """SQL of a session's id: Amplitude writes -1 for events outside of any."""
    return f"nullif({text}, '-1')"


def _id_of(text: str) -> str:
    """SQL of an id: NULL for what is none, and of a list of one text or number that one."""
    is_one = f"json_array_length({text}) = 1 and json_type({text}, '$[0]') not in ({_MANY})"
    first = f"case when {is_one} then {text} ->> '$[0]' end"
    return (
        f"case when {is_no_id(text)} then null "
        f"when {may_be_several(text)} then coalesce(try({first}), {text}) else {text} end"
    )


def canonical_rows(source: EventSource, relation: str) -> str:
    """SQL for (file_id, row_number, reason, raw, *EVENT_VALUES); `reason` and `raw` are NULL in readable
    rows.

    Args:
        source: Where the columns come from.
        relation: The source relation to read, one of the source's two.
    """
    plain = [column for column in source.text if column not in OBJECTS and column not in ("timestamp", "received_at")]
    texts = ",\n    ".join(f"{text_of(source.text[column])} as {column}" for column in plain)
    objects = ",\n    ".join(f"{source.text[column]} as {column}_text" for column in OBJECTS)
    object_values = ",\n    ".join(f"{json_object_of(f'{column}_text')} as {column}_object" for column in OBJECTS)
    said = {column: f"{column}_object" for column in OBJECTS}
    # RudderStack's identify calls have their traits there.
    elsewhere = json_object_of("(context_object ->> '$.traits')")
    said["traits"] = f"coalesce(traits_object, case when {has_traits_elsewhere('context_object')} then {elsewhere} end)"
    whole = {
        column: f"json_merge_patch(coalesce({said[column]}, '{{}}'), {source.gathered[column]})::varchar"
        if column in source.gathered
        else said[column]
        for column in OBJECTS
    }
    return f"""
with source as ({relation}),

said as (
  select
    file_id, row_number, problem, src,
    {texts},
    {objects},
    {text_of(source.text["timestamp"])} as timestamp_text,
    {text_of(source.text["received_at"])} as received_at_text
  from source
),

dated as (
  select * replace ({", ".join(f"{_id_of(column)} as {column}" for column in (*IDS, "previous_id"))},
      {session_of("session_id")} as session_id),
    {source.moment["timestamp"]} as timestamp_value,
    {source.moment["received_at"]} as received_at_value
  from said
),

typed as (
  select * replace ({source.event_type} as type),
    {in_range_of_events("timestamp_value")} as timestamp,
    {in_range_of_events("received_at_value")} as received_at,
    {object_values}
  from dated
),

named as (
  select * replace (
      case when type = 'alias' then 'identify' else type end as type,
      case when type = 'alias' then coalesce(anonymous_id, previous_id) else anonymous_id end as anonymous_id,
      coalesce(group_id, {_id_of("context_group")}) as group_id),
    type as given_type,
    {", ".join(f"{sql} as {column}" for column, sql in whole.items())}
  from (select *, {group_of_context("context_object")} as context_group from typed)
),

judged as (
  select *, {_reason()} as reason from named
),

completed as (
  select *,
    {lifted_values("properties")} as lifted
  from judged
)

select file_id, row_number, reason,
  case when reason is not null then {source.rows.raw} end as raw,
  coalesce(message_id, case when reason is null then {content_hash()} end) as message_id,
  {", ".join(CONTENT[:8])}, received_at, {", ".join(CONTENT[8:])},
  {lifted_columns()},
  {says_who(source)} as identifies
from completed
"""


def _reason() -> str:
    """Why a row can't be read; the first cause that applies, NULL if none does."""
    bad_objects = "\n".join(
        f"when case when {column}_object is null then {_said(f'{column}_text')} end is not null "
        f"then '{column} is no JSON object'"
        for column in OBJECTS
    )
    kinds = ", ".join(f"'{kind}'" for kind in EVENT_TYPES)
    return f"""case
      when problem is not null then problem
      when given_type is null then 'type is missing'
      when given_type not in ({kinds}) then 'type is none of {", ".join(EVENT_TYPES)}: ' || left(given_type, 80)
      when isfinite(timestamp_value) and timestamp_value < timestamp '{FIRST_EVENT_YEAR}-01-01'
        then 'timestamp is before {FIRST_EVENT_YEAR}, as it is read: ' || left(timestamp_text, 80)
          || ' (timestamp_format in sources.yml says how it is written)'
      when timestamp is null
        then coalesce(
          'timestamp is no date and time: ' || left(nullif(timestamp_text, 'null'), 80)
            || case when regexp_full_match(timestamp_text, '[0-9]{{9,}}([.][0-9]*)?')
              then ' (a number: timestamp_format in sources.yml says in which unit)' else '' end,
          'timestamp is missing')
      when coalesce({", ".join(IDS)}) is null then 'none of {", ".join(IDS)} is given'
      when {" or ".join(map(has_nul, ("message_id", *IDS)))} then 'an id holds a NUL character'
      when {" or ".join(f"(case when {may_be_several(column)} then json_valid({column}) end)" for column in IDS)}
        then 'an id is a list or an object'
      when case when received_at is null then nullif(received_at_text, 'null') end is not null
        then 'received_at is no date and time: ' || left(received_at_text, 80)
      {bad_objects}
    end"""


def _said(expression: str) -> str:
    """A text, or NULL when it is empty or JSON's null."""
    return f"nullif({text_of(expression)}, 'null')"
