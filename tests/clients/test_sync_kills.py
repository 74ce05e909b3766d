"""The engine killed at every point it passes, and in the middle of requests: no change is lost, no task doubled, the
end the same as undisturbed."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sync_victim
from hubspot_server import TOKEN, HubSpotServer
from loopback import Loopback
from salesforce_server import CLIENT_ID, SECRET, SalesforceServer

from dagster_project.clients.crm import FieldSpec
from dagster_project.ledger import Ledger
from dagster_project.playbook_files import read_playbook

CONTACTS = 14
POINTS = {
    "planned", "nothing left noted", "intended", "to be sent", "sent", "answered", "settled", "verified",
    "actions intended", "action to be sent", "action sent", "action settled",
}  # fmt: skip
IN_REQUESTS = {"reset": "arrived", "lost": "done, not answered", "cut": "half answered"}
"""Where a request is killed: what the server does -> what it is called."""
REQUESTS = r"POST .*/(batch/\w+|tasks)$|(PATCH|POST|PUT) /services/data/|GET .*/jobs/"
SPECS = {
    "contact": [FieldSpec("pql_score", "s", "number"), FieldSpec("pql_classification", "c", "text")],
    "account": [FieldSpec("account_tier", "t", "text")],
}


class Victim:
    """Another process, in whose forks jobs are done."""

    def __init__(self) -> None:
        # Every fork starts the threads of Polars itself, for a few rows.
        command, env = [sys.executable, sync_victim.__file__], {**os.environ, "POLARS_MAX_THREADS": "1"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)

    def do(self, job: dict[str, Any]) -> int:
        """How the job ended: 0, -9 when it was killed, 1 when it said what went wrong."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    victim = Victim()
    yield victim
    victim.close()


@dataclass(frozen=True)
class Place:
    """An installation.

    Attributes:
        job: What the victim has to know of it, but for what to do.
        server: The CRM, None for the embedded one.
        tasks: The keys of the tasks that are there, as often as they are.
    """

    job: dict[str, Any]
    server: Loopback | None
    tasks: Callable[[], list[str]]

    def kill_in_request(self, kind: Any, number: int) -> None:
        """Script that the server kills its caller at its `number`th request."""
        assert self.server
        folder = Path(self.job["folder"])

        def kill() -> None:
            (folder / "points").open("a").write(IN_REQUESTS[kind] + "\n")
            os.kill(int((folder / "pid").read_text()), signal.SIGKILL)

        self.server.fail(kind, REQUESTS, after=number, then=kill)


@contextmanager
def local(folder: Path) -> Iterator[Place]:
    """The embedded CRM."""
    ids = [f"c_{number:02}" for number in range(CONTACTS)]
    job = job_of(folder, "local", ids, ["a_1", "a_2"], "7")
    crm: Any = sync_victim.opened(job)
    crm.take_over("contact", {name: {"email": f"{name}@acme.com"} for name in ids})
    crm.take_over("account", {"a_1": {"account_tier": "C"}, "a_2": {}})

    def tasks() -> list[str]:
        with sqlite3.connect(folder / "crm.sqlite") as connection:
            return [key for (key,) in connection.execute("select key from tasks")]

    yield Place(job, None, tasks)


@contextmanager
def hubspot(folder: Path) -> Iterator[Place]:
    """A HubSpot on this machine."""
    with HubSpotServer(limit=1_000_000) as server:
        ids = [server.add("contacts", email=f"{number}@acme.com") for number in range(CONTACTS)]
        variables = {"PLS_HUBSPOT_TOKEN": TOKEN, "PLS_HUBSPOT_BASE_URL": server.base_url}
        job = job_of(folder, "hubspot", ids, [], "7", **variables)
        for kind, specs in SPECS.items():
            sync_victim.opened(job).create_fields(kind, specs)
        job["accounts"] = [server.add("companies", account_tier="C"), server.add("companies")]
        made = server.state.objects["tasks"]
        yield Place(job, server, lambda: [record.properties["pls_key"] for record in made.values()])


@contextmanager
def salesforce(folder: Path, *, bulk_from: int = 2_000) -> Iterator[Place]:
    """A Salesforce on this machine."""
    with SalesforceServer(daily=10**9) as server:
        ids = [server.add("Lead" if number % 5 == 0 else "Contact") for number in range(CONTACTS)]
        variables = {
            "PLS_SALESFORCE_BASE_URL": server.base_url,
            "PLS_SALESFORCE_CLIENT_ID": CLIENT_ID,
            "PLS_SALESFORCE_CLIENT_SECRET": SECRET,
        }
        job = job_of(folder, "salesforce", ids, [], server.add("User", IsActive=True), **variables)
        job["bulk_from"] = bulk_from
        for kind, specs in SPECS.items():
            sync_victim.opened(job).create_fields(kind, specs)
        job["accounts"] = [server.add("Account", account_tier__c="C"), server.add("Account")]
        made = server.records["Task"]
        yield Place(job, server, lambda: [record.fields["pls_key__c"] for record in made.values()])


@contextmanager
def salesforce_in_bulk(folder: Path) -> Iterator[Place]:
    """The same, with bulk jobs instead of collections."""
    with salesforce(folder, bulk_from=2) as place:
        yield place


