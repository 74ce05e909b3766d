"""The CRM of the simulated company, and what it holds at a given moment.

Every record knows when it came and when it changed, so that an earlier extract is the past and not the
present with
rows left out: stages and lifecycles move, deals close, contacts appear, opt out and are now and then deleted.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from dagster_project.demo.buying import Buying
from dagster_project.demo.companies import (
    CRM_ONLY,
    ENTERPRISE,
    INDUSTRIES,
    MID_MARKET,
    SMB,
    Companies,
)
from dagster_project.demo.crm_people import Contacts, Owners
from dagster_project.demo.size import DemoSize

OPEN_STAGES = ("Discovery", "Evaluation", "Proposal", "Negotiation")
ORPHAN_ACCOUNT = "A-999999"


@dataclass(frozen=True)
class Crm:
    """All records ever, with the moments (days since the start of the history) from which their facts
    hold.
    """

    size: DemoSize
    companies: Companies
    buying: Buying
    contacts: Contacts
    owners: Owners
    deal_contacts: list[str | None]
    account_facts: pl.DataFrame

    def accounts(self, day: float) -> pl.DataFrame:
        """The accounts extract of that moment."""
        facts = self.account_facts.filter(pl.col("created") <= day)
        pays, stops = pl.col("pays_at") <= day, pl.col("cancels_at") <= day
        changed = pl.max_horizontal(
            "created",
            *(pl.when(pl.col(c) <= day).then(c) for c in ("shops_at", "pays_at", "cancels_at", "touched_at")),
        )
        status = pl.when(stops).then(pl.lit("churned")).when(pays).then(pl.lit("paying"))
        trial = pl.when(pl.col("shops_at") <= day).then(pl.lit("trial")).when(pl.col("has_users")).then(pl.lit("free"))
        return facts.select(
            "account_id", "name", "domain", "employee_count", "industry", "tech_stack", "department_count",
            "estimated_acv",
            pl.when(pays & ~stops).then("paid_acv").alias("contract_value"),
            "account_tier",
            pl.when(pays & ~stops).then("csm_id").otherwise("owner_id").alias("owner_id"),
            pl.when(pays & ~stops).then(pl.lit("customer")).when(stops).then(pl.lit("former customer"))
            .when(pl.col("shops_at") <= day).then(pl.lit("evaluating")).otherwise(pl.lit("prospect"))
            .alias("lifecycle_stage"),
            pl.when(pays & ~stops).then(pl.lit("Team")).otherwise(pl.lit("Free")).alias("plan"),
            pl.when(pays | stops).then(status).otherwise(trial).alias("subscription_status"),
            "is_target_account", "do_not_contact", "segment_override", "custom_fields",
            moments(self.size, changed).alias("updated_at"),
        )  # fmt: skip

    def opportunities(self, day: float) -> pl.DataFrame:
        """The opportunities extract of that moment; one of them belongs to an account that nobody knows."""
        deals, accounts = self.buying.deals, np.array(self.companies.account_ids)
        age = (day - deals.created) / np.maximum(deals.closes - deals.created, 0.1)
        stage = np.array(OPEN_STAGES)[np.clip(age * len(OPEN_STAGES), 0, len(OPEN_STAGES) - 1).astype(int)]
        closed = deals.closes <= day
        frame = pl.DataFrame(
            {
                "opportunity_id": [f"O-{number:06d}" for number in range(1, len(deals) + 1)],
                "account_id": accounts[deals.company],
                "contact_id": pl.Series(self.deal_contacts, dtype=pl.String),
                "stage": np.where(closed, np.where(deals.is_won, "Closed Won", "Closed Lost"), stage),
                "is_closed": closed,
                "is_won": closed & deals.is_won,
                "amount": deals.amount,
                "created": deals.created,
                "closed": np.where(closed, deals.closes, np.inf),
            },
            schema_overrides=dict.fromkeys(("opportunity_id", "account_id", "stage"), pl.String),
        )
        orphan = pl.DataFrame(
            [("O-000000", ORPHAN_ACCOUNT, None, OPEN_STAGES[0], False, False, 9000.0, -10.0, np.inf)],
            schema=frame.schema,
            orient="row",
        )
        known = pl.concat([orphan, frame]).filter(pl.col("created") <= day)
        return known.select(
            pl.exclude("created", "closed"),
            moments(self.size, pl.col("created")).alias("created_at"),
            moments(self.size, pl.when(pl.col("closed").is_finite()).then("closed")).alias("closed_at"),
        )


def make_crm(size: DemoSize, companies: Companies, *, buying: Buying, contacts: Contacts, owners: Owners) -> Crm:
    """The CRM records of a simulation."""
    rng = size.stream("crm")
    champions = contacts.of_company
    deal_contacts = [
        champions.get(company) if from_usage or place % 2 else None
        for place, (company, from_usage) in enumerate(
            zip(buying.deals.company.tolist(), buying.deals.from_usage.tolist(), strict=True)
        )
    ]
    return Crm(
        size=size,
        companies=companies,
        buying=buying,
        contacts=contacts,
        owners=owners,
        deal_contacts=deal_contacts,
        account_facts=_account_facts(rng, size, companies, buying=buying, owners=owners),
    )


def moments(size: DemoSize, day: pl.Expr) -> pl.Expr:
    """Days since the start of the history as moments in UTC, to the second."""
    return pl.lit(size.start) + (day * 86_400).cast(pl.Int64).cast(pl.Duration("ms")) * 1000


def _account_facts(
    rng: np.random.Generator, size: DemoSize, companies: Companies, *, buying: Buying, owners: Owners
) -> pl.DataFrame:
    count = len(companies)
    unknown = rng.random(count) < 0.25
    partly = rng.random((3, count)) < 0.06
    known_before = rng.random(count) < np.where(companies.reach == CRM_ONLY, 1.0, 0.45)
    created = np.where(known_before, -rng.uniform(5, 300, count), companies.started + rng.exponential(1.5, count))
    first_deal = np.full(count, np.inf)
    np.minimum.at(first_deal, buying.deals.company, buying.deals.created)
    touched = rng.uniform(0, size.horizon, count)
    owner, csm = _owners_of(rng, companies, owners)
    override = np.where(rng.random(count) < 0.015, rng.choice(["enterprise", "mid-market", "smb"], count), "")
    tier = np.array(["C", "B", "A"])[companies.segment]
    frame = pl.DataFrame(
        {
            "account_id": companies.account_ids,
            "name": companies.names,
            "domain": companies.domains,
            "employee_count": companies.employees,
            "industry": np.array(INDUSTRIES)[companies.industry],
            "tech_stack": companies.tech_stacks,
            "department_count": companies.departments,
            "estimated_acv": companies.acv,
            "paid_acv": np.round(companies.acv * rng.uniform(0.7, 1.2, count), -2),
            "account_tier": tier,
            "owner_id": owner,
            "csm_id": csm,
            "is_target_account": companies.is_target,
            "do_not_contact": rng.random(count) < 0.02,
            "segment_override": override,
            "custom_fields": [f'{{"region": "{region}"}}' for region in rng.choice(["EMEA", "AMER", "APAC"], count)],
            "created": np.minimum(created, first_deal),
            "shops_at": buying.shops_at + 1.0,
            "pays_at": buying.pays_at,
            "cancels_at": buying.cancels_at,
            "touched_at": touched,
            "has_users": companies.has_users,
        }
    )
    firmographics = ("employee_count", "industry", "tech_stack", "department_count", "estimated_acv")
    hidden = {name: unknown | (partly[place % 3]) for place, name in enumerate(firmographics)}
    return frame.filter(companies.in_crm).with_columns(
        *(pl.when(pl.Series(~hidden[name][companies.in_crm])).then(name).alias(name) for name in firmographics),
        pl.col("owner_id", "csm_id", "segment_override").replace("", None),
    )


def _owners_of(rng: np.random.Generator, companies: Companies, owners: Owners) -> tuple[list[str], list[str]]:
    """Owner while selling and customer success manager while paying, by account; empty for none."""
    share = np.select([companies.segment == s for s in (SMB, MID_MARKET, ENTERPRISE)], [0.06, 0.4, 0.6])
    has = rng.random(len(companies)) < share
    sellers, keepers = owners.of_team("ae"), owners.of_team("csm")
    seller = rng.integers(0, len(sellers), len(companies)).tolist()
    keeper = rng.integers(0, len(keepers), len(companies)).tolist()
    kept = (rng.random(len(companies)) < 0.85).tolist()
    return (
        [sellers[s] if h else "" for s, h in zip(seller, has.tolist(), strict=True)],
        [keepers[k] if h else "" for k, h in zip(keeper, kept, strict=True)],
    )


def extract_days(size: DemoSize) -> list[float]:
    """The midnights of the dated extracts: 60 and 30 days before the last one, where the history reaches."""
    last = float(size.days - 1)
    return [last - back for back in (60, 30) if last - back >= 10]
