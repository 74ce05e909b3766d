"""Features of many past days at once are those of a run on each of them; nothing that comes later changes them."""

import random
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from dbt_fixtures import Shop, end_of
from dbt_fixtures_random import random_event, random_extract, random_person

LIVE = "2026-07-08 18:00:00"
FIRST, LAST = date(2026, 6, 8), date(2026, 6, 27)
EXTRACTS = ["2026-05-10 06:00:00", "2026-06-05 06:00:00", "2026-06-12 06:00:00", "2026-06-21 06:00:00"]
COUNTED = (
    "actions, team_invites, integrations, data_imported, setup_share, pricing_page_view, upgrade_click, "
    "plan_comparison, invoice_download, api_key_generated, sales_request, limit_hit, seat_added, upgrade_page_view, "
    "limit_support_contact > 0"
)
OF_USERS = f"user_id, account_id, sessions_per_week, minutes_per_week, {{}}, {COUNTED}"
OF_ACCOUNTS = (
    "account_id, employee_count, industry, tech_stack, estimated_acv, segment_override, active_users_30d, "
    "active_users_before, departments, catalogue_features_used, catalogue_features, mean_sessions_per_week, "
    "expansion_signals"
)
Answers = dict[str, list[tuple]]


def a_shop(folder: Path, seed: int, events: int = 700) -> Shop:
    chance = random.Random(seed)
    shop = Shop(folder).create()
    shop.execute(
        "insert into raw.rule_domains values ('gmail.com', 'free_mail', null), ('ours.com', 'excluded', 'own staff'); "
        "insert into raw.rule_exclusions values ('trait', 'kind=bot', 'bot'), ('email_pattern', 'p5@*', 'test account')"
    )
    for entity in ("accounts", "contacts", "tickets"):
        for at in EXTRACTS[1:] if entity == "tickets" else EXTRACTS:
            shop.extract(entity, at, random_extract(chance, entity))
    shop.load(random_person(chance, random_event(chance, number)) for number in range(events))
    shop.moments(LIVE)
    return shop


def past_features(shop: Shop, first: date, last: date) -> dict[date, Answers]:
    """By day what users and accounts are scored by, from one pass."""
    shop.execute("delete from raw.past_range")
    shop.execute("insert into raw.past_range values (?, ?)", [first, last])
    shop.build("tag:past")
    return {
        day: {
            "users": shop.rows(
                f"select {OF_USERS.format('features_used')} from past.past_user_states "
                f"where from_day <= date '{day}' and to_day > date '{day}' order by all"
            ),
            "accounts": shop.rows(
                f"select {OF_ACCOUNTS} from past.past_account_days where day = date '{day}' order by all"
            ),
        }
        for day in (first + timedelta(days=number) for number in range((last - first).days + 1))
    }


def features_on(shop: Shop, folder: Path, day: date) -> Answers:
    """The same by a run on that day, with nothing built before it."""
    folder.mkdir()
    twin = shop.copy(folder)
    twin.moments(end_of(str(day)))
    twin.build()
    return {
        "users": twin.rows(f"select {OF_USERS.format('len(features_used)')} from features.user_features order by all"),
        "accounts": twin.rows(f"select {OF_ACCOUNTS} from features.account_features order by all"),
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    found = a_shop(tmp_path_factory.mktemp("shop"), 11)
    found.build()
    return found


@pytest.fixture(scope="module")
def past(shop: Shop) -> dict[date, Answers]:
    return past_features(shop, FIRST, LAST)


@pytest.mark.parametrize("day", [FIRST, date(2026, 6, 21)])
def test_many_days_in_one_pass_are_what_a_run_on_each_would_say(
    shop: Shop, past: dict[date, Answers], day: date, tmp_path: Path
) -> None:
    assert past[day] == features_on(shop, tmp_path / "twin", day)
    assert min(len(past[day]["users"]), len(past[day]["accounts"])) >= 3


def test_how_days_are_cut_into_portions_makes_no_difference(shop: Shop, past: dict[date, Answers]) -> None:
    late = shop.rows("select count(distinct (user_id, day)) from past.past_late_days")
    assert late > [(3,)], "nobody was identified late: the test says less than it seems to"
    middle = FIRST + timedelta(days=7)
    parts = past_features(shop, FIRST, middle) | past_features(shop, middle + timedelta(days=1), LAST)
    assert parts == past


def test_nothing_that_comes_later_changes_a_past_day(shop: Shop, past: dict[date, Answers], tmp_path: Path) -> None:
    """Later events of any kind, by anybody, and later states of the CRM, all of them loaded."""
    grown, chance = shop.as_it_is(tmp_path / "grown"), random.Random(12)
    grown.begin_batch()
    for entity in ("accounts", "contacts", "tickets"):
        grown.extract(entity, str(LAST + timedelta(days=2)), random_extract(chance, entity))
    grown.load(later(random_person(chance, random_event(chance, 10_000 + number)), chance) for number in range(300))
    grown.build()
    assert past_features(grown, FIRST, LAST) == past


def later(event: dict, chance: random.Random) -> dict:
    """The event after the last of the days."""
    at = datetime.combine(LAST, datetime.min.time()) + timedelta(days=1, seconds=chance.randrange(8 * 86_400))
    return event | {"timestamp": str(at), "received_at": str(at)}
