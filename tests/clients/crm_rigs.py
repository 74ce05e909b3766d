"""CRMs to run the engine against, all with the same handles. Another connector joins with a rig in `RIGS`."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubspot_server import TOKEN, HubSpotServer
from salesforce_server import CLIENT_ID, SECRET, SalesforceServer

from dagster_project.clients import hubspot as hubspot_client
from dagster_project.clients import salesforce as salesforce_client
from dagster_project.clients.crm import CrmClient, CrmRefused, CrmUnavailable, CrmUnknown, FieldSpec, Receipt, Task
from dagster_project.clients.http import RetryPolicy
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.sync import FieldUpdate
from dagster_project.playbook_files import read_playbook

SPECS = [
    FieldSpec("pql_score", "PQL score", "number"),
    FieldSpec("pql_classification", "Class", "text"),
    FieldSpec("last_active", "Last active", "date"),
    FieldSpec("features_used", "Features", "list"),
    FieldSpec("pls_scored_at", "Scored at", "moment"),
    FieldSpec("pause_nurture", "Pause", "flag"),
]
VALUES: dict[str, Any] = {
    "pql_score": 87.5,
    "pql_classification": "hot",
    "last_active": "2026-06-30",
    "features_used": ["Reports; weekly", "Exports", {"name": "activated", "date": "2026-06-01"}],
    "pls_scored_at": "2026-06-30T18:00:00Z",
    "pause_nurture": True,
}
"""One of every kind of field, and a value of each."""
CALM = RetryPolicy(attempts=3, read_timeout=30)
HASTY = RetryPolicy(attempts=3, read_timeout=0.2)
"""For answers that come too late; elsewhere a busy machine must not look like one."""
FIELDS = {
    "contact": SPECS,
    "account": [FieldSpec("account_tier", "Tier", "text")],
}
POISON = "poison"
"""A value that makes every CRM here refuse its record, or the batch that it is in."""


@dataclass(frozen=True)
class Rig:
    """A CRM with handles.

    Attributes:
        crm: The client, with batches of `max_batch`.
        contact: Adds a contact with an e-mail; returns its id.
        account: Adds an account; returns its id.
        lose_answers: The next answers to requests never arrive, though the work is done.
        go_down: The next requests are turned away.
        tasks: The keys of all tasks there are, as often as they are there.
        texts: Subject and text of a task, by its key.
        close: Marks a task as done, by its key.
        email: What the CRM calls an e-mail.
        owners: Two people who are active.
    """

    crm: CrmClient
    contact: Callable[[str], str]
    account: Callable[[], str]
    lose_answers: Callable[[], None]
    go_down: Callable[[], None]
    tasks: Callable[[], list[str]]
    texts: Callable[[str], tuple[str, str]]
    close: Callable[[str], None]
    email: str = "email"
    owners: tuple[str, str] = ("7", "8")


class _Unlucky(LocalCrm):
    """An embedded CRM that can be told to fail."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fates: list[str] = []
        self.made: list[str] = []

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        fate = self._fate()
        if any(POISON in str(update.fields) for update in updates):
            raise CrmRefused("poison is not allowed")
        receipts = super().update(object_type, updates)
        if fate == "lost":
            raise CrmUnknown("no answer")
        return receipts

    def create_task(self, task: Task) -> Receipt:
        fate = self._fate()
        self.made.append(task.key)
        receipt = super().create_task(task)
        if fate == "lost":
            raise CrmUnknown("no answer")
        return receipt

    def texts(self, key: str) -> tuple[str, str]:
        with self._transaction() as connection:
            [(task,)] = connection.execute("select task from tasks where key = ?", [key]).fetchall()
        return json.loads(task)["subject"], json.loads(task)["body"]

    def close(self, key: str) -> None:
        with self._transaction() as connection:
            connection.execute("update tasks set status = 'done' where key = ?", [key])

    def stop_task(self, key: str, why: str) -> Receipt:
        fate = self._fate()
        receipt = super().stop_task(key, why)
        if fate == "lost":
            raise CrmUnknown("no answer")
        return receipt

    def _fate(self) -> str:
        fate = self.fates.pop(0) if self.fates else ""
        if fate == "down":
            raise CrmUnavailable("503")
        return fate


