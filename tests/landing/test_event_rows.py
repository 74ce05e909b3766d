"""What an event row may look like, and why the others end in quarantine."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

import duckdb
import pyarrow as pa
import pytest
from landing_folder import Landing, event, rules
from pyarrow import csv, parquet

from dagster_project.core.source_rules import EventMapping
from dagster_project.landing import event_reading
from dagster_project.landing.domains import update_email_domains

IDS = ["type", "user_id", "anonymous_id", "group_id", "session_id"]


@pytest.fixture(params=["small", "large"], autouse=True)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are split by Python and large ones by DuckDB; what is in them must not depend on it."""
    if request.param == "large":
        monkeypatch.setattr(event_reading, "SMALL_TEXT", 0)


def _one(landing: Landing, column: str) -> object:
    [value] = landing.values(f"select {column} from raw.events")
    return value


def test_segments_own_spelling_is_understood(landing: Landing) -> None:
    row = {
        "messageId": "m", "type": "Track", "userId": "u", "anonymousId": "a", "groupId": "g",
        "sessionId": "s", "timestamp": "2026-06-01T10:00:00.123456Z", "receivedAt": "2026-06-01T12:00:00+02:00",
    }  # fmt: skip
    landing.events("a.ndjson", row)
    landing.load()
    assert landing.stored(["message_id", *IDS]) == [("m", "track", "u", "a", "g", "s")]
    assert _one(landing, "timestamp") == datetime(2026, 6, 1, 10, 0, 0, 123456)
    assert _one(landing, "received_at") == datetime(2026, 6, 1, 10)


def test_an_id_that_was_written_as_a_number_is_the_same_in_every_kind_of_file(landing: Landing) -> None:
    """Whoever writes whole numbers of which some are missing writes 17.0."""
    for name, said in (("a", 17), ("b", 17.0), ("c", "17")):
        landing.events(f"{name}.ndjson", event(user_id=None, userId=said, group_id=said, message_id=name))
    landing.events("d.ndjson", event(user_id="17.0", message_id="d"))
    table = pa.table({"type": ["track"], "user_id": [17.0], "timestamp": ["2026-06-01T10:00:00Z"], "message_id": ["e"]})
    parquet.write_table(table, landing.put("events/e.parquet", b""))
    landing.load()
    stored = landing.stored(["message_id", "user_id", "group_id"])
    assert sorted(stored) == [
        ("a", "17", "17"),
        ("b", "17", "17"),
        ("c", "17", "17"),
        ("d", "17.0", None),
        ("e", "17", None),
    ]


