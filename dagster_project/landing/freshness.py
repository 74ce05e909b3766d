"""Whether the CRM files still show who must not be contacted: if not, handoffs are held; scores never ask."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from dagster_project.core.source_rules import SourceRules

NO_CONTACT_COLUMNS = {"contacts": ("email_opt_out", "do_not_contact"), "accounts": ("do_not_contact",)}


@dataclass(frozen=True)
class CrmFreshness:
    """What the delivered CRM files say about their own age.

    Attributes:
        hold_reason: Why no-contact flags can't be trusted; None if they can, or if no CRM file was ever
            delivered.
        delivered_at: When the one delivered longest ago was last delivered, naive UTC; None if none was.
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
                reasons.append(f"no {entity} file could be read yet, so nobody knows who must not be contacted")
            continue
        delivered_at, columns = extract
        deliveries.append(delivered_at)
        missing = [flag for flag in flags if flag not in columns]
        if missing:
            reasons.append(f"the {entity} file has no column {' and no column '.join(missing)}")
        limit = timedelta(hours=rules.crm_staleness_hours.files)
        if as_of - delivered_at > limit:
            reasons.append(
                f"the {entity} file was last delivered on {delivered_at:%Y-%m-%d %H:%M} UTC, more than "
                f"{limit.total_seconds() / 86400:g} days before {as_of:%Y-%m-%d %H:%M}"
            )
    if _newest_complete(connection, "suppression") is None and _was_tried(connection, "suppression"):
        reasons.append("the suppression list could not be read yet")
    return CrmFreshness("; ".join(reasons) or None, min(deliveries, default=None))


def _newest_complete(connection: duckdb.DuckDBPyConnection, entity: str) -> tuple[datetime, list[str]] | None:
    rows = connection.execute(
        "select max(delivered_at) over (), coalesce(columns, []) "
        "from raw.crm_extracts as extracts join raw.files using (file_id) where entity = ? and is_complete "
        "order by extracts.extract_at desc, extracts.extract_id desc limit 1",
        [entity],
    ).fetchall()
    return rows[0] if rows else None


def _was_tried(connection: duckdb.DuckDBPyConnection, source: str) -> bool:
    """A file that couldn't be read is not a file that isn't there; an empty one says nothing either way."""
    found = connection.execute("select 1 from raw.files where source = ? limit 1", [source]).fetchall()
    return bool(found)
