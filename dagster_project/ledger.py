"""The ledger: what must never be lost or done twice. Decisions, handoffs, trigger states, turns and deliveries.

What belongs here: transactions over `ledger_schema`'s tables. What is decided is `core/`'s business, how something is
sent that of whoever calls `request` before it and `settle` after it. No transaction is open in between.

LedgerError
 └─ LedgerTooNew: the ledger was migrated by a newer version of the code
"""

import json
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self

import polars as pl
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql, sqlite

from dagster_project import ledger_schema as schema
from dagster_project.core.audiences import MEMBER_SCHEMA
from dagster_project.core.automation import ACTED, PAST_RULE_SCHEMA
from dagster_project.core.feedback import Answer
from dagster_project.core.follow_ups import OVERLAP_SCHEMA, WITH_SALES
from dagster_project.core.handoff_plan import GIVEN_SCHEMA, PAST_SCHEMA, HandoffPlan
from dagster_project.core.letters import HANDOFF, NOTICE

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 7_255_512
"""PostgreSQL's advisory lock under which a migration runs; any number that nothing else uses."""
LOCK_SECONDS = 30
"""How long an SQLite ledger waits for others that write."""

CHANGES = "changes"
"""The key in `meta` under which the transactions are counted that write what SQL users read."""
ASKED_FOR = "asked_for"
"""A handoff that whoever asked for it is sending right now."""
CRM_HOLD = "crm_hold_reason"
"""The key under which the last run says why no-contact flags can't be trusted; empty if they can."""
PORTION = 500
"""Ids that one query asks for."""

Status = Literal["confirmed", "failed", "unknown", "parked", "cancelled", "pending"]
"""Done; to be tried again; nobody saw whether it was done; refused for good until the payload changes; not to be sent
any more; nobody knows yet."""
WAITING = ("pending", "parked")
"""A handoff that nobody has got for certain."""


class LedgerError(RuntimeError):
    """The ledger can't be used."""


class LedgerTooNew(LedgerError):
    """The ledger knows a revision that this version does not."""


