"""A connected CRM that is read beside the runs of `pls watch`: nobody waits for its pages, and nothing is lost or taken
twice."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from hubspot_server import TOKEN, HubSpotServer
from installation import forgetful_instance
from loopback import Asked, Reply

from dagster_project.crm_beside import LOOK_SECONDS, CrmBeside
from dagster_project.defs.ingest import crm_records
from dagster_project.defs.resources import Workplace
from dagster_project.extraction import ENTITIES
from dagster_project.landing.freshness import crm_freshness
from dagster_project.playbook_files import PACKAGED
from dagster_project.run import everything_on

OTHER_FIELDS = "the contacts of the connected CRM are read from other fields now"
CONTACTS = re.compile(r"/contacts(/search)?$")


class SlowHubSpot(HubSpotServer):
    """Shows contacts only while it is let."""

    def __init__(self) -> None:
        super().__init__(epoch=datetime.now(UTC))
        self.lets, self.is_asked = threading.Event(), threading.Event()
        self.lets.set()

    def answer(self, asked: Asked) -> Reply:
        if CONTACTS.search(asked.path):
            self.is_asked.set()
            assert self.lets.wait(30)
        return super().answer(asked)


@dataclass
class Desk:
    """A data folder that is connected to this HubSpot, and who reads it beside runs."""

    server: SlowHubSpot
    data_dir: Path
    said: list[str] = field(default_factory=list)
    now: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    read: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self.beside = self.reader()

    def reader(self) -> CrmBeside:
        return CrmBeside(
            self.workplace, self.said.append, done=self.read.release, stop=self.stop, clock=lambda: self.now
        )

    def workplace(self, read_beside: Mapping[str, str] | None = None) -> Workplace:
        return Workplace(
            read_beside=None if read_beside is None else dict(read_beside),
            overrides={
                "PLS_DATA_DIR": str(self.data_dir),
                "PLS_PLAYBOOK_DIR": str(self.data_dir / "playbook"),
                "PLS_CRM": "hubspot",
                "PLS_HUBSPOT_TOKEN": TOKEN,
                "PLS_HUBSPOT_BASE_URL": self.server.base_url,
            },
        )

    def rule(self, packaged: str, ours: str) -> None:
        """Let one of the rules be another."""
        text = self.rules.read_text()
        assert packaged in text
        self.rules.write_text(text.replace(packaged, ours))

    def read_beside(self) -> Mapping[str, str]:
        """Read once; what there is to take then."""
        self.wait(LOOK_SECONDS)
        self.beside.begin()
        assert self.finished()
        return self.beside.fetched

    def wait(self, seconds: float) -> None:
        """Let time pass here, and at HubSpot, which counts searches."""
        self.now += seconds
        self.server.clock.advance(max(0.0, seconds))

    def finished(self) -> bool:
        """Whether the reading that goes on has come to its end."""
        is_done = self.read.acquire(timeout=30)
        for thread in readers():
            thread.join(30)
        return is_done

    def begin(self) -> None:
        """Begin to read, as far as HubSpot lets."""
        self.server.lets.clear()
        self.server.is_asked.clear()
        self.wait(LOOK_SECONDS)
        self.beside.begin()
        assert self.server.is_asked.wait(30)

    def let(self) -> None:
        """Let the reading that goes on come to its end."""
        self.server.lets.set()
        assert self.finished()

    def run(self, fetched: Mapping[str, str] | None) -> int:
        """Load what was read, or read it where that is None; how often HubSpot was asked."""
        asked = len(self.server.asked)
        workplace = self.workplace(fetched)
        with forgetful_instance() as instance:
            assert dg.materialize([crm_records], instance=instance, resources={"workplace": workplace}).success
        return len(self.server.asked) - asked

    @property
    def rules(self) -> Path:
        return self.data_dir / "playbook" / "crm_sources.yml"

    @property
    def roles(self) -> dict[str, str | None]:
        """By contact, as the newest complete extract says."""
        return dict(
            self._rows(
                "select key, payload ->> 'role' from raw.crm_versions join raw.crm_extract_rows using (version_id) "
                "where extract_id = (select max(extract_id) from raw.crm_extracts "
                "where entity = 'contacts' and is_complete)"
            )
        )

    def extracts(self, entity: str) -> list[str]:
        """What became of each delivery of an entity."""
        return [status for (status,) in self._rows(f"select status from raw.files where source = 'crm.{entity}'")]

    def troubles(self) -> dict[str, str]:
        return dict(self._rows("select entity, trouble from raw.crm_cursors where trouble is not null"))

    def hold(self) -> str | None:
        """Why handoffs are held."""
        with self.workplace().connect() as connection:
            now = datetime.now(UTC).replace(tzinfo=None)
            return crm_freshness(connection, now, self.workplace().playbook.sources).hold_reason

    def let_time_pass(self, **time: float) -> None:
        """As if the CRM had been read so much earlier."""
        with self.workplace().connect() as connection:
            connection.execute("update raw.crm_cursors set tried_at = tried_at - ?", [timedelta(**time)])

    def _rows(self, query: str) -> list[tuple[str, ...]]:
        with self.workplace().connect() as connection:
            return connection.sql(query).fetchall()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "playbook").mkdir()
    with SlowHubSpot() as server:
        for kind in ("contacts", "companies"):
            server.state.properties[kind]["pls_do_not_contact"] = {"name": "pls_do_not_contact", "type": "string"}
        server.add("companies", "1", name="Acme", domain="acme.com")
        server.add("contacts", "1", email="ann@acme.com", jobtitle="CTO")
        server.add("contacts", "2", email="bob@acme.com", jobtitle="Clerk")
        desk = Desk(server, tmp_path)
        shutil.copy(PACKAGED / "crm_sources.yml", desk.rules)
        desk.rule("extract_every_minutes: 15", "extract_every_minutes: 0")
        yield desk
        server.lets.set()
        desk.beside.end()


def promote_bob(desk: Desk) -> None:
    desk.server.clock.advance(60)
    desk.server.change("contacts", "2", jobtitle="CFO")


def test_a_run_waits_for_no_page_and_the_next_takes_what_was_read(desk: Desk) -> None:
    desk.run(None)
    promote_bob(desk)
    desk.begin()
    assert not desk.beside.fetched
    assert desk.run(desk.beside.fetched) == 0, "events go on meanwhile"
    desk.let()
    assert desk.beside.fetched == dict.fromkeys(ENTITIES, "")
    assert desk.roles == {"1": "CTO", "2": "Clerk"}
    assert desk.run(desk.beside.fetched) == 0, "it is loaded, not read again"
    assert desk.roles == {"1": "CTO", "2": "CFO"}


def test_what_was_never_read_a_run_reads_itself(desk: Desk) -> None:
    """Who may not be contacted has to be known before somebody is."""
    assert desk.run({}) > 0
    assert desk.roles == {"1": "CTO", "2": "Clerk"}
    assert desk.run({}) == 0


def test_what_another_run_has_loaded_meanwhile_is_no_news(desk: Desk) -> None:
    desk.run(None)
    promote_bob(desk)
    fetched = desk.read_beside()
    assert desk.run(None) == 0, "whoever comes first takes what is there"
    before = desk.extracts("contacts")
    desk.run(fetched)
    assert desk.extracts("contacts") == before
    assert desk.roles == {"1": "CTO", "2": "CFO"}


def test_what_cannot_be_read_is_told_by_the_run_and_keeps_nothing_else(desk: Desk) -> None:
    desk.run(None)
    promote_bob(desk)
    desk.server.fail("answer", "/companies", times=99, reply=Reply(403, {"message": "no companies for you"}))
    desk.run(desk.read_beside())
    assert desk.roles["2"] == "CFO"
    [(entity, trouble)] = desk.troubles().items()
    assert entity == "accounts"
    assert "no companies for you" in trouble


def test_a_run_that_reads_itself_takes_what_the_reading_has_that_it_waited_for(desk: Desk) -> None:
    desk.run(None)
    promote_bob(desk)
    desk.begin()
    running = threading.Thread(target=desk.run, args=(None,))
    running.start()
    running.join(1)
    assert running.is_alive(), "it waits"
    desk.server.lets.set()
    running.join(30)
    assert desk.roles == {"1": "CTO", "2": "CFO"}
    assert len(desk.server.lines(f"POST .*{CONTACTS.pattern}")) == 1, "contacts that have changed were asked for once"


def test_a_worker_that_comes_later_finds_the_pages_that_nobody_has_loaded(desk: Desk) -> None:
    desk.run(None)
    promote_bob(desk)
    desk.read_beside()
    asked = len(desk.server.asked)
    later = desk.reader()
    later.begin()
    assert desk.finished()
    assert len(desk.server.asked) == asked
    desk.run(later.fetched)
    assert desk.roles["2"] == "CFO"


def test_the_crm_is_read_once_a_minute_at_the_most_and_when_all_is_taken(desk: Desk) -> None:
    desk.run(None)
    assert desk.read_beside()
    desk.wait(LOOK_SECONDS)
    assert not looks(desk), "what was read is still to be taken"
    desk.run(desk.beside.fetched)
    desk.beside.taken(is_done=True)
    assert looks(desk)
    desk.beside.taken(is_done=True)
    desk.wait(LOOK_SECONDS - 1)
    assert not looks(desk)
    desk.wait(1)
    assert looks(desk)


def test_what_no_run_could_load_is_offered_again_after_longer_and_longer_pauses(desk: Desk) -> None:
    desk.run(None)
    promote_bob(desk)
    for failures in range(3):
        assert desk.read_beside()
        asked = len(desk.server.asked)
        desk.beside.taken(is_done=False)
        desk.wait(LOOK_SECONDS * 2**failures - 1)
        assert not looks(desk)
        desk.wait(1 - LOOK_SECONDS)
    assert desk.read_beside()
    assert len(desk.server.asked) == asked, "the pages are there"


def looks(desk: Desk) -> bool:
    """Whether somebody looks what is due, if told to begin."""
    looks = desk.beside.begin()
    assert not looks or desk.finished()
    return looks


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pls-watch-crm"]


def test_handoffs_are_held_as_soon_as_a_mapping_is_another_one(desk: Desk) -> None:
    """Somebody who says no in another field than before must not be written to until that field was read."""
    desk.run(None)
    assert desk.hold() is None
    desk.rule("extract_every_minutes: 0", "extract_every_minutes: 15")
    desk.rule("email_opt_out: hs_email_optout", "email_opt_out: hs_object_id")
    assert desk.run({}) == 0, "that is for whoever reads beside it"
    assert OTHER_FIELDS in str(desk.hold())
    assert desk.read_beside() == {"contacts": ""}, "now, since it is mapped anew"
    desk.run(desk.beside.fetched)
    assert desk.hold() is None


def test_while_somebody_reads_for_long_runs_go_on_with_what_is_known(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_project.defs.ingest.PAGES_PATIENCE", 0.1)
    desk.run(None)
    desk.begin()
    desk.let_time_pass(hours=1)
    assert desk.run({}) == desk.run(None) == 0
    assert desk.hold() is None
    desk.rule("email_opt_out: hs_email_optout", "email_opt_out: hs_object_id")
    desk.run({})
    assert desk.troubles()["contacts"].startswith("they are mapped anew")
    assert OTHER_FIELDS in str(desk.hold())
    desk.let()
    desk.run(desk.beside.fetched)
    assert OTHER_FIELDS in str(desk.hold()), "that was read by the old mapping"
    desk.beside.taken(is_done=True)
    desk.run(desk.read_beside())
    assert desk.hold() is None


def test_what_was_tried_in_vain_and_is_mapped_anew_keeps_nobody_waiting(desk: Desk) -> None:
    desk.rule("extract_every_minutes: 0", "extract_every_minutes: 15")
    desk.server.fail("answer", "/tickets", times=99, reply=Reply(403, {"message": "no tickets for you"}))
    desk.run(None)
    desk.rule("category: hs_ticket_category", "category: subject")
    assert desk.run({}) == 0
    assert desk.troubles()["tickets"].startswith("they are mapped anew")
    with desk.workplace().crm_pages_locked(timeout_seconds=0):
        assert desk.run({}) == 0
    assert desk.read_beside().keys() == {"tickets"}


def test_what_nobody_has_read_for_long_a_run_reads_itself(desk: Desk) -> None:
    """After a night without a worker, or while what was read can't be loaded."""
    desk.rule("extract_every_minutes: 0", "extract_every_minutes: 15")
    desk.run(None)
    promote_bob(desk)
    desk.let_time_pass(minutes=29)
    assert desk.run({}) == 0
    desk.let_time_pass(minutes=1)
    assert desk.run({}) > 0
    assert desk.roles["2"] == "CFO"


