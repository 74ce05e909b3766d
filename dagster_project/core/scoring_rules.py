"""The model of ``scoring.yml``: how usage is measured, and what each measurement is worth.

Here are the settings and the checks that name what was expected. How a score is computed from them is in
``pql`` and ``pqa``; where the lines between segments and stages run is in their own files.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from dagster_project.core.strict import Count, Days, StrictModel

Tier = Literal["low", "medium", "high"]
TIERS: tuple[Tier, ...] = ("low", "medium", "high")
Classification = Literal["hot", "warm", "developing", "not_ready"]
CLASSES: tuple[Classification, ...] = ("hot", "warm", "developing", "not_ready")
RISING_CLASSES = CLASSES[::-1]
"""The same, the lowest first."""
FitTier = Literal["enterprise", "mid-market", "smb", "consumer"]
UserMeasure = Literal[
    "sessions_per_week",
    "features_used",
    "minutes_per_week",
    "actions",
    "team_invites",
    "integrations",
    "setup_share",
    "data_imported",
]
IntentSignal = Literal[
    "pricing_page_view",
    "upgrade_click",
    "plan_comparison",
    "limit_support_contact",
    "invoice_download",
    "api_key_generated",
    "sales_request",
    "limit_hit",
    "seat_added",
    "upgrade_page_view",
]
AccountMeasure = Literal[
    "active_users",
    "departments",
    "feature_adoption",
    "usage_intensity",
    "employees",
    "industry",
    "tech_stack",
    "user_growth",
    "expansion_signals",
]
CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "data_imported": ("none", "some", "full"),
    "industry": ("other", "adjacent", "target"),
}
"""The measures that are a word and not a number, and the words they can be."""
SHARES = frozenset({"setup_share", "feature_adoption"})
"""The measures that are a share, 0..1."""

Points = Annotated[float, Field(ge=0)]
_SUM_TOLERANCE = 1e-9


class Above(StrictModel):
    """A tier that starts above a value, not at it."""

    above: float


def _kind_of_bound(value: Any) -> str:
    return "above a number" if isinstance(value, Mapping | Above) else "a number"


# Told apart before they are read, so that an error speaks of the kind that was meant and not of both.
Bound = Annotated[
    Annotated[float, Tag("a number")] | Annotated[Above, Tag("above a number")], Discriminator(_kind_of_bound)
]


class Tiers(StrictModel):
    """Where each tier starts: at a number, or above one; it reaches to the next tier's start."""

    low: Bound
    medium: Bound
    high: Bound

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Self:
        for lower, upper in pairwise(TIERS):
            if self.start(lower) >= self.start(upper):
                raise ValueError(
                    f"{lower} starts at {self.start(lower):g} and {upper} at {self.start(upper):g}, so they "
                    "overlap: expected low < medium < high"
                )
        return self

    def start(self, tier: Tier) -> float:
        """The number at or above which a tier starts."""
        bound = getattr(self, tier)
        return bound.above if isinstance(bound, Above) else bound


Categories = dict[str, Tier]
"""The tier of each word of a measure that is one."""


def _kind_of_signal(value: Any) -> str:
    words = isinstance(value, Mapping) and value and all(isinstance(tier, str) for tier in value.values())
    return "words" if words else "numbers"


Signal = Annotated[
    Annotated[Tiers, Tag("numbers")] | Annotated[Categories, Tag("words")], Discriminator(_kind_of_signal)
]
ALTERNATIVES = frozenset({"a number", "above a number", "words", "numbers"})
"""Tags of the alternatives above, which pydantic puts into the path of an error; a reader's file has no such key."""


def _fitting(signals: Mapping[Any, Signal]) -> None:
    """Words for the measures that are words, numbers for the others."""
    for measure, rule in signals.items():
        words = CATEGORIES.get(measure)
        if words is None and not isinstance(rule, Tiers):
            raise ValueError(f"{measure}: expected the keys low, medium and high with numbers")
        if isinstance(rule, Tiers) and measure in SHARES and rule.start("high") > 1:
            raise ValueError(
                f"{measure}: high starts at {rule.start('high'):g}, expected a share of at most 1, such as 0.5 for half"
            )
        if words is not None and (isinstance(rule, Tiers) or set(rule) != set(words)):
            raise ValueError(f"{measure}: expected a tier for each of {', '.join(words)}")


def _sum_to_one(weights: Mapping[str, float]) -> None:
    total = sum(weights.values())
    if abs(total - 1) > _SUM_TOLERANCE:
        raise ValueError(
            f"weights {', '.join(f'{name} {weight:g}' for name, weight in weights.items())} sum to {total:g}: "
            "expected 1"
        )


class Measurement(StrictModel):
    """The lengths that SQL measures with; section 2.1 and 3 of the specification."""

    window_days: Days
    min_weeks_days: Days
    session_gap_minutes: Annotated[float, Field(gt=0)]
    min_session_minutes: Annotated[float, Field(ge=0)]
    inactive_days: Days

    @model_validator(mode="after")
    def _weeks_fit_the_window(self) -> Self:
        if self.min_weeks_days > self.window_days:
            raise ValueError(
                f"min_weeks_days is {self.min_weeks_days}, expected at most window_days ({self.window_days})"
            )
        return self


class ClassRule(StrictModel):
    """The rounded score at which a class starts, and what sales does with it."""

    start: Annotated[float, Field(ge=0, le=100, alias="from")]
    action: str = Field(min_length=1)


