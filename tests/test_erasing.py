"""`pls erase`: nothing that is kept for good names the person any more, and nothing is sent again."""

import json
import shutil
import sqlite3
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from installation import Installation
from ledger_files import empty_ledger
from ledger_rows import NOW, handoff, plan

from dagster_project.actions import action_request
from dagster_project.cli import pls
from dagster_project.clients.crm import Task
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.actions import Action
from dagster_project.core.sync import FieldUpdate
from dagster_project.erasing import (
    ERASED,
    NobodyKnown,
    Person,
    erase_from_ledger,
    erase_from_local_crm,
    erase_from_outbox,
    person_of,
)
from dagster_project.ledger import Ledger
from dagster_project.ledger_writing import Outcome, Request


def _told(data_dir: Path) -> str:
    """Everything that the ledger and the outbox say."""
    with sqlite3.connect(data_dir / "ledger.sqlite") as ledger:
        rows = "\n".join(ledger.iterdump())
    return rows + "\n".join(path.read_text(encoding="utf-8") for path in (data_dir / "outbox").rglob("*.md"))


def _handed_over(data_dir: Path) -> list[tuple]:
    with duckdb.connect(str(data_dir / "serving.duckdb"), read_only=True) as serving:
        return serving.sql("select handoff_id, user_id, status, created_at from marts.handoffs order by all").fetchall()