def test_everything_is_read_by_nobody_whom_files_wait_for(desk: Desk) -> None:
    """It takes thousands of pages. What is known is too old to act on long before it is due again."""
    desk.rule("extract_every_minutes: 0", "extract_every_minutes: 15")
    desk.run(None)
    desk.let_time_pass(hours=1)
    with desk.workplace().connect() as connection:
        connection.execute("update raw.crm_cursors set full_at = full_at - interval 8 day")
    assert desk.run({}) == 0
    assert desk.read_beside() == dict.fromkeys(ENTITIES, "")


def test_a_first_run_waits_until_all_is_read(desk: Desk) -> None:
    """Otherwise all that only the CRM makes true would be news to the second one."""
    desk.begin()
    running = threading.Thread(target=desk.run, args=({},))
    running.start()
    running.join(1)
    assert running.is_alive()
    desk.server.lets.set()
    running.join(30)
    assert desk.roles == {"1": "CTO", "2": "Clerk"}


def test_pages_that_nobody_has_loaded_for_long_are_not_what_the_crm_says_now(desk: Desk) -> None:
    desk.rule("extract_every_minutes: 0", "extract_every_minutes: 15")
    desk.run(None)
    desk.let_time_pass(hours=1)
    desk.read_beside()
    promote_bob(desk)
    for page in desk.data_dir.glob(".crm_pages/hubspot/*/*.json"):
        earlier = page.stat().st_mtime - 3600
        os.utime(page, (earlier, earlier))
    assert desk.run({}) > 0
    assert desk.roles["2"] == "CFO"


