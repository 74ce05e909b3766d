"""Contacts that were made in the CRM: they stay up to date until the CRM knows better."""

import shutil
import sqlite3
from pathlib import Path

import duckdb
import pytest
from installation import Installation

from dagster_project.clients.connectors import LOCAL
from dagster_project.playbook_files import read_playbook
from dagster_project.wanted_fields import wanted_fields

CLASSES = "[hot, warm, developing, not_ready]"
SYNC = ["crm/plan", "crm/fields"]


@pytest.fixture
def made(demo_run: Installation, tmp_path: Path) -> Installation:
    """An installation in whose CRM contacts are made of everybody with an e-mail."""
    own = Installation(shutil.copytree(demo_run.data_dir, tmp_path / "data"))
    playbook = tmp_path / "playbook"
    playbook.mkdir()
    packaged = Path(__file__).parent.parent / "dagster_project" / "playbook" / "crm_fields.yml"
    text = packaged.read_text()
    assert "create_contacts_of: []" in text
    (playbook / "crm_fields.yml").write_text(text.replace("create_contacts_of: []", f"create_contacts_of: {CLASSES}"))
    assert own.run(only=SYNC, PLS_PLAYBOOK_DIR=str(playbook)).success
    return own


def made_in(installation: Installation) -> list[tuple[str, str]]:
    """Id and e-mail of every contact that was made."""
    with sqlite3.connect(installation.data_dir / "crm.sqlite") as crm:
        return crm.execute(
            "select object_id, fields ->> '$.email' from records join made using (object_type, object_id) order by 1"
        ).fetchall()


def written(installation: Installation, email: str) -> list[float]:
    """The scores that were confirmed of a contact that goes by its e-mail, in their order."""
    with sqlite3.connect(installation.data_dir / "ledger.sqlite") as ledger:
        rows = ledger.execute(
            "select payload ->> '$.pql_score' from deliveries where object_id = ? and status = 'confirmed' "
            "order by requested_at",
            [f"email:{email}"],
        ).fetchall()
    return [score for (score,) in rows]


def rescore(installation: Installation, email: str, score: float) -> None:
    with duckdb.connect(str(installation.warehouse)) as warehouse:
        warehouse.execute(
            "update scores.pql_scores set pql_score = ? where contact_id is null and lower(trim(email)) = ?",
            [score, email],
        )


def test_a_made_contact_stays_up_to_date_until_the_crm_knows_it_by_another_address(
    made: Installation, tmp_path: Path
) -> None:
    [ann, bob, *_] = made_in(made)
    with duckdb.connect(str(made.warehouse)) as warehouse:  # sales has corrected the address of the one we call ann
        warehouse.execute(
            "insert into intermediate.int_crm_records by name select * replace (? as key) "
            "from intermediate.int_crm_records where entity = 'contacts' and not is_deleted limit 1",
            [ann[0]],
        )
    for _, email in (ann, bob):
        rescore(made, email, 99.9)
    assert made.run(only=SYNC, PLS_PLAYBOOK_DIR=str(tmp_path / "playbook")).success
    assert (len(written(made, ann[1])), len(written(made, bob[1]))) == (1, 2)
    assert written(made, bob[1])[-1] == 99.9


SAID_NO = (
    "select {} from features.user_features as users left join features.account_features as accounts using (account_id) "
    "where users.email_opt_out or users.contact_do_not_contact or users.is_unsubscribed "
    "or users.account_do_not_contact "
    "or accounts.do_not_contact or users.suppression_reason is not null or accounts.suppression_reason is not null"
)


def test_who_must_not_be_contacted_is_written_to_only_where_the_playbook_says_so_and_never_made(
    demo_run: Installation,
) -> None:
    rules = read_playbook(None).crm_fields
    assert rules.no_contact == "write"
    skipping = rules.model_copy(update={"no_contact": "skip"})
    making = rules.model_copy(update={"create_contacts_of": ("hot", "warm", "developing", "not_ready")})
    with duckdb.connect(str(demo_run.warehouse), read_only=True) as warehouse:
        contacts = {key for (key,) in warehouse.sql(SAID_NO.format("contact_id")).fetchall() if key}
        emails = {f"email:{key}" for (key,) in warehouse.sql(SAID_NO.format("lower(trim(email))")).fetchall() if key}
        all_of_them, others, made = (
            wanted_fields(warehouse, of, LOCAL, is_full=True) for of in (rules, skipping, making)
        )
    assert contacts & set(all_of_them["contact"]["object_id"])
    assert set(others["contact"]["object_id"]) == set(all_of_them["contact"]["object_id"]) - contacts
    assert others["account"].equals(all_of_them["account"])
    assert emails
    new = set(made["contact"]["object_id"]) - set(all_of_them["contact"]["object_id"])
    assert new
    assert not emails & new