def test_whoever_is_erased_is_named_nowhere_and_handed_over_to_nobody_again(
    demo_run: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = Installation(shutil.copytree(demo_run.data_dir, tmp_path / "data"))
    with duckdb.connect(str(installation.serving), read_only=True) as serving:
        user_id, email, name = serving.sql(
            "select user_id, email, contact_name from marts.user_profiles "
            "semi join (from marts.handoffs where status = 'delivered') using (user_id) "
            "where email is not null and contact_name like '% %' order by user_id limit 1"
        ).fetchall()[0]
    assert email in _told(installation.data_dir) and name in _told(installation.data_dir)
    before = _handed_over(installation.data_dir)

    monkeypatch.setenv("PLS_DATA_DIR", str(installation.data_dir))
    monkeypatch.setenv("PLS_LEDGER_URL", f"sqlite:///{installation.data_dir / 'ledger.sqlite'}")
    refused = CliRunner().invoke(pls, ["erase", user_id], input="n\n")
    assert refused.exit_code == 1 and email in _told(installation.data_dir)
    said = CliRunner().invoke(pls, ["erase", user_id, "--yes"])
    assert said.exit_code == 0, said.output
    assert "take the person's rows out of landing/events/" in said.output
    assert "take the person's rows out of landing/crm/contacts.csv" in said.output
    assert email not in _told(installation.data_dir) and name not in _told(installation.data_dir)

    installation.run()
    assert _handed_over(installation.data_dir) == before
    with duckdb.connect(str(installation.serving), read_only=True) as serving:
        texts = serving.execute("select package_markdown from marts.handoffs where user_id = ?", [user_id]).fetchall()
    assert texts and {text for (text,) in texts} == {ERASED}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(empty_ledger(tmp_path / "ledger.sqlite"))


ANN = Person("u_1", frozenset({"Ann", "Ann Lee", "ann.lee@acme.com"}))


def test_what_is_said_of_others_stays(ledger: Ledger) -> None:
    mine = handoff(package_markdown="# Ann Lee clicked Upgrade")
    other = handoff(
        handoff_id="ho_2",
        candidate_key="ca_2",
        user_id="u_2",
        package_markdown="# Bo, called by Ann. Also: ANN.LEE@acme.com, Ann Lee (Annette Leeds knows her)",
    )
    with ledger:
        ledger.apply_handoff_plan(plan(mine, other))
        assert erase_from_ledger(ledger, ANN) == 2
        rows = {row["handoff_id"]: row for row in ledger.read_frame("handoffs").iter_rows(named=True)}
        assert rows["ho_1"]["package_markdown"] == ERASED
        told = rows["ho_2"]["package_markdown"]
        assert told == f"# Bo, called by Ann. Also: {ERASED}, {ERASED} (Annette Leeds knows her)"
        assert {name: row["status"] for name, row in rows.items()} == {"ho_1": "cancelled", "ho_2": "pending"}, (
            "whom nobody got is not told of any more"
        )
        assert erase_from_ledger(ledger, ANN) == 0, "there is nothing left"


def test_an_address_is_no_part_of_another(ledger: Ledger) -> None:
    others = "jo.ann.lee@acme.com, mary-ann.lee@acme.com, ann.lee@acme.com.au, ann.lee@acme.com@x.org, Mary-Ann Lee"
    row = handoff(handoff_id="ho_2", candidate_key="ca_2", user_id="u_2", package_markdown=others)
    with ledger:
        ledger.apply_handoff_plan(plan(row))
        assert erase_from_ledger(ledger, ANN) == 0
    assert ANN.without("to ann.lee@acme.com.", is_theirs=False) == f"to {ERASED}."


def test_a_task_about_a_person_is_about_them_and_an_id_that_is_an_address_stays(ledger: Ledger) -> None:
    task = json.dumps({"kind": "task", "payload": {"user_id": "u_1", "title": "Call Ann"}})
    score = json.dumps({"kind": "fields", "payload": {"user_id": "u_2", "fields": {"pql_score": "u_1"}}})
    asked = [
        Request("crm:local", "task", "ac_1", "create", task, "h"),
        Request("crm:local", "contact", "C2", "update", score, "h"),
        Request("product", "user", "ann.lee@acme.com", "traits", "{}", "h"),
    ]
    with ledger:
        ledger.request(asked, NOW)
        assert erase_from_ledger(ledger, ANN) == 1
        read = ledger.read_frame("deliveries").iter_rows(named=True)
        rows = {row["object_id"]: (row["payload"], row["status"]) for row in read}
        assert rows == {
            "ac_1": ("{}", "cancelled"),
            "C2": (score, "pending"),
            "ann.lee@acme.com": ("{}", "pending"),
        }


def test_a_contact_whose_id_is_an_address_is_another_that_nobody_can_read(ledger: Ledger) -> None:
    with ledger:
        asked = Request(
            "crm:local", "contact", "email:ann.lee@acme.com", "upsert", '{"email": "ann.lee@acme.com"}', "h"
        )
        [delivery] = ledger.request([asked], NOW)
        ledger.settle([Outcome(delivery, "confirmed")], NOW)
        assert erase_from_ledger(ledger, ANN) == 1
        [row] = ledger.read_frame("deliveries").iter_rows(named=True)
        assert row["object_id"].startswith(f"email:{ERASED}")
        assert "ann.lee" not in str(row)


def test_letters_about_a_person_are_removed_and_others_are_kept_without_them(ledger: Ledger, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox" / "2026-06-30"
    outbox.mkdir(parents=True)
    (outbox / "ho_1.md").write_text("# Ann Lee")
    (outbox / "ho_2.md").write_text("# Bo, with Ann Lee")
    (outbox / "ho_3.md").write_text("# Cy")
    with ledger:
        ledger.apply_handoff_plan(plan(handoff()))
        assert erase_from_outbox(tmp_path / "outbox", ledger, ANN) == 2
    left = {path.name: path.read_text() for path in outbox.iterdir()}
    assert left == {"ho_2.md": f"# Bo, with {ERASED}", "ho_3.md": "# Cy"}


def test_the_embedded_crm_forgets_whoever_is_erased_deleted_records_too(ledger: Ledger, tmp_path: Path) -> None:
    crm = LocalCrm(tmp_path / "crm.sqlite")
    ann = {"email": "Ann Lee <Ann.Lee@acme.com>", "name": "Ann Lee", "role": "CTO"}
    crm.take_over("contact", {"C1": ann, "C2": {"email": "bo@acme.com", "name": "Bo", "manager": "Ann Lee"}})
    crm.update("contact", [FieldUpdate("C1", {"pql_score": "93", "pls_note": "Ann asked"}, "f")])
    crm.take_over("contact", {"C2": {"email": "bo@acme.com", "name": "Bo", "manager": "Ann Lee"}})  # C1 is deleted
    crm.take_over("account", {"A1": {"name": "Acme", "owner": "ann.lee@acme.com", "seats": 5}})
    for key, contact, body in (("t1", "C1", "She clicked"), ("t2", "C2", "Ask Ann Lee"), ("ac_1", None, "Call")):
        crm.create_task(Task(key, subject="Call", body=body, contact_id=contact))
    action = Action("ac_1", "task", "account", "A1", {"subject": "Call", "user_id": "u_1"})
    with ledger:
        ledger.request([action_request("crm:local", action)], NOW)
        assert erase_from_local_crm(crm, ledger, ANN) == 6
        assert erase_from_local_crm(crm, ledger, ANN) == 0, "there is nothing left"
    with sqlite3.connect(tmp_path / "crm.sqlite") as told:
        everything = "\n".join(told.iterdump())
        tasks = dict(told.execute("select key, task ->> '$.body' from tasks").fetchall())
    assert "ann" not in everything.lower() and "CTO" in everything
    assert tasks == {"t1": ERASED, "t2": f"Ask {ERASED}", "ac_1": ERASED}
    assert crm.records("contact") == {"C2": {"email": "bo@acme.com", "name": "Bo", "manager": ERASED}}
    assert crm.records("account") == {"A1": {"name": "Acme", "owner": ERASED, "seats": 5}}


def test_of_somebody_unknown_it_has_to_be_said_who_they_are(tmp_path: Path) -> None:
    with pytest.raises(NobodyKnown, match="say names and addresses with --also"):
        person_of(tmp_path / "serving.duckdb", "u_1", [" "])
    assert person_of(tmp_path / "serving.duckdb", "u_1", ["Ann Lee"]) == Person("u_1", frozenset({"Ann Lee"}))
