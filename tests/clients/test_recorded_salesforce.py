"""Salesforce's connector against exchanges with real orgs, as the package cumulusci (PyPI, BSD-3-Clause) ships them.

Skipped where the package is not there. Its files are enough: `pip install --no-deps cumulusci`.
"""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from crm_rigs import CALM
from loopback import Reply
from salesforce_server import CLIENT_ID, SECRET, SalesforceServer

from dagster_project.clients.http import Clock
from dagster_project.clients.salesforce import Salesforce, connect
from dagster_project.clients.salesforce_api import SalesforceApi
from dagster_project.core.sync import FieldUpdate
from dagster_project.playbook_files import read_playbook

PACKAGE = importlib.util.find_spec("cumulusci")
pytestmark = pytest.mark.skipif(PACKAGE is None, reason="cumulusci is not installed")


def recorded(line: str) -> Iterator[str]:
    """The bodies of the recorded answers to requests whose line matches, each once."""
    assert PACKAGE and PACKAGE.submodule_search_locations
    seen: set[str] = set()
    for path in sorted(Path(PACKAGE.submodule_search_locations[0]).rglob("*cassettes/*.yaml")):
        said = yaml.safe_load(path.read_text())
        for exchange in said.get("interactions", [said]):
            if "request" not in exchange or not exchange["response"].get("body"):
                continue
            method, uri = exchange["request"]["method"], exchange["request"]["uri"].partition("?")[0]
            body = exchange["response"]["body"].get("string")
            if re.search(line, f"{method} {uri}") and isinstance(body, str) and body not in seen:
                seen.add(body)
                yield body


@pytest.fixture
def server() -> Iterator[SalesforceServer]:
    with SalesforceServer() as org:
        yield org


def variables(server: SalesforceServer) -> dict[str, str]:
    said = {"BASE_URL": server.base_url, "CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": SECRET}
    return {f"PLS_SALESFORCE_{name}": value for name, value in said.items()}


def connected(server: SalesforceServer) -> Salesforce:
    return connect(variables(server), read_playbook(None).crm_sources, clock=server.clock, policy=CALM)


def test_what_became_of_each_record_is_read(server: SalesforceServer) -> None:
    answers = 0
    for body in recorded("(PATCH|POST) .*/composite/sobjects(/|$)"):
        results = json.loads(body)
        updates = [FieldUpdate(said["id"], {"LastName": "x"}, "f") for said in results if said.get("id")]
        if len(updates) != len(results) or len({update.object_id[:3] for update in updates} - {"003"}):
            continue  # of other objects than contacts
        server.fail("answer", "PATCH .*/composite/sobjects$", reply=Reply(200, body))
        receipts = connected(server).update("contact", updates)
        assert [(r.object_id, r.error is None) for r in receipts] == [(r["id"], r["success"]) for r in results]
        answers += 1
    assert answers >= 5


def test_the_fields_and_rights_of_objects_are_understood(server: SalesforceServer) -> None:
    described = {kind: next(recorded(f"GET .*/sobjects/{kind}/describe$")) for kind in ("Contact", "Lead", "Account")}
    for kind, body in described.items():
        server.fail("answer", f"GET .*/sobjects/{kind}/describe$", times=9, reply=Reply(200, body))
    crm = connected(server)
    assert {"Email", "LastName", "OwnerId", "LeadSource"} <= crm.describe_fields("contact")
    assert {"Name", "Website", "NumberOfEmployees", "OwnerId"} <= crm.describe_fields("account")
    assert not [right for right in crm.missing_scopes() if right.endswith(tuple(described))]


def test_the_pages_of_queries_are_read(server: SalesforceServer) -> None:
    pages = 0
    for body in recorded("GET .*/services/data/[^/]+/query/?$"):
        said: dict[str, Any] = json.loads(body)
        api = SalesforceApi(variables(server), clock=Clock(), policy=CALM, daily_reserve=0.1)
        server.fail("answer", "GET .*/query$", reply=Reply(200, body))
        assert said["done"] and [len(page) for page in api.query("SELECT Id FROM Contact")] == [len(said["records"])]
        pages += 1
    assert pages >= 10
