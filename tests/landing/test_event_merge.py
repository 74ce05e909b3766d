"""One row per message id, whatever comes when, how often, and however a run ends."""

import json
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from landing_folder import Landing, event, rules

from dagster_project.core.source_rules import EventMapping
from dagster_project.landing import event_group
from dagster_project.landing.event_merge import EventMerge
from dagster_project.landing.event_sql import EVENT_VALUES, TOUCHED
from dagster_project.warehouse import Warehouse

EARLY = event("m", event="Early", received_at="2026-06-01T00:00:00Z", timestamp="2026-06-03T00:00:00Z")
LATE = event("m", event="Late", received_at="2026-06-09T00:00:00Z", timestamp="2026-06-02T00:00:00Z")


@pytest.mark.parametrize("order", [(EARLY, LATE), (LATE, EARLY)])
def test_the_earliest_received_wins_in_either_order(landing: Landing, order: tuple[dict, dict]) -> None:
    landing.events("a.ndjson", order[0])
    landing.load()
    landing.events("b.ndjson", order[1])
    outcome = landing.load_one()
    assert landing.stored(["event"]) == [("Early",)]
    assert (outcome.loaded, outcome.duplicate) == (0, 1)
    assert landing.law_holds()


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (event("m", event="B"), event("m", event="A", received_at=None)),
        (event("m", event="B", timestamp="2026-05-01"), event("m", event="A")),
        (
            event("m", event="B", received_at=None, timestamp="2026-05-01"),
            event("m", event="A", received_at=None),
        ),
    ],
)
def test_never_received_comes_last_and_then_the_earliest_happened_wins(
    landing: Landing, better: dict, worse: dict
) -> None:
    landing.events("a.ndjson", worse, better, worse)
    assert landing.load_one().duplicate == 2
    assert landing.stored(["event"]) == [("B",)]


def test_a_replaced_row_touches_both_days(landing: Landing) -> None:
    landing.events("a.ndjson", LATE)
    landing.load()
    landing.events("b.ndjson", {**EARLY, "user_id": "u2"})
    landing.load()
    assert landing.rows("select batch_id, user_id, day from raw.touched order by batch_id, user_id") == [
        (1, "u1", date(2026, 6, 2)), (2, "u1", date(2026, 6, 2)), (2, "u2", date(2026, 6, 3)),
    ]  # fmt: skip


def test_before_the_first_rollup_only_anonymous_days_are_remembered(landing: Landing) -> None:
    landing.is_rolled_up = False
    landing.events("a.ndjson", LATE, event("visit", user_id=None, anonymous_id="a1"))
    landing.load()
    assert landing.rows("select user_id, anonymous_id from raw.touched") == [(None, "a1")]


def test_what_changes_nothing_touches_nothing(landing: Landing) -> None:
    landing.events("a.ndjson", EARLY, LATE)
    landing.load()
    landing.events("b.ndjson", LATE, EARLY)
    landing.load()
    assert landing.values("select count(*) from raw.touched where batch_id = 2") == [0]


def test_rows_know_their_batch_and_file(landing: Landing) -> None:
    landing.events("a.ndjson", event("m1"))
    landing.load()
    landing.events("b.ndjson", event("m2"))
    landing.load()
    assert landing.stored(["message_id", "batch_id", "file_id"]) == [("m1", 1, 1), ("m2", 2, 2)]


_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "message_id": st.sampled_from(["m1", "m2", "m3", None]),
            "type": st.sampled_from(["track", "page", "alias", "wrong"]),
            "user_id": st.sampled_from(["u1", "u2", None]),
            "anonymous_id": st.sampled_from(["a1", None]),
            "timestamp": st.sampled_from(["2026-06-01T10:00:00Z", "2026-06-02 10:00:00+02:00", "2026-06-03", "never"]),
            "received_at": st.sampled_from(["2026-06-04T10:00:00Z", "2026-06-05T10:00:00Z", None]),
            "properties": st.sampled_from([None, {"feature": "x"}, '{"feature": "y"}', "[]"]),
        }
    ),
    min_size=1,
    max_size=12,
)


@contextmanager
def _fresh_landing() -> Iterator[Landing]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Warehouse(Path(folder) / "w.duckdb").connect() as connection,
    ):
        yield Landing(Path(folder) / "landing", connection)


def _content(landing: Landing) -> list[tuple]:
    return landing.stored(EVENT_VALUES)


