"""A delta leaves every table as a build from scratch over the same events would have made it."""

import random
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import duckdb
import pytest
from dbt_fixtures import Shop
from test_dbt_increments import random_event

from dagster_project.transform import build_delta, failure_report

DAY = "2026-06-30"
FULL_AT = f"{DAY} 08:00:00"
UNTIL = [f"{DAY} 08:00:00", f"{DAY} 12:00:00", f"{DAY} 12:00:01", f"{DAY} 18:00:00", f"{DAY} 23:00:00"]
COMPARED = {
    "intermediate.int_anonymous_identities": "anonymous_id",
    "intermediate.int_user_days": "day, user_id",
    "intermediate.int_user_history": "as_of, user_id",
    "intermediate.int_user_measures": "as_of, user_id",
    "intermediate.int_user_identities": "as_of, user_id",
    "features.excluded_users": "as_of, user_id",
    "features.user_features": "as_of, user_id",
    "features.account_features": "as_of, account_id",
}
HOSTS = ["acme.example", "beta.example", "gmail.com", "example.com", "other.example"]


def with_story(chance: random.Random, event: dict) -> dict:
    """Traits that move people between accounts, name groups and change subscriptions."""
    if (event["type"] == "identify" or event["identifies"]) and chance.random() < 0.8:
        name = chance.choice([event["user_id"] or "who", "both", "both"])
        traits = {"email": f"{name}@{chance.choice(HOSTS)}", "name": f"P{chance.randrange(3)}"}
        if chance.random() < 0.4:
            traits["subscription_status"] = chance.choice(["free", "trial", "paying", "churned"])
        if chance.random() < 0.2:
            traits["is_test"] = chance.choice(["true", "false"])
        return event | {"traits": traits}
    if event["type"] == "group":
        status = chance.choice([None, "trial", "paying"])
        return event | {
            "group_id": chance.choice(["g1", "g2", "A1"]),
            "traits": {"name": f"Group {chance.randrange(4)}"} | ({"subscriptionStatus": status} if status else {}),
        }
    if event["type"] == "track" and chance.random() < 0.2:
        return event | {"event": chance.choice(["Unsubscribed", "Resubscribed"])}
    return event


def batch_of(chance: random.Random, number: int, size: int) -> list[dict]:
    """Mostly of the day, some late by weeks, some from the future, ids that come and go."""
    events = []
    for place in range(size):
        event = with_story(chance, random_event(chance, 10_000 * number + place))
        if number and chance.random() < 0.6:
            at = datetime.fromisoformat(f"{DAY} 00:00:00") + timedelta(minutes=chance.randrange(24 * 60 + 200))
            event |= {"timestamp": str(at), "received_at": str(at)}
        events.append(event)
    if not number:
        member = {"message_id": "q0", "type": "track", "user_id": "quiet", "anonymous_id": None, "event": "Signed In"}
        events.append(member | {"group_id": "quiet", "timestamp": f"{DAY} 01:00:00", "received_at": f"{DAY} 01:00:00"})
    if number and size:
        # What nobody's user says of a group touches no user, and its account all the same.
        at = f"{DAY} 0{number}:30:00"
        stranger = {"message_id": f"s{number}", "type": "group", "user_id": None, "anonymous_id": "stranger"}
        said = {"name": f"Named {number}", "subscription_status": chance.choice(["trial", "paying"])}
        events.append(stranger | {"group_id": "quiet", "timestamp": at, "received_at": at, "traits": said})
    return events


def with_accounts(folder: Path) -> Shop:
    shop = Shop(folder).create()
    shop.execute(
        "insert into raw.rule_domains values ('gmail.com', 'free_mail', null), ('other.example', 'excluded', 'ours')"
    )
    shop.execute("insert into raw.rule_exclusions values ('trait', 'is_test=true', 'test')")
    accounts = [{"account_id": "A1", "domain": "acme.example"}, {"account_id": "g2", "domain": "beta.example"}]
    shop.extract("accounts", "2026-06-01", accounts)
    shop.extract("contacts", "2026-06-01", [{"contact_id": "c1", "email": "u1@acme.example", "account_id": "A1"}])
    return shop


def assert_equals_a_build_from_scratch(shop: Shop, folder: Path) -> None:
    twin = shop.copy(folder)
    twin.build()
    for table, order in COMPARED.items():
        grown, fresh = (of.records(f"from {table} order by {order}") for of in (shop, twin))
        assert grown == fresh, table
    assert shop.rows("select count(*) from features.user_features")[0][0] >= 5


