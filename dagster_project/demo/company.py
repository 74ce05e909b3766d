"""A simulated product-led company, written into a landing folder in the product's input formats.

ACME Flow (acmeflow.example) sells a dashboard product that people sign up for by themselves. The truth behind
the files, which no file shows:

- Every company has four latent traits, each about standard normal: fit, growth, depth, intent (companies.py).
  Their weighted sum is its *propensity* to buy.
- Growth makes teams larger, by invitations that are accepted; depth makes their members use more, set up,
  connect and import more (people.py, milestones.py, sessions.py).
- A company starts to shop with a chance that rises with propensity. Its most active people then look at
  prices, compare plans, click upgrade, write about limits, ask for sales: the more openly, the higher intent
  (intent.py).
- Shopping leads to an opportunity, or in small companies often to a card payment without one. It is won with
  a chance that rises with propensity. Nothing depends on a computed score (buying.py).
- Noise: people who shop and never buy, outbound deals of companies that gave no sign, and deals of companies
  without any user, which product signals must miss.
- `is_fresh` companies stir in the last week, so that a first run has something to hand over.

`demo_truth` gives the latent truth to tests; nothing of it goes into the landing folder.
"""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from dagster_project.demo.buying import Buying, make_buying
from dagster_project.demo.companies import Companies, make_companies
from dagster_project.demo.crm import Crm, extract_days, make_crm, moments
from dagster_project.demo.crm_people import make_contacts, make_owners
from dagster_project.demo.events import SETTLED, planned_templates_of_billing, write_events
from dagster_project.demo.intent import plan_shopping
from dagster_project.demo.milestones import plan_milestones
from dagster_project.demo.people import HABITS, KINDS, MEMBER, People, make_people
from dagster_project.demo.size import DemoSize, naive_utc
from dagster_project.demo.tickets import make_tickets, tickets_at
from dagster_project.demo.timeline import Happenings, Timeline
from dagster_project.demo.writer import LandingWriter


@dataclass(frozen=True)
class DemoReport:
    """What was written: counts of distinct readable events, of rows on top of them, of CRM rows, and the
    files.
    """

    users: int
    accounts: int
    events: int
    same_again: int
    changed_again: int
    late: int
    unreadable: int
    skewed: int
    contacts: int
    opportunities: int
    tickets: int
    files: tuple[str, ...]

    def __str__(self) -> str:
        counts = (f"{getattr(self, f.name):,} {f.name.replace('_', ' ')}" for f in fields(self) if f.name != "files")
        return f"{', '.join(counts)}, in {len(self.files)} files"


@dataclass(frozen=True)
class DemoTruth:
    """The latent truth: one row per company, per person, and per opportunity. Moments are naive UTC, null for
    never.
    """

    companies: pl.DataFrame
    people: pl.DataFrame
    deals: pl.DataFrame


def write_demo_company(
    landing: Path, seed: int, users: int = 3000, accounts: int = 400, days: int = 180, *, end: datetime
) -> DemoReport:
    """Writes the simulated company into `landing`: the same arguments give the same bytes.

    landing: the folder that ingest reads; created when missing, files of the same names are replaced.
    users, accounts: how many people signed up, and how many companies there are of any kind.
    days: calendar days of history, the day of `end` included.
    end: the moment at which the history ends, UTC when naive. Nothing is later, except a few events with
    wrong clocks.

    Raises ValueError for sizes below 1 and a negative seed.
    """
    size = DemoSize(seed, users, accounts, days, naive_utc(end))
    companies, people, buying = population(size)
    planned, champions = plan_events(size, companies, people, buying=buying)
    writer = LandingWriter(landing)
    counts = write_events(writer, size, companies=companies, people=people, buying=buying, planned=planned)
    owners = make_owners(size)
    contacts = make_contacts(size, companies, people=people, buying=buying, owners=owners)
    crm = make_crm(size, companies, buying=buying, contacts=contacts, owners=owners)
    tickets = make_tickets(size, companies, people=people, buying=buying, contacts=contacts, champions=champions)
    for day in extract_days(size):
        moment = size.moment(day)
        _write_crm(writer, crm, tickets, day=day, folder=f"crm/dt={moment:%Y-%m-%d}", modified_at=moment)
    settled = size.end - SETTLED
    now = (settled - size.start) / timedelta(days=1)
    rows = _write_crm(writer, crm, tickets, day=now, folder="crm", modified_at=settled)
    writer.csv("suppression.csv", _suppression(size, companies, people), modified_at=settled)
    return DemoReport(
        users=size.users,
        accounts=size.accounts,
        events=counts.events,
        same_again=counts.same_again,
        changed_again=counts.changed_again,
        late=counts.late,
        unreadable=counts.unreadable,
        skewed=counts.skewed,
        contacts=rows["contacts"],
        opportunities=rows["opportunities"],
        tickets=rows["tickets"],
        files=tuple(writer.files),
    )


