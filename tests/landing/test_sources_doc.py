"""The example in docs/sources.md does what the page says."""

import gzip
import json
import re
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import yaml
from landing_folder import Landing
from pyarrow import parquet

from dagster_project.core.source_rules import EventMapping, SourceRules
from dagster_project.landing.freshness import crm_freshness
from dagster_project.playbook_files import PACKAGED

PAGE = (Path(__file__).parents[2] / "docs/sources.md").read_text(encoding="utf-8")


def _block(language: str, number: int = 0) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[number]


def _rules(number: int = 0) -> SourceRules:
    """The packaged file with the page's lines instead of its last one, as the page advises."""
    packaged = (PACKAGED / "sources.yml").read_text(encoding="utf-8")
    *lines, last = packaged.splitlines()
    assert last == "event_files: []"
    return SourceRules(**yaml.safe_load("\n".join(lines) + "\n" + _block("yaml", number)))


def test_the_example_is_read_as_the_page_says(landing: Landing) -> None:
    landing.rules = _rules().model_copy(update={"settle_seconds": 0})
    landing.put("events/billing/2026-06.csv", _block("csv"))
    outcome = landing.load_one()
    assert (outcome.rows_in, outcome.loaded, outcome.quarantined) == (4, 3, 1)
    assert landing.rows("select type, event, user_id, path, properties, traits from raw.events order by timestamp") == [
        ("identify", None, "c-17", None, "{}", '{"email":"ann@acme.example"}'),
        ("page", None, "c-17", "/pricing", '{"path":"/pricing"}', "{}"),
        ("track", "Plan Changed", "c-17", None, '{"plan":"pro","seats":"5"}', "{}"),
    ]
    assert landing.values("select distinct context from raw.events") == ['{"app":"billing"}']
    assert landing.quarantine() == [
        (4, "c-18;;click;Plan Changed;yesterday;;pro;2", "timestamp is no date and time: yesterday")
    ]


def test_every_key_is_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert set(rows) == set(EventMapping.model_fields)
    for setting in set(SourceRules.model_fields) - {"event_files"}:
        assert f"`{setting}`" in PAGE


def test_the_commented_example_in_the_packaged_file_is_valid() -> None:
    packaged = (PACKAGED / "sources.yml").read_text(encoding="utf-8")
    [example] = re.findall(r"^#   event_files:\n(?:^#    .*\n)+", packaged, re.MULTILINE)
    rules = yaml.safe_load("\n".join(line[1:] for line in example.splitlines()))
    assert [EventMapping(**entry).files for entry in rules["event_files"]] == ["billing/**/*.csv"]


def test_a_flat_table_is_read_as_the_page_says(landing: Landing) -> None:
    landing.rules = _rules(1).model_copy(update={"settle_seconds": 0})
    row = {
        "id": 17, "action": "Report Created", "user_id": 5, "visitor_id": "v1", "workspace_id": "acme",
        "feature": "reports", "created_at": datetime(2026, 6, 8, 9),
        "user_email": "ann@acme.example", "user_name": None,
    }  # fmt: skip
    table = pa.Table.from_pylist([row, {**row, "id": 18, "visitor_id": None, "user_email": None}])
    parquet.write_table(table, landing.put("events/app/2026-06-08.parquet", ""))
    assert landing.load_one().loaded == 2
    said = "message_id, type, event, user_id, anonymous_id, group_id, timestamp, feature, traits, identifies"
    same = ("5", "acme", datetime(2026, 6, 8, 13), "reports")
    assert landing.rows(f"select {said} from raw.events order by message_id") == [
        ("17", "track", "Report Created", same[0], "v1", *same[1:], '{"email":"ann@acme.example"}', True),
        ("18", "track", "Report Created", same[0], None, *same[1:], "{}", None),
    ]