@settings(max_examples=7, deadline=None)
@given(rows=_ROWS, seed=st.integers(0, 10**6))
def test_the_table_does_not_depend_on_split_order_or_repetition(rows: list[dict], seed: int) -> None:
    shuffled = random.Random(seed)
    with _fresh_landing() as together, _fresh_landing() as apart:
        together.events("all.ndjson", *rows)
        together.load()
        deliveries = [*rows, *shuffled.sample(rows, shuffled.randint(0, len(rows)))]
        shuffled.shuffle(deliveries)
        file = 0
        while deliveries:
            for _ in range(shuffled.randint(1, 2)):
                size = shuffled.randint(1, 5)
                apart.events(f"{file}.ndjson", *deliveries[:size])
                deliveries, file = deliveries[size:], file + 1
            apart.load()
        assert _content(apart) == _content(together)
        assert apart.law_holds()
        assert together.law_holds()
        touched = f"select distinct {TOUCHED} from raw.events"
        assert apart.rows(f"{touched} except select user_id, anonymous_id, day from raw.touched") == []


@pytest.mark.parametrize("step", ["_insert", "_count", "finish", "_replace_worse"])
def test_a_run_that_dies_between_rows_and_record_leaves_nothing_behind(
    landing: Landing, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    landing.events("a.ndjson", LATE, event("other"))
    landing.load()
    before = _everything(landing)
    landing.events("b.ndjson", EARLY, event("new"), event("bad", type="wrong"))
    working = getattr(EventMerge, step)

    def die(merge: EventMerge) -> None:
        working(merge)
        raise KeyboardInterrupt

    monkeypatch.setattr(EventMerge, step, die)
    with pytest.raises(KeyboardInterrupt):
        landing.load()
    assert _everything(landing) == before
    monkeypatch.undo()
    outcome = landing.load_one()
    assert (outcome.loaded, outcome.duplicate, outcome.quarantined) == (1, 1, 1)
    assert landing.law_holds()


def test_slices_make_no_difference(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_group, "SLICE_ROWS", 1)
    landing.events("a.ndjson", LATE, event("x"))
    landing.events("b.ndjson", EARLY, event("bad", type="wrong"))
    report = landing.load()
    assert (report.loaded, report.duplicate, report.quarantined) == (2, 1, 1)
    assert landing.stored(["event"]) == [("Early",), ("Report Created",)]
    assert landing.law_holds()


def test_the_order_of_files_in_a_load_does_not_matter_for_ties(landing: Landing) -> None:
    rows = [event("m", event=name) for name in ("A", "B", "C")]
    landing.put("events/a.ndjson", "\n".join(json.dumps(row) for row in rows))
    landing.load()
    first = landing.stored(["event"])
    with _fresh_landing() as other:
        for position, row in enumerate(reversed(rows)):
            other.events(f"{position}.ndjson", row)
            other.load()
        assert other.stored(["event"]) == first


def _everything(landing: Landing) -> list[list[tuple]]:
    return [landing.rows(f"select * from raw.{t} order by all") for t in ("events", "files", "quarantine", "touched")]


@pytest.mark.parametrize(("kind", "other"), [("group", "track"), ("track", "group"), ("identify", "track")])
def test_whoever_was_said_to_be_somebody_by_a_row_that_goes_is_looked_at_again(
    landing: Landing, kind: str, other: str
) -> None:
    landing.events("a.ndjson", event("m", type=kind, group_id="g1", received_at="2026-06-09T00:00:00Z"))
    landing.load()
    landing.events("b.ndjson", event("m", type=other, group_id="g2", received_at="2026-06-01T00:00:00Z"))
    landing.load()
    assert landing.values("select distinct message_id from raw.replaced_identities") == ["m"]


def test_a_row_that_says_who_somebody_is_by_its_mapping_is_looked_at_again_as_well(landing: Landing) -> None:
    landing.rules = rules(EventMapping(files="flat.*", identifies=True))
    said = {"anonymous_id": "v", "traits": {"email": "a@b.example"}}
    landing.events("flat.ndjson", event("m", received_at="2026-06-09T00:00:00Z", **said))
    landing.load()
    landing.events("b.ndjson", event("m", received_at="2026-06-01T00:00:00Z"))
    landing.load()
    assert landing.stored(["message_id", "identifies"]) == [("m", None)]
    # Of two that say the same it is the one that says more, whatever comes first.
    for number, name in enumerate(("c.ndjson", "flat.2.ndjson", "d.ndjson")):
        landing.events(name, event("same", **said), event(f"other {number}"))
        landing.load()
    assert landing.values("select identifies from raw.events where message_id = 'same'") == [True]
    assert landing.values("select distinct message_id from raw.replaced_identities order by 1") == ["m", "same"]
