"""The companies: what anybody could look up about them, and the latent traits that drive everything else.

The latent traits are standard-normal-like numbers that no file shows: `fit` (also visible, with noise, in the
firmographics), `growth` (how the team grows), `depth` (how thoroughly people use the product), `intent` (how
openly they go shopping). What people do with them is in people.py, who buys in buying.py.
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.demo.names import company_names
from dagster_project.demo.size import Bools, DemoSize, Floats, Ints, chance

SMB, MID_MARKET, ENTERPRISE = 0, 1, 2

TARGET_INDUSTRIES = ("Software", "Financial Services", "E-commerce")
ADJACENT_INDUSTRIES = ("Media", "Telecommunications", "Professional Services")
OTHER_INDUSTRIES = ("Manufacturing", "Construction", "Education", "Hospitality", "Agriculture", "Non-profit")
INDUSTRIES = TARGET_INDUSTRIES + ADJACENT_INDUSTRIES + OTHER_INDUSTRIES
IDEAL_TECHNOLOGIES = ("Snowflake", "dbt", "Segment", "Salesforce", "HubSpot")
OTHER_TECHNOLOGIES = ("Oracle", "SAP", "WordPress", "Excel", "Jira", "Zendesk", "Shopify", "Mailchimp")

# How a company came to the product.
CRM_AND_PRODUCT, PRODUCT_ONLY, CRM_ONLY = 0, 1, 2
# What the product sends as the group id.
GROUP_IS_ACCOUNT, GROUP_IS_WORKSPACE, NO_GROUP = 0, 1, 2


@dataclass(frozen=True)
class Companies:
    """One entry per company in every field. Moments are days since the start of the history."""

    names: list[str]
    domains: list[str]
    account_ids: list[str]
    group_ids: list[str]
    reach: Ints
    grouping: Ints
    segment: Ints
    employees: Ints
    industry: Ints
    tech_stacks: list[str]
    tech_matches: Ints
    departments: Ints
    acv: Floats
    is_target: Bools
    fit: Floats
    growth: Floats
    depth: Floats
    intent: Floats
    started: Floats
    fades_at: Floats
    revives_at: Floats
    is_fresh: Bools

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_users(self) -> Bools:
        return self.reach != CRM_ONLY

    @property
    def in_crm(self) -> Bools:
        return self.reach != PRODUCT_ONLY

    @property
    def propensity(self) -> Floats:
        """The latent readiness to buy, about standard normal: the truth that calibration should find."""
        return (self.fit + 0.9 * self.growth + 0.9 * self.depth + self.intent) / 2.3


def make_companies(size: DemoSize) -> Companies:
    """The companies of a simulation. `is_fresh` marks those that stir in the last week, so that there is
    news.
    """
    rng = size.stream("companies")
    count = size.accounts
    named = company_names(rng, count)
    reach = rng.choice([CRM_AND_PRODUCT, PRODUCT_ONLY, CRM_ONLY], count, p=[0.82, 0.08, 0.10])
    reach[0] = CRM_AND_PRODUCT
    segment = rng.choice([SMB, MID_MARKET, ENTERPRISE], count, p=[0.52, 0.32, 0.16])
    industry = rng.integers(0, len(INDUSTRIES), count)
    stacks, matches = _tech_stacks(rng, count)
    fit = _fit(rng, segment=segment, industry=industry, matches=matches)
    growth = rng.normal(0, 1, count)
    depth = 0.35 * growth + rng.normal(0, 0.94, count)
    intent = 0.3 * depth + rng.normal(0, 0.95, count)
    fresh = (reach != CRM_ONLY) & (segment != SMB) & (rng.random(count) < 0.11)
    started, fades, revives = _life(rng, size, growth=growth, fresh=fresh)
    account_ids = [f"A-{number:06d}" for number in rng.permutation(count) + 1]
    grouping = rng.choice([GROUP_IS_ACCOUNT, GROUP_IS_WORKSPACE, NO_GROUP], count, p=[0.68, 0.20, 0.12])
    grouping[reach == PRODUCT_ONLY] = GROUP_IS_WORKSPACE
    ways = {GROUP_IS_ACCOUNT: "{account}", GROUP_IS_WORKSPACE: "ws_{number:06d}", NO_GROUP: ""}
    return Companies(
        names=[name for name, _ in named],
        domains=[domain for _, domain in named],
        account_ids=account_ids,
        group_ids=[
            ways[way].format(account=account, number=number)
            for number, (way, account) in enumerate(zip(grouping.tolist(), account_ids, strict=True), 1)
        ],
        reach=reach,
        grouping=grouping,
        segment=segment,
        employees=_employees(rng, segment),
        industry=industry,
        tech_stacks=stacks,
        tech_matches=matches,
        departments=rng.integers(1, 4, count) + 2 * segment,
        acv=_acv(rng, segment),
        is_target=(segment == ENTERPRISE) & (rng.random(count) < 0.35) | (rng.random(count) < 0.03),
        fit=fit,
        growth=np.where(fresh, np.abs(growth), growth),
        depth=np.where(fresh, np.abs(depth) + 0.4, depth),
        intent=intent,
        started=started,
        fades_at=fades,
        revives_at=revives,
        is_fresh=fresh,
    )


def _fit(rng: np.random.Generator, *, segment: Ints, industry: Ints, matches: Ints) -> Floats:
    """Latent fit: firmographics that sales believes in, and as much again that nobody can look up."""
    in_target = industry < len(TARGET_INDUSTRIES)
    seen = np.array([-0.5, 0.3, 0.9])[segment] + 0.6 * in_target + 0.3 * np.minimum(matches, 2)
    return (seen - 0.4) / 0.8 * 0.75 + rng.normal(0, 0.6, len(segment))


def _life(rng: np.random.Generator, size: DemoSize, *, growth: Floats, fresh: Bools) -> tuple[Floats, Floats, Floats]:
    """When each company starts, fades (infinity: never) and comes back (infinity: never)."""
    count = len(growth)
    horizon = size.horizon
    early = rng.random(count) < 0.45
    started = np.where(early, rng.uniform(0, 0.15, count), rng.uniform(0.1, 0.985, count)) * horizon
    started = np.where(fresh, np.minimum(started, horizon * 0.85), started)
    fades = (rng.random(count) < chance(-1.1 - 0.8 * growth)) & ~fresh
    fades_at = np.where(fades, started + rng.uniform(0.25, 0.9, count) * (horizon - started), np.inf)
    returns = fades & (rng.random(count) < 0.4)
    revives_at = np.where(returns, fades_at + rng.uniform(42, 80, count), np.inf)
    return started, fades_at, np.where(revives_at < horizon, revives_at, np.inf)


def _employees(rng: np.random.Generator, segment: Ints) -> Ints:
    low, high = np.array([1, 51, 1001])[segment], np.array([50, 1000, 20_000])[segment]
    return np.floor(low * (high / low) ** (rng.random(len(segment)) ** 1.3)).astype(np.int64)


def _acv(rng: np.random.Generator, segment: Ints) -> Floats:
    """Estimated yearly contract value in dollars, rounded to hundreds; only enterprises pass 50,000."""
    middle = np.array([2_500.0, 14_000.0, 72_000.0])[segment]
    value: Floats = middle * rng.lognormal(0, 0.35, len(segment))
    capped = np.where(segment == ENTERPRISE, value, np.minimum(value, 48_000))
    return np.asarray(np.round(capped, -2), dtype=np.float64)


def _tech_stacks(rng: np.random.Generator, count: int) -> tuple[list[str], Ints]:
    """`;`-separated stacks, and how many of the ideal technologies are in each."""
    matches = rng.choice([0, 1, 2, 3], count, p=[0.35, 0.3, 0.25, 0.1])
    others = rng.integers(0, 3, count)
    stacks = []
    for ideal, other in zip(matches.tolist(), others.tolist(), strict=True):
        chosen = rng.permutation(len(IDEAL_TECHNOLOGIES))[:ideal]
        more = rng.permutation(len(OTHER_TECHNOLOGIES))[: max(other, 1 if ideal == 0 else 0)]
        stacks.append(";".join([*(IDEAL_TECHNOLOGIES[i] for i in chosen), *(OTHER_TECHNOLOGIES[i] for i in more)]))
    return stacks, matches
