"""Extracts that mostly say the same are kept as what changes, and each still says what it said."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.landing.crm_reading import CRM_ROWS
from dagster_project.landing.crm_store import join_rows, keys_before, reconsider_shrunk, store_extract
from dagster_project.landing.discovery import API
from dagster_project.warehouse import RAW_TABLES

FIRST = datetime(2026, 6, 1)
LIMIT = 0.5
Said = dict[str, str]
"""What an extract says, by key."""
Delivery = tuple[int, Said, str]
"""A day, what it says, and from which connected CRM it was read."""


@cache
def _with_tables() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(RAW_TABLES)
    return connection


@contextmanager
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """Empty tables, as they are after it: to make them takes longer than most examples."""
    connection = _with_tables()
    connection.begin()
    try:
        yield connection
    finally:
        connection.rollback()


def deliver(connection: duckdb.DuckDBPyConnection, day: int, said: Said, read_from: str = "") -> None:
    """Store an extract of a day as loading does; its file is known by its number."""
    [(file_id,)] = connection.sql("select count(*) + 1 from raw.files").fetchall()
    connection.execute(
        "insert into raw.files (file_id, path, content_hash) values (?, ?, ?)",
        [file_id, read_from or "crm/contacts.csv", str(file_id)],
    )
    connection.execute(
        f"create or replace temp table {CRM_ROWS} as select row_number() over () as row_number, "
        "null::varchar as reason, null::varchar as raw, unnest(?::varchar[]) as key, unnest(?::varchar[]) as payload, "
        "null::timestamp as updated_at, null::timestamp as created_at",
        [list(said), list(said.values())],
    )
    at = FIRST + timedelta(days=day)
    previous = keys_before(connection, "contacts", at)
    times = {"extract_at": at, "delivered_at": at}
    store_extract(connection, "contacts", file_id=file_id, **times, limit=LIMIT, previous=previous, read_from=read_from)
    reconsider_shrunk(connection, LIMIT, 1)


def held(connection: duckdb.DuckDBPyConnection) -> dict[int, Said]:
    """By file what its extract says, read from the rows of extracts in a row."""
    rows = connection.sql(
        "with numbered as (select *, row_number() over (order by extract_at, extract_id) as n from raw.crm_extracts) "
        "select one.file_id, versions.key, versions.payload from numbered as one "
        "join numbered as first on first.n <= one.n join numbered as last on last.n >= one.n "
        "join raw.crm_extract_rows as held "
        "on held.first_extract_id = first.extract_id and held.extract_id = last.extract_id "
        "join raw.crm_versions as versions using (version_id)"
    ).fetchall()
    found: dict[int, Said] = {}
    for file_id, key, value in rows:
        assert key not in found.setdefault(file_id, {}), "held twice"
        found[file_id][key] = value
    return found


A_ROW_EACH = """
create temp table apart as
with numbered as (select extract_id, row_number() over (order by extract_at, extract_id) as n from raw.crm_extracts)
select one.extract_id, version_id, null::integer from raw.crm_extract_rows as held
join numbered as first on held.first_extract_id = first.extract_id
join numbered as last on held.extract_id = last.extract_id
join numbered as one on one.n between first.n and last.n;
delete from raw.crm_extract_rows;
insert into raw.crm_extract_rows from apart;
"""
extracts = st.dictionaries(st.sampled_from("abcde"), st.sampled_from("xy"), min_size=1)
sources = st.sampled_from(["", "", f"{API}hubspot/contacts", f"{API}salesforce/contacts"])
deliveries_of_all_kinds = st.lists(st.tuples(st.integers(0, 5), extracts, sources), min_size=1, max_size=9)


@settings(max_examples=40)
@given(deliveries_of_all_kinds)
def test_every_extract_says_what_it_said_in_whatever_order_they_come(
    deliveries: Sequence[Delivery],
) -> None:
    """Those that don't count, because too many keys are gone, among them."""
    with warehouse() as connection:
        for delivery in deliveries:
            deliver(connection, *delivery)
        assert held(connection) == {number: said for number, (_, said, _) in enumerate(deliveries, 1)}
        alone = connection.sql(
            "select count(*) from raw.crm_extract_rows where first_extract_id <> extract_id and (first_extract_id in "
            "(select extract_id from raw.crm_extracts order by extract_at, extract_id limit 1) or "
            "list_has_any([first_extract_id, extract_id], "
            "(select coalesce(list(extract_id), []) from raw.crm_extracts where not is_complete)))"
        ).fetchall()
        assert alone == [(0,)], "the first one, and those that don't count, have rows of their own"


@settings(max_examples=40)
@given(deliveries_of_all_kinds)
def test_rows_of_an_earlier_version_are_joined_and_say_the_same(deliveries: Sequence[Delivery]) -> None:
    """It wrote one per extract and record."""
    with warehouse() as connection:
        for delivery in sorted(deliveries, key=lambda one: one[0]):
            deliver(connection, *delivery)
        joined = "select version_id, first_extract_id, extract_id from raw.crm_extract_rows order by all"
        expected = connection.sql(joined).fetchall()
        connection.execute(A_ROW_EACH)
        join_rows(connection)
        assert connection.sql(joined).fetchall() == expected


def test_what_a_connected_crm_says_is_a_row_of_its_own() -> None:
    """What it has said last is looked for by its own last extract; files that land meanwhile are none of it."""
    with warehouse() as connection:
        for day, read_from in enumerate(["", "", "", f"{API}hubspot/contacts", f"{API}hubspot/contacts", "", ""]):
            deliver(connection, day, {"a": "x"}, read_from)
        rows = connection.sql("select first_extract_id, extract_id from raw.crm_extract_rows order by all").fetchall()
    assert rows == [(1, 1), (2, 3), (4, 5), (6, 7)]


def test_what_does_not_change_takes_no_room() -> None:
    everybody = {f"c{number}": "x" for number in range(100)}
    with warehouse() as connection:
        for day in range(20):
            deliver(connection, day, everybody | {"c7": f"changed {day}"})
        [(rows,)] = connection.sql("select count(*) from raw.crm_extract_rows").fetchall()
    assert rows == 100 + 99 + 19
