"""The models that score side by side. The champion's scores are published and acted upon; challengers' are only kept.

Full runs alone score challengers: what a delta costs doesn't grow with them.
"""

from datetime import date

import dagster as dg
import duckdb
import polars as pl

from dagster_project.core.models import Model, models_of
from dagster_project.core.pqa import grade_accounts
from dagster_project.core.pql import grade_users
from dagster_project.core.segments import segment_accounts, segment_users
from dagster_project.daily_measures import keep_measures
from dagster_project.daily_scores import ScoredDay, add_rows, forget_days, record_days
from dagster_project.defs.calibration import GROUP
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace, begun_by
from dagster_project.defs.tables import markdown_table, replace_table, shown_table
from dagster_project.defs.transform import OWNERS, published_columns
from dagster_project.event_catalog import CATALOGUE
from dagster_project.refresh import LIVE, current_refresh
from dagster_project.warehouse import transaction

_MEASURED = (
    "select * replace (len(features_used) as features_used), date '{day}' as from_day, date '{day}' + 1 as to_day "
    f"from features.user_features where {LIVE}"
)
_MODELS = pl.Schema(
    {
        **dict.fromkeys(("name", "role", "model_version", "about", "judged_on"), pl.String()),
        "segments": pl.List(pl.String),
    }
)


@dg.asset(
    key=["scores", "models"],
    deps=[["scores", "pql_scores"], ["scores", "pqa_scores"]],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"duckdb", "polars"},
    pool=WAREHOUSE_POOL,
)
def models(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """Champion and challengers; challengers score everybody here, into the day's scores. One row per model.

    What was measured is kept too, where the day is the first of a period: calibration tries other tiers on it.
    """
    found = models_of(workplace.playbook, CATALOGUE.read_text(encoding="utf-8"))
    rows = [
        (m.name, "champion" if m.is_champion else "challenger", m.version, m.about, m.judged_on.deals,
         list(m.judged_on.segments))
        for m in found
    ]  # fmt: skip
    table = pl.DataFrame(rows, schema=_MODELS, orient="row")
    with workplace.connect(stays_open=True) as connection:
        until = current_refresh(connection, begun_by(context.run)).until
        with transaction(connection):
            if challengers := found[1:]:
                _score(connection, challengers, ScoredDay(until.date(), "", until))
            replace_table(connection, "scores.models", table)
            measured = _MEASURED.format(day=until.date())
            keep_measures(connection, [until.date()], measured, workplace.playbook.calibration.period_days)
        shown = shown_table(connection, "scores.models", published_columns("models"))
    return dg.MaterializeResult(metadata={"models": markdown_table(table), **shown})


def _score(connection: duckdb.DuckDBPyConnection, challengers: list[Model], today: ScoredDay) -> None:
    """Keep what challengers say of everybody at the live moment, as the champion's own day is kept."""
    measured = f"from features.{{}} where {LIVE} order by {{}}"
    accounts = connection.sql(measured.format("account_features", "account_id")).pl()
    users = connection.sql(
        "select * replace (len(features_used) as features_used) " + measured.format("user_features", "user_id")
    ).pl()
    for model in challengers:
        rules, version = model.playbook, model.version
        placed = segment_accounts(accounts, rules.segments)
        of_company = segment_users(users, placed, rules.segments)
        forget_days(connection, [today.day], version)
        graded = grade_accounts(placed, rules.scoring)
        add_rows(connection, _who(placed, "account_id", today.day), graded, subject="account", version=version)
        graded = grade_users(of_company, rules.scoring)
        add_rows(connection, _who(of_company, "user_id", today.day), graded, subject="user", version=version)
        record_days(connection, [ScoredDay(today.day, version, today.as_of)])


def _who(scored: pl.DataFrame, key: str, day: date) -> pl.DataFrame:
    return scored.select("account_id", "segment", subject_id=key, day=pl.lit(day))
