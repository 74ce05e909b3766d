"""Whether the CRM data still shows who must not be contacted: if not, handoffs are held; scores never ask."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from dagster_project.core.crm_source_rules import NO_CONTACT_COLUMNS
from dagster_project.core.source_rules import SourceRules
from dagster_project.landing.crm_reading import SUPPRESSION
from dagster_project.landing.discovery import API


@dataclass(frozen=True)
class CrmFreshness:
    """What the delivered CRM data says about its own age.

    Attributes:
        hold_reason: Why no-contact flags can't be trusted; None if they can, or if there is no CRM
            whose data could be old.
        delivered_at: When the entity delivered longest ago was last delivered, or read from the API; naive UTC. None
            if none was.
    """

    hold_reason: str | None
    delivered_at: datetime | None = None


def crm_freshness(connection: duckdb.DuckDBPyConnection, as_of: datetime, rules: SourceRules) -> CrmFreshness:
    """Judge the newest complete extracts of accounts and contacts.

    Args:
        connection: The warehouse.
        as_of: The moment scored, naive UTC.
        rules: `sources.yml`.
    """
    reasons, deliveries = [], []
    for entity, flags in NO_CONTACT_COLUMNS.items():
        extract = _newest_complete(connection, entity)
        if extract is None:
            if _was_tried(connection, f"crm.{entity}"):
                reasons.append(f"no {entity} could be read yet, so nobody knows who must not be contacted")
            continue
        delivered_at, columns, path, keys = extract
        deliveries.append(delivered_at)
        is_api = path.startswith(API)
        # Columns of a connected CRM are those of its records: where there are none, nobody says no.
        missing = [flag for flag in flags if flag not in columns] if keys or not is_api else []
        where = f"{entity} of the connected CRM have" if is_api else f"{entity} file has"
        if missing:
            way_out = (
                "" if is_api else f" (export it; `{missing[0]}: null` under crm_columns says that the CRM has none)"
            )
            reasons.append(f"the {where} no column {' and no column '.join(missing)}{way_out}")
        elif is_api and _has_other_fields(connection, path):
            reasons.append(f"the {entity} of the connected CRM are read from other fields now, and not all were yet")
        hours = rules.crm_staleness_hours.api if is_api else rules.crm_staleness_hours.files
        if as_of - delivered_at > timedelta(hours=hours):
            how = f"{entity} were last read from the CRM" if is_api else f"{entity} file was last delivered"
            age = f"{hours:g} hours" if is_api or hours % 24 else f"{hours / 24:g} days"
            reasons.append(
                f"the {how} on {delivered_at:%Y-%m-%d %H:%M} UTC, more than {age} before {as_of:%Y-%m-%d %H:%M}"
            )
    if trouble := _list_trouble(connection):
        reasons.append(trouble)
    return CrmFreshness("; ".join(reasons) or None, min(deliveries, default=None))


def _newest_complete(connection: duckdb.DuckDBPyConnection, entity: str) -> tuple[datetime, list[str], str, int] | None:
    rows = connection.execute(
        "select max(delivered_at) over (), coalesce(columns, []), path, keys "
        "from raw.crm_extracts as extracts join raw.files using (file_id) where entity = ? and is_complete "
        "order by extracts.extract_at desc, extracts.extract_id desc limit 1",
        [entity],
    ).fetchall()
    return rows[0] if rows else None


def _list_trouble(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Why nobody knows who is on the suppression list; None if one is known whole and no newer one is damaged."""
    # One that is only read again, by a later version of this program, is as new as it was.
    newest = connection.execute(
        "with files as (select *, min(file_id) over (partition by path, content_hash, modified_at) as came "
        "from raw.files where source = ? and status <> 'waiting' "
        "qualify row_number() over (partition by path order by file_id desc) = 1) "
        "select status, path, coalesce(detail, ''), coalesce(unread.rows, 0), unread.first_row from files "
        "left join raw.unread_suppressions as unread using (content_hash) order by came desc, file_id desc limit 1",
        [SUPPRESSION],
    ).fetchall()
    if not newest:
        return None
    [(status, path, cause, rows, first)] = newest
    if status == "unreadable":
        return f"the suppression list {path} can't be read, so nobody knows who was added to it: {cause}"
    if rows:
        what = "1 row" if rows == 1 else f"{rows} rows"
        return (
            f"{what} of the suppression list {path} can't be read, the first in row {first}, so nobody knows whom they "
            "are about: marts.quarantine has them"
        )
    # An empty one was once recorded without an extract.
    is_known = status == "empty" or _newest_complete(connection, SUPPRESSION) is not None
    return None if is_known else f"the suppression list {path} could not be read yet"


def _has_other_fields(connection: duckdb.DuckDBPyConnection, path: str) -> bool:
    """Whether what is known was made of other fields than the CRM is read from now: a flag may be one of them."""
    found = connection.execute(
        "select 1 from raw.crm_cursors where ? = concat(?, crm, '/', entity) and wanted is distinct from fields",
        [path, API],
    ).fetchall()
    return bool(found)


def _was_tried(connection: duckdb.DuckDBPyConnection, source: str) -> bool:
    """A read that failed is not an empty one; an empty file says nothing either way."""
    found = connection.execute(
        "select 1 from raw.files where source = ? "
        "union all select 1 from raw.crm_cursors where 'crm.' || entity = ? limit 1",
        [source, source],
    ).fetchall()
    return bool(found)