@pytest.mark.parametrize("context", [{"groupId": "g"}, {"group_id": " g "}, '{"groupId": "g"}'])
def test_the_group_may_stand_in_the_context(landing: Landing, context: object) -> None:
    landing.events("a.ndjson", event(user_id=None, context=context))
    landing.load()
    assert _one(landing, "group_id") == "g"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-06-01T10:00:00Z", datetime(2026, 6, 1, 10)),
        ("2026-06-01T10:00:00.5z", datetime(2026, 6, 1, 10, 0, 0, 500000)),
        ("2026-06-01T10:00:00,123456789Z", datetime(2026, 6, 1, 10, 0, 0, 123456)),
        ("2026-06-01 10:00", datetime(2026, 6, 1, 10)),
        ("2026-06-01", datetime(2026, 6, 1)),
        ("2026-06-01T10:00:00+02:00", datetime(2026, 6, 1, 8)),
        ("2026-06-01 10:00:00 -0330", datetime(2026, 6, 1, 13, 30)),
        ("2026-06-01T10:00:00+02", datetime(2026, 6, 1, 8)),
        ("20260601T100000Z", datetime(2026, 6, 1, 10)),
        ("20260601T100000.25+0100", datetime(2026, 6, 1, 9, 0, 0, 250000)),
        (" 2026-06-01T10:00:00Z ", datetime(2026, 6, 1, 10)),
        ("2026-06-01 10:00:00.5 UTC", datetime(2026, 6, 1, 10, 0, 0, 500000)),
        ("1990-01-01T00:00:00Z", datetime(1990, 1, 1)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59)),
    ],
)
def test_timestamps_become_naive_utc(landing: Landing, text: str, moment: datetime) -> None:
    landing.events("a.ndjson", event(timestamp=text))
    landing.load()
    assert _one(landing, "timestamp") == moment


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"type": None}, "type is missing"),
        ({"type": "purchase"}, "type is none of"),
        ({"timestamp": None}, "timestamp is missing"),
        ({"timestamp": "yesterday"}, "timestamp is no date and time: yesterday"),
        ({"timestamp": "2026-02-30T00:00:00Z"}, "timestamp is no date and time"),
        ({"timestamp": 1780300800}, "timestamp is no date and time"),
        ({"timestamp": "infinity"}, "timestamp is no date and time"),
        ({"timestamp": "0026-06-24"}, "timestamp is before 1990, as it is read: 0026-06-24 (timestamp_format"),
        ({"timestamp": "1989-12-31T23:59:59Z"}, "timestamp is before 1990, as it is read: 1989-12-31T23:59:59Z"),
        ({"received_at": "1970-01-21"}, "received_at is no date and time: 1970-01-21"),
        ({"received_at": "soon"}, "received_at is no date and time: soon"),
        ({"user_id": None}, "none of user_id, anonymous_id, group_id is given"),
        ({"user_id": "  "}, "none of user_id, anonymous_id, group_id is given"),
        ({"user_id": "u\0001"}, "an id holds a NUL character"),
        ({"message_id": "m\000"}, "an id holds a NUL character"),
        ({"context": {"groupId": "\000"}}, "an id holds a NUL character"),
        ({"properties": "{broken"}, "properties is no JSON object"),
        ({"properties": [1]}, "properties is no JSON object"),
        ({"traits": 5}, "traits is no JSON object"),
        ({"context": "text"}, "context is no JSON object"),
    ],
)
def test_a_row_that_can_not_be_read_says_why(landing: Landing, said: dict[str, object], reason: str) -> None:
    row = {**event("bad"), **said}
    landing.events("a.ndjson", event("good"), row)
    outcome = landing.load_one()
    assert (outcome.loaded, outcome.quarantined) == (1, 1)
    [(number, raw, why)] = landing.quarantine()
    assert (number, json.loads(raw)) == (2, row)
    assert why.startswith(reason)


@pytest.mark.parametrize("nothing", ["", None, "null", "  "])
def test_empty_objects_are_nothing(landing: Landing, nothing: str | None) -> None:
    landing.put("events/a.ndjson", json.dumps({**event(), "properties": nothing, "traits": nothing}) + "\n")
    landing.load()
    assert landing.stored(["properties", "traits"]) == [(None, None)]


def test_objects_may_be_texts_with_json_in_them(landing: Landing) -> None:
    landing.events("a.ndjson", event("m1", properties={"a": [1, "ü"]}), event("m2", properties=' {"a": [1, "ü"]} '))
    landing.load()
    assert landing.stored(["properties"]) == [('{"a":[1,"ü"]}',)] * 2


def test_four_properties_are_lifted(landing: Landing) -> None:
    said = {
        "feature": " reports ",
        "integration": "slack",
        "status": "",
        "path": "/pricing",
        "feature_set": "x",
    }
    landing.events("a.ndjson", event(properties=said))
    landing.load()
    assert landing.stored(["feature", "integration", "status", "path"]) == [("reports", "slack", None, "/pricing")]


def test_an_alias_identifies(landing: Landing) -> None:
    landing.events("a.ndjson", event("m1", type="alias", previousId="anon"), event("m2", previousId="anon"))
    landing.load()
    assert landing.stored(["type", "user_id", "anonymous_id"]) == [
        ("identify", "u1", "anon"),
        ("track", "u1", None),
    ]


def test_without_a_message_id_the_content_stands_for_it(landing: Landing) -> None:
    landing.events("a.ndjson", event(None), event(None, event="Other"))
    landing.events("b.ndjson", event(None, received_at="2026-06-02T00:00:00Z", timestamp="2026-06-01T12:00:00+02:00"))
    landing.put("events/c.csv", "type,event,userId,timestamp\ntrack,Report Created,u1,2026-06-01 10:00:00\n")
    report = landing.load()
    assert (report.loaded, report.duplicate) == (2, 2)
    assert landing.values("select bool_and(len(message_id) = 32) from raw.events") == [True]


