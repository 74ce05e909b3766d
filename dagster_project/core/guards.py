"""Whether the guardrails held, asked of what was kept: nobody over their limit, every P0 in time. Pure."""

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta

import polars as pl

from dagster_project.core.routing import TEAM, Desk

A_DAY = timedelta(days=1)


def over_capacity(given: pl.DataFrame, desk: Desk) -> dict[tuple[str, date], int]:
    """Who was given more in one of their days than one takes, by recipient and day.

    Args:
        given: `recipient_id, created_at` of handoffs and notices.
        desk: The people, their days and the limit.
    """
    taken = Counter(
        (recipient_id, desk.calendar(recipient_id).day(at))
        for recipient_id, at in given.select("recipient_id", "created_at").iter_rows()
        if recipient_id in desk.owners and not recipient_id.startswith(TEAM)
    )
    return {whose: count for whose, count in taken.items() if count > desk.rules.daily_capacity}


def late_alerts(handoffs: pl.DataFrame, arrived: Mapping[str, datetime], now: datetime) -> dict[str, str]:
    """Why a P0 was not with its recipient when it was due, by handoff id.

    Only those of the last day count, and only where the moment that was scored is the present one: what is computed for
    a past moment arrives after its due time.

    Args:
        handoffs: Rows of the ledger.
        arrived: When they were delivered, by handoff id, naive UTC.
        now: Naive UTC.
    """
    late = {}
    for row in handoffs.filter(pl.col("priority") == "P0", pl.col("status") != "cancelled").iter_rows(named=True):
        if not now - A_DAY <= row["created_at"] <= now:
            continue
        at = arrived.get(row["handoff_id"])
        if (at or now) > row["due_at"]:
            since = f"due at {row['due_at']:%Y-%m-%d %H:%M}"
            late[row["handoff_id"]] = f"{since}, delivered at {at:%Y-%m-%d %H:%M}" if at else f"{since}, not delivered"
    return late
