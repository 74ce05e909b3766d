"""A connected CRM's changes on their way into the raw tables: what is new, what goes, what never looks like going."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hubspot_server import TOKEN, HubSpotServer
from loopback import Reply

from dagster_project.clients.http import RetryPolicy
from dagster_project.clients.hubspot import HubSpot, connect
from dagster_project.clients.hubspot_extract import LEFT_OUT
from dagster_project.core.crm_source_rules import CrmSourceRules
from dagster_project.core.source_rules import SourceRules
from dagster_project.extraction import ENTITIES, Fetched, due_entities, fetch, page_store
from dagster_project.landing.crm_api import first_extract_at, load_fetched, standings
from dagster_project.landing.events import begin_batch
from dagster_project.landing.freshness import crm_freshness
from dagster_project.landing.reports import FileOutcome
from dagster_project.playbook_files import read_playbook
from dagster_project.warehouse import Warehouse

SHORT = {"total": 2, "results": [{"id": "1", "properties": {}}]}
"""A search that found more than it shows, and has no further page."""
LIST, SEARCH = "GET /crm/objects/2026-09/contacts$", "POST /crm/objects/2026-09/contacts/search"


@dataclass
class Bench:
    """A HubSpot, an open warehouse and the folder for pages between them."""

    server: HubSpotServer
    connection: duckdb.DuckDBPyConnection
    root: Path
    rules: CrmSourceRules
    sources: SourceRules
    policy: RetryPolicy = RetryPolicy(attempts=2, read_timeout=30)
    ahead: timedelta = timedelta()
    """How much our clock is ahead of the CRM's."""

    @property
    def now(self) -> datetime:
        return self.server.now.replace(tzinfo=None) + self.ahead

    def crm(self) -> HubSpot:
        return connect(
            {"PLS_HUBSPOT_TOKEN": TOKEN, "PLS_HUBSPOT_BASE_URL": self.server.base_url},
            self.rules,
            clock=self.server.clock,
            policy=self.policy,
            now=lambda: self.now,
        )

    def fetch(self, **hours: float) -> list[Fetched]:
        """Let time pass and read what is due."""
        self.server.clock.advance(timedelta(**hours).total_seconds())
        known, now = standings(self.connection, "hubspot"), self.now
        due = due_entities(known, self.rules, now, crm="hubspot")
        return fetch(self.crm(), due, known, self.root, rules=self.rules, now=now)

    def load(self, fetched: list[Fetched], *, shrink_limit: float = 0.2) -> dict[str, FileOutcome | None]:
        batch_id = begin_batch(self.connection, self.now)
        return {
            one.entity: load_fetched(
                self.connection,
                "hubspot",
                one,
                page_store(self.root, "hubspot", one.entity),
                shrink_limit=shrink_limit,
                batch_id=batch_id,
                now=self.now,
            )
            for one in fetched
        }

    def run(self, entity: str = "contacts", *, shrink_limit: float = 0.2, **hours: float) -> FileOutcome | None:
        """Read what is due and load it; what became of one entity."""
        return self.load(self.fetch(**(hours or {"hours": 1})), shrink_limit=shrink_limit)[entity]

    def map(self, **columns: str | None) -> None:
        """Map columns of contacts to other fields."""
        source = self.rules.systems["hubspot"]
        mapped = {**source.columns, "contacts": {**source.columns["contacts"], **columns}}
        changed = source.model_copy(update={"columns": mapped})
        self.rules = self.rules.model_copy(update={"systems": {"hubspot": changed}})

    def now_there(self, entity: str, *columns: str) -> list[tuple[Any, ...]]:
        """What the newest complete extract says."""
        said = ", ".join(f"payload ->> '{column}'" for column in columns)
        return self.connection.execute(
            f"select key{', ' if said else ''}{said} "
            "from raw.crm_versions join raw.crm_extract_rows using (version_id) "
            "where extract_id = (select extract_id from raw.crm_extracts where entity = ? and is_complete "
            "order by extract_at desc limit 1) order by key",
            [entity],
        ).fetchall()

    def count(self, table: str) -> int:
        [(count,)] = self.connection.sql(f"select count(*) from {table}").fetchall()
        return int(count)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    playbook = read_playbook(None)
    with HubSpotServer(limit=100_000) as server, Warehouse(tmp_path / "w.duckdb").connect() as connection:
        yield Bench(server, connection, tmp_path / "pages", playbook.crm_sources, playbook.sources)