def demo_truth(seed: int, users: int = 3000, accounts: int = 400, days: int = 180, *, end: datetime) -> DemoTruth:
    """The latent truth behind the files that `write_demo_company` writes with the same arguments."""
    size = DemoSize(seed, users, accounts, days, naive_utc(end))
    companies, people, buying = population(size)
    deals = buying.deals
    when = {"shops_at": buying.shops_at, "pays_at": buying.pays_at, "cancels_at": buying.cancels_at}
    by_company = pl.DataFrame(
        {
            "account_id": companies.account_ids,
            "domain": companies.domains,
            "has_users": companies.has_users,
            "in_crm": companies.in_crm,
            "segment": np.array(["smb", "mid-market", "enterprise"])[companies.segment],
            "fit": companies.fit,
            "growth": companies.growth,
            "depth": companies.depth,
            "intent": companies.intent,
            "propensity": companies.propensity,
            "is_fresh": companies.is_fresh,
            "is_self_serve": buying.is_self_serve,
            **when,
        }
    )
    by_person = pl.DataFrame(
        {
            "user_id": people.user_ids,
            "email": people.emails,
            "kind": np.array(KINDS)[people.kind],
            "habit": np.array(HABITS)[people.habit],
            "account_id": pl.Series(
                [companies.account_ids[c] if c >= 0 else None for c in people.company.tolist()],
                dtype=pl.String,
            ),
            "joined_at": people.joined,
            "left_at": people.left,
        }
    )
    by_deal = pl.DataFrame(
        {
            "account_id": [companies.account_ids[c] for c in deals.company.tolist()],
            "propensity": companies.propensity[deals.company],
            "created_at": deals.created,
            "closes_at": deals.closes,
            "is_won": deals.is_won,
            "from_usage": deals.from_usage,
        },
        schema_overrides={"account_id": pl.String},
    )
    return DemoTruth(*(_with_moments(size, frame) for frame in (by_company, by_person, by_deal)))


def population(size: DemoSize) -> tuple[Companies, People, Buying]:
    """Companies, the people in them and who buys when: the latent truth that everything follows from."""
    companies = make_companies(size)
    return companies, make_people(size, companies), make_buying(size, companies)


def plan_events(
    size: DemoSize, companies: Companies, people: People, *, buying: Buying
) -> tuple[Happenings, np.ndarray]:
    """All events that are not everyday use, and each company's champion."""
    timeline = Timeline()
    plan_milestones(size, companies, people, buying, timeline)
    champions = plan_shopping(size, companies, people, buying, timeline)
    return timeline.happenings(size, people, planned_templates_of_billing()), champions


def _write_crm(
    writer: LandingWriter, crm: Crm, tickets: pl.DataFrame, *, day: float, folder: str, modified_at: datetime
) -> dict[str, int]:
    """One full extract of all entities as of `day`; returns rows by entity."""
    contacts = crm.contacts.at(day)
    frames = {
        "accounts": crm.accounts(day),
        "contacts": contacts.with_columns(updated_at=moments(crm.size, pl.col("updated"))).drop("updated"),
        "opportunities": crm.opportunities(day),
        "owners": crm.owners.frame,
        "tickets": tickets_at(tickets, day)
        .with_columns(created_at=moments(crm.size, pl.col("created")))
        .drop("created"),
    }
    for entity, frame in frames.items():
        writer.csv(f"{folder}/{entity}.csv", frame, modified_at=modified_at)
    return {entity: len(frame) for entity, frame in frames.items()}


def _suppression(size: DemoSize, companies: Companies, people: People) -> pl.DataFrame:
    """People and companies that asked never to be contacted; some of them are active right now."""
    rng = size.stream("suppression")
    members = np.flatnonzero(people.kind == MEMBER)
    persons = rng.choice(members, min(len(members), 4 + size.users // 200), replace=False)
    firms = rng.choice(len(companies), min(len(companies), 1 + size.accounts // 150), replace=False)
    count = len(persons) + len(firms)
    return pl.DataFrame(
        {
            "email": [people.emails[p].lower() for p in persons.tolist()] + [None] * len(firms),
            "domain": [None] * len(persons) + [companies.domains[f] for f in firms.tolist()],
            "reason": rng.choice(["asked not to be contacted", "legal hold", "complaint"], count),
            "added_at": [size.moment(d) for d in (rng.random(count) * size.horizon * 0.95).tolist()],
        },
        schema_overrides={"email": pl.String, "domain": pl.String},
    )


def _with_moments(size: DemoSize, frame: pl.DataFrame) -> pl.DataFrame:
    """Columns named `..._at` as moments, null for never."""
    days = [name for name in frame.columns if name.endswith("_at")]
    return frame.with_columns(moments(size, pl.when(pl.col(name).is_finite()).then(name)).alias(name) for name in days)
