"""The engine killed at every point it passes: no change is lost, no task doubled, the end the same as undisturbed."""

import json
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sync_victim
from hubspot_server import TOKEN, HubSpotServer

from dagster_project.clients.crm import FieldSpec
from dagster_project.ledger import Ledger
from dagster_project.playbook_files import read_playbook

KILLS = 100
CONTACTS = 14
POINTS = {
    "planned", "nothing left noted", "intended", "to be sent", "sent", "answered", "settled", "verified",
    "actions intended", "action to be sent", "action sent", "action settled",
}  # fmt: skip


class Victim:
    """Another process, in whose forks jobs are done."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, sync_victim.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

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


@pytest.fixture(params=["local", "hubspot"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """Two installations of one kind: one whose process is killed, one that is left alone; what a job needs of each."""
    folders = [tmp_path / "disturbed", tmp_path / "undisturbed"]
    for folder in folders:
        folder.mkdir()
    if request.param == "local":
        jobs: list[dict[str, Any]] = [{"folder": str(folder)} for folder in folders]
        for job in jobs:
            crm: Any = sync_victim.opened(job)
            crm.take_over("contact", {f"c_{number:02}": {"email": f"{number}@acme.com"} for number in range(CONTACTS)})
            crm.take_over("account", {"a_1": {"account_tier": "C"}, "a_2": {}})
        yield jobs
        with sqlite3.connect(folders[0] / "crm.sqlite") as connection:
            made = connection.execute("select key from tasks").fetchall()
        assert len({key for (key,) in made}) == len(made) > 20
        return
    rules = read_playbook(None).crm_sources.model_dump(mode="json", by_alias=True)
    with HubSpotServer(limit=1_000_000) as one, HubSpotServer(limit=1_000_000) as other:
        jobs = []
        for folder, server in zip(folders, (one, other), strict=True):
            job = {"folder": str(folder), "token": TOKEN, "base_url": server.base_url, "rules": rules}
            for number in range(CONTACTS):
                server.add("contacts", f"c_{number:02}", email=f"{number}@acme.com")
            crm = sync_victim.opened(job)
            specs = [FieldSpec("pql_score", "s", "number"), FieldSpec("pql_classification", "c", "text")]
            crm.create_fields("contact", specs)
            crm.create_fields("account", [FieldSpec("account_tier", "t", "text")])
            server.add("companies", "a_1", account_tier="C")
            server.add("companies", "a_2")
            jobs.append(job)
        yield jobs
        made = [record.properties["pls_key"] for record in one.state.objects["tasks"].values()]
        assert len(set(made)) == len(made) > 20


def story(seed: int) -> Iterator[dict[str, Any]]:
    """What is wanted, run by run: scores move, actions come up."""
    draw = random.Random(seed)
    scores = {f"c_{number:02}": float(number) for number in range(CONTACTS)}
    for number in range(10_000):
        for object_id in draw.sample(sorted(scores), 6):
            scores[object_id] = draw.choice((10.0, 90.0))  # what a killed run wrote is often to be taken back
        task = {"subject": "Call", "body": "Now", "contact_id": "c_01", "due_at": "2026-05-03T00:00:00"}
        actions = [
            {"key": f"task {number}", "kind": "task", "object_type": "contact", "object_id": "c_01", "payload": task},
            {"key": f"o {number}", "kind": "assign_owner", "object_type": "account", "object_id": "a_2",
             "payload": {"owner_id": "7"}},
            {"key": f"t {number}", "kind": "raise_tier", "object_type": "account", "object_id": "a_1",
             "payload": {"to": "CBA"[min(number // 40, 2)]}},
        ]  # fmt: skip
        rows = [[object_id, score, "hot" if score > 80 else "warm"] for object_id, score in sorted(scores.items())]
        yield {"number": number, "desired": rows, "actions": actions if number % 3 == 0 else []}


def held(job: dict[str, Any], tasks: list[str]) -> dict[str, Any]:
    """The state of a CRM."""
    crm = sync_victim.opened(job)
    ids = [f"c_{number:02}" for number in range(CONTACTS)]
    contacts: dict[str, Any] = {}
    for start in range(0, CONTACTS, sync_victim.BATCH):
        contacts |= crm.read("contact", ids[start : start + sync_victim.BATCH], ["pql_score", "pql_classification"])
    accounts = crm.read("account", ["a_1", "a_2"], ["account_tier", "owner_id"])
    return {"contacts": contacts, "accounts": accounts, "tasks": sorted(crm.find_tasks(tasks))}


def test_whenever_it_is_killed_the_end_is_as_if_it_had_not_been(victim: Victim, places: list[dict[str, Any]]) -> None:
    disturbed, undisturbed = places
    draw, kills, runs = random.Random(5), 0, []
    for run in story(1):
        runs.append(run)
        kill_at = draw.choice((None, draw.randint(1, 12), draw.randint(1, 24), draw.randint(1, 24)))
        end = victim.do(disturbed | {"runs": [run], "kill_at": kill_at if kills < KILLS else None})
        kills += end == -9
        if end == 0:  # what stands there after a run that came to its end is what that run wanted
            wanted = {name: {"pql_score": score, "pql_classification": of} for name, score, of in run["desired"]}
            assert held(disturbed, [])["contacts"] == wanted
        if kills == KILLS and end == 0:
            break
        assert end in (0, -9)
    assert victim.do(undisturbed | {"runs": runs, "kill_at": None}) == 0
    asked = [action["key"] for run in runs for action in run["actions"] if action["kind"] == "task"]
    assert held(disturbed, asked) == held(undisturbed, asked)
    assert held(disturbed, asked)["tasks"] == sorted(asked)
    killed_at = Counter((Path(disturbed["folder"]) / "points").read_text().splitlines())
    assert killed_at.total() == kills == KILLS
    assert POINTS - killed_at.keys() <= {"nothing left noted"}
    with Ledger(f"sqlite:///{disturbed['folder']}/ledger.sqlite") as ledger:
        ends = Counter(ledger.read_frame("deliveries")["status"].to_list())
    assert ends["confirmed"] > 300 and set(ends) <= {"confirmed", "cancelled"}
