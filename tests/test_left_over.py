"""Records that a run has left: which of them later runs take up, and when they go."""

from collections.abc import Iterator

import duckdb
import pytest

from dagster_project.left_over import AT_ONCE, drop_taken, put_off, take_up, taken


@pytest.fixture
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        take_up(connection, "hubspot", everything=True, held_too=True)
        yield connection


def took(warehouse: duckdb.DuckDBPyConnection, *, everything: bool = False, held_too: bool = True) -> list[str]:
    count = take_up(warehouse, "hubspot", everything=everything, held_too=held_too)
    ids = [object_id for (object_id,) in warehouse.sql(taken("hubspot", "contact")).fetchall()]
    assert len(ids) == count
    return ids


def test_what_was_left_is_taken_up_until_it_has_been_tried(warehouse: duckdb.DuckDBPyConnection) -> None:
    put_off(warehouse, "hubspot", "contact", ["c_1", "c_2"])
    put_off(warehouse, "salesforce", "contact", ["c_3"])
    assert took(warehouse) == took(warehouse) == ["c_1", "c_2"]
    drop_taken(warehouse, "hubspot")
    put_off(warehouse, "hubspot", "contact", ["c_2"])
    assert took(warehouse) == ["c_2"]


def test_what_is_held_waits_until_it_may_be_written(warehouse: duckdb.DuckDBPyConnection) -> None:
    put_off(warehouse, "hubspot", "contact", ["falls"], is_held=True)
    assert took(warehouse, held_too=False) == []
    put_off(warehouse, "hubspot", "contact", ["falls"], is_held=True)
    assert took(warehouse) == ["falls"]


def test_a_delta_takes_as_many_as_do_not_keep_anybody_waiting(warehouse: duckdb.DuckDBPyConnection) -> None:
    ids = [f"c_{number:05}" for number in range(AT_ONCE + 2)]
    put_off(warehouse, "hubspot", "contact", ids)
    assert took(warehouse) == ids[:AT_ONCE]
    drop_taken(warehouse, "hubspot")
    put_off(warehouse, "hubspot", "contact", ids[:1])
    assert took(warehouse) == [*ids[AT_ONCE:], ids[0]]
    assert took(warehouse, everything=True) == [*ids[AT_ONCE:], ids[0]]