def people(bench: Bench, count: int) -> list[str]:
    return [bench.server.add("contacts", email=f"u{number}@acme.com") for number in range(count)]


def test_everything_is_read_page_by_page_in_our_columns(bench: Bench) -> None:
    bench.crm().create_fields("contact", [])
    company = bench.server.add("companies", name="Acme", domain="acme.com", numberofemployees=120)
    ids = people(bench, 249)
    bench.server.change("contacts", ids[0], firstname="Ann", lastname="Lee", associatedcompanyid=company,
                        hs_email_optout=True, pls_do_not_contact=False)  # fmt: skip
    deal = bench.server.add("deals", dealstage="won", hs_is_closed=True, hs_is_closed_won=True, amount=900,
                            closedate="2026-06-01T00:00:00Z")  # fmt: skip
    still_open = bench.server.add("deals", dealstage="demo", hs_is_closed=False, closedate="2026-09-01T00:00:00Z")
    bench.server.associate("deals", deal, "companies", company)
    bench.server.associate("deals", deal, "contacts", ids[0])
    bench.server.add("tickets", "5", subject="Help", hs_ticket_category="Usage Limits")
    bench.server.associate("tickets", "5", "contacts", ids[1])
    bench.server.state.owners += [
        {"id": "1", "firstName": "Max", "email": "max@us.com", "teams": [{"name": "AE", "primary": True}]},
        {"id": "2", "firstName": "Gone", "archived": True},
    ]
    outcomes = bench.load(bench.fetch())
    assert {entity: outcome and (outcome.status, outcome.loaded) for entity, outcome in outcomes.items()} == {
        "owners": ("loaded", 2), "accounts": ("loaded", 1), "contacts": ("loaded", 249), "opportunities": ("loaded", 2),
        "tickets": ("loaded", 1),
    }  # fmt: skip
    assert len(bench.server.lines(LIST)) == 3
    ann = bench.now_there("contacts", "name", "account_id", "email_opt_out", "do_not_contact")[0]
    assert ann == (ids[0], "Ann Lee", company, "true", "false")
    assert bench.now_there("accounts", "name", "employee_count") == [(company, "Acme", "120")]
    assert bench.now_there("opportunities", "account_id", "contact_id", "is_won", "closed_at") == [
        (deal, company, ids[0], "true", "2026-06-01T00:00:00Z"), (still_open, None, None, None, None),
    ]  # fmt: skip
    assert bench.now_there("tickets", "category", "contact_id") == [("5", "limits", ids[1])]
    assert bench.now_there("owners", "team", "is_active") == [("1", "ae", "true"), ("2", None, "false")]


def test_an_objection_that_a_record_comes_without_is_not_taken_for_none(bench: Bench) -> None:
    bench.crm().create_fields("contact", [])
    said = {"hs_email_optout": None, "pls_do_not_contact": "false"}
    records = [{"id": str(number), "properties": said} for number in (1, 2)]
    records[1] = {"id": "2", "properties": {"pls_do_not_contact": None}}
    bench.server.fail("answer", LIST, reply=Reply(200, {"results": records}))
    bench.run()
    assert bench.now_there("contacts", "email_opt_out", "do_not_contact") == [
        ("1", None, "false"), ("2", LEFT_OUT, None),
    ]  # fmt: skip


def test_only_changes_are_read_the_second_time(bench: Bench) -> None:
    ids = people(bench, 10)
    bench.run()
    bench.server.clock.advance(3600)
    bench.server.change("contacts", ids[3], jobtitle="CTO")
    bench.server.asked.clear()
    outcome = bench.run()
    assert outcome and (outcome.status, outcome.rows_in, outcome.loaded) == ("loaded", 1, 1)
    assert bench.now_there("contacts", "role")[3] == (ids[3], "CTO")
    assert len(bench.now_there("contacts")) == 10
    assert not [asked for asked in bench.server.asked if asked.line == LIST[:-1] and asked.query["archived"] == "false"]


