"""What the CRM knows of accounts and people, into the product: `product_traits`, sent where they change."""

from typing import Any

import dagster as dg
import duckdb
import polars as pl

from dagster_project.activation import SendRules, send_plan
from dagster_project.clients.product import Product
from dagster_project.core.crm_field_rules import CrmFieldRules
from dagster_project.core.sync import Target
from dagster_project.crm_troubles import troubles_of
from dagster_project.defs.activation import result_metadata
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace, begun_by
from dagster_project.defs.transform import OWNERS
from dagster_project.field_plans import give_up_gone, plan_fields
from dagster_project.left_over import drop_taken, put_off, take_up, taken
from dagster_project.no_contact import contactable
from dagster_project.refresh import LIVE, current_refresh
from dagster_project.warehouse import rows_where

TARGET = Target({name: name for name in ("owner", "contract_value", "segment", "custom_fields")}, clears=True)
"""The CRM is read whole: what it does not have is known to be nothing."""
_SUBJECTS_CONCERNED = (
    "select 'user' as subject_type, user_id as subject_id from scores.rescored_users union all "
    "select 'account', account_id from scores.rescored_accounts union all "
    + " union all ".join(
        f"select '{kind}', object_id from ({taken(Product.name, kind)})" for kind in ("user", "account")
    )
)
_CONCERNED = (
    # The first half goes without saying; a scan is filtered by it.
    f"subject_id in (select subject_id from ({_SUBJECTS_CONCERNED})) "
    f"and (subject_type, subject_id) in ({_SUBJECTS_CONCERNED})"
)
_NOT_TO_BE_SOLD = "select key from intermediate.int_crm_no_contact where entity = 'contacts' and do_not_sell"


@dg.asset(
    key=["product", "traits"],
    deps=[["marts", "product_traits"]],
    group_name="serving",
    owners=OWNERS,
    kinds={"segment"},
    pool=WAREHOUSE_POOL,
)
def product_traits_sent(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """`marts.product_traits` in the product, as Segment's identify and group calls, only where they have changed.

    Sent to PLS_PRODUCT_URL; nowhere while that is not set. Its deliveries are published by the next run.
    """
    settings, rules = workplace.settings, workplace.playbook.crm_fields
    if settings.product_url is None:
        return dg.MaterializeResult(metadata={"sent to": "nowhere: PLS_PRODUCT_URL is not set"})
    with workplace.connect(stays_open=True) as connection:
        is_full = current_refresh(connection, begun_by(context.run)).is_full
        again = take_up(connection, Product.name, everything=is_full, held_too=True)
        desired = wanted_traits(connection, rules, is_full=is_full)
    product = Product(settings.product_url, settings.product_key, now=workplace.now)
    results = {}
    with workplace.ledger() as ledger:
        for kind, rows in desired.items():
            if is_full:
                give_up_gone(ledger, product.name, kind, rows["object_id"].to_list(), workplace.now())
            plan = plan_fields(ledger, product, kind, rows, target=TARGET)
            sending = SendRules(rules.resends)  # what was sent can't be read back
            results[kind] = send_plan(ledger, product, kind, plan, rules=sending, now=workplace.now())
    if again or any(result.left for result in results.values()):
        # Only then: a large warehouse that was closed meanwhile takes longer to open than all of it.
        with workplace.connect(stays_open=True) as connection:
            drop_taken(connection, Product.name)
            for kind, result in results.items():
                put_off(connection, Product.name, kind, result.left)
    troubles = troubles_of(results, rules, None)
    for trouble in troubles:
        context.log.warning(trouble)
    if troubles and is_full:
        raise dg.Failure("\n".join(troubles), metadata=result_metadata(results))
    metadata: dict[str, Any] = {"sent to": settings.product_url, **result_metadata(results)}
    return dg.MaterializeResult(metadata=metadata)


def wanted_traits(
    connection: duckdb.DuckDBPyConnection, rules: CrmFieldRules, *, is_full: bool
) -> dict[str, pl.DataFrame]:
    """What the product should know, by object type: all of it, or what the last delta touched and has taken up."""
    traits = connection.sql(
        "select subject_type, subject_id as object_id, owner, cast(contract_value as double) as contract_value, "
        "segment, cast(custom_fields as varchar) as custom_fields from marts.product_traits "
        f"where {'true' if is_full else _CONCERNED} and not (subject_type = 'user' and subject_id in "
        f"(select user_id from features.user_features where {LIVE} and contact_id in ({_NOT_TO_BE_SOLD})))"
    ).pl()
    if rules.traits_of_no_contact == "skip":
        again = f"user_id in (select subject_id from ({_SUBJECTS_CONCERNED}) where subject_type = 'user')"
        those = rows_where("features.user_features", again)
        may = contactable(connection, whose="true" if is_full else those).select(
            object_id="user_id", is_welcome=pl.lit(True)
        )
        traits = traits.join(may, on="object_id", how="left").filter(
            (pl.col("subject_type") == "account") | pl.col("is_welcome")
        )
    return {kind: traits.filter(pl.col("subject_type") == kind).drop("subject_type") for kind in ("account", "user")}
