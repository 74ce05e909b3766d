"""Which event files are read, when, and what becomes of those that can't be."""

import gzip
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from landing_folder import Landing, event, opening_all_but, rules
from pyarrow import parquet

from dagster_project.core.source_rules import EventMapping
from dagster_project.landing import event_group, event_reading
from dagster_project.landing.discovery import LandedFile, event_files
from dagster_project.landing.small_files import SmallFiles

CSV = "message_id,type,user_id,timestamp\n"


def _parquet(path: Path, query: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"copy ({query}) to '{path}' (format parquet)")
    return path


def test_every_format_and_compression_is_read(landing: Landing) -> None:
    line = json.dumps(event("ndjson")) + "\n"
    landing.put("events/a.ndjson", line)
    landing.put("events/b.jsonl", line.replace("ndjson", "jsonl"))
    landing.put("events/c.ndjson.gz", gzip.compress(line.replace("ndjson", "gz").encode()))
    landing.put("events/d.jsonl.zst", pa.compress(line.replace("ndjson", "zst").encode(), "zstd", asbytes=True))
    landing.put("events/deep/er/e.csv", CSV + "csv,track,u1,2026-06-01T10:00:00Z\n")
    landing.put("events/f.csv.gz", gzip.compress((CSV + "csvgz,track,u1,2026-06-01T10:00:00Z\n").encode()))
    _parquet(
        landing.root / "events/g.parquet",
        "select 'parquet' as messageId, 'track' as type, 'u1' as userId, "
        "timestamptz '2026-06-01 12:00:00+02' as timestamp",
    )
    shutil.copy(landing.root / "events/g.parquet", landing.root / "events/h.parquet.zst")  # what is in it is compressed
    landing.put("events/i.json", line.replace("ndjson", "json"))
    landing.put("events/segment-logs/j.gz", gzip.compress(line.replace("ndjson", "bare").encode()))
    landing.put("events/k.1432251000.a1b2.gz", gzip.compress(line.replace("ndjson", "numbered").encode()))
    assert [file.status for file in landing.load().files].count("redelivered") == 1
    assert landing.rows("select count(*) from raw.events") == [(10,)]
    assert landing.values("select distinct timestamp from raw.events") == [datetime(2026, 6, 1, 10)]
    assert set(landing.values("select message_id from raw.events")) == {
        "ndjson", "jsonl", "gz", "zst", "csv", "csvgz", "parquet", "json", "bare", "numbered",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        ".a.ndjson",
        "_a.ndjson",
        "a.ndjson.tmp",
        "a.ndjson.part",
        "a.crdownload",
        "a.txt",
        "_t/a.ndjson",
        ".h/a.ndjson",
    ],
)
def test_unfinished_and_foreign_files_are_left_alone(landing: Landing, name: str) -> None:
    landing.events(name, event())
    assert landing.load().files == ()


@pytest.mark.parametrize("name", ["a{0}", "a{x}", "{{x}}", "{", "%41", "a;b"])
def test_names_that_look_like_patterns_are_names(landing: Landing, name: str) -> None:
    landing.events(f"{name}.ndjson", event("m1"))
    path = landing.put(f"events/{name}.parquet", "")
    parquet.write_table(pa.Table.from_pylist([event("m2")]), path)
    assert landing.load().loaded == 2


def test_names_that_look_like_globs_are_names(landing: Landing) -> None:
    landing.events("a[1].ndjson", event("m1"))
    landing.events("a1.ndjson", event("m2"))
    landing.events("dt=2026-06-01/it's.ndjson", event("m3"))
    assert landing.load().loaded == 3


def test_a_file_that_was_loaded_is_not_looked_at_again(landing: Landing) -> None:
    landing.events("a.ndjson", event())
    assert landing.load_one().status == "loaded"
    assert landing.load().files == ()


def test_the_same_content_elsewhere_is_not_read(landing: Landing) -> None:
    landing.events("a.ndjson", event())
    landing.load()
    landing.events("b.ndjson", event())
    outcome = landing.load_one()
    assert (outcome.status, outcome.rows_in) == ("redelivered", 0)
    assert landing.load().files == ()


