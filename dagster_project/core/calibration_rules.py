"""The model of ``calibration.yml``: how scores are compared with deals, and what a changed playbook may do."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from dagster_project.core.strict import Count, Days, StrictModel

Share = Annotated[float, Field(gt=0, lt=1)]


class Minimum(StrictModel):
    """How many accounts must have won, and not won, before anything is suggested or a signal is judged."""

    won_accounts: Count
    holdout_won_accounts: Count
    lost_accounts: Count
    won_with_signal: Count


class Bootstrap(StrictModel):
    """How often a company is drawn again from itself, and from which seed."""

    draws: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]


class Drift(StrictModel):
    """The population stability indexes at which a distribution is worth a look, and another one."""

    watch: Annotated[float, Field(gt=0)]
    moved: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _moved_is_more(self) -> Self:
        if self.moved <= self.watch:
            raise ValueError(f"moved is {self.moved:g}, expected more than watch ({self.watch:g})")
        return self


class Limits(StrictModel):
    """What `pls plan` lets a change of the playbook do; None is not checked."""

    alerts_per_recipient_per_week: Annotated[float, Field(ge=0)] | None = None
    capacity_breaches: Annotated[int, Field(ge=0)] | None = None
    share_of_users_moved: Annotated[float, Field(ge=0, le=1)] | None = None
    backtest_loss: Annotated[float, Field(ge=0, le=1)] | None = None


class CalibrationRules(StrictModel):
    """``calibration.yml``."""

    label_days: Days
    period_days: Days
    confidence: Share
    minimum: Minimum
    capacity_per_week: tuple[Count, ...] = Field(min_length=1)
    holdout_share: Share
    folds: Annotated[int, Field(ge=2)]
    strengths: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    bootstrap: Bootstrap
    drift: Drift
    suggested_points: Count
    limits: Limits