def test_users_whose_numbers_are_the_same_are_computed_together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    shop = with_accounts(folder)
    shop.moments(FULL_AT, until=UNTIL[0])
    people = [f"u{number}" for number in range(6)]
    shop.load([identified(user_id, 1, f"{user_id}@acme.example") for user_id in people])
    shop.build()
    for table in ("intermediate.int_user_history", "intermediate.int_user_measures", "features.user_features"):
        # As if u1 had the number of u2.
        shop.execute(f"update {table} set user_key = hash('u2') where user_id = 'u1'")
    shop.begin_batch()
    shop.moments(FULL_AT, until=UNTIL[1])
    shop.load([said_by("u2", 2)])
    shop.build("tag:delta", delta=True)
    touched = {name for (name,) in shop.rows("select user_id from intermediate.int_users_touched")}
    assert touched == {"u1", "u2"}
    for table in ("intermediate.int_user_measures", "features.user_features"):
        assert {name for (name,) in shop.rows(f"select user_id from {table}")} == set(people)


def test_tables_of_an_earlier_version_are_no_obstacle(tmp_path_factory):
    shop = with_accounts(tmp_path_factory.mktemp("earlier"))
    shop.moments(FULL_AT, until=UNTIL[0])
    shop.load([identified(f"u{number}", 1, f"u{number}@acme.example") for number in range(6)])
    shop.build()
    for table in COMPARED:
        for column in ("user_key", "account_key", "anonymous_key"):
            shop.execute(f"alter table {table} drop column if exists {column}")
    shop.build()
    assert_equals_a_build_from_scratch(shop, tmp_path_factory.mktemp("scratch"))


BY_DBT = 4
"""The delta that dbt computes; in the others the statements that it wrote for the first of all are executed again."""


@pytest.mark.parametrize("seed", [3])
def test_deltas_equal_a_build_from_scratch(seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deltas")
    shop, chance = with_accounts(folder), random.Random(seed)
    shop.moments(FULL_AT, until=UNTIL[0])
    shop.load(batch_of(chance, 0, 300))
    shop.build()
    connect = partial(duckdb.connect, str(shop.path))
    for number, until in enumerate([*UNTIL[1:], f"{DAY} 23:30:00"], start=1):
        shop.begin_batch()
        shop.moments(FULL_AT, until=until)
        shop.load(batch_of(chance, number, chance.choice([0, 5, 40])))
        if number == BY_DBT:
            shop.build("tag:delta", delta=True)
        else:
            outcomes = build_delta(warehouse=shop.path, target=folder / "target", connect=connect)
            assert failure_report(outcomes) is None
    assert_equals_a_build_from_scratch(shop, tmp_path_factory.mktemp("scratch"))


TWICE = "both@beta.example"


def said_by(user_id: str, number: int, **what: object) -> dict:
    at = f"{DAY} 0{number}:00:00"
    event = {"message_id": f"{user_id}-{number}", "type": "track", "event": "Signed In", "user_id": user_id}
    return event | {"timestamp": at, "received_at": at} | what


def identified(user_id: str, number: int, email: str) -> dict:
    return said_by(user_id, number, type="identify", event=None, traits={"email": email})


def test_who_unsubscribes_touches_everybody_with_the_address_and_nobody_else_is_touched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("namesakes")
    shop = with_accounts(folder)
    shop.moments(FULL_AT, until=UNTIL[0])
    people = {"a": TWICE, "b": TWICE, "c": "c@beta.example", "d": "d@gmail.com", "e": "d@gmail.com", "f": "f@x.example"}
    people |= {"tester": TWICE}
    shop.load([identified(user_id, 1, email) for user_id, email in people.items()])
    shop.load([said_by("tester", 1, message_id="t", type="identify", traits={"email": TWICE, "is_test": "true"})])
    shop.build()
    batches = [
        ([said_by("a", 2, event="Unsubscribed")], {"a", "b", "tester"}, {"a", "b"}),
        ([said_by("d", 3)], {"d"}, {"a", "b"}),
        ([identified("a", 4, "c@beta.example")], {"a", "b", "c", "tester"}, {"a", "c"}),
        ([said_by("c", 5, event="Resubscribed")], {"a", "c"}, set()),
        ([said_by("tester", 6, event="Unsubscribed")], {"b", "tester"}, {"b"}),
    ]
    for number, (events, touched, unsubscribed) in enumerate(batches, start=1):
        shop.begin_batch()
        shop.moments(FULL_AT, until=UNTIL[1])
        shop.load(events)
        outcomes = build_delta(
            warehouse=shop.path, target=folder / "target", connect=partial(duckdb.connect, str(shop.path))
        )
        assert failure_report(outcomes) is None
        assert {name for (name,) in shop.rows("select user_id from intermediate.int_users_touched")} == touched, number
        blocked = shop.rows("select user_id from features.user_features where is_unsubscribed")
        assert {name for (name,) in blocked} == unsubscribed, number
    accounts = {name for (name,) in shop.rows("select account_id from intermediate.int_accounts_touched")}
    assert accounts == {"g2"}
    assert_equals_a_build_from_scratch(shop, tmp_path_factory.mktemp("scratch"))
