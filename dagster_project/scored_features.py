"""Features with the scores beside them, as queries over the warehouse: of everybody, or of few who are looked for."""

from collections.abc import Collection, Mapping, Sequence

import duckdb
import polars as pl

from dagster_project.core.handoff_plan import Subject
from dagster_project.refresh import LIVE
from dagster_project.warehouse import key_of, rows_where

_MEASURED_AND_SCORED: Mapping[Subject, tuple[str, str]] = {
    "user": ("features.user_features", "scores.pql_scores"),
    "account": ("features.account_features", "scores.pqa_scores"),
}
RESCORED: Mapping[Subject, str] = {
    "user": "user_key in (select user_key from scores.rescored_users)",
    "account": "account_id in (select account_id from scores.rescored_accounts)",
}
"""Which scores a delta replaces: users by their numbers, so that whoever shares one is rescored as well."""


def whole(connection: duckdb.DuckDBPyConnection, subject: Subject, ids: Collection[str]) -> pl.DataFrame:
    """Everything that is known of some users or accounts."""
    wanted = pl.DataFrame({"id": list(ids)}, schema={"id": pl.String})  # noqa: F841, DuckDB finds it
    return connection.sql(scored_features(connection, subject, those_of(subject, among(subject, "id", "wanted")))).pl()


def among(subject: Subject, column: str, relation: str) -> str:
    """A condition on rows of users, who have a number to be looked for by, or of accounts: that a relation names them.

    Args:
        subject: Which of them.
        column: Of the relation, with their ids.
        relation: SQL.
    """
    by_number = f"user_key in (select {key_of(column)} from {relation})"
    return by_number if subject == "user" else f"account_id in (select {column} from {relation})"


def scored_features(
    connection: duckdb.DuckDBPyConnection, subject: Subject, whom: str, names: Sequence[str] | None = None
) -> str:
    """A query for features with the scores beside them.

    Args:
        connection: The warehouse.
        subject: Of users or of accounts.
        whom: A condition on their id, or on rows of `measured` and `scored`.
        names: The columns; all of them if it is None.
    """
    key, (features, scores) = f"{subject}_id", _MEASURED_AND_SCORED[subject]
    measured = connection.sql(f"from {features} limit 0").columns
    scored = connection.sql(f"from {scores} limit 0").columns
    columns = names or [*measured, *(name for name in scored if name not in measured)]
    said = [f"{'measured' if name in measured else 'scored'}.{name}" for name in columns if name != "as_of"]
    return (
        f"select (select until from raw.moments where is_live) as as_of, {', '.join(said)} "
        f"from {features} as measured join {scores} as scored using ({key}) "
        f"where measured.{LIVE} and {whom}"
    )


def those_of(subject: Subject, whose: str) -> str:
    """A condition on their id as `scored_features` asks for those rows alone, see `rows_where`."""
    features, scores = _MEASURED_AND_SCORED[subject]
    return f"{rows_where(features, whose, name='measured')} and {rows_where(scores, whose, name='scored')}"
