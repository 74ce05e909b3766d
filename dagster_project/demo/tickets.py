"""Support tickets: those about limits that shopping companies write, and everybody's other ones."""

import numpy as np
import polars as pl

from dagster_project.demo.buying import Buying
from dagster_project.demo.companies import Companies
from dagster_project.demo.crm_people import Contacts
from dagster_project.demo.people import People
from dagster_project.demo.size import DemoSize

LIMITS = "limits"
SUBJECTS = {
    LIMITS: ("We hit the row limit", "More seats than our plan allows", "API rate limit reached"),
    "billing": ("Wrong address on the invoice", "Card was declined"),
    "bug": ("Export is empty", "Chart does not load", "Login loop after password reset"),
    "how-to": ("How do I share a dashboard?", "Which columns can I import?"),
    "access": ("Please add me to the workspace", "Locked out"),
}
SOLVED_AFTER_DAYS = 4.0


def make_tickets(
    size: DemoSize,
    companies: Companies,
    *,
    people: People,
    buying: Buying,
    contacts: Contacts,
    champions: np.ndarray,
) -> pl.DataFrame:
    """All tickets ever, with the day of their creation in `created`."""
    rng = size.stream("tickets")
    buyers = np.flatnonzero((champions >= 0) & (rng.random(len(champions)) < 0.3))
    spread = np.where(companies.is_fresh[buyers], 3.5, 20.0)
    about_limits = buying.shops_at[buyers] + 0.2 + rng.random(len(buyers)) * spread
    stays = np.clip(np.minimum(people.left, size.horizon) - people.joined, 0.05, None)
    many = np.where(people.is_user, rng.poisson(0.02 + 0.003 * stays), 0)
    others = np.repeat(np.arange(len(people)), many)
    days = people.joined[others] + rng.random(len(others)) * stays[others]
    usual = rng.choice(list(SUBJECTS), len(others), p=[0.06, 0.2, 0.3, 0.32, 0.12]).tolist()
    category = [LIMITS] * len(buyers) + usual
    person = np.concatenate([champions[buyers], others])
    draws = rng.random(len(person)).tolist()
    frame = pl.DataFrame(
        {
            "contact_id": pl.Series([contacts.of_user.get(p) for p in person.tolist()], dtype=pl.String),
            "email": [people.emails[p] for p in person.tolist()],
            "account_id": pl.Series(
                [_account_of(companies, c) for c in people.company[person].tolist()], dtype=pl.String
            ),
            "category": category,
            "subject": [SUBJECTS[c][int(d * len(SUBJECTS[c]))] for c, d in zip(category, draws, strict=True)],
            "created": np.concatenate([about_limits, days]),
        }
    ).sort("created", "email", "category")
    return frame.select(
        pl.Series("ticket_id", [f"T-{number:06d}" for number in range(1, len(frame) + 1)], dtype=pl.String),
        pl.all(),
    )


def tickets_at(tickets: pl.DataFrame, day: float) -> pl.DataFrame:
    """The tickets that exist at that moment, with their status by then."""
    return tickets.filter(pl.col("created") <= day).with_columns(
        status=pl.when(pl.col("created") + SOLVED_AFTER_DAYS <= day).then(pl.lit("solved")).otherwise(pl.lit("open"))
    )


def _account_of(companies: Companies, company: int) -> str | None:
    return companies.account_ids[company] if company >= 0 and companies.in_crm[company] else None
