"""Calibration and plans on a scored company: what the tables hold, what the commands print and leave alone."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from installation import END, Installation

from dagster_project.cli import main
from dagster_project.core.calibration.findings import find
from dagster_project.core.calibration.fitting import expected_rate
from dagster_project.core.models import Model
from dagster_project.defs.calibration import CALIBRATION_MARTS
from dagster_project.defs.resources import Workplace
from dagster_project.past_scores import accounts_now, by_accounts_now, observed_until, read_past
from dagster_project.playbook_files import PACKAGED, read_playbook
from dagster_project.playbook_plan import make_plan
from dagster_project.run import everything_on
from dagster_project.settings import settings_from
from dagster_project.warehouse import Warehouse

PLAYBOOK = read_playbook(None)


@pytest.fixture
def command(demo_run: Installation, monkeypatch, capsys):
    """Runs `pls` on the demo company; gives exit code, stdout and stderr."""
    monkeypatch.setenv("PLS_DATA_DIR", str(demo_run.data_dir))
    monkeypatch.setenv("PLS_LEDGER_URL", f"sqlite:///{demo_run.data_dir / 'ledger.sqlite'}")

    def run(*words: object) -> tuple[object, str, str]:
        code: object = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
        out, error = capsys.readouterr()
        return code, out, error

    return run


def test_a_run_of_everything_leaves_word_of_the_day_and_a_ledger_that_cannot_say_so_is_no_end(
    demo_run: Installation, tmp_path: Path
) -> None:
    def day(data_dir: Path, **more: str) -> date | None:
        return everything_on(Workplace(overrides={"PLS_DATA_DIR": str(data_dir), **more}))

    today = datetime.now(UTC).date()
    assert day(demo_run.data_dir) in (today, today - timedelta(days=1))
    assert day(tmp_path) is None
    assert day(tmp_path, PLS_LEDGER_URL=f"sqlite:///{tmp_path}") is None, "that is a folder"


def proposal(folder: Path, old: str, new: str, file: str = "scoring.yml") -> Path:
    folder.mkdir()
    text = (PACKAGED / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    return folder


@contextmanager
def with_a_past(demo_run: Installation, folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The demo company's warehouse, in a copy in which everybody had today's scores on two past days as well."""
    shutil.copyfile(demo_run.warehouse, folder / "warehouse.duckdb")
    with Warehouse(folder / "warehouse.duckdb").connect() as connection:
        for day in (date(2026, 2, 1), date(2026, 3, 3), date(2026, 3, 4)):
            connection.execute(
                "insert into scores.daily_score_rows by name select * replace (?::date as day) "
                "from scores.daily_score_rows where day = ?",
                [day, END.date()],
            )
        yield connection


def test_all_tables_are_published_and_say_what_they_wait_for(demo_run):
    with duckdb.connect(str(demo_run.serving), read_only=True) as serving:
        for table in CALIBRATION_MARTS:
            serving.sql(f"from marts.{table}")
        [(waiting,)] = serving.sql(
            "select value from marts.calibration_summary where subject_type = 'user' and metric = 'censored'"
        ).fetchall()
        scored = serving.sql("select count(*) from marts.pql_scores").fetchall()[0][0]
        assert 0 < waiting <= 2 * scored
        assert serving.sql("select count(expected_close_rate) from marts.pql_scores").fetchall() == [(0,)]
        deals = serving.sql("select won_at, account_id from marts.outcomes").fetchall()
    assert deals
    assert all(won_at <= END for won_at, _ in deals)


def test_past_days_are_judged_by_the_deals_of_the_crm(demo_run, tmp_path):
    with with_a_past(demo_run, tmp_path) as connection:
        past = read_past(connection, pl.DataFrame(), period_days=PLAYBOOK.calibration.period_days)
        [version] = past.scores["model_version"].unique().to_list()
        found = find(past, [Model("champion", version, PLAYBOOK)], observed_until=observed_until(connection))
        told = dict(found.summary.filter(pl.col("subject_type") == "user").select("metric", "value").rows())
        by_hand = connection.sql(
            "with first_won as (select account_id, min(won_at) as won_at from intermediate.int_won_opportunities "
            "group by account_id) select count(*), count(*) filter (won_at < timestamp '2026-03-04' + interval 90 day) "
            "from scores.daily_scores left join first_won using (account_id) where subject_type = 'user' "
            "and day = date '2026-03-03' and coalesce(won_at >= timestamp '2026-03-04', true)"
        ).fetchall()[0]
    at_the_second = found.rates.filter(pl.col("dimension") == "segment")["leads"].sum()
    assert at_the_second == told["leads"]
    one_day = past.scores.filter(pl.col("day") == date(2026, 3, 3))
    again = find(
        type(past)(one_day, past.deal_scores, past.outcomes, past.fired),
        [Model("champion", version, PLAYBOOK)],
        observed_until=END,
    )
    counted = dict(again.summary.filter(pl.col("subject_type") == "user").select("metric", "value").rows())
    assert (counted["leads"], counted["won"]) == by_hand


