"""A warehouse with hand-written raw rows, and dbt over it. What the models should answer is in the tests."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner

from dagster_project.dbt_calls import parsed_project
from dagster_project.landing.crm_reading import CRM_ROWS
from dagster_project.landing.crm_store import store_extract
from dagster_project.settings import DBT_PROJECT_DIR
from dagster_project.transform import NodeOutcome, build, build_features, build_marts, build_past
from dagster_project.warehouse import RAW_TABLES, transaction

SETTINGS = """
insert into raw.settings values ('window_days', '30'), ('min_weeks_days', '7'), ('session_gap_minutes', '30'),
  ('min_session_minutes', '1'), ('inactive_days', '30'), ('reactivated_within_days', '14');
"""

SCORE_TABLES = """
create schema scores;
create schema ops;
create table scores.pql_scores(
  user_id varchar, account_id varchar, contact_id varchar, email varchar, usage_score double,
  engagement_score double, intent_score double, fit_tier varchar, fit_multiplier double, pql_score double,
  classification varchar, segment varchar, motion varchar, segment_source varchar, activation_stage varchar,
  usage_tier varchar, last_active_at timestamp, features_used varchar[],
  explanation struct(signal varchar, value varchar, tier varchar, points double, contribution double)[],
  as_of timestamp, model_version varchar, activated_at timestamp,
  milestones struct(name varchar, reached_at timestamp)[], is_customer boolean, is_pql boolean, funnel_stage varchar);
create table scores.pqa_scores(
  account_id varchar, name varchar, domain varchar, breadth_score double, depth_score double,
  fit_score double, momentum_score double, usage_score double, pqa_score double, classification varchar,
  quadrant varchar, segment varchar, motion varchar, active_users_30d bigint,
  explanation struct(signal varchar, value varchar, tier varchar, points double, contribution double)[],
  as_of timestamp, model_version varchar, segment_source varchar, team_size bigint, is_customer boolean);
create table scores.score_history(
  subject_type varchar, subject_id varchar, score double, classification varchar,
  previous_score double, reason varchar, as_of timestamp, model_version varchar, parts double[],
  contributions double[],
  causes struct(new_activity double, left_window double, fit double, definition double, cap double,
    rounding double));
create table scores.segment_history(
  subject_type varchar, subject_id varchar, segment varchar, motion varchar,
  source varchar, valid_from timestamp);
create table scores.daily_scores(
  subject_type varchar, subject_id varchar, account_id varchar, day date, model_version varchar, score double,
  classification varchar, segment varchar, signals struct(signal varchar, points double)[]);
create table ops.handoff_decisions(
  decision_id varchar, candidate_key varchar, handoff_id varchar, user_id varchar,
  account_id varchar, triggers varchar[], priority varchar, decision varchar, reason varchar,
  decided_at timestamp);
create table ops.handoffs(
  handoff_id varchar, candidate_key varchar, user_id varchar, account_id varchar, trigger varchar,
  triggers varchar[], priority varchar, handoff_type varchar, recipient_id varchar, due_at timestamp,
  package_markdown varchar, status varchar, classification varchar, created_at timestamp);
create table ops.handoff_feedback(
  feedback_id varchar, handoff_id varchar, label varchar, answered_by varchar, answered_at timestamp,
  until timestamp, source varchar);
create table ops.deliveries(
  delivery_id varchar, destination varchar, object_type varchar, object_id varchar,
  operation varchar, status varchar, attempts bigint, error varchar, payload_hash varchar, payload varchar,
  requested_at timestamp, confirmed_at timestamp);
create table ops.tool_calls(
  call_id varchar, called_at timestamp, asked_by varchar, tool varchar, arguments varchar, decision varchar,
  reason varchar, result_bytes bigint, milliseconds double, delivery_id varchar);
create table ops.rule_decisions(
  decision_id varchar, rule varchar, subject_type varchar, subject_id varchar, user_id varchar, account_id varchar,
  occurrence varchar, decision varchar, reason varchar, recipient_id varchar, decided_at timestamp);
create table ops.mql_overlap(
  handoff_id varchar, contact_id varchar, user_id varchar, account_id varchar, email varchar, lifecycle_stage varchar,
  status varchar, paused_at timestamp, recycled_at timestamp, recycled_reason varchar);
create table ops.audience_members(
  member_id varchar, user_id varchar, contact_id varchar, account_id varchar, playbook varchar, next_step varchar,
  reason varchar, joined_at timestamp, left_at timestamp);
create table scores.models(
  name varchar, role varchar, model_version varchar, about varchar, judged_on varchar, segments varchar[]);
create schema calibration;
create table calibration.rates(
  model_version varchar, dimension varchar, value varchar, leads bigint, won bigint, close_rate double, lift double,
  from_date date, to_date date, accounts bigint, close_rate_low double, close_rate_high double);
create table calibration.summary(
  model_version varchar, subject_type varchar, metric varchar, value double, low double, high double, note varchar);
create table calibration.curves(
  model_version varchar, subject_type varchar, curve varchar, position bigint, x double, y double, y_low double,
  y_high double, leads bigint);
