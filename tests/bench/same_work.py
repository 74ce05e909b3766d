"""The same piece of work in several engines: raw Parquet to user-days, user-days to 30-day features.

Each engine is used as its good user would: only the columns that are needed, lazily where that exists. The results are
compared before a time counts. The work is a part of what the pipeline does (named users, session ids, no late
identities, no catalogue), the part that can be written in a few lines everywhere.
"""

import importlib.util
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl

WINDOW_DAYS = 30
Features = list[tuple[str, int, int, int, int]]
"""Per user: id, active days, sessions, tracked events, seconds in the product; sorted by id."""


def duckdb_in_one_query(folder: Path, end: date) -> Features:
    """One query with two distinct counts, as it is written first."""
    return _duckdb(
        f"""
        with days as (
          select user_id, timestamp::date as day, count(distinct session_id) as sessions,
            count(distinct message_id) filter (where type = 'track') as tracked
          from read_parquet('{folder}/*.parquet') where user_id is not null group by all
        ), seconds as (
          select user_id, day, sum(seconds) as seconds from (
            select user_id, timestamp::date as day, session_id,
              greatest(60, date_diff('second', min(timestamp), max(timestamp))) as seconds
            from read_parquet('{folder}/*.parquet') where user_id is not null and session_id is not null group by all
          ) group by all
        )
        select user_id, count(*), sum(sessions), sum(tracked), coalesce(sum(seconds), 0)
        from days left join seconds using (user_id, day)
        where day > '{_start(end)}' group by user_id order by user_id"""
    )


def duckdb_session_first(folder: Path, end: date) -> Features:
    """Sessions first, then days: the shape of the pipeline's rollup."""
    return _duckdb(
        f"""
        with sessions as (
          select user_id, timestamp::date as day, session_id, count(*) filter (where type = 'track') as tracked,
            greatest(60, date_diff('second', min(timestamp), max(timestamp))) as seconds
          from read_parquet('{folder}/*.parquet') where user_id is not null group by all
        ), days as (
          select user_id, day, count(session_id) as sessions, sum(tracked) as tracked,
            coalesce(sum(seconds) filter (where session_id is not null), 0) as seconds
          from sessions group by all
        )
        select user_id, count(*), sum(sessions), sum(tracked), sum(seconds)
        from days where day > '{_start(end)}' group by user_id order by user_id"""
    )


def polars_lazily(folder: Path, end: date) -> Features:
    """A lazy scan on the streaming engine."""
    seconds = (pl.col("timestamp").max() - pl.col("timestamp").min()).dt.total_seconds().clip(lower_bound=60)
    sessions = (
        pl.scan_parquet(f"{folder}/*.parquet")
        .filter(pl.col("user_id").is_not_null())
        .group_by("user_id", pl.col("timestamp").dt.date().alias("day"), "session_id")
        .agg(tracked=(pl.col("type") == "track").sum(), seconds=seconds)
    )
    named = pl.col("session_id").is_not_null()
    days = sessions.group_by("user_id", "day").agg(
        sessions=named.sum(), tracked=pl.col("tracked").sum(), seconds=pl.col("seconds").filter(named).sum()
    )
    found = (
        days.filter(pl.col("day") > _start(end))
        .group_by("user_id")
        .agg(pl.len().alias("days"), pl.col("sessions").sum(), pl.col("tracked").sum(), pl.col("seconds").sum())
        .sort("user_id")
        .collect(engine="streaming")
    )
    return [tuple(row) for row in found.iter_rows()]  # type: ignore[misc]


def pandas_in_memory(folder: Path, end: date) -> Features:
    """The columns that are needed, in memory."""
    import pandas as pd

    columns = ["user_id", "session_id", "type", "timestamp"]
    events = pd.concat(pd.read_parquet(path, columns=columns) for path in sorted(folder.glob("*.parquet")))
    events = events[events["user_id"].notna()]
    events = events.assign(day=events["timestamp"].dt.floor("D"), tracked=events["type"] == "track")
    groups = events.groupby(["user_id", "day", "session_id"], dropna=False, sort=False)
    sessions = groups.agg(tracked=("tracked", "sum"), first=("timestamp", "min"), last=("timestamp", "max"))
    sessions = sessions.reset_index()
    named = sessions["session_id"].notna()
    length = (sessions["last"] - sessions["first"]).dt.total_seconds().astype(int).clip(lower=60)
    sessions = sessions.assign(sessions=named.astype(int), seconds=length.where(named, 0))
    days = sessions.groupby(["user_id", "day"], sort=False)[["sessions", "tracked", "seconds"]].sum().reset_index()
    days = days[days["day"] > pd.Timestamp(_start(end))]
    found = days.groupby("user_id").agg(
        days=("day", "count"), sessions=("sessions", "sum"), tracked=("tracked", "sum"), seconds=("seconds", "sum")
    )
    return [(str(user), *map(int, row)) for user, *row in found.sort_index().itertuples()]  # type: ignore[misc]


def engines() -> dict[str, Callable[[Path, date], Features]]:
    """The engines that are installed, by name; the first one is what the others are compared with."""
    found: dict[str, Callable[[Path, date], Features]] = {
        "DuckDB, sessions first": duckdb_session_first,
        "DuckDB, one naive query": duckdb_in_one_query,
        "Polars, streaming": polars_lazily,
    }
    if importlib.util.find_spec("pandas"):
        found["pandas"] = pandas_in_memory
    return found


def _start(end: date) -> date:
    return end - timedelta(days=WINDOW_DAYS)


def _duckdb(query: str) -> Features:
    with duckdb.connect() as connection:
        connection.execute("set threads = 2; set TimeZone = 'UTC'")
        return [tuple(map(_plain, row)) for row in connection.execute(query).fetchall()]  # type: ignore[misc]


def _plain(value: object) -> object:
    return value if isinstance(value, str) else int(value)  # type: ignore[call-overload]
