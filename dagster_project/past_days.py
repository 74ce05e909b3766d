"""Scores as of days that are over, many days in one pass: `pls backfill`.

The models tagged `past` give features as spans of days in which nothing moves (dbt_models/macros/spans.sql). Here they
are scored by the same functions as a run's, span by span, and become a row per subject and day. Days are worked on in
portions, each in one transaction; those that were done from the same inputs are not done again.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from dagster_project.core.calibration.points import MEASURED
from dagster_project.core.moments import end_of_day
from dagster_project.core.patterns import patterns
from dagster_project.core.playbook import Playbook
from dagster_project.core.pqa import grade_accounts
from dagster_project.core.pql import grade_users
from dagster_project.core.segments import segment_accounts, segment_users
from dagster_project.daily_measures import keep_measures, unmeasured_days
from dagster_project.daily_scores import ScoredDay, add_rows, forget_days, number_patterns, record_days
from dagster_project.errors import PlsError
from dagster_project.refresh import NOTHING_YET
from dagster_project.transform import build_past, failure_report
from dagster_project.warehouse import transaction

ROWS_PER_PORTION = 8_000_000
MOST_DAYS = 90
"""A portion is at most so many days long, and about so many rows: each computes the two windows before it as well."""
SPANS_AT_ONCE = 400_000
"""About how many spans of users are scored at once: what is in memory."""


class PastDaysError(PlsError):
    """Past days can't be scored; the message says why and what to do."""


@dataclass(frozen=True)
class Stock:
    """Where past days are computed.

    Attributes:
        connect: A writing connection to the warehouse; none may be open while dbt runs.
        warehouse: Its file.
        dbt_target: Where dbt keeps its artefacts.
    """

    connect: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
    warehouse: Path
    dbt_target: Path


def inputs_of(connection: duckdb.DuckDBPyConnection, playbook: Playbook, definition: str) -> str:
    """A hash of what past scores are computed from, beside the model: loaded files, rollups, who is excluded.

    Args:
        connection: The warehouse.
        playbook: The rules.
        definition: A hash of the models of dbt.
    """
    # By content: a warehouse that was made anew numbers other files alike. Another mapping reads other rows out of a
    # content, and as an extract of another moment it says something else. How many rows were loaded is left out: which
    # of two files with the same row has loaded it depends on their order.
    loaded = connection.sql(
        "select md5(string_agg(distinct reading, ',' order by reading)) from ("
        "select concat_ws(' ', source, content_hash, extract_at, mapping) as reading from raw.files "
        "where status = 'loaded')"
    ).fetchall()
    told = [definition, loaded, playbook.identity.model_dump(mode="json"), MEASURED]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_standing(connection: duckdb.DuckDBPyConnection, definition: str) -> date:
    """The last day that can be scored: rollups are of this version, and complete up to the end of it.

    Raises:
        PastDaysError: There are no rollups to compute from.
    """
    standing = connection.sql("select definition, is_finished, until from raw.refreshes").fetchall()
    if not standing:
        raise PastDaysError(NOTHING_YET)
    [(known, is_finished, until)] = standing
    if not is_finished:
        raise PastDaysError("the last run did not come to its end: run `pls run` once")
    if known != definition:
        raise PastDaysError("the models, the catalogue or how usage is measured have changed: run `pls run` once")
    return until.date() if until == end_of_day(until.date()) else until.date() - timedelta(days=1)


def days_to_score(connection: duckdb.DuckDBPyConnection, first: date | None, last: date) -> tuple[date, date]:
    """First and last day of a backfill, by default from the day of the first event on.

    Raises:
        PastDaysError: There is no such day.
    """
    [(known,)] = connection.sql("select min(day) from intermediate.int_user_days").fetchall()
    if known is None:
        raise PastDaysError("there are no events of users yet: land some and run `pls run` first")
    if (first or known) > last:
        raise PastDaysError(f"the first day ({first or known}) is after the last ({last}): expected --from <= --to")
    return first or known, last


