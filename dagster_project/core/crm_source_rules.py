"""The model of ``crm_sources.yml``: how a connected CRM is read. Who speaks to it is `clients/`."""

import json
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, field_validator

from dagster_project.core.strict import SomeDays, StrictModel

Team = Literal["ae", "sdr", "enterprise_sdr", "csm", "sales"]


def _a_team(name: str) -> str:
    if name not in get_args(Team):
        raise ValueError(f"found {name!r}, expected a team: {', '.join(get_args(Team))}")
    return name


TeamName = Annotated[str, AfterValidator(_a_team)]
"""A team as a key."""
KEYS: Mapping[str, str] = {
    "accounts": "account_id",
    "contacts": "contact_id",
    "opportunities": "opportunity_id",
    "owners": "owner_id",
    "tickets": "ticket_id",
}
"""The column that a row of an entity is known by. Section 2.3."""
COLUMNS: Mapping[str, Collection[str]] = {
    "accounts": (
        "name", "domain", "employee_count", "industry", "tech_stack", "department_count", "estimated_acv",
        "contract_value", "account_tier", "owner_id", "lifecycle_stage", "plan", "subscription_status",
        "is_target_account", "do_not_contact", "segment_override",
    ),
    "contacts": (
        "email", "name", "role", "department", "account_id", "lifecycle_stage", "email_opt_out", "do_not_contact",
        "do_not_sell", "owner_id",
    ),
    "opportunities": (
        "account_id", "contact_id", "stage", "is_closed", "is_won", "amount", "created_at", "closed_at",
    ),
    "owners": ("name", "email", "team", "slack_user_id"),
    "tickets": ("contact_id", "email", "category", "subject", "created_at", "status"),
}  # fmt: skip
"""What may be read from fields of the CRM; keys and `updated_at` it gives by itself. Section 2.3."""
IN_FILES: Mapping[str, Collection[str]] = {
    "accounts": ("custom_fields",),
    "owners": ("is_active",),
    "tickets": ("account_id",),
}
"""What files may say beside that."""
NO_CONTACT_COLUMNS: Mapping[str, Collection[str]] = {
    "contacts": ("email_opt_out", "do_not_contact"),
    "accounts": ("do_not_contact",),
}
"""Those that say who must not be contacted: while one of them is not there, handoffs are held."""
OBJECTIONS = ("email_opt_out", "do_not_contact", "do_not_sell")
"""All in which somebody says no to something. What can't be read there counts as a no."""
OF_PEOPLE: Mapping[str, Mapping[str, Collection[str]]] = {
    "contact": {
        "contacts": (
            "contact_id", "email", "account_id", "email_opt_out", "do_not_contact", "do_not_sell", "owner_id",
        ),
    },
    "account": {"accounts": ("account_id", "domain", "do_not_contact", "owner_id", "segment_override")},
}  # fmt: skip
"""By object type and entity: keys, consent, and what decides who gets a lead. A person changes these, in the CRM."""
LIMITS = "limits"


