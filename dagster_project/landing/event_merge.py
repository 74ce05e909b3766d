"""Canonical rows into `raw.events`: one row per message id, whatever comes when and how often.

Of several rows with one id the earliest received wins (never received comes last), then the earliest timestamp, then
the smallest content hash, then the one that identifies, so that the table does not depend on the order of arrival. A
better row that comes later replaces the stored one; its file counts it as a duplicate all the same, so that
`count(raw.events)` is always the sum of `loaded`. No index of DuckDB's helps here: it scans one column faster than
it maintains one, and `message_key`, a number, several times faster than the ids themselves. Whether any id is stored
is asked of `key_index` first.
"""

from collections.abc import Sequence
from datetime import datetime

import duckdb
import pyarrow as pa

from dagster_project.landing.event_sql import EVENT_VALUES, TOUCHED, content_hash, message_key
from dagster_project.landing.key_index import KeyIndex
from dagster_project.landing.register import refused_first
from dagster_project.landing.reports import RowCounts
from dagster_project.warehouse import has_table

STAGED = "staged_events"


def rank_of(relation: str) -> str:
    """SQL of what orders the rows of one message id, the best first."""
    received = f"coalesce({relation}.received_at, timestamp 'infinity')"
    says_less = f"case when {relation}.identifies then 0 else 1 end"
    return f"{received}, {relation}.timestamp, {content_hash(relation)}, {says_less}"


def renew_keys(connection: duckdb.DuckDBPyConnection, index: KeyIndex) -> None:
    """Compute the stored message keys anew if DuckDB computes them differently now, or none were stored."""
    key = message_key("message_id")
    one = "select message_id, message_key from raw.events limit 1"
    stale = connection.execute(f"select 1 from ({one}) where message_key is distinct from {key}").fetchall()
    if stale:
        index.forget()
        connection.execute(f"update raw.events set message_key = {key}")


