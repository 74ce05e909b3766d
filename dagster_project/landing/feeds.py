"""Which feeds of events have fallen silent, in `raw.feed_silences`. What a silence is, is `core/feeds.py`'s business.

A feed is a folder below `landing/events`; folders named after dates are none, their files belong to the feed `events`.
"""

from datetime import datetime, timedelta

import duckdb
import polars as pl

from dagster_project.core.feeds import Silence, silences
from dagster_project.core.source_rules import FeedSilence
from dagster_project.warehouse import transaction

MAIN_FEED = "events"
_FOLDER = r"^events/([^/]+)/"
_DATED = r"^\d|="
_REACH_DAYS = 120
"""How far back deliveries are looked at: the feed's habit before the longest silence that still matters."""


def update_silences(connection: duckdb.DuckDBPyConnection, as_of: datetime, rules: FeedSilence) -> list[Silence]:
    """Compute the silences anew once a day, and as long as a feed is silent.

    Args:
        connection: The warehouse, with no transaction begun.
        as_of: The moment scored, naive UTC.
        rules: `feed_silence` of `sources.yml`.

    Returns:
        All silences that are known.
    """
    [(checked_at, is_silent)] = connection.sql(
        "select max(checked_at), coalesce(bool_or(feed is not null and until is null), false) from raw.feed_silences"
    ).fetchall()
    if checked_at is not None and checked_at.date() == as_of.date() and not is_silent:
        return known_silences(connection)
    found = silences(_deliveries(connection, as_of), as_of, rules)
    with transaction(connection):
        connection.execute("delete from raw.feed_silences")
        # A row without a feed says that there was a look, also when every feed delivers.
        connection.execute("insert into raw.feed_silences values (null, null, null, ?)", [as_of])
        for silence in found:
            connection.execute(
                "insert into raw.feed_silences values (?, ?, ?, ?)", [silence.feed, silence.since, silence.until, as_of]
            )
    return found


def known_silences(connection: duckdb.DuckDBPyConnection) -> list[Silence]:
    """The silences as they were last computed, oldest first."""
    rows = connection.sql(
        "select feed, since, until from raw.feed_silences where feed is not null order by since, feed"
    ).fetchall()
    return [Silence(*row) for row in rows]


def _deliveries(connection: duckdb.DuckDBPyConnection, as_of: datetime) -> pl.DataFrame:
    """Per feed and day the first and the last event."""
    return connection.sql(
        f"""
with feeds as (
  select file_id, regexp_extract(path, '{_FOLDER}', 1) as folder from raw.files where source = 'events'
)
select
  case when folder = '' or regexp_matches(folder, '{_DATED}') then '{MAIN_FEED}' else folder end as feed,
  events.timestamp::date as day, min(events.timestamp) as first_at, max(events.timestamp) as last_at
from raw.events as events join feeds using (file_id)
where events.timestamp > ? and events.timestamp <= ?
group by all
""",
        params=[as_of - timedelta(days=_REACH_DAYS), as_of],
    ).pl()