def test_twins_that_arrive_together_are_read_once(landing: Landing) -> None:
    landing.events("a.ndjson", event())
    landing.events("b.ndjson", event())
    assert [file.status for file in landing.load().files] == ["loaded", "redelivered"]


def test_a_file_that_grew_is_read_again_and_its_old_rows_are_duplicates(landing: Landing) -> None:
    landing.events("a.ndjson", event("m1"))
    landing.load()
    landing.events("a.ndjson", event("m1"), event("m2"))
    outcome = landing.load_one()
    assert (outcome.rows_in, outcome.loaded, outcome.duplicate) == (2, 1, 1)
    assert landing.law_holds()


def test_a_bad_row_of_a_file_that_grows_is_quarantined_once(landing: Landing) -> None:
    broken = event("m1", timestamp="yesterday")
    for rows in (1, 2, 3):
        landing.events("a.ndjson", *[event(f"m{number}") for number in range(2, 2 + rows)], broken)
        assert landing.load_one().quarantined == 1
        landing.events("a.ndjson", broken, *[event(f"m{number}") for number in range(2, 2 + rows)])
        assert landing.load_one().quarantined == 1
    assert [row[0] for row in landing.quarantine()] == [1, 2, 3, 4], "each place at which it stood"
    assert landing.law_holds()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ndjson", ""),
        ("a.csv", ""),
        ("a.parquet", ""),
        ("a.csv", CSV),
        ("a.ndjson", "\n  \n"),
        ("a.ndjson.gz", ""),
    ],
)
def test_a_file_without_rows_is_empty(landing: Landing, name: str, content: str) -> None:
    landing.put(f"events/{name}", content)
    outcome = landing.load_one()
    assert (outcome.status, outcome.rows_in) == ("empty", 0)