def test_broken_lines_are_set_aside_with_their_numbers(landing: Landing) -> None:
    good = json.dumps(event()).encode()
    content = b"\xef\xbb\xbf" + good + b"\r\n\n{bad json}\n[1]\n" + b'{"type": "\xff"}\n' + good[:20]
    landing.put("events/a.ndjson", content)
    outcome = landing.load_one()
    assert (outcome.rows_in, outcome.loaded, outcome.quarantined) == (5, 1, 4)
    assert [(number, raw) for number, raw, _ in landing.quarantine()] == [
        (3, "{bad json}"), (4, "[1]"), (5, '{"type": "\ufffd"}'), (6, good[:20].decode()),
    ]  # fmt: skip
    reasons = [reason for *_, reason in landing.quarantine()]
    assert "not valid JSON" in reasons[0]
    assert "no JSON object" in reasons[1]
    assert "UTF-8" in reasons[2]
    assert "still be being written" in reasons[3]


def test_a_last_line_that_is_finished_later_is_loaded_then(landing: Landing) -> None:
    line = json.dumps(event("m2"))
    landing.put("events/a.ndjson", json.dumps(event("m1")) + "\n" + line[:30])
    landing.load()
    assert "still be being written" in landing.quarantine()[0][2]
    landing.put("events/a.ndjson", json.dumps(event("m1")) + "\n" + line)
    assert landing.load_one().loaded == 1
    assert landing.law_holds()


def test_broken_csv_rows_are_set_aside_with_their_numbers(landing: Landing) -> None:
    rows = [
        b"message_id,type,user_id,timestamp,properties",
        b'm1,track,u1,2026-06-01,"{""note"": ""two\\nlines""}"',
        b"m2,track,u1",
        b"",
        b"m3,track,u\xff,2026-06-01,",
        b'm4,track,"u1,2026-06-01,',
        b'm5,track,u1,2026-06-01,"{""a"":',
        b'1}"',
        b'm6,"track"x,u1,2026-06-01,',
        b"m7,track,u1,never,",
        b"m8,track,u1,2026-06-01,,,",
        b"m9,track,u1,2026-06-01,",
    ]
    landing.put("events/a.csv", b"\n".join(rows))
    outcome = landing.load_one()
    assert landing.values("select message_id from raw.events order by 1") == ["m1", "m5", "m9"]
    assert [number for number, *_ in landing.quarantine()] == [2, 3, 4, 6, 7, 8]
    assert [raw[:2] for _, raw, _ in landing.quarantine()] == ["m2", "m3", "m4", "m6", "m7", "m8"]
    assert (outcome.rows_in, outcome.quarantined) == (9, 6)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_may_have_other_delimiters_and_quotes(landing: Landing, delimiter: str) -> None:
    cells = ["m1", "track", 'say "hi" ;,|', "u1", "2026-06-01"]
    quoted = delimiter.join('"' + cell.replace('"', '""') + '"' for cell in cells)
    landing.put(
        "events/a.csv",
        delimiter.join(["messageId", "TYPE", " Event ", "userId", "timestamp"]) + "\r\n" + quoted,
    )
    landing.load()
    assert landing.stored(["event"]) == [('say "hi" ;,|',)]


def test_a_bad_csv_row_shows_its_text(landing: Landing) -> None:
    landing.put("events/a.csv", 'type,user_id,timestamp,event\ntrack,u1,never,"a, ""b"""\n')
    landing.load()
    assert landing.quarantine()[0][:2] == (1, 'track,u1,never,"a, ""b"""')


def test_parquet_objects_may_be_structs_and_maps(landing: Landing) -> None:
    (landing.root / "events").mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute(
            "copy (select i as message_id, 'track' as type, 7 as user_id, timestamp '2026-06-01 10:00:00' "
            "as timestamp, "
            "case when i = 1 then {'feature': 'x', 'gone': null, 'n': {'deep': 1}} end as properties, "
            "map {'email': 'a@b.example'} as traits from range(1, 3) t(i)) "
            f"to '{landing.root}/events/a.parquet' (format parquet)"
        )
    landing.load()
    assert landing.stored(["message_id", "user_id", "properties", "traits", "feature"]) == [
        ("1", "7", '{"feature":"x","n":{"deep":1}}', '{"email":"a@b.example"}', "x"),
        ("2", "7", None, '{"email":"a@b.example"}', None),
    ]


