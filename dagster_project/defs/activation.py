"""Scores into the CRM: what should stand there, the plan of what differs, and the calls that write it."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from dagster_project.activation import SendRules, SyncResult, send_plan
from dagster_project.clients.connectors import LOCAL
from dagster_project.clients.crm import CrmError, CrmUnavailable
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.moments import resolve_as_of
from dagster_project.core.sync import PLAN_SCHEMA, counts_of, differences
from dagster_project.crm_changes import TOUCHED
from dagster_project.crm_troubles import still_refused, too_many, troubles_of
from dagster_project.defs.kept_plan import PLAN, KeptPlan, PlanRows, still_to_write
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace, begun_by
from dagster_project.defs.tables import markdown_table, replace_rows, replace_table, shown_table
from dagster_project.defs.transform import OWNERS
from dagster_project.field_plans import give_up_gone, plan_fields, without_unknown
from dagster_project.landing.feeds import silence_hold
from dagster_project.ledger import Ledger
from dagster_project.ledger_memory import check_memory
from dagster_project.left_over import drop_taken, put_off, take_up
from dagster_project.refresh import LIVE, Refresh, current_refresh
from dagster_project.wanted_fields import made_contacts, wanted_fields

ENTITIES = {"contact": "contacts", "account": "accounts"}
SHOWN = 25
"""Rows of a table that the UI shows."""
_TROUBLES = "activation.crm_troubles"
_DIFFERENCES = f"""
create or replace view activation.crm_plan as
with entries as (
  select *, unnest(map_entries(cast(cast(fields as json) as map(varchar, json)))) as entry
  from {PLAN} where fields is not null
)
select
  object_type, object_id, operation, entry.key as field,
  cast(cast(before as json) as map(varchar, json))[entry.key] as before, entry.value as after, reason
