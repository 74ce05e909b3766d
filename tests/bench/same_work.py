"""The same piece of work in several engines: raw Parquet to user-days, user-days to 30-day features.

Each engine is used as its good user would: only the columns that are needed, lazily where that exists, in portions
where that helps. The work is a part of what the pipeline does (named users, session ids, no late identities, no
catalogue), the part that can be written in a few lines everywhere. All days are rolled up, not only the window's.
"""

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl

WINDOW_DAYS = 30
MINUTE = 60
STEP_EVENTS = 4_000_000
"""About so many events are rolled up at once where that is done by hand."""


@dataclass(frozen=True)
class Answer:
    """What an engine found.

    Attributes:
        totals: Over all user-days: how many, and the sums of sessions, tracked events and seconds in the product.
        features: Per user of the window: id, active days, sessions, tracked events, seconds; sorted by id.
    """

    totals: tuple[int, ...]
    features: list[tuple[str, int, int, int, int]]


Work = Callable[[Path, date], Answer]
"""From the folder of the Parquet files and the window's last day to the answer."""

_TOTALS = "count(*), sum(sessions), sum(tracked), sum(seconds)"
_USERS = f"user_id, {_TOTALS}"
_SECONDS = f"greatest({MINUTE}, (epoch_us(max(timestamp)) - epoch_us(min(timestamp))) // 1000000)"


