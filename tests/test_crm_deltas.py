"""What the CRM delivers between two runs of everything leaves all as such a run would: scores, handoffs, CRM, SQL."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from installation import END, Installation
from test_deltas import COMPARED, copied_like_the_warehouse, land_events, published, refreshed, written

from dagster_project.ledger import Ledger

SCORED = END + timedelta(days=1)
LATER = SCORED + timedelta(minutes=10)
DECIDED = {
    "candidates": ("candidate_key", "triggers", "last_decision"),
    "handoff_decisions": ("decision_id", "decision", "reason", "handoff_id"),
    "handoffs": ("handoff_id", "priority", "recipient_id", "account_id", "user_id", "due_at"),
    "rule_decisions": ("decision_id", "rule", "decision", "subject_id"),
}
INTENT = ("Upgrade Clicked", "Plans Compared", "Limit Reached", "Team Member Invited", "Integration Connected")
Payload = dict[str, Any]


@pytest.fixture(scope="module")
def scored(demo_run: Installation, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A company scored at `SCORED`, with some of the day left."""
    copy = Installation(tmp_path_factory.mktemp("scored") / "company")
    shutil.copytree(demo_run.data_dir, copy.data_dir)
    assert copy.run(as_of=SCORED, now=SCORED).success
    return copy


@pytest.fixture
def company(scored: Installation, tmp_path: Path) -> Installation:
    """One's own."""
    copy = Installation(tmp_path / "company")
    shutil.copytree(scored.data_dir, copy.data_dir)
    return copy


def records(company: Installation, entity: str) -> list[Payload]:
    """What the CRM says now, in the order of the keys."""
    with duckdb.connect(str(company.warehouse), read_only=True) as warehouse:
        rows = warehouse.execute(
            "select versions.payload from intermediate.int_crm_records as records "
            "join raw.crm_versions as versions using (version_id) join raw.moments as moments "
            "on records.as_of = moments.as_of and moments.is_live "
            "where records.entity = ? and not is_deleted order by records.key",
            [entity],
        ).fetchall()
    return [json.loads(payload) for (payload,) in rows]


