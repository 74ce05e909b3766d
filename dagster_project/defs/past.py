"""Past days as partitions: each day's scores can be made again by itself, many of them in one run."""

from datetime import date, timedelta

import dagster as dg
import duckdb

from dagster_project.core.models import models_of
from dagster_project.core.playbook import Playbook
from dagster_project.daily_scores import create_daily_scores
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.defs.scoring import DAILY_SCORES_KEY
from dagster_project.defs.tables import shown_table
from dagster_project.defs.transform import OWNERS, published_columns, sql_settings
from dagster_project.event_catalog import CATALOGUE
from dagster_project.past_days import (
    PastDaysError,
    Stock,
    check_standing,
    days_to_score,
    inputs_of,
    missing_days,
    score_past_days,
)
from dagster_project.transform import rollup_definition
from dagster_project.unpublished import forget_published

SCORE_PAST_DAYS = "score_past_days"
DAYS = dg.DailyPartitionsDefinition(start_date="2020-01-01")
SERVING = dg.AssetKey(["serving", "serving_database"])
ONLY_MISSING = "pls/only_missing_days"
"""A tag of runs that leave out the days that were done from the same inputs."""


@dg.asset(
    key=DAILY_SCORES_KEY,
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[["intermediate", "int_user_days"], ["intermediate", "int_crm_versions"]],
    group_name="scoring",
    owners=OWNERS,
    kinds={"duckdb", "polars"},
    pool=WAREHOUSE_POOL,
)
def daily_scores(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """What everybody was at the end of each day, by what was known then. One row per subject, day and model version.

    Full runs add their own day; a day that is over is made here, whole, from the rollups, by the champion and by each
    challenger.
    """
    days = _days_of(context)
    playbook, settings = workplace.playbook, workplace.settings
    definition = rollup_definition(sql_settings(playbook))
    models = {model.version: model.playbook for model in models_of(playbook, CATALOGUE.read_text(encoding="utf-8"))}
    try:
        with workplace.connect() as connection:
            last = check_standing(connection, definition)
            if days[-1] > last:
                raise PastDaysError(f"{days[-1]} is not over in what was loaded: the last day that is, is {last}")
            forget_published(connection)
            create_daily_scores(connection, settings.serving)
            inputs = inputs_of(connection, playbook, definition)
            if ONLY_MISSING in context.run.tags:
                period_days = playbook.calibration.period_days
                days, behind = missing_days(connection, days, list(models), inputs, period_days=period_days)
                models = {version: models[version] for version in behind}
        stock = Stock(workplace.connect, settings.warehouse, settings.dbt_target)
        written = score_past_days(stock, models, days, inputs=inputs, say=context.log.info)
    except PastDaysError as error:
        raise dg.Failure(str(error)) from error
    with workplace.connect() as connection:
        shown = shown_table(connection, "scores.daily_scores", published_columns("daily_scores"))
    selected = context.run.asset_selection
    published = "by this run" if selected is None or SERVING in selected else f"when {SERVING.path[-1]} is made next"
    told: dict[str, int | str] = {"days scored": len(days), "rows written": written, "published": published}
    return dg.MaterializeResult(metadata={**told, **shown})


def _days_of(context: dg.AssetExecutionContext) -> list[date]:
    if not (context.has_partition_key or context.has_partition_key_range):
        raise dg.Failure(f"no day was chosen: launch {SCORE_PAST_DAYS} for a partition, or use `pls backfill`")
    days = [date.fromisoformat(key) for key in context.partition_keys]
    if not days:
        asked = context.partition_key_range
        raise dg.Failure(f"the first day ({asked.start}) is after the last ({asked.end})")
    return days


def partitions_of(
    connection: duckdb.DuckDBPyConnection, playbook: Playbook, first: date | None, last: date | None
) -> tuple[date, date]:
    """First and last day of a backfill, checked.

    Args:
        connection: The warehouse.
        playbook: The rules.
        first: None for the day of the first event.
        last: None for the last day that is over.

    Raises:
        PastDaysError: There are no such days.
    """
    over = check_standing(connection, rollup_definition(sql_settings(playbook)))
    if last and last > over:
        raise PastDaysError(f"{last} is not over in what was loaded: the last day that is, is {over}")
    found = days_to_score(connection, first, last or over)
    known = DAYS.get_first_partition_key(), DAYS.get_last_partition_key()
    if first is None:  # an event without a real date, of 1970 for example, is no day to begin with
        found = max(found[0], date.fromisoformat(str(known[0]))), found[1]
    for day in found:
        if not str(known[0]) <= str(day) <= str(known[1]):
            raise PastDaysError(f"{day} is outside of the days that can be scored, {known[0]} to {known[1]}")
    return found


def finishing(*, automate: bool) -> dg.ScheduleDefinition:
    """The schedule that makes yesterday whole: what a run of that day kept stands as of that run."""
    return dg.ScheduleDefinition(
        name="yesterdays_scores",
        job=score_past_days_job,
        cron_schedule="35 0 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if automate else dg.DefaultScheduleStatus.STOPPED,
        description="After the daily refresh: yesterday's scores as of its end.",
        execution_fn=lambda context: dg.RunRequest(
            partition_key=str(context.scheduled_execution_time.date() - timedelta(days=1))
        ),
    )


score_past_days_job = dg.define_asset_job(
    SCORE_PAST_DAYS,
    selection=dg.AssetSelection.assets(DAILY_SCORES_KEY, SERVING).without_checks(),
    description="Score days that are over from the rollups, by what was known then, and publish them.",
)
