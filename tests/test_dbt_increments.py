"""The rollup, grown batch by batch, always equals the specification's measures over all events at once."""

import random
from datetime import datetime, timedelta

import pytest
from dbt_fixtures import Shop, end_of
from dbt_fixtures_random import CATALOGUE, FIRST_DAY, random_event
from dbt_fixtures_reference import people

# Forward within a day, back to a day that is over, forward past events that had waited.
LIVE_MOMENTS = ["2026-06-28 12:00:00", "2026-06-28 15:00:00", end_of("2026-06-26"), "2026-06-30 18:00:00"]


def pausing_event(chance: random.Random, number: int) -> dict:
    """An event of somebody who comes back after about thirty days, or not yet: exactly thirty are no pause."""
    at = FIRST_DAY + timedelta(days=chance.choice([0, 1, 30, 31, 32, 61, 62, 63, 70]), hours=chance.randrange(24))
    moment = {"timestamp": str(at), "received_at": str(at)}
    return random_event(chance, number) | moment | {"user_id": f"p{chance.randrange(15)}", "anonymous_id": None}


def expected(events: list[dict], live: str, as_of: str) -> dict[str, dict]:
    found = people(
        [event | {"at": datetime.fromisoformat(event["timestamp"])} for event in events],
        as_of=datetime.fromisoformat(as_of),
        known_until=datetime.fromisoformat(live),
        catalogue=CATALOGUE,
    )
    return {user: person.measures() for user, person in found.items()}


def measured(shop: Shop, as_of: str, columns: list[str]) -> dict[str, dict]:
    rows = shop.records(f"from features.user_features where as_of = timestamp '{as_of}'")
    return {row["user_id"]: {column: row[column] for column in columns} for row in rows}


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> tuple[Shop, list[tuple[str, list[dict]]]]:
    """Four batches in random order of time, with redeliveries that replace, and what each build answered."""
    shop = Shop(tmp_path_factory.mktemp("increments")).create()
    chance = random.Random(20260630)
    waiting = [random_event(chance, number) for number in range(840)]
    waiting += [pausing_event(chance, number) for number in range(840, 900)]
    chance.shuffle(waiting)
    known: dict[str, dict] = {}
    answers = []
    for number, live in enumerate(LIVE_MOMENTS):
        if number:
            shop.begin_batch()
        baseline = end_of(str(datetime.fromisoformat(live).date() - timedelta(days=7)))
        shop.moments(live, baseline)
        batch = [waiting.pop() for _ in range(min(len(waiting), 500 if number == 0 else 120))]
        shop.load(batch)
        known |= {event["message_id"]: event for event in batch}
        for message in chance.sample(sorted(known), 12 if number else 0):
            earlier = str(datetime.fromisoformat(known[message]["received_at"]) - timedelta(hours=1))
            known[message] = {**random_event(chance, int(message[1:])), "received_at": earlier}
            shop.replace(known[message])
        if number == 2:
            shop.build("+int_user_days_touched")  # and the run died before the rollup: the next one makes up for it
            shop.begin_batch()
        shop.build()
        events = list(known.values())
        for as_of in (live, baseline):
            wanted = expected(events, live, as_of)
            columns = list(next(iter(wanted.values())))
            answers.append((as_of, measured(shop, as_of, columns), wanted))
    return shop, answers


def test_every_batch_gives_what_all_events_at_once_would(grown):
    for as_of, answer, wanted in grown[1]:
        assert answer.keys() == wanted.keys(), as_of
        for user, measures in wanted.items():
            differing = {k: (answer[user][k], v) for k, v in measures.items() if answer[user][k] != v}
            assert not differing, (as_of, user)
    came_back = [measures for _, _, wanted in grown[1] for measures in wanted.values() if measures["reactivated_at"]]
    assert len(came_back) > 10


def test_the_rollup_equals_one_from_scratch(grown):
    shop, _ = grown
    sql = "from intermediate.int_user_days order by day, user_id"
    incremental = shop.rows(sql)
    assert len(incremental) > 300
    shop.execute("drop table intermediate.int_user_days")
    shop.build("+int_user_days")
    assert shop.rows(sql) == incremental


def test_nothing_is_touched_when_nothing_came(grown):
    shop, _ = grown
    shop.begin_batch()
    shop.build("+int_user_days")
    assert shop.rows("select count(*) from intermediate.int_user_days_touched") == [(0,)]
