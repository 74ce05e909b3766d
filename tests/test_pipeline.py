"""The whole graph in one process: the life of one small installation, told in five runs, and what breaks it.

The runs are expensive, so that each chapter is run once and looked at by many tests.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from installation import END, FIRST_SCORED, Installation

from dagster_project.core.playbook import PlaybookError
from dagster_project.demo.crm import ORPHAN_ACCOUNT
from dagster_project.playbook_files import PACKAGED
from dagster_project.publishing import spare_of

CONTRACT = {
    "pql_scores": "user_id, account_id, contact_id, email, usage_score, engagement_score, intent_score, fit_tier, "
    "fit_multiplier, pql_score, classification, segment, motion, segment_source, activation_stage, usage_tier, "
    "last_active_at, features_used, explanation, as_of, model_version",
    "pqa_scores": "account_id, name, domain, breadth_score, depth_score, fit_score, momentum_score, usage_score, "
    "pqa_score, classification, quadrant, segment, motion, active_users_30d, explanation, as_of, model_version",
    "score_history": "subject_type, subject_id, score, classification, previous_score, reason, as_of, model_version",
    "segment_history": "subject_type, subject_id, segment, motion, source, valid_from, valid_to",
    "handoff_decisions": "decision_id, candidate_key, handoff_id, user_id, account_id, triggers, priority, decision, "
    "reason, decided_at",
    "handoffs": "handoff_id, user_id, account_id, trigger, triggers, priority, handoff_type, recipient_id, due_at, "
    "package_markdown, status, created_at",
    "handoff_feedback": "handoff_id, label, answered_by, answered_at, until, source",
    "deliveries": "delivery_id, destination, object_type, object_id, operation, status, attempts, error, payload_hash, "
    "requested_at, confirmed_at",
    "product_traits": "subject_type, subject_id, owner, contract_value, segment, custom_fields, updated_at",
    "funnel": "stage, motion, users, share_of_signups",
    "calibration": "model_version, dimension, value, leads, won, close_rate, lift, from_date, to_date",
    "exclusions": "user_id, email, reason",
    "quarantine": "source, file, row_number, raw, reason, quarantined_at",
}
"""The published tables and the columns that other programs read, as the specification lists them."""


@dataclass(frozen=True)
class Published:
    """What an installation shows to the outside after a run.

    Attributes:
        columns: The columns of each table of schema `marts`.
        tables: Their rows, in a fixed order.
        outbox: The files in the outbox and their texts.
        files: Per event file: status, rows in, loaded, duplicate, quarantined.
        events: How many events the warehouse holds.
    """

    columns: Mapping[str, list[str]]
    tables: Mapping[str, list[dict[str, Any]]]
    outbox: Mapping[str, str]
    files: Mapping[str, tuple[Any, ...]]
    events: int

    def count(self, table: str, column: str) -> Counter[Any]:
        return Counter(row[column] for row in self.tables[table])


@dataclass(frozen=True)
class Story:
    """The chapters of one installation's life.

    Attributes:
        empty: Nothing has landed yet.
        first: The first files, scored some days before the end.
        late: Older files, a file delivered again and a truncated one have landed, scored at the end.
        again: Nothing is new.
        rebuilt: The warehouse was deleted.
        shown: What the UI shows of each asset after `again`: the metadata of its materialization.
        checked: What it shows of each check.
        read: What somebody counted who had the serving copy open while `late` was made: before and after.
    """

    empty: Published
    first: Published
    late: Published
    again: Published
    rebuilt: Published
    shown: Mapping[str, Mapping[str, Any]]
    checked: Mapping[str, Mapping[str, Any]]
    read: tuple[str, str]


LATE_FILES = ("events/web/2026-06-06.parquet", "events/mobile/2026-06-20.ndjson.gz")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    from dagster_project.demo.company import write_demo_company

    installation = Installation(tmp_path_factory.mktemp("story"))
    delivered = tmp_path_factory.mktemp("delivered")
    write_demo_company(delivered, 11, users=120, accounts=20, days=60, end=END)

    installation.run(as_of=FIRST_SCORED)
    empty = published(installation)

    shutil.copytree(delivered, installation.landing, ignore=lambda folder, names: withheld(Path(folder), names))
    installation.run(as_of=FIRST_SCORED)
    first = published(installation)

    with reader(installation.serving) as ask:
        before = ask()
        land_late_files(delivered, installation.landing)
        installation.run()
        read = (before, ask())
    late = published(installation)

    last = installation.run()
    again = published(installation)
    checked = {
        check.check_name: {name: value.value for name, value in check.metadata.items()}
        for check in last.get_asset_check_evaluations()
    }

    installation.warehouse.unlink()
    installation.run()
    return Story(empty, first, late, again, published(installation), materialized(last), checked, read)


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, Mapping[str, Any]]:
    events = [event for event in result.all_events if event.event_type_value == "ASSET_MATERIALIZATION"]
    return {
        event.materialization.asset_key.to_user_string(): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in events
    }


def withheld(folder: Path, names: list[str]) -> list[str]:
    return [name for name in names if any((folder / name).as_posix().endswith(late) for late in LATE_FILES)]


def land_late_files(delivered: Path, landing: Path) -> None:
    for name in LATE_FILES:
        shutil.copy2(delivered / name, landing / name)
    whole = delivered / LATE_FILES[0]
    shutil.copy2(delivered / "events/web/2026-06-13.parquet", landing / "events/web/delivered-again.parquet")
    truncated = landing / "events/web/truncated.parquet"
    truncated.write_bytes(whole.read_bytes()[:1000])
    settled = whole.stat().st_mtime
    os.utime(truncated, (settled, settled))


@contextmanager
def reader(serving: Path) -> Iterator[Any]:
    """Another process that has the serving copy open; calling what this yields makes it count its users again."""
    program = (
        "import duckdb, sys\n"
        "opened = duckdb.connect(sys.argv[1], read_only=True)\n"
        "for _ in sys.stdin:\n"
        "    [(users, as_of)] = opened.sql('select count(*), max(as_of) from marts.pql_scores').fetchall()\n"
        "    print(users, as_of, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(serving)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        stdin, stdout = process.stdin, process.stdout

        def ask() -> str:
            print("count", file=stdin, flush=True)
            return stdout.readline().strip()

        yield ask
        stdin.close()


def published(installation: Installation) -> Published:
    with duckdb.connect(str(installation.serving), read_only=True) as serving:
        names = serving.sql("select table_name from information_schema.tables where table_schema = 'marts'").fetchall()
        found = {name: serving.sql(f"select * from marts.{name}") for (name,) in names}
        columns = {name: relation.columns for name, relation in found.items()}
        tables = {name: sorted(relation.fetchall(), key=repr) for name, relation in found.items()}
    with duckdb.connect(str(installation.warehouse), read_only=True) as warehouse:
        files = warehouse.sql(
            "select path, status, rows_in, loaded, duplicate, quarantined from raw.files where source = 'events'"
        ).fetchall()
        [(events,)] = warehouse.sql("select count(*) from raw.events").fetchall()
    outbox = installation.data_dir / "outbox"
    return Published(
        columns=columns,
        tables={name: [dict(zip(columns[name], row, strict=True)) for row in tables[name]] for name in tables},
        outbox={
            path.relative_to(outbox).as_posix(): path.read_text(encoding="utf-8")
            for path in outbox.rglob("*")
            if path.is_file()
        },
        files={path: tuple(outcome) for path, *outcome in files},
        events=events,
    )


@pytest.mark.parametrize("chapter", ["empty", "late"])
def test_every_table_has_the_columns_that_others_rely_on(chapter: str, story: Story) -> None:
    found = getattr(story, chapter).columns
    lacking = {table: set(columns.split(", ")) - set(found.get(table, [])) for table, columns in CONTRACT.items()}
    assert {table: columns for table, columns in lacking.items() if columns} == {}


def test_a_run_before_anything_has_landed_publishes_empty_tables(story: Story) -> None:
    assert {table for table, found in story.empty.tables.items() if found} == {"funnel", "models"}
    assert story.empty.count("funnel", "users") == {0: 4}
    assert story.empty.outbox == {}


@pytest.mark.parametrize(("table", "score"), [("pql_scores", "pql_score"), ("pqa_scores", "pqa_score")])
def test_the_explanation_of_a_score_sums_to_it(table: str, score: str, story: Story) -> None:
    scored = story.late.tables[table]
    assert max(row[score] for row in scored) > 50
    for row in scored:
        assert sum(entry["contribution"] for entry in row["explanation"]) == pytest.approx(row[score], abs=1e-9)


def test_a_new_installation_hands_nobody_over_for_what_is_old_news(story: Story) -> None:
    decided = story.first.count("handoff_decisions", "decision")
    assert decided["suppressed_baseline"] > decided["sent"] > 0
    old_news = [row for row in story.first.tables["handoff_decisions"] if row["decision"] == "suppressed_baseline"]
    assert {row["handoff_id"] for row in old_news} == {None}


def test_every_handoff_is_in_the_outbox_once(story: Story) -> None:
    handoffs = story.late.tables["handoffs"]
    assert len(handoffs) > len(story.first.tables["handoffs"])
    letters = [text for name, text in story.late.outbox.items() if "/notice-" not in name]
    assert sorted(letters) == sorted(row["package_markdown"] for row in handoffs)
    assert story.late.count("handoffs", "status") == {"delivered": len(handoffs)}


def test_new_files_are_picked_up(story: Story) -> None:
    assert set(LATE_FILES) & set(story.first.files) == set()
    assert [story.late.files[name][0] for name in LATE_FILES] == ["loaded", "loaded"]
    assert story.late.events > story.first.events


def test_a_file_delivered_again_under_another_name_counts_once(story: Story) -> None:
    assert story.late.files["events/web/delivered-again.parquet"] == ("redelivered", 0, 0, 0, 0)
    assert story.late.events == sum(loaded for _, _, loaded, _, _ in story.late.files.values())


def test_a_truncated_file_is_reported_and_keeps_no_other_back(story: Story) -> None:
    assert story.late.files["events/web/truncated.parquet"] == ("unreadable", 1, 0, 0, 1)
    [refused] = [row for row in story.late.tables["quarantine"] if row["file"] == "events/web/truncated.parquet"]
    assert "parquet" in refused["reason"].lower()


def test_a_second_run_with_nothing_new_changes_nothing_but_what_rules_have_set_is_known(story: Story) -> None:
    by_rules = ("account_tier", "owner_id")
    again, late = (
        replace(
            chapter,
            tables=chapter.tables
            | {
                "account_profiles": [
                    {name: value for name, value in row.items() if name not in by_rules}
                    for row in chapter.tables["account_profiles"]
                ]
            },
        )
        for chapter in (story.again, story.late)
    )
    assert again == late
    raised = {
        row["account_id"]
        for row in story.late.tables["rule_decisions"]
        if row["decision"] == "acted" and row["rule"] in ("tier_raise", "enterprise_owner")
    }
    before, after = (
        {row["account_id"]: [row[name] for name in by_rules] for row in chapter.tables["account_profiles"]}
        for chapter in (story.late, story.again)
    )
    changed = {account for account in after if before[account] != after[account]}
    assert changed and changed <= raised


def test_somebody_who_has_the_serving_copy_open_goes_on_reading_it(story: Story) -> None:
    before, after = story.read
    assert before == after == f"{len(story.first.tables['pql_scores'])} 2026-06-25 23:59:59.999999"


def test_the_histories_grow_by_what_changed(story: Story) -> None:
    first, late = (
        {(row["subject_type"], row["subject_id"], row["as_of"]): row for row in chapter.tables["score_history"]}
        for chapter in (story.first, story.late)
    )
    assert first.items() <= late.items()
    added = [row for key, row in late.items() if key not in first]
    assert added
    told = {(row["subject_type"], row["subject_id"]): row["score"] for row in first.values()}
    for row in added:
        previous = told.get((row["subject_type"], row["subject_id"]))
        assert row["previous_score"] == previous
        assert row["score"] != previous or row["reason"] == "reclassified"


def test_late_events_and_a_rebuilt_warehouse_give_the_same_scores(story: Story) -> None:
    assert story.rebuilt.events == story.late.events
    for table in ("pqa_scores", "pql_scores"):
        assert story.rebuilt.tables[table] == story.late.tables[table]


def test_a_rebuilt_warehouse_remembers_what_was_scored_before(story: Story) -> None:
    for table in ("score_history", "segment_history", "deliveries"):
        assert story.rebuilt.tables[table] == story.late.tables[table], table


def test_a_rebuilt_warehouse_hands_nobody_over_again(story: Story) -> None:
    for table in ("handoff_decisions", "handoffs"):
        assert story.rebuilt.tables[table] == story.late.tables[table]
    assert story.rebuilt.outbox == story.late.outbox


def test_every_asset_that_is_a_table_shows_its_columns(story: Story) -> None:
    effects = {"crm/fields", "crm/actions", "product/traits"}
    no_tables = effects | {"handoffs/decisions", "handoffs/delivered", "handoffs/answers", "serving/serving_database"}
    assert {asset for asset, told in story.shown.items() if "dagster/column_schema" not in told} == no_tables


def test_a_published_table_shows_how_many_rows_it_has(story: Story) -> None:
    counted = {table: story.shown[f"marts/{table}"]["dagster/row_count"] for table in CONTRACT}
    assert counted == {table: len(story.again.tables[table]) for table in CONTRACT}


def test_a_check_that_has_found_something_shows_it(story: Story) -> None:
    told = story.checked["opportunities_have_accounts"]
    assert (told["rows found"], ORPHAN_ACCOUNT in told["first of them"]) == (1, True)


def test_the_scores_show_their_classes_the_hottest_and_what_a_column_means(story: Story) -> None:
    told = story.shown["scores/pql_scores"]
    assert told["classes"].startswith("![How many in each class](data:image/png;base64,")
    hottest = max(story.again.tables["pql_scores"], key=lambda row: row["pql_score"])
    assert hottest["email"] in told["hottest"]
    described = {column.name: column.description for column in told["dagster/column_schema"].columns}
    assert described["classification"]
    assert told["dagster/row_count"] == len(story.again.tables["pql_scores"])


def test_a_broken_playbook_stops_the_run_with_the_file_the_key_and_what_was_expected(tmp_path: Path) -> None:
    playbook = tmp_path / "playbook"
    playbook.mkdir()
    text = (PACKAGED / "scoring.yml").read_text(encoding="utf-8")
    (playbook / "scoring.yml").write_text(text.replace("weights:", "wieghts:"), encoding="utf-8")
    installation = Installation(tmp_path / "data")
    with pytest.raises(PlaybookError, match=r"scoring\.yml: .*wieghts"):
        installation.run(PLS_PLAYBOOK_DIR=str(playbook))
    assert not installation.serving.exists()


def test_working_hours_and_holidays_of_a_playbook_folder_move_what_is_due(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "data")
    _land_a_hand_raise(installation.landing)
    (playbook := tmp_path / "playbook").mkdir()
    text = (PACKAGED / "routing.yml").read_text(encoding="utf-8")
    for old, new in {
        "  default: null": '  default: {time_zone: Europe/Berlin, start: "09:00", end: "17:00"}',
        "  teams: {}": "  teams: {ae: {time_zone: America/New_York}}",
        "holidays: []": "holidays: [2026-06-29]",
    }.items():
        assert old in text
        text = text.replace(old, new, 1)
    (playbook / "routing.yml").write_text(text, encoding="utf-8")
    friday = datetime(2026, 6, 26, 20, 30)
    assert installation.run(as_of=friday, now=friday, PLS_PLAYBOOK_DIR=str(playbook)).success
    with duckdb.connect(str(installation.serving), read_only=True) as serving:
        [(due_at,)] = serving.sql("select due_at from marts.handoffs").fetchall()
    assert due_at == datetime(2026, 6, 30, 13, 30), (
        "16:30 there: half an hour on Friday, and on Tuesday after a holiday"
    )


def job_of_the_environment() -> dg.JobDefinition:
    """The whole graph over what the environment's variables name, as a process of its own makes it."""
    from dagster_project.definitions import build_definitions

    return build_definitions().resolve_job_def("score_everything")


