"""Shopping: what people do while their company decides whether to buy, and the same done by people who only
look.

How openly a company shops follows its latent intent; most of the people involved are its most active ones.
"""

import numpy as np

from dagster_project.demo.buying import Buying
from dagster_project.demo.catalog import catalog
from dagster_project.demo.companies import Companies
from dagster_project.demo.people import MEMBER, People
from dagster_project.demo.size import DemoSize, Floats, Ints, chance
from dagster_project.demo.timeline import Timeline

# Days over which a buying process shows.
SPREAD_DAYS = 24.0
# Chance of each act for a champion of average openness, in the order of a typical process.
ACTS = (
    ("upgrade page", 0.55),
    ("Plans Compared", 0.55),
    ("API Key Generated", 0.4),
    ("Limit Reached", 0.45),
    ("Upgrade Clicked", 0.6),
    ("Limit Support Requested", 0.22),
    ("sales request", 0.25),
)


def plan_shopping(size: DemoSize, companies: Companies, people: People, buying: Buying, timeline: Timeline) -> Ints:
    """Adds the shopping to `timeline`; returns each company's champion (-1 without one)."""
    rng = size.stream("shopping")
    shopping = buying.shops_at < size.horizon
    who = np.flatnonzero((people.kind == MEMBER) & (people.company >= 0) & shopping[people.company])
    begins = buying.shops_at[people.company[who]]
    here = people.is_active(np.maximum(begins, people.joined[who]), who) & (people.joined[who] < begins + 12)
    who, begins = who[here], begins[here]
    weight = people.habit[who] + rng.random(len(who))
    order = np.lexsort((-weight, people.company[who]))
    who, begins = who[order], begins[order]
    team = people.company[who]
    first = np.flatnonzero(np.diff(team, prepend=-1))
    place = np.arange(len(who)) - np.repeat(first, np.diff(np.append(first, len(who))))
    champions = np.full(len(companies), -1)
    champions[team[first]] = who[first]
    openness = companies.intent[team] + 0.6 * companies.is_fresh[team] + np.where(place == 0, 0.3, -0.4 - 0.25 * place)
    takes_part = (place == 0) | (rng.random(len(who)) < chance(openness))
    news = companies.is_fresh[team][takes_part]
    _shop(
        rng,
        timeline,
        who[takes_part],
        begins=np.maximum(begins, people.joined[who])[takes_part],
        openness=openness[takes_part],
        spread=np.where(news, 4.0, SPREAD_DAYS),
    )
    _team_building(rng, timeline, who[first], begins=begins[first], growth=companies.growth[team[first]])
    _just_looking(rng, size, people, timeline)
    _renewals(rng, size, people, buying=buying, timeline=timeline)
    return champions


def _shop(
    rng: np.random.Generator,
    timeline: Timeline,
    who: Ints,
    *,
    begins: Floats,
    openness: Floats,
    spread: Floats,
) -> None:
    """A shopping process per entry of `who`: price visits on several days, then the acts in their order."""
    kinds = catalog()
    prices = np.array(kinds.find("pricing page"))
    visits = 1 + rng.poisson(2.2 * chance(openness + 0.8))
    visitor = np.repeat(who, visits)
    day = np.repeat(begins, visits) + rng.random(len(visitor)) * np.repeat(spread, visits)
    timeline.add(day, visitor, prices[rng.integers(0, len(prices), len(visitor))])
    for place, (act, usual) in enumerate(ACTS):
        likely = chance(np.log(usual / (1 - usual)) + 0.9 * openness)
        does = rng.random(len(who)) < likely
        latest = (place + 2) / (len(ACTS) + 2) * spread[does]
        day = begins[does] + rng.uniform(0.3, 1.0, int(does.sum())) * latest
        templates = np.array(kinds.find(act))
        timeline.add(day, who[does], templates[rng.integers(0, len(templates), len(day))])


def _team_building(rng: np.random.Generator, timeline: Timeline, who: Ints, *, begins: Floats, growth: Floats) -> None:
    """A champion invites colleagues; how many follows latent growth. Not all of them come."""
    many = rng.poisson(1.6 * np.exp(0.4 * growth))
    host = np.repeat(who, many)
    day = np.repeat(begins, many) + rng.random(len(host)) * 10
    timeline.add(day, host, catalog().find("invite")[0])


def _just_looking(rng: np.random.Generator, size: DemoSize, people: People, timeline: Timeline) -> None:
    """Noise: people of any kind who shop and never buy."""
    stays = np.clip(np.minimum(people.left, size.horizon) - people.joined, 0, None)
    looks = people.is_user & (rng.random(len(people)) < 0.03 + 0.0006 * stays)
    who = np.flatnonzero(looks)
    begins = people.joined[who] + rng.random(len(who)) * stays[who]
    _shop(
        rng,
        timeline,
        who,
        begins=begins,
        openness=rng.normal(-0.8, 0.8, len(who)),
        spread=np.full(len(who), 12.0),
    )


def _renewals(rng: np.random.Generator, size: DemoSize, people: People, *, buying: Buying, timeline: Timeline) -> None:
    """Paying companies look at the prices again: each year's question, and no sign that they want more."""
    pays = (buying.pays_at < size.horizon - 10) & (rng.random(len(buying.pays_at)) < 0.35)
    who = np.flatnonzero((people.kind == MEMBER) & pays[people.company] & people.is_active(size.horizon))
    _, first = np.unique(people.company[who], return_index=True)
    who = np.repeat(who[first], 4)
    day = size.horizon - np.tile([5.6, 4.3, 2.7, 1.4], len(who) // 4) + rng.random(len(who))
    timeline.add(day, who, catalog().find("pricing page")[0])
