"""The commands as somebody at a terminal meets them: what they print, where, and their exit codes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import pytest
from filelock import FileLock

from dagster_project.cli import main
from dagster_project.defs.resources import Workplace
from dagster_project.warehouse import Warehouse

SMALL = ("--users", "60", "--accounts", "10", "--days", "45", "--end", "2026-06-30T18:00:00Z")


@dataclass(frozen=True)
class Said:
    """What a command left behind.

    Attributes:
        code: Its exit code.
        out: What it printed.
        error: What it printed on stderr.
    """

    code: object
    out: str
    error: str


class Terminal:
    """Runs commands on a data folder of their own.

    Attributes:
        data_dir: The data folder.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.data_dir = folder / "data"
        self._environment = monkeypatch
        self._capsys = capsys
        home = folder / "dagster"
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        for name in ("PLAYBOOK_DIR", "AS_OF", "LEDGER_URL", "CRM", "AUTOMATE"):
            self.set(f"PLS_{name}", "")
        self.set("PLS_DATA_DIR", str(self.data_dir))
        self.set("DAGSTER_HOME", str(home))

    def set(self, name: str, value: str) -> None:
        self._environment.setenv(name, value)

    def pls(self, *words: str) -> Said:
        code: object = 0
        try:
            main(words)
        except SystemExit as end:
            code = end.code
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)

    def landed(self) -> dict[str, bytes]:
        landing = self.data_dir / "landing"
        return {p.relative_to(landing).as_posix(): p.read_bytes() for p in landing.rglob("*") if p.is_file()}


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path, monkeypatch, capsys)


def test_demo_data_are_written_and_the_same_seed_gives_the_same(terminal: Terminal) -> None:
    said = terminal.pls("demo-data", *SMALL, "--seed", "3")
    assert (said.code, said.error) == (0, "")
    assert "Demo company written to" in said.out
    first = terminal.landed()
    assert {"suppression.csv", "crm/accounts.csv"} < set(first)
    terminal.pls("demo-data", *SMALL, "--seed", "3")
    assert terminal.landed() == first
    terminal.pls("demo-data", *SMALL, "--seed", "4")
    assert terminal.landed() != first


def test_demo_data_can_keep_out_of_a_folder_that_holds_files(terminal: Terminal) -> None:
    own = terminal.data_dir / "landing" / "events" / "own.csv"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    said = terminal.pls("demo-data", *SMALL, "--if-empty")
    assert said.code == 0
    assert "holds files already: no demo data written" in said.out
    assert terminal.landed() == {"events/own.csv": b"mine"}


def test_folders_without_files_count_as_empty(terminal: Terminal) -> None:
    (terminal.data_dir / "landing" / "events").mkdir(parents=True)
    terminal.pls("demo-data", *SMALL, "--if-empty")
    assert "crm/accounts.csv" in terminal.landed()


@pytest.mark.parametrize(
    ("words", "code", "last"),
    [
        (("demo-data", "--users", "3"), 2, "Error: Invalid value for '--users': 3 is not in the range x>=50."),
        (("demo-data", "--end", "tomorrow"), 1, "Error: --end is 'tomorrow'; expected ISO 8601 in UTC such as "),
        (("score",), 2, "Error: No such command 'score'."),
    ],
)
def test_a_wrong_word_is_explained_in_the_last_line(
    words: tuple[str, ...], code: int, last: str, terminal: Terminal
) -> None:
    said = terminal.pls(*words)
    assert said.code == code
    assert said.error.splitlines()[-1].startswith(last)
    assert not terminal.data_dir.exists()


@pytest.mark.parametrize(("name", "value"), [("PLS_AS_OF", "yesterday"), ("PLS_CRM", "acme"), ("PLS_AUTOMATE", "2?")])
def test_a_setting_that_cannot_be_used_is_one_line(name: str, value: str, terminal: Terminal) -> None:
    terminal.set(name, value)
    said = terminal.pls("run")
    assert (said.code, said.out) == (1, "")
    [line] = said.error.splitlines()
    assert line.startswith(f"Error: {name} is '{value}'")
    assert not terminal.data_dir.exists()


