"""What the ledger says about deliveries: what was asked of outside systems, what came of it, and what they hold."""

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any

import polars as pl
import sqlalchemy as sa

from dagster_project import ledger_schema as schema
from dagster_project.ledger_reading import LedgerReader, rows_of

SLOT = ("destination", "object_type", "object_id", "operation")
"""Of these there is one open delivery at a time."""
OPEN_DELIVERIES = ("pending", "failed", "unknown")
"""Statuses of deliveries that have not come to an end."""


class DeliveryReader(LedgerReader):
    """One ledger's deliveries, beside what else it says."""

    def confirmed(
        self, destination: str, object_type: str, ids: Collection[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """By object id, the fields that the destination was last confirmed to hold; of all objects or of some."""
        table = schema.CONFIRMED_RECORDS
        query = sa.select(table.c.object_id, table.c.fields).where(
            table.c.destination == destination, table.c.object_type == object_type
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query) if ids is None else rows_of(connection, query, table.c.object_id, ids)
            return {row.object_id: json.loads(row.fields) for row in rows}

    def digests(self, destination: str, object_type: str, ids: Collection[str] | None = None) -> pl.DataFrame:
        """`object_id` and `digest`, see `core.sync.with_digest`, where nothing is left to write; of all or of some."""
        table = schema.CONFIRMED_RECORDS
        query = sa.select(table.c.object_id, table.c.digest).where(
            table.c.destination == destination, table.c.object_type == object_type, table.c.digest.is_not(None)
        )
        with self._engine.connect() as connection:
            if ids is None:
                # A million of them: the driver's own rows, without anything around each.
                cursor = connection.execute(query).cursor
                rows = cursor.fetchall() if cursor else []
            else:
                rows = [tuple(row) for row in rows_of(connection, query, table.c.object_id, ids)]
        return pl.DataFrame(rows, schema={"object_id": pl.String(), "digest": pl.Int64()}, orient="row")

    def confirmed_of(self, destination: str, object_type: str, beginning: str) -> dict[str, dict[str, Any]]:
        """What a destination was confirmed to hold of all whose ids have this beginning, by id."""
        table = schema.CONFIRMED_RECORDS
        query = sa.select(table.c.object_id, table.c.fields).where(
            table.c.destination == destination,
            table.c.object_type == object_type,
            table.c.object_id >= beginning,  # that is what an index is searched by
            table.c.object_id.startswith(beginning, autoescape=True),
        )
        with self._engine.connect() as connection:
            return {row.object_id: json.loads(row.fields) for row in connection.execute(query)}

    def parked(self, destination: str, object_type: str, operation: str) -> dict[str, str]:
        """By object id, the hash of the payload that the destination has refused for good, if it was the last one."""
        table = schema.DELIVERIES
        query = sa.select(table.c.object_id, table.c.payload_hash).where(
            table.c.destination == destination,
            table.c.object_type == object_type,
            table.c.operation == operation,
            table.c.status == "parked",
            ~is_superseded(),
        )
        with self._engine.connect() as connection:
            return {row.object_id: row.payload_hash for row in connection.execute(query)}

    def unsettled(self, destination: str, object_type: str, operation: str) -> dict[str, str]:
        """By object id, the payload of the request that may have arrived or not: the destination never said."""
        table = schema.DELIVERIES
        query = sa.select(table.c.object_id, table.c.payload).where(
            table.c.destination == destination,
            table.c.object_type == object_type,
            table.c.operation == operation,
            table.c.status.in_(OPEN_DELIVERIES),
        )
        with self._engine.connect() as connection:
            return {row.object_id: row.payload for row in connection.execute(query)}

    def parked_for(self, destinations: Collection[str]) -> list[dict[str, Any]]:
        """What waits for a person before these destinations get it, the oldest first: rows of `deliveries`."""
        table = schema.DELIVERIES
        query = (
            sa.select(table)
            .where(table.c.status == "parked", table.c.destination.in_(sorted(destinations)))
            .order_by(table.c.requested_at, table.c.delivery_id)
        )
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def to_be_tried_again(self, *, but: Collection[str]) -> int:
        """How many deliveries have failed, or may have, and are not given up.

        Args:
            but: Those whose operation is one of these words, or begins with one and a colon, don't count.
        """
        table = schema.DELIVERIES
        others = [table.c.operation.startswith(f"{word}:") for word in but]
        others.append(table.c.operation.in_(but))
        query = sa.select(sa.func.count()).where(table.c.status.in_(("failed", "unknown")), ~sa.or_(*others))
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def arrivals(self, object_type: str, operation: str, since: datetime) -> dict[str, datetime]:
        """By object id, when what was asked for at or after `since` was confirmed."""
        table = schema.DELIVERIES
        query = sa.select(table.c.object_id, table.c.confirmed_at).where(
            table.c.object_type == object_type,
            table.c.operation == operation,
            table.c.status == "confirmed",
            table.c.requested_at >= since,
        )
        with self._engine.connect() as connection:
            return {row.object_id: row.confirmed_at for row in connection.execute(query)}

    def begun(self, destination: str, ids: Collection[str]) -> dict[tuple[str, str, str], dict[str, Any]]:
        """By object type, object id and operation, the delivery about these objects that was begun last."""
        table = schema.DELIVERIES
        query = sa.select(table).where(table.c.destination == destination).order_by(table.c.requested_at)
        with self._engine.connect() as connection:
            rows = [row._asdict() for row in rows_of(connection, query, table.c.object_id, ids)]
        return {(row["object_type"], row["object_id"], row["operation"]): row for row in rows}

    def open_actions(self, destination: str) -> dict[str, str]:
        """By action key, the payload of what has not come to an end, in the order of the requests."""
        table = schema.DELIVERIES
        query = (
            sa.select(table.c.action_key, table.c.payload)
            .where(
                table.c.destination == destination, table.c.action_key.is_not(None), table.c.status.in_(OPEN_DELIVERIES)
            )
            .order_by(table.c.requested_at, table.c.action_key)
        )
        with self._engine.connect() as connection:
            return {row.action_key: row.payload for row in connection.execute(query)}

    def ended_actions(self, destination: str, keys: Collection[str]) -> dict[str, tuple[str, str]]:
        """By action key, the status and the payload's hash of what has come to an end under it."""
        table = schema.DELIVERIES
        # By the keys alone: SQLite would rather look through all that ever went to the destination.
        query = (
            sa.select(table.c.action_key, table.c.destination, table.c.status, table.c.payload_hash)
            .where(table.c.status.not_in(OPEN_DELIVERIES))
            .order_by(table.c.requested_at)
        )
        with self._engine.connect() as connection:
            rows = rows_of(connection, query, table.c.action_key, keys)
            return {row.action_key: (row.status, row.payload_hash) for row in rows if row.destination == destination}


def is_superseded() -> sa.ColumnElement[bool]:
    """Whether a delivery is not the last one of its slot."""
    table, later = schema.DELIVERIES, schema.DELIVERIES.alias("later")
    same_slot = (later.c[name] == table.c[name] for name in SLOT)
    return sa.exists().where(*same_slot, later.c.requested_at > table.c.requested_at)
