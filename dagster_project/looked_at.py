"""Of whom a run decides something: found among everybody, or those whom a delta has touched; and how far they rose.

They are noted in `scores.looked_at_users` and `scores.looked_at_accounts`. Why somebody is one of them is decided in
`core/concerned.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import duckdb
import polars as pl

from dagster_project.core.automation import score_rises
from dagster_project.core.concerned import ACCOUNT_COLUMNS, USER_COLUMNS, Concerned, concerned_by_accounts
from dagster_project.core.handoff_plan import Subject
from dagster_project.core.playbook import Playbook
from dagster_project.landing.feeds import known_silences
from dagster_project.ledger import Ledger
from dagster_project.portions import PORTION, portions
from dagster_project.scored_features import RESCORED, scored_features
from dagster_project.warehouse import key_of, rows_where

LOOKED_AT: Mapping[Subject, str] = {
    "user": "user_key in (select user_key from scores.looked_at_users)",
    "account": "account_id in (select account_id from scores.looked_at_accounts)",
}
"""Of whom decisions are made in this run."""


def touched(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Users and accounts that this delta scored again; the accounts of these users are among them."""
    rows = connection.sql(
        "select user_id from scores.rescored_users union all from scores.rescored_accounts"
    ).fetchall()
    return {found for (found,) in rows}


def other_ids_of_touched(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Other users with an address of those without an account that this delta scored again: they may be one person."""
    alone = "account_id is null and email is not null"
    # Found by DuckDB as a local variable.
    mine = connection.sql(f"select email from scores.pql_scores where {RESCORED['user']} and {alone}").pl()
    if mine.is_empty():
        return set()
    query = f"select user_id from scores.pql_scores where {alone} and email in (select email from mine)"
    return {user_id for (user_id,) in connection.sql(query).fetchall()}


def select_concerned(
    connection: duckdb.DuckDBPyConnection,
    playbook: Playbook,
    since: datetime,
    *,
    held: pl.DataFrame,
    states: pl.DataFrame,
    members: Sequence[str],
    rows: int = PORTION,
) -> None:
    """In a full run look at those whom something can be decided about, found among everybody a portion at a time.

    Args:
        connection: The warehouse; they are noted in `scores.looked_at_users` and `scores.looked_at_accounts`.
        playbook: The rules.
        since: The moment that rises of scores are measured from.
        held: Candidates that wait.
        states: Of triggers and rules.
        members: Ids of the users who are in an audience.
        rows: Users of a portion.
    """
    accounts = connection.sql(scored_features(connection, "account", "true", ACCOUNT_COLUMNS)).pl()
    concerned = Concerned(accounts, states, held, playbook, silences=known_silences(connection))
    for users in portions(connection, scored_features(connection, "user", "true", USER_COLUMNS), rows=rows):
        concerned.look_at(users, rises_of(connection, users.select("user_id"), since))
    # Found by DuckDB as local variables.
    people = pl.DataFrame({"user_id": sorted(concerned.users.union(members))}, schema={"user_id": pl.String})  # noqa: F841
    companies = pl.DataFrame({"account_id": sorted(concerned.accounts)}, schema={"account_id": pl.String})  # noqa: F841
    connection.execute(_noted("from people"))
    connection.execute(
        "create or replace table scores.looked_at_accounts as from companies union select account_id "
        f"from scores.pql_scores where {LOOKED_AT['user']} and account_id is not null"
    )


def select_touched(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, playbook: Playbook, *, held: pl.DataFrame
) -> None:
    """In a delta look at those scored again and those who wait for a decision.

    Their colleagues are looked at as well where an account fired itself: its handoff names the best of its users.
    """
    waiting = held.select("user_id", "account_id")  # noqa: F841, DuckDB finds it as a local variable
    connection.execute(
        "create or replace table scores.looked_at_accounts as select account_id from ("
        "from scores.rescored_accounts union select account_id from waiting "
        "union select account_id from scores.pql_scores where "
        + rows_where("scores.pql_scores", f"user_key in (select {key_of('user_id')} from waiting)")
        + ") where account_id is not null"
    )
    accounts = connection.sql(scored_features(connection, "account", LOOKED_AT["account"], ACCOUNT_COLUMNS)).pl()
    nobody = connection.sql(scored_features(connection, "user", "false", USER_COLUMNS)).pl()
    states = ledger.trigger_states(accounts["account_id"].to_list())
    concerned = concerned_by_accounts(accounts, nobody, states, held, playbook)
    people = pl.DataFrame({"user_id": sorted(concerned.users)}, schema={"user_id": pl.String})  # noqa: F841
    fired = pl.DataFrame({"account_id": sorted(concerned.accounts)}, schema={"account_id": pl.String})  # noqa: F841
    connection.execute(
        _noted(
            "select user_id from scores.rescored_users union from people "
            "union select user_id from waiting where user_id is not null "
            "union select user_id from scores.pql_scores where "
            + rows_where("scores.pql_scores", f"account_key in (select {key_of('account_id')} from fired)")
            + " and account_id in (from fired)"
        )
    )


def _noted(whom: str) -> str:
    """SQL that notes the users (`user_id`) of a query as those who are looked at, by their numbers as well."""
    whom = f"select user_id, {key_of('user_id')} as user_key from ({whom})"
    return f"create or replace table scores.looked_at_users as {whom}"


def rises_of(connection: duckdb.DuckDBPyConnection, users: pl.DataFrame, since: datetime) -> pl.DataFrame:
    """How far users' scores stand above where they stood at a moment.

    Args:
        connection: The warehouse.
        users: `user_id`; found by DuckDB as a local variable.
        since: The moment.
    """
    history = connection.sql(
        "select subject_id, score, as_of, model_version, causes.definition from scores.score_history "
        "semi join users on subject_id = user_id "
        "where subject_type = 'user' and as_of <= (select until from raw.moments where is_live) and "
        + rows_where("scores.score_history", f"subject_key in (select {key_of('user_id')} from users)")
        # of what was before the moment only the last counts
        + " qualify as_of > $since "
        "or row_number() over (partition by subject_id, as_of > $since order by as_of desc) = 1",
        params={"since": since},
    ).pl()
    return score_rises(history, since)
