"""The model of ``crm_fields.yml``: which of our fields is which of the CRM's. Their values are in ``crm_fields``."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dagster_project.core.crm_fields import ORDERS
from dagster_project.core.strict import Count, StrictModel
from dagster_project.core.sync import Policy, Target

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
    "pls_playbook",
    "pls_next_step",
]
AccountField = Literal["pqa_score", "pqa_quadrant", "pls_segment", "active_users_30d", "account_tier", "pls_scored_at"]


class Policies(StrictModel):
    """When a field is written, by our field; absent is `always`."""

    contact: dict[ContactField, Policy] = {}
    account: dict[AccountField, Policy] = {}


class RefusalLimit(StrictModel):
    """From when on refused records fail a run.

    Attributes:
        share: Of the records that were sent, 0..1.
        at_least: Refused records below which a share says nothing.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.05
    at_least: Count = 10


class CrmFieldRules(StrictModel):
    """``crm_fields.yml``.

    Attributes:
        top_signals: How many of the strongest signals of a score are told.
        account_tiers: The values of the CRM's `account_tier`, the lowest first.
        contact: Our field -> the CRM's name; null or absent means that it is not written.
        account: The same for accounts.
        policies: When a field is written over what stands there.
        create_contacts_of: Classes of users who get a contact when the CRM has none.
        no_contact: Whether our fields are written to contacts that must not be contacted: `write` or `skip`.
        traits_of_no_contact: The same of the traits that the product gets.
        max_changed_records: By CRM, or `other`: how many records one run changes without somebody's yes; null is any.
        refused: From when on refused records fail a run.
        resends: How often a request without an answer is sent again in the same run.
        verify_sample: How many written records per object type are read back.
    """

    top_signals: Count
    account_tiers: tuple[str, ...] = ()
    contact: dict[ContactField, str | None]
    account: dict[AccountField, str | None]
    policies: Policies = Policies()
    create_contacts_of: tuple[Literal["hot", "warm", "developing", "not_ready"], ...] = ()
    no_contact: Literal["write", "skip"] = "write"
    traits_of_no_contact: Literal["write", "skip"] = "skip"
    max_changed_records: dict[
        Literal["local", "hubspot", "salesforce", "other"], Annotated[int, Field(ge=0)] | None
    ] = {"local": None, "other": 5000}
    refused: RefusalLimit = RefusalLimit()
    resends: Annotated[int, Field(ge=0, le=5)] = 2
    verify_sample: Annotated[int, Field(ge=0)] = 20

    def targets(self) -> dict[str, Target]:
        """How contacts and accounts are written, by object type."""
        orders = {**ORDERS, "account_tier": self.account_tiers}
        return {
            "contact": Target(self.contact, {**self.policies.contact}, orders),
            "account": Target(self.account, {**self.policies.account}, orders),
        }

    def changes_allowed(self, crm: str) -> int | None:
        """How many records of this CRM one run changes without somebody's yes, None for any number."""
        limits: Mapping[Any, int | None] = self.max_changed_records
        return limits.get(crm, limits.get("other"))

    @model_validator(mode="after")
    def _policies_make_sense(self) -> "CrmFieldRules":
        ranked = {
            "pql_score",
            "pqa_score",
            "active_users_30d",
            *ORDERS,
            *(["account_tier"] if self.account_tiers else []),
        }
        for kind, policies in (("contact", self.policies.contact), ("account", self.policies.account)):
            for ours, policy in policies.items():
                if policy == "if_higher" and ours not in ranked:
                    raise ValueError(
                        f"policies.{kind}.{ours} is if_higher, and its values have no order: "
                        "expected always or if_empty"
                    )
        return self

    @field_validator("account_tiers")
    @classmethod
    def _each_once(cls, tiers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tiers)) < len(tiers):
            raise ValueError(f"found {', '.join(tiers)}, expected each tier once, the lowest first")
        return tiers

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