class EventMerge:
    """Merges slices of rows inside the caller's transaction.

    Args:
        connection: The warehouse, with a transaction begun.
        index: Of the keys of what is stored.
        batch_id: The ingest run.
        now: When it happens, naive UTC.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, index: KeyIndex, batch_id: int, now: datetime) -> None:
        self._connection = connection
        self._index = index
        self._batch_id = batch_id
        self._now = now
        self._rows = pa.table({})
        # A rollup that is not there yet takes every user's days. Those of anonymous ids may be somebody else's later.
        self.is_touched = "true" if has_table(connection, "intermediate.int_user_days") else "user_id is null"
        self.counts: dict[int, RowCounts] = {}
        connection.execute(
            "create or replace temp table touched_now (user_id varchar, anonymous_id varchar, day date);"
            "create or replace temp table left_out (file_id integer, row_number bigint);"
            "create or replace temp table stored (message_id varchar, file_id integer, row_number bigint, "
            "better boolean);"
        )

    def add(self, rows: pa.Table, names: dict[int, str]) -> None:
        """Merge rows.

        Args:
            rows: The columns of `event_sql.canonical_rows`; (file_id, row_number) is unique.
            names: file_id -> the file's name, for quarantine.
        """
        self._rows = rows
        self._quarantine(names)
        self._run("delete from left_out; delete from stored")
        self._leave_out_repeated()
        if self._brings_stored_ids():
            self._find_stored()
            self._replace_worse()
        self._insert()
        self._count()

    def finish(self) -> None:
        """Write which users' days changed, as far as it matters; call once, at the end of the transaction."""
        self._run("insert into raw.touched select distinct ?::integer, * from touched_now", [self._batch_id])

    def _run(self, sql: str, parameters: Sequence[object] = ()) -> duckdb.DuckDBPyConnection:
        """Run SQL in which STAGED stands for the rows.

        DuckDB finds them as a local variable; a registered name would be held in memory until the commit.
        """
        staged_events = self._rows  # noqa: F841
        return self._connection.execute(sql, parameters)

    def _quarantine(self, names: dict[int, str]) -> None:
        if self._rows["reason"].null_count == self._rows.num_rows:
            return
        bad = (
            "select file_id, 'events' as source, map_extract_value(?::map(integer, varchar), file_id) as file, "
            f"row_number, raw, reason, ? as quarantined_at from {STAGED} where reason is not null"
        )
        self._run(f"insert into raw.quarantine by name {refused_first(bad)}", [names, self._now])

    def _leave_out_repeated(self) -> None:
        [(rows, ids)] = self._run(
            f"select count(*), count(distinct message_id) from {STAGED} where reason is null"
        ).fetchall()
        if rows == ids:
            return
        self._run(
            f"insert into left_out select file_id, row_number from {STAGED} as staged where reason is null "
            f"and message_id in (select message_id from {STAGED} where reason is null group by all having "
            "count(*) > 1) "
            f"qualify row_number() over (partition by message_id order by {rank_of('staged')}, "
            "file_id, row_number) > 1"
        )

    def _brings_stored_ids(self) -> bool:
        """Most slices bring no id that is stored."""
        staged_events = self._rows  # noqa: F841, see `_run`
        keys = self._connection.sql(
            f"select distinct {message_key('message_id')} as key from {STAGED} where reason is null"
        )
        return bool(self._index.found(keys.to_arrow_table()).num_rows)

    def _find_stored(self) -> None:
        self._run(
            "insert into stored select staged.message_id, staged.file_id, staged.row_number, "
            f"({rank_of('staged')}) < ({rank_of('events')}) "
            f"from {STAGED} as staged join raw.events as events "
            f"on events.message_key = {message_key('staged.message_id')} and events.message_id = staged.message_id "
            "anti join left_out on staged.file_id = left_out.file_id and staged.row_number = "
            "left_out.row_number "
            "where staged.reason is null"
        )

    def _replace_worse(self) -> None:
        if not self._run("select 1 from stored where better limit 1").fetchall():
            return
        better = "select {} from stored where better"
        worse = f"message_id in ({better.format('message_id')})"
        stored = f"message_key in ({better.format(message_key('message_id'))}) and {worse}"
        self._run(
            f"insert into touched_now select distinct {TOUCHED} from raw.events where {stored} and {self.is_touched}"
        )
        # Who somebody is may have been said by a row that goes, or is said by the one that comes.
        says_who = "(type in ('identify', 'group') or identifies)"
        self._run(
            "insert into raw.replaced_identities select ?::integer, message_id from raw.events "
            f"where {stored} and {says_who} union select ?::integer, message_id from {STAGED} "
            f"where {worse} and {says_who}",
            [self._batch_id, self._batch_id],
        )
        self._run(f"delete from raw.events where {stored}")

    def _insert(self) -> None:
        """In the order of days, which is how the rollups read them."""
        rows = f"select * from {STAGED} where reason is null"
        for unwanted in ("left_out", "(select * from stored where not better)"):
            if self._run(f"select 1 from {unwanted} as unwanted limit 1").fetchall():
                rows = (
                    f"select rows.* from ({rows}) as rows anti join {unwanted} as unwanted "
                    "on rows.file_id = unwanted.file_id and rows.row_number = unwanted.row_number"
                )
        self._run(
            f"insert into raw.events by name select {', '.join(EVENT_VALUES)}, file_id, ?::integer as batch_id, "
            f"{message_key('message_id')} as message_key from ({rows}) order by timestamp::date",
            [self._batch_id],
        )
        self._run(f"insert into touched_now select distinct {TOUCHED} from ({rows}) where {self.is_touched}")

    def _count(self) -> None:
        counted = self._run(
            "with staged as (select file_id, count(*) as rows_in, count(*) filter (reason is not null) as "
            "quarantined "
            f"from {STAGED} group by file_id), "
            "repeated as (select file_id, count(*) as rows from left_out group by file_id), "
            "known as (select file_id, count(*) as rows from stored group by file_id) "
            "select file_id, rows_in, coalesce(repeated.rows, 0) + coalesce(known.rows, 0) as duplicate, "
            "quarantined "
            "from staged left join repeated using (file_id) left join known using (file_id)"
        ).fetchall()
        for file_id, rows_in, duplicate, quarantined in counted:
            counts = RowCounts(rows_in, rows_in - duplicate - quarantined, duplicate, quarantined)
            self.counts[file_id] = self.counts.get(file_id, RowCounts()).plus(counts)
