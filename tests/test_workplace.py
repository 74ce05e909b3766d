"""How long the steps of a run keep the warehouse's file, what others may open, and when; and their connections."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from clients.loopback import FakeClock

from dagster_project.clients.kept import KeptClients
from dagster_project.defs.resources import Workplace
from dagster_project.held_warehouse import HeldWarehouse


def test_a_step_may_leave_the_file_open_until_one_does_not(tmp_path: Path) -> None:
    workplace = Workplace(overrides={"PLS_DATA_DIR": str(tmp_path)})
    with workplace.connect(stays_open=True) as connection:
        connection.execute("create table kept (id integer)")
    assert not _others_can_open(workplace.settings.warehouse)
    with workplace.connect(stays_open=True) as connection:
        connection.execute("insert into kept values (1)")
    assert not _others_can_open(workplace.settings.warehouse)
    with workplace.connect() as connection:
        assert connection.sql("select * from kept").fetchall() == [(1,)]
    assert _others_can_open(workplace.settings.warehouse)


def test_a_file_that_no_step_uses_for_a_while_is_let_go(tmp_path: Path) -> None:
    """So that nobody who waits long for an answer from outside has it open."""
    held, path = HeldWarehouse(idle_seconds=0.05), tmp_path / "warehouse.duckdb"
    with held.connect(path, stays_open=True) as connection:
        connection.execute("create table kept (id integer)")
        time.sleep(0.2)  # in use, for however long
        assert not _others_can_open(path)
    for _ in range(200):
        if _others_can_open(path):
            break
        time.sleep(0.01)
    assert _others_can_open(path)
    with held.connect(path, stays_open=False) as connection:
        assert connection.sql("select count(*) from kept").fetchall() == [(0,)]


def test_a_step_that_comes_in_time_finds_the_file_open(tmp_path: Path) -> None:
    held, path = HeldWarehouse(idle_seconds=60.0), tmp_path / "warehouse.duckdb"
    with held.connect(path, stays_open=True) as connection:
        connection.execute("create table kept (id integer)")
    with held.connect(path, stays_open=True) as outer, held.connect(path, stays_open=False) as inner:
        outer.execute("insert into kept values (1)")
        assert inner.sql("select count(*) from kept").fetchall() == [(1,)]
    assert not _others_can_open(path)
    held.let_go()
    assert _others_can_open(path)


def test_runs_that_follow_each_other_share_what_they_are_connected_to(tmp_path: Path) -> None:
    def workplace(**more: str) -> Workplace:
        access = {"PLS_CRM": "hubspot", "PLS_HUBSPOT_TOKEN": "t", "PLS_SLACK_BOT_TOKEN": "xoxb-1"}
        return Workplace(overrides={"PLS_DATA_DIR": str(tmp_path), **access, **more})

    crm, chat = workplace().crm(), workplace().chat()
    assert workplace().crm() is crm
    assert workplace().chat() is chat
    assert workplace(PLS_HUBSPOT_TOKEN="another").crm() is not crm
    assert workplace(PLS_SLACK_BOT_TOKEN="xoxb-2").chat() is not chat
    crm = workplace().crm()
    workplace().connect_anew()
    assert workplace().crm() is not crm


def test_what_was_learnt_of_an_outside_system_is_used_for_minutes_and_not_longer() -> None:
    clock = FakeClock()
    kept = KeptClients(300.0, clock.now)
    connected = [kept.get("crm", "token", object)]
    for seconds in (299.0, 1.0):
        clock.advance(seconds)
        connected.append(kept.get("crm", "token", object))
    assert connected[1] is connected[0]
    assert connected[2] is not connected[0]


def test_a_step_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    workplace = Workplace(overrides={"PLS_DATA_DIR": str(tmp_path)})
    with pytest.raises(ZeroDivisionError), workplace.connect(stays_open=True):
        _ = 1 / 0
    assert _others_can_open(workplace.settings.warehouse)


def _others_can_open(path: Path) -> bool:
    """Whether another process can, which is what the lock is about."""
    command = [sys.executable, "-c", "import duckdb, sys; duckdb.connect(sys.argv[1])", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
