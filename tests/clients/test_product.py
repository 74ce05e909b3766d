"""Traits into the product: Segment's calls, only where something has changed."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ledger_files import empty_ledger
from product_server import WRITE_KEY, ProductServer

from dagster_project.activation import SendRules, SyncResult, send_plan
from dagster_project.clients.http import RetryPolicy
from dagster_project.clients.product import Product
from dagster_project.defs.product import TARGET
from dagster_project.field_plans import plan_fields
from dagster_project.ledger import Ledger

NOW = datetime(2026, 5, 2, 10, 0)
KINDS = {
    "object_id": pl.String(),
    "owner": pl.String(),
    "contract_value": pl.Float64(),
    "segment": pl.String(),
    "custom_fields": pl.String(),
}
ACME = {"owner": "o_1", "contract_value": 1200.0, "segment": "smb", "custom_fields": '{"region": "EMEA"}'}


@pytest.fixture
def server() -> Iterator[ProductServer]:
    with ProductServer() as product:
        yield product


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(empty_ledger(tmp_path / "ledger.sqlite")) as opened:
        yield opened


def connected(server: ProductServer, key: str | None = WRITE_KEY, path: str = "") -> Product:
    policy = RetryPolicy(attempts=2, read_timeout=0.2)
    return Product(server.base_url + path, key, now=lambda: NOW, clock=server.clock, policy=policy)


def send(ledger: Ledger, product: Product, kind: str, traits: dict[str, dict[str, Any]], hours: int = 0) -> SyncResult:
    rows = [{"object_id": object_id, **said} for object_id, said in traits.items()]
    plan = plan_fields(ledger, product, kind, pl.DataFrame(rows, schema=KINDS, orient="row"), target=TARGET)
    return send_plan(ledger, product, kind, plan, rules=SendRules(1), now=NOW + timedelta(hours=hours))


@pytest.mark.parametrize("path", ["", "/", "/v1/batch"])
def test_people_are_identified_and_accounts_are_groups(server: ProductServer, ledger: Ledger, path: str) -> None:
    product = connected(server, path=path)
    assert send(ledger, product, "user", {"u_1": ACME}).written == 1
    assert send(ledger, product, "account", {"a_1": ACME | {"custom_fields": None}}).written == 1
    identify, group = (asked.body["batch"][0] for asked in server.asked)
    assert (identify["type"], identify["userId"]) == ("identify", "u_1")
    assert identify["traits"] == ACME | {"custom_fields": {"region": "EMEA"}}
    assert (group["type"], group["groupId"], group["timestamp"]) == ("group", "a_1", "2026-05-02T10:00:00.000+00:00")


def test_only_what_changed_is_sent_and_what_is_gone_is_nothing(server: ProductServer, ledger: Ledger) -> None:
    product = connected(server)
    send(ledger, product, "account", {"a_1": ACME, "a_2": ACME})
    assert send(ledger, product, "account", {"a_1": ACME, "a_2": ACME}, hours=1) == SyncResult()
    send(ledger, product, "account", {"a_1": ACME | {"owner": None}, "a_2": ACME}, hours=2)
    assert [call["traits"] for call in server.asked[-1].body["batch"]] == [{"owner": None}]
    send(ledger, product, "account", {"a_1": ACME, "a_2": ACME}, hours=3)
    assert server.traits["a_1"]["owner"] == "o_1"
    assert (len(server.asked), server.repeated) == (3, 0)


def test_hundreds_go_in_batches_of_a_hundred(server: ProductServer, ledger: Ledger) -> None:
    send(ledger, connected(server), "user", {f"u_{number:03}": ACME for number in range(250)})
    assert [len(asked.body["batch"]) for asked in server.asked] == [100, 100, 50]


@pytest.mark.parametrize("fault", ["reset", "lost", "cut", "delay"])
def test_a_call_that_arrives_twice_counts_once(server: ProductServer, ledger: Ledger, fault: Any) -> None:
    server.fail(fault, "batch")
    assert send(ledger, connected(server), "user", {"u_1": ACME}).written == 1
    assert server.repeated == (0 if fault == "reset" else 1)


def test_success_false_is_a_refusal_whatever_the_status(server: ProductServer, ledger: Ledger) -> None:
    people = {f"u_{number}": ACME for number in range(8)} | {"u_3": ACME | {"segment": "poison"}}
    result = send(ledger, connected(server), "user", people)
    assert result.written == 7
    assert "a trait is not allowed" in result.refused["u_3"]


def test_a_wrong_key_is_not_repeated_anywhere(server: ProductServer, ledger: Ledger) -> None:
    result = send(ledger, connected(server, "wk-wrong"), "user", {"u_1": ACME})
    assert (result.failed, len(server.asked)) == (1, 1)
    assert "unknown write key" in str(result.cause)
    told = f"{result.cause} {ledger.read_frame('deliveries').to_dicts()}"
    assert "wk-wrong" not in told and "Basic" not in told
