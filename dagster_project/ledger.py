"""The ledger: what must never be lost or done twice. Decisions, handoffs, trigger states, turns and deliveries.

What belongs here: transactions over `ledger_schema`'s tables. What is decided is `core/`'s business, how something is
sent that of whoever calls `request` before it and `settle` after it. No transaction is open in between.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import polars as pl
import sqlalchemy as sa

from dagster_project import ledger_schema as schema
from dagster_project.core.candidates import left_of
from dagster_project.core.feedback import Answer
from dagster_project.core.follow_ups import WITHDRAWN
from dagster_project.core.handoff_plan import HandoffPlan
from dagster_project.core.letters import HANDOFF, NOTICE
from dagster_project.ledger_deliveries import OPEN_DELIVERIES, is_superseded
from dagster_project.ledger_reading import WITH_ROOM, last_handoff_change, latest_answer, rows_of
from dagster_project.ledger_writing import LedgerWriter, Outcome, Request

ASKED_FOR = "asked_for"
"""A handoff that whoever asked for it is sending right now."""
CRM_HOLD = "crm_hold_reason"
"""The key under which the last run says why no-contact flags can't be trusted; empty if they can."""
MOST_DROPPED = 200_000
"""Deliveries that are deleted in one transaction: some seconds, for which others wait."""
ROWS_AT_A_TIME = 1_000
"""Of a table that is read as a whole."""
GONE = "the record is not there any more"
"""What a delivery says that was still to be tried when its record had gone."""


class Overtaken(RuntimeError):
    """Somebody has written a handoff since a plan's inputs were read: it has to be made again."""


