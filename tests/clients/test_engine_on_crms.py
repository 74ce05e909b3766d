"""The engine on every CRM: the same promises, whoever is on the other side."""

import html
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from crm_rigs import POISON, RIGS, Rig
from ledger_files import empty_ledger
from ledger_rows import NOW

from dagster_project.actions import ActionReport, carry_out
from dagster_project.activation import SendRules, SyncResult, send_plan
from dagster_project.core.actions import Action
from dagster_project.core.crm_field_rules import CrmFieldRules
from dagster_project.core.sync import MADE_AS, Policy, Target
from dagster_project.field_plans import plan_fields
from dagster_project.ledger import Ledger

KINDS = {
    "object_id": pl.String(),
    "pql_score": pl.Float64(),
    "pql_classification": pl.String(),
    "last_active": pl.String(),
    "features_used": pl.List(pl.String()),
    "pls_scored_at": pl.String(),
    "create_as": pl.String(),
}
NAMES = {name: name for name in KINDS if name not in ("object_id", "create_as")}
ALL = {
    "pql_score": 81.5,
    "pql_classification": "hot",
    "last_active": "2026-06-30",
    "features_used": ["alerts", "exports; weekly"],
    "pls_scored_at": "2026-06-30T18:00:00Z",
}
RULES = CrmFieldRules(
    top_signals=1,
    account_tiers=("C", "B", "A"),
    contact={"pause_nurture": "pause_nurture"},
    account={"account_tier": "account_tier"},
)


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with RIGS[request.param](tmp_path) as rig:
        yield rig


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(empty_ledger(tmp_path / "ledger.sqlite")) as opened:
        yield opened


def sync(ledger: Ledger, rig: Rig, wanted: dict[str, dict[str, Any]], hours: int = 0, **policies: Policy) -> SyncResult:
    rows = [{"object_id": object_id, **fields} for object_id, fields in wanted.items()]
    desired = pl.DataFrame(rows, schema=KINDS, orient="row")
    target = Target(NAMES, policies, {"pql_classification": ("not_ready", "developing", "warm", "hot")})
    plan = plan_fields(ledger, rig.crm, "contact", desired, target=target)
    return send_plan(ledger, rig.crm, "contact", plan, rules=SendRules(1, 5), now=NOW + timedelta(hours=hours))


def do(ledger: Ledger, rig: Rig, *actions: Action, hours: int = 0) -> ActionReport:
    return carry_out(ledger, rig.crm, actions, rules=RULES, now=NOW + timedelta(hours=hours))


def held(rig: Rig, object_id: str, *names: str) -> dict[str, Any]:
    return rig.crm.read("contact", [object_id], names or list(NAMES))[object_id]


def test_every_kind_of_value_arrives_and_is_read_back_as_it_was_written(ledger: Ledger, rig: Rig) -> None:
    ann = rig.contact("ann@acme.com")
    result = sync(ledger, rig, {ann: ALL})
    assert (result.written, result.verified, result.mismatched) == (1, 1, {})
    assert held(rig, ann) == ALL
    assert held(rig, ann, rig.email) == {rig.email: "ann@acme.com"}


def test_what_was_written_is_not_written_again(ledger: Ledger, rig: Rig) -> None:
    people = {rig.contact(f"{number}@acme.com"): ALL for number in range(7)}
    rig.crm.max_batch = 3
    assert sync(ledger, rig, people).requests == 3
    assert sync(ledger, rig, people, hours=1) == SyncResult()


def test_one_that_is_not_there_is_refused_and_the_others_are_written(ledger: Ledger, rig: Rig) -> None:
    ann = rig.contact("ann@acme.com")
    result = sync(ledger, rig, {ann: ALL, "99": ALL})
    assert (result.written, result.refused.keys()) == (1, {"99"})
    assert rig.crm.read("contact", ["99"], ["email"]) == {}
    assert sync(ledger, rig, {ann: ALL, "99": ALL}, hours=1).requests == 0


def test_the_guilty_one_of_a_batch_stands_alone_with_the_crms_words(ledger: Ledger, rig: Rig) -> None:
    people = {rig.contact(f"{number}@acme.com"): dict(ALL) for number in range(9)}
    guilty = list(people)[4]
    people[guilty]["pql_classification"] = POISON
    result = sync(ledger, rig, people)
    assert (result.written, result.refused.keys()) == (8, {guilty})
    assert "poison is not allowed" in result.refused[guilty]
    assert sync(ledger, rig, people, hours=1).requests == 0
    people[guilty]["pql_classification"] = "warm"
    assert sync(ledger, rig, people, hours=2).written == 1


@pytest.mark.parametrize("losses", [1, 2])
def test_answers_that_get_lost_lose_nothing(ledger: Ledger, rig: Rig, losses: int) -> None:
    ann = rig.contact("ann@acme.com")
    for _ in range(losses):
        rig.lose_answers()
    first = sync(ledger, rig, {ann: ALL})
    assert first.written + first.failed == 1
    sync(ledger, rig, {ann: ALL | {"pql_score": 12.0}}, hours=1)
    assert held(rig, ann, "pql_score") == {"pql_score": 12.0}
    assert sync(ledger, rig, {ann: ALL | {"pql_score": 12.0}}, hours=2).requests == 0


def test_a_crm_that_is_down_gets_everything_when_it_is_back(ledger: Ledger, rig: Rig) -> None:
    ann = rig.contact("ann@acme.com")
    rig.go_down()
    sync(ledger, rig, {ann: ALL})
    sync(ledger, rig, {ann: ALL}, hours=1)
    assert held(rig, ann) == ALL


