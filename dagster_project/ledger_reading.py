"""What the ledger says: the queries, each over `ledger_schema`'s tables. Who changes something uses `ledger.Ledger`."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Self, cast

import polars as pl
import sqlalchemy as sa
from sqlalchemy.types import NULLTYPE

from dagster_project import ledger_schema as schema
from dagster_project.core.audiences import MEMBER_SCHEMA
from dagster_project.core.automation import ACTED, PAST_RULE_SCHEMA
from dagster_project.core.decisions import HELD
from dagster_project.core.feedback import ENDED, TAKEN, Answer
from dagster_project.core.follow_ups import OVERLAP_SCHEMA, RECYCLED, WITH_SALES
from dagster_project.core.handoff_plan import PAST_SCHEMA
from dagster_project.core.routing import GIVEN_SCHEMA
from dagster_project.core.waiting import named_by
from dagster_project.ledger_engine import ledger_engine, migrate

PORTION = 500
"""Ids that one query asks for."""
ROWS = 20_000
"""Rows that are Python objects at a time."""
WAITING = ("pending", "parked")
"""A handoff that nobody has got for certain."""
WITH_ROOM = "with_room"
"""The key in `meta` under which a plan says who can take more after it."""
PACKAGES = ("package_markdown", "package_blocks")
"""The columns of handoffs beside which all others are small."""


class LedgerReader:
    """One ledger, migrated to this version's tables on entering.

    Args:
        url: SQLAlchemy URL. The folder of an SQLite file is made.
    """

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)

    def __enter__(self) -> Self:
        self._engine = ledger_engine(self._url)
        try:
            migrate(self._engine)
        except BaseException:
            self._engine.dispose()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def read_frame(self, table: str, *, after: int | None = None) -> pl.DataFrame:
        """A table; the columns have their types even when there are no rows.

        Args:
            table: Its name.
            after: Only rows written by a later change than this one; of tables with the column `change`.
        """
        return pl.concat(self.read_portions(table, after=after))

    def read_portions(self, table: str, *, after: int | None = None) -> Iterator[pl.DataFrame]:
        """A table as frames, at least one; see `read_frame`."""
        found = schema.METADATA.tables[table]
        query = sa.select(found) if after is None else sa.select(found).where(found.c.change > after)
        return self._parts(query, _kinds(found.columns))

    def handoffs(
        self,
        *,
        since: datetime | None = None,
        statuses: Collection[str] | None = None,
        with_packages: bool = False,
    ) -> pl.DataFrame:
        """Handoffs, as in the ledger.

        Args:
            since: Only those created at or after it, naive UTC.
            statuses: Only those with one of these.
            with_packages: Whether with the columns `PACKAGES`.
        """
        table = schema.HANDOFFS
        columns = [column for column in table.columns if with_packages or column.name not in PACKAGES]
        query = sa.select(*columns)
        if since is not None:
            query = query.where(table.c.created_at >= since)
        if statuses is not None:
            query = query.where(table.c.status.in_(sorted(statuses)))
        return self._read(query, _kinds(columns))

    def waiting(self) -> pl.DataFrame:
        """What open candidates wait for and whom they name, as `core.waiting.WAITING_SCHEMA`."""
        table = schema.CANDIDATES
        names = ("candidate_key", "last_decision", "subject_id", "user_id", "account_id", "triggers")
        # The list of triggers as the text that it is kept as: to read each of them would take longer than all else.
        found = self._read(sa.select(*(table.c[name] for name in names)), pl.Schema(dict.fromkeys(names, pl.String())))
        return found.select("candidate_key", "last_decision", named=named_by(pl.col("triggers")))

    def candidates(self, keys: Collection[str]) -> pl.DataFrame:
        """The open candidates with these keys."""
        table = schema.CANDIDATES
        with self._engine.connect() as connection:
            found = [*rows_of(connection, _as_given(sa.select(table)), table.c.candidate_key, keys)]
        return _frame(found, _kinds(table.columns))

    def past_handoffs(self, since: datetime, *, going_on_since: datetime | None = None) -> pl.DataFrame:
        """Handoffs created after `since` that were not cancelled, as `core.handoff_plan.PAST_SCHEMA`.

        Args:
            since: Naive UTC.
            going_on_since: From when on those are wanted as well that a seller may be working on.
        """
        table = schema.HANDOFFS
        recent = table.c.created_at > since
        if going_on_since is not None:
            recent |= (table.c.created_at > going_on_since) & table.c.status.not_in(ENDED)
        query = sa.select(*(table.c[name] for name in PAST_SCHEMA)).where(recent, table.c.status != "cancelled")
        return self._read(query, PAST_SCHEMA)

    def last_handoff_change(self) -> int:
        """The number of the last transaction that wrote a handoff; 0 for none."""
        with self._engine.connect() as connection:
            return last_handoff_change(connection)

    def trigger_states(self, subjects: Collection[str] | None) -> pl.DataFrame:
        """The states of triggers and rules, of all subjects or of those with these ids."""
        if subjects is None:
            return self.read_frame("trigger_states")
        table = schema.TRIGGER_STATES
        kinds = pl.Schema({column.name: _polars_type(column.type) for column in table.columns})
        # The key begins with the type: without one every portion of ids would read the whole table.
        query = _as_given(sa.select(table).where(table.c.subject_type.in_(("user", "account"))))
        with self._engine.connect() as connection:
            return _frame([*rows_of(connection, query, table.c.subject_id, subjects)], kinds)

    def acted_rules(self, since: datetime) -> pl.DataFrame:
        """What automation rules acted on after `since`, as `core.automation.PAST_RULE_SCHEMA`."""
        table = schema.RULE_DECISIONS
        query = sa.select(*(table.c[name] for name in PAST_RULE_SCHEMA)).where(
            table.c.decided_at > since, table.c.decision == ACTED
        )
        return self._read(query, PAST_RULE_SCHEMA)

    def held_rules(self, since: datetime) -> dict[tuple[str, str, str], datetime]:
        """By rule, subject type and id, when a firing was first held after `since`."""
        table = schema.RULE_DECISIONS
        whose = (table.c.rule, table.c.subject_type, table.c.subject_id)
        query = (
            sa.select(*whose, sa.func.min(table.c.decided_at))
            .where(table.c.decided_at > since, table.c.decision.in_(HELD))
            .group_by(*whose)
        )
        with self._engine.connect() as connection:
            return {(row[0], row[1], row[2]): row[3] for row in connection.execute(query)}

    def given_notices(self, since: datetime) -> pl.DataFrame:
        """Notices created after `since`, as `core.routing.GIVEN_SCHEMA`."""
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
        """The MQLs that are with sales, or were given back and taken up since, as `core.follow_ups.OVERLAP_SCHEMA`."""
        table, handoff = schema.MQL_OVERLAP, schema.HANDOFFS
        taken_up = sa.select(handoff.c.handoff_id).where(handoff.c.status.in_(TAKEN))
        again = (table.c.status == RECYCLED) & table.c.handoff_id.in_(taken_up)
        query = sa.select(*(table.c[name] for name in OVERLAP_SCHEMA)).where((table.c.status == WITH_SALES) | again)
        return self._read(query, OVERLAP_SCHEMA)

    def cancelled_handoffs(self, ids: Collection[str]) -> set[str]:
        """Those of the handoffs that were withdrawn before anybody got them."""
        table = schema.HANDOFFS
        query = sa.select(table.c.handoff_id).where(table.c.status == "cancelled")
        with self._engine.connect() as connection:
            return {row.handoff_id for row in rows_of(connection, query, table.c.handoff_id, ids)}

    def rejected_handoffs(self, ids: Collection[str]) -> dict[str, tuple[str | None, datetime]]:
        """Those of the handoffs whose latest answer is that they are not a fit: who said so, and when."""
        table = schema.HANDOFF_FEEDBACK
        query = sa.select(table).order_by(table.c.answered_at, table.c.feedback_id)
        latest = {}
        with self._engine.connect() as connection:
            for row in rows_of(connection, query, table.c.handoff_id, ids):
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

    def packages(self, ids: Collection[str]) -> dict[str, str]:
        """What handoffs say, as Markdown, by their ids."""
        table = schema.HANDOFFS
        query = sa.select(table.c.handoff_id, table.c.package_markdown)
        with self._engine.connect() as connection:
            return {row.handoff_id: row.package_markdown for row in rows_of(connection, query, table.c.handoff_id, ids)}

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

    def with_room(self) -> frozenset[str] | None:
        """The owners who could take more after the last plan; None where no plan has said so."""
        said = self.get_meta(WITH_ROOM)
        return None if said is None else frozenset(json.loads(said))

    def get_meta(self, key: str) -> str | None:
        """A remembered fact."""
        with self._engine.connect() as connection:
            return connection.execute(sa.select(schema.META.c.value).where(schema.META.c.key == key)).scalar()

    def answer_to(self, handoff_id: str) -> Answer:
        """The answer that counts.

        Raises:
            LookupError: There is none.
        """
        with self._engine.connect() as connection:
            row = latest_answer(connection, handoff_id)
        if row is None:
            raise LookupError(f"the handoff {handoff_id} has no answer")
        return Answer(handoff_id, row["label"], row["answered_by"], row["answered_at"], row["source"], row["until"])

    def is_answered(self, handoff_id: str, since: datetime) -> bool:
        """Whether somebody has answered a handoff at or after `since`."""
        table = schema.HANDOFF_FEEDBACK
        query = sa.select(table.c.feedback_id).where(table.c.handoff_id == handoff_id, table.c.answered_at >= since)
        with self._engine.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def tool_writes(self, asked_by: str, since: datetime) -> int:
        """How often somebody has had something written after `since`."""
        table = schema.TOOL_CALLS
        written = (table.c.asked_by == asked_by, table.c.called_at > since, table.c.delivery_id.is_not(None))
        with self._engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(*written)).scalar_one())

    def _read(self, query: sa.Select[Any], kinds: pl.Schema) -> pl.DataFrame:
        return pl.concat(self._parts(query, kinds))

    def _parts(self, query: sa.Select[Any], kinds: pl.Schema) -> Iterator[pl.DataFrame]:
        """As Python objects, rows take several times the room that they have in a frame."""
        yield kinds.to_frame()
        with self._engine.connect() as connection:
            for rows in connection.execution_options(yield_per=ROWS).execute(_as_given(query)).partitions():
                yield _frame(rows, kinds)


def _as_given(query: sa.Select[Any]) -> sa.Select[Any]:
    """The query with the driver's own values, which `_frame` reads: one by one they take longer than all else."""
    columns: Any = [sa.type_coerce(column, NULLTYPE) for column in query.selected_columns]
    given: Any = query.with_only_columns(*columns)
    return cast(sa.Select[Any], given)


