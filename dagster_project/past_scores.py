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
    if has_table(connection, DAILY):
        first_days = (
            f"select model_version, min(day) from {DAILY} "
            f"group by model_version, subject_type, (day - date '1970-01-01') // {period_days}"
        )
        scores = _read(connection, DAILY_SCORES, f"(model_version, day) in ({first_days})")
        deal_scores = _read(
            connection, _SLIM, f"subject_type = 'user' and account_id in (select account_id from {_DEALS})"
        )
    return Past(scores, deal_scores, outcomes, read_fired(connection, decisions), read_measures(connection))


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
        "(select max(extract_at) from raw.crm_extracts where entity = 'opportunities' and is_complete), "
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


def _read(connection: duckdb.DuckDBPyConnection, schema: pl.Schema, rows: str) -> pl.DataFrame:
    found = portions(connection, f"select {', '.join(schema)} from {DAILY} where {rows}")
    return pl.concat(
        [on_its_own(one.select(pl.col(name).cast(kind) for name, kind in schema.items())) for one in found]
    )
