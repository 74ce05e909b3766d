"""The only assembly point: every asset, check, job, schedule, sensor and resource of the code location."""

from collections.abc import Mapping
from datetime import timedelta

import dagster as dg

from dagster_project.defs import (
    actions,
    activation,
    answers,
    calibration,
    challengers,
    delivery,
    handoff_checks,
    handoffs,
    ingest,
    new_events,
    past,
    product,
    reminders,
    schedules,
    scoring,
    serving,
    transform,
)
from dagster_project.defs.resources import Workplace


def build_definitions(
    *, workplace: Workplace | None = None, loggers: Mapping[str, dg.LoggerDefinition] | None = None
) -> dg.Definitions:
    """Assemble the code location.

    Args:
        workplace: Another installation than the environment's, for tests.
        loggers: Other loggers than Dagster's own.
    """
    workplace = workplace or Workplace()
    daily, sensors = schedules.automations(automate=workplace.settings.automate)
    return dg.Definitions(
        assets=[
            ingest.moments,
            ingest.playbook_rules,
            ingest.product_events,
            ingest.crm_records,
            ingest.email_domains,
            transform.feature_models,
            scoring.scores,
            past.daily_scores,
            challengers.models,
            answers.handoff_answers,
            handoffs.handoff_decisions,
            calibration.calibration,
            delivery.delivered_handoffs,
            activation.crm_plan,
            activation.crm_fields,
            actions.crm_actions,
            product.product_traits_sent,
            serving.ledger_copy,
            *dg.map_asset_specs(_fresh_daily, [transform.mart_models, serving.serving_database]),
        ],
        asset_checks=[
            *scoring.CHECKS,
            *handoffs.CHECKS,
            *delivery.CHECKS,
            *handoff_checks.CHECKS,
            *activation.CHECKS,
            *serving.CHECKS,
        ],
        jobs=[
            schedules.score_everything,
            new_events.score_new_events,
            past.score_past_days_job,
            reminders.remind_sellers,
        ],
        schedules=[*daily, past.finishing(automate=workplace.settings.automate)],
        sensors=[*sensors, reminders.reminder_sensor(automate=workplace.settings.automate)],
        resources={"workplace": workplace},
        loggers=dict(loggers or {}),
        # One process may write a DuckDB file, so the steps of a run share one.
        executor=dg.in_process_executor,
    )


def _fresh_daily(spec: dg.AssetSpec) -> dg.AssetSpec:
    """What others rely on is made anew every day; that may be late by an hour, and not by two."""
    if spec.group_name == "reference":
        return spec
    policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26), warn_window=timedelta(hours=25))
    return spec.replace_attributes(freshness_policy=policy)


defs = build_definitions()
