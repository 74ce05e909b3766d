"""A delta that takes what the CRM has delivered leaves every table as a build from scratch would have made it."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dbt_fixtures import Shop
from test_dbt_deltas import (
    DAY,
    FULL_AT,
    UNTIL,
    assert_equals_a_build_from_scratch,
    batch_of,
    identified,
    said_by,
    with_accounts,
)

from dagster_project.crm_changes import FEW_USERS, keep_what_was_said, note_concerned
from dagster_project.transform import build_crm, build_delta, failure_report

PAST = [f"2026-06-{day:02} 10:00:00" for day in (2, 14, 28)]
TO_COME = "2026-07-05 10:00:00"
"""Nothing comes true between two moments of a test: the pipeline computes everything then."""
SITES = ["acme.example", "beta.example", "https://www.beta.example/", "eu.acme.example", None]


def take_crm(shop: Shop) -> bool:
    """What a delta does, events or not; whether the CRM's deliveries concern few."""
    places = {
        "warehouse": shop.path,
        "target": shop.folder / "target",
        "connect": partial(duckdb.connect, str(shop.path)),
    }
    with duckdb.connect(str(shop.path)) as connection:
        keep_what_was_said(connection)
    assert failure_report(build_crm(**places)) is None
    with duckdb.connect(str(shop.path)) as connection:
        are_few = note_concerned(connection)
    assert failure_report(build_delta(**places)) is None
    return are_few


def touched(shop: Shop) -> tuple[set[str], set[str]]:
    users, accounts = (
        {name for (name,) in shop.rows(f"select {kind}_id from intermediate.int_{kind}s_touched")}
        for kind in ("user", "account")
    )
    return users, accounts


def some(chance: random.Random, entity: str) -> Iterator[dict[str, Any]]:
    """Records that there might be, mostly with something else about them every time."""
    email = (
        f"{chance.choice(['u1', 'u2', 'u3', 'both'])}@{chance.choice(['acme.example', 'beta.example', 'gmail.com'])}"
    )
    no = chance.choice([None, None, "false", "true"])
    record: Callable[[], dict[str, Any]] = {
        "accounts": lambda: {
            "domain": chance.choice(SITES),
            "employee_count": chance.choice(["20", "300", None]),
            "do_not_contact": no,
            "subscription_status": chance.choice([None, "trial", "paying"]),
            "updated_at": chance.choice([*PAST, None]),
        },
        "contacts": lambda: {
            "email": chance.choice([email, None]),
            "account_id": chance.choice(["A1", "g1", "g2", "A9", None]),
            "department": chance.choice(["Sales", "IT"]),
            "email_opt_out": no,
            "updated_at": chance.choice([*PAST, None]),
        },
        "opportunities": lambda: {
            "account_id": chance.choice(["A1", "g1", None]),
            "contact_id": chance.choice(["c1", "c2", None]),
            "is_won": chance.choice(["true", "false", None]),
            "is_closed": chance.choice(["true", "false", None]),
            "created_at": chance.choice(PAST),
            "closed_at": chance.choice([*PAST, TO_COME, None]),
        },
        "tickets": lambda: {
            "contact_id": chance.choice(["c1", "c2", None]),
            "email": chance.choice([email, None]),
            "category": chance.choice(["limits", "billing"]),
            "created_at": chance.choice(PAST),
        },
        "suppression": lambda: {"reason": chance.choice(["asked", "legal"])},
    }[entity]
    names = {
        "accounts": ["A1", "A9", "g1", "g2", "quiet"],
        "contacts": ["c1", "c2", "c3", "c4"],
        "opportunities": ["o1", "o2", "o3"],
        "tickets": ["t1", "t2", "t3"],
        "suppression": ["email:u1@acme.example", "domain:beta.example", "domain:www.acme.example"],
    }[entity]
    key = {"suppression": "suppression_key", "opportunities": "opportunity_id"}.get(entity, f"{entity[:-1]}_id")
    for name in names:
        if chance.random() < 0.7:
            yield {key: name} | record()


