"""One CRM file as rows of text: key, JSON payload, dates. Written to the temp table CRM_ROWS.

Values stay text under lower-case names; what they mean is decided in the dbt models. Whether an extract
counts is decided in `crm_store`.
"""

from codecs import BOM_UTF8
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import duckdb

from dagster_project.core.crm_source_rules import KEYS
from dagster_project.landing.discovery import LandedFile
from dagster_project.landing.event_reading import first_words, is_machines_trouble
from dagster_project.landing.opening import UnreadableFile
from dagster_project.landing.register import SETTINGS_FILE
from dagster_project.landing.row_sources import (
    BLANK,
    SLOW_ROWS,
    Rows,
    csv_rows,
    line_rows,
    lines_sql,
    parquet_rows,
    parquet_text,
)
from dagster_project.landing.sql_text import (
    first_said,
    has_nul,
    id_of_json,
    in_range,
    is_moment_type,
    json_path,
    literal,
    moment_of,
    text_of,
    without_zone,
)

SUPPRESSION, SUPPRESSION_KEYS = "suppression", ("email", "domain")
LIST_READER = "2026-12"
"""Another one for whatever changes which people and domains are read out of a suppression list: one that was read by an
earlier reader is read again, since what that one took for nobody may be somebody who has said no."""
NOBODY_NAMED, UNCLEAR = "neither email nor domain is given", "this names neither an address nor a domain"
"""Why a row of the suppression list is quarantined that names nobody, or nobody knows whom."""
CRM_ROWS = "crm_rows"
LIST_SEPARATOR = ";"
_WORD = r'[^\s\pZ,;|<>()"\[\]]+'
"""Of a field of the suppression list: what may be an address or a domain."""
_OTHER_NAMES = f"other names are given under crm_columns in the playbook's {SETTINGS_FILE}"
_WIDE = "\uff20\uff0e\u3002"
"""An @ and two dots as East Asian keyboards write them."""
_NOTHING = "'-', '--', 'n/a', 'na', 'none', 'null', 'nil'"
"""What people write into a field that has to say something."""
_MOST_BLANK = 4096
"""Bytes: more line ends than that are not what a writer leaves who has nothing to say."""


@dataclass(frozen=True)
class _Fields:
    rows: Rows
    values: Mapping[str, str]  # lower-case column -> SQL of its text


def read_crm_file(
    connection: duckdb.DuckDBPyConnection,
    file: LandedFile,
    path: Path,
    entity: str,
    named: Mapping[str, str | None] = MappingProxyType({}),
) -> tuple[str, ...] | None:
    """Fill CRM_ROWS(row_number, reason, raw, key, payload, updated_at, created_at) from a file.

    A row of the suppression list that names an address and a domain becomes two rows with one number.

    Args:
        connection: The warehouse, with no transaction begun.
        file: The file.
        path: Its uncompressed content.
        entity: Which records it holds.
        named: Our column -> the header that files have instead, in any case; None where the CRM has none.

    Returns:
        The columns found, in lower case and under our names; None if the file is empty. An empty suppression list
        has no columns and no rows: it says that nobody is on it.

    Raises:
        UnreadableFile: It is damaged, or lacks the key column or one that `named` names.
    """
    if entity == SUPPRESSION and _is_blank(path):
        return _nobody(connection, file)
    if path.stat().st_size == 0:
        return None
    try:
        fields = _fields(connection, file, path, named)
    except duckdb.Error as error:
        raise UnreadableFile(f"the file can't be read: {first_words(error)}") from error
    if fields is None:
        return None
    fields = _Fields(fields.rows, _renamed(fields.values, named))
    _require_key(entity, fields)
    _fill(connection, fields, entity)
    return tuple(sorted(fields.values))


def _is_blank(path: Path) -> bool:
    if path.stat().st_size > _MOST_BLANK:
        return False
    return not path.read_bytes().removeprefix(BOM_UTF8).strip()


def _nobody(connection: duckdb.DuckDBPyConnection, file: LandedFile) -> tuple[str, ...]:
    if file.kind == ".parquet":
        raise UnreadableFile("the file is empty, which no Parquet file is")
    connection.execute(
        f"create or replace temp table {CRM_ROWS} (row_number bigint, reason varchar, raw varchar, key varchar, "
        "payload varchar, updated_at timestamp, created_at timestamp)"
    )
    return ()


def _fill(connection: duckdb.DuckDBPyConnection, fields: _Fields, entity: str) -> None:
    rows = fields.rows
    try:
        connection.execute(_rows_sql(entity, fields, rows.read_with("in order")))
    except duckdb.Error as error:
        if is_machines_trouble(error):
            raise
        if rows.slow_relation is None:
            raise UnreadableFile(f"the file can't be read: {first_words(error)}") from error
        connection.register(SLOW_ROWS, rows.slow_rows())
        try:
            connection.execute(_rows_sql(entity, fields, rows.read_with("by hand")))
        finally:
            connection.unregister(SLOW_ROWS)


