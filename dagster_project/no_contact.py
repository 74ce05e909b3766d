"""Who may not be contacted, as the CRM and the product say it now."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import polars as pl

from dagster_project.core.escaping import EMAIL, unescaped
from dagster_project.core.standings import ACCOUNT_FLAGS, USER_FLAGS, account_block_reason, user_block_reason
from dagster_project.core.wording import person_name, short
from dagster_project.refresh import LIVE
from dagster_project.warehouse import rows_where

_GONE = "not among the users that are scored any more"
_DELETED = frozenset({"contact_deleted", "account_deleted", "is_deleted"})


def block_reasons(
    connection: duckdb.DuckDBPyConnection, *, whose: str, but: Collection[str] = frozenset()
) -> pl.DataFrame:
    """`user_id` and `reason`: what the person or the company has said, null if neither has said no.

    Args:
        connection: The warehouse.
        whose: A condition on rows of `features.user_features`.
        but: Flags that don't count.
    """
    said = ", ".join(("user_id", "account_id", *USER_FLAGS, "suppression_reason"))
    users = connection.sql(f"select {said} from features.user_features where {LIVE} and {whose}").pl()
    said = ", ".join(("account_id", *ACCOUNT_FLAGS, "suppression_reason"))
    accounts = connection.sql(
        f"select {said} from features.account_features where {LIVE} and account_id in (select account_id from users)"
    ).pl()
    of_account = accounts.select("account_id", account_reason=account_block_reason(but))
    return (
        users.with_columns(reason=user_block_reason(but))
        .join(of_account, on="account_id", how="left")
        .select("user_id", reason=pl.coalesce("reason", "account_reason"))
    )


def contactable(connection: duckdb.DuckDBPyConnection, *, whose: str) -> pl.DataFrame:
    """`user_id` of those of whom neither the person nor the company has said no; see `block_reasons`."""
    return block_reasons(connection, whose=whose).filter(pl.col("reason").is_null()).select("user_id")


def blocked_people(connection: duckdb.DuckDBPyConnection, people: Collection[str]) -> dict[str, str]:
    """Why users may not be contacted, by user id; to be in it is enough."""
    with _asked_about(connection, people) as those:
        reasons = block_reasons(connection, whose=those)
    # Of whom nothing is known any more it isn't known either whether they may be written to.
    gone = dict.fromkeys(set(people) - set(reasons["user_id"]), _GONE)
    return gone | dict(reasons.drop_nulls("reason").iter_rows())


def said_no(connection: duckdb.DuckDBPyConnection, people: Collection[str]) -> dict[str, str]:
    """How users, or their companies, have said no, by user id. That a record was deleted, or merged, is no no."""
    with _asked_about(connection, people) as those:
        reasons = block_reasons(connection, whose=those, but=_DELETED)
    return dict(reasons.drop_nulls("reason").iter_rows())


def names_of(connection: duckdb.DuckDBPyConnection, people: Collection[str]) -> dict[str, str]:
    """What users are called, by user id."""
    names = ("contact_name", "user_name", "email", "user_id")
    with _asked_about(connection, people) as those:
        found = connection.sql(f"select {', '.join(names)} from features.user_features where {LIVE} and {those}").pl()
    return {row["user_id"]: short(person_name(row)) for row in found.iter_rows(named=True)}


def colleagues_who_said_no(
    connection: duckdb.DuckDBPyConnection, handoffs: Sequence[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """What is to be said of people whom packages name beside the one whom they are about, and who have said no.

    Args:
        connection: The warehouse.
        handoffs: With their packages, as the ledger has them.

    Returns:
        Sentences by handoff id, as plain text; of those of whom there is something to say.
    """
    rows = [
        {"handoff_id": row["handoff_id"], "named_id": row["user_id"], "email": address.lower()}
        for row in handoffs
        for address in sorted(set(EMAIL.findall(unescaped(row["package_markdown"]))))
    ]
    if not rows:
        return {}
    named = pl.DataFrame(rows, schema=dict.fromkeys(("handoff_id", "named_id", "email"), pl.String))
    connection.register("named", named)
    try:
        those = rows_where("features.user_features", "email in (select email from named)")
        people = connection.sql(
            f"with people as (select user_id, email from features.user_features where {LIVE} and {those}) "
            "select handoff_id, people.user_id, email from named join people using (email) "
            # Whom the letter is about is asked about elsewhere, under whichever of their ids.
            "where email not in (select email from people where people.user_id = named.named_id) order by all"
        ).fetchall()
    finally:
        connection.unregister("named")
    nos = said_no(connection, {user_id for _, user_id, _ in people}) if people else {}
    names = names_of(connection, nos) if nos else {}
    found: dict[str, list[str]] = {}
    for handoff_id, user_id, email in people:
        if user_id in nos:
            who = names[user_id] if names[user_id] == email else f"{names[user_id]} ({email})"
            found.setdefault(handoff_id, []).append(f"Do not contact {who}: {nos[user_id]}.")
    return found


@contextmanager
def _asked_about(connection: duckdb.DuckDBPyConnection, people: Collection[str]) -> Iterator[str]:
    """A condition on rows of `features.user_features` that finds these users, while the block lasts."""
    asked = pl.DataFrame({"user_id": list(people)}, schema={"user_id": pl.String})
    connection.register("asked_about", asked)
    try:
        yield rows_where("features.user_features", "user_id in (select user_id from asked_about)")
    finally:
        connection.unregister("asked_about")
