"""What a delta could not send to the CRM and to the product is sent by the next one, whomever that one is about."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from installation import END, Installation
from product_server import WRITE_KEY, ProductServer

from dagster_project.clients.crm import CrmUnavailable, Receipt
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.sync import FieldUpdate

DELTA = "score_new_events"


class Away(LocalCrm):
    """A CRM that does not answer."""

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        raise CrmUnavailable("503 at crm.example")


def test_what_could_not_be_sent_is_sent_by_the_next_delta(demo_run: Installation, tmp_path: Path) -> None:
    company = Installation(shutil.copytree(demo_run.data_dir, tmp_path / "data"))
    with duckdb.connect(str(company.serving), read_only=True) as serving:
        known = (
            "select user_id, contact_id from marts.pql_scores where contact_id is not null order by pql_score limit 2"
        )
        (one, contact), (other, _) = serving.sql(known).fetchall()
    before = in_the_crm(company)
    with ProductServer() as product:
        expired: dict[str, Any] = {"PLS_PRODUCT_URL": product.base_url, "PLS_PRODUCT_WRITE_KEY": "expired"}
        clicks_upgrade(company, one)
        away = company.run(DELTA, crm=Away(company.data_dir / "crm.sqlite"), **expired)
        assert (in_the_crm(company), product.traits) == (before, {})
        clicks_upgrade(company, other)
        back = company.run(DELTA, **expired | {"PLS_PRODUCT_WRITE_KEY": WRITE_KEY})
        assert {one, other} <= product.traits.keys()
    with duckdb.connect(str(company.warehouse), read_only=True) as warehouse:
        assert warehouse.sql("select is_full from raw.refreshes").fetchall() == [(False,)]
        assert warehouse.sql("from activation.left_over").fetchall() == []
    assert [the_crm_took_it(run) for run in (away, back)] == [False, True]
    sent = in_the_crm(company)
    assert sent["contact"][contact] != before["contact"][contact]
    company.run()
    assert in_the_crm(company) == sent


def clicks_upgrade(company: Installation, user_id: str) -> None:
    """An event file that has been left alone for long."""
    row = {"type": "track", "user_id": user_id, "event": "Upgrade Clicked", "timestamp": f"{END:%Y-%m-%dT%H:%M:%SZ}"}
    path = company.landing / "events" / f"{user_id}.ndjson"
    path.write_text(json.dumps(row) + "\n")
    os.utime(path, (0, 0))


def in_the_crm(company: Installation) -> dict[str, dict[str, dict[str, Any]]]:
    """By object type and id, what the CRM holds, but when it was scored."""
    crm = LocalCrm(company.data_dir / "crm.sqlite")
    return {
        kind: {key: {**fields, "pls_scored_at": None} for key, fields in crm.records(kind).items()}
        for kind in ("contact", "account")
    }


def the_crm_took_it(result: dg.ExecuteInProcessResult) -> bool:
    checks = [
        e.asset_check_evaluation_data for e in result.all_events if e.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    [passed] = [check.passed for check in checks if check.check_name == "the_crm_took_what_was_sent"]
    return passed