def test_a_clock_that_was_ahead_keeps_nobody_from_reading(desk: Desk) -> None:
    desk.rule("extract_every_minutes: 0", "extract_every_minutes: 15")
    desk.run(None)
    promote_bob(desk)
    desk.let_time_pass(days=-400)
    with desk.workplace().connect() as connection:
        connection.execute("update raw.crm_cursors set extracted_at = extracted_at + interval 400 day")
    desk.run(desk.read_beside())
    assert desk.roles["2"] == "CFO"


def test_after_a_stop_nothing_is_begun(desk: Desk) -> None:
    desk.run(None)
    desk.beside.end()
    desk.wait(LOOK_SECONDS)
    assert not looks(desk)


def test_pages_that_are_older_than_what_is_known_are_not_taken(desk: Desk) -> None:
    """The cursor behind them would never tell of what they lack."""
    desk.run(None)
    promote_bob(desk)
    fetched = desk.read_beside()
    with desk.workplace().connect() as connection:
        connection.execute("update raw.crm_cursors set extracted_at = ?", [desk.workplace().now()])
    before = desk.extracts("contacts")
    desk.run(fetched)
    assert desk.extracts("contacts") == before


def test_another_mapping_is_read_at_once_and_nothing_else_before_it_is_due(desk: Desk) -> None:
    desk.rule("extract_every_minutes: 0", "extract_every_minutes: 15")
    desk.run(None)
    asked = len(desk.server.asked)
    assert not desk.read_beside()
    assert not desk.read_beside()
    assert len(desk.server.asked) == asked
    desk.rule("role: jobtitle", "role: firstname")
    assert desk.read_beside() == {"contacts": ""}


