"""Rows for extracts in a row say what a row per extract and record would say."""

import random
from datetime import datetime, timedelta

import pytest
from dbt_fixtures import Shop, end_of
from dbt_fixtures_random import random_event, random_extract, random_person

BEGAN, LAST = datetime(2026, 6, 1), datetime(2026, 6, 28)
COMPARED = [
    *(f"intermediate.int_crm_{name}" for name in ("records", "accounts", "contacts", "no_contact", "objections")),
    *("features.user_features", "features.account_features"),
]
SPANS = ["past.past_crm_spans", "past.past_accounts", "past.past_contacts"]
BY_DAY = "* exclude (from_day, to_day), unnest(generate_series(from_day, to_day - 1, interval 1 day)) as day"
"""Where less was said there are fewer spans; what holds on a day is the same."""
A_ROW_EACH = """
create table raw.apart as
with numbered as (
  select extract_id, entity, row_number() over (order by extract_at, extract_id) as n from raw.crm_extracts
)
select one.extract_id, held.version_id, one.extract_id as first_extract_id
from raw.crm_extract_rows as held
join numbered as first on held.first_extract_id = first.extract_id
join numbered as last on held.extract_id = last.extract_id
join numbered as one on one.entity = first.entity and one.n between first.n and last.n;
delete from raw.crm_extract_rows;
insert into raw.crm_extract_rows from raw.apart;
"""


@pytest.mark.parametrize("seed", [1])
def test_extracts_in_a_row_say_what_each_of_them_would(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    shop, chance = Shop(tmp_path_factory.mktemp("in-a-row")).create(), random.Random(seed)
    shop.moments(end_of("2026-06-30"), *(end_of(f"2026-06-{day:02}") for day in (5, 14, 23)))
    shop.load([random_person(chance, random_event(chance, number)) for number in range(200)])
    for entity in ("accounts", "contacts", "tickets"):
        said = list(random_extract(chance, entity))
        hours = sorted(chance.sample(range(24 * (LAST - BEGAN).days), 24))
        for hour in [*hours[:18], *hours[:17:-1]]:  # the last ones come the wrong way round
            # Some are about nobody else than the one before, some about a few; now and then one fails.
            fresh = {next(iter(record.values())): record for record in random_extract(chance, entity)}
            said = [fresh.get(next(iter(r.values())), r) if chance.random() < 0.1 else r for r in said]
            if chance.random() < 0.1:
                said = list(random_extract(chance, entity)) or said
            shop.extract(entity, str(BEGAN + timedelta(hours=hour)), said, complete=chance.random() < 0.9)
    apart = shop.copy(tmp_path_factory.mktemp("apart"))
    apart.execute(A_ROW_EACH)
    [(few,)], [(many,)] = (of.rows("select count(*) from raw.crm_extract_rows") for of in (shop, apart))
    assert few < many * 0.7
    for of in (shop, apart):
        of.build()
        of.execute("insert into raw.past_range values (?, ?)", ["2026-05-20", "2026-06-29"])
        of.build("tag:past")
    for table, columns in {**dict.fromkeys(COMPARED, "*"), **dict.fromkeys(SPANS, BY_DAY)}.items():
        by_row, by_extract = (of.rows(f"select {columns} from {table} order by all") for of in (shop, apart))
        assert by_row == by_extract, table
        assert by_row or table.endswith("objections"), table
