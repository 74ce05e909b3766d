"""The people: who they are, when they join and leave, and how intensely they use the product.

Team mates are invited, so a team's size follows its company's latent growth; how people use the product
follows its latent depth. What they do in a session is in sessions.py, what they do once in milestones.py.
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.demo.companies import Companies
from dagster_project.demo.names import FREE_MAIL, Addresses, person_names
from dagster_project.demo.size import Bools, DemoSize, Floats, Ints

OWN_DOMAIN, COMPETITOR_DOMAIN = "acmeflow.example", "rivalapp.example"

MEMBER, CONSUMER, STAFF, TEST, BOT, COMPETITOR, VISITOR = range(7)
KINDS = ("member", "consumer", "staff", "test", "bot", "competitor", "visitor")
BOUNCED, CASUAL, REGULAR, POWER = range(4)
HABITS = ("bounced", "casual", "regular", "power")

# By habit: sessions a week while active, days until they stop, features adopted at most.
SESSIONS_A_WEEK = np.array([1.5, 1.0, 2.4, 5.2])
STAYS_DAYS = np.array([4.0, 70.0, 150.0, 300.0])
FEATURES_FROM, FEATURES_TO = np.array([1, 1, 2, 3]), np.array([2, 3, 5, 8])


@dataclass(frozen=True)
class People:
    """One entry per person in every field: users first, then visitors who never say who they are.

    `company` is -1 without one, `inviter` -1 for those who came by themselves. A person is active from
    `joined` to `left` and again from `returns` to `returns_until` (infinity: never).
    """

    user_ids: list[str]
    anonymous_ids: list[str]
    names: list[tuple[str, str]]
    emails: list[str]
    kind: Ints
    habit: Ints
    company: Ints
    inviter: Ints
    is_mobile: Bools
    is_founder: Bools
    sessions_a_week: Floats
    features: Ints
    joined: Floats
    left: Floats
    returns: Floats
    returns_until: Floats

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def is_user(self) -> Bools:
        return self.kind != VISITOR

    def is_active(self, day: Floats | float, who: Ints | slice = slice(None)) -> Bools:
        """Whether each of `who` uses the product at that moment."""
        first = (day >= self.joined[who]) & (day < self.left[who])
        return first | ((day >= self.returns[who]) & (day < self.returns_until[who]))


def make_people(size: DemoSize, companies: Companies) -> People:
    """All people of a simulation: members of teams, consumers, those that scoring must leave out, and
    visitors.
    """
    rng = size.stream("people")
    kind = _kinds(size)
    company = np.full(len(kind), -1)
    team = _team_of_each(rng, companies, int((kind == MEMBER).sum()))
    company[kind == MEMBER] = team
    company[kind == TEST] = rng.choice(np.flatnonzero(companies.has_users), int((kind == TEST).sum()))
    depth = np.where(company >= 0, companies.depth[company], -0.5)
    fresh = (company >= 0) & companies.is_fresh[company]
    habit = _habits(rng, depth=depth, fresh=fresh & (kind == MEMBER))
    habit[kind == CONSUMER] = np.minimum(habit[kind == CONSUMER], rng.integers(0, 4, int((kind == CONSUMER).sum())))
    habit[kind == VISITOR] = BOUNCED
    joined, inviter, founder = _joining(rng, size, companies, company=company, is_member=kind == MEMBER)
    left, returns, until = _staying(rng, size, companies, company=company, habit=habit, joined=joined)
    pace = SESSIONS_A_WEEK[habit] * rng.lognormal(0, 0.3, len(kind)) * np.exp(0.12 * depth)
    names = person_names(rng, len(kind))
    return People(
        user_ids=_user_ids(kind),
        anonymous_ids=[f"an_{word:012x}" for word in rng.integers(0, 1 << 48, len(kind)).tolist()],
        names=names,
        emails=_emails(rng, companies, kind=kind, company=company, names=names),
        kind=kind,
        habit=habit,
        company=company,
        inviter=inviter,
        is_mobile=(rng.random(len(kind)) < 0.11) & np.isin(kind, [MEMBER, CONSUMER]),
        is_founder=founder,
        sessions_a_week=np.where(kind == BOT, 40.0, pace),
        features=rng.integers(FEATURES_FROM[habit], FEATURES_TO[habit] + 1),
        joined=joined,
        left=left,
        returns=returns,
        returns_until=until,
    )


def traits_say_test(email: str) -> bool:
    """Whether a test account is marked by a trait."""
    return email.startswith("test+")


def _kinds(size: DemoSize) -> Ints:
    """The kind of each person. A sixth are consumers, about one in a hundred is left out of scoring."""
    special = {
        STAFF: size.users // 300 + 1,
        TEST: size.users // 500 + 2,
        BOT: 1,
        COMPETITOR: size.users // 1000 + 2,
    }
    consumers = size.users // 6
    members = max(0, size.users - consumers - sum(special.values()))
    counts = {MEMBER: members, CONSUMER: consumers, **special, VISITOR: size.users // 6}
    return np.repeat(list(counts), list(counts.values()))


def _team_of_each(rng: np.random.Generator, companies: Companies, members: int) -> Ints:
    """The company of each member: everyone's first user, then by size and latent growth."""
    using = np.flatnonzero(companies.has_users)
    weight = np.exp(0.75 * companies.growth[using] + 0.45 * companies.segment[using] + rng.normal(0, 0.4, len(using)))
    weight *= np.where(companies.is_fresh[using], 1.3, 1.0)
    first = using[: min(len(using), members)]
    rest = rng.choice(using, members - len(first), p=weight / weight.sum())
    return np.sort(np.concatenate([first, rest]))


