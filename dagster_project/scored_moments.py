"""Scores of the live moment, or of the baseline: features read a portion at a time, and scored.

What belongs here: what is read for scores. How they come about is `core/scoring.py`'s business, where they are written
that of `defs/scoring.py`.
"""

from collections.abc import Iterator

import duckdb
import polars as pl

from dagster_project.core.feeds import may_have_been_active
from dagster_project.core.handoff_plan import Subject
from dagster_project.core.playbook import Playbook
from dagster_project.core.scoring import ACCOUNT_STANDING, Scores, place_accounts, score_people, score_placed
from dagster_project.landing.feeds import known_silences
from dagster_project.portions import PORTION, portions
from dagster_project.warehouse import key_of


def score_portions(
    connection: duckdb.DuckDBPyConnection,
    playbook: Playbook,
    *,
    is_live: bool,
    model_version: str,
    users: str = "true",
    accounts: str = "true",
    rows: int = PORTION,
) -> Iterator[tuple[Subject, pl.DataFrame]]:
    """Score a moment a portion at a time; nobody's score depends on who else is in it.

    Args:
        connection: The warehouse; what is read here has been committed.
        playbook: The rules.
        is_live: The live moment, or else the baseline.
        model_version: What stands on each score.
        users: A condition that finds the users who are scored.
        accounts: The same of accounts; the accounts of those users have to be among them.
        rows: Users or accounts of a portion.

    Yields:
        Scored accounts, then scored users (`core.scoring.Scores`), each in the order of their ids.
    """
    moment = f"select as_of, until from raw.moments where is_live = {is_live}"
    measured = (
        "select * exclude (until) replace (until as as_of) from features.{subject}_features "
        f"join ({moment}) using (as_of) where {{whom}} order by {{subject}}_id"
    )
    standings = []
    for found in portions(connection, measured.format(subject="account", whom=accounts), rows=rows):
        placed = place_accounts(found, playbook)
        standings.append(placed.select("account_id", *ACCOUNT_STANDING))
        yield "account", score_placed(placed, playbook=playbook, model_version=model_version)
    standing = pl.concat(standings)
    for found in portions(connection, measured.format(subject="user", whom=users), rows=rows):
        yield (
            "user",
            score_people(
                without_doubtful_returns(connection, found, playbook),
                standing,
                _first_pql(connection, playbook, found, until=f"(select until from ({moment}))"),
                playbook=playbook,
                model_version=model_version,
            ),
        )


def score_moment(
    connection: duckdb.DuckDBPyConnection,
    playbook: Playbook,
    *,
    is_live: bool,
    model_version: str,
    rows: int = PORTION,
) -> Scores:
    """Everybody's scores at once, see `score_portions`."""
    scored: dict[Subject, list[pl.DataFrame]] = {"account": [], "user": []}
    found = score_portions(connection, playbook, is_live=is_live, model_version=model_version, rows=rows)
    for subject, frame in found:
        scored[subject].append(frame)
    return Scores(users=pl.concat(scored["user"]), accounts=pl.concat(scored["account"]))


def without_doubtful_returns(
    connection: duckdb.DuckDBPyConnection, users: pl.DataFrame, playbook: Playbook
) -> pl.DataFrame:
    """Who may have seemed inactive because of a silent feed has not come back, as far as anybody knows. Section 7.1."""
    inactive_days = playbook.scoring.measurement.inactive_days
    doubtful = may_have_been_active(
        pl.col("reactivated_at"), pl.col("previous_active_day"), known_silences(connection), inactive_days
    )
    return users.with_columns(reactivated_at=pl.when(~doubtful).then("reactivated_at"))


def _first_pql(
    connection: duckdb.DuckDBPyConnection, playbook: Playbook, users: pl.DataFrame, *, until: str
) -> pl.DataFrame:
    """Since when users have been known as PQLs, before the moment."""
    # Found by DuckDB as local variables; registered names would be held in memory until a transaction's end.
    pql_classes = pl.DataFrame({"classification": sorted(playbook.stages.pql_classes)})  # noqa: F841
    those_users = users.select(subject_id="user_id")  # noqa: F841
    return connection.sql(
        "select subject_id as user_id, min(as_of) as first_pql_at from scores.score_history "
        "semi join pql_classes using (classification) semi join those_users using (subject_id) "
        f"where subject_type = 'user' and as_of < {until} "
        f"and subject_key in (select {key_of('subject_id')} from those_users) group by all"
    ).pl()