def test_nothing_changed_is_no_new_extract_but_the_flags_are_known_to_hold(bench: Bench) -> None:
    people(bench, 3)
    bench.run()
    bench.run(hours=23)
    assert bench.count("raw.crm_extracts where entity = 'contacts'") == 1
    outcome = bench.run(hours=3)
    assert outcome and outcome.status == "redelivered"
    [(delivered_at,)] = bench.connection.sql(
        "select delivered_at from raw.crm_extracts where entity = 'contacts'"
    ).fetchall()
    assert delivered_at == bench.now


def test_what_we_write_ourselves_is_no_news(bench: Bench) -> None:
    ids = people(bench, 3)
    bench.run()
    bench.server.change("contacts", ids[0], pql_score=80)
    outcome = bench.run()
    assert outcome and (outcome.status, outcome.duplicate) == ("redelivered", 1)
    assert bench.count("raw.crm_versions where entity = 'contacts'") == 3


def test_deleted_and_merged_records_go(bench: Bench) -> None:
    ids = people(bench, 4)
    bench.run()
    bench.server.archive("contacts", ids[0])
    bench.server.merge("contacts", ids[1], ids[2])
    outcome = bench.run()
    assert outcome and outcome.status == "loaded"
    assert [row[0] for row in bench.now_there("contacts")] == [ids[1], ids[3]]


def test_many_deletions_that_the_crm_names_are_believed(bench: Bench) -> None:
    ids = people(bench, 10)
    bench.run()
    for object_id in ids[2:]:
        bench.server.archive("contacts", object_id)
    bench.run()
    assert [row[0] for row in bench.now_there("contacts")] == ids[:2]


def test_a_change_that_the_search_finds_late_is_not_lost(bench: Bench) -> None:
    ids = people(bench, 2)
    bench.run()
    bench.server.index_lag = 120
    bench.server.clock.advance(3599)
    bench.server.change("contacts", ids[0], jobtitle="CTO")
    outcome = bench.run(seconds=1)
    assert outcome and outcome.status == "redelivered"
    bench.run()
    assert bench.now_there("contacts", "role")[0] == (ids[0], "CTO")


@pytest.mark.parametrize("kind", ["reset", "cut", "lost"])
def test_an_interrupted_extract_goes_on_where_it_was_and_never_looks_like_deletions(bench: Bench, kind: Any) -> None:
    people(bench, 30)
    bench.run()
    people(bench, 270)
    bench.server.fail(kind, LIST, times=9, after=2)
    started = bench.now + timedelta(days=8)  # everything is due again
    fetched = bench.fetch(days=8)
    [contacts] = [one for one in fetched if one.entity == "contacts"]
    assert contacts.progress and (contacts.progress.pages, contacts.progress.is_complete) == (2, False)
    assert contacts.trouble
    assert bench.load(fetched)["contacts"] is None
    assert len(bench.now_there("contacts")) == 30
    bench.server.heal()
    bench.server.asked.clear()
    outcome = bench.run()
    assert outcome and (outcome.status, len(bench.now_there("contacts"))) == ("loaded", 300)
    assert len(bench.server.lines(LIST)) == 1
    assert standings(bench.connection, "hubspot")["contacts"].extracted_at == started


def test_an_extract_that_was_read_but_not_loaded_is_loaded_without_being_read_again(bench: Bench) -> None:
    people(bench, 3)
    bench.fetch()
    bench.server.asked.clear()
    outcome = bench.run()
    assert outcome and outcome.loaded == 3
    assert not bench.server.asked


def test_loading_twice_changes_nothing(bench: Bench) -> None:
    people(bench, 3)
    fetched = bench.fetch()
    store = page_store(bench.root, "hubspot", "contacts")
    kept = [path.read_text() for path in sorted((bench.root / "hubspot" / "contacts").iterdir())]
    bench.load(fetched)
    assert list(store.rows()) == []
    for number, text in enumerate(kept, start=1):
        (bench.root / "hubspot" / "contacts").mkdir(parents=True, exist_ok=True)
        (bench.root / "hubspot" / "contacts" / f"{number:08d}.json").write_text(text)
    outcomes = bench.load(fetched)
    assert outcomes["contacts"] and outcomes["contacts"].status == "redelivered"
    assert len(bench.now_there("contacts")) == 3


def test_an_old_unfinished_extract_is_begun_anew(bench: Bench) -> None:
    people(bench, 150)
    bench.server.fail("reset", LIST, times=9, after=1)
    bench.load(bench.fetch())
    bench.server.heal()
    outcome = bench.run(hours=25)
    assert outcome and outcome.loaded == 150
    assert len(bench.server.lines(LIST)) == 1 + 2 + 2