def test_pls_watch_takes_what_the_crm_says_where_nothing_lands_and_ends_when_it_is_told(desk: Desk) -> None:
    (desk.data_dir / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    environment = {**os.environ, **desk.workplace().overrides, "DAGSTER_HOME": str(desk.data_dir)}
    words = [sys.executable, "-c", "from dagster_project.cli import main; main(['watch'])"]
    with subprocess.Popen(words, env=environment, cwd=desk.data_dir, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        said = [watching.stdout.readline() for _ in range(2)]
        watching.terminate()
        said += watching.stdout.readlines()
    # Right after midnight the day's run is left to the schedule.
    assert re.search(r" (the day's run of everything|what the CRM says)", said[1]), said
    assert "have no field" in said[1], "it was told, and everything else was done"
    assert everything_on(desk.workplace()) == datetime.now(UTC).date()
    assert (watching.returncode, said[-1]) == (0, "Stopped\n")
    assert desk.roles == {"1": "CTO", "2": "Clerk"}


def test_nobody_reads_while_somebody_else_does(desk: Desk) -> None:
    desk.run(None)
    with desk.workplace().crm_pages_locked(timeout_seconds=0):
        assert not desk.read_beside()
    assert desk.read_beside()


def test_what_keeps_it_from_reading_is_said_and_tried_again(desk: Desk) -> None:
    desk.run(None)
    desk.rule("extract_every_minutes: 0", "extract_every_minutes: soon")
    assert not desk.read_beside()
    assert desk.said[0].startswith("the connected CRM was not read: ")
    desk.rule("extract_every_minutes: soon", "extract_every_minutes: 0")
    assert desk.read_beside()