def test_bad_parquet_rows_have_their_numbers(landing: Landing) -> None:
    (landing.root / "events").mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute(
            "copy (select i::varchar as message_id, 'track' as type, 'u1' as user_id, "
            "case when i = 4 then null when i = 7 then timestamp 'infinity' else now()::timestamp end as "
            "timestamp "
            f"from range(1, 10) t(i)) to '{landing.root}/events/a.parquet' (format parquet)"
        )
    outcome = landing.load_one()
    assert (outcome.loaded, outcome.quarantined) == (7, 2)
    assert [(number, reason) for number, _, reason in landing.quarantine()] == [
        (4, "timestamp is missing"), (7, "timestamp is no date and time: infinity"),
    ]  # fmt: skip


def test_foreign_files_are_read_through_the_mapping(landing: Landing) -> None:
    landing.rules = rules(
        EventMapping(
            files="billing/**/*.csv",
            columns={"user_id": "customer", "timestamp": "occurred", "event": "action"},
            constants={"type": "track"},
            timestamp_format="%d.%m.%Y %H:%M",
            properties=("plan", "seats"),
        ),
        EventMapping(
            files="*.ndjson",
            columns={"user_id": "actor.id", "timestamp": "ts", "message_id": "id"},
            constants={"type": "page"},
            timestamp_format="epoch_ms",
            properties=("path", "depth"),
        ),
    )
    landing.put("events/billing/eu/a.csv", "customer;occurred;action;plan;seats\nc1;24.12.2026 18:30;Paid;pro;\n")
    landing.put("events/a.ndjson", '{"id": 5, "actor": {"id": "c2"}, "ts": 1780300800123, "path": "/x", "depth": 3}\n')
    landing.load()
    assert landing.rows(
        "select type, event, user_id, timestamp, properties, path from raw.events order by user_id"
    ) == [
        ("track", "Paid", "c1", datetime(2026, 12, 24, 18, 30), '{"plan":"pro"}', None),
        ("page", None, "c2", datetime(2026, 6, 1, 8, 0, 0, 123000), '{"path":"/x","depth":3}', "/x"),
    ]


def test_an_empty_constant_says_nothing_whatever_the_file_says(landing: Landing) -> None:
    landing.rules = rules(EventMapping(files="*", constants={"session_id": "", "properties": "", "received_at": " "}))
    landing.events("a.ndjson", event(session_id="s", properties={"plan": "pro"}))
    landing.put("events/b.csv", "message_id,type,user_id,session_id,timestamp\nb,page,u,s,2026-06-01\n")
    landing.load()
    assert set(landing.stored(["session_id", "properties", "received_at"])) == {(None, None, None)}


def test_a_strptime_format_may_have_an_offset(landing: Landing) -> None:
    landing.rules = rules(EventMapping(files="*", timestamp_format="%d/%m/%Y %H:%M %z"))
    landing.events("a.ndjson", event(timestamp="01/06/2026 10:00 +0200", received_at=None))
    landing.load()
    assert _one(landing, "timestamp") == datetime(2026, 6, 1, 8)


def test_their_words_for_types_become_ours(landing: Landing) -> None:
    landing.rules = rules(
        EventMapping(files="some.*", types={"$Pageview": "page", "$identify": "identify"}),
        EventMapping(files="all.*", columns={"type": "event"}, types={"$pageview": "page", "*": "track"}),
    )
    landing.events("some.ndjson", event("a1", type="$pageview"), event("a2", type="Track"), event("a3", type="click"))
    landing.put(
        "events/all.csv",
        "message_id,event,user_id,timestamp\nb1,$PageView ,u,2026-06-01\nb2,click,u,2026-06-01\nb3,,u,2026-06-01\n",
    )
    landing.load()
    assert landing.stored(["message_id", "type", "event"]) == [
        ("a1", "page", "Report Created"), ("a2", "track", "Report Created"),
        ("b1", "page", "$PageView"), ("b2", "track", "click"),
    ]  # fmt: skip
    assert [reason for *_, reason in landing.quarantine()] == [
        "type is missing", "type is none of track, page, screen, identify, group, alias: click",
    ]  # fmt: skip


