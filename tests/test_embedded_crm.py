"""The embedded CRM of an installation: its fields are written once, unless it was lost, and nurture waits for a yes."""

import csv
import json
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from installation import END, Installation
from ledger_rows import NOW

from dagster_project.actions import action_request
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.commands.sync import sync
from dagster_project.core.follow_ups import resume_nurture
from dagster_project.ledger import Ledger


def deliver(landing: Path) -> None:
    """One user of one company, who is a contact of the CRM."""
    (landing / "events").mkdir(parents=True)
    at = f"{END:%Y-%m-%d}T10:00:00Z"
    events: list[Mapping[str, Any]] = [
        {"type": "identify", "userId": "u1", "timestamp": at, "traits": {"email": "ann@acme.com"}},
        {"type": "track", "event": "Dashboard Created", "userId": "u1", "timestamp": at},
    ]
    (landing / "events/a.ndjson").write_text("".join(json.dumps(row) + "\n" for row in events), encoding="utf-8")
    (landing / "crm").mkdir()
    said = {"do_not_contact": "false", "updated_at": "2026-01-01"}
    account = {"account_id": "A1", "name": "Acme", "domain": "acme.com", **said}
    contact = {"contact_id": "C1", "email": "ann@acme.com", "account_id": "A1", "email_opt_out": "false", **said}
    for name, row in (("accounts", account), ("contacts", contact)):
        with (landing / f"crm/{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
            writer.writerow(row)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder after a run."""
    installation = Installation(tmp_path_factory.mktemp("ran"))
    deliver(installation.landing)
    installation.run()
    return installation.data_dir


@pytest.fixture
def installation(ran: Path, tmp_path: Path) -> Installation:
    shutil.copytree(ran, tmp_path, dirs_exist_ok=True)
    return Installation(tmp_path)


@pytest.mark.parametrize("lost", ["removed", "looked into since"])
def test_an_embedded_crm_that_was_lost_gets_its_fields_again(
    installation: Installation, tmp_path: Path, lost: str
) -> None:
    crm = LocalCrm(tmp_path / "crm.sqlite")
    before = {kind: crm.records(kind) for kind in ("contact", "account")}
    assert "pql_score" in before["contact"]["C1"] and "pqa_score" in before["account"]["A1"]
    (tmp_path / "crm.sqlite").unlink()
    if lost == "looked into since":
        assert crm.records("contact") == {}
    assert installation.run(only=["crm/plan", "crm/fields"]).success
    assert {kind: crm.records(kind) for kind in before} == before


def test_a_delta_brings_the_records_of_a_lost_crm_back_and_a_full_run_all_of_their_fields(
    installation: Installation, tmp_path: Path
) -> None:
    crm = LocalCrm(tmp_path / "crm.sqlite")
    before = {kind: crm.records(kind) for kind in ("contact", "account")}
    (tmp_path / "crm.sqlite").unlink()
    variables = {"PLS_DATA_DIR": str(tmp_path), "PLS_AS_OF": END.isoformat()}
    asked = CliRunner().invoke(sync, ["--rewrite"], env=variables)
    assert (asked.exit_code, "has no records: `pls run` brings them back" in asked.output) == (1, True)
    event = {"type": "track", "event": "Report Created", "userId": "u1", "timestamp": f"{END:%Y-%m-%d}T11:00:00Z"}
    (installation.landing / "events/b.ndjson").write_text(json.dumps(event) + "\n", encoding="utf-8")
    installation.run("score_new_events")
    assert crm.records("contact")["C1"].keys() == before["contact"]["C1"].keys()
    installation.run()
    assert {kind: set(crm.records(kind)) for kind in before} == {kind: set(before[kind]) for kind in before}
    assert crm.records("account")["A1"].keys() == before["account"]["A1"].keys()


def test_the_fields_alone_leave_what_a_person_has_changed(installation: Installation, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "crm.sqlite") as crm:
        of_contact = "from records where object_type = 'contact' and object_id = 'C1'"
        [(text,)] = crm.execute(f"select fields {of_contact}")
        fields = {**json.loads(text), "pls_motion": "changed by a person"}
        crm.execute("update records set fields = ? where object_id = 'C1'", [json.dumps(fields)])

    def written() -> int:
        with sqlite3.connect(tmp_path / "ledger.sqlite") as ledger:
            return ledger.execute("select count(*) from deliveries where destination = 'crm:local'").fetchone()[0]

    before = written()
    assert installation.run(only=["crm/fields"]).success
    assert (before > 0, written()) == (True, before)
    with sqlite3.connect(tmp_path / "crm.sqlite") as crm:
        assert (
            json.loads(crm.execute(f"select fields {of_contact}").fetchone()[0])["pls_motion"] == "changed by a person"
        )


def opt_out(contacts: Path, said: str) -> None:
    with contacts.open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    with contacts.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow({**row, "email_opt_out": said})


def test_nurture_waits_for_whoever_may_not_be_written_to_and_goes_on_when_they_may(
    installation: Installation, tmp_path: Path
) -> None:
    crm = LocalCrm(tmp_path / "crm.sqlite")
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        ledger.request([action_request(crm.name, resume_nurture("ho_1", "C1", "u1"))], NOW)
    contacts = installation.landing / "crm/contacts.csv"
    opt_out(contacts, "true")
    installation.run()
    assert "pause_nurture" not in crm.records("contact")["C1"]
    opt_out(contacts, "false")
    installation.run()
    assert crm.records("contact")["C1"]["pause_nurture"] is False
