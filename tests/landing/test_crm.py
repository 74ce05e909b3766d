"""Full extracts of the CRM: versions, deletions, failed exports, and how old they may get."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from landing_folder import NOW, Landing, opening_all_but, rules
from pyarrow import parquet

from dagster_project.core.source_rules import SourceRules
from dagster_project.landing import crm
from dagster_project.landing.crm import load_crm
from dagster_project.landing.events import begin_batch
from dagster_project.landing.freshness import crm_freshness

DAY = datetime(2026, 6, 1, 8, 0, 0)


def _accounts(*ids: str, column: str = "name", value: str = "Acme") -> str:
    return f"account_id,{column}\n" + "".join(f"{i},{value}\n" for i in ids)


def _extracts(landing: Landing, entity: str = "accounts") -> list[tuple]:
    return landing.rows(
        "select extract_at, delivered_at, keys, is_complete from raw.crm_extracts "
        f"where entity = '{entity}' order by extract_id"
    )


def _payloads(landing: Landing) -> list[dict]:
    return [json.loads(str(payload)) for payload in landing.values("select payload from raw.crm_versions order by key")]


def test_values_stay_text_under_plain_names(landing: Landing) -> None:
    landing.put("crm/accounts.csv", "\ufeffAccount_ID, NAME ,employee_count,plan\nA1, Acme ,0051,\n", at=DAY)
    [outcome] = landing.load_crm().files
    assert (outcome.source, outcome.status, outcome.loaded) == ("crm.accounts", "loaded", 1)
    assert _payloads(landing) == [{"account_id": "A1", "name": "Acme", "employee_count": "0051"}]
    assert _extracts(landing) == [(DAY, DAY, 1, True)]
    assert landing.values("select columns from raw.files") == [["account_id", "employee_count", "name", "plan"]]


@pytest.mark.parametrize("before", ["\n", "\r\n\r\n", "  \n\t\n"])
def test_a_header_may_come_after_blank_lines(landing: Landing, before: str) -> None:
    end = "\r\n" if "\r" in before else "\n"
    landing.put("crm/accounts.csv", before.encode() + end.join(["account_id,name", "a1,Acme", "a2,Beta", ""]).encode())
    [outcome] = landing.load_crm().files
    assert (outcome.status, outcome.rows_in, outcome.loaded) == ("loaded", 2, 2)
    assert _payloads(landing) == [{"account_id": "a1", "name": "Acme"}, {"account_id": "a2", "name": "Beta"}]


def test_ndjson_and_parquet_say_the_same(landing: Landing) -> None:
    row = {
        "account_id": 7, "tech_stack": ["snowflake", "dbt"], "is_target_account": True, "estimated_acv": 1.5,
        "custom_fields": {"tier": "gold", "n": [1]}, "plan": None, "updated_at": "2026-05-01T10:00:00+02:00",
    }  # fmt: skip
    landing.put("crm/accounts.ndjson", json.dumps(row) + "\n" + '{"account_id": "8", "Extra": "x"}\n', at=DAY)
    with duckdb.connect() as connection:
        connection.execute(
            "copy (select 7 as account_id, ['snowflake', 'dbt'] as tech_stack, true as is_target_account, "
            "1.5::double as estimated_acv, {'tier': 'gold', 'n': [1], 'none': null} as custom_fields, null "
            "as plan, "
            f"timestamptz '2026-05-01 10:00:00+02' as updated_at) to '{landing.root}/crm/accounts.parquet'"
        )
    landing.load_crm()
    said = {
        "account_id": "7", "tech_stack": "snowflake;dbt", "is_target_account": "true", "estimated_acv": "1.5",
        "custom_fields": '{"tier":"gold","n":[1]}',
    }  # fmt: skip
    versions = landing.rows("select key, payload, updated_at from raw.crm_versions order by version_id")
    by_file = [(key, json.loads(payload), at) for key, payload, at in versions]
    assert by_file == [
        ("7", {**said, "updated_at": "2026-05-01T10:00:00+02:00"}, datetime(2026, 5, 1, 8)),
        ("8", {"account_id": "8", "extra": "x"}, None),
        ("7", {**said, "updated_at": "2026-05-01 08:00:00"}, datetime(2026, 5, 1, 8)),
    ]


def test_a_gap_in_a_column_of_numbers_is_no_value(landing: Landing) -> None:
    path = landing.put("crm/accounts.parquet", "", at=DAY)
    numbers = {"employee_count": [60.0, float("nan")], "score": pa.array([float("nan"), 1e20], pa.float32())}
    decimals = pa.array([Decimal("7.000000000"), Decimal("8.100000000")], pa.decimal128(38, 9))
    parquet.write_table(pa.table({"account_id": decimals, **numbers}), path)
    [outcome] = landing.load_crm().files
    assert (outcome.loaded, outcome.quarantined) == (2, 0)
    versions = landing.rows("select key, payload from raw.crm_versions order by key")
    assert [(key, json.loads(payload)) for key, payload in versions] == [
        ("7", {"account_id": "7", "employee_count": "60"}),
        ("8.100000000", {"account_id": "8.100000000", "score": "1e+20"}),
    ]


def test_versions_are_kept_once_and_extracts_say_which_they_hold(landing: Landing) -> None:
    landing.put("crm/dt=2026-06-01/accounts.csv", _accounts("A1", "A2"))
    landing.put("crm/dt=2026-06-02/accounts.csv", "name,account_id\nAcme,A1\nBcme,A2\n")
    landing.load_crm()
    assert landing.values("select count(*) from raw.crm_versions") == [3]
    held = "select extract_id, list_sort(list(version_id)) from raw.crm_extract_rows group by 1 order by 1"
    assert landing.rows(held) == [
        (1, [1, 2]), (2, [1, 3]),
    ]  # fmt: skip
    assert [row[0] for row in _extracts(landing)] == [datetime(2026, 6, 1), datetime(2026, 6, 2)]


def test_the_newest_row_of_a_key_wins_within_an_extract(landing: Landing) -> None:
    """Of several with one date the last."""
    rows = "A1,newest,2026-02-01\nA1,old,2026-01-01\nA1,last,2026-02-01\nA1,none,\n"
    landing.put("crm/accounts.csv", f"account_id,name,updated_at\n{rows}")
    [outcome] = landing.load_crm().files
    assert (outcome.rows_in, outcome.loaded, outcome.duplicate) == (4, 1, 3)
    assert [payload["name"] for payload in _payloads(landing)] == ["last"]


def test_rows_without_a_key_and_broken_rows_are_set_aside(landing: Landing) -> None:
    landing.put("crm/contacts.csv", b"contact_id,email\nC1,a@b.example\n,b@b.example\nC2\nC3,\xff\nC4,d@b.example\n")
    landing.put("crm/owners.ndjson", '{"owner_id": "O1"}\n{broken\n{"name": "x"}\n')
    report = landing.load_crm()
    assert (report.rows_in, report.loaded, report.quarantined) == (8, 3, 5)
    assert [(number, reason.split(":")[0]) for number, _, reason in landing.quarantine()] == [
        (2, "contact_id is missing"), (3, "the row has 1 fields, the header 2 fields"),
        (4, "the text is not valid UTF-8"), (2, "the line is not valid JSON"), (3, "owner_id is missing"),
    ]  # fmt: skip


def test_blank_lines_between_rows_are_none(landing: Landing) -> None:
    landing.put("crm/accounts.ndjson", '{"account_id": "a1"}\n\n  \t\n{"account_id": "a2"}\n\n', at=DAY)
    [outcome] = landing.load_crm().files
    assert (outcome.rows_in, outcome.loaded, outcome.quarantined) == (2, 2, 0)


def test_a_text_with_brackets_is_no_list_and_a_moment_out_of_all_bounds_is_none(landing: Landing) -> None:
    row = {"account_id": "a1", "name": "[EU] Acme", "created_at": "0000-01-01", "updated_at": "0000-06-01"}
    landing.put("crm/accounts.ndjson", json.dumps(row) + "\n", at=DAY)
    landing.load_crm()
    assert [payload["name"] for payload in _payloads(landing)] == ["[EU] Acme"]
    assert landing.rows("select updated_at, created_at from raw.crm_versions") == [(None, None)]


def test_a_key_with_a_character_that_no_store_takes_is_set_aside(landing: Landing) -> None:
    landing.put("crm/accounts.ndjson", '{"account_id": "a1"}\n{"account_id": "a\\u0000b"}\n', at=DAY)
    [outcome] = landing.load_crm().files
    assert (outcome.rows_in, outcome.loaded, outcome.quarantined) == (2, 1, 1)
    assert landing.values("select reason from raw.quarantine") == ["the key holds a NUL character"]


def test_what_stands_in_a_broken_row_is_not_taken_for_what_is_wrong(landing: Landing) -> None:
    broken = 'A3,"INTERRUPT Error: "x" of it,b.com\nA4,No space left,c.com,too,many\n'
    landing.put("crm/accounts.csv", "account_id,name,domain\nA1,One,a.com\n" + broken)
    [outcome] = landing.load_crm().files
    assert (outcome.status, outcome.rows_in, outcome.loaded) == ("loaded", 3, 1)
    assert len(landing.quarantine()) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"name\nAcme\n", "no column account_id; found name"), (b"\x00\x01\xffjunk", "no column account_id")],
)
def test_a_file_without_the_key_column_is_unreadable(landing: Landing, content: bytes, words: str) -> None:
    landing.put("crm/accounts.csv", content)
    [outcome] = landing.load_crm().files
    assert outcome.status == "unreadable"
    assert words in (outcome.detail or "")
    assert _extracts(landing) == []


def test_an_extract_that_can_not_be_opened_is_tried_again_until_it_can(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = landing.put("crm/accounts.csv", _accounts("a"))
    with monkeypatch.context() as closed:
        closed.setattr(Path, "open", opening_all_but(path))
        for _ in range(2):
            assert [file.status for file in landing.load_crm().files] == ["unreadable"]
    assert landing.quarantine() == [(None, None, "the file can't be opened: Permission denied")], "it is said once"
    assert [file.status for file in landing.load_crm().files] == ["loaded"]
    assert landing.load_crm().files == ()


def test_an_extract_that_shrank_is_a_failed_one(landing: Landing) -> None:
    landing.put("crm/dt=2026-06-01/accounts.csv", _accounts(*"abcdefghij"))
    landing.put("crm/dt=2026-06-02/accounts.csv", _accounts(*"abcdefgh"))
    landing.put("crm/dt=2026-06-03/accounts.csv", _accounts(*"abcdef"))
    landing.put("crm/dt=2026-06-04/accounts.csv", _accounts(*"abcdefg"))
    statuses = [(file.status, file.loaded) for file in landing.load_crm().files]
    assert statuses == [("loaded", 10), ("loaded", 8), ("shrunk", 6), ("loaded", 7)]
    assert [row[3] for row in _extracts(landing)] == [True, True, False, True]
    [detail] = landing.values("select detail from raw.files where status = 'shrunk'")
    assert "6 keys" in str(detail)
    assert "shrink_limit" in str(detail)


def test_a_failed_export_is_not_what_the_next_one_is_measured_by(landing: Landing) -> None:
    """Or one that fails day after day would count on its second day, and delete whatever it lacks."""
    for day, ids in enumerate(["abcdefghij", "abcdef", "abcde", "abcdefgh"], start=1):
        landing.put("crm/accounts.csv", _accounts(*ids), at=DAY + timedelta(days=day))
        landing.load_crm()
    assert [row[3] for row in _extracts(landing)] == [True, False, False, True]


def test_a_shrunk_extract_counts_once_the_limit_allows_it(landing: Landing) -> None:
    landing.put("crm/accounts.csv", _accounts(*"abcdefghij"), at=DAY)
    landing.load_crm()
    landing.put("crm/accounts.csv", _accounts(*"abc"), at=DAY + timedelta(days=1))
    assert [file.status for file in landing.load_crm().files] == ["shrunk"]
    landing.rules = rules(shrink_limit=0.9)
    landing.load_crm()
    assert [row[3] for row in _extracts(landing)] == [True, True]
    assert landing.values("select count(*) from raw.files where status = 'shrunk'") == [0]


def test_a_shrunk_extract_counts_once_one_in_between_is_known(landing: Landing) -> None:
    landing.put("crm/dt=2026-06-01/accounts.csv", _accounts(*"abcdefghij"))
    landing.put("crm/dt=2026-06-20/accounts.csv", _accounts(*"abcdefg"))
    assert [file.status for file in landing.load_crm().files] == ["loaded", "shrunk"]
    landing.put("crm/dt=2026-06-10/accounts.csv", _accounts(*"abcdefgh"))
    landing.load_crm()
    assert [row[3] for row in _extracts(landing)] == [True, True, True]
    came_with = "select batch_id from raw.files where path like 'crm/dt=2026-06-20/%'"
    assert landing.values(came_with) == [2], "what reads this batch has to look at it"


def test_an_identical_delivery_refreshes_the_extract(landing: Landing) -> None:
    landing.put("crm/accounts.csv", _accounts("A1"), at=DAY)
    landing.load_crm()
    assert landing.load_crm().files == ()
    landing.put("crm/accounts.csv", _accounts("A1"), at=DAY + timedelta(days=3))
    [outcome] = landing.load_crm().files
    assert (outcome.status, outcome.rows_in) == ("redelivered", 0)
    assert _extracts(landing) == [(DAY, DAY + timedelta(days=3), 1, True)]


def test_a_crm_that_went_back_is_a_new_extract(landing: Landing) -> None:
    for days, name in enumerate(["Acme", "Bcme", "Acme"]):
        landing.put("crm/accounts.csv", _accounts("A1", value=name), at=DAY + timedelta(days=days))
        landing.load_crm()
    assert landing.rows(
        "select version_id from raw.crm_extracts join raw.crm_extract_rows using (extract_id) order by extract_at"
    ) == [(1,), (2,), (1,)]


def test_dated_extracts_may_repeat_each_other(landing: Landing) -> None:
    for day in (1, 2):
        landing.put(f"crm/dt=2026-06-0{day}/accounts.csv", _accounts("A1"))
    landing.load_crm()
    assert len(_extracts(landing)) == 2
    landing.put("crm/dt=2026-06-02/accounts.csv", _accounts("A1"), at=DAY + timedelta(days=9))
    assert [file.status for file in landing.load_crm().files] == ["redelivered"]


def test_files_that_look_like_ours_are_told_of_once_and_one_of_each_other_folder(landing: Landing) -> None:
    for path in ("crm/notes.md", "crm/_old/accounts.csv", "crm/2026-06-01/contacts.csv", "suppression/old.csv.part"):
        landing.put(path, _accounts("A1"))
    wrong = [
        "crm/dt=someday/accounts.csv", "crm/leads.csv", "crm/suppression.csv", "supression.csv",
        "crm/2026-06-01/accounts.csv", "suppression/list.csv", "event/2026-06-01.ndjson",
        "suppression.xlsx", "Suppression.txt", "crm/Tickets.XLSX", "crm/contacts.csv.bak",
    ]  # fmt: skip
    for path in wrong:
        landing.put(path, _accounts("A1"))
    found = {file.path: (file.status, file.detail or "") for file in landing.load_crm().files}
    assert {path: status for path, (status, _) in found.items()} == dict.fromkeys(wrong, "unreadable")
    assert "the folder's name is no date" in found["crm/dt=someday/accounts.csv"][1]
    assert "nothing is read from a file of this name" in found["crm/suppression.csv"][1]
    landing.put("suppression/list.csv", _accounts("A1", "A2"))
    assert landing.load_crm().files == (), "of the folder was told"


def test_ids_that_were_written_as_numbers_are_the_same_in_every_kind_of_file(landing: Landing) -> None:
    landing.put("crm/accounts.ndjson", '{"account_id": 18.0, "employee_count": 7.0}\n{"account_id": "19.0"}\n')
    landing.put("crm/contacts.csv", "contact_id,account_id\n1,18\n")
    landing.load_crm()
    assert landing.values("select key from raw.crm_versions where entity = 'accounts' order by 1") == ["18", "19.0"]


def test_the_suppression_list_names_addresses_and_domains(landing: Landing) -> None:
    landing.put(
        "suppression.csv",
        "email,domain,reason\n A@B.example ,,asked\n,@Rival.example,legal\nc@d.example,d.example,both\n,,none\n",
    )
    [outcome] = landing.load_crm().files
    assert (outcome.rows_in, outcome.loaded, outcome.quarantined) == (4, 3, 1)
    assert landing.values("select key from raw.crm_versions order by key") == [
        "domain:d.example", "domain:rival.example", "email:a@b.example", "email:c@d.example",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "keys"),
    [
        ("Ann Lee <Ann@b.example>,", ["email:ann@b.example"]),
        ("mailto:ann@b.example,", ["email:ann@b.example"]),
        ("a@b.example; c@d.example  e@f.example,", ["email:a@b.example", "email:c@d.example", "email:e@f.example"]),
        ("o'brien@b.example,", ["email:o'brien@b.example"]),
        (",ann@b.example", ["email:ann@b.example"]),
        ("b.example,", ["domain:b.example"]),
        ("*@b.example,", ["domain:b.example"]),
        (",@*.b.example", ["domain:b.example"]),
        (",https://www.b.example/shop", ["domain:https://www.b.example/shop"]),
        (",intranet", ["domain:intranet"]),
        ("ann@b.example,b.example", ["domain:b.example", "email:ann@b.example"]),
        ("Ann of Acme.com <ann@b.example>,", ["email:ann@b.example"]),
        ("a@b.example|c@d.example,", ["email:a@b.example", "email:c@d.example"]),
        ("'ann@b.example.',n/a", ["email:ann@b.example"]),
        ("ann@my_host.example,", ["email:ann@my_host.example"]),
        ("-,b.example c.example", ["domain:b.example", "domain:c.example"]),
        ("ann@b.example\u00a0,", ["email:ann@b.example"]),
        ("\u2003ann@b.example\u00a0c@d.example,\u00a0", ["email:ann@b.example", "email:c@d.example"]),
        ("ann\u00ad@b.\u200bexample\u200b,\ufeff", ["email:ann@b.example"]),
        ("SMTP:ann@b.example,", ["email:ann@b.example"]),
        ("ann\uff20b\u3002example,", ["email:ann@b.example"]),
        ("jose\u0301@b.example,", ["email:jos\u00e9@b.example"]),
    ],
)
def test_whom_a_row_of_the_suppression_list_names_is_found_however_it_is_written(
    landing: Landing, row: str, keys: list[str]
) -> None:
    landing.put("suppression.csv", f"email,domain\n{row}\n", at=DAY)
    [outcome] = landing.load_crm().files
    assert (outcome.rows_in, outcome.loaded, outcome.quarantined) == (1, 1, 0)
    assert landing.values("select key from raw.crm_versions order by key") == keys
    assert _hold(landing, DAY) is None


@pytest.mark.parametrize("nothing", ["-", "--", "n/a", "N/A", "na", "none", "NULL", "nil", " nil\u00a0"])
@pytest.mark.parametrize("column", ["email", "domain"])
def test_a_word_for_nothing_names_nobody_and_holds_nothing(landing: Landing, column: str, nothing: str) -> None:
    rows = {"email": f"{nothing},", "domain": f",{nothing}"}
    landing.put("suppression.csv", f"email,domain\nann@b.example,\n{rows[column]}\n", at=DAY)
    [outcome] = landing.load_crm().files
    assert (outcome.rows_in, outcome.loaded, outcome.quarantined) == (2, 1, 1)
    assert _hold(landing, DAY) is None


@pytest.mark.parametrize(
    "row",
    [
        b"ann@b.example,,M\xfcller\n",
        b"Ann Lee,,\n",
        b"ann @b.example,,a blank slipped in\n",
        b"ann@ b.example,,\n",
        b"a@b.example/c@d.example,,\n",
        b"a/c@d.example,,\n",
        b"a%c@d.example,,\n",
        b",see note,\n",
        b"mailto:ann%40b.example,,\n",
        b"&lt;ann@b.example&gt;,,\n",
        b"ann@b.example?subject=x,,\n",
        b"ann@b.example,,a,b,c\n",
        b'"ann@b.example,,open\n',
    ],
)
def test_a_row_of_the_suppression_list_that_nobody_can_read_holds_handoffs(landing: Landing, row: bytes) -> None:
    bad = b"email,domain,reason\nc@d.example,,asked\n" + row
    landing.put("suppression.csv", bad, at=DAY)
    [outcome] = landing.load_crm().files
    assert (outcome.rows_in, outcome.loaded, outcome.quarantined) == (2, 1, 1)
    assert "1 row of the suppression list suppression.csv can't be read" in (_hold(landing, DAY) or "")
    for hours, content in ((1, bad), (2, bad + b"e@f.example,,\n")):
        landing.put("suppression.csv", content, at=DAY + timedelta(hours=hours))
        landing.load_crm()
        assert _hold(landing, DAY) is not None, "it is read no better when it is written again, or has grown"
    good = b"email,domain,reason\nc@d.example,,asked\nann@b.example,,asked\n,,a comment\n"
    landing.put("suppression.csv", good, at=DAY + timedelta(hours=3))
    landing.load_crm()
    assert _hold(landing, DAY) is None


@pytest.mark.parametrize("name", ["suppression.csv", "suppression.ndjson"])
@pytest.mark.parametrize("content", ["", "\ufeff\n"])
def test_a_suppression_list_without_rows_is_one_that_nobody_is_on(landing: Landing, name: str, content: str) -> None:
    landing.put(name, content, at=DAY)
    [outcome] = landing.load_crm().files
    assert (outcome.status, outcome.rows_in) == ("empty", 0)
    assert _extracts(landing, "suppression") == [(DAY, DAY, 0, True)]
    assert _hold(landing, DAY) is None


def test_an_empty_file_takes_nobody_off_the_suppression_list_at_once(landing: Landing) -> None:
    landing.put("suppression.csv", "email\na@b.example\n", at=DAY)
    landing.load_crm()
    landing.put("suppression.csv", "", at=DAY + timedelta(days=1))
    [outcome] = landing.load_crm().files
    assert outcome.status == "shrunk" and "0 keys where the extract before had 1" in (outcome.detail or "")
    assert [complete for *_, complete in _extracts(landing, "suppression")] == [True, False]
    landing.rules = rules(shrink_limit=1)
    landing.load_crm()
    assert [complete for *_, complete in _extracts(landing, "suppression")] == [True, True]


def test_a_suppression_list_that_is_damaged_holds_handoffs(landing: Landing) -> None:
    landing.put("suppression.parquet", "", at=DAY)
    [outcome] = landing.load_crm().files
    assert (outcome.status, outcome.detail) == ("unreadable", "the file is empty, which no Parquet file is")
    told = (
        "the suppression list suppression.parquet can't be read, so nobody knows who was added to it: the file is empty"
    )
    assert (_hold(landing, DAY) or "").startswith(told)


def test_a_suppression_list_that_got_damaged_holds_handoffs_until_it_can_be_read_again(landing: Landing) -> None:
    landing.put("suppression.csv", "email\na@b.example\n", at=DAY)
    landing.load_crm()
    landing.put("suppression.csv", "who\na@b.example\n", at=DAY + timedelta(days=1))
    landing.load_crm()
    assert "suppression.csv can't be read" in (_hold(landing, DAY) or "")
    landing.put("suppression.csv", "email\na@b.example\n", at=DAY + timedelta(days=2))
    landing.load_crm()
    assert _hold(landing, DAY) is None


def test_an_empty_list_that_was_read_when_it_counted_for_nothing_holds_no_handoffs(landing: Landing) -> None:
    landing.put("suppression.csv", "", at=DAY)
    landing.load_crm()
    landing.connection.execute("delete from raw.crm_extracts")
    assert _hold(landing, DAY) is None


CONTACTS = "contact_id,email_opt_out,do_not_contact\nC1,false,false\n"
ACCOUNTS = "account_id,do_not_contact\nA1,false\n"


def _hold(landing: Landing, as_of: datetime) -> str | None:
    return crm_freshness(landing.connection, as_of, landing.rules).hold_reason


def test_without_any_crm_file_nothing_is_stale(landing: Landing) -> None:
    assert crm_freshness(landing.connection, DAY, landing.rules).hold_reason is None


def test_flags_are_trusted_for_eight_days_after_the_last_delivery(landing: Landing) -> None:
    landing.put("crm/contacts.csv", CONTACTS, at=DAY)
    landing.put("crm/accounts.csv", ACCOUNTS, at=DAY + timedelta(days=1))
    landing.load_crm()
    assert _hold(landing, DAY + timedelta(days=8)) is None
    reason = _hold(landing, DAY + timedelta(days=8, seconds=1))
    assert reason is not None
    assert "contacts" in reason
    assert "accounts" not in reason
    landing.put("crm/contacts.csv", CONTACTS, at=DAY + timedelta(days=8))
    landing.load_crm()
    assert _hold(landing, DAY + timedelta(days=8, seconds=1)) is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("contacts", "contact_id,do_not_contact\nC1,false\n", "contacts file has no column email_opt_out"),
        ("accounts", "account_id\nA1\n", "accounts file has no column do_not_contact"),
        ("contacts", "id\nC1\n", "no contacts could be read"),
    ],
)
def test_files_that_can_not_show_the_flags_hold_handoffs(landing: Landing, name: str, content: str, words: str) -> None:
    landing.put(f"crm/{name}.csv", content, at=DAY)
    landing.load_crm()
    assert words in (_hold(landing, DAY) or "")


def test_a_failed_export_does_not_refresh_the_flags(landing: Landing) -> None:
    many = "account_id,do_not_contact\n" + "".join(f"A{i},false\n" for i in range(10))
    landing.put("crm/accounts.csv", many, at=DAY)
    landing.load_crm()
    landing.put("crm/accounts.csv", ACCOUNTS, at=DAY + timedelta(days=9))
    landing.load_crm()
    assert "accounts" in (_hold(landing, DAY + timedelta(days=9)) or "")


def test_a_crm_run_that_dies_leaves_nothing_behind(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    landing.put("crm/accounts.csv", ACCOUNTS, at=DAY)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dagster_project.landing.crm.record_file", die)
    with pytest.raises(KeyboardInterrupt):
        landing.load_crm()
    for table in ("crm_versions", "crm_extracts", "crm_extract_rows", "files"):
        assert landing.values(f"select count(*) from raw.{table}") == [0]
    monkeypatch.undo()
    assert landing.load_crm().loaded == 1


def test_an_old_copy_of_the_same_makes_a_delivery_no_older(landing: Landing) -> None:
    """It would hold handoffs as if nothing had come for days."""
    landing.put("crm/accounts.csv", _accounts("A1"), at=DAY + timedelta(days=3))
    landing.load_crm()
    landing.put("crm/accounts.csv", _accounts("A1"), at=DAY)
    assert [file.status for file in landing.load_crm().files] == ["redelivered"]
    assert _extracts(landing)[0][1] == DAY + timedelta(days=3)


def test_an_old_copy_of_an_extract_that_another_one_followed_is_no_news(landing: Landing) -> None:
    landing.put("crm/accounts.csv", _accounts("A1"), at=DAY)
    landing.load_crm()
    landing.put("crm/accounts.csv", _accounts("A1", "A2"), at=DAY + timedelta(days=2))
    landing.load_crm()
    landing.put("crm/accounts.csv", _accounts("A1"), at=DAY - timedelta(days=1))
    assert [file.status for file in landing.load_crm().files] == ["redelivered"]
    assert len(_extracts(landing)) == 2


def test_a_file_that_changes_while_it_is_read_waits(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    path = landing.put("crm/accounts.csv", _accounts("A1"), at=DAY)
    read = crm.read_crm_file

    def read_and_grow(*given: object) -> object:
        columns = read(*given)  # type: ignore[arg-type]
        with path.open("a") as file:
            file.write("A2,Beta\n")
        return columns

    monkeypatch.setattr(crm, "read_crm_file", read_and_grow)
    assert [file.status for file in landing.load_crm().files] == ["waiting"]
    assert _extracts(landing) == []
    monkeypatch.undo()
    assert [(file.status, file.loaded) for file in landing.load_crm().files] == [("loaded", 2)]


HUBSPOT = {
    "contact_id": "Record ID",
    "email": "Email",
    "email_opt_out": "Unsubscribed from all email",
    "do_not_contact": "DNC",
}


def test_columns_of_other_names_are_read_under_ours(landing: Landing) -> None:
    landing.put("crm/contacts.csv", "Record ID,EMAIL,Unsubscribed from all email,DNC,Job title\n51,a@b.c,true,,CTO\n")
    [refused] = landing.load_crm().files
    assert refused.status == "unreadable"
    assert (refused.detail or "").endswith("other names are given under crm_columns in the playbook's sources.yml")
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT | {"role": "Job title"}}})
    [outcome] = landing.load_crm().files
    assert (outcome.status, outcome.loaded) == ("loaded", 1)
    assert landing.rows("select key, payload from raw.crm_versions") == [
        ("51", '{"contact_id":"51","email":"a@b.c","email_opt_out":"true","role":"CTO"}'),
    ]
    assert landing.values("select columns from raw.files where status = 'loaded'") == [
        ["contact_id", "do_not_contact", "email", "email_opt_out", "role"],
    ]
    assert landing.load_crm().files == ()


def test_a_file_without_a_header_that_is_asked_for_is_refused_and_one_with_our_names_is_not(landing: Landing) -> None:
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT}})
    landing.put("crm/dt=2026-06-01/contacts.csv", "contact_id,email,email_opt_out,do_not_contact\nC1,a@b.c,no,no\n")
    landing.put("crm/dt=2026-06-02/contacts.csv", "Record ID,Email,DNC\n51,a@b.c,\n")
    good, bad = landing.load_crm().files
    assert (good.status, bad.status) == ("loaded", "unreadable")
    said = "no column Unsubscribed from all email, mapped to email_opt_out; found dnc, email, record id: other names"
    assert (bad.detail or "").startswith(said)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"leads": {}}, "found 'leads', expected some of accounts, contacts"),
        ({"contacts": {"mail": "Email"}}, "contacts: unknown columns mail: expected some of contact_id, email"),
        ({"contacts": {"email": " "}}, "contacts: email has an empty name"),
    ],
)
def test_columns_that_make_no_sense_are_refused(columns: dict[str, dict[str, str]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        SourceRules(**rules().model_dump() | {"crm_columns": columns})


def test_ids_under_other_headers_are_ids(landing: Landing) -> None:
    named = HUBSPOT | {"account_id": "Company"}
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": named}})
    row = {"Record ID": 51.0, "Company": 7.0, "Email": "a@b.c", "Unsubscribed from all email": False, "DNC": False}
    landing.put("crm/contacts.ndjson", json.dumps(row) + "\n")
    assert [file.loaded for file in landing.load_crm().files] == [1]
    assert landing.rows("select key, payload ->> '$.account_id' from raw.crm_versions") == [("51", "7")]


def _held(landing: Landing) -> list[tuple]:
    """Which extract says what, whatever their numbers."""
    return landing.rows(
        "select extracts.extract_at, is_complete, keys, key, payload from raw.crm_extracts as extracts "
        "join raw.crm_extract_rows as held on extracts.extract_id between held.first_extract_id and held.extract_id "
        "join raw.crm_versions using (version_id) order by all"
    )


def test_with_corrected_names_of_columns_the_newest_extract_is_read_again_and_nothing_is_forgotten(
    landing: Landing,
) -> None:
    header = "Record ID,Email,Work email,Unsubscribed from all email,DNC\n"
    for day, rows in enumerate(("51,x@y.z,a@b.c,,\n52,,b@b.c,true,\n", "51,x@y.z,a@b.c,,\n53,,c@b.c,,\n"), start=1):
        landing.put(f"crm/dt=2026-06-0{day}/contacts.csv", header + rows)
    landing.put("crm/owners.csv", "owner_id\nO1\n")
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT}})
    assert len(landing.load_crm().files) == 3
    before = _held(landing)
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT | {"email": "Work email"}}})

    def batch() -> list[tuple[str, str]]:
        read = landing.connection, landing.root, landing.rules
        return [(file.path, file.status) for file in load_crm(*read, begin_batch(read[0], NOW), NOW, complete=[]).files]

    assert batch() == [("crm/dt=2026-06-02/contacts.csv", "loaded")]
    assert batch() == [] and landing.load_crm().files == ()
    assert set(before) < set(_held(landing)), "who was deleted, and who said no, is not forgotten"
    said = [json.loads(payload)["email"] for *_, payload in sorted(set(_held(landing)) - set(before), key=str)]
    assert said == ["a@b.c", "c@b.c"]
    # What other names are needed for is refused, and the extract stands that there was.
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT | {"role": "Title"}}})
    assert [file.status for file in landing.load_crm().files] == ["unreadable"]
    assert set(before) < set(_held(landing))


@pytest.mark.parametrize("name", ["crm/contacts.csv", "crm/dt=2026-06-01/contacts.csv"])
def test_names_of_columns_may_be_changed_back(landing: Landing, name: str) -> None:
    landing.put(name, "Record ID,Email,Work email,Unsubscribed from all email,DNC\n51,x@y.z,a@b.c,,\n")
    newest = (
        "select payload ->> '$.email' from raw.crm_extract_rows join raw.crm_versions using (version_id) "
        "order by extract_id desc limit 1"
    )
    for email, said in (("Email", "x@y.z"), ("Work email", "a@b.c"), ("Email", "x@y.z")):
        landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT | {"email": email}}})
        assert [file.status for file in landing.load_crm().files] == ["loaded"]
        assert landing.values(newest) == [said]
        assert landing.load_crm().files == ()


def test_corrected_names_reach_the_extract_that_counts_where_the_newest_is_kept_out(landing: Landing) -> None:
    header = "Record ID,Email,Work email,Unsubscribed from all email,DNC\n"
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT}})
    landing.put("crm/dt=2026-06-01/contacts.csv", header + "51,x@y.z,a@b.c,,\n52,,b@b.c,,\n")
    landing.put("crm/dt=2026-06-02/contacts.csv", header + "51,x@y.z,a@b.c,,\n")
    assert [file.status for file in landing.load_crm().files] == ["loaded", "shrunk"]
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT | {"email": "Work email"}}})
    assert [file.status for file in landing.load_crm().files] == ["loaded", "shrunk"]
    assert landing.load_crm().files == ()
    counts = [payload for _, is_complete, _, _, payload in _held(landing) if is_complete]
    assert {"a@b.c", "b@b.c"} <= {json.loads(payload).get("email") for payload in counts}


@pytest.mark.parametrize("reader", ["null", "'2026-11'"])
def test_a_suppression_list_that_an_earlier_version_has_read_is_read_again_once(landing: Landing, reader: str) -> None:
    landing.put("suppression.csv", "email\nsmtp:ann@acme.com\n")
    landing.load_crm()
    landing.connection.execute(f"update raw.files set mapping = {reader}")
    landing.connection.execute("update raw.crm_versions set key = 'email:smtp:ann@acme.com'")
    assert [file.status for file in landing.load_crm().files] == ["loaded"]
    newest = (
        "select key from raw.crm_extract_rows join raw.crm_versions using (version_id) order by extract_id desc limit 1"
    )
    assert landing.values(newest) == ["email:ann@acme.com"]
    assert landing.load_crm().files == ()


@pytest.mark.parametrize("by_now", ["email\nann@acme.com\n", "email\n", ""])
def test_a_list_that_says_something_else_by_now_is_not_read_again_and_again(landing: Landing, by_now: str) -> None:
    landing.put("suppression.csv", "email\nann@acme.com\nbo@acme.com\nvi@acme.com\n")
    landing.load_crm()
    landing.connection.execute("update raw.files set mapping = null")
    landing.put("suppression.csv", by_now)
    assert [file.status for file in landing.load_crm().files] == ["shrunk"]
    assert landing.load_crm().files == ()


def test_a_list_that_is_read_again_says_nothing_of_a_newer_one_that_cannot_be_read(landing: Landing) -> None:
    landing.put("suppression.csv", "email\nann@acme.com\n")
    landing.load_crm()
    landing.put("suppression.ndjson", '{"mail": "bo@acme.com"}\n')
    landing.load_crm()
    known = crm_freshness(landing.connection, NOW, landing.rules).hold_reason
    assert known and "suppression.ndjson can't be read" in known
    landing.connection.execute("update raw.files set mapping = null")
    assert [file.path for file in landing.load_crm().files] == ["suppression.csv"]
    assert crm_freshness(landing.connection, NOW, landing.rules).hold_reason == known
    landing.put("suppression.ndjson", '{"email": "bo@acme.com"}\n')
    landing.load_crm()
    assert "suppression" not in (crm_freshness(landing.connection, NOW, landing.rules).hold_reason or "")


def test_what_was_read_before_names_were_written_down_is_left_alone(landing: Landing) -> None:
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT}})
    landing.put("crm/contacts.csv", "Record ID,Email,Unsubscribed from all email,DNC\n51,a@b.c,,\n")
    landing.load_crm()
    landing.connection.execute("update raw.files set mapping = null")
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT | {"name": "Email"}}})
    assert landing.load_crm().files == ()


def test_content_that_comes_again_repeats_what_was_read_with_the_same_names(landing: Landing) -> None:
    content = "Record ID,Email,Unsubscribed from all email,DNC\n51,a@b.c,,\n"
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT | {"name": "Email"}}})
    landing.put("crm/contacts.csv", content, at=NOW - timedelta(days=2))
    landing.load_crm()
    landing.rules = rules().model_copy(update={"crm_columns": {"contacts": HUBSPOT}})
    landing.put("crm/contacts.csv", content, at=NOW - timedelta(days=1))
    assert [file.status for file in landing.load_crm().files] == ["loaded"]
    landing.put("crm/contacts.csv", content, at=NOW)
    assert [file.status for file in landing.load_crm().files] == ["redelivered"]
    assert landing.load_crm().files == ()