def test_their_columns_become_properties_and_traits_under_our_names(landing: Landing) -> None:
    landing.rules = rules(
        EventMapping(
            files="*.csv",
            constants={"type": "identify", "traits": '{"source": "users"}'},
            properties={"path": "URL Path", "seats": "seats"},
            traits={"email": "mail", "plan": "not there"},
        ),
        EventMapping(files="*.ndjson", properties={"path": "page.path"}, traits=["user.mail"]),  # type: ignore[arg-type]
    )
    landing.put(
        "events/a.csv",
        'message_id,user_id,timestamp,url path,mail,seats\na,u,2026-06-01,/x,a@b.example,""\nb,u,2026-06-01,,,\n',
    )
    landing.events(
        "c.ndjson",
        event("c", page={"path": "/y"}, user={"mail": "c@b.example"}, properties={"path": "/z"}),
        event("d", page={"path": None}, properties={"path": "/z"}),
    )
    landing.load()
    assert landing.stored(["message_id", "properties", "path", "traits"]) == [
        ("a", '{"path":"/x"}', "/x", '{"source":"users","email":"a@b.example"}'),
        ("b", "{}", None, '{"source":"users"}'),
        ("c", '{"path":"/y"}', "/y", '{"user.mail":"c@b.example"}'),
        ("d", '{"path":"/z"}', "/z", "{}"),
    ]


@pytest.mark.parametrize(
    ("form", "text", "moment"),
    [
        ("epoch_s", 1780300800.25, datetime(2026, 6, 1, 8, 0, 0, 250000)),
        ("epoch_us", "1780300800123456", datetime(2026, 6, 1, 8, 0, 0, 123456)),
        ("epoch_ns", 1780300800123456400, datetime(2026, 6, 1, 8, 0, 0, 123456)),
        ("%Y-%m-%d %I:%M %p", "2026-06-01 08:00 PM", datetime(2026, 6, 1, 20)),
    ],
)
def test_timestamps_may_have_a_format(landing: Landing, form: str, text: object, moment: datetime) -> None:
    landing.rules = rules(EventMapping(files="*", timestamp_format=form))
    landing.events("a.ndjson", event(timestamp=text, received_at=None))
    landing.load()
    assert _one(landing, "timestamp") == moment


def test_a_number_for_a_timestamp_names_the_way_out(landing: Landing) -> None:
    landing.events("a.ndjson", event(timestamp=1780300800123))
    landing.load()
    [(_, _, reason)] = landing.quarantine()
    assert reason == (
        "timestamp is no date and time: 1780300800123 (a number: timestamp_format in sources.yml says in which unit)"
    )


def test_parquet_columns_of_other_types_say_the_same(landing: Landing) -> None:
    path = landing.put("events/a.parquet", "")
    moment = datetime(2026, 6, 1, 8, 0, 0, 123456)
    table = pa.table(
        {
            "message_id": [1.0, 2.0, 3.0],
            "type": pa.array(["track"] * 3).dictionary_encode(),
            "user_id": pa.array([1e15, None, None], pa.float64()),
            "anonymous_id": [None, 0.5, 7.0],
            "timestamp": pa.array([moment] * 3, pa.timestamp("ns", tz="Europe/Berlin")),
            "properties": pa.array([[("path", "/a")], [], None], pa.map_(pa.string(), pa.string())),
            "traits": pa.array([{"email": "a@b.example", "plan": None}, None, None]),
        }
    )
    parquet.write_table(table, path)
    landing.load()
    assert landing.stored(["message_id", "user_id", "anonymous_id", "timestamp", "path", "traits"]) == [
        ("1", "1000000000000000", None, moment, "/a", '{"email":"a@b.example"}'),
        ("2", None, "0.5", moment, None, None),
        ("3", None, "7", moment, None, None),
    ]


def test_a_gap_in_a_column_of_ids_is_no_id(landing: Landing) -> None:
    nan = float("nan")
    ids = {"message_id": ["1", "2"], "type": ["track"] * 2, "event": ["Opened"] * 2, "anonymous_id": ["a", "b"]}
    moments = pa.array([datetime(2026, 6, 1, 8)] * 2, pa.timestamp("us"))
    for name, kind in (("doubles", pa.float64()), ("floats", pa.float32())):
        numbers = {"user_id": pa.array([101.0, nan], kind), "session_id": pa.array([nan, 7.0], kind)}
        rows = {**ids, "message_id": [f"{name}{i}" for i in range(2)], "timestamp": moments, **numbers}
        parquet.write_table(pa.table(rows), landing.put(f"events/{name}.parquet", ""))
    landing.load()
    assert landing.stored(["message_id", "user_id", "session_id"]) == [
        ("doubles0", "101", None), ("doubles1", None, "7"), ("floats0", "101", None), ("floats1", None, "7"),
    ]  # fmt: skip


