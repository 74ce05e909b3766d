"""The warehouse file: who may open it."""

import multiprocessing
import time
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import duckdb
import pytest

from dagster_project.warehouse import Warehouse, WarehouseLocked, clear_deleted_rows, is_worn


def _hold(path: str, held: Event, seconds: float) -> None:
    with duckdb.connect(path):
        held.set()
        time.sleep(seconds)


def _holder(path: Path, seconds: float) -> BaseProcess:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(str(path), held, seconds), daemon=True)
    process.start()
    assert held.wait(20)
    return process


def test_the_raw_tables_are_there_and_stay_when_opened_again(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "data" / "warehouse.duckdb")
    with warehouse.connect() as connection:
        connection.execute("insert into raw.batches values (1, now()::timestamp)")
    with warehouse.connect() as connection:
        assert connection.sql("select batch_id from raw.batches").fetchall() == [(1,)]
        assert connection.sql("select count(*) from raw.events").fetchall() == [(0,)]


def test_deleted_rows_stay_where_they_are_until_they_are_to_be_cleared(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with warehouse.change() as connection:
        connection.execute("create table numbers as select range as number from range(600_000)")
    for fortieths, worn in ((22, False), (26, True)):
        with warehouse.change() as connection:
            connection.execute("delete from numbers where number % 40 < ?", [fortieths])
            assert is_worn(connection, "warehouse.main.numbers") == worn
    with warehouse.change() as connection:
        assert _rows_in_the_file(connection) == 600_000
        clear_deleted_rows(connection)
        connection.execute("delete from numbers where number = 599_999")
    with warehouse.change() as connection:
        assert _rows_in_the_file(connection) < 600_000
        assert not is_worn(connection, "warehouse.main.numbers")
        assert connection.sql("select count(*) from numbers").fetchall() == [(209_999,)]
        assert not is_worn(connection, "warehouse.main.others")


def test_a_table_in_many_pieces_is_put_together(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with warehouse.change() as connection:
        connection.execute("create table numbers as select range as number from range(100)")
    worn = []
    for number in range(20):
        with warehouse.change() as connection:
            connection.execute("delete from numbers where number = ?", [number])
            connection.execute("insert into numbers values (?)", [number])
        with warehouse.change() as connection:
            worn.append(is_worn(connection, "warehouse.main.numbers"))
            if worn[-1]:
                clear_deleted_rows(connection)
                connection.execute("insert into numbers values (1000)")
    assert worn.count(True) == 1
    with warehouse.change() as connection:
        assert not is_worn(connection, "warehouse.main.numbers")


def _rows_in_the_file(connection: duckdb.DuckDBPyConnection) -> int:
    return connection.sql(
        "select sum(count) from pragma_storage_info('numbers') where segment_type = 'BIGINT'"
    ).fetchall()[0][0]


def test_a_warehouse_in_use_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    holder = _holder(path, 0.5)
    with Warehouse(path, wait_seconds=20).connect() as connection:
        assert connection.sql("select 1").fetchall() == [(1,)]
    holder.join()


def test_a_warehouse_that_stays_in_use_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    holder = _holder(path, 30)
    with (
        pytest.raises(WarehouseLocked, match=r"warehouse\.duckdb.*serving\.duckdb"),
        Warehouse(path, 0.2).connect(),
    ):
        pass
    holder.kill()
    holder.join()