@contextmanager
def local(folder: Path) -> Iterator[Rig]:
    """The embedded CRM."""
    crm = _Unlucky(folder / "crm.sqlite")
    known: dict[str, dict[str, dict[str, Any]]] = {"contact": {}, "account": {}}

    def add(kind: str, **fields: Any) -> str:
        object_id = f"{kind}_{len(known[kind]) + 1:03}"
        known[kind][object_id] = fields
        crm.take_over(kind, known[kind])
        return object_id

    yield Rig(
        crm,
        contact=lambda email: add("contact", email=email),
        account=lambda: add("account", name="Acme"),
        lose_answers=lambda: crm.fates.append("lost"),
        go_down=lambda: crm.fates.append("down"),
        tasks=lambda: list(crm.made),
        texts=crm.texts,
        close=crm.close,
    )


@contextmanager
def hubspot(folder: Path) -> Iterator[Rig]:
    """A HubSpot on this machine."""
    with HubSpotServer() as server:
        variables = {"PLS_HUBSPOT_TOKEN": TOKEN, "PLS_HUBSPOT_BASE_URL": server.base_url}
        policy = RetryPolicy(attempts=2, read_timeout=0.2)
        rules = read_playbook(None).crm_sources
        crm = hubspot_client.connect(
            variables, rules, clock=server.clock, policy=policy, now=lambda: server.now.replace(tzinfo=None)
        )
        for kind, specs in FIELDS.items():
            crm.create_fields(kind, specs)
        writing = r"POST .*/(batch/(update|upsert)|tasks)$"

        def task(key: str) -> str:
            tasks = server.state.objects["tasks"].values()
            return next(record.id for record in tasks if record.properties["pls_key"] == key)

        def texts(key: str) -> tuple[str, str]:
            said = server.properties_of("tasks", task(key))
            return said["hs_task_subject"], said["hs_task_body"].replace("<br>", "\n")

        yield Rig(
            crm,
            contact=lambda email: server.add("contacts", email=email),
            account=lambda: server.add("companies", name="Acme"),
            lose_answers=lambda: server.fail("lost", writing, times=policy.attempts),
            go_down=lambda: server.fail("reset", writing, times=policy.attempts),
            tasks=lambda: [record.properties["pls_key"] for record in server.state.objects["tasks"].values()],
            texts=texts,
            close=lambda key: server.change("tasks", task(key), hs_task_status="COMPLETED"),
        )


@contextmanager
def salesforce(folder: Path) -> Iterator[Rig]:
    """A Salesforce org on this machine."""
    with SalesforceServer() as server:
        variables = {
            "PLS_SALESFORCE_BASE_URL": server.base_url,
            "PLS_SALESFORCE_CLIENT_ID": CLIENT_ID,
            "PLS_SALESFORCE_CLIENT_SECRET": SECRET,
        }
        policy = RetryPolicy(attempts=2, read_timeout=30)
        rules = read_playbook(None).crm_sources
        crm = salesforce_client.connect(
            variables, rules, clock=server.clock, policy=policy, now=lambda: server.now.replace(tzinfo=None)
        )
        for kind, specs in FIELDS.items():
            crm.create_fields(kind, specs)
        writing = r"PATCH .*/(composite/sobjects.*|sobjects/Task/.*)$"

        def task(key: str) -> str:
            tasks = server.records["Task"].items()
            return next(task_id for task_id, record in tasks if record.fields["pls_key__c"] == key)

        def texts(key: str) -> tuple[str, str]:
            said = server.records["Task"][task(key)].fields
            return said["Subject"], said["Description"]

        yield Rig(
            crm,
            contact=lambda email: server.add("Contact", Email=email),
            account=lambda: server.add("Account", Name="Acme"),
            lose_answers=lambda: server.fail("lost", writing, times=policy.attempts),
            go_down=lambda: server.fail("reset", writing, times=policy.attempts),
            tasks=lambda: [record.fields["pls_key__c"] for record in server.records["Task"].values()],
            texts=texts,
            close=lambda key: server.change("Task", task(key), IsClosed=True, Status="Completed"),
            email="Email",
            owners=(server.add("User", IsActive=True), server.add("User", IsActive=True)),
        )


RIGS: dict[str, Callable[[Path], AbstractContextManager[Rig]]] = {
    "local": local,
    "hubspot": hubspot,
    "salesforce": salesforce,
}
