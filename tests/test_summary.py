"""What a run says at its end."""

import io
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from dagster_project.settings import settings_from
from dagster_project.summary import print_summary
from dagster_project.warehouse import Warehouse

STARTED = datetime(2026, 6, 30, 18, 0, 0)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder whose warehouse has what a run without users leaves behind."""
    with Warehouse(tmp_path / "warehouse.duckdb").connect() as connection:
        connection.execute("insert into raw.moments values (?, ?, true, ?)", [STARTED, STARTED.date(), STARTED])
        connection.execute("create schema intermediate")
        connection.execute(
            "create table intermediate.int_crm_no_contact (entity varchar, unread_objections varchar, is_gone boolean)"
        )
        connection.execute("create schema marts")
        for table in ("pql_scores", "pqa_scores"):
            connection.execute(f"create table marts.{table} (classification varchar)")
        connection.execute("create table marts.handoffs (handoff_id varchar, status varchar)")
        connection.execute(
            "create table marts.deliveries (destination varchar, object_type varchar, object_id varchar, "
            "operation varchar, status varchar, requested_at timestamp, confirmed_at timestamp, error varchar)"
        )
    return tmp_path


def summary_of(data_dir: Path, *decided: tuple[str, str, int]) -> str:
    said = io.StringIO()
    print_summary(Console(file=said, width=80), settings_from({"PLS_DATA_DIR": str(data_dir)}), STARTED, decided)
    return said.getvalue()


def test_a_run_with_nothing_new_says_so_in_numbers(data_dir: Path) -> None:
    lines = [line.split() for line in summary_of(data_dir).splitlines()]
    assert ["events", "0", "0", "0", "0"] in lines
    assert ["not_ready", "0", "0"] in lines
    assert "No new handoff candidates." in summary_of(data_dir)
    found = " ".join(summary_of(data_dir).split())
    assert f"nothing to score no events or CRM files were found in {data_dir / 'landing'}" in found


def test_what_was_decided_is_told_by_decision_and_priority(data_dir: Path) -> None:
    said = summary_of(data_dir, ("sent", "P0", 1200), ("held_capacity", "P2", 1))
    lines = [line.split() for line in said.splitlines()]
    assert ["sent", "P0", "1,200"] in lines
    assert ["held_capacity", "P2", "1"] in lines
    assert "No new handoff candidates." not in said


def test_only_the_files_of_this_run_are_counted(data_dir: Path) -> None:
    with Warehouse(data_dir / "warehouse.duckdb").connect() as connection:
        connection.execute("insert into raw.batches values (1, timestamp '2026-06-29'), (2, ?)", [STARTED])
        for batch in (1, 2):
            connection.execute(
                "insert into raw.files (batch_id, source, path, status, rows_in, loaded, duplicate, quarantined) "
                "values (?, 'events', 'events/a.csv', 'loaded', 1200, 1197, 2, 1)",
                [batch],
            )
    assert ["events", "1,200", "1,197", "2", "1"] in [line.split() for line in summary_of(data_dir).splitlines()]


def test_a_file_with_trouble_is_told_whole_whatever_its_name(data_dir: Path) -> None:
    name = f"events/{'long-' * 20}[red].csv"
    with Warehouse(data_dir / "warehouse.duckdb").connect() as connection:
        connection.execute("insert into raw.batches values (1, ?)", [STARTED])
        connection.execute(
            "insert into raw.files (batch_id, source, path, status, detail, rows_in, loaded, duplicate, quarantined) "
            "values (1, 'events', ?, 'unreadable', 'expected one of [id]', 1, 0, 0, 1)",
            [name],
        )
    assert f"unreadable {name}: expected one of [id]" in summary_of(data_dir)


def test_flags_that_nobody_can_read_are_told_of_whom_they_are_and_what_they_say(data_dir: Path) -> None:
    with Warehouse(data_dir / "warehouse.duckdb").connect() as connection:
        rows = [("contacts", "email_opt_out: [maybe]", False)] * 2
        rows += [("accounts", "do_not_contact: ?", True), ("accounts", None, False)]
        connection.executemany("insert into intermediate.int_crm_no_contact values (?, ?, ?)", rows)
    [told] = [line for line in summary_of(data_dir).splitlines() if "not readable" in line]
    assert "email_opt_out: [maybe] (contacts: 2): neither yes nor no, so it counts as a no" in told


def test_what_the_crm_took_refused_and_will_be_asked_again(data_dir: Path) -> None:
    with Warehouse(data_dir / "warehouse.duckdb").connect() as connection:
        before = datetime(2026, 6, 29)
        told = "insert into marts.deliveries values (?, 'contact', ?, 'update', ?, ?, ?, null)"
        for object_id, status, requested_at, confirmed_at in (
            ("c_1", "confirmed", before, STARTED),
            ("c_2", "confirmed", before, before),
            ("c_3", "parked", before, None),
            ("c_4", "unknown", before, None),
            ("c_1", "parked", before - timedelta(days=1), None),  # and taken since
        ):
            connection.execute(told, ["crm:hubspot", object_id, status, requested_at, confirmed_at])
        connection.execute(told, ["slack", "m_1", "confirmed", before, STARTED])
    lines = [line.split() for line in summary_of(data_dir).splitlines()]
    assert ["hubspot", "1", "1", "1"] in lines and not [line for line in lines if line[:1] == ["slack"]]


def test_handoffs_that_nobody_has_got_yet_are_told_of(data_dir: Path) -> None:
    assert "wait to be sent" not in summary_of(data_dir)
    with Warehouse(data_dir / "warehouse.duckdb").connect() as connection:
        connection.execute(
            "insert into marts.handoffs values ('h_1', 'pending'), ('h_2', 'parked'), ('h_3', 'delivered')"
        )
    assert "2 handoffs wait to be sent: the step handoffs/delivered says why" in summary_of(data_dir)
    with Warehouse(data_dir / "warehouse.duckdb").connect() as connection:
        told = "insert into marts.deliveries values ('slack', 'handoff', ?, 'alert', 'failed', ?, null, ?)"
        connection.execute(told, ["h_1", STARTED, "[invalid_auth]: Slack does not accept PLS_SLACK_BOT_TOKEN"])
        connection.execute(told, ["h_3", STARTED + timedelta(hours=1), "of one that has arrived since"])
    said = "2 handoffs wait to be sent: [invalid_auth]: Slack does not accept PLS_SLACK_BOT_TOKEN"
    assert said in summary_of(data_dir)


def test_names_that_the_catalogue_does_not_know_are_told_where_most_have_one(data_dir: Path) -> None:
    def land(*events: str) -> None:
        with Warehouse(data_dir / "warehouse.duckdb").connect() as connection:
            connection.execute("delete from raw.events; delete from raw.batches")
            connection.execute("insert into raw.batches values (1, ?)", [STARTED])
            for event in events:
                connection.execute("insert into raw.events (type, event, batch_id) values ('track', ?, 1)", [event])

    land("upgrade_clicked", "upgrade_clicked", "[b]odd", " team member INVITED ")
    said = " ".join(summary_of(data_dir).split())
    assert "not in the catalogue 3 of 4 track events, most of them upgrade_clicked (2), [b]odd (1): they count" in said
    land("upgrade_clicked", "Team Member Invited")
    assert "not in the catalogue" not in summary_of(data_dir)
