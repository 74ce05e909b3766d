"""How far along a user is, and when the steps on the way were reached.

Source of the stages: section 5 of the specification and ``stages.yml``.
"""

import polars as pl

from dagster_project.core.stage_rules import StageRules

MILESTONES = pl.List(pl.Struct({"name": pl.String(), "reached_at": pl.Datetime("us")}))
FIRST_PQL_SCHEMA = pl.Schema({"user_id": pl.String(), "first_pql_at": pl.Datetime("us")})
_DATES = {
    "first_invite": "first_invite_at",
    "first_integration": "first_integration_at",
    "first_import": "first_import_at",
    "activated": "activated_at",
    "first_pql": "first_pql_at",
}
"""Milestones that are one column; the setup steps stand beside them as `setup:<step>`."""


def stage_users(
    users: pl.DataFrame,
    accounts: pl.DataFrame,
    first_pql: pl.DataFrame,
    *,
    rules: StageRules,
    inactive_days: int,
) -> pl.DataFrame:
    """Stage every user.

    Args:
        users: User features with `classification`.
        accounts: Account features with `is_customer`.
        first_pql: `FIRST_PQL_SCHEMA`: since when a user has been known as a PQL, by the score history.
        rules: `stages.yml`.
        inactive_days: Days without an event after which a user has churned.

    Returns:
        The same rows with `activated_at`, `is_customer`, `is_pql`, `activation_stage`, `funnel_stage` (the furthest
        one ever reached) and `milestones` (a list of name and moment, the earliest first).
    """
    staged = (
        users.join(_of_accounts(accounts), on="account_id", how="left", maintain_order="left")
        .join(first_pql, on="user_id", how="left", maintain_order="left")
        .with_columns(
            activated_at=_activated_at(rules),
            is_pql=pl.col("classification").is_in(sorted(rules.pql_classes)),
            status=pl.coalesce("account_status", "subscription_status"),
            status_since=pl.when(pl.col("account_status").is_not_null())
            .then("account_status_since")
            .otherwise("subscription_status_since"),
        )
        .with_columns(
            first_pql_at=pl.coalesce("first_pql_at", pl.when("is_pql").then("as_of")),
            is_customer=pl.col("account_is_customer").fill_null(False)
            | (pl.col("status") == "paying").fill_null(False)
            | pl.col("has_won_opportunity"),
        )
        .with_columns(activation_stage=_stage(rules, inactive_days), funnel_stage=_furthest_ever())
    )
    staged = staged.join(_milestones(staged), on="user_id", how="left", maintain_order="left")
    working = ["status", "status_since", "first_pql_at", "account_status", "account_status_since"]
    return staged.with_columns(pl.col("milestones").fill_null(pl.lit([], MILESTONES))).drop(
        *working, "account_is_customer", "account_was_paying"
    )


def customers(accounts: pl.DataFrame) -> pl.DataFrame:
    """Account features with `is_customer`: paying, or with a won opportunity."""
    paying = (pl.col("subscription_status") == "paying").fill_null(False)
    return accounts.with_columns(is_customer=paying | pl.col("has_won_opportunity"))


def _of_accounts(accounts: pl.DataFrame) -> pl.DataFrame:
    return accounts.select(
        "account_id",
        account_is_customer="is_customer",
        account_status="subscription_status",
        account_status_since="subscription_status_since",
        account_was_paying="was_paying",
    )


def _activated_at(rules: StageRules) -> pl.Expr:
    """When both halves of activation were there: data or an integration, and enough of the setup."""
    with_data = pl.min_horizontal("first_import_at", "first_integration_at")
    needed = (pl.col("setup_steps_total") * rules.activated_setup_share).ceil().cast(pl.Int64)
    done_at = pl.col("setup_steps").list.eval(pl.element().struct.field("reached_at")).list.sort()
    set_up = done_at.list.get(needed - 1, null_on_oob=True)
    # A catalogue without setup steps asks for none.
    return (
        pl.when(needed <= 0)
        .then(with_data)
        .when(with_data.is_not_null() & set_up.is_not_null())
        .then(pl.max_horizontal(with_data, set_up))
    )


def _days_since(moment: str) -> pl.Expr:
    return (pl.col("as_of").dt.date() - pl.col(moment).dt.date()).dt.total_days()


def _stage(rules: StageRules, inactive_days: int) -> pl.Expr:
    recently = rules.reactivated_within_days
    is_back = (_days_since("reactivated_at") < recently).fill_null(False)
    seen_lately = _days_since("last_active_at") < recently
    said_churned = (pl.col("status") == "churned").fill_null(False)
    # Of a status without a date it is not known what came after it, unless somebody was here just now.
    not_seen_since = (pl.col("last_active_at") <= pl.col("status_since")).fill_null(~seen_lately)
    # Once that was some time ago, they are what they are by now, whatever the CRM goes on saying.
    came_back_lately = (pl.col("last_day_before_lately") <= pl.col("status_since").dt.date()).fill_null(True)
    has_churned = (_days_since("last_active_at") >= inactive_days) | (said_churned & not_seen_since)
    furthest = {
        "customer": pl.col("is_customer"),
        "opportunity": pl.col("has_open_opportunity"),
        "pql": pl.col("is_pql"),
        "activated": pl.col("activated_at").is_not_null(),
    }
    stage = pl.lit("signed_up")
    for name, holds in reversed(furthest.items()):
        stage = pl.when(holds).then(pl.lit(name)).otherwise(stage)
    return (
        pl.when(has_churned)
        .then(pl.lit("churned"))
        .when(is_back | (said_churned & seen_lately & came_back_lately))
        .then(pl.lit("reactivated"))
        .otherwise(stage)
    )


def _furthest_ever() -> pl.Expr:
    """The funnel's stage. What somebody has reached stays reached: who churned later still closed."""
    # As with the status, a user with an account is what the account is.
    was_paying = pl.coalesce("account_was_paying", pl.col("first_paying_at").is_not_null())
    return (
        pl.when(pl.col("is_customer") | was_paying | pl.col("had_won_opportunity"))
        .then(pl.lit("closed"))
        .when(pl.col("first_pql_at").is_not_null() | pl.col("had_opportunity"))
        .then(pl.lit("pql"))
        .when(pl.col("activated_at").is_not_null())
        .then(pl.lit("activated"))
        .otherwise(pl.lit("signed_up"))
    )


def _milestones(users: pl.DataFrame) -> pl.DataFrame:
    """One row per user with a milestone: `user_id, milestones`."""
    reached = [
        users.filter(pl.col(column).is_not_null()).select(
            "user_id", name=pl.lit(name), reached_at=pl.col(column).cast(pl.Datetime("us"))
        )
        for name, column in _DATES.items()
    ]
    steps = (
        users.select("user_id", "setup_steps")
        .explode("setup_steps")
        .filter(pl.col("setup_steps").is_not_null())
        .select(
            "user_id",
            name=pl.lit("setup:") + pl.col("setup_steps").struct.field("step"),
            reached_at=pl.col("setup_steps").struct.field("reached_at").cast(pl.Datetime("us")),
        )
    )
    return (
        pl.concat([*reached, steps])
        .sort("user_id", "reached_at", "name")
        .group_by("user_id", maintain_order=True)
        .agg(milestones=pl.struct("name", "reached_at"))
    )
