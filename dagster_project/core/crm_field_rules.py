"""The model of ``crm_fields.yml``: which of our fields is which of the CRM's. Their values are in ``crm_fields``."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from dagster_project.core.strict import StrictModel

ContactField = Literal[
    "pql_score",
    "pql_classification",
    "last_active",
    "features_used",
    "activation_status",
    "activation_milestones",
    "usage_tier",
    "pls_segment",
    "pls_motion",
    "pls_top_signals",
    "pls_scored_at",
    "pause_nurture",
]
AccountField = Literal["pqa_score", "pqa_quadrant", "pls_segment", "active_users_30d", "account_tier", "pls_scored_at"]


class CrmFieldRules(StrictModel):
    """``crm_fields.yml``.

    Attributes:
        top_signals: How many of the strongest signals of a score are told.
        account_tiers: The values of the CRM's `account_tier`, the lowest first.
        contact: Our field -> the CRM's name; null or absent means that it is not written.
        account: The same for accounts.
    """

    top_signals: Annotated[int, Field(ge=1)]
    account_tiers: tuple[str, ...] = ()
    contact: dict[ContactField, str | None]
    account: dict[AccountField, str | None]

    @field_validator("contact", "account")
    @classmethod
    def _one_field_each(cls, names: Mapping[str, str | None]) -> Mapping[str, str | None]:
        taken: dict[str, str] = {}
        for ours, theirs in names.items():
            if theirs is None:
                continue
            if not theirs.strip():
                raise ValueError(f"{ours}: expected a field name of the CRM, or null to leave it alone")
            if theirs in taken:
                raise ValueError(f"{taken[theirs]} and {ours} are both written to {theirs}: expected one field each")
            taken[theirs] = ours
        return names