@dataclass(frozen=True)
class Request:
    """Something that is about to be done elsewhere. `payload_hash` tells one from another for the same object.

    `action_key` is set for what must happen once, whatever comes after it.
    """

    destination: str
    object_type: str
    object_id: str
    operation: str
    payload: str
    payload_hash: str
    action_key: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a request."""

    delivery_id: str
    status: Status
    error: str | None = None


class Ledger:
    """One ledger, migrated to this version's tables on entering.

    Args:
        url: SQLAlchemy URL. The folder of an SQLite file is made.
    """

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)

    def __enter__(self) -> Self:
        self._engine = _engine(self._url)
        try:
            self._migrate()
        except BaseException:
            self._engine.dispose()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    # --- reading ----------------------------------------------------------------------------------

    def read_frame(self, table: str, *, after: int | None = None) -> pl.DataFrame:
        """A table; the columns have their types even when there are no rows.

        Args:
            table: Its name.
            after: Only rows written by a later change than this one; of tables with the column `change`.
        """
        found = schema.METADATA.tables[table]
        query = sa.select(found) if after is None else sa.select(found).where(found.c.change > after)
        return self._read(query, pl.Schema({c.name: _polars_type(c.type) for c in found.columns}))

    def past_handoffs(self, since: datetime) -> pl.DataFrame:
        """Handoffs created after `since` that were not cancelled, as `core.handoffs.PAST_SCHEMA`."""
        table = schema.HANDOFFS
        query = sa.select(*(table.c[name] for name in PAST_SCHEMA)).where(
            table.c.created_at > since, table.c.status != "cancelled"
        )
        return self._read(query, PAST_SCHEMA)

    def trigger_states(self, subjects: Collection[str] | None) -> pl.DataFrame:
        """The states of triggers and rules, of all subjects or of those with these ids."""
        if subjects is None:
            return self.read_frame("trigger_states")
        table = schema.TRIGGER_STATES
        kinds = pl.Schema({column.name: _polars_type(column.type) for column in table.columns})
        with self._engine.connect() as connection:
            rows = [tuple(row) for row in _of(connection, sa.select(table), table.c.subject_id, subjects)]
        return pl.DataFrame(rows, schema=kinds, orient="row")

    def acted_rules(self, since: datetime) -> pl.DataFrame:
        """What automation rules acted on after `since`, as `core.automation.PAST_RULE_SCHEMA`."""
        table = schema.RULE_DECISIONS
        query = sa.select(*(table.c[name] for name in PAST_RULE_SCHEMA)).where(
            table.c.decided_at > since, table.c.decision == ACTED
        )
        return self._read(query, PAST_RULE_SCHEMA)

    def given_notices(self, since: datetime) -> pl.DataFrame:
        """Notices created after `since`, as `core.handoff_plan.GIVEN_SCHEMA`."""
        table = schema.NOTICES
        query = sa.select(*(table.c[name] for name in GIVEN_SCHEMA)).where(table.c.created_at > since)
        return self._read(query, GIVEN_SCHEMA)

    def pending_notices(self) -> list[dict[str, Any]]:
        """The notices that nobody has got yet, the oldest first."""
        table = schema.NOTICES
        query = sa.select(table).where(table.c.status == "pending").order_by(table.c.created_at, table.c.notice_id)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def audience_members(self) -> pl.DataFrame:
        """Who is in an audience now, as `core.audiences.MEMBER_SCHEMA`."""
        table = schema.AUDIENCE_MEMBERS
        query = sa.select(*(table.c[name] for name in MEMBER_SCHEMA)).where(table.c.left_at.is_(None))
        return self._read(query, MEMBER_SCHEMA)

    def overlaps_with_sales(self) -> pl.DataFrame:
        """The MQLs that are with sales, as `core.follow_ups.OVERLAP_SCHEMA`."""
        table = schema.MQL_OVERLAP
        query = sa.select(*(table.c[name] for name in OVERLAP_SCHEMA)).where(table.c.status == WITH_SALES)
        return self._read(query, OVERLAP_SCHEMA)

    def cancelled_handoffs(self, ids: Collection[str]) -> set[str]:
        """Those of the handoffs that were withdrawn before anybody got them."""
        table = schema.HANDOFFS
        query = sa.select(table.c.handoff_id).where(table.c.status == "cancelled")
        with self._engine.connect() as connection:
            return {row.handoff_id for row in _of(connection, query, table.c.handoff_id, ids)}

    def rejected_handoffs(self, ids: Collection[str]) -> dict[str, tuple[str | None, datetime]]:
        """Those of the handoffs whose latest answer is that they are not a fit: who said so, and when."""
        table = schema.HANDOFF_FEEDBACK
        query = sa.select(table).order_by(table.c.answered_at, table.c.feedback_id)
        latest = {}
        with self._engine.connect() as connection:
            for row in _of(connection, query, table.c.handoff_id, ids):
                latest[row.handoff_id] = row
        return {
            handoff_id: (row.answered_by, row.answered_at)
            for handoff_id, row in latest.items()
            if row.label == "not_a_fit"
        }

    def packages_since(self, since: datetime, limit: int) -> list[str]:
        """Packages of handoffs created at or after `since` and not cancelled, the most urgent first, as Markdown."""
        table = schema.HANDOFFS
        query = (
            sa.select(table.c.package_markdown)
            .where(table.c.created_at >= since, table.c.status != "cancelled")
            .order_by(table.c.priority, table.c.handoff_id)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def pending_handoffs(self) -> list[dict[str, Any]]:
        """The handoffs that nobody has got for certain, the most urgent first."""
        table = schema.HANDOFFS
        columns = [column for column in table.columns if column.name != "change"]
        query = sa.select(*columns).where(table.c.status.in_(WAITING)).order_by(table.c.priority, table.c.handoff_id)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def threads_since(self, since: datetime, statuses: Collection[str]) -> list[dict[str, Any]]:
        """Handoffs with one of the statuses, created at or after `since`: what decides whose thread another joins."""
        table, names = schema.HANDOFFS, ("account_id", "user_id", "recipient_id", "priority", "status", "created_at")
        query = sa.select(table.c.handoff_id, *(table.c[name] for name in names)).where(
            table.c.created_at >= since, table.c.status.in_(statuses)
        )
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def get_meta(self, key: str) -> str | None:
        """A remembered fact."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(schema.META.c.value).where(schema.META.c.key == key)).scalar()

    def confirmed(
        self, destination: str, object_type: str, ids: Collection[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """By object id, the fields that the destination was last confirmed to hold; of all objects or of some."""
        table = schema.CONFIRMED_RECORDS
        query = sa.select(table.c.object_id, table.c.fields).where(
            table.c.destination == destination, table.c.object_type == object_type
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query) if ids is None else _of(connection, query, table.c.object_id, ids)
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
                rows = [tuple(row) for row in _of(connection, query, table.c.object_id, ids)]
        return pl.DataFrame(rows, schema={"object_id": pl.String(), "digest": pl.Int64()}, orient="row")

    def parked(self, destination: str, object_type: str, operation: str) -> dict[str, str]:
        """By object id, the hash of the payload that the destination has refused for good, if it was the last one."""
        table, later = schema.DELIVERIES, schema.DELIVERIES.alias("later")
        superseded = sa.exists().where(
            *(later.c[name] == table.c[name] for name in _SLOT), later.c.requested_at > table.c.requested_at
        )
        query = sa.select(table.c.object_id, table.c.payload_hash).where(
            table.c.destination == destination,
            table.c.object_type == object_type,
            table.c.operation == operation,
            table.c.status == "parked",
            ~superseded,
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
            table.c.status.in_(_OPEN),
        )
        with self._engine.connect() as connection:
            return {row.object_id: row.payload for row in connection.execute(query)}

    def begun(self, destination: str, ids: Collection[str]) -> dict[tuple[str, str, str], dict[str, Any]]:
        """By object type, object id and operation, the delivery about these objects that was begun last."""
        table = schema.DELIVERIES
        query = sa.select(table).where(table.c.destination == destination).order_by(table.c.requested_at)
        with self._engine.connect() as connection:
            rows = [row._asdict() for row in _of(connection, query, table.c.object_id, ids)]
        return {(row["object_type"], row["object_id"], row["operation"]): row for row in rows}

    def open_actions(self, destination: str) -> dict[str, str]:
        """By action key, the payload of what has not come to an end, in the order of the requests."""
        table = schema.DELIVERIES
        query = (
            sa.select(table.c.action_key, table.c.payload)
            .where(table.c.destination == destination, table.c.action_key.is_not(None), table.c.status.in_(_OPEN))
            .order_by(table.c.requested_at, table.c.action_key)
        )
        with self._engine.connect() as connection:
            return {row.action_key: row.payload for row in connection.execute(query)}

    def ended_actions(self, destination: str, keys: Collection[str]) -> dict[str, tuple[str, str]]:
        """By action key, the status and the payload's hash of what has come to an end under it."""
        table = schema.DELIVERIES
        query = (
            sa.select(table.c.action_key, table.c.status, table.c.payload_hash)
            .where(table.c.destination == destination, table.c.status.not_in(_OPEN))
            .order_by(table.c.requested_at)
        )
        with self._engine.connect() as connection:
            rows = _of(connection, query, table.c.action_key, keys)
            return {row.action_key: (row.status, row.payload_hash) for row in rows}

    # --- writing ----------------------------------------------------------------------------------

    def set_meta(self, key: str, value: str) -> None:
        """Remember a fact."""
        with self._engine.begin() as connection:
            self._put(connection, schema.META, [{"key": key, "value": value}])

    def apply_handoff_plan(
        self,
        plan: HandoffPlan,
        *,
        known: pl.DataFrame | None = None,
        requests: Sequence[Request] = (),
        now: datetime | None = None,
    ) -> None:
        """Keep a plan, all of it or nothing. Decisions and handoffs that are there already stay as they are.

        Args:
            plan: What was decided.
            known: The states of triggers that it was made from, so that only those that changed are written.
            requests: The intents of its actions, for whoever carries them out.
            now: Naive UTC; when they were asked for.
        """
        states = plan.states
        if known is not None and known.width:
            states = states.join(known.select(states.columns), on=states.columns, how="anti", nulls_equal=True)
        added = {
            schema.HANDOFF_DECISIONS: plan.decisions,
            schema.HANDOFFS: plan.handoffs,
            schema.RULE_DECISIONS: plan.rule_decisions,
            schema.NOTICES: plan.notices,
        }
        put = {schema.MQL_OVERLAP: plan.overlaps, schema.AUDIENCE_MEMBERS: plan.members}
        with self._changing() as (connection, change):
            for table, frame in added.items():
                self._add(connection, table, [{**row, "change": change} for row in frame.to_dicts()])
            for table, frame in put.items():
                self._put(connection, table, [{**row, "change": change} for row in frame.to_dicts()])
            self._put(connection, schema.TRIGGER_STATES, states.to_dicts())
            for table, frame in ((schema.CANDIDATES, plan.candidates), (schema.ROUTING_TURNS, plan.turns)):
                connection.execute(table.delete())
                self._add(connection, table, frame.to_dicts())
            if requests and now:
                self._request(connection, requests, now, change)

    def request(self, requests: Sequence[Request], now: datetime) -> list[str]:
        """Record what is about to be done, before it is.

        A request that was recorded before and is still open is the same one, tried again; an open one for the same
        object with another payload is superseded.

        Returns:
            The delivery id of each request.
        """
        with self._changing() as (connection, change):
            return self._request(connection, requests, now, change)

    def settle(
        self,
        outcomes: Sequence[Outcome],
        now: datetime,
        *,
        confirmed: Mapping[tuple[str, str, str], Mapping[str, Any]] | None = None,
        digests: Mapping[tuple[str, str, str], int] | None = None,
        handoffs: Mapping[str, str] | None = None,
    ) -> None:
        """Record what became of requests, together with what follows from it.

        Args:
            outcomes: One per request.
            now: Naive UTC.
            confirmed: By destination, object type and object id, fields that the destination is now known to hold.
            digests: By the same, the digest of what it was to hold, when nothing of that is left to write.
            handoffs: New status by handoff id.
        """
        with self._changing() as (connection, change):
            self._settle(connection, outcomes, now, change)
            self._confirm(connection, confirmed or {}, digests or {}, now)
            for handoff_id, status in (handoffs or {}).items():
                _set_status(connection, handoff_id, status, change)

    def settle_notices(self, destination: str) -> None:
        """Give notices that wait the status of their delivery, once that has come to an end."""
        table, delivery = schema.NOTICES, schema.DELIVERIES
        ended = sa.select(delivery.c.object_id, delivery.c.status).where(
            delivery.c.destination == destination,
            delivery.c.object_type == NOTICE,
            delivery.c.status.in_(("confirmed", "cancelled")),
            delivery.c.object_id.in_(sa.select(table.c.notice_id).where(table.c.status == "pending")),
        )
        with self._changing() as (connection, change):
            for notice_id, status in connection.execute(ended).all():
                values = {"status": "delivered" if status == "confirmed" else status, "change": change}
                connection.execute(table.update().where(table.c.notice_id == notice_id).values(values))

    def cancel_handoff(self, handoff: Mapping[str, Any], delivery_id: str, reason: str, now: datetime) -> None:
        """Withdraw a handoff that may not be sent after all: its decision, its delivery and the handoff itself."""
        columns = ("candidate_key", "user_id", "account_id", "triggers", "priority")
        decision = {
            **{name: handoff[name] for name in columns},
            "decision_id": "de_" + sha256(f"cancelled {handoff['handoff_id']}".encode()).hexdigest()[:16],
            "handoff_id": None,
            "decision": "suppressed_no_contact",
            "reason": f"at the moment of sending: {reason}",
            "decided_at": now,
        }
        with self._changing() as (connection, change):
            self._add(connection, schema.HANDOFF_DECISIONS, [{**decision, "change": change}])
            self._settle(connection, [Outcome(delivery_id, "cancelled", reason)], now, change)
            _set_status(connection, handoff["handoff_id"], "cancelled", change)

    def keep_answer(self, answer: Answer, *, chat: str) -> None:
        """Record an answer, for the handoff and for whatever joined its thread until now.

        The latest answer counts: it is what the status of the handoffs says afterwards. One that is known already
        changes nothing.

        Args:
            answer: What was said.
            chat: In whose threads handoffs have joined each other.

        Raises:
            LookupError: There is no such handoff.
        """
        table = schema.HANDOFF_FEEDBACK
        with self._changing() as (connection, change):
            known = sa.select(schema.HANDOFFS.c.handoff_id).filter_by(handoff_id=answer.handoff_id)
            if connection.execute(known).scalar() is None:
                raise LookupError(f"the handoff {answer.handoff_id} is not known")
            for handoff_id in (answer.handoff_id, *_joined(connection, chat, answer.handoff_id)):
                self._add(connection, table, [{**_feedback(answer.about(handoff_id)), "change": change}])
                latest = _latest_answer(connection, handoff_id)
                _set_status(connection, handoff_id, latest["label"], change)

    def answer_to(self, handoff_id: str) -> Answer:
        """The answer that counts; there has to be one."""
        with self._engine.connect() as connection:
            row = _latest_answer(connection, handoff_id)
        return Answer(handoff_id, row["label"], row["answered_by"], row["answered_at"], row["source"], row["until"])

    # --- assistants -------------------------------------------------------------------------------

    def keep_tool_call(self, call: Mapping[str, Any]) -> None:
        """Remember a call of a tool; the columns are those of `tool_calls` but `change`."""
        with self._changing() as (connection, change):
            self._put(connection, schema.TOOL_CALLS, [{**call, "change": change}])

    def plan_write(self, planned: Mapping[str, Any], now: datetime) -> None:
        """Remember what is to be confirmed, a row of `planned_writes`; what nobody confirmed in time goes."""
        table = schema.PLANNED_WRITES
        with self._engine.begin() as connection:
            connection.execute(table.delete().where(table.c.expires_at <= now))
            self._add(connection, table, [planned])

    def take_planned_write(self, token_hash: str, asked_by: str, now: datetime) -> dict[str, Any] | None:
        """What somebody confirms in time, once: whoever comes second, or is somebody else, gets None."""
        table = schema.PLANNED_WRITES
        mine = (table.c.token_hash == token_hash, table.c.asked_by == asked_by, table.c.expires_at > now)
        with self._engine.begin() as connection:
            row = connection.execute(table.delete().where(*mine).returning(*table.columns)).mappings().one_or_none()
            return dict(row) if row else None

    def adopt_asked_for(self, before: datetime) -> None:
        """Let the next delivery find the handoffs that somebody asked for and whose sending never came to an end."""
        table = schema.HANDOFFS
        unfinished = (table.c.status == ASKED_FOR, table.c.created_at < before)
        with self._changing() as (connection, change):
            connection.execute(table.update().where(*unfinished).values(status="pending", change=change))

    def tool_writes(self, asked_by: str, since: datetime) -> int:
        """How often somebody has had something written after `since`."""
        table = schema.TOOL_CALLS
        written = (table.c.asked_by == asked_by, table.c.called_at > since, table.c.delivery_id.is_not(None))
        with self._engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(*written)).scalar_one())

    def add_handoff(self, plan: HandoffPlan, handoff: Mapping[str, Any]) -> bool:
        """Keep a handoff that was asked for, with its decision and whose turn it was; False if it is there already."""
        with self._changing() as (connection, change):
            table = schema.HANDOFFS
            same = sa.select(table.c.status).where(table.c.handoff_id == handoff["handoff_id"])
            if connection.execute(same).first():
                return False
            decisions = plan.decisions.filter(pl.col("handoff_id") == handoff["handoff_id"]).to_dicts()
            self._add(connection, schema.HANDOFF_DECISIONS, [{**row, "change": change} for row in decisions])
            self._add(connection, table, [{**handoff, "change": change}])
            self._put(connection, schema.ROUTING_TURNS, plan.turns.to_dicts())
        return True

    # --- how --------------------------------------------------------------------------------------

    def _read(self, query: sa.Select[Any], kinds: pl.Schema) -> pl.DataFrame:
        with self._engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        return pl.DataFrame(rows, schema=kinds, orient="row")

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

    def _request(self, connection: sa.Connection, requests: Sequence[Request], now: datetime, change: int) -> list[str]:
        if not requests:
            return []
        before = _open_deliveries(connection, requests)
        rows, superseded = [], []
        for request in requests:
            was = before.get(_slot(request))
            again = was is not None and was["payload_hash"] == request.payload_hash
            if was is not None and not again:
                superseded.append(was["delivery_id"])
            rows.append({**_delivery(request, was if again else None, now), "change": change})
        gone = [Outcome(delivery_id, "cancelled", "superseded by a newer one") for delivery_id in superseded]
        self._settle(connection, gone, now, change)
        self._put(connection, schema.DELIVERIES, rows)
        return [str(row["delivery_id"]) for row in rows]

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
            known = {row.object_id: row.fields for row in _of(connection, query, table.c.object_id, ids)}
            for object_id in ids:
                key = (destination, object_type, object_id)
                fields = {**json.loads(known.get(object_id, "{}")), **confirmed.get(key, {})}
                rows.append(
                    {
                        **dict(zip(("destination", "object_type", "object_id"), key, strict=True)),
                        "fields": json.dumps(fields, sort_keys=True),
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

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        newest = ScriptDirectory.from_config(config)
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            current = MigrationContext.configure(connection).get_current_heads()
            known = {script.revision for script in newest.walk_revisions()}
            if unknown := set(current) - known:
                raise LedgerTooNew(
                    f"the ledger {self._url.render_as_string()} is at revision {', '.join(sorted(unknown))}, which "
                    "this version does not know: run the version that wrote it, or set PLS_LEDGER_URL to another"
                )
            if current != tuple(newest.get_heads()):
                config.attributes["connection"] = connection
                command.upgrade(config, "head")


def _open_deliveries(
    connection: sa.Connection, requests: Sequence[Request]
) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    table = schema.DELIVERIES
    query = sa.select(table).where(
        table.c.destination.in_({request.destination for request in requests}),
        table.c.status.in_(_OPEN),
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    return {tuple(row[name] for name in _SLOT): row for row in rows}


def _of(
    connection: sa.Connection, query: sa.Select[Any], column: sa.Column[str], ids: Collection[str]
) -> Iterator[sa.Row[Any]]:
    """The query's rows whose column is among the ids, in portions that every database takes as parameters."""
    wanted = sorted(ids)
    for start in range(0, len(wanted), PORTION):
        yield from connection.execute(query.where(column.in_(wanted[start : start + PORTION])))


_SLOT = ("destination", "object_type", "object_id", "operation")
_OPEN = ("pending", "failed", "unknown")


def _slot(request: Request) -> tuple[str, str, str, str]:
    return request.destination, request.object_type, request.object_id, request.operation


def _delivery(request: Request, was: Mapping[str, Any] | None, now: datetime) -> dict[str, Any]:
    words = "|".join((*_slot(request), request.payload_hash, now.isoformat()))
    return {
        **vars(request),
        "delivery_id": was["delivery_id"] if was else "dl_" + sha256(words.encode()).hexdigest()[:16],
        "status": "pending",
        "attempts": was["attempts"] + 1 if was else 1,
        "error": None,
        "requested_at": was["requested_at"] if was else now,
        "confirmed_at": None,
    }


def _joined(connection: sa.Connection, chat: str, handoff_id: str) -> list[str]:
    """The handoffs that were said in the thread of this one."""
    table = schema.CONFIRMED_RECORDS
    query = sa.select(table.c.object_id, table.c.fields).where(
        table.c.destination == chat,
        table.c.object_type == HANDOFF,
        table.c.fields.contains(json.dumps(handoff_id), autoescape=True),
    )
    rows = connection.execute(query)
    return sorted(row.object_id for row in rows if json.loads(row.fields).get("root") == handoff_id)


def _feedback(answer: Answer) -> dict[str, Any]:
    return {
        "feedback_id": answer.feedback_id,
        "handoff_id": answer.handoff_id,
        "label": answer.label,
        "answered_by": answer.by,
        "answered_at": answer.at,
        "until": answer.until,
        "source": answer.source,
    }


def _latest_answer(connection: sa.Connection, handoff_id: str) -> dict[str, Any]:
    table = schema.HANDOFF_FEEDBACK
    latest = sa.select(table).filter_by(handoff_id=handoff_id).order_by(table.c.answered_at.desc(), table.c.feedback_id)
    return dict(connection.execute(latest.limit(1)).mappings().one())


def _set_status(connection: sa.Connection, handoff_id: str, status: str, change: int) -> None:
    table = schema.HANDOFFS
    connection.execute(table.update().where(table.c.handoff_id == handoff_id).values(status=status, change=change))


def _polars_type(kind: sa.types.TypeEngine[Any]) -> pl.DataType:
    if isinstance(kind, schema.TextList):
        return pl.List(pl.String)
    types = {sa.DateTime: pl.Datetime("us"), sa.Boolean: pl.Boolean(), sa.Integer: pl.Int64(), sa.Float: pl.Float64()}
    return next((found for of, found in types.items() if isinstance(kind, of)), pl.String())


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url)
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": LOCK_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _: object) -> None:
        # The driver's own transactions begin late and leave schema changes out; ours are begun below.
        connection.isolation_level = None
        _switch_to_wal(connection)
        connection.execute("pragma synchronous = full")

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        # Writers wait for each other here and not halfway, where SQLite could only give up.
        connection.exec_driver_sql("begin immediate")

    return engine


def _switch_to_wal(connection: Any) -> None:
    """Of several that switch a fresh file at once SQLite refuses all but one, without waiting: they try again."""
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.01)