def _habits(rng: np.random.Generator, *, depth: Floats, fresh: Bools) -> Ints:
    """How each person uses the product; latent depth moves people from bouncing to heavy use."""
    score = 0.75 * depth + rng.normal(0, 1, len(depth)) + 0.7 * fresh
    return np.digitize(score, [-0.1, 0.62, 2.0])


def _joining(
    rng: np.random.Generator, size: DemoSize, companies: Companies, *, company: Ints, is_member: Bools
) -> tuple[Floats, Ints, Bools]:
    """When each person signs up, who invited them, and whether they were the first of their company."""
    count = len(company)
    joined = rng.uniform(0, size.horizon - 0.3, count)
    inviter, founder = np.full(count, -1), np.zeros(count, dtype=bool)
    members = np.flatnonzero(is_member)
    if not len(members):
        return joined, inviter, founder
    team = company[members]
    first_of_team = np.flatnonzero(np.diff(team, prepend=-1))
    sizes = np.diff(np.append(first_of_team, len(members)))
    place = np.arange(len(members)) - np.repeat(first_of_team, sizes)
    started, ends = companies.started[team], np.minimum(companies.fades_at[team], size.horizon - 0.3)
    share = np.sort(np.repeat(np.arange(len(sizes)), sizes) + rng.beta(0.9, 1.1, len(members))) % 1.0
    spread = np.where(companies.is_fresh[team], 0.9, np.repeat(rng.uniform(0.4, 1.0, len(sizes)), sizes))
    joins = np.where(place == 0, started, started + 0.05 + share * spread * np.maximum(ends - started - 0.05, 0.0))
    # News for the last week: the latest of a fresh team have only just come.
    last = (place >= np.repeat(sizes, sizes) - 2) & (place > 0) & companies.is_fresh[team]
    joins = np.where(last, size.horizon - rng.uniform(0.4, 6.5, len(members)), joins)
    joined[members] = np.minimum(joins, size.horizon - 0.05)
    founder[members] = place == 0
    # Usually the first person invites; later ones invite as well. Not everybody was invited.
    host = np.repeat(first_of_team, sizes) + np.floor(place * rng.random(len(members)) ** 2).astype(int)
    came_alone = (place == 0) | (rng.random(len(members)) < 0.15)
    inviter[members] = np.where(came_alone, -1, members[np.minimum(host, len(members) - 1)])
    return joined, inviter, founder


def _staying(
    rng: np.random.Generator,
    size: DemoSize,
    companies: Companies,
    *,
    company: Ints,
    habit: Ints,
    joined: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Until when each person stays, and from when until when they come back."""
    count = len(company)
    has = company >= 0
    fresh = has & companies.is_fresh[company]
    stays = np.where(fresh & (habit >= REGULAR), np.inf, STAYS_DAYS[habit] * rng.exponential(1, count))
    fades = np.where(has, companies.fades_at[company], np.inf) + rng.exponential(4, count)
    left = np.maximum(np.minimum(joined + stays, fades), joined + 0.02)
    faded = left >= fades
    with_team = np.where(has, companies.revives_at[company], np.inf) + rng.exponential(3, count)
    alone = np.where(rng.random(count) < 0.07, left + rng.uniform(41, 85, count), np.inf)
    returns = np.where(faded & (rng.random(count) < 0.7), with_team, alone)
    returns = np.where(returns > left + 33, returns, np.inf)
    # Some of those who left long ago come back just now: reactivations are news too.
    just_now = (left < size.horizon - 48) & (rng.random(count) < 0.015)
    returns = np.where(just_now, size.horizon - rng.uniform(0.5, 6, count), returns)
    return left, returns, returns + rng.exponential(30, count)


def _user_ids(kind: Ints) -> list[str]:
    prefix = {BOT: "bot-", VISITOR: "visitor-"}
    return [f"{prefix.get(k, 'u_')}{number:06d}" for number, k in enumerate(kind.tolist(), 1)]


def _emails(
    rng: np.random.Generator, companies: Companies, *, kind: Ints, company: Ints, names: list[tuple[str, str]]
) -> list[str]:
    """Sign-up addresses as typed: some in mixed case, some members of teams on free mail."""
    give = Addresses().give
    private = (rng.random(len(kind)) < 0.06).tolist()
    provider = rng.integers(0, len(FREE_MAIL), len(kind)).tolist()
    shouting = (rng.random(len(kind)) < 0.06).tolist()
    domains = {STAFF: OWN_DOMAIN, COMPETITOR: COMPETITOR_DOMAIN}
    emails = []
    for number, (k, team) in enumerate(zip(kind.tolist(), company.tolist(), strict=True)):
        if k == TEST:
            # Some can be told by the address, the others by a trait.
            local = f"test+{number}" if number % 2 else f"qa+test-{number}"
            emails.append(f"{local}@{companies.domains[team]}")
            continue
        at_work = k == MEMBER and not private[number]
        domain = companies.domains[team] if at_work else domains.get(k, FREE_MAIL[provider[number]])
        email = give(names[number], domain)
        emails.append(email.title() if shouting[number] else email)
    return emails
