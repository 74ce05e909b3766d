"""The engine when connections break and records go, on every CRM; what else it promises: `test_engine_on_crms.py`."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hubspot_server import TOKEN, HubSpotServer
from ledger_files import empty_ledger
from loopback import Loopback
from salesforce_server import CLIENT_ID, SECRET, SalesforceServer

from dagster_project.actions import ActionReport, carry_out
from dagster_project.activation import SendRules, SyncResult, send_plan
from dagster_project.clients import hubspot, salesforce
from dagster_project.clients.crm import CrmClient, FieldSpec
from dagster_project.clients.http import RetryPolicy
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.actions import Action
from dagster_project.core.crm_field_rules import CrmFieldRules
from dagster_project.field_plans import plan_fields
from dagster_project.ledger import Ledger
from dagster_project.playbook_files import read_playbook

NOW = datetime(2026, 6, 2, 10)
CONTACTS = 30
RULES = CrmFieldRules(
    top_signals=1,
    account_tiers=(),
    contact={"pql_score": "pql_score", "pql_classification": "pql_classification", "features_used": "features_used"},
    account={},
)
KINDS = {
    "object_id": pl.String(),
    "pql_score": pl.Float64(),
    "pql_classification": pl.String(),
    "features_used": pl.List(pl.String()),
}
FIELDS = [FieldSpec("pql_score", "s", "number"), FieldSpec("pql_classification", "c", "text"),
          FieldSpec("features_used", "f", "list")]  # fmt: skip
PATIENT = RetryPolicy(attempts=3, read_timeout=30)


@dataclass
class Place:
    """A CRM with contacts, and a ledger.

    Attributes:
        crm: The connected CRM.
        ledger: What is known of it.
        ids: Its contacts.
        gone: The id of a contact that was deleted.
        server: The machine it runs on; None for the embedded one.
        tasks: The keys of its tasks.
    """

    crm: CrmClient
    ledger: Ledger
    ids: list[str]
    gone: str
    server: Loopback | None
    tasks: Callable[[], list[str]]
    hours: int = 0

    def sync(self, scores: dict[str, dict[str, Any]]) -> SyncResult:
        self.hours += 1
        frame = pl.DataFrame([{"object_id": i, **said} for i, said in scores.items()], schema=KINDS)
        plan = plan_fields(self.ledger, self.crm, "contact", frame, target=RULES.targets()["contact"])
        now = NOW + timedelta(hours=self.hours)
        return send_plan(self.ledger, self.crm, "contact", plan, rules=SendRules(2, 5), now=now)

    def act(self, *actions: Action) -> ActionReport:
        self.hours += 1
        return carry_out(self.ledger, self.crm, actions, rules=RULES, now=NOW + timedelta(hours=self.hours))

    def holds(self, scores: dict[str, dict[str, Any]]) -> bool:
        """Whether the CRM holds exactly this."""
        return self.crm.read("contact", [*scores], ["pql_score", "pql_classification", "features_used"]) == scores


def local(stack: ExitStack, folder: Path) -> tuple[CrmClient, list[str], str, None, Callable[[], list[str]]]:
    crm = LocalCrm(folder / "crm.sqlite")
    ids = [f"c_{number:02}" for number in range(CONTACTS)]
    crm.take_over("contact", {object_id: {"email": f"{object_id}@acme.com"} for object_id in [*ids, "c_gone"]})
    crm.take_over("contact", {object_id: {"email": f"{object_id}@acme.com"} for object_id in ids})
    keys = [f"k_{number}" for number in range(20)]
    return crm, ids, "c_gone", None, lambda: list(crm.find_tasks(keys))


def on_hubspot(stack: ExitStack, folder: Path) -> tuple[Any, ...]:
    server = stack.enter_context(HubSpotServer(limit=1_000_000))
    variables = {"PLS_HUBSPOT_TOKEN": TOKEN, "PLS_HUBSPOT_BASE_URL": server.base_url}
    crm = hubspot.connect(variables, read_playbook(None).crm_sources, clock=server.clock, policy=PATIENT)
    crm.create_fields("contact", FIELDS)
    ids = [server.add("contacts", email=f"{number}@acme.com") for number in range(CONTACTS + 1)]
    server.archive("contacts", ids[-1])
    tasks = server.state.objects["tasks"]
    return crm, ids[:-1], ids[-1], server, lambda: [t.properties["pls_key"] for t in tasks.values()]


def on_salesforce(stack: ExitStack, folder: Path) -> tuple[Any, ...]:
    server = stack.enter_context(SalesforceServer())
    variables = {
        "PLS_SALESFORCE_BASE_URL": server.base_url,
        "PLS_SALESFORCE_CLIENT_ID": CLIENT_ID,
        "PLS_SALESFORCE_CLIENT_SECRET": SECRET,
    }
    crm = salesforce.connect(variables, read_playbook(None).crm_sources, clock=server.clock, policy=PATIENT)
    crm.create_fields("contact", FIELDS)
    ids = [server.add("Contact" if number % 2 else "Lead") for number in range(CONTACTS)]
    gone = server.add("Contact")
    server.delete("Contact", gone)
    tasks = server.records["Task"]
    return crm, ids, gone, server, lambda: [t.fields["pls_key__c"] for t in tasks.values()]


@pytest.fixture(params=[local, on_hubspot, on_salesforce], ids=["local", "hubspot", "salesforce"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        crm, ids, gone, server, tasks = request.param(stack, tmp_path)
        ledger = stack.enter_context(Ledger(empty_ledger(tmp_path / "ledger.sqlite")))
        if server:
            server.asked.clear()
        yield Place(crm, ledger, ids, gone, server, tasks)


def scores(place: Place, seed: int = 1) -> dict[str, dict[str, Any]]:
    draw = random.Random(seed)
    return {
        object_id: {
            "pql_score": draw.randint(0, 1000) / 10,
            "pql_classification": draw.choice(["hot", "warm"]),
            "features_used": draw.sample(["Reports", "Exports", "Alerts; mail"], draw.randint(0, 2)),
        }
        for object_id in place.ids
    }


def test_a_record_that_is_gone_is_parked_with_the_crms_words_and_keeps_no_other_back(place: Place) -> None:
    wanted = scores(place)
    result = place.sync({place.gone: {**wanted[place.ids[0]]}, **wanted})
    assert result.written == CONTACTS
    assert list(result.refused) == [place.gone]
    assert "delete" in result.refused[place.gone].lower()
    assert place.sync({place.gone: {**wanted[place.ids[0]]}, **wanted}).requests == 0


def test_of_errors_that_name_nobody_each_is_found_where_it_belongs(place: Place) -> None:
    if not isinstance(place.server, HubSpotServer):
        pytest.skip("only HubSpot has errors beside results")
    nameless = [place.server.add("contacts") for _ in range(2)]
    place.server.state.required["contacts"], place.server.names_the_guilty = "email", False
    scores = {object_id: {"pql_score": 70.0} for object_id in [*place.ids, *nameless]}
    result = place.sync(scores)
    assert result.refused == dict.fromkeys(nameless, "VALIDATION_ERROR: email is required by a rule of this account")
    assert (result.written, result.left) == (len(place.ids), [])


@pytest.mark.parametrize("kind", ["reset", "lost", "cut", "twice"])
def test_a_request_that_breaks_off_loses_and_doubles_nothing(place: Place, kind: Any) -> None:
    if place.server is None:
        pytest.skip("the embedded CRM has no connection")
    place.server.fail(kind, "(PATCH|POST) ", times=4)
    wanted = scores(place)
    place.sync(wanted)
    place.server.heal()
    place.sync(wanted)
    assert place.holds(wanted)
    assert place.sync(wanted).requests == 0


def test_a_storm_of_faults_ends_in_the_state_that_was_wanted(place: Place) -> None:
    draw = random.Random(5)
    for number in range(6):
        wanted = scores(place, seed=number)
        if place.server:
            for _ in range(3):
                kind: Any = draw.choice(["reset", "lost", "cut", "twice"])
                place.server.fail(kind, "(PATCH|POST) ", times=draw.randint(1, 3), after=draw.randint(0, 2))
        place.sync(wanted)
    if place.server:
        place.server.heal()
    place.sync(wanted)
    assert place.holds(wanted)
    assert place.sync(wanted).requests == 0


def task(place: Place, number: int) -> Action:
    payload = {"subject": "Call", "body": "Now", "contact_id": place.ids[0], "due_at": "2026-06-03T00:00:00"}
    return Action(f"occurrence {number}", "task", "contact", place.ids[0], payload)


@pytest.mark.parametrize("kind", ["reset", "lost", "cut", "twice"])
def test_a_task_is_made_once_whatever_becomes_of_the_request(place: Place, kind: Any) -> None:
    if place.server:
        place.server.fail(kind, "(?i)(PATCH|POST) .*/tasks?(/|$)", times=2)
    for _ in range(3):
        place.act(task(place, 1), task(place, 2))
    if place.server:
        place.server.heal()
        place.act(task(place, 1), task(place, 2))
        assert len(place.tasks()) == len(set(place.tasks())) == 2
