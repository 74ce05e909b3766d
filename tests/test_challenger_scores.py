"""Challengers through the pipeline: scored beside the champion in full runs, kept, compared, and acting on nothing."""

import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest
from installation import END, Installation

from dagster_project.cli import main
from dagster_project.core.models import models_of
from dagster_project.event_catalog import CATALOGUE
from dagster_project.playbook_files import read_playbook
from dagster_project.scored_moments import score_moment
from dagster_project.warehouse import Warehouse

ACTS = (
    "pql_scores", "pqa_scores", "score_history", "segment_history", "handoffs", "handoff_decisions", "deliveries",
    "product_traits", "audiences", "rule_decisions", "funnel", "leads",
)  # fmt: skip
"""Where only the champion may be seen."""


@pytest.fixture(scope="module")
def playbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("playbook")
    (folder / "challengers").mkdir()
    (folder / "challengers" / "intent.yml").write_text(
        "about: who shops\n"
        "scoring:\n"
        "  pql: {weights: {usage: 0, engagement: 0, intent: 1}}\n"
        "  pqa: {weights: {breadth: 0.1, depth: 0.1, fit: 0.1, momentum: 0.7}}\n"
    )
    return folder


@pytest.fixture(scope="module")
def contested(demo_run: Installation, playbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The demo company, scored once more with a challenger."""
    installation = Installation(shutil.copytree(demo_run.data_dir, tmp_path_factory.mktemp("contested") / "data"))
    installation.run(PLS_PLAYBOOK_DIR=str(playbook))
    return installation


def published(installation: Installation, sql: str) -> pl.DataFrame:
    with duckdb.connect(str(installation.serving), read_only=True) as serving:
        return serving.sql(sql).pl()


def test_a_challenger_scores_everybody_as_it_would_as_the_champion(contested: Installation, playbook: Path) -> None:
    _, tried = models_of(read_playbook(playbook), CATALOGUE.read_text(encoding="utf-8"))
    with Warehouse(contested.warehouse).read() as connection:
        as_champion = score_moment(connection, tried.playbook, is_live=True, model_version=tried.version)
    kept = published(contested, f"from marts.daily_scores where model_version = '{tried.version}' and day = '{END:%F}'")
    for subject, frame, key, score in (
        ("user", as_champion.users, "user_id", "pql_score"),
        ("account", as_champion.accounts, "account_id", "pqa_score"),
    ):
        expected = frame.select(
            key, "account_id" if subject == "user" else pl.col(key).alias("company"), "segment", score
        )
        found = kept.filter(subject_type=subject).sort("subject_id")
        assert found.select("subject_id", "account_id", "segment", "score").rows() == expected.sort(key).rows()
        assert found["classification"].to_list() == frame.sort(key)["classification"].to_list()
    assert kept["score"].n_unique() > 10


def test_only_the_champion_acts(demo_run: Installation, contested: Installation) -> None:
    for table in ACTS:
        before, after = (published(one, f"from marts.{table} order by all") for one in (demo_run, contested))
        assert after.equals(before), table
        assert before.height or table in ("audiences", "deliveries", "rule_decisions"), table


def test_the_models_are_named_and_compared(contested: Installation) -> None:
    models = published(contested, "select name, role, about, judged_on from marts.models order by name")
    assert models.rows() == [
        ("champion", "champion", "", "new_business"),
        ("intent", "challenger", "who shops", "new_business"),
    ]
    told = published(contested, "select distinct challenger, leads from marts.calibration_challengers")
    assert told.rows() == [("intent", 0)], "no score of the demo company is old enough"
    versions = published(contested, "select count(distinct model_version) from marts.calibration_summary").item()
    assert versions == 2


def test_the_commands_know_challengers_by_name(contested: Installation, playbook: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PLS_DATA_DIR", str(contested.data_dir))
    monkeypatch.setenv("PLS_LEDGER_URL", f"sqlite:///{contested.data_dir / 'ledger.sqlite'}")
    monkeypatch.setenv("PLS_PLAYBOOK_DIR", str(playbook))
    main(["calibrate", "--model", "intent"])
    assert "# Were the scores right?" in capsys.readouterr().out
    for words, said in (
        (["calibrate", "--model", "intend"], "no day was scored by model intend; there are champion, intent"),
        (["plan", "--challenger", "intend"], "there is no challenger intend in challengers/: there are intent"),
        (["plan"], "expected either --playbook DIR or --challenger NAME"),
    ):
        with pytest.raises(SystemExit):
            main(words)
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit, match="3"):  # nobody's weights are so lopsided without moving many
        main(["plan", "--challenger", "intent", "--markdown"])
    assert "share\\_of\\_users\\_moved" in (out := capsys.readouterr().out) or "share_of_users_moved" in out


def test_a_delta_does_nothing_for_challengers() -> None:
    from dagster_project.definitions import defs

    steps = {
        job: {node.name for node in defs.resolve_job_def(job).nodes} for job in ("score_everything", "score_new_events")
    }
    assert "scores__models" in steps["score_everything"]
    assert not {"scores__models", "calibration"} & steps["score_new_events"]
