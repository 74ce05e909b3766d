"""Which feeds of events have fallen silent, in `raw.feed_silences`. What a silence is, is `core/feeds.py`'s business.

A feed is a folder below `landing/events`; folders named after dates are none, their files belong to the feed `events`.
The first and the last event of each day are kept (`raw.feed_days`), so that every run looks without reading all events.
"""

from datetime import datetime, time, timedelta

import duckdb
import polars as pl

from dagster_project.core.feeds import Silence, hold_reason, judges_otherwise, silences
from dagster_project.core.source_rules import FeedSilence
from dagster_project.warehouse import transaction

MAIN_FEED = "events"
_FOLDER = r"^events/([^/]+)/"
_DATED = r"^\d|="
_REACH_DAYS = 120
"""How far back deliveries are looked at: the feed's habit before the longest silence that still matters."""


def update_silences(connection: duckdb.DuckDBPyConnection, as_of: datetime, rules: FeedSilence) -> list[Silence]:
    """Compute the silences of this moment, from what was kept of each day and what has been loaded since.

    Silences that differ from those known before are noted in `raw.silence_changes` where scores may rest on them.

    Args:
        connection: The warehouse, with no transaction begun.
        as_of: The moment scored, naive UTC.
        rules: `feed_silence` of `sources.yml`.

    Returns:
        All silences that are known.
    """
    with transaction(connection):
        _add_deliveries(connection)
    found, known = silences(_deliveries(connection, as_of), as_of, rules), known_silences(connection)
    if found != known:
        with transaction(connection):
            connection.execute("delete from raw.feed_silences")
            for silence in found:
                row = [silence.feed, silence.since, silence.until, as_of]
                connection.execute("insert into raw.feed_silences values (?, ?, ?, ?)", row)
            if judges_otherwise(found, known, as_of):
                connection.execute("insert into raw.silence_changes select max(batch_id) from raw.batches")
    return found


def known_silences(connection: duckdb.DuckDBPyConnection) -> list[Silence]:
    """The silences as they were last computed, oldest first."""
    rows = connection.sql(
        # Earlier versions noted a look that found none in a row without a feed.
        "select feed, since, until from raw.feed_silences where feed is not null order by since, feed"
    ).fetchall()
    return [Silence(*row) for row in rows]


def _add_deliveries(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring `raw.feed_days` up to date: by the events of later batches, or by all where events were replaced."""
    [(counted,)] = connection.sql("select coalesce(max(batch_id), 0) from raw.feed_days").fetchall()
    [(is_replaced,)] = connection.execute(
        # A row that takes the place of an older one adds none: its file counts it as a duplicate.
        "select (select count(*) from raw.events where batch_id > $since) <> "
        "(select coalesce(sum(loaded), 0) from raw.files where source = 'events' and batch_id > $since)",
        {"since": counted},
    ).fetchall()
    if is_replaced:
        counted = 0
        connection.execute("delete from raw.feed_days")
    connection.execute(
        f"create or replace temp table delivered_now as {_delivered('batch_id > $since')}", {"since": counted}
    )
    both = "where (feed, day) in (select (feed, day) from delivered_now)"
    connection.execute(
        f"insert into delivered_now from raw.feed_days {both}; delete from raw.feed_days {both};"
        "insert into raw.feed_days select feed, day, min(first_at), max(last_at), max(batch_id) from delivered_now "
        "group by all"
    )


def _deliveries(connection: duckdb.DuckDBPyConnection, as_of: datetime) -> pl.DataFrame:
    """Per feed and day the first and the last event until a moment."""
    days = connection.sql(
        "select * exclude (batch_id) from raw.feed_days where day > ? and day <= ?",
        params=[(as_of - timedelta(days=_REACH_DAYS)).date(), as_of.date()],
    ).pl()
    if days.filter(pl.col("last_at") > as_of).is_empty():
        return days
    # Of a day that has gone on after the moment, only the events themselves tell.
    until_then = connection.sql(
        f"select * exclude (batch_id) from ({_delivered('timestamp >= ? and timestamp <= ?')})",
        params=[datetime.combine(as_of, time.min), as_of],
    ).pl()
    return pl.concat([days.filter(pl.col("day") < as_of.date()), until_then])


def _delivered(which: str) -> str:
    """A query for rows of `raw.feed_days` of events that a condition finds."""
    return f"""
with by_file as (
  select file_id, timestamp::date as day, min(timestamp) as first_at, max(timestamp) as last_at,
    max(batch_id) as batch_id
  from raw.events where {which} group by all
),
feeds as (
  select file_id, regexp_extract(path, '{_FOLDER}', 1) as folder from raw.files where source = 'events'
)
select
  case when folder = '' or regexp_matches(folder, '{_DATED}') then '{MAIN_FEED}' else folder end as feed,
  day, min(first_at) as first_at, max(last_at) as last_at, max(batch_id) as batch_id
from by_file join feeds using (file_id)
group by all
"""


def silence_hold(connection: duckdb.DuckDBPyConnection, as_of: datetime, rules: FeedSilence) -> str | None:
    """Why nothing in the CRM may fall at a moment: a feed of events is silent. None if every feed delivers.

    Source: section 7.1 of the specification.
    """
    return hold_reason(known_silences(connection), as_of, rules)