@pytest.mark.parametrize("seed", [1])
def test_deltas_with_the_crm_equal_a_build_from_scratch(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("crm")
    shop, chance = with_accounts(folder), random.Random(seed)
    shop.moments(FULL_AT, until=UNTIL[0])
    shop.load(batch_of(chance, 0, 200))
    shop.build()
    for number, until in enumerate([*UNTIL[1:], f"{DAY} 23:30:00"], start=1):
        shop.begin_batch()
        shop.moments(FULL_AT, until=until)
        shop.load(batch_of(chance, number, chance.choice([0, 0, 30])))
        entities = ["accounts", "contacts", "opportunities", "tickets", "suppression"]
        for entity in chance.sample(entities, chance.choice([1, 1, 2, 5])):
            is_complete = chance.random() < 0.9
            shop.extract(entity, chance.choice([until, PAST[0]]), some(chance, entity), complete=is_complete)
        take_crm(shop)
        assert_equals_a_build_from_scratch(shop, tmp_path_factory.mktemp("scratch"))


ACCOUNTS = [{"account_id": "A1", "domain": "acme.example"}, {"account_id": "g2", "domain": "beta.example"}]
CONTACT = {"contact_id": "c1", "email": "u1@acme.example", "account_id": "A1"}


@pytest.mark.parametrize(
    ("entity", "records", "users", "accounts"),
    [
        ("contacts", [CONTACT | {"role": "CTO"}], {"u1"}, {"A1"}),
        ("contacts", [CONTACT | {"account_id": "g2"}], {"u1"}, {"A1", "g2"}),
        ("contacts", [CONTACT, {"contact_id": "c3", "email": "u3@beta.example"}], {"u3"}, {"g2"}),
        ("accounts", [ACCOUNTS[0], ACCOUNTS[1] | {"owner_id": "o1"}], {"u3", "u4"}, {"g2", "domain:beta.example"}),
        ("accounts", ACCOUNTS[:1], {"u3", "u4"}, {"g2", "domain:beta.example"}),
        ("opportunities", [{"opportunity_id": "o1", "contact_id": "c1"}], {"u1", "u2"}, {"A1"}),
        ("tickets", [{"ticket_id": "t1", "email": "u4@beta.example"}], {"u4"}, {"g2"}),
        ("suppression", [{"suppression_key": "email:u5@gmail.com"}], {"u5"}, set()),
        ("suppression", [{"suppression_key": "domain:gmail.com"}], {"u5"}, {"domain:gmail.com"}),
        ("contacts", [CONTACT], set(), set()),
    ],
)
def test_whoever_a_delivery_concerns_is_computed_and_nobody_else(
    company: Shop, entity: str, records: list[dict[str, Any]], users: set[str], accounts: set[str], tmp_path: Path
) -> None:
    shop = company.as_it_is(tmp_path / "company")
    shop.begin_batch()
    shop.moments(FULL_AT, until=UNTIL[1])
    shop.extract(entity, UNTIL[1], records)
    take_crm(shop)
    assert touched(shop) == (users, accounts)
    (tmp_path / "scratch").mkdir()
    assert_equals_a_build_from_scratch(shop, tmp_path / "scratch")


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two people of one account, two of another, and one of none."""
    shop = with_accounts(tmp_path_factory.mktemp("company"))
    shop.moments(FULL_AT, until=UNTIL[0])
    places = {"u1": "acme.example", "u2": "acme.example", "u3": "beta.example", "u4": "beta.example", "u5": "gmail.com"}
    shop.load([identified(user_id, 1, f"{user_id}@{host}") for user_id, host in places.items()])
    shop.build()
    return shop


AT_HOME = {
    "accounts": [*ACCOUNTS, {"account_id": "A5", "domain": "eu.acme.example"}],
    "contacts": [
        {"contact_id": "c8", "email": "early@gmail.com", "account_id": "A9"},
        {"contact_id": "c9", "email": "alone@gmail.com"},
    ],
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """People whom a delivery concerns who don't belong to the account that it is about, as far as anybody knows."""
    shop = with_accounts(tmp_path_factory.mktemp("elsewhere"))
    shop.moments(FULL_AT, until=UNTIL[0])
    for entity, records in AT_HOME.items():
        shop.extract(entity, "2026-06-02", records)
    places = {"member": "acme.example", "guest": "acme.example", "abroad": "eu.acme.example"}
    places |= {"early": "gmail.com", "alone": "gmail.com"}
    shop.load([identified(user_id, 1, f"{user_id}@{host}") for user_id, host in places.items()])
    groups = {"member": "g7", "guest": "g2", "abroad": "g2"}  # of g7 the CRM knows nothing
    shop.load([said_by(user_id, 2, type="group", event=None, group_id=group) for user_id, group in groups.items()])
    shop.build()
    return shop


@pytest.mark.parametrize(
    ("entity", "record", "users", "accounts"),
    [
        ("accounts", {"account_id": "g7"}, {"member"}, {"g7", "A1"}),
        ("accounts", {"account_id": "A9"}, {"early"}, {"A9"}),
        ("opportunities", {"opportunity_id": "o1", "contact_id": "c9"}, {"alone"}, set()),
        (
            "suppression",
            {"suppression_key": "domain:acme.example"},
            {"member", "guest", "abroad"},
            {"A1", "A5", "g2", "domain:acme.example"},
        ),
        (
            "suppression",
            {"suppression_key": "domain:eu.acme.example"},
            {"abroad"},
            {"A5", "domain:eu.acme.example", "g2"},
        ),
    ],
)
def test_a_delivery_concerns_who_belongs_elsewhere(
    elsewhere: Shop, entity: str, record: dict[str, Any], users: set[str], accounts: set[str], tmp_path: Path
) -> None:
    shop = elsewhere.as_it_is(tmp_path / "elsewhere")
    shop.begin_batch()
    shop.moments(FULL_AT, until=UNTIL[1])
    shop.extract(entity, UNTIL[1], [*AT_HOME.get(entity, ()), record])
    take_crm(shop)
    assert touched(shop) == (users, accounts)
    (tmp_path / "scratch").mkdir()
    assert_equals_a_build_from_scratch(shop, tmp_path / "scratch")


ALONE = {"contact_id": "c9", "email": "u5@gmail.com"}
TWO_OF_ONE_SITE = [*ACCOUNTS, {"account_id": "A2", "domain": "acme.example"}]
OFTEN = {
    "accounts": [*TWO_OF_ONE_SITE, {"account_id": "g7", "updated_at": PAST[2]}],
    "contacts": [CONTACT | {"updated_at": PAST[2]}, ALONE],
    "opportunities": [{"opportunity_id": "o9", "account_id": "A2"}],
}


@pytest.fixture(scope="module")
def known_often(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Of records there are several: two accounts of one site, and deliveries that are older than what is known."""
    shop = with_accounts(tmp_path_factory.mktemp("often"))
    shop.moments(FULL_AT, until=UNTIL[0])
    for entity, records in OFTEN.items():
        shop.extract(entity, "2026-06-10", records)
    places = {"u1": "acme.example", "u2": "acme.example", "u3": "beta.example", "u4": "beta.example", "u5": "gmail.com"}
    shop.load([identified(user_id, 1, f"{user_id}@{host}") for user_id, host in places.items()])
    shop.load([said_by("u5", 2, type="group", event=None, group_id="g7")])
    shop.build()
    return shop


@pytest.mark.parametrize(
    ("entity", "at", "records", "users", "accounts"),
    [
        # A site's account is the one of two that has more contacts.
        (
            "contacts",
            UNTIL[1],
            [*OFTEN["contacts"], *({"contact_id": name, "account_id": "A2"} for name in ("c5", "c6"))],
            {"u1", "u2"},
            {"A1", "A2", "domain:acme.example"},
        ),
        # What an older extract has and a newer one has no more was there all the same.
        ("opportunities", "2026-06-05", [{"opportunity_id": "o1", "account_id": "g2"}], {"u3", "u4"}, {"g2"}),
        ("opportunities", "2026-06-05", [{"opportunity_id": "o1", "contact_id": "c9"}], {"u5"}, {"g7"}),
        # A no in the newest extract counts, though the version that holds was updated later.
        (
            "accounts",
            UNTIL[1],
            [*TWO_OF_ONE_SITE, {"account_id": "g7", "do_not_contact": "true", "updated_at": PAST[1]}],
            {"u5"},
            {"g7"},
        ),
        ("contacts", UNTIL[1], [ALONE, CONTACT | {"do_not_sell": "true", "updated_at": PAST[1]}], {"u1"}, {"A1"}),
        # A no is said of each address and each domain that a field names; the account is of the site as it is written.
        (
            "contacts",
            UNTIL[1],
            [
                *OFTEN["contacts"],
                {"contact_id": "c7", "email": "u3@beta.example; u5@gmail.com", "email_opt_out": "true"},
            ],
            {"u3", "u5"},
            {"g2", "g7"},
        ),
        (
            "accounts",
            UNTIL[1],
            [*OFTEN["accounts"], {"account_id": "A6", "domain": "no.example, beta.example", "do_not_contact": "true"}],
            {"u3", "u4"},
            {"A6", "g2", "domain:beta.example", "domain:example, beta.example"},
        ),
    ],
)
def test_what_a_delivery_says_beside_the_records_that_hold_concerns_people(
    known_often: Shop,
    entity: str,
    at: str,
    records: list[dict[str, Any]],
    users: set[str],
    accounts: set[str],
    tmp_path: Path,
) -> None:
    shop = known_often.as_it_is(tmp_path / "often")
    shop.begin_batch()
    shop.moments(FULL_AT, until=UNTIL[1])
    shop.extract(entity, at, records)
    take_crm(shop)
    assert touched(shop) == (users, accounts)
    (tmp_path / "scratch").mkdir()
    assert_equals_a_build_from_scratch(shop, tmp_path / "scratch")


@pytest.mark.parametrize(("entity", "are_few"), [("ticket", True), ("opportunity", False)])
def test_many_are_none_for_a_delta(entity: str, are_few: bool, tmp_path: Path) -> None:
    shop = with_accounts(tmp_path)
    shop.moments(FULL_AT, until=UNTIL[0])
    shop.load([identified(f"u{number}", 1, f"u{number}@acme.example") for number in range(FEW_USERS + 1)])
    shop.build()
    shop.begin_batch()
    shop.moments(FULL_AT, until=UNTIL[1])
    entities = {"ticket": "tickets", "opportunity": "opportunities"}
    record = {f"{entity}_id": "1", "contact_id": "c1", "created_at": PAST[0]}  # an opportunity is the account's as well
    shop.extract(entities[entity], UNTIL[1], [record])
    assert take_crm(shop) is are_few
