"""What calibration looks at, read from the warehouse: scores of past days, deals, what fired, what sellers said."""

from datetime import datetime

import duckdb
import polars as pl

from dagster_project.core.calibration.findings import Past
from dagster_project.core.calibration.points import MEASURES
from dagster_project.core.calibration.rates import FIRED
from dagster_project.core.calibration.samples import DAILY_SCORES, OUTCOMES
from dagster_project.portions import on_its_own, portions
from dagster_project.warehouse import has_table

DAILY = "scores.daily_scores"
_DEALS = "intermediate.int_won_opportunities"
_ACCOUNTS_NOW = (
    "select account_id, account_now from ("
    "select past.account_id, users.account_id as account_now, count(*) as people from ("
    f"select distinct account_id, subject_id from {DAILY} where subject_type = 'user' "
    "and account_id is not null and account_id not in (select account_id from scores.pqa_scores)) as past "
    "join scores.pql_scores as users on past.subject_id = users.user_id where users.account_id is not null group by all"
    ") qualify row_number() over (partition by account_id order by people desc, account_now) = 1"
)
"""Accounts that are gone, each with the one in which most of its people are now: the same company, by another id.

A company is known by its domain or its product group until somebody makes an account of it in the CRM, often on the
way to a deal. What it was scored as then has become of that deal.
"""
_SLIM = pl.Schema({name: kind for name, kind in DAILY_SCORES.items() if name != "signals"})


def read_past(connection: duckdb.DuckDBPyConnection, decisions: pl.DataFrame, *, period_days: int) -> Past:
    """Everything that calibration looks at.

    Args:
        connection: The warehouse; a table that it lacks, since nothing has filled it yet, counts as empty.
        decisions: The ledger's `handoff_decisions`.
        period_days: Of every period the first scored day is read.
    """
    outcomes = read_outcomes(connection)
    scores, deal_scores = DAILY_SCORES.to_frame(), _SLIM.to_frame()
    now = accounts_now(connection)
    if has_table(connection, DAILY):
        first_days = (
            f"select model_version, min(day) from {DAILY} "
            f"group by model_version, subject_type, (day - date '1970-01-01') // {period_days}"
        )
        scores = _read(connection, DAILY_SCORES, f"(model_version, day) in ({first_days})", now)
        won = f"(select account_id from {_DEALS})"
        formerly = f"select account_id from ({_ACCOUNTS_NOW}) where account_now in {won}"
        theirs = f"account_id in {won} or account_id in ({formerly})"
        deal_scores = _read(connection, _SLIM, f"subject_type = 'user' and ({theirs})", now)
    fired = by_accounts_now(read_fired(connection, decisions), now)
    return Past(scores, deal_scores, outcomes, fired, read_measures(connection))


def accounts_now(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Accounts that were scored and are gone: `account_id` and `account_now`, the one that the company is known by."""
    if not has_table(connection, DAILY):
        return pl.DataFrame(schema={"account_id": pl.String(), "account_now": pl.String()})
    return connection.sql(f"{_ACCOUNTS_NOW} order by account_id").pl()


def by_accounts_now(rows: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """The same rows with the `account_id` by which the company is known now.

    Args:
        rows: With a column `account_id`.
        now: From `accounts_now`.
    """
    if now.is_empty():
        return rows
    renamed = rows.join(now, on="account_id", how="left", maintain_order="left")
    return renamed.with_columns(account_id=pl.coalesce("account_now", "account_id")).select(rows.columns)


def read_measures(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """What was measured of users on the days that calibration looks at, as `MEASURES`."""
    if not has_table(connection, "scores.daily_measures"):
        return MEASURES.to_frame()
    found = connection.sql(f"select {', '.join(MEASURES)} from scores.daily_measures").pl()
    return found.select(pl.col(name).cast(kind) for name, kind in MEASURES.items())


def read_outcomes(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Won deals as `OUTCOMES`."""
    if not has_table(connection, _DEALS):
        return OUTCOMES.to_frame()
    found = connection.sql(f"select {', '.join(OUTCOMES)} from {_DEALS} order by opportunity_id").pl()
    return found.select(pl.col(name).cast(kind) for name, kind in OUTCOMES.items())


def observed_until(connection: duckdb.DuckDBPyConnection) -> datetime:
    """Up to when outcomes are known: the live moment, or the newest complete extract of deals where that is older."""
    [(moment,)] = connection.sql(
        "select least((select until from raw.moments where is_live), coalesce("
        "(select max(extract_at) from raw.crm_extracts where entity = 'opportunities' and is_complete "
        "and extract_at <= (select until from raw.moments where is_live)), "
        "timestamp '1970-01-01'))"
    ).fetchall()
    return moment


def read_fired(connection: duckdb.DuckDBPyConnection, decisions: pl.DataFrame) -> pl.DataFrame:
    """What sales was, or but for a rule would have been, called for, as `FIRED`.

    A candidate counts once, at its first decision. What stood already when the product was installed did not fire.
    """
    if decisions.is_empty() or not has_table(connection, "scores.score_history"):
        return FIRED.to_frame()
    first = (
        decisions.filter(pl.col("decision") != "suppressed_baseline")
        .sort("decided_at")
        .unique("candidate_key", keep="first", maintain_order=True)
        .explode("triggers")
        .select(
            subject_id=pl.coalesce("user_id", "account_id"),
            account_id="account_id",
            trigger="triggers",
            fired_at="decided_at",
        )
        .drop_nulls("trigger")
        .sort("fired_at")
    )
    models = connection.sql(
        "select as_of, max(model_version) as model_version from scores.score_history group by as_of order by as_of"
    ).pl()
    found = first.join_asof(models, left_on="fired_at", right_on="as_of", strategy="backward")
    return found.select(pl.col(name).cast(kind) for name, kind in FIRED.items())


def _read(connection: duckdb.DuckDBPyConnection, schema: pl.Schema, rows: str, now: pl.DataFrame) -> pl.DataFrame:
    found = portions(connection, f"select {', '.join(schema)} from {DAILY} where {rows}")
    return pl.concat(
        [
            on_its_own(by_accounts_now(one, now).select(pl.col(name).cast(kind) for name, kind in schema.items()))
            for one in found
        ]
    )
