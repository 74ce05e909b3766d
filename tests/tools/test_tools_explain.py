"""What was decided at one moment: the answer is about whoever was asked for, whatever the ids of the decisions are."""

from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from installation import Installation
from tool_shop import copied, playbook_with, tools_over

from dagster_project.core.assessments import assess
from dagster_project.subjects import find_dossier

DECIDED = datetime(2026, 7, 1, 18)
"""After everything that was decided about the demo company."""
_COLLEAGUES = (
    "select account_id, list(user_id order by user_id) from marts.pql_scores where account_id is not null "
    "group by account_id having count(*) >= 3 order by account_id"
)


class Decided:
    """A company in which one colleague is free to talk and another has opted out, decided at one moment."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.serving = data_dir / "serving.duckdb"
        with duckdb.connect(str(self.serving)) as copy:
            [(self.account_id, people), *_] = copy.sql(_COLLEAGUES).fetchall()
        self.free, self.opted_out, self.quiet = people[:3]

    def write(self, *decisions: tuple[str, str | None, str]) -> None:
        """Decisions of that moment: id, whom it names, what was decided."""
        with duckdb.connect(str(self.serving)) as copy:
            for name, user_id, decision in decisions:
                copy.execute(
                    "insert into marts.handoff_decisions by name select ? as decision_id, ? as candidate_key, "
                    "case when ? = 'sent' then 'ho_1' end as handoff_id, ? as user_id, ? as account_id, "
                    "['hand_raise'] as triggers, 'P0' as priority, ? as decision, ? as reason, ? as decided_at",
                    [name, name, decision, user_id, self.account_id, decision, f"said of {user_id}", DECIDED],
                )

    def explained(self, subject: str) -> str:
        with tools_over(self.data_dir) as tools:
            return tools.call("alerts.explain", subject=subject).summary

    def latest(self, subject: str) -> tuple[str, str | None]:
        """What `pls why` and `pls assess` begin with."""
        decision = find_dossier(self.serving, subject).decisions[0]
        return decision["decision"], decision["user_id"]


@pytest.fixture
def decided(demo_run: Installation, tmp_path: Path) -> Decided:
    return Decided(copied(demo_run, tmp_path / "data"))


@pytest.mark.parametrize("ids", [("de_1", "de_2"), ("de_2", "de_1")])
def test_an_opt_out_beside_a_handoff_is_told_of_whom_it_is(ids: tuple[str, str], decided: Decided) -> None:
    decided.write((ids[0], decided.free, "sent"), (ids[1], decided.opted_out, "suppressed_no_contact"))

    for subject in (decided.account_id, decided.free):
        assert decided.explained(subject).startswith("An alert was sent")
        assert decided.latest(subject) == ("sent", decided.free)
    assert "was not sent (suppressed_no_contact" in decided.explained(decided.opted_out)
    assert decided.latest(decided.opted_out) == ("suppressed_no_contact", decided.opted_out)
    told = assess(find_dossier(decided.serving, decided.opted_out), playbook_with()).no_package
    assert told == f"suppressed_no_contact on {DECIDED:%Y-%m-%d}: said of {decided.opted_out}"
    assert decided.explained(decided.quiet).startswith(f"An alert about {decided.free} was sent")
    assert decided.latest(decided.quiet) == ("sent", decided.free)


def test_what_was_decided_before_a_company_was_known_to_the_crm_is_told_of_its_account(decided: Decided) -> None:
    known_as, decided.account_id = decided.account_id, "domain:before.example"
    decided.write(("de_1", decided.free, "sent"))

    assert decided.explained(known_as).startswith("An alert was sent")
    assert decided.latest(known_as) == ("sent", decided.free)


@pytest.mark.parametrize("ids", [("de_1", "de_2", "de_3"), ("de_3", "de_2", "de_1")])
def test_an_account_that_was_not_handed_over_answers_before_its_people(
    ids: tuple[str, str, str], decided: Decided
) -> None:
    decided.write(
        (ids[0], decided.free, "held_capacity"),
        (ids[1], decided.free, "suppressed_cooldown"),  # joined to the one before
        (ids[2], decided.opted_out, "suppressed_no_contact"),
    )

    assert "is held back (held_capacity" in decided.explained(decided.account_id)
    for subject in (decided.account_id, decided.free, decided.quiet):
        assert decided.latest(subject) == ("held_capacity", decided.free)
    assert decided.latest(decided.opted_out) == ("suppressed_no_contact", decided.opted_out)
