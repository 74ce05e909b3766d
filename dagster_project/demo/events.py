"""Writes the event files: week by week, a folder per service, history in bulk and the last days as they
come.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from dagster_project.demo.buying import Buying
from dagster_project.demo.catalog import catalog
from dagster_project.demo.companies import Companies
from dagster_project.demo.dirt import (
    BROKEN_LINES,
    Deliveries,
    delivered,
    skewed,
    with_a_bad_timestamp,
    with_broken_lines,
)
from dagster_project.demo.feed import COLUMNS, Feed
from dagster_project.demo.people import People
from dagster_project.demo.sessions import WEEK, week_of_sessions
from dagster_project.demo.size import DAY_MS, DemoSize
from dagster_project.demo.timeline import Happenings, joined_happenings
from dagster_project.demo.writer import LandingWriter, event_lines

# Weeks that begin this many days before the end, or later, come as one NDJSON file a day.
DAILY_FILES_DAYS = 14
BILLING_COLUMNS = ("type", "event", "user_id", "timestamp", "received_at", "properties")
# Files count as complete once nobody has touched them for a while: the newest is this old at the end.
SETTLED = timedelta(hours=1)


@dataclass
class EventCounts:
    """What the event files hold: `events` are distinct readable ones, the others rows on top of them."""

    events: int = 0
    same_again: int = 0
    changed_again: int = 0
    late: int = 0
    unreadable: int = 0
    skewed: int = 0


def write_events(
    writer: LandingWriter,
    size: DemoSize,
    *,
    companies: Companies,
    people: People,
    buying: Buying,
    planned: Happenings,
) -> EventCounts:
    """Writes all event files; memory holds one week of events."""
    feed, counts = Feed(size, companies, people), EventCounts()
    weeks = -(-size.days // WEEK)
    for week in range(weeks):
        rng = size.stream("feed", week)
        from_ms, to_ms = week * WEEK * DAY_MS, (week + 1) * WEEK * DAY_MS
        first, after = np.searchsorted(planned.at_ms, [from_ms, to_ms])
        sessions = week_of_sessions(size, people, buying, week=week)
        rows = feed.rows(joined_happenings(planned.take(slice(first, after)), sessions), rng)
        is_last = week == weeks - 1
        deliveries = delivered(rows, rng, end=size.end, all_in_time=is_last)
        ahead = skewed(rows, end=size.end) if is_last else rows.clear()
        counts.events += len(rows) + len(ahead)
        counts.skewed += len(ahead)
        counts.same_again += deliveries.same_again
        counts.changed_again += deliveries.changed_again
        counts.late += deliveries.late
        counts.unreadable += _write_week(writer, size, deliveries, week=week, ahead=ahead)
    return counts


def planned_templates_of_billing() -> np.ndarray:
    """For each template whether the billing service sends it."""
    return np.array([template.is_billing for template in catalog().templates])


def _write_week(
    writer: LandingWriter, size: DemoSize, deliveries: Deliveries, *, week: int, ahead: pl.DataFrame
) -> int:
    """Writes the files of a week; returns how many of their rows cannot be read."""
    begins = size.moment(week * WEEK)
    is_last = (week + 1) * WEEK >= size.days
    complete = min(begins + timedelta(days=WEEK, hours=1), size.end - SETTLED)
    rows, unreadable = deliveries.now, 0
    services = {name: rows.filter(pl.col("service") == name).select(COLUMNS) for name in ("web", "mobile", "billing")}
    if week * WEEK >= size.days - DAILY_FILES_DAYS:
        unreadable += _write_days(writer, size, services["web"], ahead=ahead.select(COLUMNS), spoil=is_last)
    elif len(services["web"]):
        writer.parquet(f"events/web/{begins:%Y-%m-%d}.parquet", services["web"], modified_at=complete)
    if len(services["mobile"]):
        lines = event_lines(services["mobile"].drop("session_id"), camel_case=True)
        writer.lines(f"events/mobile/{begins:%Y-%m-%d}.ndjson.gz", lines, modified_at=complete)
    if len(services["billing"]) or is_last:
        csv = (
            services["billing"].select(BILLING_COLUMNS).write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.3fZ").splitlines()
        )
        writer.lines(
            f"events/billing/{begins:%Y-%m-%d}.csv",
            with_a_bad_timestamp(csv) if is_last else csv,
            modified_at=complete,
        )
        unreadable += int(is_last)
    if len(deliveries.later):
        # Numbered downwards: the names of late files say nothing about the order of what is in them.
        path = f"events/web/{999 - week:03d}-resent.jsonl"
        later = min(complete + timedelta(days=6), size.end - SETTLED)
        writer.lines(path, event_lines(deliveries.later.select(COLUMNS)), modified_at=later)
    return unreadable


def _write_days(writer: LandingWriter, size: DemoSize, rows: pl.DataFrame, *, ahead: pl.DataFrame, spoil: bool) -> int:
    """One NDJSON file a day; the last one has what cannot be read and what is ahead of its time."""
    days = rows.with_columns(day=pl.col("timestamp").dt.date()).partition_by(
        "day", maintain_order=True, include_key=False
    )
    for place, day in enumerate(days):
        begins: datetime = day["timestamp"][0].replace(tzinfo=None)
        is_last = spoil and place == len(days) - 1
        lines = event_lines(pl.concat([day, ahead]) if is_last else day)
        midnight = begins.replace(hour=0, minute=0, second=0, microsecond=0)
        writer.lines(
            f"events/web/{begins:%Y-%m-%d}.ndjson",
            with_broken_lines(lines) if is_last else lines,
            modified_at=min(midnight + timedelta(days=1, hours=1), size.end - SETTLED),
        )
    return len(BROKEN_LINES) if spoil and days else 0