def job_of(
    folder: Path, crm: str, contacts: Sequence[str], accounts: Sequence[str], owner: str, **variables: str
) -> dict[str, Any]:
    """A job without what is to be done."""
    folder.mkdir()
    rules = read_playbook(None).crm_sources.model_dump(mode="json", by_alias=True)
    said = {"folder": str(folder), "crm": crm, "variables": variables, "rules": rules, "bulk_from": 2_000}
    return said | {"contacts": list(contacts), "accounts": list(accounts), "owner": owner}


KILLS: dict[Callable[[Path], AbstractContextManager[Place]], int] = {
    local: 60,
    hubspot: 60,
    salesforce: 60,
    salesforce_in_bulk: 20,
}
"""How often the engine is killed at each CRM."""


def story(seed: int, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is wanted, run by run: scores move, actions come up."""
    draw = random.Random(seed)
    contacts, [tiered, unowned] = job["contacts"], job["accounts"]
    scores = {object_id: float(number) for number, object_id in enumerate(contacts)}
    for number in range(10_000):
        for object_id in draw.sample(contacts, 6):
            scores[object_id] = draw.choice((10.0, 90.0))  # what a killed run wrote is often to be taken back
        task = {"subject": "Call", "body": "Now", "contact_id": contacts[1], "due_at": "2026-05-03T00:00:00"}
        actions = [
            {"key": f"task {number}", "kind": "task", "object_type": "contact", "object_id": contacts[1],
             "payload": task},
            {"key": f"o {number}", "kind": "assign_owner", "object_type": "account", "object_id": unowned,
             "payload": {"owner_id": job["owner"]}},
            {"key": f"t {number}", "kind": "raise_tier", "object_type": "account", "object_id": tiered,
             "payload": {"to": "CBA"[min(number // 30, 2)]}},
        ]  # fmt: skip
        rows = [[object_id, score, "hot" if score > 80 else "warm"] for object_id, score in sorted(scores.items())]
        yield {"number": number, "desired": rows, "actions": actions if number % 3 == 0 else []}


def held(job: dict[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    """The state of a CRM."""
    crm = sync_victim.opened(job)
    contacts: dict[str, Any] = {}
    for start in range(0, CONTACTS, sync_victim.BATCH):
        some = job["contacts"][start : start + sync_victim.BATCH]
        contacts |= crm.read("contact", some, ["pql_score", "pql_classification"])
    accounts = crm.read("account", job["accounts"], ["account_tier", "owner_id"])
    return {"contacts": contacts, "accounts": accounts, "tasks": sorted(crm.find_tasks(tasks))}


@pytest.mark.parametrize("crm", KILLS, ids=lambda crm: crm.__name__)
def test_whenever_it_is_killed_the_end_is_as_if_it_had_not_been(victim: Victim, crm: Any, tmp_path: Path) -> None:
    with crm(tmp_path / "disturbed") as disturbed, crm(tmp_path / "undisturbed") as undisturbed:
        draw, kills, runs = random.Random(5), 0, []
        for run in story(1, disturbed.job):
            runs.append(run)
            kill_at = draw.choice((None, draw.randint(1, 12), draw.randint(1, 24), draw.randint(1, 24)))
            if kills < KILLS[crm] and disturbed.server and kills % 3 == 0:
                disturbed.kill_in_request(draw.choice(tuple(IN_REQUESTS)), draw.randint(0, 5))
                kill_at = None
            end = victim.do(disturbed.job | {"runs": [run], "kill_at": kill_at if kills < KILLS[crm] else None})
            kills += end == -9
            if disturbed.server:
                disturbed.server.heal()
            if end == 0:  # what stands there after a run that came to its end is what that run wanted
                wanted = {name: {"pql_score": score, "pql_classification": of} for name, score, of in run["desired"]}
                assert held(disturbed.job, [])["contacts"] == wanted
            if kills == KILLS[crm] and end == 0:
                break
            assert end in (0, -9)
        assert victim.do(undisturbed.job | {"runs": runs, "kill_at": None}) == 0
        asked = [action["key"] for run in runs for action in run["actions"] if action["kind"] == "task"]
        assert held(disturbed.job, asked) == held(undisturbed.job, asked)
        assert held(disturbed.job, asked)["tasks"] == sorted(asked) == sorted(disturbed.tasks())
        killed_at = Counter((Path(disturbed.job["folder"]) / "points").read_text().splitlines())
        assert killed_at.total() == kills == KILLS[crm]
        if kills >= 60:
            expected = POINTS | (set(IN_REQUESTS.values()) if disturbed.server else set())
            assert expected - killed_at.keys() <= {"nothing left noted"}
        with Ledger(f"sqlite:///{disturbed.job['folder']}/ledger.sqlite") as ledger:
            ends = Counter(ledger.read_frame("deliveries")["status"].to_list())
        assert ends["confirmed"] > 3 * kills and set(ends) <= {"confirmed", "cancelled"}


def test_there_are_at_least_200_kills() -> None:
    assert sum(KILLS.values()) >= 200
