"""A column that a file has in two spellings: the one that says something counts, wherever it stands."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import polars as pl
import pytest
from landing_folder import Landing, event

AT = "2026-06-01T10:00:00Z"
MOMENT = datetime(2026, 6, 1, 10)
OURS = {
    "message_id": "", "user_id": "", "anonymous_id": " ", "group_id": "\t", "session_id": "", "timestamp": " ",
}  # fmt: skip
THEIRS = {
    "messageId": " m1 ", "userId": "u1", "anonymousId": "a1", "groupId": "g1", "sessionId": "s1", "Timestamp": AT,
}  # fmt: skip


def put(landing: Landing, kind: str, row: Mapping[str, object]) -> None:
    if kind == "csv":
        landing.put("events/a.csv", ",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n")
    elif kind == "ndjson":
        landing.put("events/a.ndjson", json.dumps(row) + "\n")
    else:
        pl.DataFrame([row]).write_parquet(landing.put("events/a.parquet", ""))


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("empty_first", [True, False])
def test_an_empty_spelling_does_not_hide_the_full_one(kind: str, *, empty_first: bool, landing: Landing) -> None:
    said = {**OURS, **THEIRS} if empty_first else {**THEIRS, **OURS}
    if kind != "csv":  # names that differ in case alone are two columns there only
        said["timestamp"] = AT
    put(landing, kind, {"type": "track", "event": "Report Created", **said})
    landing.load()
    assert landing.quarantine() == []
    columns = ["message_id", "user_id", "anonymous_id", "group_id", "session_id", "timestamp"]
    assert landing.stored(columns) == [("m1", "u1", "a1", "g1", "s1", MOMENT)]


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
def test_of_two_full_spellings_the_first_counts(kind: str, landing: Landing) -> None:
    put(landing, kind, {"type": "track", "timestamp": AT, "message_id": "m", "user_id": "u1", "userId": "u2"})
    landing.load()
    assert landing.stored(["user_id"]) == [("u1",)]


@pytest.mark.parametrize(
    "moments",
    [
        {"received_at": pl.Series([None], dtype=pl.Datetime("us")), "receivedAt": [MOMENT]},
        {"received_at": pl.Series([None], dtype=pl.Datetime("us")), "receivedAt": [AT]},
        {"received_at": [""], "receivedAt": [MOMENT.replace(tzinfo=UTC)]},
    ],
)
def test_moments_of_parquet_may_be_typed_in_one_spelling(moments: Mapping[str, object], landing: Landing) -> None:
    frame = pl.DataFrame({"message_id": ["m"], "type": ["track"], "user_id": ["u"], "timestamp": [MOMENT], **moments})
    frame.write_parquet(landing.put("events/a.parquet", ""))
    landing.load()
    assert landing.stored(["timestamp", "received_at"]) == [(MOMENT, MOMENT)]


def test_the_group_in_the_context_may_be_spelled_twice(landing: Landing) -> None:
    landing.events("a.ndjson", event(context={"groupId": "", "group_id": " g "}))
    landing.load()
    assert landing.stored(["group_id"]) == [("g",)]


def test_a_column_of_the_crm_may_be_spelled_twice(landing: Landing) -> None:
    landing.put("crm/contacts.csv", "contact_id,Email_Opt_Out,email_opt_out\nC1,,true\nC2,true,\nC3, ,false\n")
    landing.load_crm()
    [*flags] = landing.rows("select key, payload ->> 'email_opt_out' from raw.crm_versions order by key")
    assert flags == [("C1", "true"), ("C2", "true"), ("C3", "false")]
