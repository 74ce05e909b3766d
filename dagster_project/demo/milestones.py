"""What people do once or rarely: sign up, set up, invite, connect, import, unsubscribe; and what their
company's plan makes happen. Shopping is in intent.py."""

import numpy as np

from dagster_project.demo.buying import Buying
from dagster_project.demo.catalog import catalog
from dagster_project.demo.companies import NO_GROUP, Companies
from dagster_project.demo.people import CONSUMER, VISITOR, People
from dagster_project.demo.size import DemoSize, Floats, Ints
from dagster_project.demo.timeline import Timeline

# By habit: bounced, casual, regular, power.
SETUP_CHANCE = np.array([0.22, 0.5, 0.8, 0.95])
IMPORT_CHANCE = np.array([0.06, 0.3, 0.6, 0.9])
CONNECTIONS = np.array([0.05, 0.35, 1.2, 2.4])
API_KEY_CHANCE = np.array([0.0, 0.02, 0.08, 0.22])
OPEN_INVITES_A_MONTH = np.array([0.0, 0.06, 0.25, 0.9])
LIMITS_A_MONTH = np.array([0.0, 0.02, 0.08, 0.3])
FREE, TRIAL, PAYING, CHURNED = range(4)


def plan_milestones(size: DemoSize, companies: Companies, people: People, buying: Buying, timeline: Timeline) -> None:
    """Adds the milestones of everybody to `timeline`."""
    rng = size.stream("milestones")
    _visits_before(rng, people, timeline)
    _sign_ups(companies, people, timeline)
    _set_up(rng, people, timeline)
    _invites(rng, size, people, timeline)
    _habits_of_use(rng, size, people, timeline)
    _unsubscribes(rng, people, timeline)
    _plans(rng, size, companies, people=people, buying=buying, timeline=timeline)


def _visits_before(rng: np.random.Generator, people: People, timeline: Timeline) -> None:
    """Anonymous page views: of visitors who stay unknown, and of users before they signed up."""
    pages = np.array(catalog().find("site page") + catalog().find("pricing page")[:2])
    curious = np.where(people.inviter >= 0, 0.15, 0.5)
    comes = (people.kind == VISITOR) | (rng.random(len(people)) < curious)
    who = np.repeat(
        np.flatnonzero(comes & ~people.is_mobile), rng.integers(1, 5, int((comes & ~people.is_mobile).sum()))
    )
    before = np.where(rng.random(len(who)) < 0.5, 0.0, rng.exponential(4, len(who)))
    day = np.where(before > 0, np.floor(people.joined[who] - before), people.joined[who])
    timeline.add(day, who, pages[rng.integers(0, len(pages), len(who))], anonymous=True)


def _sign_ups(companies: Companies, people: People, timeline: Timeline) -> None:
    kinds = catalog()
    who = np.flatnonzero(people.is_user)
    at = people.joined[who]
    timeline.add(at, who, kinds.one("Signed Up"))
    timeline.add(at, who, kinds.one("identify"))
    grouped = who[(people.company[who] >= 0) & (companies.grouping[people.company[who]] != NO_GROUP)]
    timeline.add(people.joined[grouped], grouped, kinds.find("group")[FREE])


def _set_up(rng: np.random.Generator, people: People, timeline: Timeline) -> None:
    """Setup steps, integrations, imports and API keys: the deeper somebody goes, the more of them."""
    kinds = catalog()
    who = np.flatnonzero(people.is_user)
    habit = people.habit[who]
    for step, template in enumerate(kinds.find("setup")):
        does = who[rng.random(len(who)) < SETUP_CHANCE[habit] * (1.0 if step else 1.05)]
        timeline.add(people.joined[does] + rng.exponential(1 + 2 * step, len(does)), does, template)
    _connections(rng, people, timeline)
    statuses, started = kinds.find("import"), kinds.one("import start")
    does = who[rng.random(len(who)) < IMPORT_CHANCE[habit]]
    day = people.joined[does] + rng.exponential(5, len(does))
    status = rng.choice(len(statuses), len(does), p=[0.72, 0.16, 0.12])
    timeline.add(day, does, started)
    timeline.add(day, does, np.array(statuses)[status])
    again = (status > 0) & (rng.random(len(does)) < 0.5)
    timeline.add(day[again] + rng.exponential(3, int(again.sum())), does[again], statuses[0])
    keyed = who[rng.random(len(who)) < API_KEY_CHANCE[habit]]
    timeline.add(_some_day(rng, people, keyed), keyed, kinds.one("API Key Generated"))


def _connections(rng: np.random.Generator, people: People, timeline: Timeline) -> None:
    connect, disconnect = np.array(catalog().find("connect")), np.array(catalog().find("disconnect"))
    many = np.where(people.is_user, rng.poisson(CONNECTIONS[people.habit]), 0)
    who = np.repeat(np.arange(len(people)), many)
    popularity = np.array([0.24, 0.16, 0.14, 0.12, 0.1, 0.1, 0.07, 0.05, 0.02])
    which = rng.choice(len(connect), len(who), p=popularity)
    day = people.joined[who] + rng.exponential(12, len(who))
    timeline.add(day, who, connect[which])
    breaks = rng.random(len(who)) < 0.08
    timeline.add(day[breaks] + rng.exponential(20, int(breaks.sum())), who[breaks], disconnect[which[breaks]])


