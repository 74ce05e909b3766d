"""How long the steps of a run keep the warehouse's file: what others may open, and when."""

import subprocess
import sys
from pathlib import Path

import pytest

from dagster_project.defs.resources import Workplace


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


def test_whoever_calls_outside_can_let_go_of_the_file(tmp_path: Path) -> None:
    workplace = Workplace(overrides={"PLS_DATA_DIR": str(tmp_path)})
    with workplace.connect(stays_open=True):
        pass
    workplace.let_go()
    assert _others_can_open(workplace.settings.warehouse)


@pytest.mark.parametrize(("crm", "is_free"), [("local", False), ("hubspot", True)])
def test_nobody_waits_for_a_crm_elsewhere_with_the_file_open(tmp_path: Path, crm: str, is_free: bool) -> None:
    workplace = Workplace(overrides={"PLS_DATA_DIR": str(tmp_path), "PLS_CRM": crm, "PLS_HUBSPOT_TOKEN": "t"})
    with workplace.connect(stays_open=True):
        pass
    workplace.crm()
    try:
        assert _others_can_open(workplace.settings.warehouse) is is_free
    finally:
        workplace.let_go()


def test_a_step_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    workplace = Workplace(overrides={"PLS_DATA_DIR": str(tmp_path)})
    with pytest.raises(ZeroDivisionError), workplace.connect(stays_open=True):
        _ = 1 / 0
    assert _others_can_open(workplace.settings.warehouse)


def _others_can_open(path: Path) -> bool:
    """Whether another process can, which is what the lock is about."""
    command = [sys.executable, "-c", "import duckdb, sys; duckdb.connect(sys.argv[1])", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
