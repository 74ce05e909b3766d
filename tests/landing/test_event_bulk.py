"""Parquet files that are loaded whole: the same table as row by row, whatever is wrong with some of the rows."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from landing_folder import Landing
from pyarrow import parquet

from dagster_project.core.source_rules import EventMapping
from dagster_project.landing.event_bulk import BulkFiles, unfit
from dagster_project.landing.event_fields import parquet_source
from dagster_project.landing.event_sql import EVENT_VALUES
from dagster_project.warehouse import Warehouse

Row = Mapping[str, object]
START = datetime(2026, 6, 1, 10)
COLUMNS = pa.schema(
    {
        **dict.fromkeys(("message_id", "type", "event", "user_id", "anonymous_id", "session_id"), pa.string()),
        **dict.fromkeys(("timestamp", "received_at"), pa.timestamp("us")),
        **dict.fromkeys(("properties", "context"), pa.string()),
    }
)

clean_rows = st.fixed_dictionaries(
    {
        "message_id": st.integers(0, 30).map("m{}".format),
        "type": st.sampled_from(["track", "page", "identify"]),
        "event": st.sampled_from(["Report Created", "", None]),
        "user_id": st.sampled_from(["u1", "u2"]),
        "anonymous_id": st.sampled_from(["a1", None]),
        "session_id": st.sampled_from(["s1", None, ""]),
        "timestamp": st.integers(0, 99).map(lambda hours: START + timedelta(hours=hours)),
        "received_at": st.sampled_from([None, START, START + timedelta(days=9)]),
        "properties": st.sampled_from([None, '{"feature": "export", "status":"x "}', "null", '{"n":1}']),
        "context": st.sampled_from([None, '{"groupId":" g1 "}']),
    }
)
dirty_rows = st.tuples(
    clean_rows,
    st.sampled_from(
        [
            {"message_id": " m1"}, {"message_id": None}, {"type": "Track"}, {"type": "alias"}, {"type": "paid"},
            {"user_id": "u1\t"}, {"user_id": None, "anonymous_id": None}, {"timestamp": None}, {"properties": "[1]"},
            {"context": "{"}, {"event": "\u00a0"}, {"user_id": "u\0001"}, {"context": '{"groupId": "g\\u0000"}'},
        ]
    ),
).map(lambda both: {**both[0], **both[1]})  # fmt: skip


def _write(landing: Landing, name: str, rows: Sequence[Row]) -> Path:
    path = landing.put(f"events/{name}.parquet", "")
    parquet.write_table(pa.Table.from_pylist(list(rows), COLUMNS), path)
    return path


def _write_lines(landing: Landing, name: str, rows: Sequence[Row]) -> None:
    landing.put(f"events/{name}.ndjson", "".join(json.dumps(row, default=datetime.isoformat) + "\n" for row in rows))


@contextmanager
def _landing() -> Iterator[Landing]:
    with tempfile.TemporaryDirectory() as folder, Warehouse(Path(folder, "warehouse.duckdb")).connect() as connection:
        yield Landing(Path(folder, "landing"), connection)


def _outcome(landing: Landing) -> list[object]:
    return [
        landing.stored(EVENT_VALUES),
        # Which of two files a row counts for depends on which of them is written first.
        landing.rows("select file_id, rows_in, quarantined from raw.files order by path"),
        landing.rows("select sum(loaded), sum(duplicate) from raw.files"),
        landing.rows("select row_number, reason from raw.quarantine order by file, row_number, reason"),
        landing.rows("select distinct user_id, anonymous_id, day from raw.touched order by all"),
        landing.values("select bool_and(message_key = hash(message_id)) from raw.events"),
        landing.law_holds(),
    ]


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(
    st.lists(st.lists(st.one_of(clean_rows, clean_rows, clean_rows, dirty_rows), min_size=1, max_size=8), max_size=4),
    st.lists(clean_rows, min_size=1, max_size=20, unique_by=lambda row: row["message_id"]),
)
def test_parquet_and_lines_give_the_same_table(files: list[list[Row]], more: list[Row]) -> None:
    with _landing() as whole, _landing() as by_line:
        for landing, write in ((whole, _write), (by_line, _write_lines)):
            for number, rows in enumerate(files):
                write(landing, str(number), rows)
            landing.load()
            write(landing, "more", more)
            landing.load()
        assert _outcome(whole) == _outcome(by_line)


def _row(message_id: str = "m1", **said: object) -> Row:
    base = {"message_id": message_id, "type": "track", "event": "Report Created", "user_id": "u1", "timestamp": START}
    return {**base, **said}


def test_only_a_file_with_a_row_that_needs_a_look_is_read_row_by_row(landing: Landing) -> None:
    paths = {
        7: _write(landing, "clean", [_row(f"m{i}", properties='{"a": 1}') for i in range(1000)]),
        8: _write(landing, "dirty", [_row("m1"), _row("m2", user_id="u1 ")]),
    }
    source = parquet_source(landing.connection, paths[7], EventMapping(files="*"))
    assert unfit(landing.connection, BulkFiles(paths, source)) == {8}


def test_two_ids_with_one_key_are_two_events(landing: Landing) -> None:
    _write(landing, "a", [_row("m0")])
    landing.load()
    _write(landing, "b", [_row("m1")])
    landing.load()
    landing.connection.execute("update raw.events set message_key = hash('m2') where message_id = 'm1'")
    _write(landing, "c", [_row("m2"), _row("m3")])
    assert landing.load_one().loaded == 2
    assert landing.stored(["message_id"]) == [("m0",), ("m1",), ("m2",), ("m3",)]


def test_keys_of_another_version_are_computed_anew(landing: Landing) -> None:
    _write(landing, "a", [_row("m1"), _row("m2")])
    landing.load()
    landing.connection.execute("update raw.events set message_key = null")
    _write(landing, "b", [_row("m2"), _row("m3")])
    outcome = landing.load_one()
    assert (outcome.loaded, outcome.duplicate) == (1, 1)


def test_late_events_are_written_day_by_day_after_the_day_of_their_file(landing: Landing) -> None:
    late = [_row(f"late{i}", timestamp=START - timedelta(days=1 + i % 3)) for i in range(30)]
    today = [_row(f"m{i}", timestamp=START + timedelta(minutes=i)) for i in range(300)]
    _write(landing, "a", [row for i, row in enumerate(today) for row in (row, *late[i : i + 1])])
    landing.load()
    days = [day.day for day in landing.values("select timestamp::date from raw.events order by rowid")]
    assert days == [1] * 300 + [29] * 10 + [30] * 10 + [31] * 10


def test_a_file_of_many_days_is_written_day_by_day(landing: Landing) -> None:
    _write(landing, "a", [_row(f"m{i}", timestamp=START + timedelta(days=i % 5)) for i in range(50)])
    landing.load()
    days = landing.values("select timestamp::date from raw.events order by rowid")
    assert days == sorted(days)
