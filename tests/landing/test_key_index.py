"""Look-ups of message keys in files beside the warehouse say what a search of all events would say."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from landing_folder import Landing, event

from dagster_project.landing.key_index import KeyIndex
from dagster_project.warehouse import Warehouse

RUN_ROWS = 4
keys = st.integers(0, 2**64 - 1) | st.integers(0, 5)
batches_of_keys = st.lists(st.lists(keys, min_size=1, max_size=9), min_size=1, max_size=5)


@contextmanager
def _landing(run_rows: int | None = RUN_ROWS) -> Iterator[Landing]:
    with tempfile.TemporaryDirectory() as folder, Warehouse(Path(folder, "warehouse.duckdb")).connect() as connection:
        yield Landing(Path(folder, "landing"), connection, run_rows=run_rows)


def _index(landing: Landing) -> KeyIndex:
    return KeyIndex(landing.connection, run_rows=RUN_ROWS, worth_rows=1)


def _found(index: KeyIndex, asked: Sequence[int | None]) -> list[int]:
    return index.found(pa.table({"key": pa.array(asked, pa.uint64())}))["key"].to_pylist()


def _runs(landing: Landing) -> list[Path]:
    return sorted((landing.root.parent / "warehouse.keys").iterdir())


@settings(max_examples=25, deadline=None)
@given(batches_of_keys, st.lists(keys, unique=True, max_size=9))
def test_what_is_stored_is_found_and_nothing_else(batches: list[list[int]], others: list[int]) -> None:
    stored = {key for batch in batches for key in batch}
    asked = sorted(stored | set(others))
    with _landing() as landing:
        for number, batch in enumerate(batches, 1):
            rows = ", ".join(f"({number}, {key}::ubigint)" for key in batch)
            landing.connection.execute(f"insert into raw.events (batch_id, message_key) values {rows}")
            index = _index(landing)
            if number % 2:
                index.extend()
        assert sorted(_found(index, [*asked, None])) == sorted(stored)
        assert sorted(_found(_index(landing), asked)) == sorted(stored)


@settings(max_examples=6, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ABC")), min_size=1, max_size=6), max_size=5))
def test_loads_with_an_index_are_loads_without(files: list[list[tuple[int, str]]]) -> None:
    with _landing() as with_index, _landing(None) as without:
        for landing in (with_index, without):
            for number, rows in enumerate(files):
                landing.events(f"{number}.ndjson", *(event(f"m{key}", event=said) for key, said in rows))
                landing.load()
        assert with_index.stored(["message_id", "event"]) == without.stored(["message_id", "event"])
        counts = "select loaded, duplicate from raw.files order by file_id"
        assert with_index.rows(counts) == without.rows(counts)
        assert with_index.law_holds() if files else True


def test_runs_are_whole_but_for_the_last_and_no_other_file_stays(landing: Landing) -> None:
    landing.run_rows = RUN_ROWS
    for number in range(3):
        landing.events(f"{number}.ndjson", *(event(f"m{number}{i}") for i in range(3)))
        landing.load()
    assert sorted(path.stat().st_size // 8 for path in _runs(landing)) == [1, 4, 4]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"x")])
def test_without_a_file_everything_is_searched_and_then_indexed_anew(landing: Landing, damage: object) -> None:
    landing.run_rows = RUN_ROWS
    landing.events("a.ndjson", *(event(f"m{i}") for i in range(6)))
    landing.load()
    damage(_runs(landing)[0])  # type: ignore[operator]
    landing.events("b.ndjson", event("m1"), event("m5"), event("new"))
    outcome = landing.load_one()
    assert (outcome.loaded, outcome.duplicate) == (1, 2)
    assert sum(path.stat().st_size // 8 for path in _runs(landing)) == 7


def test_what_another_warehouse_left_behind_goes(landing: Landing) -> None:
    folder = landing.root.parent / "warehouse.keys"
    folder.mkdir()
    (folder / "left").write_bytes(bytes(8))
    landing.events("a.ndjson", event("m1"))
    landing.load()
    assert _runs(landing) == []


def test_few_new_rows_are_left_to_be_searched(landing: Landing) -> None:
    landing.events("a.ndjson", event("m1"))
    landing.load()
    assert not (landing.root.parent / "warehouse.keys").exists()


def test_keys_of_another_version_make_all_runs_anew(landing: Landing) -> None:
    landing.run_rows = RUN_ROWS
    landing.events("a.ndjson", *(event(f"m{i}") for i in range(6)))
    landing.load()
    before = set(_runs(landing))
    landing.connection.execute("update raw.events set message_key = xor(message_key, 1::ubigint)")
    landing.events("b.ndjson", event("m1"), event("m2"), event("new"))
    outcome = landing.load_one()
    assert (outcome.loaded, outcome.duplicate) == (1, 2)
    assert not before & set(_runs(landing))


def test_many_keys_are_asked_of_the_whole_column(landing: Landing) -> None:
    landing.run_rows = RUN_ROWS
    landing.events("a.ndjson", *(event(f"m{i}") for i in range(6)))
    landing.load()
    index = KeyIndex(landing.connection, run_rows=RUN_ROWS, worth_rows=1, few_lookups=1)
    stored = landing.values("select message_key from raw.events")
    assert sorted(_found(index, [*stored, 1])) == sorted(stored)  # type: ignore[list-item, type-var]


def test_a_disk_that_is_full_keeps_nothing_from_being_loaded(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    landing.run_rows = RUN_ROWS
    landing.events("a.ndjson", *(event(f"m{i}") for i in range(6)))
    landing.load()
    before = sorted((landing.root.parent / "warehouse.keys").iterdir())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        landing.events("b.ndjson", event("m1"), event("new"))
        outcome = landing.load_one()
    assert (outcome.loaded, outcome.duplicate) == (1, 1)
    assert sorted((landing.root.parent / "warehouse.keys").iterdir()) == before
    landing.events("c.ndjson", event("new"), event("newer"))
    assert landing.load_one().loaded == 1
    assert sum(path.stat().st_size for path in _runs(landing)) == 8 * 8


def test_what_killed_loads_left_behind_goes(landing: Landing) -> None:
    landing.run_rows = RUN_ROWS
    landing.events("a.ndjson", *(event(f"m{i}") for i in range(6)))
    landing.load()
    leftover = landing.root.parent / "warehouse.keys" / "leftover"
    leftover.write_bytes(b"half")
    KeyIndex(landing.connection, run_rows=RUN_ROWS, worth_rows=100)
    assert not leftover.exists()
