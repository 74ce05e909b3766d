"""The model of ``segments.yml``: where one segment ends and the next begins, and how each is sold to.

The rule itself is in ``segments``.
"""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from dagster_project.core.strict import StrictModel

Segment = Literal["enterprise", "mid-market", "smb"]
SEGMENTS: tuple[Segment, ...] = get_args(Segment)
Motion = Literal["self-serve", "sales-assist", "sales-led"]
Amount = Annotated[float, Field(ge=0)]


class SegmentRule(StrictModel):
    """An account belongs here if one of its limits is exceeded; a segment without limits takes the rest."""

    motion: Motion
    employees_above: Amount | None = None
    acv_above: Amount | None = None
    team_above: Amount | None = None

    @property
    def has_limits(self) -> bool:
        """Whether anything has to be exceeded."""
        return any(limit is not None for limit in (self.employees_above, self.acv_above, self.team_above))


class MotionText(StrictModel):
    """What a motion looks like, for people."""

    characteristics: str = Field(min_length=1)
    approach: str = Field(min_length=1)
    playbook: tuple[str, ...] = Field(min_length=1)


class SegmentRules(StrictModel):
    """``segments.yml``. The first segment whose limits are exceeded holds."""

    segments: dict[Segment, SegmentRule]
    consumer: Segment
    motions: dict[Motion, MotionText]

    @field_validator("motions")
    @classmethod
    def _every_motion(cls, motions: dict[Motion, MotionText]) -> dict[Motion, MotionText]:
        if missing := [name for name in get_args(Motion) if name not in motions]:
            raise ValueError(f"expected {', '.join(get_args(Motion))}; missing: {', '.join(missing)}")
        return motions

    @model_validator(mode="after")
    def _steps_down(self) -> Self:
        if missing := [name for name in SEGMENTS if name not in self.segments]:
            raise ValueError(f"segments: expected {', '.join(SEGMENTS)}; missing: {', '.join(missing)}")
        *others, last = (self.segments[name] for name in SEGMENTS)
        if last.has_limits or not all(rule.has_limits for rule in others):
            raise ValueError("segments: expected limits for enterprise and mid-market, and none for smb")
        upper, lower = others
        for limit in ("employees_above", "acv_above", "team_above"):
            high, low = getattr(upper, limit), getattr(lower, limit)
            if high is not None and low is not None and high <= low:
                raise ValueError(
                    f"segments: {limit} is {high:g} for enterprise and {low:g} for mid-market, so they overlap: "
                    "expected more for enterprise"
                )
        return self
