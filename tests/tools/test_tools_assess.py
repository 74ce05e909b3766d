"""An assessment is the one of `pls assess`, with nobody's name in it until the playbook shows them."""

from pathlib import Path

import duckdb
import pytest
from installation import Installation
from tool_shop import playbook_with, tools_over

from dagster_project.core.assessments import assess, assessment_json, assessment_markdown
from dagster_project.subjects import find_dossier
from dagster_project.tools import Tools
from dagster_project.tools.errors import NotFound

HEADINGS = [
    "## Product-Led Sales Assessment",
    "### Lead/Account: ",
    "### Qualification Scores",
    "### Key Signals",
    "### Recommended Action",
    "### Sales Handoff Package",
    "### Segment: ",
]


@pytest.fixture(scope="module")
def subjects(marts: duckdb.DuckDBPyConnection) -> list[str]:
    """The best, somebody who was handed over, somebody who may not be contacted, a consumer, and accounts."""
    queries = (
        "select user_id from marts.pql_scores order by pql_score desc, user_id limit 2",
        "select user_id from marts.handoffs where user_id is not null order by handoff_id limit 2",
        "select account_id from marts.handoffs where account_id is not null order by handoff_id limit 2",
        "select user_id from marts.user_profiles where email_opt_out order by user_id limit 1",
        "select user_id from marts.pql_scores where account_id is null order by user_id limit 1",
        "select account_id from marts.account_profiles where users = 0 order by account_id limit 1",
        "select account_id from marts.pqa_scores order by pqa_score desc, account_id limit 2",
    )
    return [subject for query in queries for (subject,) in marts.execute(query).fetchall()]


def test_it_has_the_headings_in_their_order(tools: Tools, subjects: list[str]) -> None:
    for subject in subjects:
        lines = tools.call("leads.assess", subject=subject).markdown.splitlines()
        found = [line for line in lines if line.startswith(("## ", "### "))]
        assert [line.startswith(heading) for line, heading in zip(found, HEADINGS, strict=True)] == [True] * 7, found


def test_it_is_the_assessment_of_the_command(demo_run: Installation, demo_copy: Path, subjects: list[str]) -> None:
    with tools_over(demo_copy, personal_data={"masked": []}) as tools:
        for subject in subjects:
            answer = tools.call("leads.assess", subject=subject)
            expected = assess(find_dossier(demo_run.serving, subject), playbook_with())
            assert answer.markdown == assessment_markdown(expected)
            assert answer.next_step == assessment_json(expected)["next_step"]


def test_nobody_is_named(tools: Tools, marts: duckdb.DuckDBPyConnection, subjects: list[str]) -> None:
    for subject in subjects:
        text = tools.call("leads.assess", subject=subject).model_dump_json()
        people = marts.execute(
            "select contact_name, email from marts.user_profiles where user_id = ? or account_id = ? or account_id = "
            "(select account_id from marts.user_profiles where user_id = ?)",
            [subject, subject, subject],
        ).fetchall()
        assert not [value for person in people for value in person if value and value in text], subject


def test_somebody_is_found_by_email_domain_and_name(tools: Tools, marts: duckdb.DuckDBPyConnection) -> None:
    [(user_id, email), *_] = marts.sql(
        "select user_id, email from marts.pql_scores where email is not null order by pql_score desc, user_id"
    ).fetchall()
    assert tools.call("leads.assess", subject=email).subject_id == user_id
    [(account_id, name), *_] = marts.sql(
        "select account_id, name from marts.pqa_scores where domain is not null order by pqa_score desc, account_id"
    ).fetchall()
    assert tools.call("leads.assess", subject=name.lower()).subject_id == account_id
    with pytest.raises(NotFound, match="nobody is called 'nobody'"):
        tools.call("leads.assess", subject="nobody")
