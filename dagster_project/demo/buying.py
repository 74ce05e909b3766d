"""Who starts to buy, what comes of it, and who pays without ever talking to sales.

All of it depends on latent traits only, never on a score that the product computes: a calibration that finds
that scores predict deals has found something.
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.demo.companies import CRM_AND_PRODUCT, CRM_ONLY, SMB, Companies
from dagster_project.demo.size import Bools, DemoSize, Floats, Ints, chance

NEVER = np.inf
# Median days from an opportunity to its close, by segment.
CYCLE_DAYS = np.array([12.0, 26.0, 48.0])


@dataclass(frozen=True)
class Deals:
    """One entry per opportunity: its company, when it was created and closed, and how it went.

    `closes` may lie after the end of the history: the opportunity is then open. `from_usage` is false for
    deals of companies whose users (if any) gave no sign: outbound, and the path that product signals miss.
    """

    company: Ints
    created: Floats
    closes: Floats
    is_won: Bools
    amount: Floats
    from_usage: Bools

    def __len__(self) -> int:
        return len(self.company)


@dataclass(frozen=True)
class Buying:
    """One entry per company: when it starts to shop, when it begins to pay, when it stops paying; infinity is
    never.
    """

    shops_at: Floats
    pays_at: Floats
    cancels_at: Floats
    is_self_serve: Bools
    deals: Deals


def make_buying(size: DemoSize, companies: Companies) -> Buying:
    """Buying processes and their outcomes for all companies."""
    rng = size.stream("buying")
    count = len(companies)
    propensity = companies.propensity
    using = companies.has_users & ~((companies.fades_at < size.horizon) & (rng.random(count) < 0.5))
    shops = using & (rng.random(count) < chance(-0.35 + 1.1 * propensity))
    room = np.maximum(np.minimum(companies.fades_at, size.horizon) - companies.started - 4, 0)
    shops_at = np.where(shops & (room > 0), companies.started + 4 + rng.random(count) * room, NEVER)
    fresh = companies.is_fresh & (rng.random(count) < 0.7)
    shops_at = np.where(fresh, size.horizon - rng.uniform(0.6, 6.0, count), shops_at)
    old = (companies.started < size.horizon * 0.15) & using & ~companies.is_fresh & (rng.random(count) < 0.09)
    shops_at = np.where(old, -30.0, shops_at)

    wins = rng.random(count) < chance(-0.25 + 1.5 * propensity)
    wins |= old
    self_serve = (companies.segment == SMB) & (rng.random(count) < 0.6) & (shops_at < NEVER)
    with_deal = (shops_at < NEVER) & ~self_serve & (companies.reach == CRM_AND_PRODUCT)
    created = shops_at + rng.exponential(7, count) + 0.5
    created = np.where(old, -rng.uniform(5, 60, count), created)
    cycle = CYCLE_DAYS[companies.segment] * rng.lognormal(0, 0.4, count)
    closes = np.where(old, created + 3, created + cycle)
    known = np.flatnonzero(with_deal & (created < size.horizon))
    usage_deals = Deals(
        company=known,
        created=created[known],
        closes=closes[known],
        is_won=wins[known],
        amount=_amounts(rng, companies, known),
        from_usage=np.ones(len(known), dtype=bool),
    )
    deals = _joined(usage_deals, _other_deals(rng, size, companies, taken=with_deal))
    pays_at = np.where(self_serve & wins, shops_at + rng.exponential(9, count) + 1, NEVER)
    first_win = deals.closes[deals.is_won]
    np.minimum.at(pays_at, deals.company[deals.is_won], first_win)
    pays_at = np.where(pays_at < size.horizon, pays_at, NEVER)
    leaves = (rng.random(count) < 0.12) | (companies.fades_at < size.horizon)
    cancels_at = np.where(leaves, np.maximum(pays_at + rng.exponential(60, count) + 20, companies.fades_at), NEVER)
    cancels_at = np.where(np.isfinite(pays_at), cancels_at, NEVER)
    return Buying(shops_at=shops_at, pays_at=pays_at, cancels_at=cancels_at, is_self_serve=self_serve, deals=deals)


def _other_deals(rng: np.random.Generator, size: DemoSize, companies: Companies, *, taken: Bools) -> Deals:
    """Outbound noise among companies with users, and deals of companies that never used the product."""
    count = len(companies)
    outbound = companies.in_crm & companies.has_users & ~taken & (rng.random(count) < 0.09)
    unseen = (companies.reach == CRM_ONLY) & (rng.random(count) < 0.3)
    which = np.flatnonzero(outbound | unseen)
    created = rng.uniform(-20, size.horizon - 1, len(which))
    return Deals(
        company=which,
        created=created,
        closes=created + CYCLE_DAYS[companies.segment[which]] * rng.lognormal(0.1, 0.4, len(which)),
        is_won=rng.random(len(which)) < np.where(unseen[which], 0.4, 0.15),
        amount=_amounts(rng, companies, which),
        from_usage=np.zeros(len(which), dtype=bool),
    )


def _amounts(rng: np.random.Generator, companies: Companies, which: Ints) -> Floats:
    """Deal sizes in dollars, around the estimated contract value."""
    return np.round(companies.acv[which] * rng.lognormal(-0.1, 0.3, len(which)), -2)


def _joined(first: Deals, second: Deals) -> Deals:
    return Deals(
        company=np.concatenate([first.company, second.company]),
        created=np.concatenate([first.created, second.created]),
        closes=np.concatenate([first.closes, second.closes]),
        is_won=np.concatenate([first.is_won, second.is_won]),
        amount=np.concatenate([first.amount, second.amount]),
        from_usage=np.concatenate([first.from_usage, second.from_usage]),
    )
