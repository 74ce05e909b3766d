"""Extracts of the CRM in `raw.crm_*`: versions, which extracts hold which, and whether an extract counts.

An extract mostly says what the one before it says. So a row of `raw.crm_extract_rows` is a version and all the extracts
in a row that hold it, from `first_extract_id` up to `extract_id`, in the order of `extracts_of`: there are about as
many as changes, however often the CRM is asked. The first extract, and those that don't count, have rows of their own.

Every function works inside the caller's transaction. How files become rows is in `crm_reading`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from dagster_project.landing.crm_reading import CRM_ROWS, NOBODY_NAMED
from dagster_project.landing.discovery import API
from dagster_project.landing.register import refused_first
from dagster_project.landing.reports import RowCounts

_READ_FROM = f"case when starts_with(path, '{API}') then path else '' end"


@dataclass(frozen=True)
class Extract:
    """A full extract as it was recorded; see `store_extract`."""

    extract_id: int
    file_id: int
    extract_at: datetime
    keys: int
    is_complete: bool
    content_hash: str
    read_from: str
    path: str
    mapping: str | None


def extracts_of(connection: duckdb.DuckDBPyConnection, entity: str) -> list[Extract]:
    """The extracts of an entity, oldest first."""
    rows = connection.execute(
        f"select extracts.extract_id, file_id, extracts.extract_at, keys, is_complete, content_hash, {_READ_FROM}, "
        "path, mapping from raw.crm_extracts as extracts join raw.files using (file_id) where entity = ? "
        "order by extracts.extract_at, extracts.extract_id",
        [entity],
    ).fetchall()
    return [Extract(*row) for row in rows]


def keys_before(connection: duckdb.DuckDBPyConnection, entity: str, extract_at: datetime) -> int | None:
    """Distinct keys of the last complete extract up to a moment; None if there is none."""
    before = [e.keys for e in extracts_of(connection, entity) if e.is_complete and e.extract_at <= extract_at]
    return before[-1] if before else None


def refresh_delivery(connection: duckdb.DuckDBPyConnection, extract_id: int, delivered_at: datetime) -> None:
    """An identical file came again: what the extract says held at least until then."""
    connection.execute(
        "update raw.crm_extracts set delivered_at = greatest(delivered_at, ?) where extract_id = ?",
        [delivered_at, extract_id],
    )


def shrink_detail(keys: int, previous: int | None, limit: float) -> str | None:
    """Why an extract does not count, for people; None if it does.

    Args:
        keys: Distinct keys in the extract.
        previous: The same of the complete extract before it; None if there is none.
        limit: The share of keys that may be lost, 0..1.
    """
    if previous is None or previous - keys <= limit * previous + 1e-9:
        return None
    return (
        f"{keys} keys where the extract before had {previous}: more than {limit:.0%} are gone, so it "
        "counts as a failed "
        "export and nothing is deleted. If they really were deleted, raise shrink_limit in sources.yml for "
        "one run"
    )


def store_extract(
    connection: duckdb.DuckDBPyConnection,
    entity: str,
    *,
    file_id: int,
    extract_at: datetime,
    delivered_at: datetime,
    limit: float,
    previous: int | None,
    read_from: str = "",
) -> tuple[RowCounts, str | None]:
    """Store CRM_ROWS as an extract.

    Of several rows with one key the newest `updated_at` wins, then the later row.

    Args:
        connection: The warehouse, inside a transaction.
        entity: Which records it holds.
        file_id: Its record in `raw.files`.
        extract_at: The moment that it describes.
        delivered_at: Until when it is known to hold.
        limit: The share of keys that may be lost, 0..1.
        previous: Distinct keys of the complete extract before it; None if there is none.
        read_from: The connected CRM that it was read from, and what, as its path in `raw.files`; empty for a file.

    Returns:
        The rows' counts, and why the extract does not count (None if it does).
    """
    connection.execute(
        f"create or replace temp table crm_winners as select *, md5(payload) as row_hash from {CRM_ROWS} "
        "where reason is null "
        "qualify row_number() over (partition by key order by updated_at desc nulls last, row_number desc) "
        "= 1"
    )
    connection.execute(
        "insert into raw.crm_versions "
        "select (select coalesce(max(version_id), 0) from raw.crm_versions) + row_number() over (order by "
        "row_number, key), "
        "?, key, row_hash, payload, updated_at, created_at from crm_winners as winners "
        "anti join (select key, row_hash from raw.crm_versions where entity = ?) as known "
        "on winners.key = known.key and winners.row_hash = known.row_hash",
        [entity, entity],
    )
    [(extract_id, keys)] = connection.sql(
        "select (select coalesce(max(extract_id), 0) + 1 from raw.crm_extracts), count(*) from crm_winners"
    ).fetchall()
    detail = shrink_detail(keys, previous, limit)
    others = extracts_of(connection, entity)
    before = [extract for extract in others if extract.extract_at <= extract_at]
    after = [extract for extract in others if extract.extract_at > extract_at]
    if before and after:
        _part(connection, before, after)
    goes_on = (
        not after
        and detail is None
        # What the first extract says is known from its own dates, and stands alone.
        and sum(one.is_complete for one in before) > 1
        and before[-1].is_complete
        # What a connected CRM has said last is looked for by its own last extract.
        and before[-1].read_from == read_from
    )
    _hold(connection, entity, extract_id, goes_on_from=before[-1].extract_id if goes_on else None)
    connection.execute(
        "insert into raw.crm_extracts (extract_id, file_id, entity, extract_at, delivered_at, keys, is_complete) "
        "values (?, ?, ?, ?, ?, ?, ?)",
        [extract_id, file_id, entity, extract_at, delivered_at, keys, detail is None],
    )
    return _counts(connection), detail


def _hold(connection: duckdb.DuckDBPyConnection, entity: str, extract_id: int, *, goes_on_from: int | None) -> None:
    """Note the versions of `crm_winners` as those of an extract.

    Args:
        connection: The warehouse, inside a transaction.
        entity: Which records it holds.
        extract_id: The extract.
        goes_on_from: The one right before it, whose rows go on where both hold the same; None if none do.
    """
    connection.execute(
        "create or replace temp table crm_held_now as select version_id from crm_winners as winners "
        "join raw.crm_versions as versions "
        "on versions.entity = ? and winners.key = versions.key and winners.row_hash = versions.row_hash",
        [entity],
    )
    if goes_on_from is not None:
        connection.execute(
            "update raw.crm_extract_rows set extract_id = $now "
            "where extract_id = $before and version_id in (from crm_held_now)",
            {"now": extract_id, "before": goes_on_from},
        )
    connection.execute(
        "insert into raw.crm_extract_rows select $now::integer, version_id, $now::integer from crm_held_now "
        "where version_id not in (select version_id from raw.crm_extract_rows where extract_id = $now)",
        {"now": extract_id},
    )


def _part(connection: duckdb.DuckDBPyConnection, before: Sequence[Extract], after: Sequence[Extract]) -> None:
    """Part the rows that hold for extracts on both sides: one that comes between says for itself what it holds."""
    sides = {"before": [one.extract_id for one in before], "after": [one.extract_id for one in after]}
    on_both = "list_contains($before, first_extract_id) and list_contains($after, extract_id)"
    connection.execute(
        "insert into raw.crm_extract_rows select extract_id, version_id, $after[1]::integer from raw.crm_extract_rows "
        f"where {on_both}",
        sides,
    )
    connection.execute(f"update raw.crm_extract_rows set extract_id = $before[-1] where {on_both}", sides)


def join_rows(connection: duckdb.DuckDBPyConnection) -> None:
    """Join what earlier versions wrote as a row per extract and record, with no `first_extract_id`; once.

    Args:
        connection: The warehouse, inside a transaction.
    """
    if not connection.sql("select 1 from raw.crm_extract_rows where first_extract_id is null limit 1").fetchall():
        return
    connection.execute(_JOINED_ROWS)
    connection.execute("delete from raw.crm_extract_rows where first_extract_id is null")
    connection.execute("insert into raw.crm_extract_rows by name from crm_joined_rows")
    connection.execute("drop table crm_joined_rows")


_JOINED_ROWS = f"""
create or replace temp table crm_joined_rows as
with numbered as (
  select
    extract_id,
    {_READ_FROM} as read_from,
    row_number() over (partition by entity order by extracts.extract_at, extract_id) as number,
    not is_complete or 1 = sum(cast(is_complete as integer)) over (
      partition by entity order by extracts.extract_at, extract_id
    ) as is_alone
  from raw.crm_extracts as extracts join raw.files using (file_id)
),
held as (
  select version_id, extract_id, number, read_from, is_alone
  from raw.crm_extract_rows join numbered using (extract_id)
  where first_extract_id is null
),
placed as (
  select
    *,
    case when is_alone then -number else
      number - row_number() over (partition by version_id, read_from, is_alone order by number)
    end as island
  from held
)
select
  version_id,
  arg_min(extract_id, number) as first_extract_id,
  arg_max(extract_id, number) as extract_id
