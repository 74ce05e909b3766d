"""People in the CRM: our own sellers, and the contacts with their lifecycle, consent and duplicates."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from dagster_project.demo.buying import Buying
from dagster_project.demo.companies import CRM_ONLY, Companies
from dagster_project.demo.names import DEPARTMENTS, ROLES, Addresses, person_names
from dagster_project.demo.people import BOUNCED, CONSUMER, MEMBER, OWN_DOMAIN, TEST, People
from dagster_project.demo.size import Bools, DemoSize, Floats, Ints

TEAMS = (("ae", 7), ("sdr", 5), ("enterprise_sdr", 3), ("csm", 4), ("sales", 3))
# Every eighth seller has left.
LEAVES_EVERY = 8


@dataclass(frozen=True)
class Owners:
    """Our sellers, as the owners extract has them."""

    frame: pl.DataFrame

    def of_team(self, team: str) -> list[str]:
        """Owner ids of a team, those who left included."""
        return self.frame.filter(pl.col("team") == team)["owner_id"].to_list()


@dataclass(frozen=True)
class Contacts:
    """All contacts ever; `of_user` and `of_company` give contact ids by person and by company (its first
    contact).
    """

    facts: pl.DataFrame
    of_user: dict[int, str]
    of_company: dict[int, str]

    def at(self, day: float) -> pl.DataFrame:
        """The facts of the contacts that the CRM holds at that moment, `updated` being the latest change by
        then.
        """
        here = self.facts.filter((pl.col("created") <= day) & (pl.col("deleted_at") > day))
        stages = (("mql_at", "mql"), ("sql_at", "sql"), ("customer_at", "customer"))
        stage = pl.lit("lead")
        for moment, name in stages:
            stage = pl.when(pl.col(moment) <= day).then(pl.lit(name)).otherwise(stage)
        changes = ("mql_at", "sql_at", "customer_at", "opted_out_at")
        latest = pl.max_horizontal("created", *(pl.when(pl.col(c) <= day).then(c) for c in changes))
        return here.select(
            "contact_id", "email", "name", "role", "department", "account_id",
            stage.alias("lifecycle_stage"),
            (pl.col("opted_out_at") <= day).alias("email_opt_out"),
            "do_not_contact", "owner_id",
            latest.alias("updated"),
        )  # fmt: skip


def make_owners(size: DemoSize) -> Owners:
    """The sellers; a few of them inactive."""
    rng = size.stream("owners")
    teams = [team for team, many in TEAMS for _ in range(many)]
    names = person_names(rng, len(teams))
    addresses = Addresses()
    numbers = range(1, len(teams) + 1)
    return Owners(
        pl.DataFrame(
            {
                "owner_id": [f"OW-{number:03d}" for number in numbers],
                "name": [" ".join(name) for name in names],
                "email": [addresses.give(name, OWN_DOMAIN) for name in names],
                "team": teams,
                "is_active": [number % LEAVES_EVERY != 0 for number in numbers],
                "slack_user_id": [f"U{number:03d}{word:06X}" for number, word in zip(
                    numbers, rng.integers(0, 1 << 24, len(teams)).tolist(), strict=True)],
            }
        )
    )  # fmt: skip


def make_contacts(size: DemoSize, companies: Companies, *, people: People, buying: Buying, owners: Owners) -> Contacts:
    """Contacts of users, leads without any usage, and a few contacts that are in twice."""
    rng = size.stream("contacts")
    users = _users_with_contact(rng, companies, people)
    in_crm = np.flatnonzero(companies.in_crm)
    leads = np.sort(rng.choice(in_crm, max(2, int(len(in_crm) * 0.7))))
    # Every company that the product does not know has somebody to talk to.
    leads = np.union1d(leads, np.flatnonzero(companies.reach == CRM_ONLY))
    lead_names = person_names(rng, len(leads))
    addresses = Addresses()
    count = len(users) + len(leads)
    company = np.concatenate([people.company[users], leads])
    created = np.concatenate(
        [
            people.joined[users] + rng.exponential(0.3, len(users)),
            rng.uniform(-200, size.horizon - 1, len(leads)),
        ]
    )
    is_mql = rng.random(count) < np.concatenate([np.full(len(users), 0.17), np.full(len(leads), 0.35)])
    contact_ids = [f"C-{number:06d}" for number in range(1, count + 1)]
    facts = pl.DataFrame(
        {
            "contact_id": contact_ids,
            "email": [people.emails[user].lower() for user in users.tolist()]
            + [f"x.{addresses.give(n, companies.domains[c])}" for n, c in zip(lead_names, leads.tolist(), strict=True)],
            "name": [" ".join(people.names[user]) for user in users.tolist()] + [" ".join(n) for n in lead_names],
            "role": _some(rng, ROLES, count, known=0.7),
            "department": _some(rng, DEPARTMENTS, count, known=0.85),
            "account_id": _accounts_of(rng, companies, company),
            "owner_id": _some(rng, owners.of_team("ae") + owners.of_team("sdr"), count, known=0.1),
            "created": created,
            "mql_at": np.where(is_mql, created + rng.exponential(12, count), np.inf),
            **_company_moments(companies, buying, company=company, created=created),
            "opted_out_at": np.where(rng.random(count) < 0.045, created + rng.exponential(40, count), np.inf),
            "do_not_contact": rng.random(count) < 0.015,
            "deleted_at": np.where(rng.random(count) < 0.02, created + rng.uniform(20, 150, count), np.inf),
        }
    )
    return Contacts(
        facts=_with_duplicates(rng, facts),
        of_user=dict(zip(users.tolist(), contact_ids, strict=False)),
        of_company=_first_contacts(contact_ids, company),
    )


def _users_with_contact(rng: np.random.Generator, companies: Companies, people: People) -> Ints:
    in_crm = (people.company >= 0) & companies.in_crm[people.company]
    likely = np.select(
        [(people.kind == MEMBER) & in_crm & (people.habit != BOUNCED), (people.kind == MEMBER) & in_crm,
         people.kind == MEMBER, people.kind == CONSUMER, people.kind == TEST],
        [0.9, 0.7, 0.25, 0.15, 0.5], default=0.0,
    )  # fmt: skip
    return np.flatnonzero(rng.random(len(people)) < likely)


def _accounts_of(rng: np.random.Generator, companies: Companies, company: Ints) -> pl.Series:
    """Account ids; null for people without a company in the CRM and now and then because nobody filled it
    in.
    """
    filled = (rng.random(len(company)) < 0.93) & (company >= 0) & companies.in_crm[company]
    ids = companies.account_ids
    return pl.Series(
        [ids[c] if f else None for c, f in zip(company.tolist(), filled.tolist(), strict=True)],
        dtype=pl.String,
    )


def _company_moments(companies: Companies, buying: Buying, *, company: Ints, created: Floats) -> dict[str, Floats]:
    """When the company's first opportunity makes a contact an SQL, and its first payment a customer."""
    first_deal = np.full(len(companies), np.inf)
    np.minimum.at(first_deal, buying.deals.company, buying.deals.created)
    has: Bools = company >= 0
    return {
        "sql_at": np.maximum(np.where(has, first_deal[company], np.inf), created),
        "customer_at": np.maximum(np.where(has, buying.pays_at[company], np.inf), created),
    }


