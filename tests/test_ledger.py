"""The ledger: opened by anybody at any revision, all or nothing, nothing lost and nothing done twice.

With PLS_TEST_LEDGER_URL (`postgresql+psycopg://...`) the same tests run there, each in a schema of its own.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import polars as pl
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from core.handoff_frames import accounts, inputs, playbook, users
from ledger_files import empty_ledger
from ledger_rows import LATER, NOW, candidate, handoff, plan, request, state

from dagster_project.core.automation import RULE_DECISION_SCHEMA
from dagster_project.core.feedback import Answer, Label
from dagster_project.core.follow_ups import OVERLAP_SCHEMA, RECYCLED
from dagster_project.core.handoff_plan import HANDOFF_SCHEMA, PAST_SCHEMA
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.triggers import STATE_SCHEMA
from dagster_project.ledger import ASKED_FOR, Ledger, Overtaken
from dagster_project.ledger_engine import MIGRATIONS, LedgerError, LedgerTooNew, LedgerUnreachable, only_run_on
from dagster_project.ledger_memory import LedgerHasForgotten, check_memory, note_copy
from dagster_project.ledger_reading import PACKAGES
from dagster_project.ledger_schema import METADATA
from dagster_project.ledger_writing import Outcome
from dagster_project.settings import settings_from
from dagster_project.warehouse import RAW_TABLES

SERVER = os.environ.get("PLS_TEST_LEDGER_URL")
CONFIG = Config()
CONFIG.set_main_option("script_location", str(MIGRATIONS))
REVISIONS = [script.revision for script in ScriptDirectory.from_config(CONFIG).walk_revisions()][::-1]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Where a ledger may be, with none there yet."""
    if not SERVER:
        yield f"sqlite:///{tmp_path / 'data' / 'ledger.sqlite'}"
        return
    schema, engine = f"test_{uuid4().hex}", sa.create_engine(SERVER)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"create schema {schema}")
    own = sa.make_url(SERVER).update_query_dict({"options": f"-csearch_path={schema}"})
    yield own.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"drop schema {schema} cascade")
    engine.dispose()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger(url) as opened:
        yield opened


@pytest.fixture
def engine(url: str, tmp_path: Path) -> Iterator[sa.Engine]:
    """The database beneath the ledger, for what only another program would do to it."""
    (tmp_path / "data").mkdir(exist_ok=True)
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


def test_of_those_who_run_on_a_shared_ledger_one_has_the_turn(url: str) -> None:
    with only_run_on(url, 0) as first, only_run_on(url, 0) as second:
        assert (first, second) == (True, not SERVER), "an SQLite ledger is kept by its data folder's lock"
    with only_run_on(url, 0) as later:
        assert later
    with only_run_on("postgresql+psycopg://ledger:secret@localhost:1/pls", 0) as unreachable:
        assert unreachable, "the steps that need it say so"


# --- migrations -----------------------------------------------------------------------------------


def upgrade(engine: sa.Engine, revision: str) -> None:
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def content(engine: sa.Engine) -> dict[str, list[dict[str, Any]]]:
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        return {
            name: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for name, table in tables.tables.items()
            if name != "alembic_version"
        }


def fill(engine: sa.Engine) -> None:
    """A row into each table that has none. Every text is a JSON list, which a column of lists can be read from."""
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for name, rows in content(engine).items():
            if not rows:
                columns = tables.tables[name].columns
                connection.execute(tables.tables[name].insert(), {column.name: _example(column) for column in columns})


def _example(column: sa.Column[Any]) -> Any:
    of_type: dict[type, Any] = {bool: True, int: 7, float: 7.5, datetime: NOW, str: json.dumps([column.name])}
    return of_type[column.type.python_type]


def test_upgrading_step_by_step_keeps_every_row(engine: sa.Engine, url: str) -> None:
    before: dict[str, list[dict[str, Any]]] = {}
    for revision in REVISIONS:
        upgrade(engine, revision)
        after = content(engine)
        assert before.keys() <= after.keys()
        for name, rows in before.items():
            assert len(after[name]) == len(rows) == 1
            kept = rows[0].keys() & after[name][0].keys()
            assert {key: after[name][0][key] for key in kept} == {key: rows[0][key] for key in kept}
        fill(engine)
        before = content(engine)
    with Ledger(url) as ledger:
        assert {name: ledger.read_frame(name).height for name in METADATA.tables} == dict.fromkeys(METADATA.tables, 1)


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_ledger_of_any_revision_is_opened_with_its_rows(engine: sa.Engine, url: str, revision: str) -> None:
    upgrade(engine, revision)
    fill(engine)
    before = content(engine)
    with Ledger(url) as ledger:
        assert {name: ledger.read_frame(name).height for name in before} == dict.fromkeys(before, 1)