class Ledger(LedgerWriter):
    """One ledger, and everything that changes it."""

    def set_meta(self, key: str, value: str) -> None:
        """Remember a fact."""
        with self._engine.begin() as connection:
            self._put(connection, schema.META, [{"key": key, "value": value}])

    def apply_handoff_plan(
        self,
        plan: HandoffPlan,
        *,
        known: pl.DataFrame | None = None,
        decided: Collection[str] | None = None,
        requests: Sequence[Request] = (),
        now: datetime | None = None,
        read_at: int | None = None,
    ) -> None:
        """Keep a plan, all of it or nothing. Decisions and handoffs that are there already stay as they are.

        Args:
            plan: What was decided.
            known: The states of triggers that it was made from, so that only those that changed are written.
            decided: The keys of the open candidates that it was made from; the others wait on. None for all of them.
            requests: The intents of its actions, for whoever carries them out.
            now: Naive UTC; when they were asked for.
            read_at: `last_handoff_change` from before its inputs were read; None to keep it whatever came since.

        Raises:
            Overtaken: Somebody else has handed somebody over since; nothing is kept.
        """
        states = plan.states
        if known is not None and known.width:
            states = states.join(known.select(states.columns), on=states.columns, how="anti", nulls_equal=True)
        added = {schema.RULE_DECISIONS: plan.rule_decisions}
        put = {schema.MQL_OVERLAP: plan.overlaps, schema.AUDIENCE_MEMBERS: plan.members}
        with self._changing() as (connection, change):
            if read_at is not None and last_handoff_change(connection) != read_at:
                raise Overtaken("a handoff was written since this plan's inputs were read")
            self._hand_over(connection, plan, plan.handoffs.to_dicts(), change)
            for table, frame in added.items():
                self._add(connection, table, [{**row, "change": change} for row in frame.to_dicts()])
            for table, frame in put.items():
                self._put(connection, table, [{**row, "change": change} for row in frame.to_dicts()])
            self._add(connection, schema.HANDOFF_FIRINGS, plan.firings.to_dicts())
            self._put(connection, schema.TRIGGER_STATES, states.to_dicts())
            if decided is None:
                connection.execute(schema.CANDIDATES.delete())
            elif decided:
                gone = schema.CANDIDATES.delete().where(schema.CANDIDATES.c.candidate_key == sa.bindparam("key"))
                connection.execute(gone, [{"key": key} for key in decided])
            self._add(connection, schema.CANDIDATES, plan.candidates.to_dicts())
            connection.execute(schema.ROUTING_TURNS.delete())
            self._add(connection, schema.ROUTING_TURNS, plan.turns.to_dicts())
            self._put(connection, schema.META, [{"key": WITH_ROOM, "value": json.dumps(sorted(plan.with_room))}])
            if requests and now:
                self._request(connection, requests, now, change, attempts=0)  # whoever carries them out begins later

    def request(self, requests: Sequence[Request], now: datetime) -> list[str]:
        """Record what is about to be done, before it is.

        A request that was recorded before and is still open is the same one, tried again; an open one for the same
        object with another payload is superseded. So is each but the last of several requests for the same object.

        Returns:
            The delivery id of each request, of superseded ones too.
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
            handoffs: New status by handoff id; of one that is answered already the answer stands.
        """
        with self._changing() as (connection, change):
            self._settle(connection, outcomes, now, change)
            self._confirm(connection, confirmed or {}, digests or {}, now)
            for handoff_id, status in (handoffs or {}).items():
                # Somebody who saw the message before we knew that it is there may have answered it.
                said = latest_answer(connection, handoff_id)
                _set_status(connection, handoff_id, said["label"] if said else status, change)
                if status == "delivered":
                    _take_firings(connection, handoff_id)

    def drop_overtaken(self, operation: str, before: datetime, *, most: int = MOST_DROPPED) -> int:
        """Delete what was asked for before a moment, has come to an end and was asked for anew since.

        A record's fields are written again and again; what happens once stays for good, and so does the last word.

        Args:
            operation: What was done.
            before: Naive UTC.
            most: How many are deleted at most.

        Returns:
            How many were.
        """
        table = schema.DELIVERIES
        overtaken = (
            sa.select(table.c.delivery_id)
            .where(
                table.c.operation == operation,
                table.c.action_key.is_(None),
                table.c.status.in_(("confirmed", "cancelled")),
                table.c.requested_at < before,
                is_superseded(),
            )
            .limit(most)
        )
        with self._changing() as (connection, _):
            return connection.execute(table.delete().where(table.c.delivery_id.in_(overtaken))).rowcount

    def forget(self, destination: str, object_type: str, operation: str, *, but: Collection[str], now: datetime) -> int:
        """Give up what was not done about objects that are not wanted any more: they are not there.

        That is what has not come to an end, and what was refused for good.

        What they were last confirmed to hold is forgotten too: whether the request arrived was never seen, and if one
        comes back all of it is written.

        Args:
            destination: Where to.
            object_type: Of what kind.
            operation: What was to be done.
            but: The ids of all objects that are wanted.
            now: Naive UTC.

        Returns:
            How many deliveries there were.
        """
        table, known = schema.DELIVERIES, schema.CONFIRMED_RECORDS
        query = sa.select(table.c.delivery_id, table.c.object_id).where(
            table.c.destination == destination,
            table.c.object_type == object_type,
            table.c.operation == operation,
            table.c.status.in_((*OPEN_DELIVERIES, "parked")),
        )
        with self._changing() as (connection, change):
            gone = [row for row in connection.execute(query) if row.object_id not in but]
            self._settle(connection, [Outcome(row.delivery_id, "cancelled", GONE) for row in gone], now, change)
            whose = (known.c.destination == destination, known.c.object_type == object_type)
            for row in gone:
                connection.execute(known.delete().where(*whose, known.c.object_id == row.object_id))
        return len(gone)

    def forget_confirmed(self, destination: str) -> int:
        """Forget what a destination was confirmed to hold, of all records: it was lost, and another one stands there.

        Returns:
            Of how many records something was known.
        """
        table = schema.CONFIRMED_RECORDS
        theirs = table.c.destination == destination
        with self._engine.connect() as connection:
            if connection.execute(sa.select(table.c.object_id).where(theirs).limit(1)).first() is None:
                return 0
        with self._changing() as (connection, _):
            return connection.execute(table.delete().where(theirs)).rowcount

    def of_user(self, user_id: str) -> set[str]:
        """The ids of the handoffs and notices that are about a user."""
        found: set[str] = set()
        with self._engine.connect() as connection:
            for table, name in ((schema.HANDOFFS, "handoff_id"), (schema.NOTICES, "notice_id")):
                query = sa.select(table.c[name]).where(table.c.user_id == user_id)
                found.update(connection.execute(query).scalars())
        return found

    def rewrite(self, change: Callable[[Mapping[str, Any], Collection[str]], Mapping[str, Any]]) -> int:
        """Change what is said in rows, all at once. What was decided, handed over and sent stays as it is.

        Args:
            change: Gives the new texts of a row by column; it is told the row and which of its columns are texts.

        Returns:
            How many rows have changed.
        """
        rows = 0
        with self._changing() as (connection, number):
            for table in schema.METADATA.sorted_tables:
                texts = [column.name for column in table.c if isinstance(column.type, sa.Text)]
                texts += ["email"] if "email" in table.c else []
                keys = list(table.primary_key)
                stamp = {"change": number} if "change" in table.c else {}
                # Of a ledger of any size only what changes is held.
                reading = connection.execution_options(yield_per=ROWS_AT_A_TIME).execute(table.select()).mappings()
                changes = [
                    ([column == row[column.name] for column in keys], changed)
                    for row in reading
                    if (changed := change({str(name): said for name, said in row.items()}, texts))
                ]
                for which, changed in changes:
                    connection.execute(table.update().where(*which).values(**changed, **stamp))
                rows += len(changes)
        return rows

    def retry_actions(self, destination: str, now: datetime, *, since: datetime) -> int:
        """Let the next run try again what the destination refused for good: tasks, notes, owners, tiers, fields.

        Args:
            destination: Where to.
            now: Naive UTC.
            since: What was asked for before then is not worth it any more.

        Returns:
            How many they are.
        """
        table = schema.DELIVERIES
        query = sa.select(table.c.delivery_id).where(
            table.c.destination == destination,
            table.c.action_key.is_not(None),
            table.c.status == "parked",
            table.c.requested_at > since,
            ~is_superseded(),
        )
        with self._changing() as (connection, change):
            again: list[str] = list(connection.execute(query).scalars())
            self._settle(connection, [Outcome(name, "failed", "to be tried again") for name in again], now, change)
        return len(again)

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
        """Withdraw a handoff that may not be sent after all: its decision, its delivery and the handoff itself.

        What fired for others than the person it names is an open candidate again, for the next decision.
        """
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
            if left := left_of(handoff, _take_firings(connection, handoff["handoff_id"])):
                decision["reason"] += "; what others are behind is decided again"
                self._add(connection, schema.CANDIDATES, [left])
            self._add(connection, schema.HANDOFF_DECISIONS, [{**decision, "change": change}])
            self._settle(connection, [Outcome(delivery_id, "cancelled", reason)], now, change)
            _set_status(connection, handoff["handoff_id"], "cancelled", change)

    def keep_answer(self, answer: Answer, *, chat: str) -> None:
        """Record an answer, for the handoff and for whatever joined its thread until now.

        The latest answer counts: it is what the status of the handoffs says afterwards, unless they were withdrawn. One
        that is known already changes nothing.

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
                if latest := latest_answer(connection, handoff_id):
                    _set_status(connection, handoff_id, latest["label"], change, unless="cancelled")

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

    def add_handoff(
        self, plan: HandoffPlan, handoff: Mapping[str, Any], *, requests: Sequence[Request], now: datetime, read_at: int
    ) -> bool:
        """Keep a handoff that was asked for and what comes with it; False if somebody may have got it already.

        Args:
            plan: Whose turn it was, and of nothing but this handoff: decision, word to marketing, MQL.
            handoff: Its row.
            requests: The intents of its actions, for the next run to carry out.
            now: Naive UTC.
            read_at: `last_handoff_change` from before the plan's inputs were read.

        Raises:
            Overtaken: Somebody else was handed over since; nothing is kept.
        """
        with self._changing() as (connection, change):
            table = schema.HANDOFFS
            handoff_id = handoff["handoff_id"]
            same = sa.select(table.c.status).where(table.c.handoff_id == handoff_id)
            if connection.execute(same).first() and not _taken_back(connection, [handoff_id]):
                return False
            if last_handoff_change(connection) != read_at:
                raise Overtaken("a handoff was written since this one was planned")
            self._hand_over(connection, plan, [handoff], change)
            self._put(connection, schema.MQL_OVERLAP, _changed(plan.overlaps, change))
            self._put(connection, schema.ROUTING_TURNS, plan.turns.to_dicts())
            self._request(connection, requests, now, change, attempts=0)
        return True

    def take_back(
        self, handoff_id: str, reason: str, now: datetime, *, notice_id: str, paused_by: str, resume: Request | None
    ) -> None:
        """Withdraw a handoff that nobody got, and what came with it.

        Args:
            handoff_id: Of the handoff.
            reason: Why nobody got it.
            now: Naive UTC.
            notice_id: What marketing was to be told.
            paused_by: The key of the action that pauses nurture.
            resume: The intent of ending the pause, for the case that a run was quick; None if there is no pause.
        """
        notice, overlap, delivery = schema.NOTICES, schema.MQL_OVERLAP, schema.DELIVERIES
        untold = notice.update().where(notice.c.notice_id == notice_id, notice.c.status == "pending")
        ended = overlap.update().where(overlap.c.handoff_id == handoff_id)
        pause = delivery.c.action_key == paused_by
        undone = delivery.update().where(pause, delivery.c.status.in_(OPEN_DELIVERIES))
        done = sa.select(delivery.c.delivery_id).where(pause, delivery.c.status == "confirmed")
        with self._changing() as (connection, change):
            _set_status(connection, handoff_id, "cancelled", change)
            connection.execute(untold.values(status="cancelled", change=change))
            of_overlap = {"status": WITHDRAWN, "recycled_at": now, "recycled_reason": reason, "change": change}
            connection.execute(ended.values(of_overlap))
            connection.execute(undone.values(status="cancelled", error=reason, change=change))
            if resume is not None and connection.execute(done).first():
                self._request(connection, [resume], now, change, attempts=0)

    # --- how --------------------------------------------------------------------------------------

    def _hand_over(
        self, connection: sa.Connection, plan: HandoffPlan, handoffs: Sequence[Mapping[str, Any]], change: int
    ) -> None:
        """Keep decisions, handoffs and notices. What was taken back before anybody got it stands in its old place."""
        back = _taken_back(connection, [row["handoff_id"] for row in handoffs])
        decisions = [
            {**row, "decision_id": back.get(row["handoff_id"], row["decision_id"])} for row in plan.decisions.to_dicts()
        ]
        for table, rows in ((schema.HANDOFF_DECISIONS, decisions), (schema.HANDOFFS, handoffs)):
            self._add(connection, table, [{**row, "change": change} for row in rows if row["handoff_id"] not in back])
            self._put(connection, table, [{**row, "change": change} for row in rows if row["handoff_id"] in back])
        notices = _changed(plan.notices, change)
        if back and notices:  # marketing was not told then
            table = schema.NOTICES
            ids = [row["notice_id"] for row in notices]
            connection.execute(table.delete().where(table.c.status == "cancelled", table.c.notice_id.in_(ids)))
        self._add(connection, schema.NOTICES, notices)


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


def _take_firings(connection: sa.Connection, handoff_id: str) -> list[str]:
    """What fired for a handoff; whoever asks again finds nothing."""
    table = schema.HANDOFF_FIRINGS
    taken = table.delete().where(table.c.handoff_id == handoff_id).returning(table.c.firings)
    return connection.execute(taken).scalar() or []


def _taken_back(connection: sa.Connection, handoff_ids: Collection[str]) -> dict[str, str]:
    """Those of the handoffs that were withdrawn and that nobody can have got, with the decision to send each."""
    table, decision, delivery = schema.HANDOFFS, schema.HANDOFF_DECISIONS, schema.DELIVERIES
    perhaps_got = (
        sa.exists()
        .where(delivery.c.object_type == HANDOFF, delivery.c.object_id == table.c.handoff_id)
        .where(delivery.c.status != "failed")
    )
    query = (
        sa.select(table.c.handoff_id, decision.c.decision_id)
        .join(decision, decision.c.handoff_id == table.c.handoff_id)
        .where(table.c.status == "cancelled", decision.c.decision == "sent", ~perhaps_got)
    )
    return {row.handoff_id: row.decision_id for row in rows_of(connection, query, table.c.handoff_id, handoff_ids)}


def _changed(rows: pl.DataFrame, change: int) -> list[dict[str, Any]]:
    return [{**row, "change": change} for row in rows.to_dicts()]


def _set_status(
    connection: sa.Connection, handoff_id: str, status: str, change: int, *, unless: str | None = None
) -> None:
    table = schema.HANDOFFS
    which = (table.c.handoff_id == handoff_id, table.c.status.is_distinct_from(unless))
    connection.execute(table.update().where(*which).values(status=status, change=change))