class CrmSource(StrictModel):
    """What is what in one CRM.

    Attributes:
        columns: Per entity, our column -> the CRM's field; null or absent means that it stays empty.
        custom_fields: Fields of accounts that are gathered in `custom_fields`.
        limit_categories: Categories of tickets that are about limits.
        teams: The CRM's word for an owner's team -> ours; ours themselves need no entry.
    """

    columns: dict[str, dict[str, str | None]]
    custom_fields: tuple[str, ...] = ()
    limit_categories: tuple[str, ...] = ()
    teams: dict[str, Team] = {}

    @field_validator("columns")
    @classmethod
    def _our_columns(cls, columns: dict[str, dict[str, str | None]]) -> dict[str, dict[str, str | None]]:
        for entity, names in columns.items():
            if entity not in COLUMNS:
                raise ValueError(f"unknown entity {entity}: expected some of {', '.join(COLUMNS)}")
            unknown = sorted(set(names) - set(COLUMNS[entity]))
            if unknown:
                known = ", ".join(sorted(COLUMNS[entity]))
                raise ValueError(f"{entity}: unknown columns {', '.join(unknown)}: expected some of {known}")
        return columns

    def fields_of(self, entity: str) -> dict[str, str]:
        """Our column -> the CRM's field, for those that are read."""
        return {ours: theirs for ours, theirs in self.columns.get(entity, {}).items() if theirs}

    def mapping_of(self, entity: str) -> dict[str, Any]:
        """All that says how rows of an entity are made of the CRM's fields."""
        mapping: dict[str, Any] = {"columns": self.fields_of(entity)}
        match entity:
            case "accounts":
                mapping["custom_fields"] = list(self.custom_fields)
            case "owners":
                mapping["teams"] = dict(self.teams)
            case "tickets":
                mapping["limit_categories"] = list(self.limit_categories)
        return mapping

    def lacking(self, entity: str, there: Collection[str]) -> list[str]:
        """The CRM's fields that an entity is to be made of and that are not among those that are there."""
        custom = self.custom_fields if entity == "accounts" else ()
        return sorted({*self.fields_of(entity).values(), *custom} - set(there))

    def team(self, said: Any) -> str | None:
        """Our word for a team; None if it is none of ours."""
        word = str(said or "")
        by_word = {theirs.strip().lower(): ours for theirs, ours in self.teams.items()}
        ours = word.strip().lower().replace(" ", "_")
        return by_word.get(word.strip().lower()) or next((team for team in get_args(Team) if team == ours), None)

    def category(self, said: Any) -> str | None:
        """Our word for a ticket's category: `limits`, or the CRM's own in lower case; None for what says nothing."""
        word = str(said or "")
        if not word:
            return None
        about_limits = {category.strip().lower() for category in self.limit_categories} | {LIMITS}
        return LIMITS if word.strip().lower() in about_limits else word.strip().lower()


class CrmSourceRules(StrictModel):
    """``crm_sources.yml``.

    Attributes:
        extract_every_minutes: How old what is known of the CRM gets before it is asked again.
        overlap_minutes: How far each extract reaches back before the one before it: the CRM's search lags behind.
        full_every_days: After how many days everything is read again, which also shows what was erased for good.
        daily_reserve: Share of the API's daily requests that is left to others, 0..1.
        systems: By name of a connector.
    """

    extract_every_minutes: Annotated[float, Field(ge=0)]
    overlap_minutes: Annotated[float, Field(gt=0)]
    full_every_days: SomeDays
    daily_reserve: Annotated[float, Field(ge=0, lt=1)]
    systems: dict[str, CrmSource]

    def fields_of_people(self, object_type: str) -> dict[str, str]:
        """What nobody but a person writes: a field of a CRM in small letters -> which of our columns it is.

        Args:
            object_type: `contact` or `account`.
        """
        found: dict[str, str] = {}
        for entity, columns in OF_PEOPLE[object_type].items():
            for source in self.systems.values():
                theirs = source.fields_of(entity)
                found |= {theirs[column].lower(): column for column in columns if column in theirs}
            found |= {column: column for column in columns}  # the embedded CRM's own names
        return found

    def mapping_of(self, system: str, entity: str) -> dict[str, Any]:
        """See `CrmSource.mapping_of`; nothing for a system that is not here."""
        return self.systems[system].mapping_of(entity) if system in self.systems else {}


def fields_text(mapping: Mapping[str, Any], missing: Collection[str] | None) -> str:
    """What rows are made of, as a text that is another one when they are made of something else.

    Args:
        mapping: From `CrmSource.mapping_of`.
        missing: The fields that the CRM does not have; None if it could not be asked.
    """
    lacks = None if missing is None else sorted(missing)
    return json.dumps({"mapping": mapping, "missing": lacks}, sort_keys=True)


def is_of_mapping(fields: str | None, mapping: Mapping[str, Any]) -> bool:
    """Whether a text from `fields_text` is about this mapping."""
    return fields is not None and json.loads(fields)["mapping"] == mapping
