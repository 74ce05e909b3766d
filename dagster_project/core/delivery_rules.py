"""The model of ``delivery.yml``: where handoffs go, when somebody is reminded, what an answer means.

Here are the settings and the checks that name what was expected. Which handoffs are overdue is in ``reminders``,
what a message says in ``letters``.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from dagster_project.core.crm_source_rules import TeamName
from dagster_project.core.handoff_rules import PRIORITIES, Priority
from dagster_project.core.strict import Days, Hours, StrictModel

_CHANNEL = re.compile(r"#[^\s#@,A-Z]{1,80}|[CGD][A-Z0-9]{6,}")
_MOST_SNOOZES = 10
"""A block of Slack's buttons has room for 25 elements; this many fit a line."""


def _a_channel(text: str) -> str:
    if not _CHANNEL.fullmatch(text):
        raise ValueError(f"found {text!r}, expected a channel's name in small letters (#sales) or its id (C0123456789)")
    return text


Channel = Annotated[str, AfterValidator(_a_channel)]


class SlackRules(StrictModel):
    """Where alerts are posted and how patient the sender is."""

    send_to: Literal["direct", "channel"]
    default_channel: Channel
    channels: dict[TeamName, Channel]
    marketing_channel: Channel
    thread_days: Days
    look_up_after_seconds: Annotated[float, Field(ge=0)]
    longest_wait_seconds: Annotated[float, Field(ge=0)]

    def channel_of(self, team: str | None) -> str:
        """The channel of a team, the default one if it has none of its own."""
        return self.channels.get(team or "", self.default_channel)


class ReminderRules(StrictModel):
    """When somebody is reminded and when the team hears of it."""

    remind_after_hours: Hours
    escalate_after_hours: dict[Priority, Hours]
    give_up_after_days: Days

    @field_validator("escalate_after_hours")
    @classmethod
    def _every_priority(cls, hours: dict[Priority, float]) -> dict[Priority, float]:
        if missing := [priority for priority in PRIORITIES if priority not in hours]:
            raise ValueError(f"expected hours for each of {', '.join(PRIORITIES)}; missing: {', '.join(missing)}")
        return hours


class TaskOutcomes(StrictModel):
    """What the CRM calls the outcomes that are an answer."""

    claimed: tuple[str, ...]
    not_a_fit: tuple[str, ...]

    @model_validator(mode="after")
    def _one_answer_each(self) -> Self:
        claimed, not_a_fit = ({word.strip().lower() for word in words} for words in (self.claimed, self.not_a_fit))
        if both := sorted(claimed & not_a_fit):
            raise ValueError(f"found {', '.join(both)} as claimed and as not_a_fit, expected each outcome once")
        return self


class DeliveryRules(StrictModel):
    """``delivery.yml``: channels, reminders and answers."""

    slack: SlackRules
    reminders: ReminderRules
    snooze_days: Annotated[tuple[Days, ...], Field(min_length=1, max_length=_MOST_SNOOZES)]
    task_outcomes: TaskOutcomes

    @field_validator("snooze_days")
    @classmethod
    def _each_once(cls, days: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(days)) < len(days):
            raise ValueError(f"found {', '.join(map(str, days))}, expected each number of days once")
        return days