def duckdb_session_first() -> Work:
    """Sessions first, then days, a few days at a time: the shape of the pipeline's rollup."""

    def work(folder: Path, end: date) -> Answer:
        with _duckdb() as connection:
            events = f"read_parquet('{folder}/*.parquet')"
            connection.execute(
                "create temp table days (user_id varchar, day date, sessions int, tracked int, seconds int)"
            )
            [(first, last, rows)] = connection.execute(
                f"select min(timestamp)::date, max(timestamp)::date, count(*) from {events}"
            ).fetchall()
            step = max(1, (last - first).days * STEP_EVENTS // rows)
            for start in _steps(first, last, step):
                connection.execute(
                    f"""insert into days
                    select user_id, day, count(session_id), sum(tracked),
                      coalesce(sum(seconds) filter (session_id is not null), 0)
                    from (
                      select user_id, timestamp::date as day, session_id, count(*) filter (type = 'track') as tracked,
                        {_SECONDS} as seconds
                      from {events} where user_id is not null
                        and timestamp >= date '{start}' and timestamp < date '{start + timedelta(days=step)}'
                      group by all
                    ) group by all"""
                )
            return _duckdb_answer(connection, end)

    return work


def duckdb_in_one_query() -> Work:
    """One query with two distinct counts, as it is written first."""

    def work(folder: Path, end: date) -> Answer:
        events = f"read_parquet('{folder}/*.parquet')"
        with _duckdb() as connection:
            connection.execute(
                f"""create temp table days as
                with counted as (
                  select user_id, timestamp::date as day, count(distinct session_id) as sessions,
                    count(distinct message_id) filter (type = 'track') as tracked
                  from {events} where user_id is not null group by all
                ), lengths as (
                  select user_id, timestamp::date as day, session_id, {_SECONDS} as seconds
                  from {events} where user_id is not null and session_id is not null group by all
                )
                select user_id, day, sessions, tracked, coalesce(sum(seconds), 0) as seconds
                from counted left join lengths using (user_id, day) group by all"""
            )
            return _duckdb_answer(connection, end)

    return work


def polars_lazily() -> Work:
    """A lazy scan on the streaming engine."""

    def work(folder: Path, end: date) -> Answer:
        length = (pl.col("timestamp").max() - pl.col("timestamp").min()).dt.total_seconds().clip(lower_bound=MINUTE)
        named = pl.col("session_id").is_not_null()
        days = (
            pl.scan_parquet(f"{folder}/*.parquet")
            .filter(pl.col("user_id").is_not_null())
            .group_by("user_id", pl.col("timestamp").dt.date().alias("day"), "session_id")
            .agg(tracked=(pl.col("type") == "track").sum(), seconds=length)
            .group_by("user_id", "day")
            .agg(
                sessions=named.sum().cast(pl.Int64),
                tracked=pl.col("tracked").cast(pl.Int64).sum(),
                seconds=pl.col("seconds").filter(named).sum(),
            )
            .collect(engine="streaming")
        )
        totals = days.select(pl.len(), pl.col("sessions", "tracked", "seconds").sum()).row(0)
        found = (
            days.lazy()
            .filter(pl.col("day") > _start(end))
            .group_by("user_id")
            .agg(pl.len().alias("days"), pl.col("sessions", "tracked", "seconds").sum())
            .sort("user_id")
            .collect(engine="streaming")
        )
        return _answer(totals, found.iter_rows())

    return work


def pandas_in_memory() -> Work:
    """The columns that are needed, in memory, ids as categories: pandas has no other way to hold them."""
    import pandas as pd

    def work(folder: Path, end: date) -> Answer:
        columns = ["user_id", "session_id", "type", "timestamp"]
        events = pd.concat(pd.read_parquet(path, columns=columns) for path in sorted(folder.glob("*.parquet")))
        events = events[events["user_id"].notna()]
        events = events.assign(day=events["timestamp"].dt.floor("D"), tracked=events["type"] == "track")
        for name in ("user_id", "session_id"):
            events[name] = events[name].astype("category")
        groups = events.groupby(["user_id", "day", "session_id"], dropna=False, sort=False, observed=True)
        sessions = groups.agg(tracked=("tracked", "sum"), first=("timestamp", "min"), last=("timestamp", "max"))
        sessions = sessions.reset_index()
        named = sessions["session_id"].notna()
        length = ((sessions["last"] - sessions["first"]) // pd.Timedelta(seconds=1)).clip(lower=MINUTE)
        sessions = sessions.assign(sessions=named.astype(int), seconds=length.where(named, 0))
        summed = sessions.groupby(["user_id", "day"], sort=False, observed=True)[["sessions", "tracked", "seconds"]]
        days = summed.sum().reset_index()
        totals = (len(days), *days[["sessions", "tracked", "seconds"]].sum())
        found = (
            days[days["day"] > pd.Timestamp(_start(end))]
            .groupby("user_id", observed=True)
            .agg(
                days=("day", "count"),
                sessions=("sessions", "sum"),
                tracked=("tracked", "sum"),
                seconds=("seconds", "sum"),
            )
        )
        found.index = found.index.astype(str)
        return _answer(totals, found.sort_index().itertuples())

    return work


def chdb_in_process() -> Work:
    """ClickHouse in this process; sessions first."""
    from chdb import session

    def work(folder: Path, end: date) -> Answer:
        here = session.Session()
        here.query(
            f"""create table days engine = Memory as
            select user_id, day, countIf(session_id is not null) as sessions, sum(tracks) as tracked,
              sum(if(session_id is null, 0, lasted)) as seconds
            from (
              select user_id, toDate(timestamp, 'UTC') as day, session_id, countIf(type = 'track') as tracks,
                greatest({MINUTE}, intDiv(toUnixTimestamp64Micro(max(timestamp))
                  - toUnixTimestamp64Micro(min(timestamp)), 1000000)) as lasted
              from file('{folder}/*.parquet', Parquet) where user_id is not null group by user_id, day, session_id
            ) group by user_id, day"""
        )
        totals = here.query(f"select {_TOTALS} from days", "ArrowTable").to_pylist()[0].values()
        found = here.query(
            f"select {_USERS} from days where day > '{_start(end)}' group by user_id order by user_id", "ArrowTable"
        )
        rows = zip(*(column.to_pylist() for column in found.columns), strict=True)
        return _answer(totals, ((_text(user), *numbers) for user, *numbers in rows))

    return work


def spark_local() -> Work:
    """Spark on this machine's cores; sessions first."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("bench")
    for key, value in {
        "spark.driver.memory": "4g",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "16",
        "spark.log.level": "ERROR",
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()

    def work(folder: Path, end: date) -> Answer:
        spark.read.parquet(str(folder)).createOrReplaceTempView("events")
        days = spark.sql(
            f"""select user_id, day, count(session_id) as sessions, sum(tracks) as tracked,
              sum(if(session_id is null, 0, lasted)) as seconds
            from (
              select user_id, cast(timestamp as date) as day, session_id, count_if(type = 'track') as tracks,
                greatest({MINUTE}, (unix_micros(cast(max(timestamp) as timestamp))
                  - unix_micros(cast(min(timestamp) as timestamp))) div 1000000) as lasted
              from events where user_id is not null group by user_id, cast(timestamp as date), session_id
            ) group by user_id, day"""
        ).persist()
        days.createOrReplaceTempView("days")
        totals = spark.sql(f"select {_TOTALS} from days").collect()[0]
        found = spark.sql(f"select {_USERS} from days where day > '{_start(end)}' group by user_id order by user_id")
        return _answer(totals, found.collect())

    return work


def engines() -> dict[str, Callable[[], Work]]:
    """The engines that are installed, by name; each starts and returns what does the work."""
    found: dict[str, Callable[[], Work]] = {
        "DuckDB, sessions first": duckdb_session_first,
        "DuckDB, one naive query": duckdb_in_one_query,
        "Polars, streaming": polars_lazily,
    }
    for module, name, start in (
        ("pandas", "pandas", pandas_in_memory),
        ("chdb", "chdb", chdb_in_process),
        ("pyspark", "Spark, local", spark_local),
    ):
        if importlib.util.find_spec(module):
            found[name] = start
    return found


def needed_megabytes(name: str, events: int) -> float:
    """About how much memory an engine takes for so many events; 0 for one that works in portions or spills."""
    return {"pandas": 190.0, "DuckDB, one naive query": 120.0}.get(name, 0.0) * events / 1_000_000


def _answer(totals: Iterable[object], features: Iterable[Iterable[object]]) -> Answer:
    return Answer(tuple(map(_number, totals)), [(user, *map(_number, rest)) for user, *rest in features])  # type: ignore[misc]


def _number(value: object) -> int:
    return int(value)  # type: ignore[call-overload, no-any-return]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _start(end: date) -> date:
    return end - timedelta(days=WINDOW_DAYS)


def _steps(first: date, last: date, days: int) -> Iterable[date]:
    return (first + timedelta(days=offset) for offset in range(0, (last - first).days + 1, days))


def _duckdb() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("set threads = 2; set TimeZone = 'UTC'")
    return connection


def _duckdb_answer(connection: duckdb.DuckDBPyConnection, end: date) -> Answer:
    [totals] = connection.execute(f"select {_TOTALS} from days").fetchall()
    features = connection.execute(
        f"select {_USERS} from days where day > date '{_start(end)}' group by user_id order by user_id"
    ).fetchall()
    return _answer(totals, features)