def test_a_place_that_cannot_be_written_is_one_line(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    terminal.set("PLS_DATA_DIR", str(tmp_path / "taken"))
    for words in (("demo-data", *SMALL), ("run",)):
        said = terminal.pls(*words)
        assert said.code == 1
        [line] = said.error.splitlines()
        assert line.startswith("Error: ")
        assert str(tmp_path / "taken") in line


@pytest.mark.parametrize(
    ("name", "words", "said_first"),
    [
        ("serving.duckdb", ("why", "acme.com"), "a database can't be read or written: "),
        ("ledger.sqlite", ("parked",), "the ledger sqlite:///"),
    ],
)
def test_a_damaged_database_is_one_line(
    name: str, words: tuple[str, ...], said_first: str, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / name).write_text("no database at all, and long enough to have been one" * 100)
    terminal.set("PLS_DATA_DIR", str(tmp_path / "blocks"))
    said = terminal.pls(*words)
    assert said.code == 1
    assert said.error.startswith(f"Error: {said_first}")
    assert "Traceback" not in said.error


def test_the_cause_of_a_failed_run_comes_last(terminal: Terminal, tmp_path: Path) -> None:
    playbook = tmp_path / "playbook"
    playbook.mkdir()
    (playbook / "stages.yml").write_text("activated: 7\n")
    terminal.set("PLS_PLAYBOOK_DIR", str(playbook))
    said = terminal.pls("run")
    assert said.code == 1
    assert "Playbook read" in said.out
    first, *_ = said.error.splitlines()
    assert first.startswith("Error: raw__")
    assert "stages.yml" in said.error
    assert "Traceback" not in said.out + said.error


@pytest.mark.parametrize("command", ["watch", "backfill"])
def test_a_playbook_that_cannot_be_used_is_told_before_anything_is_done(
    command: str, terminal: Terminal, tmp_path: Path
) -> None:
    playbook = tmp_path / "playbook"
    playbook.mkdir()
    (playbook / "sources.yml").write_text("settle_secondz: 2\n")
    terminal.set("PLS_PLAYBOOK_DIR", str(playbook))
    said = terminal.pls(command)
    assert (said.code, said.out) == (1, "")
    first, *problems = said.error.splitlines()
    assert first == "Error: The playbook can't be used:"
    assert problems
    assert all(line.startswith("  sources.yml: ") for line in problems), problems


class OnWaiting(logging.Handler):
    """Does something when somebody finds a lock taken and begins to wait for it."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__(logging.DEBUG)
        self._act = act

    def emit(self, record: logging.LogRecord) -> None:
        if "not acquired" in record.msg:
            self._act()


def test_a_backfill_waits_for_its_turn(terminal: Terminal, caplog: pytest.LogCaptureFixture) -> None:
    terminal.data_dir.mkdir()
    warehouse = Warehouse(terminal.data_dir / "warehouse.duckdb")
    running = FileLock(terminal.data_dir / ".run.lock")
    running.acquire()
    with warehouse.connect() as connection:
        connection.execute("insert into raw.refreshes (definition, is_finished) values ('other models', false)")

    def finish() -> None:
        with warehouse.connect() as connection:
            connection.execute("update raw.refreshes set is_finished = true")
        running.release()

    locks, on_waiting = logging.getLogger("filelock"), OnWaiting(finish)
    caplog.set_level(logging.DEBUG, logger="filelock")
    locks.addHandler(on_waiting)
    try:
        said = terminal.pls("backfill")
    finally:
        locks.removeHandler(on_waiting)
        running.release()
    assert said.code == 1
    assert said.error.startswith("Error: the models, the catalogue or how usage is measured have changed")


@pytest.mark.parametrize("command", ["backfill", "sync"])
def test_whose_turn_does_not_come_is_told_so_in_one_line(
    command: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = partial(Workplace, lock_timeout_seconds=0)
    monkeypatch.setattr("dagster_project.run.Workplace", impatient)
    monkeypatch.setattr("dagster_project.defs.resources.Workplace", impatient)
    terminal.data_dir.mkdir()
    with FileLock(terminal.data_dir / ".run.lock"):
        said = terminal.pls(command)
    assert said.code == 1
    [line] = said.error.splitlines()
    assert line.startswith(f"Error: another run has held {terminal.data_dir / '.run.lock'} for 0 s; ")


def test_a_run_says_what_it_did_and_where_to_look_next(terminal: Terminal) -> None:
    terminal.set("PLS_AS_OF", "2026-06-30T18:00:00Z")
    terminal.pls("demo-data", *SMALL)
    said = terminal.pls("run")
    assert (said.code, said.error) == (0, "")
    order = ["Product events loaded", "Serving copy replaced", "Scored as of 2026-06-30", "quarantined", "not_ready"]
    places = [
        said.out.index(words) for words in [*order, "Where to look next", str(terminal.data_dir / "serving.duckdb")]
    ]
    assert places == sorted(places)
    with duckdb.connect(str(terminal.data_dir / "serving.duckdb"), read_only=True) as serving:
        [(users,)] = serving.sql("select count(*) from marts.pql_scores").fetchall()
        decided = serving.sql(
            "select decision || ' ' || priority, count(*)::varchar from marts.handoff_decisions group by all"
        ).fetchall()
    assert users > 20
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert decided
    assert [" ".join(row) for row in decided if " ".join(row) not in lines] == []
    # The same moment again: what the run before decided is not this one's doing.
    again = terminal.pls("run")
    assert (again.code, "No new handoff candidates." in again.out) == (0, True)


def test_the_version_is_told(terminal: Terminal) -> None:
    assert terminal.pls("--version").out.startswith("pls, version ")
