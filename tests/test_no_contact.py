"""Who has said no, of the people whom a letter names."""

import shutil
from pathlib import Path

import duckdb
from installation import Installation

from dagster_project.core.escaping import markdown
from dagster_project.no_contact import colleagues_who_said_no


def test_a_letter_warns_of_colleagues_whom_its_package_names_and_who_have_said_no(
    demo_run: Installation, tmp_path: Path
) -> None:
    warehouse = shutil.copyfile(demo_run.data_dir / "warehouse.duckdb", tmp_path / "warehouse.duckdb")
    with duckdb.connect(str(warehouse)) as connection:
        [(account_id, ids, emails)] = connection.sql(
            "select account_id, list(user_id order by user_id), list(email order by user_id) "
            "from features.user_features where as_of = (select max(as_of) from features.user_features) "
            "and email is not null and account_id is not null group by all having count(*) >= 3 order by all limit 1"
        ).fetchall()
        named, said_no, other = emails[:3]
        shown = [markdown(address) for address in (named, said_no.upper(), other)]
        handoff = {
            "handoff_id": "ho_1",
            "account_id": account_id,
            "user_id": ids[0],
            "package_markdown": f"**E-mail**: {shown[0]}\n**Also**: Vera, {shown[1]}: Hot PQL Alert; Al, {shown[2]}.",
        }
        for user_id, is_no in zip(ids[:3], (True, True, False), strict=True):
            connection.execute(
                "update features.user_features set email_opt_out = ?, is_unsubscribed = false, "
                "contact_deleted = false, contact_do_not_contact = false, suppression_reason = null where user_id = ?",
                [is_no, user_id],
            )
        connection.execute("update features.account_features set do_not_contact = false, suppression_reason = null")
        found = colleagues_who_said_no(
            connection, [handoff, {**handoff, "handoff_id": "ho_2", "account_id": "elsewhere"}]
        )
        assert colleagues_who_said_no(connection, [{**handoff, "package_markdown": named}]) == {}
        # Of somebody with two ids one of which has said no the letter itself is asked about.
        connection.execute("update features.user_features set email = ? where user_id = ?", [named, ids[1]])
        assert colleagues_who_said_no(connection, [handoff]) == {}
    [sentence] = found["ho_1"]
    assert found == {"ho_1": [sentence], "ho_2": [sentence]}
    assert sentence.startswith("Do not contact ") and said_no in sentence
