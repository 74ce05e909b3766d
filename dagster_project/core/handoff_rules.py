"""The models of ``handoffs.yml`` and ``routing.yml``: when sales is called, who, and what they are told.

Here are the settings and the checks that name what was expected. How a trigger is measured is in
``triggers``, what is decided about it in ``decisions``, and who receives it in ``routing``.
"""

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import date, datetime, time
from functools import cached_property
from string import Formatter
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from dagster_project.core.crm_source_rules import Team, TeamName
from dagster_project.core.scoring_rules import CLASSES, AccountMeasure, Classification, IntentSignal, UserMeasure
from dagster_project.core.strict import MOST_DAYS, Count, SomeHours, StrictModel, TimeZone

Priority = Literal["P0", "P1", "P2"]
HandoffType = Literal[
    "immediate outreach",
    "sales call",
    "account executive",
    "SDR research",
    "CSM or sales",
    "automated and human",
]
TriggerKey = Literal[
    "hot_pql",
    "upgrade_intent",
    "team_growth",
    "enterprise_signup",
    "limit_ticket",
    "pricing_visits",
    "hand_raise",
]
ExpansionSignal = Literal["team_invites", "limit_hits", "seats_added", "upgrade_clicks"]
Stage = Literal["signed_up", "activated", "pql", "opportunity", "customer", "churned", "reactivated"]
Motion = Literal["self-serve", "sales-assist", "sales-led"]
UsageTier = Literal["low", "medium", "high"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)

PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""The most urgent first; a smaller index is a higher priority."""
ACCOUNT_TRIGGERS = frozenset({"team_growth"})
"""Triggers whose condition belongs to the account; all others belong to a person."""
TEMPLATE_FIELDS = frozenset(
    {
        "person",
        "company",
        "score",
        "features",
        "use_case",
        "active_users",
        "pricing_visits",
        "date",
        "blockers",
        "imports",
    }
)
"""What a text may mention in braces. Every one of them has a value for every handoff."""


def known_fields_only(known: Collection[str]) -> Callable[[str], str]:
    """A check of a text: it says something and mentions no other fields in braces than these."""

    def check(text: str) -> str:
        if not text.strip():
            raise ValueError("expected a text, found an empty one")
        try:
            found = [part for part in Formatter().parse(text) if part[1] is not None]
        except ValueError as problem:
            raise ValueError(f"expected balanced braces around a field name: {problem}") from None
        named = {str(name) for _, name, _, _ in found}
        # Values are texts that are written as they should be read; a format for numbers would fail when one is told.
        if formatted := next((name for _, name, form, conversion in found if form or conversion), None):
            raise ValueError(f"expected {{{formatted}}} with nothing after the name")
        if unknown := sorted(named - set(known)):
            raise ValueError(f"unknown field {{{unknown[0]}}}, expected one of {', '.join(sorted(known))}")
        return text

    return check


def _one_line(text: str) -> str:
    if not text.strip() or "\n" in text.strip():
        raise ValueError("expected a heading of one line that is not empty")
    return text.strip()


def _every_key(texts: Collection[str], expected: tuple[str, ...]) -> None:
    if missing := [key for key in expected if key not in texts]:
        raise ValueError(f"expected a text for each of {', '.join(expected)}; missing: {', '.join(missing)}")


def _time_of_day(said: object) -> time:
    """Text alone: a number would be taken for seconds since midnight, in UTC."""
    if isinstance(said, str) and (clock := _CLOCK.fullmatch(said)):
        return time(int(clock[1]), int(clock[2]))
    raise ValueError(f'found {said!r}, expected hours and minutes from 00:00 to 23:59, such as "09:00"')


def _day(said: object) -> date:
    """A number would be taken for seconds since 1970."""
    if isinstance(said, date) and not isinstance(said, datetime):
        return said
    if isinstance(said, str):
        with suppress(ValueError):
            return date.fromisoformat(said)
    raise ValueError(f"found {said!r}, expected a day such as 2026-12-25")


_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
TimeOfDay = Annotated[time, BeforeValidator(_time_of_day)]
Day = Annotated[date, BeforeValidator(_day)]
Template = Annotated[str, AfterValidator(known_fields_only(TEMPLATE_FIELDS))]
Heading = Annotated[str, AfterValidator(_one_line)]


class TriggerRule(StrictModel):
    """What every trigger has, whatever it measures."""

    title: Heading
    priority: Priority
    handoff_type: HandoffType
    enabled: bool = True
    why_now: Template
    angle: Template
    customer_angle: Template
    journey: Template | None = None
    next_step: Template | None = None


class ScoreTrigger(TriggerRule):
    """A score above a line; it can fire again only after it has been below a lower line."""

    score_above: float = Field(ge=0, le=100)
    rearm_below: float = Field(ge=0, le=100)

    @model_validator(mode="after")
    def _rearms_below_the_line(self) -> Self:
        if self.rearm_below > self.score_above:
            raise ValueError(
                f"rearm_below is {self.rearm_below:g}, expected at most score_above ({self.score_above:g})"
            )
        return self


class UsageTierTrigger(TriggerRule):
    """An upgrade click by somebody whose usage stands in this tier."""

    usage_tier: UsageTier


class ActiveUsersTrigger(TriggerRule):
    """A number of active users in the account."""

    active_users: Count


class VisitsTrigger(TriggerRule):
    """A number of distinct sessions with a pricing view in the window."""

    visits: Count


class SignupTrigger(TriggerRule):
    """A first event in an enterprise or target account within this many UTC days, the run's day included."""

    within_days: Count