def _invites(rng: np.random.Generator, size: DemoSize, people: People, timeline: Timeline) -> None:
    """An invite before each invited person's sign-up, and some that nobody accepts."""
    invite = np.array(catalog().find("invite"))
    invited = np.flatnonzero(people.inviter >= 0)
    host = people.inviter[invited]
    sent = np.maximum(people.joined[invited] - rng.exponential(1.2, len(invited)), people.joined[host] + 0.01)
    timeline.add(sent, host, invite[(rng.random(len(invited)) < 0.2).astype(int)])
    stays = np.clip(np.minimum(people.left, size.horizon) - people.joined, 0, None) / 30
    many = np.where(people.is_user, rng.poisson(OPEN_INVITES_A_MONTH[people.habit] * stays), 0)
    who = np.repeat(np.arange(len(people)), many)
    timeline.add(_some_day(rng, people, who, horizon=size.horizon), who, int(invite[0]))


def _habits_of_use(rng: np.random.Generator, size: DemoSize, people: People, timeline: Timeline) -> None:
    """Limits that heavy users run into, and idle looks at the prices."""
    kinds = catalog()
    stays = np.clip(np.minimum(people.left, size.horizon) - people.joined, 0, None) / 30
    limits = np.where(people.is_user, rng.poisson(LIMITS_A_MONTH[people.habit] * stays), 0)
    who = np.repeat(np.arange(len(people)), limits)
    timeline.add(_some_day(rng, people, who, horizon=size.horizon), who, kinds.one("Limit Reached"))
    prices = np.array(kinds.find("pricing page"))
    looks = np.where(people.is_user, rng.poisson(0.1 + 0.08 * stays), 0)
    who = np.repeat(np.arange(len(people)), looks)
    timeline.add(_some_day(rng, people, who, horizon=size.horizon), who, prices[rng.integers(0, 3, len(who))])


def _unsubscribes(rng: np.random.Generator, people: People, timeline: Timeline) -> None:
    """A few in a hundred unsubscribe, and some of these change their mind."""
    who = np.flatnonzero(people.is_user & (rng.random(len(people)) < 0.03))
    day = people.joined[who] + rng.exponential(25, len(who))
    timeline.add(day, who, catalog().one("Unsubscribed"))
    back = rng.random(len(who)) < 0.3
    timeline.add(day[back] + rng.exponential(10, int(back.sum())), who[back], catalog().one("Resubscribed"))


def _plans(
    rng: np.random.Generator,
    size: DemoSize,
    companies: Companies,
    *,
    people: People,
    buying: Buying,
    timeline: Timeline,
) -> None:
    """Group and identify calls when a plan changes; invoices and seats while a company pays."""
    kinds = catalog()
    groups, states = kinds.find("group"), kinds.find("identify plan")
    founders = np.flatnonzero(people.is_founder)
    team = people.company[founders]
    grouped = companies.grouping[team] != NO_GROUP
    for moment, state in ((buying.shops_at, TRIAL), (buying.pays_at, PAYING), (buying.cancels_at, CHURNED)):
        day = np.maximum(moment[team], people.joined[founders] + 0.002)
        timeline.add(day[grouped], founders[grouped], groups[state])
        timeline.add(day[~grouped], founders[~grouped], states[state])
    pays, stops = buying.pays_at[team], np.minimum(buying.cancels_at[team], size.horizon)
    months = np.clip(np.ceil((stops - np.maximum(pays, 0)) / 30), 0, None)
    months = np.where(np.isfinite(pays), months, 0).astype(int)
    who = np.repeat(founders, months)
    day = np.maximum(np.repeat(pays, months), 0) + rng.random(len(who)) * 30 * np.repeat(months, months)
    looks = rng.random(len(who)) < 0.7
    timeline.add(day[looks], who[looks], kinds.one("Invoice Downloaded"))
    timeline.add(day[~looks], who[~looks], kinds.one("Seat Added"))
    # Consumers pay by themselves now and then, and nobody in sales hears of it.
    payers = np.flatnonzero((people.kind == CONSUMER) & (people.habit >= 2) & (rng.random(len(people)) < 0.2))
    day = people.joined[payers] + rng.exponential(20, len(payers)) + 1
    timeline.add(day, payers, states[PAYING])
    timeline.add(day, payers, kinds.one("Invoice Downloaded"))


def _some_day(rng: np.random.Generator, people: People, who: Ints, *, horizon: float = np.inf) -> Floats:
    """For each of `who` a day while they use the product for the first time (at most 90 days in without
    horizon).
    """
    until = np.minimum(people.left[who], np.minimum(horizon, people.joined[who] + 90) if horizon == np.inf else horizon)
    return people.joined[who] + rng.random(len(who)) * np.maximum(until - people.joined[who], 0.05)