def _fields(
    connection: duckdb.DuckDBPyConnection, file: LandedFile, path: Path, named: Mapping[str, str | None]
) -> _Fields | None:
    if file.kind == ".csv":
        rows = csv_rows(path)
        return None if rows is None else _Fields(rows, _by_name(rows.places))
    if file.kind == ".parquet":
        rows = parquet_rows(connection, path)
        return _Fields(rows, _by_name({n: _cell_text(p, rows.types[n]) for n, p in rows.places.items()}))
    ids = {header.strip().lower() for ours, header in named.items() if header and _is_id(ours)}
    return _line_fields(connection, path, ids)


def _is_id(column: str) -> bool:
    return column.endswith("_id")


def _line_fields(connection: duckdb.DuckDBPyConnection, path: Path, ids: Collection[str]) -> _Fields:
    """The columns of NDJSON are the keys that any of its objects has; `ids` are headers of ids, beside our own."""
    keys = _json_keys(connection, path) or [""]
    rows = line_rows(path, [json_path(key) for key in keys], certain=json_path(keys[0]))
    values = {}
    for position, key in enumerate(keys, start=1):
        text, where = f"src.said[{position}]", json_path(key)
        every = where[:-1] + "[*]'"
        header = key.strip().lower()
        one = id_of_json(text, where) if _is_id(header) or header in ids else text
        values[key] = (
            f"case when starts_with({text}, '[') and json_type(src.line, {where}) = 'ARRAY' "
            f"then array_to_string(json_extract_string(src.line, {every}), '{LIST_SEPARATOR}') else {one} end"
        )
    return _Fields(rows, _by_name(values))


