"""Who may not be contacted, as the CRM and the product say it now."""

import duckdb
import polars as pl

from dagster_project.core.standings import ACCOUNT_FLAGS, USER_FLAGS, account_block_reason, user_block_reason
from dagster_project.refresh import LIVE
from dagster_project.warehouse import rows_where


def block_reasons(connection: duckdb.DuckDBPyConnection, *, whose: str) -> pl.DataFrame:
    """`user_id` and `reason`: what the person or the company has said, null if neither has said no.

    Args:
        connection: The warehouse.
        whose: A condition on rows of `features.user_features`.
    """
    said = ", ".join(("user_id", "account_id", *USER_FLAGS, "suppression_reason"))
    users = connection.sql(f"select {said} from features.user_features where {LIVE} and {whose}").pl()
    said = ", ".join(("account_id", *ACCOUNT_FLAGS, "suppression_reason"))
    accounts = connection.sql(
        f"select {said} from features.account_features where {LIVE} and account_id in (select account_id from users)"
    ).pl()
    of_account = accounts.select("account_id", account_reason=account_block_reason())
    return (
        users.with_columns(reason=user_block_reason())
        .join(of_account, on="account_id", how="left")
        .select("user_id", reason=pl.coalesce("reason", "account_reason"))
    )


def contactable(connection: duckdb.DuckDBPyConnection, *, whose: str) -> pl.DataFrame:
    """`user_id` of those of whom neither the person nor the company has said no; see `block_reasons`."""
    return block_reasons(connection, whose=whose).filter(pl.col("reason").is_null()).select("user_id")


def blocked_people(connection: duckdb.DuckDBPyConnection, people: list[str]) -> dict[str, str]:
    """Why users may not be contacted, by user id; to be in it is enough."""
    asked = pl.DataFrame({"user_id": people}, schema={"user_id": pl.String})
    connection.register("asked_about", asked)
    try:
        those = rows_where("features.user_features", "user_id in (select user_id from asked_about)")
        reasons = block_reasons(connection, whose=those)
    finally:
        connection.unregister("asked_about")
    # Of whom nothing is known any more it isn't known either whether they may be written to.
    gone = dict.fromkeys(set(people) - set(reasons["user_id"]), "not among the users that are scored any more")
    return gone | dict(reasons.drop_nulls("reason").iter_rows())
