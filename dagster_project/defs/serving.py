"""What SQL users read: the ledger's tables copied beside the scores, and the serving database itself."""

from collections.abc import Iterator

import dagster as dg
import duckdb

from dagster_project.defs.activation import crm_fields
from dagster_project.defs.handoffs import delivered_handoffs
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.defs.tables import replace_table
from dagster_project.defs.transform import OWNERS, mart_models
from dagster_project.warehouse import publish_serving_copy

COPIED = ("handoff_decisions", "handoffs", "deliveries")

PUBLISHED = (
    "pql_scores", "pqa_scores", "score_history", "segment_history", "handoff_decisions", "handoffs",
    "deliveries", "product_traits", "funnel", "calibration", "exclusions", "quarantine",
)  # fmt: skip
"""The tables of section 12 of the specification: they exist from the first run on."""


@dg.multi_asset(
    name="ledger_copy",
    specs=[
        dg.AssetSpec(
            ["ops", table],
            deps=[delivered_handoffs, crm_fields],
            group_name="serving",
            owners=OWNERS,
            kinds={"duckdb"},
            description=f"The ledger's {table}, copied so that SQL can join it. One row as in the ledger.",
        )
        for table in COPIED
    ],
    pool=WAREHOUSE_POOL,
)
def ledger_copy(workplace: Workplace) -> Iterator[dg.MaterializeResult]:
    """Copy the ledger's tables into the warehouse."""
    with workplace.ledger() as ledger:
        frames = {table: ledger.read_frame(table) for table in COPIED}
    with workplace.connect() as connection:
        for table, frame in frames.items():
            replace_table(connection, f"ops.{table}", frame)
    for table, frame in frames.items():
        yield dg.MaterializeResult(["ops", table], metadata={"dagster/row_count": frame.height})


@dg.asset(
    key=["serving", "serving_database"],
    deps=[mart_models],
    group_name="serving",
    owners=OWNERS,
    kinds={"duckdb", "file"},
    pool=WAREHOUSE_POOL,
)
def serving_database(workplace: Workplace) -> dg.MaterializeResult:
    """`serving.duckdb`, replaced in one piece: analysts read it while the next run writes the warehouse."""
    settings = workplace.settings
    publish_serving_copy(settings.warehouse, settings.serving)
    size = settings.serving.stat().st_size
    return dg.MaterializeResult(metadata={"path": str(settings.serving), "megabytes": round(size / 1e6, 1)})


@dg.asset_check(asset=["serving", "serving_database"], blocking=False)
def every_published_table_is_there(workplace: Workplace) -> dg.AssetCheckResult:
    """All tables of the contract can be read from the serving copy."""
    with duckdb.connect(str(workplace.settings.serving), read_only=True) as serving:
        found = {
            name
            for (name,) in serving.sql(
                "select table_name from information_schema.tables where table_schema = 'marts'"
            ).fetchall()
        }
    missing = sorted(set(PUBLISHED) - found)
    return dg.AssetCheckResult(passed=not missing, metadata={"missing": missing})


CHECKS = [every_published_table_is_there]
