"""The model of ``automation.yml``: what happens by itself, what marketing is told, who is left to self-serve.

Here are the settings and the checks that name what was expected. When a rule fires is in ``automation``.
"""

from collections.abc import Iterable
from typing import Annotated, get_args

from pydantic import AfterValidator, Field, field_validator, model_validator

from dagster_project.core.crm_source_rules import Team
from dagster_project.core.handoff_rules import HandoffType, Stage, TriggerKey, known_fields_only
from dagster_project.core.strict import Count, Days, StrictModel

NOTICE_FIELDS = frozenset({"person", "company", "score", "active_users", "date"})
MARKETING_FIELDS = frozenset({"person", "company"})

RiseNotice = Annotated[str, AfterValidator(known_fields_only(NOTICE_FIELDS | {"rise", "days"}))]
Notice = Annotated[str, AfterValidator(known_fields_only(NOTICE_FIELDS))]
TakenOver = Annotated[str, AfterValidator(known_fields_only(MARKETING_FIELDS))]
GivenBack = Annotated[str, AfterValidator(known_fields_only(MARKETING_FIELDS | {"reason"}))]
Name = Annotated[str, Field(min_length=1)]


class Rule(StrictModel):
    """What every rule has."""

    enabled: bool = True


class TaskRule(Rule):
    """A task for the recipient of a handoff behind which one of these triggers is."""

    triggers: frozenset[TriggerKey]
    subject: Notice


class ScoreRiseRule(Rule):
    """A rise by at least so many points against the score at the end of the day so many days ago."""

    points: Annotated[float, Field(gt=0)]
    days: Days
    team: Team
    notice: RiseNotice


class OwnerRule(Rule):
    """An owner for an enterprise or target account that nobody active owns."""

    team: Team


class TierRule(Rule):
    """One tier up for an account with so many active users."""

    active_users: Count


class ReactivationRule(Rule):
    """A word to a team when somebody who was gone is back, or is the first one seen of a company that had churned."""

    team: Team
    notice: Notice
    notice_of_new: Notice = (
        "{person} is new in the product, first seen on {date}; {company} had churned. The PQL score is {score}."
    )


class NoteRule(Rule):
    """The note on a record whose handoff is left to the owner of an open opportunity."""

    subject: Notice


class MarketingRules(StrictModel):
    """Which contacts marketing holds, by their lifecycle stage, and what it is told."""

    mql_stages: frozenset[str]
    taken_over: TakenOver
    given_back: GivenBack

    @field_validator("mql_stages")
    @classmethod
    def _as_compared(cls, stages: frozenset[str]) -> frozenset[str]:
        return frozenset(stage.strip().lower() for stage in stages)


class SelfServePlaybook(StrictModel):
    """An automation, for whom one of these triggers fired."""

    name: Name
    triggers: frozenset[TriggerKey]


class SelfServeRules(StrictModel):
    """The automation of leads that sales leaves to self-serve."""

    days: Days
    handoff_types: frozenset[HandoffType]
    playbooks: tuple[SelfServePlaybook, ...]
    next_step: dict[Stage, Name]

    @model_validator(mode="after")
    def _every_trigger_and_stage(self) -> "SelfServeRules":
        if "none" in (playbook.name for playbook in self.playbooks):
            raise ValueError("a playbook is called none, which pls_playbook says of whoever has left theirs")
        taken = {trigger for playbook in self.playbooks for trigger in playbook.triggers}
        if missing := [key for key in get_args(TriggerKey) if key not in taken]:
            raise ValueError(f"expected every trigger in a playbook; missing: {', '.join(missing)}")
        if lacking := [stage for stage in get_args(Stage) if stage not in self.next_step]:
            raise ValueError(f"expected a next_step for every stage; missing: {', '.join(lacking)}")
        return self

    def playbook_of(self, triggers: Iterable[str]) -> str:
        """The name of the first playbook that one of the triggers belongs to."""
        return next(playbook.name for playbook in self.playbooks if playbook.triggers.intersection(triggers))


class AutomationRules(StrictModel):
    """``automation.yml``."""

    task: TaskRule
    score_rise: ScoreRiseRule
    enterprise_owner: OwnerRule
    tier_raise: TierRule
    reactivation: ReactivationRule
    opportunity_note: NoteRule
    marketing: MarketingRules
    self_serve: SelfServeRules

    def switched_off(self) -> "AutomationRules":
        """The same without any rule that does something by itself."""
        rules = {name: rule for name in type(self).model_fields if isinstance(rule := getattr(self, name), Rule)}
        return self.model_copy(
            update={name: rule.model_copy(update={"enabled": False}) for name, rule in rules.items()}
        )