from entries
"""
_TOLD = {
    "object_type": "contact or account",
    "object_id": "the CRM's id of the record",
    "operation": "create, update, or skip",
    "field": "the CRM's name of it",
    "before": "what the CRM was last confirmed to hold",
    "after": "what is to stand there",
    "reason": "why a record is skipped, or which fields of it are left as they are",
}
_COMMON: dict[str, Any] = {"group_name": "activation", "owners": OWNERS, "pool": WAREHOUSE_POOL}


@dg.asset(
    key=["crm", "plan"],
    deps=[["scores", "pql_scores"], ["scores", "pqa_scores"], ["features", "account_features"]],
    kinds={"polars", "crm"},
    **_COMMON,
)
def crm_plan(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """What is about to change in the CRM, before anything is sent: one row per record and field, as it was last
    confirmed and as it should be (`activation.crm_plan` in the warehouse)."""
    rules = workplace.playbook.crm_fields
    as_of = resolve_as_of(workplace.settings.as_of, workplace.now())
    with workplace.connect(stays_open=True) as connection:
        with workplace.ledger() as ledger:
            check_memory(ledger, connection, workplace.settings)
            lost = _forget_lost(ledger, workplace)
            made = made_contacts(ledger, rules, workplace.settings.crm_destination)
        refresh = current_refresh(connection, begun_by(context.run))
        is_full = refresh.is_full
        hold = silence_hold(connection, as_of, workplace.playbook.sources.feed_silence)
        take_up(connection, workplace.settings.crm, everything=is_full, held_too=hold is None)
        desired = wanted_fields(connection, rules, workplace.settings.crm, is_full=is_full, made=made)
        # A connected CRM knows itself what it has delivered.
        delivered = _delivered(connection, refresh, all_of_it=bool(lost)) if workplace.settings.crm == LOCAL else {}
        empty = pl.DataFrame(schema={"object_type": pl.String(), **PLAN_SCHEMA})
        replace_table(connection, PLAN, empty)
        connection.execute(_DIFFERENCES)
        metadata = shown_table(connection, "activation.crm_plan", _TOLD)
    if lost:
        metadata["records of a CRM that was lost"] = lost
        context.log.warning(
            f"{workplace.settings.local_crm} has lost the {lost:,} records that were written to it. Their fields are "
            "written again, all of them by the next full run. Tasks, and what sellers did there, only a backup has"
        )
    crm = workplace.crm()
    shown, rows = [], PlanRows(workplace)
    troubles: list[str] = []
    unplanned = []
    silence: CrmUnavailable | None = None
    with workplace.ledger() as ledger:
        for kind, target in rules.targets().items():
            if kind in delivered and isinstance(crm, LocalCrm):
                crm.take_over(kind, delivered[kind].records, of=delivered[kind].of)
            counts: Counter[str] = Counter()
            if is_full:
                wanted = desired[kind]["object_id"].to_list()
                metadata[f"{kind}s given up"] = give_up_gone(ledger, crm.name, kind, wanted, workplace.now())
            try:
                if silence is not None:
                    raise silence
                there, trouble = without_unknown(crm, kind, target) if desired[kind].height else (target, None)
                troubles += [trouble] if trouble else []
                for part in plan_fields(ledger, crm, kind, desired[kind], target=there, hold_decreases=hold):
                    rows.add(kind, part)
                    counts += counts_of(part)
                    shown.append(differences(part.head(SHOWN)).select(pl.lit(kind).alias("type"), pl.all()).head(SHOWN))
            except CrmError as error:
                troubles.append(f"{kind}s could not be planned: {error}")
                unplanned.append(kind)
                silence = error if isinstance(error, CrmUnavailable) and error.is_silent else None
                context.log.warning(troubles[-1])
            metadata |= {f"{kind}s: {label}": count for label, count in sorted(counts.items())}
            metadata[f"{kind}s: nothing to do"] = desired[kind].height - counts.total()
            if is_full and (trouble := still_refused(kind, counts, desired[kind].height, rules)):
                troubles.append(trouble)
    rows.flush()
    with workplace.connect(stays_open=True) as connection:
        replace_table(connection, _TROUBLES, _troubles("planning", troubles))
        for kind in unplanned:
            planned = connection.sql(f"select object_id from {PLAN} where object_type = '{kind}'").pl()
            left = desired[kind].join(planned, on="object_id", how="anti")["object_id"]
            put_off(connection, workplace.settings.crm, kind, left)
    if hold:
        metadata["decreases held"] = hold
    if shown:
        metadata["differences"] = markdown_table(pl.concat(shown).head(SHOWN))
    return dg.MaterializeResult(metadata=metadata)


def _forget_lost(ledger: Ledger, workplace: Workplace) -> int:
    """How many records of an embedded CRM that was lost the ledger knew of; it does no more."""
    settings = workplace.settings
    try:
        is_lost = settings.crm == LOCAL and LocalCrm(settings.local_crm).is_empty()
    except CrmUnavailable:  # whoever plans says so
        return 0
    return ledger.forget_confirmed(settings.crm_destination) if is_lost else 0


@dg.asset(key=["crm", "fields"], deps=[crm_plan], kinds={"sqlite", "crm"}, **_COMMON)
def crm_fields(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Our fields of contacts and accounts in the CRM, as the plan says; each record with its own receipt in the ledger.

    What was confirmed since the plan was made is not sent again: it may be the plan of a run that is long over.
    More records than `max_changed_records` (crm_fields.yml) are not changed without somebody's yes.
    """
    rules = workplace.playbook.crm_fields
    results = {}
    plan = KeptPlan(workplace)
    held_back = too_many(plan.planned, rules, workplace.settings.crm, yes=workplace.yes)
    crm = workplace.crm()
    with workplace.ledger() as ledger:
        for kind, target in rules.targets().items():
            parts = plan.portions(kind, only_settled=held_back is not None)
            left = still_to_write(ledger, crm.name, kind, parts, target=target)
            sending = SendRules(rules.resends, rules.verify_sample)
            results[kind] = send_plan(ledger, crm, kind, left, rules=sending, now=workplace.now())
    if any(result.refused for result in results.values()):
        workplace.connect_anew()  # a field may not be there any more
    troubles = troubles_of(results, rules, held_back)
    for trouble in troubles:
        context.log.warning(trouble)
    with workplace.connect(stays_open=True) as connection:
        replace_rows(connection, _TROUBLES, _troubles("sending", troubles), "stage = 'sending'")
        drop_taken(connection, workplace.settings.crm)
        for kind, result in results.items():
            put_off(connection, workplace.settings.crm, kind, result.left)
            put_off(connection, workplace.settings.crm, kind, result.held, is_held=True)
    return dg.MaterializeResult(metadata=result_metadata(results))