def test_a_policy_looks_at_what_stands_there(ledger: Ledger, rig: Rig, tmp_path: Path) -> None:
    ann, bob = rig.contact("ann@acme.com"), rig.contact("bob@acme.com")
    sync(ledger, rig, {ann: {"pql_score": 50.0, "pql_classification": "warm"}})
    with Ledger(empty_ledger(tmp_path / "another.sqlite")) as fresh:
        wanted = {name: {"pql_score": 40.0, "pql_classification": "hot"} for name in (ann, bob)}
        sync(fresh, rig, wanted, pql_score="if_empty", pql_classification="if_higher")
    assert held(rig, ann, "pql_score", "pql_classification") == {"pql_score": 50.0, "pql_classification": "hot"}
    assert held(rig, bob, "pql_score") == {"pql_score": 40.0}


def test_a_contact_is_made_where_that_is_wanted_and_never_twice(ledger: Ledger, rig: Rig) -> None:
    rig.lose_answers()
    new = {"email:new@acme.com": {"pql_score": 5.0, "create_as": '{"email": "new@acme.com"}'}}
    for hour in range(3):
        sync(ledger, rig, new, hour)
    pages = list(rig.crm.extract("contacts", None))
    assert [row["email"] for page in pages for row in page.rows] == ["new@acme.com"]


def task(key: str, contact_id: str) -> Action:
    payload = {"subject": "Call", "body": "Now", "contact_id": contact_id, "due_at": "2026-07-01T12:00:00"}
    return Action(key, "task", "contact", contact_id, payload)


def test_one_that_was_to_be_made_and_is_there_is_the_one_that_is_read_back(ledger: Ledger, rig: Rig) -> None:
    ann = rig.contact("ann@acme.com")

    result = sync(ledger, rig, {"email:ann@acme.com": {**ALL, "create_as": '{"email": "ann@acme.com"}'}})

    assert (result.written, result.verified, result.mismatched) == (1, 1, {})
    assert held(rig, ann, "pql_score") == {"pql_score": 81.5}
    assert ledger.confirmed_of(rig.crm.name, "contact", "email:")["email:ann@acme.com"][MADE_AS] == ann


def test_a_task_is_made_once_however_its_answer_got_lost(ledger: Ledger, rig: Rig) -> None:
    ann = rig.contact("ann@acme.com")
    rig.lose_answers()
    for hour in range(3):
        do(ledger, rig, task("k_1", ann), task("k_2", ann), hours=hour)
    assert sorted(rig.tasks()) == ["k_1", "k_2"]
    assert rig.crm.find_tasks(["k_1", "k_2", "k_3"]).keys() == {"k_1", "k_2"}


def stop(key: str, number: int = 1) -> Action:
    return Action(f"stop {key} {number}", "stop_task", "task", key, {"why": "Do not contact <Ann> any more: no."})


def test_a_task_whose_person_has_said_no_says_so_once_above_what_it_said(ledger: Ledger, rig: Rig) -> None:
    ann = rig.contact("ann@acme.com")
    do(ledger, rig, task("k_1", ann), task("k_2", ann))
    rig.lose_answers()
    reports = [do(ledger, rig, stop("k_1", number), hours=number) for number in (1, 1, 2)]
    assert reports[-1].done == ["stop k_1 2"]
    subject, text = rig.texts("k_1")
    assert (subject, html.unescape(text)) == ("Do not contact: Call", "Do not contact <Ann> any more: no.\n\nNow")
    assert rig.texts("k_2") == ("Call", "Now")
    assert rig.crm.find_tasks(["k_1"])["k_1"].status == "open"


def test_a_task_that_is_done_or_gone_is_left_as_it_is(ledger: Ledger, rig: Rig) -> None:
    do(ledger, rig, task("k_1", rig.contact("ann@acme.com")))
    rig.close("k_1")
    report = do(ledger, rig, stop("k_1"), stop("another"))
    assert report.needless == {
        "stop k_1 1": "the task is done",
        "stop another 1": "the task is not there any more",
    }
    assert rig.texts("k_1") == ("Call", "Now")


def test_a_lost_ledger_makes_no_task_twice(ledger: Ledger, rig: Rig, tmp_path: Path) -> None:
    ann = rig.contact("ann@acme.com")
    do(ledger, rig, task("k_1", ann))
    with Ledger(empty_ledger(tmp_path / "another.sqlite")) as another:
        assert do(another, rig, task("k_1", ann)).done == ["k_1"]
    assert rig.tasks() == ["k_1"]


def test_owners_and_tiers_are_only_ever_added(ledger: Ledger, rig: Rig) -> None:
    acme = rig.account()
    one, other = rig.owners
    wanted = (("o_1", "assign_owner", {"owner_id": one}), ("o_2", "assign_owner", {"owner_id": other}),
              ("t_1", "raise_tier", {"to": "B"}), ("t_2", "raise_tier", {"to": "C"}))  # fmt: skip
    report = do(ledger, rig, *(Action(key, kind, "account", acme, payload) for key, kind, payload in wanted))  # type: ignore[arg-type]
    assert (report.done, report.needless.keys()) == (["o_1", "t_1"], {"o_2", "t_2"})
    assert rig.crm.read("account", [acme], ["owner_id", "account_tier"])[acme] == {"owner_id": one, "account_tier": "B"}