from placed
group by version_id, read_from, is_alone, island
"""


def reconsider_shrunk(connection: duckdb.DuckDBPyConnection, limit: float, batch_id: int) -> None:
    """Let extracts count that were kept out under a stricter limit, or before one in between was known.

    Args:
        connection: The warehouse, inside a transaction.
        limit: The share of keys that may be lost, 0..1.
        batch_id: What counts from now on has come with this batch.
    """
    kept_out = connection.sql("select distinct entity from raw.crm_extracts where not is_complete").fetchall()
    for (entity,) in kept_out:
        previous: int | None = None
        for extract in extracts_of(connection, entity):
            if not extract.is_complete:
                if shrink_detail(extract.keys, previous, limit) is not None:
                    continue
                connection.execute(
                    "update raw.crm_extracts set is_complete = true where extract_id = ?", [extract.extract_id]
                )
                connection.execute(
                    "update raw.files set status = 'loaded', detail = null, batch_id = ? where file_id = ?",
                    [batch_id, extract.file_id],
                )
            previous = extract.keys


def quarantine_crm_rows(
    connection: duckdb.DuckDBPyConnection, *, file_id: int, source: str, name: str, now: datetime
) -> None:
    """Put the rows of CRM_ROWS that can't be read into quarantine."""
    bad = (
        "select ? as file_id, ? as source, ? as file, row_number, raw, reason, ? as quarantined_at "
        f"from {CRM_ROWS} where reason is not null"
    )
    connection.execute(f"insert into raw.quarantine by name {refused_first(bad)}", [file_id, source, name, now])


def _counts(connection: duckdb.DuckDBPyConnection) -> RowCounts:
    [(rows_in, quarantined, loaded)] = connection.sql(
        "select count(distinct row_number), count(distinct row_number) filter (reason is not null), "
        f"(select count(distinct row_number) from crm_winners) from {CRM_ROWS}"
    ).fetchall()
    return RowCounts(rows_in, loaded, rows_in - loaded - quarantined, quarantined)


def note_unread(connection: duckdb.DuckDBPyConnection, content_hash: str) -> None:
    """Write down how many rows of a suppression list, by its content, nobody can read; see `crm_freshness`."""
    connection.execute("delete from raw.unread_suppressions where content_hash = ?", [content_hash])
    connection.execute(
        "insert into raw.unread_suppressions select ?, count(distinct row_number) as rows, min(row_number) "
        f"from {CRM_ROWS} where reason <> ? having rows > 0",
        [content_hash, NOBODY_NAMED],
    )