def test_json_that_only_some_read_is_kept(landing: Landing) -> None:
    landing.put(
        "events/a.ndjson",
        json.dumps(event("m1", properties={"n": float("nan")})) + "\n"
        + '{"message_id": "m2", "type": "track", "type": "page", "user_id": "a", "timestamp": "2026-06-01"}\n',
    )  # fmt: skip
    landing.load()
    assert landing.stored(["message_id", "type", "properties"]) == [("m1", "track", '{"n":NaN}'), ("m2", "track", None)]


def test_a_very_long_line_is_a_row_like_any_other(landing: Landing) -> None:
    landing.events("a.ndjson", event("m1", properties={"text": "x" * 3_000_000}), event("m2"))
    assert landing.load_one().loaded == 2


WITHOUT_IDS = ["\\N", "NULL", "null", "None", "undefined", "NaN"]


@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet"])
def test_what_stands_for_no_id_is_nobody_and_a_list_of_one_is_that_one(landing: Landing, kind: str) -> None:
    said = [*WITHOUT_IDS, '["u1"]', '["u1", "u2"]', '{"$oid": "u3"}', "[draft", "nullable"]
    rows = [event(f"m{number}", user_id=text, anonymous_id="a") for number, text in enumerate(said)]
    rows.append(event("alone", user_id="undefined"))
    _put_as(landing, kind, rows)
    outcome = landing.load_one()
    assert (outcome.loaded, outcome.quarantined) == (len(rows) - 3, 3)
    assert landing.rows("select user_id, count(*) from raw.events group by 1 order by 1 nulls first") == [
        (None, len(WITHOUT_IDS)), ("[draft", 1), ("nullable", 1), ("u1", 1),
    ]  # fmt: skip
    assert sorted(reason for _, _, reason in landing.quarantine()) == [
        "an id is a list or an object", "an id is a list or an object",
        "none of user_id, anonymous_id, group_id is given",
    ]  # fmt: skip
    assert landing.law_holds()


@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet"])
def test_what_happens_outside_of_any_session_is_in_no_session_together(landing: Landing, kind: str) -> None:
    _put_as(landing, kind, [event(f"m{number}", session_id=said) for number, said in enumerate(["-1", "-1", "7"])])
    assert landing.load_one().loaded == 3
    assert landing.rows("select session_id from raw.events order by 1 nulls first") == [(None,), (None,), ("7",)]


def _put_as(landing: Landing, kind: str, rows: Sequence[Mapping[str, object]]) -> None:
    """The same rows in a file of a kind."""
    if kind == "ndjson":
        landing.events("a.ndjson", *rows)
        return
    table = pa.Table.from_pylist([{name: str(value) for name, value in row.items()} for row in rows])
    path = landing.root / "events" / f"a.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path)


POSTHOG = EventMapping(
    files="**",
    columns={
        "message_id": "uuid",
        "type": "event",
        "user_id": "properties.$user_id",
        "group_id": "properties.$groups.co",
    },
    types={"$pageview": "page", "$identify": "identify", "*": "track"},
    properties={"path": "properties.$pathname", "depth": "properties.depth"},
    traits={"email": "properties.$set.email"},
)


@pytest.mark.parametrize("kind", ["csv", "parquet", "ndjson"])
def test_a_name_with_dots_reaches_into_what_is_in_a_column(landing: Landing, kind: str) -> None:
    """As PostHog's exports have it: what matters is in one column of JSON."""
    said = {
        "$user_id": 17.0,
        "$groups": {"co": "acme"},
        "$pathname": "/pricing",
        "depth": 3,
        "$set": {"email": "a@b.c"},
    }
    rows = [
        {"uuid": "m1", "event": "$pageview", "timestamp": "2026-06-01T10:00:00Z", "properties": said},
        {"uuid": "m2", "event": "$identify", "timestamp": "2026-06-01T10:00:00Z", "properties": said},
        {"uuid": "m3", "event": "$pageview", "timestamp": "2026-06-01T10:00:00Z", "properties": {"$user_id": "u2"}},
        {"uuid": "m4", "event": "$pageview", "timestamp": "2026-06-01T10:00:00Z", "properties": {}},
    ]
    landing.rules = rules(POSTHOG)
    if kind != "ndjson":
        rows = [{**row, "properties": json.dumps(row["properties"])} for row in rows]
    _put_as(landing, kind, rows)
    outcome = landing.load_one()
    assert (outcome.loaded, outcome.quarantined) == (3, 1)
    assert landing.rows("select message_id, type, user_id, group_id, path, traits from raw.events order by 1") == [
        ("m1", "page", "17", "acme", "/pricing", '{"email":"a@b.c"}'),
        ("m2", "identify", "17", "acme", "/pricing", '{"email":"a@b.c"}'),
        ("m3", "page", "u2", None, None, "{}"),
    ]
    assert landing.values("select properties ->> '$.depth' from raw.events where message_id = 'm1'") == ["3"]