def test_an_extract_of_everything_that_shrank_is_a_failed_one_and_is_tried_again(bench: Bench) -> None:
    ids = people(bench, 10)
    bench.run()
    hidden = [bench.server.state.objects["contacts"].pop(object_id) for object_id in ids[:5]]
    outcome = bench.run(days=8)
    assert outcome and outcome.status == "shrunk" and "5 keys where the extract before had 10" in str(outcome.detail)
    assert len(bench.now_there("contacts")) == 10
    bench.server.state.objects["contacts"] |= {record.id: record for record in hidden}
    assert bench.run() and len(bench.now_there("contacts")) == 10
    assert standings(bench.connection, "hubspot")["contacts"].full_at == bench.now


def test_what_was_erased_without_a_trace_is_gone_after_everything_was_read(bench: Bench) -> None:
    ids = people(bench, 10)
    bench.run()
    del bench.server.state.objects["contacts"][ids[0]]
    bench.run()
    assert len(bench.now_there("contacts")) == 10
    bench.run(days=8)
    assert [row[0] for row in bench.now_there("contacts")] == ids[1:]


@pytest.mark.parametrize("body", [{}, {"results": None}, {"total": 5, "results": []}, SHORT])
def test_a_page_that_says_nothing_is_a_failed_one(bench: Bench, body: dict[str, Any]) -> None:
    people(bench, 3)
    bench.run()
    bench.server.fail("answer", SEARCH, reply=Reply(200, body))
    [contacts] = [one for one in bench.fetch(hours=1) if one.entity == "contacts"]
    assert contacts.trouble and "HubSpot" in contacts.trouble


def test_pages_that_lead_back_are_a_failed_read(bench: Bench) -> None:
    loop = Reply(200, {"results": [], "paging": {"next": {"after": "17"}}})
    bench.server.fail("answer", LIST, reply=loop, times=50)
    bench.server.fail("answer", "GET /crm/owners", reply=loop, times=50)
    troubles = {one.entity: one.trouble for one in bench.fetch()}
    assert "lead back" in str(troubles["contacts"]) and "lead back" in str(troubles["owners"])
    assert troubles["accounts"] is None


def test_a_place_that_the_crm_has_forgotten_is_begun_anew(bench: Bench) -> None:
    people(bench, 250)
    bench.server.fail("reset", LIST, times=9, after=1)
    bench.load(bench.fetch())
    bench.server.heal()
    bench.server.fail("answer", LIST, reply=Reply(400, {"message": "Invalid paging token"}))
    assert "Invalid paging token" in str({one.entity: one.trouble for one in bench.fetch(hours=1)}["contacts"])
    outcome = bench.run()
    assert outcome and outcome.loaded == 250


def test_a_crm_that_does_not_answer_is_waited_for_once(bench: Bench) -> None:
    bench.server.fail("delay", "GET", times=50)
    bench.policy = RetryPolicy(attempts=5, read_timeout=0.2)
    fetched = bench.fetch()
    assert [one.entity for one in fetched] == list(ENTITIES)
    assert "no answer within the time limit" in str(fetched[0].trouble)
    assert all("nobody answers" in str(one.trouble) for one in fetched[1:])
    assert len(bench.server.asked) == 2


def test_an_answer_of_another_shape_fails_that_entity_alone(bench: Bench) -> None:
    people(bench, 3)
    bench.server.fail("answer", LIST, reply=Reply(200, {"results": [{"id": "1"}]}))
    fetched = {one.entity: one for one in bench.fetch()}
    assert "unknown shape (KeyError: 'properties')" in str(fetched["contacts"].trouble)
    assert fetched["accounts"].trouble is None


def test_a_page_with_duplicates_gives_each_record_once(bench: Bench) -> None:
    rows = [
        {"id": "1", "properties": {"email": f"{name}@acme.com"}, "updatedAt": f"2026-06-0{day}T00:00:00Z"}
        for name, day in (("new", 2), ("old", 1), ("new", 2))
    ]
    bench.server.fail("answer", LIST, reply=Reply(200, {"results": rows}))
    outcome = bench.run()
    assert outcome and (outcome.rows_in, outcome.loaded, outcome.duplicate) == (3, 1, 2)
    assert bench.now_there("contacts", "email") == [("1", "new@acme.com")]


