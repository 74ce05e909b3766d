"""The simulated company: reproducible, readable, as dirty as promised, and with a signal in it."""

import gzip
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dagster_project.demo.company import DemoReport, demo_truth, write_demo_company
from dagster_project.demo.dirt import BROKEN_LINES

END = datetime(2026, 5, 20, 14, 30)
ARGUMENTS: dict[str, Any] = {"users": 400, "accounts": 60, "days": 100, "end": END}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoReport]:
    landing = tmp_path_factory.mktemp("demo")
    return landing, write_demo_company(landing, 7, **ARGUMENTS)


def test_the_smallest_company_has_no_event_that_could_be_ahead_of_time(tmp_path: Path) -> None:
    report = write_demo_company(tmp_path, 7, users=60, accounts=12, days=50, end=datetime(2026, 6, 30))
    assert report.skewed == 0 < report.events


@pytest.fixture(scope="module")
def events(written: tuple[Path, DemoReport]) -> pl.DataFrame:
    """All readable event rows of all files, with the file of each."""
    return pl.concat([_read(path) for path in sorted((written[0] / "events").rglob("*.*"))], how="diagonal")


def _read(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path).with_columns(pl.col("timestamp", "received_at").dt.replace_time_zone(None))
        return frame.cast({"timestamp": pl.Datetime("ms"), "received_at": pl.Datetime("ms")}).with_columns(
            file=pl.lit(path.name)
        )
    if path.suffix == ".csv":
        rows = pl.read_csv(path, infer_schema_length=0).to_dicts()
    else:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        rows = [json.loads(line) for line in text.splitlines() if line not in BROKEN_LINES]
    known = {
        "messageId": "message_id",
        "userId": "user_id",
        "anonymousId": "anonymous_id",
        "receivedAt": "received_at",
    }
    renamed = [{known.get(key, key): value for key, value in row.items()} for row in rows]
    texts = [
        {key: json.dumps(value) if isinstance(value, dict) else value for key, value in row.items()} for row in renamed
    ]
    columns = ("message_id", "type", "event", "name", "user_id", "anonymous_id", "group_id", "session_id")
    schema = dict.fromkeys((*columns, "timestamp", "received_at", "properties", "traits", "context"), pl.String)
    frame = pl.DataFrame([{key: row.get(key) for key in schema} for row in texts], schema=schema)
    moments = pl.col("timestamp", "received_at").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", strict=False, time_unit="ms")
    return frame.with_columns(moments, file=pl.lit(path.name))


