"""`score_new_events` leaves everything as `score_everything` over the same files would: scores, CRM, serving copy."""

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from installation import END, Installation

from dagster_project.actions import action_request
from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.actions import Action
from dagster_project.core.follow_ups import task_key
from dagster_project.core.sync import FieldUpdate
from dagster_project.defs.serving import PUBLISHED
from dagster_project.landing.discovery import event_files
from dagster_project.ledger import Ledger
from dagster_project.open_files import was_left_alone
from dagster_project.publishing import spare_of
from dagster_project.refresh import features_stand
from dagster_project.run import BatchRunner, persistent_instance
from dagster_project.watch import Batch, BatchOutcome

COMPARED = {
    "pql_scores": "* exclude (as_of)",
    "pqa_scores": "* exclude (as_of)",
    "product_traits": "*",
    "funnel": "*",
    "exclusions": "*",
    "quarantine": "source, file, row_number, raw, reason",
    "user_profiles": "*",
    "account_profiles": "*",
    "leads": "*",
    "crm_owners": "*",
    "crm_opportunities": "*",
}
SCORES = ("pql_scores", "pqa_scores", "score_history", "segment_history")
_PUBLISHED_TABLES = "select table_name from information_schema.tables where table_schema = 'marts'"

TOOL_CALL = {
    "call_id": "tc_1", "called_at": END, "asked_by": "ann@acme.com", "tool": "leads.get_hottest", "arguments": "{}",
    "decision": "answered", "reason": None, "result_bytes": 812, "milliseconds": 9.5, "delivery_id": None,
}  # fmt: skip
"""Of an assistant, between two runs."""


def refreshed(data_dir: Path) -> tuple[bool, str]:
    with duckdb.connect(str(data_dir / "warehouse.duckdb"), read_only=True) as warehouse:
        return warehouse.sql("select is_full, reason from raw.refreshes").fetchall()[0]