def test_the_migrated_tables_are_those_that_the_code_knows(ledger: Ledger, engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_a_ledger_of_a_newer_version_is_refused_untouched_with_the_way_out(engine: sa.Engine, url: str) -> None:
    with Ledger(url) as ledger:
        ledger.set_meta("baseline", "done")
    with engine.begin() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    before = content(engine)
    with pytest.raises(LedgerTooNew, match=r"revision 9999.*run the version that wrote it, or set PLS_LEDGER_URL"):
        Ledger(url).__enter__()
    assert content(engine) == before


def test_a_fresh_ledger_can_be_opened_by_several_at_once(url: str) -> None:
    together = threading.Barrier(6)

    def open_and_write(number: int) -> None:
        together.wait(10)
        with Ledger(url) as ledger:
            ledger.set_meta(f"from {number}", "here")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(open_and_write, range(6)))
    with Ledger(url) as ledger:
        assert ledger.read_frame("meta")["key"].sort().to_list() == [f"from {number}" for number in range(6)]


def test_what_was_remembered_is_there_when_opened_again(url: str) -> None:
    with Ledger(url) as ledger:
        assert ledger.get_meta("baseline") is None
        ledger.set_meta("baseline", "a")
        ledger.set_meta("baseline", "b")
    with Ledger(url) as ledger:
        assert ledger.get_meta("baseline") == "b"


# --- reading --------------------------------------------------------------------------------------


def test_tables_without_rows_have_their_types(ledger: Ledger) -> None:
    assert ledger.read_frame("handoffs").drop("change").schema == HANDOFF_SCHEMA
    assert ledger.read_frame("trigger_states").schema == STATE_SCHEMA
    assert ledger.past_handoffs(NOW).schema == PAST_SCHEMA
    deliveries = ledger.read_frame("deliveries")
    assert (deliveries.schema["attempts"], deliveries.schema["error"]) == (pl.Int64(), pl.String())


@pytest.mark.parametrize("name", sorted(METADATA.tables))
def test_a_table_has_the_same_types_with_rows_and_without(ledger: Ledger, engine: sa.Engine, name: str) -> None:
    empty = ledger.read_frame(name)
    fill(engine)
    filled = ledger.read_frame(name)
    assert (empty.height, filled.height) == (0, 1)
    assert empty.schema == filled.schema
    assert filled.null_count().sum_horizontal().item() == 0


def test_past_handoffs_are_the_recent_ones_that_were_not_cancelled(ledger: Ledger) -> None:
    ledger.apply_handoff_plan(
        plan(
            handoff(handoff_id="ho_old", recipient_id="old", created_at=NOW - timedelta(days=14)),
            handoff(handoff_id="ho_sent", recipient_id="sent", status="delivered"),
            handoff(handoff_id="ho_gone", recipient_id="gone", status="cancelled"),
        )
    )
    past = ledger.past_handoffs(NOW - timedelta(days=14))
    assert past["recipient_id"].to_list() == ["sent"]
    assert past["triggers"].to_list() == [["hot_pql", "team_growth"]]


def test_older_handoffs_that_somebody_may_be_working_on_are_found_when_asked_for(ledger: Ledger) -> None:
    old = NOW - timedelta(days=20)
    ledger.apply_handoff_plan(
        plan(
            *(
                handoff(handoff_id=f"ho_{status}", recipient_id=status, status=status, created_at=old)
                for status in ("delivered", "claimed", "not_a_fit", "closed", "cancelled")
            ),
            handoff(handoff_id="ho_older", recipient_id="older", created_at=NOW - timedelta(days=30)),
            handoff(handoff_id="ho_new", recipient_id="new", status="closed"),
        )
    )
    past = ledger.past_handoffs(NOW - timedelta(days=14), going_on_since=NOW - timedelta(days=30))
    assert sorted(past["recipient_id"]) == ["claimed", "delivered", "new"]


def test_pending_handoffs_come_with_the_most_urgent_first(ledger: Ledger) -> None:
    ledger.apply_handoff_plan(
        plan(
            handoff(handoff_id="ho_1", priority="P2"),
            handoff(handoff_id="ho_2", priority="P0"),
            handoff(handoff_id="ho_3", priority="P0", status="delivered"),
        )
    )
    assert ledger.pending_handoffs() == [handoff(handoff_id="ho_2"), handoff(handoff_id="ho_1", priority="P2")]


# --- plans ----------------------------------------------------------------------------------------

PLANNED = ("handoff_decisions", "handoffs", "trigger_states", "candidates", "routing_turns")
TURN = {"team": "ae", "owner_id": "o_1", "assigned_seq": 1}


