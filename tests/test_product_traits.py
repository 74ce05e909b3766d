"""Whose traits the product gets."""

from collections.abc import Iterator

import duckdb
import pytest

from dagster_project.defs.product import wanted_traits
from dagster_project.playbook_files import read_playbook


@pytest.fixture
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("""
            create schema raw; create schema marts; create schema features; create schema intermediate;
            create table raw.moments as select timestamp '2026-06-30' as as_of, true as is_live;
            create table marts.product_traits as
            select unnest(['account', 'user', 'user']) as subject_type, unnest(['a_1', 'u_1', 'u_2']) as subject_id,
                'o_1' as owner, 5 as contract_value, 'smb' as segment, null as custom_fields;
            create table features.user_features as
            select timestamp '2026-06-30' as as_of, unnest(['u_1', 'u_2']) as user_id,
                unnest(['c_1', null]) as contact_id;
            create table intermediate.int_crm_no_contact as
            select 'contacts' as entity, unnest(['c_1', 'c_2']) as key, unnest([true, false]) as do_not_sell;
        """)
        yield connection


def test_nobody_who_must_not_be_sold_even_where_those_not_to_be_contacted_are_sent(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    rules = read_playbook(None).crm_fields.model_copy(update={"traits_of_no_contact": "write"})
    wanted = wanted_traits(warehouse, rules, is_full=True)
    assert {kind: rows["object_id"].to_list() for kind, rows in wanted.items()} == {"account": ["a_1"], "user": ["u_2"]}