def test_a_deal_is_that_of_whom_was_known_by_a_domain_before(demo_run: Installation, tmp_path: Path) -> None:
    with with_a_past(demo_run, tmp_path) as connection:
        [(account_id, people)] = connection.sql(
            "select account_id, count(*) from scores.daily_scores where subject_type = 'user' and day = '2026-02-01' "
            "and account_id in (select account_id from intermediate.int_won_opportunities) group by all order by all "
            "limit 1"
        ).fetchall()
        before = read_past(connection, pl.DataFrame(), period_days=30)
        connection.execute(
            "update scores.daily_score_rows set account_id = 'domain:before.example' "
            "where account_id = ? and day < '2026-03-01'",
            [account_id],
        )
        after = read_past(connection, pl.DataFrame(), period_days=30)
        handoffs = by_accounts_now(pl.DataFrame({"account_id": ["domain:before.example"]}), accounts_now(connection))
    assert people and handoffs["account_id"].to_list() == [account_id]
    for scores in ("scores", "deal_scores"):
        keys = ["subject_id", "day", "account_id"]
        assert getattr(after, scores).select(keys).sort(keys).equals(getattr(before, scores).select(keys).sort(keys))


def test_deals_are_known_up_to_the_last_extract_of_which_the_run_knows(demo_run: Installation, tmp_path: Path) -> None:
    with with_a_past(demo_run, tmp_path) as connection:
        until = observed_until(connection)
        connection.execute(
            "insert into raw.crm_extracts by name select * replace (extract_at + interval 30 day as extract_at) "
            "from raw.crm_extracts where entity = 'opportunities' and is_complete limit 1"
        )
        assert observed_until(connection) == until


def test_of_a_period_the_first_day_is_read(demo_run, tmp_path):
    with with_a_past(demo_run, tmp_path) as connection:
        past = read_past(connection, pl.DataFrame(), period_days=30)
    days = set(past.scores["day"])
    assert {date(2026, 2, 1), date(2026, 3, 3)} <= days
    assert date(2026, 3, 4) not in days
    assert date(2026, 3, 4) in set(past.deal_scores["day"])


def test_a_plan_is_back_tested_on_past_days(demo_run, tmp_path):
    with with_a_past(demo_run, tmp_path):
        pass
    shutil.copyfile(demo_run.serving, tmp_path / "serving.duckdb")
    shutil.copyfile(demo_run.data_dir / "ledger.sqlite", tmp_path / "ledger.sqlite")
    other = proposal(
        tmp_path / "other", "usage: 0.40, engagement: 0.30, intent: 0.30", "usage: 0, engagement: 0, intent: 1"
    )
    made = make_plan(settings_from({"PLS_DATA_DIR": str(tmp_path)}), PLAYBOOK, read_playbook(other))
    assert made.back_test is not None
    assert made.back_test.leads > 0
    assert made.back_test.gain.estimate == pytest.approx(made.back_test.proposed.estimate - made.back_test.now.estimate)


def test_the_report_can_be_read_before_anything_has_matured(command, tmp_path):
    code, out, _ = command("calibrate", "--html", tmp_path / "report.html")
    assert (code, out) == (0, f"Report written to {tmp_path / 'report.html'}\n")
    assert "Nothing to judge yet" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Nothing to judge yet" in command("calibrate")[1]


def test_nothing_is_proposed_where_nothing_is_suggested(command, tmp_path):
    code, _, error = command("calibrate", "--propose", tmp_path / "proposal")
    assert code == 1
    assert "nothing is suggested. Too little has happened" in error
    assert not (tmp_path / "proposal").exists()