def published(data_dir: Path) -> dict[str, list[tuple]]:
    with duckdb.connect(str(data_dir / "serving.duckdb"), read_only=True) as serving:
        return {
            table: serving.sql(f"select {columns} from marts.{table} order by all").fetchall()
            for table, columns in COMPARED.items()
        }


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A company whose last files arrive one after the other, between two full runs a file of them."""
    from dagster_project.demo.company import write_demo_company

    data_dir = tmp_path_factory.mktemp("grown")
    write_demo_company(data_dir / "landing", 3, users=200, accounts=40, days=60, end=END)
    events = sorted((data_dir / "landing" / "events").rglob("*.*"), key=lambda path: path.name)
    waiting = [path for path in events if path.is_file()][-6:]
    aside = tmp_path_factory.mktemp("aside")
    for path in waiting:
        shutil.move(path, aside / path.name)
    Installation(data_dir).run(
        "score_everything", raise_on_error=False
    )  # the first one compares with an earlier moment
    assert Installation(data_dir).run("score_everything").success
    with Ledger(f"sqlite:///{data_dir / 'ledger.sqlite'}") as ledger:
        ledger.keep_tool_call(TOOL_CALL)
    copied_whole = []
    for number in range(0, len(waiting), 2):
        for path in waiting[number : number + 2]:
            shutil.move(aside / path.name, path)
        early = 1 if number == 0 else 10_000
        result = Installation(data_dir).run("score_new_events", raise_on_error=False, scores_first_from=early)
        assert result.success
        assert refreshed(data_dir) == (False, "only events have come")
        told = {event.asset_key: event.materialization.metadata for event in result.get_asset_materialization_events()}
        published_by = told[dg.AssetKey(["serving", "serving_database"])]
        assert ("scores published" in published_by) == (early == 1)
        copied_whole.append(published_by["copied whole"].value)
    # what scores replace is the spare in which decisions are published
    assert copied_whole == 3 * [not was_left_alone(spare_of(data_dir / "serving.duckdb"))]
    yield data_dir


def test_the_scores_are_those_of_a_build_from_scratch(grown: Path, tmp_path: Path) -> None:
    shutil.copytree(grown / "landing", tmp_path / "landing")
    crm = LocalCrm(tmp_path / "crm.sqlite")
    for account_id, name, extracted, stands in LocalCrm(grown / "crm.sqlite").set_by_rules():
        crm.take_over("account", {account_id: {name: extracted}}, of=[account_id])
        crm.update("account", [FieldUpdate(account_id, {name: stands}, "f")])
    assert Installation(tmp_path).run("score_everything").success
    fresh, delta = published(tmp_path), published(grown)
    assert len(fresh["pql_scores"]) > 100
    for table in COMPARED:
        assert delta[table] == fresh[table], table
    for kind in ("contact", "account"):
        assert written(grown, kind) == written(tmp_path, kind)


def test_the_serving_copy_holds_what_the_warehouse_publishes(grown: Path) -> None:
    assert copied_like_the_warehouse(grown) == set(PUBLISHED)


def test_whatever_events_say_the_serving_copy_holds_what_the_warehouse_publishes(grown: Path, tmp_path: Path) -> None:
    data_dir, draw = shutil.copytree(grown, tmp_path / "data"), random.Random(7)
    day = END + timedelta(days=1)
    assert Installation(data_dir).run(as_of=day, now=day).success
    with duckdb.connect(str(data_dir / "serving.duckdb"), read_only=True) as serving:
        users = [name for (name,) in serving.sql("select user_id from marts.pql_scores order by all").fetchall()]
        accounts = serving.sql("select account_id from marts.pqa_scores where not account_id is null order by all")
        groups = [name for (name,) in accounts.fetchall()]
        [(lead, company, domain)] = serving.sql(
            "select user_id, company, account_id from marts.leads join marts.account_profiles using (account_id) "
            "where not in_crm order by all limit 1"
        ).fetchall()
        elsewhere = "select user_id from marts.pql_scores where segment <> 'enterprise' order by all limit 2"
        movers = [name for (name,) in serving.sql(elsewhere).fetchall()]
        large = (
            "select account_id from marts.pqa_scores join marts.account_profiles using (account_id) "
            "where segment = 'enterprise' and in_crm order by all limit 1"
        )
        [(enterprise,)] = serving.sql(large).fetchall()
    for number, mover in enumerate(movers, 1):
        said = [_something(draw, users, groups) for _ in range(40)]
        said.append({"type": "group", "user_id": mover, "group_id": enterprise})
        # Of somebody who says nothing the company is called something else.
        said.append({"type": "group", "user_id": "a stranger", "group_id": domain, "traits": {"name": f"New {number}"}})
        moment = day + timedelta(minutes=number)
        land_events(data_dir, f"said-{number}", said, at=moment)
        early = 1 if number % 2 else 10_000
        run = Installation(data_dir).run("score_new_events", as_of=moment, now=moment, scores_first_from=early)
        assert run.success
        assert refreshed(data_dir) == (False, "only events have come")
        copied_like_the_warehouse(data_dir)
        with duckdb.connect(str(data_dir / "serving.duckdb"), read_only=True) as serving:
            named = serving.sql("select company from marts.leads where user_id = ?", params=[lead]).fetchall()
        assert named == [(f"New {number}",)] != [(company,)]
    with duckdb.connect(str(data_dir / "serving.duckdb"), read_only=True) as serving:
        [(ended,)] = serving.execute("select count(*) from marts.segment_history where valid_to > ?", [day]).fetchall()
    assert ended > 0, "nobody's segment has changed"


def _something(draw: random.Random, users: list[str], groups: list[str]) -> dict[str, object]:
    """An event that changes a score, or where somebody belongs, or who they are, or whether they count at all."""
    user = {"user_id": draw.choice([*users, f"new-{draw.randrange(9)}"])}
    events = ("Upgrade Clicked", "Team Member Invited", "Integration Connected", "Data Imported", "Signed In")
    kind = draw.choice(("track", "track", "track", "page", "group", "identify", "staff"))
    if kind == "group":
        traits = {"name": f"Company {draw.randrange(99)}", "subscription_status": draw.choice(("paying", "churned"))}
        return {
            "type": "group",
            **user,
            "group_id": draw.choice([*groups, f"group-{draw.randrange(9)}"]),
            "traits": traits,
        }
    if kind in ("identify", "staff"):
        host = "group-mail.example" if kind == "identify" else "rivalapp.example"
        return {"type": "identify", **user, "traits": {"email": f"p{draw.randrange(999)}@{host}"}}
    return {"type": kind, **user, "event" if kind == "track" else "name": draw.choice(events)}


def land_events(data_dir: Path, name: str, events: list[dict[str, object]], *, at: datetime) -> None:
    when = f"{at - timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"
    rows = [{"message_id": f"{name}-{n}", "timestamp": when, "received_at": when, **e} for n, e in enumerate(events)]
    landed = data_dir / "landing" / "events" / f"{name}.ndjson"
    landed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.utime(landed, (0, 0))  # left alone for long


def copied_like_the_warehouse(data_dir: Path) -> set[str]:
    """Compare every published table with what the warehouse publishes; their names."""
    with duckdb.connect(str(data_dir / "serving.duckdb"), read_only=True) as serving:
        tables = [name for (name,) in serving.sql(_PUBLISHED_TABLES).fetchall()]
        copied = {table: serving.sql(f"from marts.{table} order by all").fetchall() for table in tables}
    with duckdb.connect(str(data_dir / "warehouse.duckdb"), read_only=True) as warehouse:
        for table in tables:
            assert copied[table] == warehouse.sql(f"from marts.{table} order by all").fetchall(), table
    return set(tables)


def test_members_of_audiences_are_published_as_they_are_scored_now(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    members = _audiences(data_dir)
    assert len(members) > 1 and all(members.values())
    renamed, excluded, *_ = sorted(members)
    emails = {renamed: "somebody@else.example", excluded: "somebody@rivalapp.example"}
    said = [{"type": "identify", "user_id": user_id, "traits": {"email": email}} for user_id, email in emails.items()]
    land_events(data_dir, "renamed", said, at=END)
    assert Installation(data_dir).run("score_new_events").success
    assert refreshed(data_dir) == (False, "only events have come")
    del members[excluded]  # whoever is not scored any more is in no audience either
    assert _audiences(data_dir) == members | {renamed: "somebody@else.example"}


def test_refused_rows_are_published_whatever_the_clock_says(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    for name, days in (("late", 3), ("set-back", 2)):
        land_events(data_dir, name, [{"type": "track", "user_id": "u", "timestamp": "yesterday"}], at=END)
        assert Installation(data_dir).run("score_new_events", now=END + timedelta(days=days)).success
        assert refreshed(data_dir) == (False, "only events have come")
    files = {row[1] for row in published(data_dir)["quarantine"]}
    assert {"events/late.ndjson", "events/set-back.ndjson"} <= files
    copied_like_the_warehouse(data_dir)


def _audiences(data_dir: Path) -> dict[str, str | None]:
    with duckdb.connect(str(data_dir / "serving.duckdb"), read_only=True) as serving:
        return dict(serving.sql("select user_id, email from marts.audiences").fetchall())


def test_a_batch_of_pls_watch_is_a_run_that_the_ui_shows_and_says_what_could_not_be_read(
    grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir, home = shutil.copytree(grown, tmp_path / "data"), tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("PLS_DATA_DIR", str(data_dir))
    monkeypatch.setenv("PLS_AS_OF", f"{END:%Y-%m-%dT%H:%M:%S}")
    land_events(data_dir, "watched", [{"type": "track", "user_id": "u", "timestamp": "yesterday"}] * 2, at=END)
    landed = next(file for file in event_files(data_dir / "landing") if file.path.stem == "watched")
    outcome = BatchRunner(home).run(Batch(frozenset({landed}), may_be_delta=True))
    assert outcome == BatchOutcome("", quarantined=2)
    with persistent_instance(home) as instance:
        [run] = instance.get_runs()
    assert (run.job_name, run.status) == ("score_new_events", dg.DagsterRunStatus.SUCCESS)
    assert run.tags["pls/watch"] == "1 file"
    runner = BatchRunner(home)
    shutil.rmtree(home)
    home.write_text("no folder any more")
    assert runner.run(Batch(frozenset({landed}), may_be_delta=True)).cause.startswith(
        "Dagster's storage can't be used: "
    )


def test_with_a_ledger_that_has_forgotten_nothing_is_decided(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    (data_dir / "ledger.sqlite").unlink()
    result = Installation(data_dir).run("score_new_events", raise_on_error=False)
    assert not result.success
    [failed] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert "Put the right one back" in f"{failed.user_failure_data} {failed.error}"
    with Ledger(f"sqlite:///{data_dir / 'ledger.sqlite'}") as ledger:
        assert ledger.read_frame("handoffs").is_empty()
    shutil.copy(grown / "ledger.sqlite", data_dir)
    assert Installation(data_dir).run("score_new_events").success


def test_a_serving_copy_out_of_a_backup_is_replaced_by_everything(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    serving = data_dir / "serving.duckdb"
    shutil.copy(serving, tmp_path / "backup.duckdb")
    land_events(data_dir, "first", [{"type": "track", "event": "Task Completed", "user_id": "u_000001"}], at=END)
    assert Installation(data_dir).run("score_new_events").success
    shutil.copy(tmp_path / "backup.duckdb", tmp_path / "restored.duckdb")
    (tmp_path / "restored.duckdb").replace(serving)
    spare_of(serving).unlink(missing_ok=True)
    land_events(data_dir, "second", [{"type": "track", "event": "Task Completed", "user_id": "u_000002"}], at=END)
    assert Installation(data_dir).run("score_new_events").success
    copied_like_the_warehouse(data_dir)


def test_a_call_of_a_tool_is_published_with_the_next_run(grown: Path) -> None:
    with duckdb.connect(str(grown / "serving.duckdb"), read_only=True) as serving:
        [call] = serving.sql("from marts.tool_calls").fetchall()
    assert call == tuple(TOOL_CALL.values())


def test_nothing_new_changes_nothing(grown: Path) -> None:
    before = published(grown)
    with duckdb.connect(str(grown / "serving.duckdb"), read_only=True) as serving:
        counts = serving.sql(
            "select (select count(*) from marts.score_history), (select count(*) from marts.deliveries)"
        )
        before_counts = counts.fetchall()
    assert Installation(grown).run("score_new_events", raise_on_error=False).success
    assert published(grown) == before
    with duckdb.connect(str(grown / "serving.duckdb"), read_only=True) as serving:
        counts = serving.sql(
            "select (select count(*) from marts.score_history), (select count(*) from marts.deliveries)"
        )
        assert counts.fetchall() == before_counts


def test_a_step_that_is_run_alone_takes_everything(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    with duckdb.connect(str(data_dir / "warehouse.duckdb")) as warehouse:
        warehouse.execute("delete from scores.pql_scores; update raw.refreshes set is_finished = false")
    alone = Installation(data_dir).run(only=SCORES)
    assert alone.success
    with duckdb.connect(str(data_dir / "warehouse.duckdb"), read_only=True) as warehouse:
        scored = warehouse.sql("select count(*) from scores.pql_scores").fetchall()
        finished = warehouse.sql("select is_finished from raw.refreshes").fetchall()
    assert scored == [(len(published(grown)["pql_scores"]),)]
    assert finished == [(False,)], "it ran no models, so it has finished none"


def test_features_that_were_made_in_part_are_scored_by_nobody(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    day = END + timedelta(days=1)
    later = day + timedelta(minutes=5)  # features stay at their own moment in a delta
    assert Installation(data_dir).run(as_of=day, now=day).success
    land_events(data_dir, "later", [{"type": "track", "event": "Task Completed", "user_id": "u_000001"}], at=later)
    assert Installation(data_dir).run("score_new_events", as_of=later, now=later).success
    before = published(data_dir)
    assert Installation(data_dir).run(only=["features/user_features"], as_of=later, now=later).success
    alone = Installation(data_dir).run(only=SCORES, as_of=later, now=later, raise_on_error=False)
    [failure] = [event for event in alone.all_events if event.is_step_failure]
    assert "features were made in part" in str(failure.step_failure_data.error)
    assert Installation(data_dir).run(only=["serving/serving_database"], as_of=later, now=later).success
    assert published(data_dir)["pql_scores"] == before["pql_scores"]
    assert Installation(data_dir).run("score_new_events", as_of=later, now=later).success
    assert refreshed(data_dir) == (True, "the run before did not come to its end")
    assert published(data_dir) == before


def test_a_run_that_made_features_in_part_and_published_is_no_ground_for_a_delta(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    Installation(data_dir).run(only=["features/user_features", "serving/serving_database"], raise_on_error=False)
    assert Installation(data_dir).run("score_new_events").success
    assert refreshed(data_dir) == (True, "the run before did not come to its end")
    assert published(data_dir) == published(grown)


def test_without_published_tables_nothing_is_put_in_the_place_of_the_serving_copy(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    with duckdb.connect(str(data_dir / "warehouse.duckdb")) as warehouse:
        warehouse.execute("drop schema marts cascade")
        warehouse.execute("update raw.refreshes set is_finished = false")
    result = Installation(data_dir).run("score_new_events", raise_on_error=False)
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "run score_everything once" in failure.step_failure_data.user_failure_data.description
    assert published(data_dir) == published(grown)
    assert Installation(data_dir).run().success
    assert copied_like_the_warehouse(data_dir) == set(PUBLISHED)


def test_a_delta_tells_of_what_it_made_and_checked(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    result = Installation(data_dir).run("score_new_events")
    made = {key.to_user_string() for key in _made(result)}
    assert {"raw/product_events", "features/user_features", "scores/pql_scores", "crm/fields"} <= made
    assert {"handoffs/decisions", "serving/serving_database"} <= made
    assert "ops/handoffs" not in made, "nobody was handed over"
    checks = [
        event.asset_check_evaluation_data
        for event in result.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    assert {(check.check_name, check.passed) for check in checks} == {
        ("every_row_is_accounted_for", True),
        ("table_holds_what_was_loaded", True),
        ("every_feed_delivers", True),
        ("the_crm_took_what_was_sent", True),
    }


def test_a_part_that_fails_keeps_only_what_stands_on_it_from_being_done(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    (data_dir / "serving.duckdb").unlink()
    (data_dir / "serving.duckdb").mkdir()
    result = Installation(data_dir).run("score_new_events", raise_on_error=False)
    [failure] = [event for event in result.all_events if event.is_step_failure]
    told = failure.step_failure_data.user_failure_data.description
    assert told.startswith("serving__serving_database: IsADirectoryError")
    made = {key.to_user_string() for key in _made(result)}
    assert {"scores/pql_scores", "crm/fields", "product/traits"} <= made
    assert "serving/serving_database" not in made
    (data_dir / "serving.duckdb").rmdir()
    assert Installation(data_dir).run("score_new_events").success
    assert refreshed(data_dir) == (True, "the run before did not come to its end")


def test_an_owner_that_a_rule_has_set_is_known_to_the_next_delta(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    with duckdb.connect(str(data_dir / "serving.duckdb"), read_only=True) as serving:
        [(account_id,)] = serving.sql(
            "select account_id from marts.account_profiles where in_crm and owner_id is null order by 1 limit 1"
        ).fetchall()
        [(owner_id,)] = serving.sql("select owner_id from marts.crm_owners order by 1 limit 1").fetchall()
    assert LocalCrm(data_dir / "crm.sqlite").assign_owner("account", account_id, owner_id).error is None

    def owner() -> str | None:
        assert Installation(data_dir).run("score_new_events").success
        with duckdb.connect(str(data_dir / "serving.duckdb"), read_only=True) as serving:
            found = f"select owner_id from marts.account_profiles where account_id = '{account_id}'"
            return serving.sql(found).fetchall()[0][0]

    assert owner() == owner_id
    (data_dir / "crm.sqlite").write_bytes(b"no database" * 1000)
    result = Installation(data_dir).run("score_new_events", raise_on_error=False)
    assert {"scores/pql_scores"} <= {key.to_user_string() for key in _made(result)}, "scores need not wait for it"


def test_what_several_parts_fail_of_is_told_once(grown: Path, tmp_path: Path) -> None:
    data_dir, playbook = shutil.copytree(grown, tmp_path / "data"), tmp_path / "playbook"
    playbook.mkdir()
    (playbook / "scoring.yml").write_text("scoring: {}\n")
    result = Installation(data_dir).run("score_new_events", raise_on_error=False, PLS_PLAYBOOK_DIR=str(playbook))
    [failure] = [event for event in result.all_events if event.is_step_failure]
    told = failure.step_failure_data.user_failure_data.description
    assert told.startswith(
        "raw__crm_records, raw__moments, raw__playbook_rules, raw__product_events, product__traits: The"
    )
    assert told.count("scoring: unknown key") == 1


def test_scores_are_published_before_anything_is_decided(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    assert Installation(data_dir).run("score_new_events").success  # a copied folder's serving copy is another file
    land_events(data_dir, "late", [{"type": "track", "event": "Upgrade Clicked", "user_id": "late"}], at=END)
    with sqlite3.connect(data_dir / "ledger.sqlite") as ledger:
        ledger.execute("alter table trigger_states rename to mislaid")
    result = Installation(data_dir).run("score_new_events", raise_on_error=False)
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data.description.startswith("handoffs__decisions: ")
    found = "select count(*) from marts.pql_scores where user_id = 'late'"
    with duckdb.connect(str(data_dir / "serving.duckdb"), read_only=True) as serving:
        assert serving.sql(found).fetchall() == [(1,)]
    with sqlite3.connect(data_dir / "ledger.sqlite") as ledger:
        ledger.execute("alter table mislaid rename to trigger_states")
    assert Installation(data_dir).run("score_new_events").success
    assert copied_like_the_warehouse(data_dir) == set(PUBLISHED)


def test_after_a_run_that_fails_while_it_loads_everything_stands_as_before(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    known = "select count(*) from features.{} where as_of = (select as_of from raw.moments where is_live)"
    tables = ("user_features", "account_features", "owners")
    until = "select until from raw.moments where is_live"

    def standing() -> list[list[tuple]]:
        with duckdb.connect(str(data_dir / "warehouse.duckdb")) as warehouse:
            return [warehouse.sql(query).fetchall() for query in (*map(known.format, tables), until)]

    before = standing()
    with duckdb.connect(str(data_dir / "warehouse.duckdb")) as warehouse:
        warehouse.execute("alter table raw.files rename column detail to details")
    landed = data_dir / "landing" / "events" / "more.ndjson"
    landed.write_text('{"message_id": "more", "type": "track", "user_id": "u", "timestamp": "2026-06-30T12:00:00Z"}\n')
    os.utime(landed, (0, 0))
    tomorrow = END + timedelta(days=1)
    assert not Installation(data_dir).run("score_new_events", as_of=tomorrow, raise_on_error=False).success
    assert standing() == before
    with duckdb.connect(str(data_dir / "warehouse.duckdb")) as warehouse:
        warehouse.execute("alter table raw.files rename column details to detail")
    assert Installation(data_dir).run("score_new_events", as_of=tomorrow).success
    assert refreshed(data_dir) == (True, "another day: the windows slide")


def test_who_may_be_contacted_is_not_known_while_features_are_of_two_runs(grown: Path, tmp_path: Path) -> None:
    data_dir = shutil.copytree(grown, tmp_path / "data")
    with duckdb.connect(str(data_dir / "warehouse.duckdb")) as warehouse:
        assert features_stand(warehouse)
        warehouse.execute("alter table raw.settings rename column value to number")
    assert not Installation(data_dir).run(raise_on_error=False).success
    with duckdb.connect(str(data_dir / "warehouse.duckdb")) as warehouse:
        assert not features_stand(warehouse)
        warehouse.execute("alter table raw.settings rename column number to value")
    assert Installation(data_dir).run().success
    with duckdb.connect(str(data_dir / "warehouse.duckdb")) as warehouse:
        assert features_stand(warehouse)


def test_a_delta_of_another_day_is_of_that_day_and_a_crm_extract_makes_the_next_run_a_full_one(
    grown: Path, tmp_path: Path
) -> None:
    data_dir, tomorrow = shutil.copytree(grown, tmp_path / "data"), END + timedelta(days=1)
    assert Installation(data_dir).run("score_new_events").success  # what it knows of today must not hold tomorrow
    assert Installation(data_dir).run(as_of=tomorrow).success
    users = [row[0] for row in published(data_dir)["pql_scores"][:5]]
    events = [
        {
            "message_id": f"tomorrow-{number}",
            "type": "track",
            "event": "Signed In",
            "user_id": user_id,
            "timestamp": f"{tomorrow - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
            "received_at": f"{tomorrow - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        }
        for number, user_id in enumerate(users)
    ]
    landed = data_dir / "landing" / "events" / "tomorrow.ndjson"
    landed.write_text("".join(json.dumps(event) + "\n" for event in events))
    os.utime(landed, (0, 0))  # left alone for long
    assert Installation(data_dir).run("score_new_events", as_of=tomorrow).success
    assert refreshed(data_dir) == (False, "only events have come")
    after_delta = published(data_dir)
    land_owners_again(data_dir)
    assert Installation(data_dir).run("score_new_events", as_of=tomorrow).success
    assert refreshed(data_dir) == (True, "the CRM has delivered")
    assert after_delta == published(data_dir)


def land_owners_again(data_dir: Path) -> None:
    """A newer file, with the same people in it."""
    owners = next((data_dir / "landing" / "crm").rglob("owners.*"))
    newer = data_dir / "landing" / "crm" / "dt=2026-06-30" / owners.name
    newer.parent.mkdir(exist_ok=True)
    newer.write_bytes(owners.read_bytes() + b"\n")


def _made(result: dg.ExecuteInProcessResult) -> list[dg.AssetKey]:
    events = [event for event in result.all_events if event.event_type_value == "ASSET_MATERIALIZATION"]
    return [event.materialization.asset_key for event in events]


def test_without_a_run_before_it_says_what_to_run(tmp_path: Path) -> None:
    result = Installation(tmp_path).run("score_new_events", raise_on_error=False)
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "score_everything" in str(failure.step_failure_data.user_failure_data.description)


def written(data_dir: Path, kind: str) -> dict[str, dict]:
    records = LocalCrm(data_dir / "crm.sqlite").records(kind)
    return {
        key: {name: value for name, value in fields.items() if name != "pls_scored_at"}
        for key, fields in json.loads(json.dumps(records)).items()
    }


@pytest.mark.parametrize("status", ["delivered", "cancelled", "not_a_fit"])
def test_a_delta_that_hears_a_no_stops_the_task_that_was_made(
    status: str, demo_run: Installation, tmp_path: Path
) -> None:
    data_dir = shutil.copytree(demo_run.data_dir, tmp_path / "data")
    day = END + timedelta(days=1)
    assert Installation(data_dir).run(as_of=day, now=day).success
    with duckdb.connect(str(data_dir / "serving.duckdb"), read_only=True) as serving:
        handed_over = serving.sql(
            "select user_id, list(handoff_id) from marts.handoffs where status = 'delivered' group by all order by all"
        ).fetchall()
    crm = LocalCrm(data_dir / "crm.sqlite")
    (user_id, tasks), (another, theirs), *_ = (
        (user_id, made)
        for user_id, ids in handed_over
        if (made := crm.find_tasks([task_key(handoff_id) for handoff_id in ids]))
    )
    with sqlite3.connect(data_dir / "ledger.sqlite") as file:
        file.execute("update handoffs set status = ? where user_id = ?", [status, user_id])
    # One that could not be stopped while that had to be, and has taken it back since.
    back = Action("taken back", "stop_task", "task", next(iter(theirs)), {"why": "no", "user_id": another})
    with Ledger(f"sqlite:///{data_dir / 'ledger.sqlite'}") as ledger:
        ledger.request([action_request("crm:local", back)], day)
    land_events(data_dir, "no", [{"type": "track", "user_id": user_id, "event": "Unsubscribed"}], at=day)
    moment = day + timedelta(minutes=1)
    for _ in range(2):
        assert Installation(data_dir).run("score_new_events", as_of=moment, now=moment).success
        assert refreshed(data_dir) == (False, "only events have come")
        with sqlite3.connect(data_dir / "crm.sqlite") as file:
            said = {key: json.loads(task)["subject"] for key, task in file.execute("select key, task from tasks")}
        stopped = {key for key, subject in said.items() if subject.startswith("Do not contact: ")}
        assert stopped == set(tasks) < said.keys()
        with Ledger(f"sqlite:///{data_dir / 'ledger.sqlite'}") as ledger:
            assert ledger.ended_actions("crm:local", ["taken back"])["taken back"][0] == "cancelled"
        assert max(subject.count("Do not contact") for subject in said.values()) == 1