def _frame(rows: Sequence[sa.Row[Any]], kinds: pl.Schema) -> pl.DataFrame:
    columns = zip(*rows, strict=True) if rows else [()] * len(kinds)
    return pl.DataFrame([_column(name, kinds[name], values) for name, values in zip(kinds, columns, strict=True)])


def _column(name: str, kind: pl.DataType, values: Sequence[Any]) -> pl.Series:
    """A column in the type that it is to have: every driver gives lists as texts, and SQLite's moments too."""
    given = pl.Series(name, values)
    if given.dtype != pl.String or kind == pl.String:
        return given.cast(kind)
    if isinstance(kind, pl.List):
        return given.str.json_decode(kind)
    return given.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us")


def rows_of(
    connection: sa.Connection, query: sa.Select[Any], column: sa.Column[str], ids: Collection[str]
) -> Iterator[sa.Row[Any]]:
    """The query's rows whose column is among the ids, in portions that every database takes as parameters."""
    wanted = sorted(ids)
    for start in range(0, len(wanted), PORTION):
        # At once: rows that are asked for one by one take twice as long.
        yield from connection.execute(query.where(column.in_(wanted[start : start + PORTION]))).all()


def last_handoff_change(connection: sa.Connection) -> int:
    """See `LedgerReader.last_handoff_change`."""
    return connection.execute(sa.select(sa.func.max(schema.HANDOFFS.c.change))).scalar() or 0


def latest_answer(connection: sa.Connection, handoff_id: str) -> dict[str, Any] | None:
    """The row of what was answered last to a handoff, None if nobody has."""
    table = schema.HANDOFF_FEEDBACK
    latest = (
        sa.select(table)
        .filter_by(handoff_id=handoff_id)
        .order_by(table.c.answered_at.desc(), table.c.feedback_id.desc())
    )
    row = connection.execute(latest.limit(1)).mappings().one_or_none()
    return dict(row) if row else None


def _kinds(columns: Iterable[sa.Column[Any]]) -> pl.Schema:
    return pl.Schema({column.name: _polars_type(column.type) for column in columns})


def _polars_type(kind: sa.types.TypeEngine[Any]) -> pl.DataType:
    if isinstance(kind, schema.TextList):
        return pl.List(pl.String)
    types = {sa.DateTime: pl.Datetime("us"), sa.Boolean: pl.Boolean(), sa.Integer: pl.Int64(), sa.Float: pl.Float64()}
    return next((found for of, found in types.items() if isinstance(kind, of)), pl.String())