def test_a_run_that_is_executed_again_from_where_it_failed_comes_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PLS_AS_OF", "2026-06-27T00:00:00")
    installation = Installation(tmp_path)
    _land_a_hand_raise(installation.landing)
    in_the_way = spare_of(installation.serving)
    in_the_way.mkdir()
    job = dg.reconstructable(job_of_the_environment)
    with dg.instance_for_test() as instance:
        failed = dg.execute_job(job, instance=instance)
        assert [event.step_key for event in failed.get_step_failure_events()] == ["serving__serving_database"]
        in_the_way.rmdir()
        again = dg.ReexecutionOptions.from_failure(failed.run_id, instance)
        assert dg.execute_job(job, instance=instance, reexecution_options=again).success
    with duckdb.connect(str(installation.warehouse), read_only=True) as warehouse:
        assert warehouse.sql("select is_full, is_finished from raw.refreshes").fetchall() == [(True, True)]


def _land_a_hand_raise(landing: Path) -> None:
    """A user of a small company who asked for a demo, and an account executive."""
    said = {"user_id": "u_1", "timestamp": "2026-06-26T20:00:00Z"}
    rows = [
        {"type": "identify", "traits": {"email": "ann@one.example"}, **said},
        {"type": "track", "event": "Demo Requested", **said},
    ]
    files = {
        "events/app.ndjson": "\n".join(map(json.dumps, rows)) + "\n",
        "crm/accounts.csv": "account_id,name,domain,do_not_contact\nA1,One,one.example,false\n",
        "crm/contacts.csv": "contact_id,email,account_id,email_opt_out,do_not_contact\nC1,ann@one.example,A1,no,no\n",
        "crm/owners.csv": "owner_id,name,email,team,is_active\nO1,Max,max@us.example,ae,true\n",
    }
    written = datetime(2026, 6, 26, 6, tzinfo=UTC).timestamp()
    for name, text in files.items():
        path = landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (written, written))
