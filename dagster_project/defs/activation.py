"""Scores into the CRM: what should stand there, and the call that writes what differs."""

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from dagster_project.activation import SyncResult, sync_fields
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.crm_fields import account_fields, contact_fields
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.defs.tables import markdown_table
from dagster_project.defs.transform import OWNERS
from dagster_project.refresh import current_refresh

_ENTITIES = {"contact": "contacts", "account": "accounts"}
_CONTACTS_CONCERNED = (
    "contact_id in (select contact_id from scores.pql_scores "
    "where user_id in (select user_id from scores.rescored_users) "
    "union select previous_contact_id from intermediate.int_users_touched)"
)
"""In a delta: everybody who shares a contact with somebody scored again, before or now."""


@dg.asset(
    key=["crm", "fields"],
    deps=[["scores", "pql_scores"], ["scores", "pqa_scores"], ["features", "account_features"]],
    group_name="activation",
    owners=OWNERS,
    kinds={"sqlite", "crm"},
    pool=WAREHOUSE_POOL,
)
def crm_fields(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Our fields of contacts and accounts in the CRM, written only where they differ from what it last confirmed."""
    rules = workplace.playbook.crm_fields
    with workplace.connect() as connection:
        is_full = current_refresh(connection, context.run.run_id).is_full
        # The CRM's own records are as they were when only events have come.
        extracted = {kind: _extracted(connection, entity) for kind, entity in _ENTITIES.items()} if is_full else {}
        users = connection.sql(
            f"select * from scores.pql_scores where {'true' if is_full else _CONTACTS_CONCERNED}"
        ).pl()
        accounts = connection.sql(
            "select scores.*, features.in_crm from scores.pqa_scores as scores "
            "join features.account_features as features using (account_id) "
            "where features.as_of = (select as_of from raw.moments where is_live) and "
            + ("true" if is_full else "account_id in (select account_id from scores.rescored_accounts)")
        ).pl()
    desired = {
        "contact": contact_fields(users, rules.top_signals),
        "account": account_fields(accounts),
    }
    names: dict[str, Mapping[Any, str | None]] = {"contact": rules.contact, "account": rules.account}
    crm = workplace.crm()
    results: dict[str, SyncResult] = {}
    with workplace.ledger() as ledger:
        for kind in _ENTITIES:
            if kind in extracted and isinstance(crm, LocalCrm):
                crm.take_over(kind, extracted[kind])
            results[kind] = sync_fields(
                ledger, crm, kind, desired=desired[kind], names=names[kind], now=workplace.now()
            )
    for kind, result in results.items():
        if result.refused or result.failed:
            context.log.warning(f"{kind}: {len(result.refused)} refused, {result.failed} to be tried again")
    return dg.MaterializeResult(metadata=_metadata(results))


def _extracted(connection: duckdb.DuckDBPyConnection, entity: str) -> dict[str, dict[str, Any]]:
    """The CRM's own records as the extracts show them at the live moment, by id."""
    rows = connection.sql(
        "select records.key, versions.payload from intermediate.int_crm_records as records "
        "join raw.crm_versions as versions using (version_id) "
        "where records.as_of = (select as_of from raw.moments where is_live) "
        "and records.entity = ? and not records.is_deleted",
        params=[entity],
    ).fetchall()
    return {key: json.loads(payload) for key, payload in rows}


def _metadata(results: dict[str, SyncResult]) -> dict[str, dg.MetadataValue | int | str]:
    metadata: dict[str, dg.MetadataValue | int | str] = {}
    for kind, result in results.items():
        metadata[f"{kind}s written"] = result.written
        metadata[f"{kind}s unchanged"] = result.unchanged
        metadata[f"{kind}s to be tried again"] = result.failed
        if result.cause:
            metadata[f"{kind}s: cause"] = result.cause
        if result.refused:
            rows = [{"record": object_id, "why": why} for object_id, why in list(result.refused.items())[:20]]
            metadata[f"{kind}s refused"] = markdown_table(pl.DataFrame(rows))
    return metadata