def test_a_name_with_dots_reaches_into_a_struct_and_needs_its_column(landing: Landing) -> None:
    table = pa.table(
        {
            "type": ["track", "track"],
            "timestamp": ["2026-06-01T10:00:00Z"] * 2,
            "actor": [{"id": 17, "team": {"name": "acme"}}, {"id": 18, "team": None}],
        }
    )
    (landing.root / "events").mkdir(parents=True)
    parquet.write_table(table, landing.root / "events" / "a.parquet")
    landing.rules = rules(EventMapping(files="*", columns={"user_id": "actor.id", "group_id": "Actor.team.name"}))
    assert landing.load_one().loaded == 2
    assert landing.rows("select user_id, group_id from raw.events order by 1") == [("17", "acme"), ("18", None)]
    landing.rules = rules(EventMapping(files="*", columns={"user_id": "who.id"}))
    parquet.write_table(table.slice(1), landing.root / "events" / "b.parquet")
    assert (landing.load_one().detail or "").startswith("no column who.id, mapped to user_id; found type,")


@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet"])
def test_an_identify_may_have_its_traits_in_its_context(landing: Landing, kind: str) -> None:
    """As RudderStack's calls do; what other calls have there is of whoever was known then."""
    elsewhere = json.dumps({"traits": {"email": "ann@b.example"}})
    rows = [
        event("m1", type="identify", context=elsewhere),
        event("m2", type="identify", context=elsewhere, traits=json.dumps({"email": "own@b.example"})),
        event("m3", context=elsewhere),
    ]
    _put_as(landing, kind, [{"traits": "", **row} for row in rows])
    assert landing.load_one().loaded == 3
    assert landing.rows("select message_id, traits ->> '$.email' from raw.events order by 1") == [
        ("m1", "ann@b.example"), ("m2", "own@b.example"), ("m3", None),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet"])
@pytest.mark.parametrize(("said", "group"), [("undefined", None), ('["g1"]', "g1"), ("g1", "g1")])
def test_a_group_that_the_context_names_is_an_id_like_others(
    landing: Landing, kind: str, said: str, group: str | None
) -> None:
    _put_as(landing, kind, [event("m1", context=json.dumps({"groupId": said}))])
    assert landing.load_one().loaded == 1
    assert _one(landing, "group_id") == group


def test_rows_of_any_type_say_who_somebody_is_where_the_mapping_says_so(landing: Landing) -> None:
    landing.rules = rules(EventMapping(files="flat.*", identifies=True, traits={"email": "mail"}))
    header = "message_id,type,user_id,anonymous_id,group_id,timestamp,mail\n"
    rows = (
        "a,track,u,,,{},a@b.example",
        "b,page,u,v,,{},",
        "c,track,u,,,{},",
        "d,group,u,v,g,{},",
        "e,identify,u,v,,{},",
    )
    landing.put("events/flat.csv", header + "\n".join(rows).format(*["2026-06-01"] * 5) + "\n")
    landing.events("other.ndjson", event("f", anonymous_id="v", traits={"email": "f@b.example"}))
    landing.load()
    said = dict(landing.stored(["message_id", "identifies"]))
    assert said == {"a": True, "b": True, "c": None, "d": None, "e": None, "f": None}


def test_well_formed_parquet_says_who_somebody_is_as_any_other_file(landing: Landing) -> None:
    rows = {
        "message_id": ["a", "b", "c"], "type": ["track", "track", "page"], "user_id": ["u", "u", None],
        "anonymous_id": [None, "v", "w"], "traits": [None, None, '{"email":"a@b.example"}'],
        "timestamp": pa.array([datetime(2026, 6, 1, 8)] * 3, pa.timestamp("us")),
    }  # fmt: skip
    landing.rules = rules(EventMapping(files="*", identifies=True))
    parquet.write_table(pa.table(rows), landing.put("events/flat.parquet", ""))
    landing.load()
    assert landing.stored(["message_id", "identifies"]) == [("a", None), ("b", True), ("c", True)]
    # Its address is known as one of an identify is.
    update_email_domains(landing.connection)
    assert landing.values("select domain from raw.email_domains") == ["b.example"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-07-01 10:00:00", datetime(2026, 7, 1, 8)),
        ("2026-01-01T10:00:00.5", datetime(2026, 1, 1, 9, 0, 0, 500000)),
        ("2026-07-01", datetime(2026, 6, 30, 22)),
        ("2026-07-01T10:00:00Z", datetime(2026, 7, 1, 10)),
        ("2026-07-01 10:00:00 UTC", datetime(2026, 7, 1, 10)),
        ("2026-07-01T10:00:00-05:00", datetime(2026, 7, 1, 15)),
        ("20260701T100000Z", datetime(2026, 7, 1, 10)),
        ("2026-10-25 02:30:00", datetime(2026, 10, 25, 1, 30)),
    ],
)
def test_moments_without_an_offset_are_of_the_time_zone_of_the_mapping(
    landing: Landing, text: str, moment: datetime
) -> None:
    landing.rules = rules(EventMapping(files="*", time_zone="Europe/Berlin"))
    landing.events("a.ndjson", event(timestamp=text, received_at=None))
    landing.load()
    assert _one(landing, "timestamp") == moment


