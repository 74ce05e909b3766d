"""The model of ``assistant.yml``: which tools an AI assistant has, and how far each of them reaches.

What a tool does is in ``tools/``; here is only what it is allowed.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator

from dagster_project.core.strict import Count, SomeHours, StrictModel

MetricName = Literal[
    "feature_usage_by_user",
    "session_frequency",
    "team_invites",
    "integration_connections",
    "upgrade_page_views",
    "sessions_per_week",
    "features_used",
    "minutes_per_week",
    "actions",
    "integrations",
    "data_imported",
    "setup_share",
    "pricing_page_view",
    "upgrade_click",
    "plan_comparison",
    "limit_support_contact",
    "invoice_download",
    "api_key_generated",
]
CustomerPart = Literal["users", "usage", "firmographics", "opportunities", "owner"]
NotificationType = Literal["pql_alert", "pqa_alert"]
ObjectType = Literal["contact", "account"]


class Rules(StrictModel):
    """A model whose keys are the tools' own names."""

    model_config = ConfigDict(populate_by_name=True)


class MetricsRule(StrictModel):
    """Which metrics may be asked for."""

    metrics: tuple[MetricName, ...] = Field(min_length=1)


class CustomerRule(StrictModel):
    """Which parts of an account may be asked for."""

    include: tuple[CustomerPart, ...] = Field(min_length=1)


class AskRule(StrictModel):
    """Which questions of docs/sql.md may be asked, by name."""

    questions: tuple[str, ...] = Field(min_length=1)


class Listed(StrictModel):
    """A tool that is there or not."""


class Reads(Rules):
    """The reading tools; None is one that does not exist."""

    get_metrics: MetricsRule | None = Field(default=None, alias="analytics.get_metrics")
    get_customer_data: CustomerRule | None = Field(default=None, alias="crm.get_customer_data")
    get_segment: Listed | None = Field(default=None, alias="lifecycle.get_segment")
    get_hottest: Listed | None = Field(default=None, alias="leads.get_hottest")
    assess: Listed | None = Field(default=None, alias="leads.assess")
    explain: Listed | None = Field(default=None, alias="alerts.explain")
    ask: AskRule | None = Field(default=None, alias="analytics.ask")


class NotificationRule(StrictModel):
    """Where to and what about; a channel has the assistant's name and the chat's."""

    channels: dict[str, str] = Field(min_length=1)
    types: tuple[NotificationType, ...] = Field(min_length=1)
    confirm: bool = True


class RecordRule(StrictModel):
    """Which fields of which objects, under the CRM's names; ``signature`` names a field that is told who asked."""

    fields: dict[ObjectType, tuple[str, ...]] = Field(min_length=1)
    signature: dict[ObjectType, str] = {}
    confirm: bool = True

    @field_validator("fields")
    @classmethod
    def _some_fields(cls, fields: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        for object_type, names in fields.items():
            if not names:
                raise ValueError(f"{object_type}: expected at least one field, or no {object_type} at all")
        return fields


class Writes(Rules):
    """The writing tools; None is one that does not exist."""

    send_notification: NotificationRule | None = Field(default=None, alias="messaging.send_notification")
    update_record: RecordRule | None = Field(default=None, alias="crm.update_record")


class PersonalData(StrictModel):
    """Columns that are not shown as they are."""

    masked: frozenset[str]


class Limits(StrictModel):
    """How much one call may take."""

    rows: Count
    seconds: Annotated[float, Field(gt=0)]
    memory_mb: Annotated[int, Field(ge=64)]
    plan_minutes: Annotated[float, Field(gt=0)]
    write_within_hours: SomeHours
    writes_per_hour: Count


class AssistantRules(StrictModel):
    """``assistant.yml``."""

    reads: Reads
    writes: Writes
    personal_data: PersonalData
    limits: Limits
