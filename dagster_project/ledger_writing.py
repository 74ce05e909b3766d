"""How the ledger is written: numbered transactions, and in them what is asked of other systems and what became of it.

What is kept is `ledger.py`'s business, which tables there are `ledger_schema.py`'s.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dagster_project import ledger_schema as schema
from dagster_project.clients.crm import Receipt
from dagster_project.ledger_deliveries import OPEN_DELIVERIES, SLOT, DeliveryReader
from dagster_project.ledger_reading import rows_of

_sorted_json = json.JSONEncoder(sort_keys=True).encode
CHANGES = "changes"
"""The key in `meta` under which the transactions are counted that write what SQL users read."""
SUPERSEDED = "superseded by a newer one"
"""What a delivery says that another one of its slot was asked for after."""

Status = Literal["confirmed", "failed", "unknown", "parked", "cancelled", "pending"]
"""Done; to be tried again; nobody saw whether it was done; refused for good until the payload changes; not to be sent
any more; nobody knows yet."""


@dataclass(frozen=True)
class Request:
    """Something that is about to be done elsewhere. `payload_hash` tells one from another for the same object.

    `action_key` is set for what must happen once, whatever comes after it. `only_adds` is set for what is done only
    where it adds something, so that another request for the same object stands beside it instead of in its place.
    """

    destination: str
    object_type: str
    object_id: str
    operation: str
    payload: str
    payload_hash: str
    action_key: str | None = None
    only_adds: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a request."""

    delivery_id: str
    status: Status
    error: str | None = None


def outcome_of(delivery_id: str, receipt: Receipt) -> Outcome:
    """What a CRM's receipt means for the request that it answers."""
    if receipt.error is None:
        return Outcome(delivery_id, "confirmed")
    if receipt.is_unknown:
        return Outcome(delivery_id, "unknown", receipt.error)
    if receipt.is_needless:
        return Outcome(delivery_id, "cancelled", receipt.error)
    return Outcome(delivery_id, "failed" if receipt.is_retryable else "parked", receipt.error)


class LedgerWriter(DeliveryReader):
    """What every transaction that changes the ledger is made of."""

    @contextmanager
    def _changing(self) -> Iterator[tuple[sa.Connection, int]]:
        """A transaction and its number; nobody else counts until it ends, so that numbers become visible in order."""
        counter = schema.META
        following = sa.cast(sa.cast(counter.c.value, sa.BigInteger) + 1, sa.String)
        with self._engine.begin() as connection:
            number: str = connection.execute(
                self._insert(counter)
                .values(key=CHANGES, value="1")
                .on_conflict_do_update(index_elements=[counter.c.key], set_={"value": following})
                .returning(counter.c.value)
            ).scalar_one()
            yield connection, int(number)

    def _request(
        self,
        connection: sa.Connection,
        requests: Sequence[Request],
        now: datetime,
        change: int,
        *,
        attempts: int = 1,
    ) -> list[str]:
        if not requests:
            return []
        before = _open_deliveries(connection, requests)
        rows: dict[str, dict[str, Any]] = {}
        last: dict[tuple[str, ...], str] = {}  # by slot, the one that stands
        ids = []
        for request in requests:
            opened = before.get(_slot(request), [])
            was = next((row for row in opened if row["payload_hash"] == request.payload_hash), None)
            row = {**_delivery(request, was, now, attempts), "change": change}
            rows[row["delivery_id"]] = row
            ids.append(str(row["delivery_id"]))
            if not request.only_adds:
                last[_slot(request)] = row["delivery_id"]
        self._put(connection, schema.DELIVERIES, list(rows.values()))
        of_slots = [row for slot in last for row in before.get(slot, [])] + [*rows.values()]
        superseded = {row["delivery_id"] for row in of_slots if _slot_of(row) in last} - {*last.values()}
        gone = [Outcome(delivery_id, "cancelled", SUPERSEDED) for delivery_id in sorted(superseded)]
        self._settle(connection, gone, now, change)
        return ids

    def _settle(self, connection: sa.Connection, outcomes: Sequence[Outcome], now: datetime, change: int) -> None:
        if not outcomes:
            return
        table = schema.DELIVERIES
        connection.execute(
            table.update()
            .where(table.c.delivery_id == sa.bindparam("of_delivery"))
            .values(
                status=sa.bindparam("now_status"),
                error=sa.bindparam("now_error"),
                confirmed_at=sa.bindparam("at"),
                change=change,
            ),
            [
                {
                    "of_delivery": outcome.delivery_id,
                    "now_status": outcome.status,
                    "now_error": outcome.error,
                    "at": now if outcome.status == "confirmed" else None,
                }
                for outcome in outcomes
            ],
        )

    def _confirm(
        self,
        connection: sa.Connection,
        confirmed: Mapping[tuple[str, str, str], Mapping[str, Any]],
        digests: Mapping[tuple[str, str, str], int],
        now: datetime,
    ) -> None:
        table = schema.CONFIRMED_RECORDS
        keys = confirmed.keys() | digests.keys()
        rows = []
        for destination, object_type in sorted({key[:2] for key in keys}):
            query = sa.select(table.c.object_id, table.c.fields).where(
                table.c.destination == destination, table.c.object_type == object_type
            )
            ids = [key[2] for key in keys if key[:2] == (destination, object_type)]
            known = {row.object_id: row.fields for row in rows_of(connection, query, table.c.object_id, ids)}
            for object_id in ids:
                key = (destination, object_type, object_id)
                before = known.get(object_id)
                fields = {**(json.loads(before) if before else {}), **confirmed.get(key, {})}
                rows.append(
                    {
                        **dict(zip(("destination", "object_type", "object_id"), key, strict=True)),
                        "fields": _sorted_json(fields),
                        "digest": digests.get(key),
                        "confirmed_at": now,
                    }
                )
        self._put(connection, table, rows)

    def _add(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert; a row whose key is there already stays as it is."""
        if rows:
            connection.execute(self._insert(table).on_conflict_do_nothing(), list(rows))

    def _put(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert; a row whose key is there already is replaced."""
        if not rows:
            return
        insert = self._insert(table)
        others = {c.name: insert.excluded[c.name] for c in table.columns if not c.primary_key}
        connection.execute(
            insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=others), list(rows)
        )

    def _insert(self, table: sa.Table) -> Any:
        return (postgresql if self._engine.dialect.name == "postgresql" else sqlite).insert(table)


def _open_deliveries(
    connection: sa.Connection, requests: Sequence[Request]
) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """What has not come to an end where the requests go to, by slot."""
    table = schema.DELIVERIES
    query = sa.select(table).where(
        table.c.destination.in_({request.destination for request in requests}),
        table.c.status.in_(OPEN_DELIVERIES),
    )
    found: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in map(dict, connection.execute(query).mappings()):
        found[_slot_of(row)].append(row)
    return found


def _slot_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in SLOT)


def _slot(request: Request) -> tuple[str, str, str, str]:
    return request.destination, request.object_type, request.object_id, request.operation


def _delivery(request: Request, was: Mapping[str, Any] | None, now: datetime, attempts: int) -> dict[str, Any]:
    words = "|".join((*_slot(request), request.payload_hash, now.isoformat()))
    return {
        **{name: value for name, value in vars(request).items() if name != "only_adds"},
        "delivery_id": was["delivery_id"] if was else "dl_" + sha256(words.encode()).hexdigest()[:16],
        "status": "pending",
        "attempts": (was["attempts"] if was else 0) + attempts,
        "error": None,
        "requested_at": was["requested_at"] if was else now,
        "confirmed_at": None,
    }