def missing_days(
    connection: duckdb.DuckDBPyConnection,
    days: Sequence[date],
    versions: Sequence[str],
    inputs: str,
    *,
    period_days: int,
) -> tuple[list[date], list[str]]:
    """Those of the days that some model has not scored to their end from these inputs, and these models.

    A day that calibration looks at, and of which what was measured is not there, is missing too.

    Args:
        connection: The warehouse.
        days: Which days are asked for.
        versions: Of the models, at least one.
        inputs: What they would be computed from (`inputs_of`).
        period_days: The length of a period, as calibration counts them.
    """
    known = set(
        connection.execute(
            "select day, model_version from scores.daily_score_days where inputs = ?", [inputs]
        ).fetchall()
    )
    # Whichever model scores a day keeps what was measured on it.
    known -= {(day, versions[0]) for day in unmeasured_days(connection, versions[0], period_days)}
    lacking = [(day, version) for day in sorted(days) for version in versions if (day, version) not in known]
    behind = {version for _, version in lacking}
    return list(dict.fromkeys(day for day, _ in lacking)), [version for version in versions if version in behind]


def portions(days: Sequence[date], users: int, longest: int = MOST_DAYS) -> list[tuple[date, date]]:
    """Days in portions: runs of consecutive days of bounded size, oldest first.

    Args:
        days: Sorted.
        users: How many there are about.
        longest: The most days in one.

    Returns:
        First and last day of each.
    """
    most = max(1, min(longest, ROWS_PER_PORTION // max(1, users)))
    found: list[tuple[date, date]] = []
    for day in days:
        follows = found and day == found[-1][1] + timedelta(days=1) and (day - found[-1][0]).days < most
        if follows:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def score_past_days(
    stock: Stock,
    models: Mapping[str, Playbook],
    days: Sequence[date],
    *,
    inputs: str,
    say: Callable[[str], None],
    longest: int = MOST_DAYS,
    at_once: int = SPANS_AT_ONCE,
) -> int:
    """Score days and keep what they give; what was kept of them goes.

    Args:
        stock: Where.
        models: With what: each a playbook, by the version that stands on its scores.
        days: Which; over, and complete in the rollups (`check_standing`).
        inputs: What they are computed from (`inputs_of`).
        say: Told of each portion that is done.
        longest: The most days in a portion.
        at_once: About how many spans of users are in memory.

    Returns:
        How many rows were written.

    Raises:
        PastDaysError: dbt could not compute the features.
    """
    with stock.connect() as connection:
        [(users,)] = connection.sql("select approx_count_distinct(user_id) from intermediate.int_user_days").fetchall()
    written = done = 0
    for first, last in portions(sorted(days), users, longest):
        with stock.connect() as connection:
            connection.execute("delete from raw.past_range")
            connection.execute("insert into raw.past_range values (?, ?)", [first, last])
        made = build_past(warehouse=stock.warehouse, target=stock.dbt_target, connect=stock.connect)
        report = failure_report(made)
        if report:
            raise PastDaysError(report)
        with stock.connect() as connection:
            written += sum(
                _write_portion(connection, playbook, ScoredDay(first, version, datetime.min, inputs), last, at_once)
                for version, playbook in models.items()
            )
        done += (last - first).days + 1
        say(f"{done} of {len(days)} days scored, up to {last}")
    return written


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _write_portion(
    connection: duckdb.DuckDBPyConnection, playbook: Playbook, first: ScoredDay, last: date, at_once: int
) -> int:
    days = _days(first.day, last)
    accounts = segment_accounts(connection.sql("from past.past_account_days").pl(), playbook.segments)
    with transaction(connection):
        forget_days(connection, days, first.model_version)
        written = _write_accounts(connection, accounts, playbook, first.model_version)
        written += _write_users(connection, accounts, playbook, first.model_version, at_once)
        record_days(connection, [replace(first, day=day, as_of=end_of_day(day)) for day in days])
        keep_measures(connection, days, "from past.past_user_states", playbook.calibration.period_days)
    return written


def _write_accounts(
    connection: duckdb.DuckDBPyConnection, accounts: pl.DataFrame, playbook: Playbook, version: str
) -> int:
    who = accounts.select("account_id", "day", "segment", subject_id="account_id")
    return add_rows(connection, who, grade_accounts(accounts, playbook.scoring), subject="account", version=version)


def _write_users(
    connection: duckdb.DuckDBPyConnection, accounts: pl.DataFrame, playbook: Playbook, version: str, at_once: int
) -> int:
    """Users by spans: their own, cut where the segment of their account changes."""
    spans = _segment_spans(accounts)
    written = 0
    for users in _read_users(connection, spans, at_once):
        placed = segment_users(users, spans.rename({"span_id": "account_id"}), playbook.segments)
        number, found = patterns(grade_users(placed, playbook.scoring))
        number_patterns(connection, found, "user", version)
        scored = placed.select("user_id", "own_account_id", "segment", "from_day", "to_day", number)
        written += _write_spans(connection, scored)
    return written


def _read_users(connection: duckdb.DuckDBPyConnection, spans: pl.DataFrame, at_once: int) -> Iterator[pl.DataFrame]:
    """Spans of users in frames of about `at_once`; while one is worked on, the next is read."""
    [(states,)] = connection.sql("select count(*) from past.past_user_states").fetchall()
    parts = 1 + states // at_once

    def read(part: int) -> pl.DataFrame:
        return reader.sql(
            "with states as (select * exclude (department, active_in_window, active_before_window) "
            f"from past.past_user_states where hash(user_id) % {parts} = {part}) "
            "select states.* exclude (account_id, from_day, to_day), states.account_id as own_account_id, "
            "spans.span_id as account_id, greatest(states.from_day, spans.from_day) as from_day, "
            "least(states.to_day, spans.to_day) as to_day from states "
            "join segment_spans as spans on states.account_id = spans.own_account_id "
            "and states.from_day < spans.to_day and spans.from_day < states.to_day "
            "union all by name select * exclude (account_id), null as own_account_id, null as account_id "
            "from states where account_id is null"
        ).pl()

    with closing(connection.cursor()) as reader, ThreadPoolExecutor(1) as ahead:
        reader.register("segment_spans", spans)
        coming = ahead.submit(read, 0)
        for part in range(1, parts):
            users = coming.result()
            coming = ahead.submit(read, part)
            yield users
        yield coming.result()


def _write_spans(connection: duckdb.DuckDBPyConnection, user_spans: pl.DataFrame) -> int:
    connection.register("user_spans", user_spans)
    [(written,)] = connection.execute(
        "insert into scores.daily_score_rows by name select 'user' as subject_type, user_id as subject_id, "
        "own_account_id as account_id, unnest(generate_series(from_day, to_day - 1, interval 1 day))::date as day, "
        "segment, pattern_id from user_spans join numbered_patterns using (number)"
    ).fetchall()
    connection.unregister("user_spans")
    return int(written)


def _segment_spans(accounts: pl.DataFrame) -> pl.DataFrame:
    """Accounts in the spans of days in which their segment stays: `own_account_id, segment, segment_source, from_day,
    to_day` and a number of the span."""
    said = ["account_id", "segment", "segment_source"]
    return (
        accounts.select(*said, "day")
        .sort("account_id", "day")
        .with_columns(
            is_new=(pl.col("day") != pl.col("day").shift(1) + pl.duration(days=1)).fill_null(True)
            | pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in said)
        )
        .with_columns(span_id=pl.col("is_new").cum_sum().cast(pl.Int64))
        .group_by("span_id", maintain_order=True)
        .agg(
            own_account_id=pl.col("account_id").first(),
            segment=pl.col("segment").first(),
            segment_source=pl.col("segment_source").first(),
            from_day=pl.col("day").min(),
            to_day=pl.col("day").max() + pl.duration(days=1),
        )
    )
