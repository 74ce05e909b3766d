"""Past handoffs by the accounts that their people have now."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import duckdb
import polars as pl

Ask = Callable[[str, Sequence[Any]], pl.DataFrame]
"""Answers a query with a `?` for each of its parameters: in the warehouse, or in the serving copy."""


def by_accounts_of_now(past: pl.DataFrame, ask: Ask, *, schema: Literal["scores", "marts"]) -> pl.DataFrame:
    """Past handoffs; that of an account which is gone is one of the account that its person has now.

    A company is known by its domain or its product group until somebody, after a handoff as a rule, makes an account of
    it in the CRM: it is the same one under another id, and must not be handed over again.

    Args:
        past: `core.handoff_plan.PAST_SCHEMA`.
        ask: Where to look.
        schema: Where the scores are there.
    """
    accounts = past["account_id"].drop_nulls().unique()
    scored = ask(
        f"select account_id from {schema}.pqa_scores where account_id in (select unnest(?::varchar[]))",
        [accounts.to_list()],
    )
    gone = accounts.filter(~accounts.is_in(scored["account_id"].implode()))
    if gone.is_empty():
        return past
    is_gone = pl.col("account_id").is_in(gone.implode())
    who = past.filter(is_gone)["user_id"].drop_nulls().unique()
    now = ask(
        f"select user_id, account_id as account_now from {schema}.pql_scores "
        "where user_id in (select unnest(?::varchar[])) and account_id is not null",
        [who.to_list()],
    )
    renamed = past.join(now, on="user_id", how="left", maintain_order="left").with_columns(
        account_id=pl.when(is_gone).then(pl.coalesce("account_now", "account_id")).otherwise("account_id")
    )
    return renamed.select(past.columns)


def by_accounts_in_warehouse(connection: duckdb.DuckDBPyConnection, past: pl.DataFrame) -> pl.DataFrame:
    """The same, looked up in the warehouse."""
    return by_accounts_of_now(past, lambda query, values: connection.sql(query, params=values).pl(), schema="scores")
