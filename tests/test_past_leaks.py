"""Nothing that comes later changes a past score, of the champion or of a challenger, as a backfill makes them."""

import random
from datetime import date, timedelta
from pathlib import Path

import pytest
from dbt_fixtures import Shop
from dbt_fixtures_random import random_event, random_extract, random_person
from test_past_features import FIRST, LAST, a_shop, later

from dagster_project.core.models import models_of
from dagster_project.core.playbook import FILES, load_playbook
from dagster_project.daily_scores import create_daily_scores
from dagster_project.past_days import Stock, score_past_days
from dagster_project.playbook_files import PACKAGED
from dagster_project.warehouse import Warehouse

TEXTS = {name: (PACKAGED / name).read_text(encoding="utf-8") for name in FILES}
OTHER = "scoring: {pql: {weights: {usage: 0.1, engagement: 0.1, intent: 0.8}}}"
DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
Said = dict[tuple[str, str, date, str], tuple]


def past_scores(shop: Shop) -> Said:
    """What champion and challenger say of everybody on each day: score, class, segment, account and points."""
    models = models_of(load_playbook(TEXTS, {"other.yml": OTHER}), "catalogue")
    warehouse = Warehouse(shop.path)
    with warehouse.connect() as connection:
        connection.execute("drop table scores.daily_scores")  # an empty one, which dbt's models read
        create_daily_scores(connection, shop.folder / "none.duckdb")
    stock = Stock(warehouse.connect, shop.path, shop.folder / "target")
    playbooks = {model.name: model.playbook for model in models}
    score_past_days(stock, playbooks, DAYS, inputs="", say=lambda _: None)
    rows = shop.rows(
        "select subject_type, subject_id, day, model_version, account_id, score, classification, segment, signals "
        "from scores.daily_scores"
    )
    return {row[:4]: row[4:] for row in rows}


def won_and_lost(chance: random.Random, closed_on: date) -> list[dict]:
    """Opportunities of the accounts that the random extracts know."""
    dates = {
        "created_at": f"{FIRST} 08:00:00",
        "closed_at": f"{closed_on} 08:00:00",
        "updated_at": f"{closed_on} 09:00",
    }
    return [
        {"opportunity_id": f"o{n}", "account_id": f"g{n}", "is_closed": True, "is_won": chance.random() < 0.6, **dates}
        for n in range(6)
    ]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return a_shop(tmp_path_factory.mktemp("leaks"), 11, events=400)


@pytest.fixture(scope="module")
def before(shop: Shop) -> Said:
    shop.build()
    return past_scores(shop)


def test_later_events_and_later_crm_rows_change_no_past_score(shop: Shop, before: Said, tmp_path: Path) -> None:
    assert len({value[1] for value in before.values()}) > 20, "scores that hardly differ would say little"
    chance = random.Random(5)
    twin = shop.copy(tmp_path)
    twin.begin_batch()
    for entity in ("accounts", "contacts", "tickets"):
        twin.extract(entity, f"{LAST + timedelta(days=1)} 00:00:01", random_extract(chance, entity))
        twin.extract(entity, f"{LAST + timedelta(days=4)} 06:00:00", random_extract(chance, entity))
    twin.extract(
        "opportunities", f"{LAST + timedelta(days=4)} 06:00:00", won_and_lost(chance, LAST + timedelta(days=3))
    )
    twin.load(later(random_person(chance, random_event(chance, 20_000 + n)), chance) for n in range(300))
    twin.build()
    after = past_scores(twin)
    changed = {key: (before.get(key), after.get(key)) for key in before | after if before.get(key) != after.get(key)}
    assert changed == {}


def test_events_of_a_past_day_do_change_it(shop: Shop, before: Said, tmp_path: Path) -> None:
    """So that the test above can't pass because nothing is looked at."""
    # Of all users the one with the lowest score of the last days: they have not clicked it in their window.
    someone = min((said[1], key[1]) for key, said in before.items() if key[0] == "user" and key[2] == LAST)[1]
    twin = shop.copy(tmp_path)
    twin.begin_batch()
    at = f"{LAST - timedelta(days=3)} 10:00:00"
    twin.load([{"type": "track", "event": "Upgrade Clicked", "user_id": someone, "timestamp": at, "received_at": at}])
    twin.build()
    after = past_scores(twin)
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    assert {(kind, day) for kind, who, day, _ in changed if who == someone} == {
        ("user", LAST - timedelta(days=n)) for n in range(4)
    }