def stamp(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()


def land(
    company: Installation, entity: str, found: list[Payload], *, at: datetime = SCORED + timedelta(minutes=5)
) -> None:
    """An extract of that moment."""
    path = company.landing / "crm" / f"{entity}.ndjson"
    path.write_text("".join(json.dumps(record) + "\n" for record in found))
    os.utime(path, (stamp(at), stamp(at)))


def everywhere(found: list[Payload], change: Callable[[int, Payload], Payload | None]) -> list[Payload]:
    """The records with something else about some of them; None leaves one out."""
    changed = (change(number, dict(record)) for number, record in enumerate(found))
    return [record for record in changed if record is not None]


def some_contacts(number: int, record: Payload) -> Payload | None:
    if number == 3:
        return None
    changes: dict[int, Payload] = {0: {"role": "CTO"}, 1: {"email_opt_out": "true"}, 2: {"account_id": None}}
    return record | changes.get(number, {})


def some_accounts(number: int, record: Payload) -> Payload | None:
    changes: dict[int, Payload] = {
        0: {"employee_count": "9000"},
        1: {"do_not_contact": "true"},
        2: {"name": "Called otherwise"},
        4: {"domain": "elsewhere.example"},
    }
    return record | changes.get(number, {}) if number != 3 else None


def some_opportunities(number: int, record: Payload) -> Payload | None:
    changes: dict[int, Payload] = {0: {"stage": "lost", "is_closed": "true"}, 1: {"amount": "123456"}}
    return record | changes.get(number, {}) if number != 2 else None


CHANGES: dict[str, Callable[[int, Payload], Payload | None]] = {
    "contacts": some_contacts,
    "accounts": some_accounts,
    "opportunities": some_opportunities,
    "tickets": lambda number, record: record | ({"category": "limits"} if number < 4 else {}),
}


def decided(company: Installation) -> dict[str, list[tuple[Any, ...]]]:
    with Ledger(f"sqlite:///{company.data_dir / 'ledger.sqlite'}") as ledger:
        return {
            table: sorted(ledger.read_frame(table).select(names).rows(), key=str) for table, names in DECIDED.items()
        }


@pytest.mark.parametrize("entities", [("opportunities", "tickets"), tuple(CHANGES)])
def test_a_delta_with_the_crm_leaves_what_a_run_of_everything_would(
    company: Installation, entities: tuple[str, ...], tmp_path: Path
) -> None:
    for entity in entities:
        land(company, entity, everywhere(records(company, entity), CHANGES[entity]))
    before = published(company.data_dir)
    both_ways(company, Installation(tmp_path / "twin"))
    assert published(company.data_dir) != before


def both_ways(company: Installation, twin: Installation, *, at: datetime = LATER) -> None:
    """Run a delta here and everything there, and compare."""
    shutil.copytree(company.data_dir, twin.data_dir)
    assert company.run("score_new_events", as_of=at, now=at).success
    assert refreshed(company.data_dir) == (False, "events and records of the CRM have come")
    assert twin.run("score_everything", as_of=at, now=at).success
    delta, full = published(company.data_dir), published(twin.data_dir)
    for table in COMPARED:
        assert delta[table] == full[table], table
    for kind in ("contact", "account"):
        assert written(company.data_dir, kind) == written(twin.data_dir, kind)
    assert decided(company) == decided(twin)
    copied_like_the_warehouse(company.data_dir)


def test_members_of_a_suppressed_account_are_no_leads_whatever_their_address_and_are_again(
    company: Installation, tmp_path: Path
) -> None:
    with duckdb.connect(str(company.serving), read_only=True) as serving:
        [(user, domain)] = serving.sql(
            "select user_id, accounts.domain from marts.leads join marts.user_profiles using (user_id) "
            "join marts.account_profiles as accounts on accounts.account_id = leads.account_id "
            "where accounts.in_crm and accounts.domain is not null "
            "and not ends_with(lower(leads.email), accounts.domain) order by user_id limit 1"
        ).fetchall()
    listed = company.landing / "suppression.csv"
    before = listed.read_text()
    assert before.startswith("email,domain,")
    for minutes, text in ((5, f"{before.rstrip()}\n,{domain},asked,\n"), (10, before)):
        listed.write_text(text)
        at = SCORED + timedelta(minutes=minutes)
        os.utime(listed, (stamp(at), stamp(at)))
        both_ways(company, Installation(tmp_path / f"twin-{minutes}"), at=at + timedelta(minutes=1))
        leads = {row[0] for row in published(company.data_dir)["leads"]}
        assert (user in leads) is (text == before)


def test_what_was_held_while_nobody_knew_whom_to_write_to_is_decided_when_the_crm_delivers(
    company: Installation, tmp_path: Path
) -> None:
    held_at = SCORED + timedelta(days=10)  # longer than files may be old
    users = [row[0] for row in published(company.data_dir)["pql_scores"][::7]]
    said = [{"type": "track", "event": event, "user_id": user} for user in users for event in INTENT]
    land_events(company.data_dir, "said", said, at=held_at)
    assert company.run(as_of=held_at, now=held_at).success
    before = decided(company)
    assert any(decision == "held_stale_crm" for _, _, decision, _ in before["rule_decisions"])
    for entity in ("contacts", "accounts", "opportunities", "tickets"):
        land(company, entity, records(company, entity), at=held_at + timedelta(minutes=5))
    both_ways(company, Installation(tmp_path / "twin"), at=held_at + timedelta(minutes=10))
    after = decided(company)
    assert sum(d == "acted" for _, _, d, _ in after["rule_decisions"]) > sum(
        d == "acted" for _, _, d, _ in before["rule_decisions"]
    )