def test_one_entity_that_may_not_be_read_keeps_no_other_from_being_read(bench: Bench) -> None:
    people(bench, 3)
    bench.server.scopes = tuple(scope for scope in bench.server.scopes if scope != "tickets")
    outcomes = bench.load(bench.fetch())
    assert outcomes["contacts"] and outcomes["tickets"] is None
    [(trouble,)] = bench.connection.sql("select trouble from raw.crm_cursors where entity = 'tickets'").fetchall()
    assert "MISSING_SCOPES" in trouble


def test_the_crm_is_asked_again_only_after_a_while(bench: Bench) -> None:
    assert len(bench.fetch()) == 5
    bench.load(bench.fetch())
    assert bench.fetch(minutes=14) == []
    assert len(bench.fetch(minutes=1)) == 5


def held(bench: Bench) -> str | None:
    return crm_freshness(bench.connection, bench.now, bench.sources).hold_reason


def test_handoffs_are_held_while_nobody_knows_who_says_no(bench: Bench) -> None:
    assert held(bench) is None  # no CRM, no flags
    bench.server.fail("reset", "/contacts", times=9)
    bench.load(bench.fetch())
    assert "no contacts could be read yet" in str(held(bench))
    bench.server.heal()
    people(bench, 2)
    bench.run()
    assert "the contacts of the connected CRM have no column do_not_contact" in str(held(bench))


@pytest.mark.parametrize("has_news", [False, True])
def test_what_changed_after_a_clock_was_ahead_is_read(bench: Bench, has_news: bool) -> None:
    first, *_ = people(bench, 3)
    bench.run()
    bench.ahead = timedelta(days=1)
    if has_news:
        bench.server.change("contacts", first, jobtitle="CTO")
    bench.run()
    bench.ahead = timedelta()
    for title in ("CEO", "Owner"):
        bench.server.change("contacts", first, jobtitle=title)
        bench.run()
        assert bench.now_there("contacts", "role")[0] == (first, title)
    bench.run(days=2)
    assert bench.now_there("contacts", "role")[0] == (first, "Owner"), "the time has come that the clock had shown"


def test_nobody_says_no_where_there_are_no_records(bench: Bench) -> None:
    bench.crm().create_fields("contact", [])
    people(bench, 2)
    bench.run()
    assert held(bench) is None, "there is not one account"
    bench.server.add("companies", name="Acme")
    bench.run()
    assert "the accounts of the connected CRM have no column do_not_contact" in str(held(bench))


def test_handoffs_are_held_a_day_after_the_last_complete_extract(bench: Bench) -> None:
    bench.crm().create_fields("contact", [])
    bench.crm().create_fields("account", [])
    people(bench, 2)
    bench.server.add("companies", name="Acme")
    bench.run()
    assert held(bench) is None
    bench.run(hours=20)
    bench.server.fail("reset", "/crm/", times=99)
    bench.load(bench.fetch(hours=23.9))
    assert held(bench) is None
    bench.load(bench.fetch(hours=1))
    assert "more than 24 hours before" in str(held(bench))
    bench.server.heal()
    bench.run()
    assert held(bench) is None


def with_flags(bench: Bench) -> list[str]:
    """A HubSpot whose contacts have two flags of its own beside ours; the second of three says no in `blocked`."""
    for object_type in ("contact", "account"):
        bench.crm().create_fields(object_type, [])
    for name in ("blocked", "no_calls"):
        bench.server.state.properties["contacts"][name] = {"name": name, "type": "bool"}
    ids = people(bench, 3)
    bench.server.change("contacts", ids[1], blocked=True)
    bench.server.add("companies", name="Acme")
    return ids


def test_a_column_that_is_mapped_later_is_read_of_records_that_have_not_changed(bench: Bench) -> None:
    ids = with_flags(bench)
    bench.map(do_not_contact=None)
    bench.run()
    assert "contacts of the connected CRM have no column do_not_contact" in str(held(bench))
    bench.map(do_not_contact="blocked")
    bench.server.change("contacts", ids[2], jobtitle="CTO")
    bench.run()
    assert [flag for _, flag in bench.now_there("contacts", "do_not_contact")] == [None, "true", None]
    assert held(bench) is None
    bench.server.asked.clear()
    bench.run()
    assert bench.server.lines(SEARCH)  # changes again