@dg.multi_asset_check(
    name="the_crm_took_what_was_sent",
    specs=[
        dg.AssetCheckSpec(
            "the_crm_took_what_was_sent",
            asset=["crm", "fields"],
            description="Not more was refused than crm_fields.yml allows, nothing was held back, and what was read "
            "back stands there. A run of everything fails with it.",
        )
    ],
)
def the_crm_took_what_was_sent(
    context: dg.AssetCheckExecutionContext, workplace: Workplace
) -> Iterator[dg.AssetCheckResult]:
    """Fail visibly; what does not depend on the CRM has been published all the same."""
    with workplace.connect(stays_open=True) as connection:
        troubles = [row[0] for row in connection.sql(f"select trouble from {_TROUBLES} order by all").fetchall()]
        is_full = current_refresh(connection, begun_by(context.run)).is_full
    yield dg.AssetCheckResult(passed=not troubles, metadata={"troubles": troubles})
    if troubles and is_full:
        raise dg.Failure("\n".join(troubles))


CHECKS = [the_crm_took_what_was_sent]


def result_metadata(results: dict[str, SyncResult]) -> dict[str, Any]:
    """What the UI shows of results, by object type."""
    metadata: dict[str, Any] = {}
    for kind, result in results.items():
        metadata[f"{kind}s written"] = result.written
        metadata[f"{kind}s made"] = result.created
        metadata[f"{kind}s to be tried again"] = result.failed
        metadata[f"{kind}s: requests"] = result.requests
        metadata[f"{kind}s read back"] = result.verified
        metadata |= {f"{kind}s skipped: {why}": count for why, count in sorted(result.skipped.items())}
        if result.cause:
            metadata[f"{kind}s: cause"] = result.cause
        if result.refused:
            rows = [{"record": object_id, "why": why} for object_id, why in list(result.refused.items())[:SHOWN]]
            metadata[f"{kind}s refused"] = markdown_table(pl.DataFrame(rows))
    return metadata


def _troubles(stage: str, troubles: Sequence[str]) -> pl.DataFrame:
    """What somebody has to know of, for the check that tells it."""
    kinds = {"stage": pl.String(), "trouble": pl.String()}
    return pl.DataFrame([(stage, trouble) for trouble in troubles], schema=kinds, orient="row")


class _Payloads(Mapping[str, dict[str, Any]]):
    """Records as JSON, each read when it is asked for: as dicts they take many times the room."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def __getitem__(self, key: str) -> dict[str, Any]:
        return json.loads(self._texts[key])

    def __contains__(self, key: object) -> bool:
        return key in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


@dataclass(frozen=True)
class _Delivered:
    """The CRM's own records as its extracts show them at the live moment, by id.

    Attributes:
        records: The records.
        of: The ids that were looked for; None for all.
    """

    records: _Payloads
    of: list[str] | None


def _delivered(connection: duckdb.DuckDBPyConnection, refresh: Refresh, *, all_of_it: bool) -> dict[str, _Delivered]:
    """By object type what the CRM has delivered; nothing where only events have come, unless all of it is wanted."""
    if refresh.is_full or all_of_it:
        return {kind: _Delivered(_extracted(connection, entity, "true"), of=None) for kind, entity in ENTITIES.items()}
    if not refresh.has_crm:
        return {}
    found = {}
    for kind, entity in ENTITIES.items():
        touched = f"select key from {TOUCHED} where kind = '{entity}'"
        ids = [key for (key,) in connection.sql(touched).fetchall()]
        found[kind] = _Delivered(_extracted(connection, entity, f"records.key in ({touched})"), of=ids)
    return found


def _extracted(connection: duckdb.DuckDBPyConnection, entity: str, whose: str) -> _Payloads:
    rows = connection.sql(
        "select records.key, versions.payload from intermediate.int_crm_records as records "
        "join raw.crm_versions as versions using (version_id) "
        f"where records.{LIVE} and records.entity = ? and not records.is_deleted and {whose}",
        params=[entity],
    ).fetchall()
    return _Payloads(dict(rows))
