"""`analytics.get_metrics`: what a user did, in numbers; the same ones that the PQL score is made of (section 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from dagster_project.core.assistant_rules import MetricsRule
from dagster_project.core.handoff_rules import SignalText
from dagster_project.tools.desk import Desk, Name, Result, Tool, arguments, one_of, some_of
from dagster_project.tools.subjects import Row, user

NAME = "analytics.get_metrics"


@dataclass(frozen=True)
class _Measure:
    """Where a metric is found, which signal of the score it is, and over which time it is measured."""

    column: str
    unit: str
    signal: str | None = None
    measured: Literal["in the period", "to date"] = "in the period"


_MEASURES: Mapping[str, _Measure] = {
    "feature_usage_by_user": _Measure("features_used", "features", "features_used"),
    "session_frequency": _Measure("sessions_per_week", "sessions per week", "sessions_per_week"),
    "team_invites": _Measure("team_invites", "invites", "team_invites"),
    "integration_connections": _Measure("integrations_connected", "integrations", "integrations", "to date"),
    "upgrade_page_views": _Measure("upgrade_page_view", "views"),
    "sessions_per_week": _Measure("sessions_per_week", "sessions per week", "sessions_per_week"),
    "features_used": _Measure("features_used", "features", "features_used"),
    "minutes_per_week": _Measure("minutes_per_week", "minutes per week", "minutes_per_week"),
    "actions": _Measure("actions", "actions", "actions"),
    "integrations": _Measure("integrations_connected", "integrations", "integrations", "to date"),
    "data_imported": _Measure("data_imported", "none, some or full", "data_imported", "to date"),
    "setup_share": _Measure("setup_share", "share of set-up steps", "setup_share", "to date"),
    "pricing_page_view": _Measure("pricing_page_view", "views", "pricing_page_view"),
    "upgrade_click": _Measure("upgrade_click", "clicks", "upgrade_click"),
    "plan_comparison": _Measure("plan_comparison", "comparisons", "plan_comparison"),
    "limit_support_contact": _Measure("limit_support_contact", "events and tickets", "limit_support_contact"),
    "invoice_download": _Measure("invoice_download", "downloads", "invoice_download"),
    "api_key_generated": _Measure("api_key_generated", "keys", "api_key_generated"),
}


class Metric(Result):
    """One metric of one user."""

    metric: str
    value: float | str = Field(description="A number; of data_imported a word")
    unit: str
    measured: str = Field(description="in the period, or to date")
    names: list[str] | None = Field(default=None, description="Which features or integrations")
    tier: str | None = Field(default=None, description="low, medium or high; of a signal of the score")
    points: float | None = Field(default=None, description="What the signal earns; each component divides by its most")
    meaning: str | None = Field(default=None, description="What the tier says about a lead")


class Metrics(Result):
    """Metrics of one user."""

    user_id: str
    period: str
    from_day: date
    as_of: datetime = Field(description="Nothing later counts; UTC")
    metrics: list[Metric]


def get_metrics_tool(rule: MetricsRule, *, window_days: int) -> Tool:
    """The tool with the metrics that the whitelist names."""
    period = f"{window_days}d"
    return Tool(
        name=NAME,
        title="Product usage of a user",
        description=(
            "What one user did in the product, as numbers, with what each means for a lead. Use it to back up a claim "
            f"about usage. Ask for several metrics in one call. The period is {period}, the window that scores look at."
        ),
        arguments=arguments(
            NAME,
            metrics=(
                some_of(rule.metrics),
                Field(description="Which metrics"),
            ),
            user_id=(
                Name,
                Field(description="The product's id of the user"),
            ),
            period=(one_of([period]), Field(default=period, description="The only one that is kept")),
        ),
        result=Metrics,
        run=get_metrics,
    )


def get_metrics(desk: Desk, *, metrics: list[str], user_id: str, period: str) -> Metrics:
    """The metrics of a user, each once, in the order they were asked for."""
    found = user(desk.serving, user_id)
    days = desk.playbook.scoring.measurement.window_days
    return Metrics(
        user_id=user_id,
        period=period,
        from_day=found["as_of"].date() - timedelta(days=days - 1),
        as_of=found["as_of"],
        metrics=[_metric(name, found, desk.playbook.handoffs.package.signals) for name in dict.fromkeys(metrics)],
    )


def _metric(name: str, found: Mapping[str, Any], texts: Mapping[str, SignalText]) -> Metric:
    measure = _MEASURES[name]
    value = found[measure.column]
    names = list(value or ()) if isinstance(value, list) or value is None else None
    entry: Row = next((e for e in found["explanation"] or () if e["signal"] == measure.signal), {})
    text = texts.get(measure.signal or "")
    means = text.means if text else None
    if names is not None:
        # Of integrations without a name there is a number and no name.
        value = max(len(names), found["integrations"] or 0) if measure.signal == "integrations" else len(names)
    return Metric(
        metric=name,
        value=round(value, 2) if isinstance(value, float) else value,
        unit=measure.unit,
        measured=measure.measured,
        names=names,
        tier=entry.get("tier"),
        points=entry.get("points"),
        meaning=(means if isinstance(means, str) else (means or {}).get(str(entry.get("tier")))) if value else None,
    )
