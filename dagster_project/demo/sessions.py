"""Everyday use: the sessions of one week for everybody, drawn at once.

A week is drawn from a random stream of its own, so that memory holds one week, whatever the size.
"""

import numpy as np

from dagster_project.demo.buying import Buying
from dagster_project.demo.catalog import catalog
from dagster_project.demo.people import POWER, VISITOR, People
from dagster_project.demo.size import DAY_MS, DemoSize, Floats, Ints
from dagster_project.demo.timeline import Happenings, session_code

WEEK = 7
# Sessions of a day as a share of a seventh of the week's, Monday first.
WEEKDAYS = np.array([1.25, 1.35, 1.3, 1.25, 1.1, 0.4, 0.35])
# By habit: mean events after the first of a session, and their median distance in minutes.
EVENTS_A_SESSION = np.array([2.5, 3.5, 5.0, 8.0])
MINUTES_BETWEEN = np.array([0.7, 0.8, 1.0, 1.2])
NEW_USER_DAYS, NEW_USER_BOOST = 7.0, 1.5
SHOPPING_DAYS, SHOPPING_BOOST = 28.0, 1.5


def week_of_sessions(size: DemoSize, people: People, buying: Buying, *, week: int) -> Happenings:
    """All session events of the given week (0 is the first), in no particular order, none after the end."""
    rng = size.stream("sessions", week)
    days = np.arange(week * WEEK, min((week + 1) * WEEK, size.days))
    who = np.flatnonzero((people.kind != VISITOR) & _anywhere(people, days))
    expected = _expected_sessions(size, people, buying, who=who, days=days)
    sessions = np.minimum(rng.poisson(expected), 40)
    person = np.repeat(np.repeat(who, len(days)), sessions.ravel())
    day = np.repeat(np.tile(days, len(who)), sessions.ravel())
    place = 1 + np.arange(len(person)) - np.repeat(np.cumsum(sessions.ravel()) - sessions.ravel(), sessions.ravel())
    begins = np.clip(rng.normal(12.8, 2.6, len(person)), 0.1, 22.9) / 24 * DAY_MS
    habit = people.habit[person]
    many = 1 + rng.poisson(EVENTS_A_SESSION[habit])
    within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    gaps = rng.lognormal(0, 0.7, len(within)) * np.repeat(MINUTES_BETWEEN[habit], many) * 60_000
    offset = np.cumsum(np.where(within == 0, 0, gaps))
    offset -= np.repeat(offset[within == 0], many)
    person_of, day_of = np.repeat(person, many), np.repeat(day, many)
    at_ms = (day_of * DAY_MS + np.repeat(begins, many) + offset).astype(np.int64)
    code = np.repeat(session_code(person, day, np.minimum(place, 200)), many)
    rows = Happenings(
        at_ms=at_ms,
        person=person_of,
        template=_templates(rng, people, person=person_of, within=within),
        session=np.where(people.is_mobile[person_of], -1, code),
        is_anonymous=np.zeros(len(at_ms), dtype=bool),
    )
    exists = (at_ms < size.horizon_ms) & (at_ms // DAY_MS == day_of)
    return rows.take(exists & (at_ms > people.joined[person_of] * DAY_MS + 60_000))


def _anywhere(people: People, days: Ints) -> np.ndarray:
    """Who may be active on any of these days."""
    first, last = days[0], days[-1] + 1
    stays = (people.joined < last) & (people.left > first)
    return stays | ((people.returns < last) & (people.returns_until > first))


def _expected_sessions(size: DemoSize, people: People, buying: Buying, *, who: Ints, days: Ints) -> Floats:
    """Expected sessions, one row per person and one column per day."""
    noon = days[np.newaxis, :] + 0.5
    rows = who[:, np.newaxis]
    present = people.is_active(np.clip(noon, np.floor(people.joined[rows]), None), rows)
    present |= np.floor(people.joined[rows]) == days[np.newaxis, :]
    present |= np.floor(people.returns[rows]) == days[np.newaxis, :]
    weekday = WEEKDAYS[(size.start.weekday() + days) % WEEK]
    rate = people.sessions_a_week[who][:, np.newaxis] / WEEK * weekday[np.newaxis, :]
    rate = rate * np.where(noon - people.joined[rows] < NEW_USER_DAYS, NEW_USER_BOOST, 1.0)
    begins = np.where(people.company[rows] >= 0, buying.shops_at[people.company[rows]], np.inf)
    shopping = (noon >= begins) & (noon < begins + SHOPPING_DAYS)
    return np.where(present, rate * np.where(shopping, SHOPPING_BOOST, 1.0), 0.0)


def _templates(rng: np.random.Generator, people: People, *, person: Ints, within: Ints) -> Ints:
    """What each event is: signing in, a page, an action of an adopted feature, now and then something
    unknown.
    """
    kinds = catalog()
    pages, unknown = np.array(kinds.find("app page")), np.array(kinds.find("unknown"))
    actions = np.array(kinds.find("feature action"))
    draw, pick = rng.random(len(person)), rng.random(len(person))
    page = pages[np.minimum((pick * pick * len(pages)).astype(int), len(pages) - 1)]
    # Everybody has an own order of features and uses the first ones of it, the first most.
    nth = (pick**1.3 * people.features[person]).astype(int)
    action = actions[(person * 7 + nth * (1 + 2 * (person % 2))) % len(actions)]
    acts = np.where(people.habit[person] == POWER, 0.5, 0.4)
    chosen = np.where(draw < acts, action, page)
    chosen = np.where(draw > 0.97, unknown[(pick * len(unknown)).astype(int)], chosen)
    return np.where(within == 0, np.where(draw < 0.5, kinds.one("Signed In"), pages[0]), chosen)