class Classes(StrictModel):
    """The classes of both scores, the best first."""

    hot: ClassRule
    warm: ClassRule
    developing: ClassRule
    not_ready: ClassRule

    @model_validator(mode="after")
    def _one_above_the_other(self) -> Self:
        starts = [(name, getattr(self, name).start) for name in CLASSES]
        for (upper, high), (lower, low) in pairwise(starts):
            if high <= low:
                raise ValueError(
                    f"{upper} starts at {high:g} and {lower} at {low:g}, so they overlap: expected "
                    "hot > warm > developing > not_ready"
                )
        if starts[-1][1] != 0:
            raise ValueError(f"not_ready starts at {starts[-1][1]:g}: expected 0, so that every score has a class")
        return self


class TierPoints(StrictModel):
    """What a tier is worth; below the lowest tier it is nothing."""

    low: Points
    medium: Points
    high: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _higher_is_worth_more(self) -> Self:
        if not self.low <= self.medium <= self.high:
            raise ValueError("expected low <= medium <= high")
        return self


class UsageTiers(StrictModel):
    """The usage scores at which the medium and the high usage tier start."""

    medium: Annotated[float, Field(gt=0, le=100)]
    high: Annotated[float, Field(gt=0, le=100)]

    @model_validator(mode="after")
    def _high_above_medium(self) -> Self:
        if self.high <= self.medium:
            raise ValueError(f"high is {self.high:g}, expected more than medium ({self.medium:g})")
        return self


class PqlWeights(StrictModel):
    """Shares of the three components in a user's score."""

    usage: Annotated[float, Field(ge=0, le=1)]
    engagement: Annotated[float, Field(ge=0, le=1)]
    intent: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        _sum_to_one(self.model_dump())
        return self


class PqlRules(StrictModel):
    """A user's score; section 3 of the specification."""

    weights: PqlWeights
    usage: dict[UserMeasure, Signal] = Field(min_length=1)
    engagement: dict[UserMeasure, Signal] = Field(min_length=1)
    intent: dict[IntentSignal, Annotated[float, Field(gt=0)]] = Field(min_length=1)
    fit_multiplier: dict[FitTier, Annotated[float, Field(ge=0, le=10)]]

    @field_validator("usage", "engagement")
    @classmethod
    def _right_kind(cls, signals: dict[UserMeasure, Signal]) -> dict[UserMeasure, Signal]:
        _fitting(signals)
        return signals

    @field_validator("fit_multiplier")
    @classmethod
    def _every_fit_tier(cls, multipliers: dict[FitTier, float]) -> dict[FitTier, float]:
        expected = ("enterprise", "mid-market", "smb", "consumer")
        if missing := [tier for tier in expected if tier not in multipliers]:
            raise ValueError(f"expected a number for each of {', '.join(expected)}; missing: {', '.join(missing)}")
        return multipliers

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        if both := sorted(set(self.usage) & set(self.engagement)):
            raise ValueError(f"{', '.join(both)} counts as usage and as engagement: expected one of them")
        return self


class PqaWeights(StrictModel):
    """Shares of the four dimensions in an account's score."""

    breadth: Annotated[float, Field(ge=0, le=1)]
    depth: Annotated[float, Field(ge=0, le=1)]
    fit: Annotated[float, Field(ge=0, le=1)]
    momentum: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        _sum_to_one(self.model_dump())
        if self.breadth + self.depth == 0:
            raise ValueError("breadth and depth are both 0: the matrix needs one of them to tell high usage from low")
        return self


class GrowthFromNone(StrictModel):
    """Growth of a team that had nobody active before: its tier from this many active users, and below."""

    active_users: Count
    reached: Tier
    below: Tier


class IdealProfile(StrictModel):
    """What the best customers look like; compared without case."""

    target_industries: tuple[str, ...]
    adjacent_industries: tuple[str, ...]
    technologies: tuple[str, ...]

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        lowered = {name.strip().lower() for name in self.target_industries}
        if both := sorted(name for name in self.adjacent_industries if name.strip().lower() in lowered):
            raise ValueError(f"{', '.join(both)} is both a target and an adjacent industry: expected one of them")
        return self


class Matrix(StrictModel):
    """The rounded usage and fit scores at which an account counts as high."""

    usage_from: Annotated[float, Field(ge=0, le=100)]
    fit_from: Annotated[float, Field(ge=0, le=100)]


class PqaRules(StrictModel):
    """An account's score; section 4 of the specification."""

    weights: PqaWeights
    breadth: dict[AccountMeasure, Signal] = Field(min_length=1)
    depth: dict[AccountMeasure, Signal] = Field(min_length=1)
    fit: dict[AccountMeasure, Signal] = Field(min_length=1)
    momentum: dict[AccountMeasure, Signal] = Field(min_length=1)
    growth_from_none: GrowthFromNone
    ideal_profile: IdealProfile
    matrix: Matrix

    @field_validator("breadth", "depth", "fit", "momentum")
    @classmethod
    def _right_kind(cls, signals: dict[AccountMeasure, Signal]) -> dict[AccountMeasure, Signal]:
        _fitting(signals)
        return signals

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        seen: set[str] = set()
        for dimension in ("breadth", "depth", "fit", "momentum"):
            if both := sorted(seen & set(getattr(self, dimension))):
                raise ValueError(f"{', '.join(both)} counts twice, again in {dimension}: expected one place")
            seen |= set(getattr(self, dimension))
        return self


class ScoringRules(StrictModel):
    """``scoring.yml``."""

    measurement: Measurement
    points: TierPoints
    classes: Classes
    usage_tiers: UsageTiers
    pql: PqlRules
    pqa: PqaRules