def test_an_unknown_model_is_named_with_those_that_are_known(command):
    code, _, error = command("calibrate", "--model", "nobody")
    assert code == 1
    assert "no day was scored by model nobody; there are champion" in error


def test_the_live_playbook_moves_nobody_and_passes_no_limit(command, tmp_path):
    same = proposal(tmp_path / "same", "high: 6}", "high: 6}")
    code, out, _ = command("plan", "--playbook", same, "--markdown")
    assert code == 0
    assert out.startswith("# What this playbook would do\n\n## Limits\n\nThe proposal keeps within the limits")
    assert out.count("0 of ") == 2


def test_a_passed_limit_ends_with_its_exit_code_and_changes_nothing(command, demo_run, tmp_path):
    files = [demo_run.warehouse, demo_run.serving]
    before = [path.read_bytes() for path in files]
    steep = proposal(
        tmp_path / "steep", "usage: 0.40, engagement: 0.30, intent: 0.30", "usage: 0, engagement: 0, intent: 1"
    )
    code, out, _ = command("plan", "--playbook", steep)
    assert code == 3
    assert "share_of_users_moved" in out
    assert [path.read_bytes() for path in files] == before


def test_a_proposal_that_is_no_playbook_is_refused_with_file_and_key(command, tmp_path):
    wrong = proposal(tmp_path / "wrong", "window_days: 30", "window_days: none")
    code, _, error = command("plan", "--playbook", wrong)
    assert code == 1
    assert "scoring.yml: measurement.window_days" in error


def test_an_installation_that_never_ran_says_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PLS_DATA_DIR", str(tmp_path / "empty"))
    for words in (["calibrate"], ["plan", "--playbook", str(tmp_path)]):
        with pytest.raises(SystemExit):
            main(words)
        assert "`pls run`" in capsys.readouterr().err


@pytest.fixture(scope="module")
def closing(demo_run: Installation, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The demo company with two past days, and deals that many of its accounts won after them; scored once more."""
    data_dir = shutil.copytree(demo_run.data_dir, tmp_path_factory.mktemp("closing") / "data")
    with with_a_past(demo_run, data_dir) as connection:
        accounts = connection.sql(
            "select account_id from scores.pqa_scores where active_users_30d > 0 order by pqa_score desc limit 24"
        ).fetchall()
    path = data_dir / "landing" / "crm" / "opportunities.csv"
    known = pl.read_csv(path, infer_schema=False)
    won = pl.DataFrame(
        [
            {"opportunity_id": f"won-{n}", "account_id": account, "stage": "closed won", "is_closed": "true",
             "is_won": "true", "amount": "900", "created_at": "2026-02-20T08:00:00Z",
             "closed_at": f"2026-03-{10 + n % 15}T08:00:00Z"}
            for n, (account,) in enumerate(accounts)
        ]
    )  # fmt: skip
    told_at = path.stat().st_mtime + 60  # the extract's time: of what comes after the moment nothing is known yet
    pl.concat([known, won], how="diagonal").write_csv(path)
    os.utime(path, (told_at, told_at))
    playbook = proposal(
        data_dir / "playbook",
        "won_accounts: 30\n  holdout_won_accounts: 10",
        "won_accounts: 15\n  holdout_won_accounts: 5",
        "calibration.yml",
    )
    installation = Installation(data_dir)
    installation.run(PLS_PLAYBOOK_DIR=str(playbook))
    return installation


def test_a_run_publishes_the_close_rate_to_expect_of_every_score(closing: Installation) -> None:
    with duckdb.connect(str(closing.serving), read_only=True) as serving:
        users = serving.sql("select pql_score, expected_close_rate, model_version from marts.pql_scores").pl()
        steps = serving.sql("from marts.calibration_expected_rates order by score_from").pl()
        [(needed, leads)] = serving.sql(
            "select max(note) filter (metric = 'needed'), max(value) filter (metric = 'leads') "
            "from marts.calibration_summary where subject_type = 'user'"
        ).fetchall()
    assert (needed, leads > 300) == ("", True)
    assert set(steps["model_version"]) == set(users["model_version"])
    assert steps.height > 1
    assert users["expected_close_rate"].null_count() == 0
    mapped = expected_rate(steps, users["pql_score"].to_numpy())
    assert users["expected_close_rate"].to_list() == mapped.tolist()
    assert users.sort("pql_score")["expected_close_rate"].is_sorted()
    assert users["expected_close_rate"].n_unique() > 1