def kept(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    rows = {name: ledger.read_frame(name).drop("change", strict=False).rows(named=True) for name in PLANNED}
    # No database promises an order.
    return {name: sorted(found, key=lambda row: str(row.values())) for name, found in rows.items()}


def test_a_plan_is_kept_whole_and_a_second_time_changes_nothing(ledger: Ledger) -> None:
    whole = plan(handoff(), states=(state(),), candidates=(candidate(),), turns=(TURN,))
    ledger.apply_handoff_plan(whole)
    once = kept(ledger)
    assert {name: len(rows) for name, rows in once.items()} == dict.fromkeys(PLANNED, 1)
    assert once["handoffs"] == [handoff()]
    assert once["trigger_states"] == [state()]
    assert once["candidates"] == [candidate()]
    ledger.apply_handoff_plan(whole)
    assert kept(ledger) == once


@pytest.mark.parametrize(("delivery", "status"), [("failed", "pending"), ("pending", "cancelled")])
def test_what_was_taken_back_before_anybody_got_it_is_handed_over_when_it_is_decided_again(
    ledger: Ledger, delivery: Any, status: str
) -> None:
    ledger.apply_handoff_plan(plan(handoff()))
    [delivery_id] = ledger.request([request(object_type="handoff", object_id="ho_1", operation="alert")], NOW)
    ledger.settle([Outcome(delivery_id, delivery)], NOW)
    ledger.take_back("ho_1", "it did not arrive", NOW, notice_id="no_1", paused_by="ac_1", resume=None)
    ledger.apply_handoff_plan(plan(handoff(recipient_id="o_2")))
    [found] = ledger.read_frame("handoffs").to_dicts()
    assert (found["status"], found["recipient_id"]) == (status, "o_2" if status == "pending" else "o_1")
    assert ledger.read_frame("handoff_decisions").height == 1


def test_a_plan_made_before_somebody_else_handed_over_is_not_kept(ledger: Ledger) -> None:
    read_at = ledger.last_handoff_change()
    asked_for = handoff(handoff_id="ho_2", status=ASKED_FOR)
    assert ledger.add_handoff(plan(asked_for), asked_for, requests=(), now=NOW, read_at=read_at)
    before = kept(ledger)
    with pytest.raises(Overtaken):
        ledger.apply_handoff_plan(plan(handoff(), turns=(TURN,)), read_at=read_at)
    other = handoff(handoff_id="ho_3", status=ASKED_FOR)
    with pytest.raises(Overtaken):
        ledger.add_handoff(plan(other), other, requests=(), now=NOW, read_at=read_at)
    assert kept(ledger) == before
    ledger.apply_handoff_plan(plan(handoff()), read_at=ledger.last_handoff_change())
    assert set(ledger.handoffs()["handoff_id"]) == {"ho_1", "ho_2"}


def test_handoffs_are_read_by_moment_and_status_and_without_packages_unless_asked_for(ledger: Ledger) -> None:
    old = handoff(handoff_id="ho_2", status="delivered", created_at=NOW - timedelta(days=9))
    ledger.apply_handoff_plan(plan(handoff(), old))
    everything = ledger.read_frame("handoffs").sort("handoff_id")
    assert ledger.handoffs(with_packages=True).sort("handoff_id").equals(everything)
    assert ledger.handoffs().sort("handoff_id").equals(everything.drop(PACKAGES))
    [since] = everything.filter(handoff_id="ho_1")["created_at"]
    assert ledger.handoffs(since=since)["handoff_id"].to_list() == ["ho_1"]
    assert ledger.handoffs(statuses={"delivered"})["handoff_id"].to_list() == ["ho_2"]


def test_a_plan_that_fails_at_its_last_row_leaves_nothing_behind(ledger: Ledger) -> None:
    ledger.apply_handoff_plan(plan(handoff(), states=(state(),), candidates=(candidate(),), turns=(TURN,)))
    before = kept(ledger)
    nobody = {"team": "ae", "owner_id": None, "assigned_seq": 2}
    with pytest.raises(sa.exc.IntegrityError):
        ledger.apply_handoff_plan(plan(handoff(handoff_id="ho_2"), turns=(TURN, nobody)))
    assert kept(ledger) == before


def test_the_same_plan_again_does_not_send_what_was_delivered(ledger: Ledger) -> None:
    ledger.apply_handoff_plan(plan(handoff()))
    [delivery_id] = ledger.request([request(destination="outbox", object_type="handoff", object_id="ho_1")], NOW)
    ledger.settle([Outcome(delivery_id, "confirmed")], NOW, handoffs={"ho_1": "delivered"})
    ledger.apply_handoff_plan(plan(handoff()))
    assert ledger.pending_handoffs() == []


def test_the_next_plan_replaces_candidates_and_turns_and_adds_to_the_rest(ledger: Ledger) -> None:
    ledger.apply_handoff_plan(
        plan(handoff(), states=(state(), state(subject_id="absent")), candidates=(candidate(),), turns=(TURN,))
    )
    armed = state(is_armed=True, occurrence=None, changed_at=LATER)
    turn = {"team": "ae", "owner_id": "o_2", "assigned_seq": 2}
    ledger.apply_handoff_plan(plan(handoff(handoff_id="ho_2"), states=(armed, state(subject_id="new")), turns=(turn,)))
    now = kept(ledger)
    assert now["trigger_states"] == [state(subject_id="absent"), state(subject_id="new"), armed]
    assert now["candidates"] == []
    assert now["routing_turns"] == [turn]
    assert [row["handoff_id"] for row in now["handoffs"]] == ["ho_1", "ho_2"]
    assert [row["handoff_id"] for row in now["handoff_decisions"]] == ["ho_1", "ho_2"]


# --- deliveries -----------------------------------------------------------------------------------


def deliveries(ledger: Ledger) -> list[dict[str, Any]]:
    return ledger.read_frame("deliveries").drop("change").sort("requested_at", "delivery_id").to_dicts()


def test_a_copy_is_brought_up_to_date_by_what_changed_after_it(ledger: Ledger) -> None:
    ledger.apply_handoff_plan(plan(handoff(), handoff(handoff_id="ho_2")))
    copy = ledger.read_frame("handoffs")
    [delivery_id] = ledger.request([request()], NOW)
    ledger.settle([Outcome(delivery_id, "confirmed")], LATER, handoffs={"ho_2": "delivered"})
    later = ledger.read_frame("handoffs", after=copy["change"].max())
    assert later.select("handoff_id", "status").rows() == [("ho_2", "delivered")]
    assert ledger.read_frame("handoffs", after=later["change"].max()).is_empty()
    assert ledger.read_frame("deliveries", after=copy["change"].max())["status"].to_list() == ["confirmed"]


def test_an_intent_is_there_before_anything_was_done(ledger: Ledger) -> None:
    [delivery_id] = ledger.request([request()], NOW)
    said = {name: value for name, value in vars(request()).items() if name != "only_adds"}
    assert deliveries(ledger) == [
        said
        | {"delivery_id": delivery_id, "status": "pending", "attempts": 1, "error": None}
        | {"requested_at": NOW, "confirmed_at": None}
    ]
    assert ledger.confirmed("crm:local", "contact") == {}


def test_what_is_only_decided_on_has_not_been_tried(ledger: Ledger) -> None:
    ledger.apply_handoff_plan(plan(), requests=[request()], now=NOW)
    assert [row["attempts"] for row in deliveries(ledger)] == [0]
    ledger.request([request()], LATER)
    assert [(row["attempts"], row["requested_at"]) for row in deliveries(ledger)] == [(1, NOW)]


def test_the_same_payload_again_is_the_same_delivery_with_its_attempts_counted(ledger: Ledger) -> None:
    [first] = ledger.request([request()], NOW)
    [second] = ledger.request([request()], LATER)
    ledger.settle([Outcome(second, "failed", "no answer")], LATER)
    [third] = ledger.request([request(payload='{"pql_score": 81.0, "pls_scored_at": "later"}')], LATER)
    assert first == second == third
    [row] = deliveries(ledger)
    assert (row["status"], row["attempts"], row["error"], row["requested_at"]) == ("pending", 3, None, NOW)
    assert row["payload"] == '{"pql_score": 81.0, "pls_scored_at": "later"}'


def test_another_payload_supersedes_the_open_one(ledger: Ledger) -> None:
    [first] = ledger.request([request()], NOW)
    [second] = ledger.request([request(payload_hash="h82")], LATER)
    assert first != second
    assert [(row["delivery_id"], row["status"], row["error"], row["attempts"]) for row in deliveries(ledger)] == [
        (first, "cancelled", "superseded by a newer one", 1),
        (second, "pending", None, 1),
    ]


@pytest.mark.parametrize("before", [(), ("h81",), ("h83",), ("h80",)])
def test_of_several_requests_for_the_same_object_the_last_stands(ledger: Ledger, before: tuple[str, ...]) -> None:
    asked = [request(payload_hash=name) for name in ("h81", "h82", "h83")]
    ledger.request([request(payload_hash=name) for name in before], NOW)
    ledger.apply_handoff_plan(plan(), requests=asked, now=LATER)
    rows = ledger.read_frame("deliveries")
    assert rows.filter(status="pending")["payload_hash"].to_list() == ["h83"]
    assert set(rows.filter(status="cancelled")["payload_hash"]) == {"h81", "h82", *before} - {"h83"}
    assert set(rows.filter(status="cancelled")["error"]) == {"superseded by a newer one"}
    [again] = ledger.request([asked[-1]], LATER)
    assert ledger.read_frame("deliveries").filter(status="pending")["delivery_id"].to_list() == [again]


def test_what_was_superseded_and_is_asked_for_last_stands(ledger: Ledger) -> None:
    first, second = request(), request(payload_hash="h82")
    ledger.request([first], NOW)
    ids = ledger.request([first, second, first], NOW)
    rows = ledger.read_frame("deliveries")
    assert rows.filter(status="pending")["delivery_id"].to_list() == [ids[-1]]
    assert rows.filter(status="cancelled")["payload_hash"].to_list() == ["h82"]


@pytest.mark.parametrize("status", ["confirmed", "parked", "cancelled"])
def test_what_is_settled_stays_and_the_same_payload_later_is_a_new_delivery(ledger: Ledger, status: Any) -> None:
    [first] = ledger.request([request()], NOW)
    ledger.settle([Outcome(first, status)], NOW)
    [second] = ledger.request([request()], LATER)
    assert first != second
    assert [(row["delivery_id"], row["status"]) for row in deliveries(ledger)] == [(first, status), (second, "pending")]


@pytest.mark.parametrize(
    "other", [{"object_id": "c_2"}, {"object_type": "account"}, {"operation": "task"}, {"destination": "crm:hubspot"}]
)
def test_requests_for_something_else_do_not_meet(ledger: Ledger, other: dict[str, str]) -> None:
    ledger.request([request()], NOW)
    ledger.request([request(payload_hash="h82", **other)], LATER)
    assert [row["status"] for row in deliveries(ledger)] == ["pending", "pending"]


def test_ids_come_in_the_order_of_the_requests(ledger: Ledger) -> None:
    [of_two] = ledger.request([request(object_id="c_2")], NOW)
    ids = ledger.request([request(object_id=f"c_{number}") for number in (3, 2, 1)], LATER)
    assert ids[1] == of_two
    assert len(set(ids)) == 3
    assert ledger.request([], NOW) == []


def test_a_confirmation_brings_the_fields_and_the_handoff_with_it(ledger: Ledger) -> None:
    ledger.apply_handoff_plan(plan(handoff()))
    [delivery_id] = ledger.request([request()], NOW)
    fields = {"pql_score": 81.0, "features_used": ["alerts", "über"], "last_active": "2026-05-01"}
    key = ("crm:local", "contact", "c_1")
    ledger.settle([Outcome(delivery_id, "confirmed")], LATER, confirmed={key: fields}, handoffs={"ho_1": "delivered"})
    [row] = deliveries(ledger)
    assert (row["status"], row["confirmed_at"]) == ("confirmed", LATER)
    assert ledger.confirmed("crm:local", "contact") == {"c_1": fields}
    assert ledger.confirmed("crm:local", "account") == ledger.confirmed("crm:hubspot", "contact") == {}
    assert ledger.read_frame("handoffs")["status"].to_list() == ["delivered"]


def test_a_settlement_that_fails_half_way_settles_nothing(ledger: Ledger) -> None:
    [delivery_id] = ledger.request([request()], NOW)
    nobody: Any = ("crm:local", "contact", None)
    with pytest.raises(sa.exc.IntegrityError):
        ledger.settle([Outcome(delivery_id, "confirmed")], NOW, confirmed={nobody: {}})
    assert [row["status"] for row in deliveries(ledger)] == ["pending"]


def test_only_the_last_word_about_an_object_parks_it(ledger: Ledger) -> None:
    [first] = ledger.request([request()], NOW)
    ledger.settle([Outcome(first, "parked", "not a number")], NOW)
    assert ledger.parked("crm:local", "contact", "update") == {"c_1": "h81"}
    assert ledger.parked("crm:local", "contact", "task") == ledger.parked("crm:local", "account", "update") == {}
    [task] = ledger.request([request(operation="task")], LATER)
    ledger.settle([Outcome(task, "confirmed")], LATER)
    assert ledger.parked("crm:local", "contact", "update") == {"c_1": "h81"}
    [second] = ledger.request([request(payload_hash="h82")], LATER)
    ledger.settle([Outcome(second, "confirmed")], LATER)
    assert ledger.parked("crm:local", "contact", "update") == {}


def test_a_request_is_unsettled_until_its_end_is_known(ledger: Ledger) -> None:
    [delivery_id] = ledger.request([request()], NOW)
    assert ledger.unsettled("crm:local", "contact", "update") == {"c_1": '{"pql_score": 81.0}'}
    ledger.settle([Outcome(delivery_id, "failed", "timed out")], NOW)
    assert ledger.unsettled("crm:local", "contact", "update") == {"c_1": '{"pql_score": 81.0}'}
    assert ledger.unsettled("crm:local", "contact", "task") == {}
    ledger.settle([Outcome(delivery_id, "confirmed")], LATER)
    assert ledger.unsettled("crm:local", "contact", "update") == {}


def test_a_cancelled_handoff_leaves_its_reason_and_is_not_sent(ledger: Ledger) -> None:
    ledger.apply_handoff_plan(plan(handoff()))
    [waiting] = ledger.pending_handoffs()
    [delivery_id] = ledger.request([request(destination="outbox", object_type="handoff", object_id="ho_1")], LATER)
    for _ in range(2):
        ledger.cancel_handoff(waiting, delivery_id, "opted out in the CRM", LATER)
    assert ledger.pending_handoffs() == []
    assert ledger.read_frame("handoffs")["status"].to_list() == ["cancelled"]
    [delivery] = deliveries(ledger)
    assert (delivery["status"], delivery["error"]) == ("cancelled", "opted out in the CRM")
    sent, cancelled = ledger.read_frame("handoff_decisions").sort("decided_at").to_dicts()
    assert (sent["decision"], sent["handoff_id"]) == ("sent", "ho_1")
    assert (cancelled["decision"], cancelled["handoff_id"]) == ("suppressed_no_contact", None)
    assert cancelled["reason"] == "at the moment of sending: opted out in the CRM"
    told = ("candidate_key", "user_id", "account_id", "triggers", "priority")
    assert [cancelled[name] for name in told] == [waiting[name] for name in told]
    assert ledger.past_handoffs(NOW - timedelta(days=1)).is_empty()


CHAMPION = {"user_id": "u_1", "pql_score": 95.0, "classification": "hot"}
COLLEAGUE = {"user_id": "u_2", "contact_id": "c_2", "last_sales_request_at": NOW - timedelta(hours=1)}


def withdrawn(ledger: Ledger, people: pl.DataFrame, companies: pl.DataFrame) -> dict[str, Any]:
    """The handoff that these people became, after it could not be sent because of whom it names; twice."""
    ledger.apply_handoff_plan(plan_handoffs(inputs(people, companies), playbook()))
    [waiting] = ledger.pending_handoffs()
    [delivery_id] = ledger.request([request(object_type="handoff", object_id=waiting["handoff_id"])], NOW)
    for _ in range(2):
        ledger.cancel_handoff(waiting, delivery_id, "opted out", NOW)
    return waiting


def decided_next(ledger: Ledger, people: pl.DataFrame, companies: pl.DataFrame) -> list[tuple[Any, ...]]:
    """What the next run decides, which the ledger keeps."""
    run = replace(
        inputs(people, companies, as_of=LATER),
        states=ledger.read_frame("trigger_states"),
        open_candidates=ledger.read_frame("candidates"),
        past=ledger.past_handoffs(NOW - timedelta(days=14)),
    )
    planned = plan_handoffs(run, playbook())
    ledger.apply_handoff_plan(planned)
    return sorted(planned.decisions.select("decision", "user_id", "triggers").rows(), key=str)


def test_what_fired_for_a_colleague_is_decided_again_when_the_person_named_opts_out(ledger: Ledger) -> None:
    company = accounts({"active_users_30d": 5})
    was = withdrawn(ledger, users(CHAMPION, COLLEAGUE), company)
    assert (was["user_id"], was["triggers"]) == ("u_2", ["hand_raise", "hot_pql", "team_growth"])
    [first] = ledger.read_frame("handoff_decisions").filter(decision="suppressed_no_contact").to_dicts()
    assert first["reason"] == "at the moment of sending: opted out; what others are behind is decided again"
    now = users(CHAMPION, COLLEAGUE | {"email_opt_out": True})
    assert decided_next(ledger, now, company) == [("sent", "u_1", ["hot_pql", "team_growth"])]
    assert [row["user_id"] for row in ledger.pending_handoffs()] == ["u_1"]
    assert decided_next(ledger, now, company) == []
    assert ledger.read_frame("handoffs").height == 2


def test_what_fired_for_an_account_names_its_next_best_user_then(ledger: Ledger) -> None:
    company, best, next_best = accounts({"active_users_30d": 5}), {"pql_score": 70.0}, {"user_id": "u_2"}
    assert withdrawn(ledger, users(best, next_best), company)["user_id"] == "u_1"
    now = users(best | {"is_unsubscribed": True}, next_best)
    assert decided_next(ledger, now, company) == [("sent", "u_2", ["team_growth"])]


def test_nothing_is_left_of_a_handoff_that_was_about_one_person(ledger: Ledger) -> None:
    withdrawn(ledger, users(CHAMPION), accounts({}))
    assert ledger.read_frame("candidates").is_empty()
    assert decided_next(ledger, users(CHAMPION | {"email_opt_out": True}), accounts({})) == []


def test_a_company_that_says_no_is_told_of_once_more_and_never_sent(ledger: Ledger) -> None:
    company = accounts({"active_users_30d": 5, "do_not_contact": True})
    withdrawn(ledger, users(CHAMPION, COLLEAGUE), accounts({"active_users_30d": 5}))
    assert [row[:1] for row in decided_next(ledger, users(CHAMPION, COLLEAGUE), company)] == [
        ("suppressed_no_contact",),
        ("suppressed_no_contact",),
    ]
    assert ledger.read_frame("candidates").is_empty()


def test_what_fired_is_kept_only_until_somebody_has_the_handoff(ledger: Ledger) -> None:
    ledger.apply_handoff_plan(plan_handoffs(inputs(users(CHAMPION)), playbook()))
    [row] = ledger.pending_handoffs()
    assert ledger.read_frame("handoff_firings")["handoff_id"].to_list() == [row["handoff_id"]]
    ledger.settle([], LATER, handoffs={row["handoff_id"]: "delivered"})
    assert ledger.read_frame("handoff_firings").is_empty()


def test_what_is_known_of_an_earlier_copy_is_compared_whatever_is_left_of_it(ledger: Ledger, tmp_path: Path) -> None:
    settings = settings_from({"PLS_DATA_DIR": str(tmp_path)})
    with duckdb.connect() as warehouse:
        warehouse.execute(RAW_TABLES)
        check_memory(ledger, warehouse, settings)
        warehouse.execute("create schema ops; create table ops.deliveries as select 'dl_1' as delivery_id")
        check_memory(ledger, warehouse, settings)
        warehouse.execute("create table ops.handoffs (handoff_id varchar, change bigint)")
        check_memory(ledger, warehouse, settings)
        warehouse.execute("insert into ops.handoffs values ('ho_1', 1)")
        with pytest.raises(LedgerHasForgotten, match="has 0 changes, .*a copy of one with 1"):
            check_memory(ledger, warehouse, settings)
        ledger.request([request()], NOW)
        check_memory(ledger, warehouse, settings)


def test_a_ledger_out_of_a_backup_stays_one_however_often_it_is_written_to(ledger: Ledger, tmp_path: Path) -> None:
    settings = settings_from({"PLS_DATA_DIR": str(tmp_path)})
    kept = Ledger(empty_ledger(tmp_path / "kept.sqlite"))
    with duckdb.connect() as warehouse, kept:
        warehouse.execute(RAW_TABLES)
        note_copy(ledger, warehouse)
        check_memory(ledger, warehouse, settings)
        for number in range(50):
            kept.request([request(object_id=f"c_{number}")], NOW)
        with pytest.raises(LedgerHasForgotten, match="knows of 0 copies of it, and .* is copy 1"):
            check_memory(kept, warehouse, settings)
        note_copy(ledger, warehouse)
        check_memory(ledger, warehouse, settings)
    with duckdb.connect() as another:
        another.execute(RAW_TABLES)
        check_memory(ledger, another, settings)
        note_copy(ledger, another)
        check_memory(ledger, another, settings)


def test_an_answer_that_is_quicker_than_the_receipt_stands(ledger: Ledger) -> None:
    """Nobody knew yet whether the message had arrived, and its reader pressed a button."""
    ledger.apply_handoff_plan(plan(handoff(handoff_id="ho_1"), handoff(handoff_id="ho_2")))
    ledger.keep_answer(Answer("ho_1", "not_a_fit", "o_1", NOW, "slack"), chat="slack")
    ledger.settle([], LATER, handoffs={"ho_1": "delivered", "ho_2": "delivered"})
    statuses = ledger.read_frame("handoffs").sort("handoff_id")["status"].to_list()
    assert statuses == ["not_a_fit", "delivered"]


def test_who_answers_what_was_withdrawn_does_not_bring_it_back(ledger: Ledger) -> None:
    ledger.apply_handoff_plan(plan(handoff(handoff_id="ho_1", status="cancelled")))
    ledger.keep_answer(Answer("ho_1", "claimed", "o_1", NOW, "slack"), chat="slack")
    assert ledger.read_frame("handoffs")["status"].to_list() == ["cancelled"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://somewhere/pls", r"PLS_LEDGER_URL names a mysql database; expected sqlite:///"),
        (
            "postgresql+pg9000://somewhere/pls",
            r"names the driver pg9000, which is not installed; expected postgresql\+psy",
        ),
        (
            "postgresql+asyncpg://somewhere/pls",
            r"names the driver asyncpg, which is not installed; expected postgresql",
        ),
    ],
)
def test_a_database_of_another_kind_is_refused(url: str, message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        Ledger(url).__enter__()


def test_a_ledger_that_cannot_be_opened_says_so_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(LedgerUnreachable, match=r"ledger\.sqlite can't be opened: .*allowed to write the file"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}").__enter__()
    with pytest.raises(LedgerUnreachable, match=r"psycopg://localhost:1/pls can't be opened: .*user and password"):
        Ledger("postgresql+psycopg://ledger:secret@localhost:1/pls").__enter__()


@pytest.mark.parametrize("damage", [lambda said: said[: len(said) // 2], lambda said: b"\0" * len(said)])
def test_a_damaged_ledger_says_which_it_is_and_that_it_must_not_be_removed(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    url, path = empty_ledger(tmp_path / "ledger.sqlite"), tmp_path / "ledger.sqlite"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LedgerUnreachable, match=r"ledger\.sqlite is damaged: .*; restore it from a backup"):
        Ledger(url).__enter__()


def test_what_was_given_back_and_taken_up_again_is_with_sales(ledger: Ledger) -> None:
    row = dict.fromkeys(OVERLAP_SCHEMA, "x") | {"handoff_id": "ho_1", "status": RECYCLED, "paused_at": NOW}
    row["recycled_at"] = NOW
    recycled = pl.DataFrame([row], schema=OVERLAP_SCHEMA, orient="row")
    ledger.apply_handoff_plan(replace(plan(handoff(handoff_id="ho_1")), overlaps=recycled))
    found = []
    labels: tuple[Label, ...] = ("not_a_fit", "claimed", "closed")
    for hours, label in enumerate(labels):
        ledger.keep_answer(Answer("ho_1", label, "o_1", NOW + timedelta(hours=hours), "cli"), chat="slack")
        found.append(ledger.overlaps_with_sales()["handoff_id"].to_list())
    assert found == [[], ["ho_1"], []]


def test_since_when_a_firing_is_held_is_the_first_day_of_the_window(ledger: Ledger) -> None:
    def row(number: int, rule: str, decision: str, days: int) -> dict[str, object]:
        whose = {"subject_type": "user", "subject_id": "u_1", "user_id": "u_1", "account_id": None}
        told = {"decision_id": f"rd_{number}", "occurrence": "", "reason": "", "recipient_id": None, **whose}
        return told | {"rule": rule, "decision": decision, "decided_at": NOW - timedelta(days=days)}

    rows = [
        row(1, "score_rise", "held_capacity", 20), row(2, "score_rise", "held_stale_crm", 2),
        row(3, "score_rise", "held_capacity", 1), row(4, "reactivation", "acted", 1),
    ]  # fmt: skip
    told = replace(plan(), rule_decisions=pl.DataFrame(rows, schema=RULE_DECISION_SCHEMA, orient="row"))
    ledger.apply_handoff_plan(told)
    assert ledger.held_rules(NOW - timedelta(days=14)) == {("score_rise", "user", "u_1"): NOW - timedelta(days=2)}


def test_of_writes_that_others_have_followed_those_are_deleted_that_are_old(ledger: Ledger) -> None:
    def ask(day: int, status: str = "confirmed", **changed: Any) -> None:
        at = NOW + timedelta(days=day)
        asked = request(payload=f'{{"day": {day}}}', payload_hash=f"h{day}", **changed)
        [delivery_id] = ledger.request([asked], at)
        ledger.settle([Outcome(delivery_id, status)], at)  # type: ignore[arg-type]

    for day in (0, 1, 2, 3):
        ask(day)
    ask(0, "parked", object_id="c_2")
    ask(1, object_id="c_2")
    for day in (0, 1):
        ask(day, object_id="c_3", action_key=f"once {day}")
        ask(day, object_type="handoff", object_id="ho_1", operation="alert")
    assert ledger.drop_overtaken("update", NOW + timedelta(days=2), most=1) == 1
    assert ledger.drop_overtaken("update", NOW + timedelta(days=2)) == 1
    assert ledger.drop_overtaken("update", NOW + timedelta(days=2)) == 0
    left = ledger.read_frame("deliveries").sort("object_id", "requested_at")
    assert list(left.select("object_id", "status", "payload").iter_rows()) == [
        ("c_1", "confirmed", '{"day": 2}'), ("c_1", "confirmed", '{"day": 3}'),
        ("c_2", "parked", '{"day": 0}'), ("c_2", "confirmed", '{"day": 1}'),
        ("c_3", "confirmed", '{"day": 0}'), ("c_3", "confirmed", '{"day": 1}'),
        ("ho_1", "confirmed", '{"day": 0}'), ("ho_1", "confirmed", '{"day": 1}'),
    ]  # fmt: skip
    assert ledger.drop_overtaken("update", NOW + timedelta(days=9)) == 1, "the last word stays"