class Triggers(StrictModel):
    """All triggers; of two with the same priority, the one that stands first here gives title and person: who asked."""

    hand_raise: TriggerRule
    hot_pql: ScoreTrigger
    upgrade_intent: UsageTierTrigger
    team_growth: ActiveUsersTrigger
    enterprise_signup: SignupTrigger
    limit_ticket: TriggerRule
    pricing_visits: VisitsTrigger

    def by_key(self) -> dict[str, TriggerRule]:
        """Every trigger under its key, in the order that breaks ties."""
        return {key: getattr(self, key) for key in type(self).model_fields}

    def urgency(self, trigger: str) -> tuple[int, int]:
        """What triggers are sorted by: the most urgent first, then the order of this model."""
        return self.urgencies[trigger]

    @cached_property
    def urgencies(self) -> Mapping[str, tuple[int, int]]:
        """By trigger; a large installation has thousands of candidates to sort."""
        rules = self.by_key()
        return {key: (PRIORITIES.index(rule.priority), place) for place, (key, rule) in enumerate(rules.items())}


class UseCase(StrictModel):
    """What somebody who uses these features is probably doing."""

    name: str = Field(min_length=1)
    features: tuple[str, ...] = Field(min_length=1)

    @field_validator("features")
    @classmethod
    def _as_compared(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(feature.strip().lower() for feature in features)


class SignalText(StrictModel):
    """How a scored signal is shown to a seller: name, meaning of each tier, and whether 0.5 is 50 %."""

    label: str = Field(min_length=1)
    is_share: bool = False
    means: str | dict[str, str]


class Approach(StrictModel):
    """The sentences of the suggested approach that the triggers do not bring themselves."""

    motion: dict[Motion, Template]
    customer: Template
    next_step: dict[Stage, Template]
    research: Template
    unblock: Template
    solved_limit: Template
    is_over: Template = (
        "What fired on {date} has waited since, and holds no more: read the signals above before you reach out."
    )

    @field_validator("motion")
    @classmethod
    def _every_motion(cls, texts: dict[Motion, str]) -> dict[Motion, str]:
        _every_key(texts, get_args(Motion))
        return texts

    @field_validator("next_step")
    @classmethod
    def _every_stage(cls, texts: dict[Stage, str]) -> dict[Stage, str]:
        _every_key(texts, get_args(Stage))
        return texts


def _a_signal(name: str) -> str:
    known = [name for kind in (UserMeasure, IntentSignal, AccountMeasure) for name in get_args(kind)]
    if name not in known:
        raise ValueError(f"found {name!r}, expected a signal: {', '.join(known)}")
    return name


SignalName = Annotated[str, AfterValidator(_a_signal)]


class PackageRules(StrictModel):
    """How much a package says, and in which words."""

    key_signals: Count
    journey_entries: Annotated[int, Field(ge=4)]
    features: Count
    solved_tickets: frozenset[str]
    use_case_min_features: Count
    use_cases: tuple[UseCase, ...]
    signals: dict[SignalName, SignalText]
    milestones: dict[str, str]
    approach: Approach

    @field_validator("solved_tickets")
    @classmethod
    def _as_compared(cls, statuses: frozenset[str]) -> frozenset[str]:
        return frozenset(status.strip().lower() for status in statuses)


class AssessmentRules(StrictModel):
    """What an assessment says of itself."""

    nothing: Annotated[str, Field(min_length=1)]
    no_contact: Annotated[str, AfterValidator(known_fields_only({"reason"}))]
    handed_over: Annotated[str, AfterValidator(known_fields_only({"recipient", "handoff_type"}))]
    due: Annotated[str, AfterValidator(known_fields_only({"due"}))]
    left_alone: Annotated[str, AfterValidator(known_fields_only({"reason"}))] = "None for now: {reason}."
    timing: dict[Classification, Annotated[str, Field(min_length=1)]]

    @field_validator("timing")
    @classmethod
    def _every_class(cls, texts: dict[Classification, str]) -> dict[Classification, str]:
        _every_key(texts, CLASSES)
        return texts


class HandoffRules(StrictModel):
    """``handoffs.yml``: the triggers, the limits between two handoffs, and the texts of the package."""

    triggers: Triggers
    due_hours: dict[Priority, SomeHours]
    cooldown_days: int = Field(ge=0, le=MOST_DAYS)
    baseline_days: Count
    explicit_requests: frozenset[TriggerKey]
    expansion_signals: frozenset[ExpansionSignal]
    package: PackageRules
    assessment: AssessmentRules

    @field_validator("due_hours")
    @classmethod
    def _every_priority(cls, hours: dict[Priority, float]) -> dict[Priority, float]:
        if missing := [priority for priority in PRIORITIES if priority not in hours]:
            raise ValueError(f"expected hours for each of {', '.join(PRIORITIES)}; missing: {', '.join(missing)}")
        return hours


class TeamRule(StrictModel):
    """The team for one handoff type, and for enterprise accounts or customers if theirs differs."""

    team: Team
    enterprise: Team | None = None
    customer: Team | None = None


class WorkingHours(StrictModel):
    """When somebody works: local times of the days of a week; ``end`` 00:00 is midnight."""

    time_zone: TimeZone
    days: Annotated[tuple[Weekday, ...], Field(min_length=1)] = WEEKDAYS[:5]
    start: TimeOfDay = time(9)
    end: TimeOfDay = time(17)

    @model_validator(mode="after")
    def _within_one_day(self) -> Self:
        if self.end <= self.start and self.end != time(0):
            raise ValueError(f"end is {self.end:%H:%M}, expected a time after start ({self.start:%H:%M}), or 00:00")
        return self


class WorkingHoursRules(StrictModel):
    """Whose working hours are which: of an owner (by id or e-mail) before those of the team before everybody's."""

    default: WorkingHours | None
    teams: dict[TeamName, WorkingHours]
    owners: dict[str, WorkingHours]
    holidays: frozenset[Day]


class RoutingRules(StrictModel):
    """``routing.yml``: the team of each handoff type, how much a person is given per day, and when people work."""

    daily_capacity: Count
    overflow_to_teammate: frozenset[Priority]
    prefer_at_work: frozenset[Priority]
    working_hours: WorkingHoursRules
    teams: dict[HandoffType, TeamRule]

    @field_validator("teams")
    @classmethod
    def _every_type(cls, teams: dict[HandoffType, TeamRule]) -> dict[HandoffType, TeamRule]:
        expected = get_args(HandoffType)
        if missing := [kind for kind in expected if kind not in teams]:
            raise ValueError(f"expected a team for each of {', '.join(expected)}; missing: {', '.join(missing)}")
        return teams