def test_formats_and_columns_of_moments_are_of_the_time_zone_of_the_mapping(landing: Landing) -> None:
    landing.rules = rules(
        EventMapping(files="*.ndjson", time_zone="America/New_York", timestamp_format="%d.%m.%Y %H:%M"),
        EventMapping(files="zoned.csv", time_zone="America/New_York", timestamp_format="%d.%m.%Y %H:%M %z"),
        EventMapping(files="*.parquet", time_zone="America/New_York", constants={"received_at": "2026-07-02 10:00"}),
    )
    landing.events("a.ndjson", event("a", timestamp="01.07.2026 10:00", received_at=None))
    landing.put("events/zoned.csv", "message_id,type,user_id,timestamp\nb,page,u,01.07.2026 10:00 +0000\n")
    local = {"type": ["page"], "user_id": ["u"]}
    columns = {"c": pa.timestamp("us"), "d": pa.timestamp("us", tz="UTC"), "e": pa.date32()}
    for name, kind in columns.items():
        moments = pa.array([datetime(2026, 7, 1, 10)]).cast(pa.timestamp("us", tz="UTC") if name == "d" else kind)
        table = pa.table(local | {"message_id": [name], "timestamp": moments})
        parquet.write_table(table, landing.put(f"events/{name}.parquet", ""))
    landing.load()
    assert landing.stored(["message_id", "timestamp", "received_at"]) == [
        ("a", datetime(2026, 7, 1, 14), None), ("b", datetime(2026, 7, 1, 10), None),
        ("c", datetime(2026, 7, 1, 14), datetime(2026, 7, 2, 10)),
        ("d", datetime(2026, 7, 1, 10), datetime(2026, 7, 2, 10)),
        ("e", datetime(2026, 7, 1, 4), datetime(2026, 7, 2, 10)),
    ]  # fmt: skip


def test_names_with_dots_reach_into_json_that_is_a_text_in_ndjson(landing: Landing) -> None:
    landing.rules = rules(
        EventMapping(
            files="*", columns={"user_id": "payload.actor.id"}, properties={"path": "payload.at", "n": "payload.n"}
        )
    )
    inner = {"actor": {"id": 17.0}, "at": "/x", "n": 3}
    landing.events(
        "a.ndjson", event("a", user_id=None, payload=json.dumps(inner)), event("b", user_id=None, payload=inner)
    )
    landing.events("c.ndjson", event("c", user_id=None, payload="{no json"), event("d", user_id=None, payload="text"))
    landing.load()
    assert landing.stored(["message_id", "user_id", "properties"]) == [
        ("a", "17", '{"path":"/x","n":3}'), ("b", "17", '{"path":"/x","n":3}'),
    ]  # fmt: skip
    assert [reason for *_, reason in landing.quarantine()] == 2 * ["none of user_id, anonymous_id, group_id is given"]