create table calibration.signals(
  model_version varchar, signal varchar, verdict varchar, auc double, auc_low double, auc_high double,
  points_now double, points_suggested double, share_seen double);
create table calibration.drift(
  model_version varchar, feature varchar, before_day date, day date, before_mean double, mean double,
  stability_index double, verdict varchar);
create table calibration.coverage(
  model_version varchar, opportunity_id varchar, account_id varchar, won_at timestamp, path varchar,
  best_score double, qualified_on date, days_ahead bigint);
create table calibration.suggestions(
  model_version varchar, file varchar, key varchar, value double, suggested double);
create table calibration.expected_rates(model_version varchar, score_from double, expected_close_rate double);
create table calibration.challengers(challenger varchar, model_version varchar, champion_version varchar,
  subject_type varchar, about varchar, judged_on varchar, metric varchar, per_week bigint, champion_value double,
  champion_low double, champion_high double, challenger_value double, challenger_low double,
  challenger_high double, difference_value double, difference_low double, difference_high double, leads bigint,
  won_accounts bigint, note varchar);
create table calibration.feedback(
  label varchar, handoffs bigint, matured bigint, won bigint, close_rate double, close_rate_low double,
  close_rate_high double);
"""

EVENT_COLUMNS = (
    "message_id", "type", "event", "name", "user_id", "anonymous_id", "group_id", "session_id", "timestamp",
    "received_at", "traits", "feature", "integration", "status", "path", "identifies",
)  # fmt: skip


@dataclass
class Shop:
    """A warehouse file and what the tests put into it.

    Attributes:
        folder: Where the warehouse and dbt's artefacts lie.
        batch: The batch that is being written.
        warnings: For a fixture to keep what its builds warned of: rows found by name of the test.
    """

    folder: Path
    batch: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    _ids: int = 0
    _domains: set[str] = field(default_factory=set)

    @property
    def path(self) -> Path:
        return self.folder / "warehouse.duckdb"

    def create(self) -> "Shop":
        """Make the tables that exist before dbt runs."""
        self.execute(RAW_TABLES + SETTINGS + SCORE_TABLES)
        self.begin_batch()
        return self

    def execute(self, sql: str, parameters: Sequence[Any] | None = None) -> None:
        with duckdb.connect(str(self.path)) as connection:
            connection.execute(sql, parameters) if parameters else connection.execute(sql)

    def rows(self, sql: str) -> list[tuple]:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            return connection.sql(sql).fetchall()

    def records(self, sql: str) -> list[dict[str, Any]]:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            answer = connection.sql(sql)
            return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]

    def begin_batch(self) -> None:
        self.batch += 1
        self.execute("insert into raw.batches values (?, timestamp '2026-07-01 00:00:00')", [self.batch])

    def moments(self, live: str, *others: str, until: str | None = None) -> None:
        """Replace the moments; the first is live. In a delta it is the full run's, and events count until later."""
        self.execute("delete from raw.moments")
        self._insert("raw.moments", [(m, m[:10], m == live, until or m) for m in (live, *others)])

    def as_it_is(self, folder: Path) -> "Shop":
        """The same warehouse in another folder, with everything that was built."""
        shutil.copytree(self.folder, folder)
        return Shop(folder, self.batch, _ids=self._ids, _domains=set(self._domains))

    def copy(self, folder: Path) -> "Shop":
        """The same raw tables in another warehouse, where nothing was built yet."""
        twin = Shop(folder, self.batch, _ids=self._ids, _domains=set(self._domains))
        with duckdb.connect(str(twin.path)) as connection:
            connection.execute(f"attach '{self.path}' as before (read_only)")
            connection.execute("create schema raw")
            for (name,) in connection.execute(
                "select table_name from duckdb_tables() where database_name = 'before' and schema_name = 'raw'"
            ).fetchall():
                connection.execute(f"create table raw.{name} as from before.raw.{name}")
        twin.execute(SCORE_TABLES)
        return twin

    def load(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Load events as the ingest part does: the days that they touch are noted."""
        rows = [self._event(event) for event in events]
        self._insert(
            f"raw.events ({', '.join(EVENT_COLUMNS)}, batch_id)",
            [(*row.values(), self.batch) for row in rows],
        )
        self._touch(rows)
        self._note_domains(json.loads(row["traits"] or "{}").get("email") for row in rows)

    def replace(self, event: Mapping[str, Any]) -> None:
        """A redelivery with an earlier `received_at` takes the place of the row that is there."""
        old = self.records(f"select * from raw.events where message_id = '{event['message_id']}'")
        self.execute("delete from raw.events where message_id = ?", [event["message_id"]])
        self._touch(old)
        self.load([event])

    def extract(self, entity: str, at: str, records: Iterable[Mapping[str, Any]], *, complete: bool = True) -> None:
        """A full extract of a CRM entity; the first value of each record is its key."""
        self._ids += 1
        records = list(records)
        rows = [
            (
                number,
                next(iter(record.values())),
                json.dumps(record),
                record.get("updated_at"),
                record.get("created_at"),
            )
            for number, record in enumerate(records)
        ]
        with duckdb.connect(str(self.path)) as connection, transaction(connection):
            connection.execute("insert into raw.files (file_id, content_hash) values (?, '')", [self._ids])
            connection.execute(
                f"create temp table {CRM_ROWS} (row_number bigint, reason varchar, raw varchar, key varchar, "
                "payload varchar, updated_at timestamp, created_at timestamp)"
            )
            for row in rows:
                connection.execute(
                    f"insert into {CRM_ROWS} values (?, null, null, ?, ?, try_cast(? as timestamp), "
                    "try_cast(? as timestamp))",
                    row,
                )
            moment = datetime.fromisoformat(at)
            store_extract(
                connection,
                entity,
                file_id=self._ids,
                extract_at=moment,
                delivered_at=moment,
                limit=0.0,
                previous=None if complete else len(records) + 1,
            )
        self._note_domains(record.get("email") for record in records)
        self._note_domains("@" + record["domain"] for record in records if record.get("domain"))

    def unreadable(self, entity: str, at: str, raw: str) -> None:
        """A row of a file of a CRM entity, of that moment, that nobody can read."""
        self._ids += 1
        source, path = f"crm.{entity}", f"crm/dt={at}/{entity}.csv"
        self.execute(
            "insert into raw.files (file_id, source, path, content_hash, status, quarantined, extract_at) "
            "values (?, ?, ?, '', 'loaded', 1, ?)",
            [self._ids, source, path, at],
        )
        self.execute(
            "insert into raw.quarantine (file_id, source, file, row_number, raw, reason) values (?, ?, ?, 1, ?, 'bad')",
            [self._ids, source, path, raw],
        )

    def build(self, select: str = "tag:features", *, delta: bool = False) -> list[NodeOutcome]:
        """Run dbt in this process; no connection to the warehouse may be open. Returns what became of its nodes."""
        outcomes = self.outcomes(select, delta=delta)
        failed = {outcome.unique_id: outcome.message for outcome in outcomes if not outcome.ok}
        assert not failed, failed
        return outcomes

    def outcomes(self, select: str, *, delta: bool = False) -> list[NodeOutcome]:
        """The same, whatever became of them."""
        places = {"warehouse": self.path, "target": self.folder / "target"}
        whole = {"tag:features": build_features, "tag:marts": build_marts, "tag:past": build_past}
        if delta or select not in whole:
            return build(select=[select], full_refresh=not delta, **places)
        return whole[select](connect=partial(duckdb.connect, str(self.path)), **places)

    def run_unit_tests(self, select: str = "tag:features") -> None:
        """Run the dbt project's own unit tests; what they are about must have been built."""
        target = self.folder / "target"
        places = {
            "project-dir": DBT_PROJECT_DIR,
            "profiles-dir": DBT_PROJECT_DIR,
            "target-path": target,
            "log-path": target,
        }
        arguments = ["test", "--select", select, "--resource-type", "unit_test", "--quiet"]
        arguments += [word for name, place in places.items() for word in (f"--{name}", str(place))]
        os.environ["PLS_WAREHOUSE_PATH"] = str(self.path)
        outcome = dbtRunner(manifest=parsed_project(self.path, target)).invoke(arguments)
        DuckDBConnectionManager.close_all_connections()  # dbt would keep the file locked
        assert outcome.result is not None, outcome.exception
        assert len(outcome.result.results) > 1, "no unit test was found"
        broken = ("error", "fail", "skipped")
        failed = {r.node.unique_id: r.message for r in outcome.result.results if r.status in broken}
        assert not failed, failed

    def _event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self._ids += 1
        traits = event.get("traits")
        defaults = {"message_id": f"m{self._ids}", "type": "track", "received_at": event["timestamp"]}
        row = {**defaults, **event, "traits": json.dumps(traits) if traits else None}
        return {column: row.get(column) for column in EVENT_COLUMNS}

    def _touch(self, rows: Iterable[Mapping[str, Any]]) -> None:
        touched = {(self.batch, r["user_id"], r["anonymous_id"], str(r["timestamp"])[:10]) for r in rows}
        self._insert("raw.touched", sorted(touched, key=str))

    def _note_domains(self, emails: Iterable[str | None]) -> None:
        written = {str(email).lower().strip().rpartition("@")[2] for email in emails if email}
        hosts = {host.removeprefix("https://").strip("/") for host in written} - self._domains
        self._domains |= hosts
        self._insert("raw.email_domains", [(host, ".".join(host.split(".")[-2:])) for host in sorted(hosts)])

    def _insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """In one statement: DuckDB takes several times as long for a statement, and a commit, per row."""
        if rows:
            marks = f"({', '.join('?' * len(rows[0]))})"
            values = [value for row in rows for value in row]
            self.execute(f"insert into {table} values {', '.join([marks] * len(rows))}", values)


def end_of(day: str) -> str:
    """The last microsecond of a day, as moments on days that are over have it."""
    return str(datetime.combine(datetime.fromisoformat(day), time.max))