def _json_keys(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    keys = "select distinct unnest(try(json_keys(line))) from ({}) where try(json_type(line)) = 'OBJECT' order by 1"
    try:
        found = connection.sql(keys.format(lines_sql(path, "null::bigint"))).fetchall()
    except duckdb.Error:
        connection.register(SLOW_ROWS, line_rows(path, [json_path("")], certain=json_path("")).slow_rows())
        try:
            found = connection.sql(keys.format(f"select line from {SLOW_ROWS}")).fetchall()
        finally:
            connection.unregister(SLOW_ROWS)
    return [key for (key,) in found]


def _rows_sql(entity: str, fields: _Fields, relation: str) -> str:
    pairs = ", ".join(f"{literal(name)}, {name_sql}" for name, name_sql in _named(fields))
    texts = ", ".join(f"{text_of(value)} as v{i}" for i, value in enumerate(fields.values.values()))
    at = {name: moment_of(column) for name, column in _named(fields)}
    is_unclear = "false"
    nothing = "null::timestamp"
    if entity == SUPPRESSION:
        keys, missing = _suppression_keys(fields), NOBODY_NAMED
        said = ", ".join(_said_in(column) for name, column in _named(fields) if name in SUPPRESSION_KEYS)
        is_unclear = f"list_contains(keys, '{UNCLEAR}') or (len(keys) = 0 and concat({said}) <> '')"
    else:
        keys, missing = f"[{dict(_named(fields))[KEYS[entity]]}]", f"{KEYS[entity]} is missing"
    return f"""
create or replace temp table {CRM_ROWS} as
with source as ({relation}),
said as (select row_number, problem, src, {texts} from source where problem is distinct from '{BLANK}'),
judged as (
  select *, list_filter({keys}, lambda key: key is not null) as keys,
    {at.get("updated_at", nothing)} as updated, {at.get("created_at", nothing)} as created
  from said
),
reasoned as (
  select *,
    case when problem is not null then problem when {is_unclear} then '{UNCLEAR}' when len(keys) = 0 then '{missing}'
      when {has_nul("array_to_string(keys, '')")} then 'the key holds a NUL character' end as reason
  from judged
)
select row_number, reason, case when reason is not null then {fields.rows.raw} end as raw,
  unnest(case when reason is null then keys else [null] end) as key,
  case when reason is null then json_merge_patch('{{}}', json_object({pairs}))::varchar end as payload,
  {in_range("updated")} as updated_at, {in_range("created")} as created_at
from reasoned
"""


def _named(fields: _Fields) -> list[tuple[str, str]]:
    """Column -> the SQL name of its text, sorted, so that the order of columns makes no other payload."""
    return sorted((name, f"v{i}") for i, name in enumerate(fields.values))


def _suppression_keys(fields: _Fields) -> str:
    """SQL of the keys that a row names, in whichever of its two columns: `email:...` and `domain:...`.

    Among them `UNCLEAR` stands for what looks like an address and is none.
    """
    names = dict(_named(fields))
    found = [_keys_in(names[column], is_domain=column == "domain") for column in SUPPRESSION_KEYS if column in names]
    return f"list_sort(list_distinct(list_concat({', '.join(found)}, []::varchar[])))"


def _keys_in(value: str, *, is_domain: bool) -> str:
    """SQL of what a text names.

    `Ann <ann@acme.com>` and several addresses name addresses; `acme.com` and `*@acme.com` a domain, under `email` only
    where they stand alone, since among other words they may be part of a name.

    Args:
        value: SQL of the text.
        is_domain: Whether it stands under `domain`.
    """
    alone = "len(words) = 1"
    may_be_domain = "true" if is_domain else alone
    is_name = f"{alone} and regexp_full_match(word, '[\\w-]+')"
    host = f"contains(word, '.') or ({is_name})" if is_domain else "contains(word, '.')"
    words = f"""list_transform(regexp_extract_all({_said_in(value)}, '{_WORD}'),
      lambda word: regexp_replace(regexp_replace(word, '^(mailto:|smtp:|[''.])+', ''), '[''.]+$', ''))"""
    return f"""flatten(list_transform([{words}], lambda words: list_transform(words, lambda word: case
      when regexp_full_match(word, '[^@/*%]+@[\\pL\\pN_-]+([.][\\pL\\pN_-]+)*') then 'email:' || word
      when {may_be_domain} and regexp_full_match(word, '[*]?@([*][.])?[^@/*]+')
        then 'domain:' || regexp_replace(word, '^[*]?@([*][.])?', '')
      when contains(word, '@') or contains(word, '%40') then '{UNCLEAR}'
      when {may_be_domain} and ({host}) then 'domain:' || regexp_replace(word, '^([*][.])+', '')
    end)))"""


def _said_in(value: str) -> str:
    """SQL of a field of the suppression list in small letters, empty where it says that there is nothing.

    Without what nobody sees in a text that was copied from a page or a sheet.
    """
    written = f"translate(lower(nfc_normalize({value})), '{_WIDE}', '@..')"
    seen = f"regexp_replace(regexp_replace({written}, '\\p{{Cf}}+', '', 'g'), '^\\pZ+|\\pZ+$', '', 'g')"
    return f"case when {seen} in ({_NOTHING}) then '' else coalesce({seen}, '') end"


def _renamed(values: Mapping[str, str], named: Mapping[str, str | None]) -> dict[str, str]:
    """The columns under our names; one that has our name already needs no other."""
    theirs = {ours: header.strip().lower() for ours, header in named.items() if header is not None}
    empty = {ours: "null::varchar" for ours, header in named.items() if header is None}
    missing = [ours for ours, header in theirs.items() if header not in values and ours not in values]
    if missing:
        told = "; ".join(f"no column {named[ours]}, mapped to {ours}" for ours in missing)
        raise UnreadableFile(f"{told}; found {_found(values)}: {_OTHER_NAMES}")
    mine = {ours: values[header] for ours, header in theirs.items() if header in values}
    taken = {*theirs.values(), *mine}
    return {**empty, **{name: value for name, value in values.items() if name not in taken}, **mine}


def _found(values: Collection[str]) -> str:
    return ", ".join(sorted(values)) or "none"


def _require_key(entity: str, fields: _Fields) -> None:
    wanted = SUPPRESSION_KEYS if entity == SUPPRESSION else (KEYS[entity],)
    if not set(wanted) & set(fields.values):
        hint = "" if entity == SUPPRESSION else f": {_OTHER_NAMES}"
        raise UnreadableFile(f"no column {' or '.join(wanted)}; found {_found(fields.values)}{hint}")


def _by_name(places: Mapping[str, str]) -> dict[str, str]:
    """Names trimmed and in lower case; of two that become one, the first that says something counts."""
    merged: dict[str, list[str]] = {}
    for name, place in places.items():
        if name.strip():
            merged.setdefault(name.strip().lower(), []).append(place)
    return {name: first_said(places) for name, places in merged.items()}


def _cell_text(place: str, sql_type: str) -> str:
    if sql_type.endswith("]") and not sql_type.startswith(("STRUCT", "MAP")):
        return f"array_to_string(list_transform({place}, lambda part: part::varchar), '{LIST_SEPARATOR}')"
    if is_moment_type(sql_type):
        return f"({without_zone(place, sql_type)})::varchar"
    return parquet_text(place, sql_type)