def test_posthogs_amplitudes_and_mixpanels_exports_are_read_as_the_page_says(landing: Landing) -> None:
    posthog = {
        "uuid": "m1",
        "event": "$pageview",
        "distinct_id": "d1",
        "timestamp": "2026-06-08T09:00:00.000Z",
        "created_at": "2026-06-08T09:00:01.000Z",
        "properties": {"$device_id": "d1", "$user_id": "u1", "$groups": {"company": "acme"}, "$pathname": "/pricing"},
    }
    amplitude = {
        "uuid": "m2",
        "event_type": "[Amplitude] Page Viewed",
        "event_time": "2026-06-08 09:00:00.123456",
        "user_id": "u1",
        "device_id": "d1",
        "session_id": -1,
        "groups": {"company": ["acme"]},
        "event_properties": {"[Amplitude] Page Path": "/pricing"},
        "user_properties": {"email": "ann@acme.example"},
    }
    mixpanel = {
        "event": "$mp_web_page_view",
        "properties": {
            "$insert_id": "m3", "distinct_id": "u1", "$user_id": "u1", "$device_id": "d1", "time": 1780909200,
            "company_id": ["acme"], "current_url_path": "/pricing", "$email": "ann@acme.example",
        },
    }  # fmt: skip
    for number, name, row in ((2, "posthog", posthog), (3, "amplitude", amplitude), (5, "mixpanel", mixpanel)):
        landing.rules = _rules(number).model_copy(update={"settle_seconds": 0})
        landing.put(f"events/{name}/a.json.gz", gzip.compress(json.dumps(row).encode() + b"\n"))
        assert landing.load_one().loaded == 1
    said = "select type, user_id, anonymous_id, group_id, session_id, path, timestamp::date::varchar from raw.events"
    assert landing.rows(said) == [("page", "u1", "d1", "acme", None, "/pricing", "2026-06-08")] * 3


def test_a_table_of_users_is_read_as_the_page_says(landing: Landing) -> None:
    landing.rules = _rules(4).model_copy(update={"settle_seconds": 0})
    header = "id,email,name,workspace_id,created_at,updated_at\n"
    same = "1,ann@acme.example,Ann,w1,2026-05-01 09:00:00,2026-05-01 09:00:00\n"
    for day, row in (
        ("01", "2,bo@old.example,Bo,w1,2026-05-02 09:00:00,2026-05-02 09:00:00\n"),
        ("02", "2,bo@acme.example,Bo,w1,2026-05-02 09:00:00,2026-06-02 09:00:00\n"),
    ):
        landing.put(f"events/users/2026-06-{day}.csv", header + same + row)
        landing.load()
    said = "select user_id, traits ->> '$.email', timestamp::date::varchar from raw.events order by user_id, traits"
    assert landing.rows(said) == [
        ("1", "ann@acme.example", "2026-05-01"),
        ("2", "bo@acme.example", "2026-05-02"),
        ("2", "bo@old.example", "2026-05-02"),
    ]


def test_segments_warehouse_tables_are_read_as_the_page_says(landing: Landing) -> None:
    landing.rules = _rules(6).model_copy(update={"settle_seconds": 0})
    moment = {"timestamp": "2026-06-08 09:00:00", "received_at": "2026-06-08 09:00:01"}
    who = {"anonymous_id": "v1", "user_id": "u1"} | moment
    for name, row in {
        "pages": {"id": "m1", "name": "Pricing", "path": "/pricing", **who},
        "identifies": {"id": "m2", "email": "ann@acme.example", "name": "Ann", **who},
        "groups": {"id": "m3", "group_id": "acme", **who},
        "report_created": {"id": "m4", "event_text": "Report Created", "feature": "reports", **who},
    }.items():  # fmt: skip
        parquet.write_table(pa.Table.from_pylist([row]), landing.put(f"events/warehouse/{name}/a.parquet", ""))
    assert [file.loaded for file in landing.load().files] == [1] * 4
    said = "message_id, type, event, name, user_id, anonymous_id, group_id, path, feature, traits"
    assert landing.rows(f"select {said} from raw.events order by message_id") == [
        ("m1", "page", None, "Pricing", "u1", "v1", None, "/pricing", None, None),
        ("m2", "identify", None, "Ann", "u1", "v1", None, None, None, '{"email":"ann@acme.example","name":"Ann"}'),
        ("m3", "group", None, None, "u1", "v1", "acme", None, None, None),
        ("m4", "track", "Report Created", None, "u1", "v1", None, None, "reports", None),
    ]


def test_the_headers_of_hubspots_files_are_read_as_the_page_says(landing: Landing) -> None:
    packaged = yaml.safe_load((PACKAGED / "sources.yml").read_text(encoding="utf-8"))
    landing.rules = SourceRules(**packaged | yaml.safe_load(_block("yaml", 7)) | {"settle_seconds": 0})
    header = "Record ID,Email,Primary Associated Company ID,Unsubscribed from all email,Last Modified Date"
    landing.put("crm/contacts.csv", f"{header}\n51,ann@b.example,70,true,2026-06-20 15:04\n")
    landing.put(
        "crm/accounts.csv", "Record ID,Company name,Company Domain Name,Number of Employees\n70,Beta,b.example,12\n"
    )
    assert [file.loaded for file in landing.load_crm().files] == [1, 1]
    assert crm_freshness(landing.connection, datetime(2026, 6, 20), landing.rules).hold_reason is None
    contacts = "select key, payload ->> '$.account_id', updated_at from raw.crm_versions where key = '51'"
    assert landing.rows(contacts) == [("51", "70", datetime(2026, 6, 20, 15, 4))]