def _digests(landing: Path) -> dict[str, str]:
    paths = [path for path in landing.rglob("*") if path.is_file()]
    return {str(p.relative_to(landing)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def _crm(landing: Path, entity: str, folder: str = "crm") -> pl.DataFrame:
    return pl.read_csv(landing / folder / f"{entity}.csv", infer_schema_length=None)


def test_the_same_arguments_give_the_same_bytes(written: tuple[Path, DemoReport], tmp_path: Path) -> None:
    landing, report = written
    assert write_demo_company(tmp_path, 7, **ARGUMENTS) == report
    assert _digests(tmp_path) == _digests(landing)
    assert set(report.files) == set(_digests(landing))


def test_an_aware_end_is_the_same_moment(written: tuple[Path, DemoReport], tmp_path: Path) -> None:
    write_demo_company(tmp_path, 7, **{**ARGUMENTS, "end": END.replace(tzinfo=UTC)})
    assert _digests(tmp_path) == _digests(written[0])


def test_another_seed_gives_another_company(written: tuple[Path, DemoReport], tmp_path: Path) -> None:
    write_demo_company(tmp_path, 8, **ARGUMENTS)
    assert _digests(tmp_path)["crm/accounts.csv"] != _digests(written[0])["crm/accounts.csv"]


def test_the_report_counts_what_the_files_hold(written: tuple[Path, DemoReport], events: pl.DataFrame) -> None:
    report = written[1]
    readable = events.filter(pl.col("timestamp").is_not_null())
    assert len(readable) == report.events + report.same_again + report.changed_again
    assert events["timestamp"].null_count() == 1
    assert report.unreadable == len(BROKEN_LINES) + 1
    assert report.late > 0
    assert "events" in str(report)


def test_nothing_is_later_than_the_end_except_clocks_ahead_of_time(
    written: tuple[Path, DemoReport], events: pl.DataFrame
) -> None:
    late = events.filter(pl.col("timestamp") > END)
    assert len(late) == written[1].skewed > 0
    assert late.filter(pl.col("timestamp") > END + timedelta(hours=2)).is_empty()
    assert events.filter(pl.col("received_at") > END).is_empty()
    assert not events.filter(pl.col("timestamp").is_between(END - timedelta(hours=2), END)).is_empty()


def test_every_file_looks_settled_and_the_crm_fresh(written: tuple[Path, DemoReport]) -> None:
    landing, report = written
    modified = {file: (landing / file).stat().st_mtime for file in report.files}
    end = END.replace(tzinfo=UTC).timestamp()
    assert max(modified.values()) <= end - 3600
    assert modified["crm/contacts.csv"] == end - 3600


def test_all_formats_are_there(written: tuple[Path, DemoReport]) -> None:
    endings = {file.split("/")[-1].split(".", 1)[1] for file in written[1].files if file.startswith("events/")}
    assert endings == {"parquet", "ndjson", "ndjson.gz", "jsonl", "csv"}
    mobile = next(file for file in written[1].files if file.startswith("events/mobile"))
    first = json.loads(gzip.decompress((written[0] / mobile).read_bytes()).splitlines()[0])
    assert "messageId" in first and "userId" in first and "sessionId" not in first


def test_duplicates_come_within_files_and_with_other_content_in_later_ones(events: pl.DataFrame) -> None:
    named = events.filter(pl.col("message_id").is_not_null())
    again = named.filter(pl.col("message_id").is_duplicated())
    within = again.group_by("message_id", "file").len().filter(pl.col("len") > 1)
    assert len(within) > 0
    retried = again.filter(pl.col("properties").str.contains("retried"))
    assert len(retried) > 0
    originals = named.filter(~pl.col("properties").fill_null("").str.contains("retried")).unique("message_id")
    both = retried.join(originals, on="message_id", suffix="_original")
    assert (both["received_at"] > both["received_at_original"]).all()


def test_people_are_known_before_they_sign_up_and_teams_are_invited(events: pl.DataFrame) -> None:
    identified = events.filter((pl.col("type") == "identify") & pl.col("anonymous_id").is_not_null())
    before = events.filter(pl.col("user_id").is_null()).join(
        identified.select("anonymous_id", identified_at="timestamp"), on="anonymous_id"
    )
    assert len(before) > 0
    assert (before["timestamp"] <= before["identified_at"]).all()
    happened = set(events["event"].drop_nulls())
    assert {"Team Member Invited", "Upgrade Clicked", "Plans Compared", "API Key Generated"} <= happened
    assert {"Theme Changed", "Data Imported", "Invoice Downloaded", "Unsubscribed"} <= happened


def test_those_whom_scoring_leaves_out_are_there(events: pl.DataFrame) -> None:
    emails = events["traits"].drop_nulls().str.json_path_match("$.email").drop_nulls().str.to_lowercase()
    for part in ("@acmeflow.example", "@rivalapp.example", "test+", "qa+test-", "@gmail.com"):
        assert emails.str.contains(part, literal=True).any(), part
    assert events["user_id"].drop_nulls().str.starts_with("bot-").any()
    assert events["traits"].drop_nulls().str.json_path_match("$.is_test").is_not_null().any()
    assert (events["traits"].drop_nulls().str.json_path_match("$.email").drop_nulls() != emails).any()


def test_the_crm_has_what_real_ones_have(written: tuple[Path, DemoReport]) -> None:
    landing = written[0]
    accounts, contacts = _crm(landing, "accounts"), _crm(landing, "contacts")
    opportunities, owners, tickets = (_crm(landing, name) for name in ("opportunities", "owners", "tickets"))
    assert accounts["account_id"].is_unique().all() and contacts["contact_id"].is_unique().all()
    assert contacts["email"].str.to_lowercase().is_duplicated().any()
    assert 0.1 < accounts["employee_count"].null_count() / len(accounts) < 0.5
    assert contacts["email_opt_out"].any() and accounts["is_target_account"].any()
    assert set(opportunities["account_id"]) - set(accounts["account_id"]) == {"A-999999"}
    open_, won, lost = (opportunities.filter(stage).height for stage in (
        ~pl.col("is_closed"), pl.col("is_won"), pl.col("is_closed") & ~pl.col("is_won")))  # fmt: skip
    assert min(open_, won, lost) > 0
    assert set(owners["team"]) == {"ae", "sdr", "enterprise_sdr", "csm", "sales"}
    assert not owners["is_active"].all() and owners["slack_user_id"].is_unique().all()
    assert {"limits", "bug"} <= set(tickets["category"])
    assert {"lead", "mql", "sql", "customer"} == set(contacts["lifecycle_stage"])


@pytest.mark.parametrize("entity", ["accounts", "contacts", "opportunities", "tickets", "owners"])
def test_earlier_extracts_are_the_past(written: tuple[Path, DemoReport], entity: str) -> None:
    landing = written[0]
    folders = [*sorted(f"crm/{path.name}" for path in (landing / "crm").glob("dt=*")), "crm"]
    extracts = [_crm(landing, entity, folder) for folder in folders]
    assert len(extracts) == 3
    key = extracts[0].columns[0]
    for folder, earlier, later in zip(folders, extracts, extracts[1:], strict=False):
        kept = len(set(earlier[key]) & set(later[key]))
        assert kept >= 0.8 * len(earlier)
        day = folder.removeprefix("crm/dt=")
        for column in {"updated_at", "created_at", "closed_at"} & set(earlier.columns):
            assert earlier.filter(pl.col(column).cast(pl.String) > f"{day}T00:00:00Z").is_empty()
    if entity == "opportunities":
        assert len(extracts[0]) < len(extracts[-1])
        changed = extracts[0].join(extracts[-1], on=key).filter(pl.col("stage") != pl.col("stage_right"))
        assert len(changed) > 0


def test_nothing_of_the_truth_is_in_the_files(written: tuple[Path, DemoReport]) -> None:
    for entity in ("accounts", "contacts", "opportunities"):
        columns = set(_crm(written[0], entity).columns)
        assert not columns & {"propensity", "growth", "depth", "intent", "is_fresh", "habit"}


def test_the_readier_a_company_the_more_deals_it_closes() -> None:
    truth = demo_truth(7, users=3000, accounts=400, days=180, end=END)
    deals = truth.deals.filter(pl.col("from_usage")).sort("propensity")
    third = len(deals) // 3
    low, high = deals.head(third)["is_won"].mean(), deals.tail(third)["is_won"].mean()
    assert isinstance(low, float) and isinstance(high, float)
    assert high > low + 0.25
    assert not truth.deals["from_usage"].all()


def test_the_truth_is_that_of_the_files(written: tuple[Path, DemoReport]) -> None:
    truth = demo_truth(7, **ARGUMENTS)
    accounts = _crm(written[0], "accounts")
    assert set(accounts["account_id"]) <= set(truth.companies["account_id"])
    assert truth.people.filter(pl.col("kind") != "visitor").height == ARGUMENTS["users"]


def test_a_team_of_one_works_too(tmp_path: Path) -> None:
    report = write_demo_company(tmp_path, 1, users=1, accounts=1, days=1, end=END)
    assert report.users == 1
    assert (tmp_path / "crm/accounts.csv").is_file()


@pytest.mark.parametrize("wrong", [{"users": 0}, {"accounts": 0}, {"days": 0}])
def test_impossible_sizes_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        write_demo_company(tmp_path, 1, **{**ARGUMENTS, **wrong})