def _some(rng: np.random.Generator, values: tuple[str, ...] | list[str], count: int, *, known: float) -> pl.Series:
    """`count` random values, null for all but the share `known`."""
    picked, is_known = rng.integers(0, len(values), count).tolist(), (rng.random(count) < known).tolist()
    return pl.Series([values[p] if k else None for p, k in zip(picked, is_known, strict=True)], dtype=pl.String)


def _with_duplicates(rng: np.random.Generator, facts: pl.DataFrame) -> pl.DataFrame:
    """Adds an older second contact with the same e-mail, in capitals, for one in a hundred (at least one)."""
    twice = facts.filter(rng.random(len(facts)) < 0.01)
    twice = twice if len(twice) else facts.head(1)
    again = twice.with_columns(
        contact_id=pl.col("contact_id").str.replace("C-", "C-D"),
        email=pl.col("email").str.to_titlecase(),
        role=pl.lit(None, pl.String),
        created=pl.col("created") - 30.0,
        **{name: pl.lit(np.inf) for name in ("mql_at", "sql_at", "customer_at", "opted_out_at", "deleted_at")},
    )
    return pl.concat([facts, again])


def _first_contacts(contact_ids: list[str], company: Ints) -> dict[int, str]:
    first: dict[int, str] = {}
    for contact, c in zip(contact_ids, company.tolist(), strict=True):
        first.setdefault(c, contact)
    return first