def test_a_flag_that_is_another_field_now_holds_handoffs_until_all_of_it_was_read(bench: Bench) -> None:
    with_flags(bench)
    bench.map(do_not_contact="no_calls")
    bench.run()
    assert held(bench) is None
    bench.map(do_not_contact="blocked")
    bench.server.fail("reset", LIST, times=9)
    bench.load(bench.fetch(seconds=1))  # at once: what is known is about the other field
    assert "are read from other fields now, and not all were yet" in str(held(bench))
    bench.server.fail("reset", "/properties/", times=9)
    bench.load(bench.fetch(hours=1))
    assert "are read from other fields now" in str(held(bench))
    bench.server.heal()
    bench.run()
    assert bench.now_there("contacts", "do_not_contact")[1][1] == "true"
    assert held(bench) is None


def test_handoffs_are_held_when_nobody_could_ask_for_the_other_field(bench: Bench) -> None:
    with_flags(bench)
    bench.run()
    bench.server.fail("reset", "/crm/", times=99)
    bench.load(bench.fetch(hours=1))
    assert held(bench) is None
    bench.map(do_not_contact="blocked")
    bench.load(bench.fetch(seconds=1))
    assert "are read from other fields now" in str(held(bench))
    assert [one.entity for one in bench.fetch(seconds=1)] == []


def test_a_field_that_the_crm_has_only_later_is_read_of_everybody(bench: Bench) -> None:
    with_flags(bench)
    there = bench.server.state.properties["contacts"].pop("blocked")
    bench.map(do_not_sell="blocked")
    bench.run()
    bench.server.state.properties["contacts"]["blocked"] = there
    bench.run()
    assert [flag for _, flag in bench.now_there("contacts", "do_not_sell")] == [None, "true", None]


def test_an_extract_that_was_begun_with_other_fields_is_begun_anew(bench: Bench) -> None:
    people(bench, 150)
    with_flags(bench)
    bench.map(do_not_contact="no_calls")
    bench.server.fail("reset", LIST, times=9, after=1)
    bench.load(bench.fetch())
    bench.server.heal()
    bench.map(do_not_contact="blocked")
    bench.run()
    assert [flag for _, flag in bench.now_there("contacts", "do_not_contact")].count("true") == 1


def test_what_was_read_by_a_version_that_kept_no_fields_is_read_once_more(bench: Bench) -> None:
    with_flags(bench)
    bench.run()
    bench.connection.execute("update raw.crm_cursors set fields = null, wanted = null")
    bench.load(bench.fetch(seconds=1))
    assert standings(bench.connection, "hubspot")["contacts"].full_at == bench.now
    assert bench.fetch(seconds=1) == []


@pytest.mark.parametrize(
    ("entity", "change"),
    [
        ("accounts", {"custom_fields": ("beta",)}),
        ("owners", {"teams": {"Closers": "ae"}}),
        ("tickets", {"limit_categories": ("Quota",)}),
    ],
)
def test_other_words_of_the_mapping_are_a_change_of_it_too(bench: Bench, entity: str, change: dict[str, Any]) -> None:
    bench.run()
    source = bench.rules.systems["hubspot"].model_copy(update=change)
    bench.rules = bench.rules.model_copy(update={"systems": {"hubspot": source}})
    fetched = bench.fetch(seconds=1)
    assert [(one.entity, one.progress and one.progress.is_full) for one in fetched] == [(entity, True)]


def test_files_count_until_the_first_extract(bench: Bench) -> None:
    assert first_extract_at(bench.connection) is None
    people(bench, 1)
    bench.load(bench.fetch())
    assert first_extract_at(bench.connection) == bench.now


def test_fields_for_personalization_are_gathered(bench: Bench) -> None:
    source = bench.rules.systems["hubspot"].model_copy(update={"custom_fields": ("brand_color", "beta")})
    bench.rules = bench.rules.model_copy(update={"systems": {"hubspot": source}})
    for name in ("brand_color", "beta"):
        bench.server.state.properties["companies"][name] = {"name": name, "type": "string"}
    bench.server.add("companies", name="Acme", brand_color="#fff")
    bench.run()
    [(_, gathered)] = bench.now_there("accounts", "custom_fields")
    assert json.loads(gathered) == {"brand_color": "#fff"}
