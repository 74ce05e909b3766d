"""From a connected CRM to scored tables and back: the scores of files with the same records, written once; a CRM that
refuses fails the run visibly, and what it missed is sent when it takes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import yaml
from click.testing import CliRunner
from crm_companies import COMPANIES, Company, copy_events, opened, write_playbook
from installation import END, Installation

from dagster_project.commands.sync import sync
from dagster_project.playbook_files import PACKAGED

SAME = {
    "pql_scores": "user_id, account_id, contact_id, pql_score, classification, segment, activation_stage",
    "pqa_scores": "account_id, name, pqa_score, classification, quadrant, segment",
    "exclusions": "user_id, email, reason",
}
CHECK = "the_crm_took_what_was_sent"


@dataclass(frozen=True)
class Connected:
    """An installation with a connected CRM.

    Attributes:
        company: The CRM.
        files: The same company, its CRM in files.
        api: The installation.
        variables: All that it needs.
    """

    company: Company
    files: Installation
    api: Installation
    variables: dict[str, str]

    def run(self, **more: Any) -> dg.ExecuteInProcessResult:
        self.company.server.asked.clear()
        return self.api.run(**self.variables, **more)

    def written(self) -> list[str]:
        """Requests of the last run that wrote."""
        return self.company.server.lines(self.company.writing)

    def sync(self, *words: str) -> Any:
        """`pls sync`."""
        environment = {"PLS_DATA_DIR": str(self.api.data_dir), "PLS_AS_OF": END.isoformat(), **self.variables}
        return CliRunner().invoke(sync, words, env=environment)


@pytest.fixture(scope="module", params=COMPANIES)
def connected(
    request: pytest.FixtureRequest, demo_run: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connected]:
    """A company scored from files, and the same one with its CRM records in the CRM: set up, and scored once."""
    base = tmp_path_factory.mktemp(request.param)
    api = Installation(base / "api")
    with opened(request.param) as company:
        copy_events(company, demo_run.landing / "events", api.landing / "events")
        (api.landing / "suppression.csv").write_bytes((demo_run.landing / "suppression.csv").read_bytes())
        write_playbook(base / "playbook", company.name, company.take(demo_run.landing))
        variables = {"PLS_CRM": company.name, "PLS_PLAYBOOK_DIR": str(base / "playbook"), **company.variables}
        installed = Connected(company, demo_run, api, variables)
        setup = installed.sync("--setup")
        assert setup.exit_code == 0, setup.output
        installed.run()
        yield installed


def read(installation: Installation, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(installation.serving), read_only=True) as connection:
        return connection.sql(sql).fetchall()


@pytest.mark.parametrize("table", SAME)
def test_the_scores_are_those_of_the_files(connected: Connected, table: str) -> None:
    query = f"select {SAME[table]} from marts.{table}"
    of_files = [tuple(_theirs(connected.company, cell) for cell in row) for row in read(connected.files, query)]
    assert of_files
    assert sorted(of_files, key=str) == sorted(read(connected.api, query), key=str)


def _theirs(company: Company, cell: Any) -> Any:
    return company.theirs(cell) if isinstance(cell, str) else cell


def test_what_was_scored_stands_in_the_crm_and_a_second_run_sends_nothing(connected: Connected) -> None:
    by_status = (
        "select status, count(*) from marts.deliveries where starts_with(destination, 'crm:') "
        "and operation = {} group by all"
    )
    written = dict(read(connected.api, by_status.format("'update'")))
    assert written.keys() == {"confirmed"} and written["confirmed"] > 100
    tasks = connected.company.tasks()
    assert len(tasks) == len(set(tasks)) == dict(read(connected.api, by_status.format("'create'")))["confirmed"] > 0
    assert connected.written()
    if connected.company.name != "salesforce":  # the same engine: one whole run of it is enough
        connected.company.server.asked.clear()
        assert connected.sync().exit_code == 0
        assert connected.written() == []
        return
    result = connected.run()
    assert [evaluation.passed for evaluation in result.get_asset_check_evaluations() if evaluation.check_name == CHECK]
    assert connected.written() == []
    assert sorted(connected.company.tasks()) == sorted(tasks)


def test_a_crm_that_refuses_fails_the_run_visibly_and_gets_it_all_when_it_takes_it(connected: Connected) -> None:
    if connected.company.name != "salesforce":
        pytest.skip("the same engine: one whole run of it is enough")
    rules = yaml.safe_load((PACKAGED / "crm_fields.yml").read_text())
    rules["contact"]["usage_tier"] = "another_tier"
    (Path(connected.variables["PLS_PLAYBOOK_DIR"]) / "crm_fields.yml").write_text(yaml.safe_dump(rules))
    assert "contact: made: another_tier" in connected.sync("--setup").output
    connected.company.refuse("another_tier")
    result = connected.run(raise_on_error=False)
    assert not result.success
    [check] = [evaluation for evaluation in result.get_asset_check_evaluations() if evaluation.check_name == CHECK]
    assert not check.passed and "contacts were refused, such as 003" in str(check.metadata["troubles"])
    parked = "select count(*) from marts.deliveries where status = 'parked'"
    assert read(connected.api, parked)[0][0] > 100  # published all the same
    connected.company.refuse(None)
    kept_back = connected.sync("--dry-run")
    assert "skipped: refused before, and not changed since" in kept_back.output
    unheard = connected.sync()
    assert unheard.exit_code == 1 and "were refused before and are not sent until they change" in unheard.output
    retried = connected.sync("--retry-parked")
    assert retried.exit_code == 0, retried.output
    connected.company.server.asked.clear()
    assert connected.sync().exit_code == 0
    assert connected.written() == []
    assert connected.sync("--rewrite").exit_code == 0
    assert connected.written() != []