def test_damaged_files_keep_no_other_from_being_loaded(landing: Landing) -> None:
    good = json.dumps(event()) + "\n"
    whole = _parquet(landing.root / "whole.parquet", "select 'x' as type, 1 as timestamp from range(5000)").read_bytes()
    packed = gzip.compress(os.urandom(20_000))
    landing.put("events/a.parquet", whole[: len(whole) // 2])
    landing.put("events/b.parquet", b"PAR1 not really")
    landing.put("events/c.ndjson.gz", packed[: len(packed) // 2])
    landing.put("events/d.ndjson.zst", b"neither")
    landing.put("events/e.ndjson", good)
    report = landing.load()
    assert [file.status for file in report.files] == ["unreadable"] * 4 + ["loaded"]
    assert (report.rows_in, report.loaded, report.quarantined) == (5, 1, 4)
    assert len(landing.quarantine()) == 4
    assert all(number is None and reason for number, _, reason in landing.quarantine())
    assert str(landing.root) not in str(landing.quarantine()), "it is the same wherever the data lie"
    assert landing.law_holds()
    assert landing.load().files == ()


def test_a_page_that_is_damaged_deep_in_a_large_parquet_file_leaves_no_row(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_group, "SLICE_ROWS", 1)
    path = _parquet(
        landing.root / "events/a.parquet",
        "select uuid()::varchar as message_id, 'track' as type, 'u1' as user_id, now() as timestamp from range(300000)",
    )
    content = bytearray(path.read_bytes())
    middle = len(content) * 9 // 10
    content[middle : middle + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    landing.events("b.ndjson", event())
    assert [file.status for file in landing.load().files] == ["unreadable", "loaded"]
    assert landing.stored(["message_id"]) == [("m1",)]
    assert landing.law_holds()


def test_what_stands_in_a_broken_row_is_not_taken_for_what_is_wrong(landing: Landing) -> None:
    """In a file of a size that DuckDB reads: its errors quote the row."""
    rows = [f"m{number},track,Report Created,u1,2026-06-01T10:00:00Z" for number in range(15_000)]
    rows[9_000] = 'm9000,track,"INTERRUPT Error: "x" of it,u1,2026-06-01T10:00:00Z'
    rows[9_001] = "m9001,track,No space left,u1,2026-06-01T10:00:00Z,too,many"
    landing.put("events/big.csv", "\n".join(["message_id,type,event,user_id,timestamp", *rows]))
    landing.events("good.ndjson", event("m"))
    assert [(file.status, file.loaded, file.quarantined) for file in landing.load().files] == [
        ("loaded", 14_998, 2),
        ("loaded", 1, 0),
    ]


def test_a_missing_column_refuses_the_file_and_names_the_way_out(landing: Landing) -> None:
    landing.put("events/a.csv", "kind,who\ntrack,u1\n")
    outcome = landing.load_one()
    assert outcome.status == "unreadable"
    for word in ("type", "timestamp", "user_id", "kind", "who", "sources.yml"):
        assert word in (outcome.detail or "")


def test_a_refused_file_is_read_once_the_playbook_knows_its_columns(landing: Landing) -> None:
    landing.put("events/a.csv", "kind,who,at\ntrack,u1,2026-06-01\n")
    landing.load()
    assert landing.load().files == ()
    landing.rules = rules(EventMapping(files="*.csv", columns={"type": "kind", "user_id": "who", "timestamp": "at"}))
    assert landing.load_one().loaded == 1
    assert landing.law_holds()


def test_a_young_file_is_waited_for(landing: Landing) -> None:
    landing.rules = rules(settle_seconds=0.2)
    landing.events("a.ndjson", event())
    started = time.monotonic()
    assert landing.load_one().status == "loaded"
    assert time.monotonic() - started >= 0.15


def test_a_file_that_is_still_being_written_waits_for_the_next_run(landing: Landing) -> None:
    landing.rules = rules(settle_seconds=0.4)
    path = landing.events("a.ndjson", event("m1"))
    writer = threading.Timer(0.1, lambda: path.write_text(path.read_text() + json.dumps(event("m2")) + "\n"))
    writer.start()
    assert landing.load_one().status == "waiting"
    writer.join()
    assert landing.stored(["message_id"]) == []
    landing.rules = rules()
    assert landing.load_one().loaded == 2


def test_a_file_that_changes_while_it_is_read_leaves_no_row(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    path = landing.events("a.ndjson", event("m1"))
    landing.events("b.ndjson", event("m2"))
    read = event_group.event_batches

    def read_and_meddle(*args: object, **kwargs: object) -> object:
        yield from read(*args, **kwargs)  # type: ignore[arg-type]
        path.write_text(json.dumps(event("m1")) + "\n" + json.dumps(event("m3")) + "\n")

    monkeypatch.setattr(event_reading, "SMALL_TEXT", 0)
    monkeypatch.setattr(event_group, "SLICE_ROWS", 1)
    monkeypatch.setattr(event_group, "event_batches", read_and_meddle)
    assert {file.path: file.status for file in landing.load().files} == {
        "events/a.ndjson": "waiting", "events/b.ndjson": "loaded",
    }  # fmt: skip
    assert landing.stored(["message_id"]) == [("m2",)]
    monkeypatch.undo()
    assert landing.load_one().loaded == 2
    assert landing.law_holds()


def test_a_file_that_can_not_be_opened_is_tried_again_until_it_can(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = landing.events("a.ndjson", event("m1"))
    landing.events("b.ndjson", event("m2"))
    with monkeypatch.context() as closed:
        closed.setattr(Path, "open", opening_all_but(path))
        assert [file.status for file in landing.load().files] == ["unreadable", "loaded"]
        again = landing.load_one()
    assert (again.status, again.detail) == ("unreadable", "the file can't be opened: Permission denied")
    assert landing.quarantine() == [(None, None, again.detail)], "it is said once"
    assert landing.law_holds()
    assert landing.load_one().loaded == 1
    assert landing.load().files == ()
    assert landing.law_holds()


def test_a_folder_that_we_may_not_look_into_is_told_of_until_we_may(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing.events("ours/a.ndjson", event("m1"))
    secret = landing.events("secret/b.ndjson", event("m2")).parent
    landing.events("lost+found/c.ndjson", event("m3"))
    look = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name in ("secret", "lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    with monkeypatch.context() as closed:
        closed.setattr(os, "scandir", refuse)
        for expected in (["unreadable", "loaded"], ["unreadable"]):
            assert [file.status for file in landing.load().files] == expected
    told = [(None, None, "the file can't be opened: we may not look into this folder")]
    assert landing.quarantine() == told, "it is said once, and a volume's own folder is nobody's business"
    assert landing.law_holds()
    secret.chmod(0o755)
    assert [file.loaded for file in landing.load().files] == [1, 1]
    assert landing.law_holds()


def test_a_small_file_that_can_not_be_opened_a_second_time_is_tried_again(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = landing.events("a.ndjson", event("m1"))
    landing.events("b.ndjson", event("m2"))
    add = SmallFiles.add

    def add_without_rights(self: SmallFiles, file: LandedFile, *args: Any) -> None:
        with monkeypatch.context() as closed:
            closed.setattr(Path, "open", opening_all_but(path))
            add(self, file, *args)

    with monkeypatch.context() as adding:
        adding.setattr(SmallFiles, "add", add_without_rights)
        assert [file.status for file in landing.load().files] == ["unreadable", "loaded"]
    assert landing.load_one().loaded == 1
    assert landing.law_holds()


def test_a_file_that_is_written_to_after_somebody_saw_it_completed_is_left_for_later(landing: Landing) -> None:
    landing.rules = rules(settle_seconds=3600)
    landing.events("a.ndjson", event("m1"))
    landing.events("b.ndjson", event("m2"))
    seen = [file.version for file in event_files(landing.root)]
    landing.put("events/a.ndjson", json.dumps(event("m3"))[:50])
    statuses = {file.path: file.status for file in landing.load(complete=seen).files}
    assert statuses == {"events/a.ndjson": "waiting", "events/b.ndjson": "loaded"}
    assert landing.quarantine() == []
    landing.events("a.ndjson", event("m3"))
    [outcome] = landing.load(complete=[file.version for file in event_files(landing.root)]).files
    assert (outcome.path, outcome.loaded) == ("events/a.ndjson", 1)


def test_a_file_that_somebody_saw_completed_is_read_even_if_its_time_lies_in_the_future(landing: Landing) -> None:
    landing.rules = rules(settle_seconds=2)
    landing.events("a.ndjson", event("m1"), at=datetime(2999, 1, 1))
    [seen] = event_files(landing.root)
    assert landing.load(complete=[]).files == ()
    assert [file.status for file in landing.load(complete=[seen.version]).files] == ["loaded"]


def test_where_somebody_names_files_others_wait_and_what_is_to_be_tried_again_does_not(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mapping(form: str) -> EventMapping:
        return EventMapping(files="a.csv", timestamp_format=form)

    landing.rules = rules(mapping("%m/%d/%Y"))
    landing.put("events/a.csv", CSV + "m1,page,u1,31/12/2025\n")
    closed_path = landing.events("b.ndjson", event("m2"))
    with monkeypatch.context() as closed:
        closed.setattr(Path, "open", opening_all_but(closed_path))
        assert [file.status for file in landing.load().files] == ["unreadable", "loaded"]
    landing.events("c.ndjson", event("m3"))
    named = landing.events("d.ndjson", event("m4"))
    [version] = [file.version for file in event_files(landing.root) if file.path == named]
    landing.rules = rules(mapping("%d/%m/%Y"))
    loaded = landing.load(complete=[version]).files
    assert {file.path: file.loaded for file in loaded} == {
        "events/a.csv": 1,
        "events/b.ndjson": 1,
        "events/d.ndjson": 1,
    }
    assert landing.load(complete=[version]).files == ()
    assert [file.path for file in landing.load().files] == ["events/c.ndjson"]
    assert landing.law_holds()


@pytest.mark.parametrize("meddle", [lambda path: path.write_text("{}\n"), lambda path: path.unlink()])
def test_a_small_file_that_changes_or_goes_while_it_is_read_leaves_no_row(
    landing: Landing, monkeypatch: pytest.MonkeyPatch, meddle: Callable[[Path], object]
) -> None:
    path = landing.events("a.ndjson", event("m1"))
    landing.events("b.ndjson", event("m2"))
    add = SmallFiles.add

    def add_and_meddle(self: SmallFiles, file: LandedFile, *args: Any) -> None:
        if file.path == path:
            meddle(path)
        add(self, file, *args)

    monkeypatch.setattr(SmallFiles, "add", add_and_meddle)
    monkeypatch.setattr(event_group, "SLICE_BYTES", 1)
    assert {file.path: file.status for file in landing.load().files} == {
        "events/a.ndjson": "waiting", "events/b.ndjson": "loaded",
    }  # fmt: skip
    assert landing.stored(["message_id"]) == [("m2",)]
    assert landing.law_holds()


def test_small_files_that_are_read_together_keep_their_own_rows(landing: Landing) -> None:
    good = json.dumps(event("m1")) + "\n"
    landing.put("events/a.ndjson", good + "no json\n" + '{"type": "tra')
    landing.put("events/b.ndjson", good.replace("m1", "m2"))
    landing.put("events/c.csv", CSV + "m3,track,u1,2026-06-01\nm4,track,u1\n")
    landing.put("events/d.csv", CSV + "m5,track,u1,2026-06-01\n")
    landing.put("events/e.csv", "type;user_id;timestamp;message_id\ntrack;u1;never;m6\n")
    assert [(file.path[-8:], file.loaded, file.quarantined) for file in landing.load().files] == [
        ("a.ndjson", 1, 2), ("b.ndjson", 1, 0), ("ts/c.csv", 1, 1), ("ts/d.csv", 1, 0), ("ts/e.csv", 0, 1),
    ]  # fmt: skip
    assert landing.rows("select file, row_number, raw, left(reason, 24) from raw.quarantine order by all") == [
        ("events/a.ndjson", 2, "no json", "the line is not valid JS"),
        ("events/a.ndjson", 3, '{"type": "tra', "the last line is cut off"),
        ("events/c.csv", 2, "m4,track,u1", "the row has 3 fields, th"),
        ("events/e.csv", 1, "track;u1;never;m6", "timestamp is no date and"),
    ]
    assert landing.rows("select message_id, files.path from raw.events join raw.files using (file_id) order by 1") == [
        ("m1", "events/a.ndjson"), ("m2", "events/b.ndjson"), ("m3", "events/c.csv"), ("m5", "events/d.csv"),
    ]  # fmt: skip
    assert landing.law_holds()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PAR1....", "a Parquet file"),
        (gzip.compress(b"{}", mtime=0), "a gzip archive"),
        (b"PK\x03\x04...", "a zip archive or a spreadsheet"),
        ("type,timestamp\n".encode("utf-16"), "UTF-16 text"),
    ],
)
@pytest.mark.parametrize("name", ["a.ndjson", "a.csv"])
def test_a_file_that_is_not_what_its_name_says_is_unreadable(
    landing: Landing, name: str, content: bytes, what: str
) -> None:
    landing.put(f"events/{name}", content)
    outcome = landing.load_one()
    assert (outcome.status, outcome.quarantined) == ("unreadable", 1)
    assert outcome.detail == f"this is {what}, expected {Path(name).suffix} text in UTF-8"


def test_a_name_that_is_no_utf8_is_read_and_escaped(landing: Landing) -> None:
    path = landing.events("a.ndjson", event())
    try:
        path.rename(os.fsdecode(os.fsencode(path.parent) + b"/\xff.ndjson"))
    except OSError:
        pytest.skip("this file system has no such names")
    assert landing.load_one().path == "events/\\udcff.ndjson"
    assert landing.values("select path from raw.files") == ["events/\\udcff.ndjson"]
    assert landing.load().files == ()


def test_links_to_files_are_followed_and_links_to_folders_are_not(landing: Landing) -> None:
    elsewhere = landing.events("../../elsewhere/a.ndjson", event("m1"))
    (landing.root / "events/link.ndjson").symlink_to(elsewhere)
    (landing.root / "events/gone.ndjson").symlink_to(elsewhere.parent / "gone.ndjson")
    (landing.root / "events/folder").symlink_to(elsewhere.parent)
    assert landing.load_one().path == "events/link.ndjson"


def test_a_mapped_column_that_is_not_there_refuses_the_file(landing: Landing) -> None:
    landing.rules = rules(EventMapping(files="*", columns={"event": "action", "user_id": "who"}))
    landing.put("events/a.csv", "type,timestamp,who,aktion\ntrack,2026-06-01,u1,Paid\n")
    outcome = landing.load_one()
    assert outcome.status == "unreadable"
    assert (outcome.detail or "").startswith("no column action, mapped to event; found type, timestamp, who, aktion")


def test_refused_rows_are_read_again_once_the_mapping_has_changed(landing: Landing) -> None:
    def mapping(form: str) -> EventMapping:
        return EventMapping(files="**", timestamp_format=form)

    landing.put("events/a.csv", CSV + "m1,track,u1,01/06/2026\nm2,track,u1,30/06/2026\n")
    landing.rules = rules(mapping("%m/%d/%Y"))
    assert landing.load_one().quarantined == 1
    assert landing.load().files == ()
    landing.rules = rules(mapping("%d/%m/%Y"))
    outcome = landing.load_one()
    assert (outcome.rows_in, outcome.loaded, outcome.duplicate) == (2, 1, 1)
    assert landing.load().files == ()
    assert landing.law_holds()


def test_a_refused_file_is_read_when_it_moves_to_where_a_mapping_holds(landing: Landing) -> None:
    landing.rules = rules(EventMapping(files="web/*", columns={"type": "kind"}))
    path = landing.put("events/a.ndjson", '{"kind": "page", "user_id": "u1", "timestamp": "2026-06-01"}\n')
    assert landing.load_one().quarantined == 1
    (path.parent / "web").mkdir()
    path.rename(path.parent / "web/a.ndjson")
    assert landing.load_one().loaded == 1
    assert landing.load().files == ()


def test_what_was_read_whole_is_not_read_again_when_the_mapping_changes(landing: Landing) -> None:
    landing.events("a.ndjson", event())
    landing.load()
    landing.rules = rules(EventMapping(files="*", properties={"plan": "tier"}))
    assert landing.load().files == ()


def test_wide_rows_are_read_and_keep_no_other_file_waiting(landing: Landing) -> None:
    wide = b"".join(
        json.dumps(event(f"wide-{number}", properties={"report": f"{number:03}" * 33_000})).encode() + b"\n"
        for number in range(300)
    )
    landing.put("events/wide.ndjson", wide)
    landing.events("narrow.ndjson", event("narrow"))
    [limit] = landing.values("select current_setting('memory_limit')")
    report = landing.load()
    assert {(file.path, file.status, file.loaded) for file in report.files} == {
        ("events/wide.ndjson", "loaded", 300), ("events/narrow.ndjson", "loaded", 1),
    }  # fmt: skip
    [shortest] = landing.values("select min(length(properties)) from raw.events where message_id like 'wide%'")
    assert int(str(shortest)) > 99_000
    [after] = landing.values("select current_setting('memory_limit')")
    assert str(after)[:3] == str(limit)[:3], "it is written with a rounded fraction"


def test_a_file_from_the_future_is_waited_for_no_longer_than_others(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing.rules = rules(settle_seconds=2)
    landing.events("a.ndjson", event("m1"), at=datetime(2999, 1, 1))
    waited: list[float] = []
    monkeypatch.setattr("dagster_project.landing.discovery.time.sleep", waited.append)
    assert [file.status for file in landing.load().files] == ["loaded"]
    assert waited == [2.0]


def test_a_table_wider_than_any_keeps_no_other_file_waiting(landing: Landing) -> None:
    landing.put("events/wide.csv", CSV.strip() + ",".join(f"c{n}" for n in range(1_000)) + "\n")
    landing.events("a.ndjson", event("m1"))
    outcomes = {file.path: (file.status, file.detail) for file in landing.load().files}
    assert outcomes["events/a.ndjson"] == ("loaded", None)
    assert outcomes["events/wide.csv"] == ("unreadable", "the header has 1,003 columns; expected 1,000 at most")


def test_an_archive_for_which_the_disk_has_no_room_keeps_no_other_file_waiting(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(json.dumps(event(f"m{n}")) + "\n" for n in range(100))
    landing.put("events/a.ndjson.gz", gzip.compress(rows.encode()))
    landing.events("b.ndjson", event("other"))
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000))
        outcomes = {file.path: (file.status, file.detail) for file in landing.load().files}
        assert outcomes == {
            "events/a.ndjson.gz": (
                "unreadable",
                "the file can't be opened: it unpacks to more than the disk has room for",
            ),
            "events/b.ndjson": ("loaded", None),
        }
    assert landing.load_one().loaded == 100, "there is room again"
