"""HubSpot's connector against a HubSpot on this machine: what is written, what is read, what goes wrong."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from crm_rigs import CALM, HASTY, SPECS, VALUES
from hubspot_server import TOKEN, HubSpotServer
from loopback import FakeClock, Reply

from dagster_project.clients.crm import (
    CrmDenied,
    CrmError,
    CrmRefused,
    CrmUnavailable,
    CrmUnknown,
    Receipt,
    Task,
)
from dagster_project.clients.http import RetryPolicy
from dagster_project.clients.hubspot import HubSpot, connect
from dagster_project.core.sync import FieldUpdate, Target
from dagster_project.field_plans import without_unknown
from dagster_project.playbook_files import read_playbook


@pytest.fixture
def server() -> Iterator[HubSpotServer]:
    with HubSpotServer() as hubspot:
        yield hubspot


@pytest.fixture
def crm(server: HubSpotServer) -> HubSpot:
    crm = connected(server)
    crm.create_fields("contact", SPECS)
    server.asked.clear()
    return crm


def connected(server: HubSpotServer, policy: RetryPolicy = CALM, **more: str) -> HubSpot:
    variables = {"PLS_HUBSPOT_TOKEN": TOKEN, "PLS_HUBSPOT_BASE_URL": server.base_url, **more}
    rules = read_playbook(None).crm_sources
    return connect(variables, rules, clock=server.clock, policy=policy, now=lambda: server.now.replace(tzinfo=None))


def update(object_id: str, create: dict[str, Any] | None = None, **fields: Any) -> FieldUpdate:
    return FieldUpdate(object_id, fields, "fingerprint", create)


def test_what_is_read_back_is_what_was_written(server: HubSpotServer, crm: HubSpot) -> None:
    ann = server.add("contacts", email="ann@acme.com")
    assert crm.update("contact", [update(ann, **VALUES)]) == [Receipt(ann)]
    assert crm.read("contact", [ann], [*VALUES]) == {ann: VALUES}
    assert (
        server.properties_of("contacts", ann)["features_used"] == "Reports\\; weekly; Exports; activated (2026-06-01)"
    )


def test_a_list_without_items_empties_its_field(server: HubSpotServer, crm: HubSpot) -> None:
    ann = server.add("contacts")
    for features in (["Reports"], []):
        crm.update("contact", [update(ann, features_used=features)])
        assert crm.read("contact", [ann], ["features_used"]) == {ann: {"features_used": features}}


def test_a_batch_is_one_request_and_what_is_not_ours_stays(server: HubSpotServer, crm: HubSpot) -> None:
    ids = [server.add("contacts", email=f"u{i}@acme.com", jobtitle="COO") for i in range(100)]
    receipts = crm.update("contact", [update(i, pql_score=1, pql_classification=None) for i in ids])
    assert (len(receipts), {r.error for r in receipts}, len(server.asked)) == (100, {None}, 1)
    assert server.properties_of("contacts", ids[7]).get("pql_classification") is None
    assert server.properties_of("contacts", ids[7])["jobtitle"] == "COO"


def test_a_record_that_is_not_there_keeps_no_other_from_being_written(server: HubSpotServer, crm: HubSpot) -> None:
    ann = server.add("contacts", email="ann@acme.com")
    receipts = {r.object_id: r for r in crm.update("contact", [update("9", pql_score=1), update(ann, pql_score=2)])}
    assert receipts[ann].error is None
    assert "OBJECT_NOT_FOUND" in str(receipts["9"].error) and not receipts["9"].is_retryable
    assert server.properties_of("contacts", ann)["pql_score"] == "2"


@pytest.mark.parametrize(
    ("reply", "error"), [(Reply(302), CrmUnavailable), (Reply(404, {"message": "no such path"}), CrmDenied)]
)
def test_what_says_nothing_about_the_records_refuses_none_of_them(
    server: HubSpotServer, crm: HubSpot, reply: Reply, error: type[CrmError]
) -> None:
    server.fail("answer", "batch/update", reply=reply)
    with pytest.raises(error):
        crm.update("contact", [update("1", pql_score=1), update("2", pql_score=2)])


def test_errors_in_an_answer_with_status_200_are_errors(server: HubSpotServer, crm: HubSpot) -> None:
    error = {"category": "VALIDATION_ERROR", "message": "no", "context": {"ids": ["2"]}}
    body = {"status": "COMPLETE", "results": [{"id": "1", "properties": {}}], "numErrors": 1, "errors": [error]}
    server.fail("answer", "batch/update", reply=Reply(200, body))
    receipts = crm.update("contact", [update("1", pql_score=1), update("2", pql_score=2)])
    assert receipts == [Receipt("1"), Receipt("2", "VALIDATION_ERROR: no")]


def test_an_error_that_names_nobody_is_that_of_the_only_one_without_a_result(
    server: HubSpotServer, crm: HubSpot
) -> None:
    body = {"results": [{"id": "1"}], "errors": [{"category": "RATE_LIMITS", "message": "later"}]}
    server.fail("answer", "batch/update", reply=Reply(207, body))
    receipts = crm.update("contact", [update("1", pql_score=1), update("2", pql_score=2)])
    assert receipts[1] == Receipt("2", "RATE_LIMITS: later", is_retryable=True)


def test_errors_that_name_nobody_refuse_the_batch(server: HubSpotServer, crm: HubSpot) -> None:
    nobody = {"category": "VALIDATION_ERROR", "message": "frozen", "context": {}}
    named = {"category": "RATE_LIMITS", "message": "later", "context": {"ids": ["2"]}}
    body = {"results": [{"id": "1"}], "errors": [nobody, named]}
    server.fail("answer", "batch/update", reply=Reply(207, body), times=2)
    with pytest.raises(CrmRefused, match="VALIDATION_ERROR: frozen"):
        crm.update("contact", [update(str(number), pql_score=1) for number in (1, 2, 3, 4)])
    receipts = crm.update("contact", [update(str(number), pql_score=1) for number in (1, 2, 3)])
    assert receipts[1:] == [
        Receipt("2", "RATE_LIMITS: later", is_retryable=True),
        Receipt("3", "VALIDATION_ERROR: frozen"),
    ]


def test_errors_that_say_it_is_too_early_are_not_asked_about_again(server: HubSpotServer, crm: HubSpot) -> None:
    body = {"results": [], "errors": [{"category": "RATE_LIMITS", "message": "later"}]}
    server.fail("answer", "batch/update", reply=Reply(207, body), times=99)
    receipts = crm.update("contact", [update(str(number), pql_score=1) for number in range(9)])
    assert {(r.error, r.is_retryable) for r in receipts} == {("RATE_LIMITS: later", True)} and len(receipts) == 9
    assert len(server.lines("batch/update")) == 1


def test_a_result_of_another_shape_leaves_open_what_was_done(server: HubSpotServer, crm: HubSpot) -> None:
    server.fail("answer", "batch/update", reply=Reply(200, {"results": [None]}))
    with pytest.raises(CrmUnknown, match="unknown shape"):
        crm.update("contact", [update("1", pql_score=1)])
    server.fail("answer", "tasks/batch/read", reply=Reply(200, {"results": [{"id": "1"}]}))
    with pytest.raises(CrmUnknown, match="unknown shape"):
        crm.find_tasks(["k_1"])


def test_a_field_that_is_not_there_keeps_no_other_from_being_written(server: HubSpotServer, crm: HubSpot) -> None:
    target = Target({"pql_score": "pql_score", "pql_classification": "renamed_class", "last_active": None})
    there, trouble = without_unknown(crm, "contact", target)
    assert there.written == {"pql_score": "pql_score"}
    assert trouble and "contacts have no field renamed_class" in trouble and "pls sync --setup" in trouble
    assert without_unknown(crm, "contact", there) == (there, None)
    server.fail("answer", "GET .*/properties", reply=Reply(403, {"message": "no scope"}))
    assert without_unknown(connected(server), "contact", target) == (target, None), "who may not look writes all"


def test_an_empty_answer_confirms_nothing(server: HubSpotServer, crm: HubSpot) -> None:
    server.fail("answer", "batch/update", reply=Reply(200, {"status": "COMPLETE", "results": []}))
    assert crm.update("contact", [update("1", pql_score=1)]) == []
    server.fail("answer", "batch/update", reply=Reply(200, {"status": "COMPLETE"}))
    with pytest.raises(CrmUnavailable, match="no results"):
        crm.update("contact", [update("1", pql_score=1)])


def test_a_batch_with_a_guilty_record_is_refused_as_a_whole(server: HubSpotServer, crm: HubSpot) -> None:
    ann = server.add("contacts", email="ann@acme.com")
    with pytest.raises(CrmRefused, match="poison is not allowed"):
        crm.update("contact", [update(ann, pql_score=1), update(ann, pql_classification="poison")])
    assert server.properties_of("contacts", ann).get("pql_score") is None


@pytest.mark.parametrize("kind", ["reset", "lost", "cut", "delay", "twice"])
def test_a_broken_connection_is_survived(server: HubSpotServer, crm: HubSpot, kind: Any) -> None:
    crm = connected(server, policy=HASTY if kind == "delay" else CALM)
    ann = server.add("contacts", email="ann@acme.com")
    server.fail(kind, "batch/update")
    assert crm.update("contact", [update(ann, pql_score=1)]) == [Receipt(ann)]
    server.fail(kind, "batch/update", times=3)
    if kind != "twice":
        with pytest.raises(CrmUnknown):
            crm.update("contact", [update(ann, pql_score=1)])


def test_a_wrong_token_is_denied_and_not_repeated(server: HubSpotServer) -> None:
    crm = connected(server, PLS_HUBSPOT_TOKEN="pat-wrong")
    with pytest.raises(CrmDenied, match="Authentication credentials not found") as denied:
        crm.read("contact", ["1"], ["email"])
    assert "pat-wrong" not in str(denied.value)


def test_a_contact_is_made_once_and_its_name_is_not_overwritten(server: HubSpotServer, crm: HubSpot) -> None:
    company = server.add("companies", name="Acme")
    bob = server.add("contacts", email="bob@acme.com", firstname="Robert")
    new = [
        update("u_1", {"email": "Ann@acme.com", "name": "Ann Lee", "account_id": company}, pql_score=1),
        update("u_2", {"email": "bob@acme.com", "name": "Bob"}, pql_score=2),
    ]
    for _ in range(2):
        receipts = {receipt.object_id: receipt for receipt in crm.update("contact", new)}
    ann = receipts["u_1"].created_id
    assert receipts["u_2"].created_id == bob
    assert len(server.state.objects["contacts"]) == 2
    said = server.properties_of("contacts", str(ann))
    assert (said["email"], said["firstname"], said["lastname"], said["pql_score"]) == (
        "ann@acme.com",
        "Ann",
        "Lee",
        "1",
    )
    assert server.properties_of("contacts", bob)["firstname"] == "Robert"
    assert server.state.associations["contacts", "companies"][str(ann)][0] == company


def test_a_record_to_be_made_does_not_take_others_with_it(server: HubSpotServer, crm: HubSpot) -> None:
    ann = server.add("contacts", email="ann@acme.com")
    new = update("u_1", {"email": "new@acme.com"}, pql_classification="poison")
    receipts = crm.update("contact", [update(ann, pql_score=1), new])
    assert receipts[0] == Receipt(ann)
    assert "poison is not allowed" in str(receipts[1].error)


TASK = Task("k_1", "Call Ann", "Scores <87>\nnow", datetime(2026, 7, 1), owner_id="7", priority="P0")


def test_a_task_is_found_by_its_key(server: HubSpotServer, crm: HubSpot) -> None:
    ann = server.add("contacts", email="ann@acme.com")
    task = Task("k_1", "Call Ann", "Scores <87>\nnow", datetime(2026, 7, 1), "7", contact_id=ann, priority="P0")
    made = crm.create_task(task).created_id
    said = server.properties_of("tasks", str(made))
    assert said["hs_task_body"] == "Scores &lt;87&gt;<br>now"
    assert (said["hs_timestamp"], said["hs_task_priority"], said["hubspot_owner_id"]) == (
        "2026-07-01T00:00:00.000Z", "HIGH", "7",
    )  # fmt: skip
    assert server.state.associations["tasks", "contacts"][str(made)] == [ann]
    server.change("tasks", str(made), hs_task_status="COMPLETED", pls_outcome="meeting booked")
    found = crm.find_tasks(["k_1", "k_2"])
    assert {key: (state.task_id, state.status, state.outcome) for key, state in found.items()} == {
        "k_1": (made, "done", "meeting booked")
    }


def test_a_task_is_never_made_twice(server: HubSpotServer, crm: HubSpot) -> None:
    server.fail("lost", "POST /crm/objects/2026-09/tasks$")
    with pytest.raises(CrmUnknown):
        crm.create_task(TASK)
    assert list(crm.find_tasks(["k_1"])) == ["k_1"]
    assert "CONFLICT" in str(crm.create_task(TASK).error)
    assert len(server.state.objects["tasks"]) == 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(302, "<html>log in</html>"), CrmUnavailable),
        (Reply(404, {"message": "no such path"}), CrmDenied),
        (Reply(404, "<html>"), CrmDenied),
    ],
)
def test_what_says_nothing_about_a_task_gives_none_up(
    server: HubSpotServer, crm: HubSpot, reply: Reply, error: type[CrmError]
) -> None:
    server.fail("answer", "POST .*/tasks$", reply=reply)
    with pytest.raises(error):
        crm.create_task(TASK)
    server.fail("answer", "POST .*/tasks$", reply=Reply(404, {"category": "OBJECT_NOT_FOUND", "message": "contact 7"}))
    assert "contact 7" in str(crm.create_task(TASK).error)


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_make_no_tasks_is_told_so_and_no_task_is_given_up(
    server: HubSpotServer, crm: HubSpot, status: int
) -> None:
    """Each of them would be refused: it is the token that has to be seen to, and the tasks are made after that."""
    said = {"category": "MISSING_SCOPES", "message": "not granted"}
    server.fail("answer", "POST .*/tasks$", reply=Reply(status, said), times=9)
    with pytest.raises(CrmDenied, match="not granted"):
        crm.create_task(TASK)
    server.heal()
    assert crm.create_task(TASK).error is None


def test_a_task_that_is_refused_is_told_of_and_stops_nobody(server: HubSpotServer, crm: HubSpot) -> None:
    said = {"category": "VALIDATION_ERROR", "message": "no such owner"}
    server.fail("answer", "POST .*/tasks$", reply=Reply(400, said))
    receipt = crm.create_task(TASK)
    assert "no such owner" in str(receipt.error)
    assert not receipt.is_retryable
    [asked] = [one for one in server.asked if one.path.endswith("/tasks")]
    assert asked.body["associations"] == [], "it is about nobody whom HubSpot knows"


def test_a_task_is_due_now_unless_told_and_done_where_it_was_told(server: HubSpotServer, crm: HubSpot) -> None:
    ann, acme = server.add("contacts", email="ann@acme.com"), server.add("companies", name="Acme")
    for number, (priority, shown) in enumerate({"P0": "HIGH", "P1": "MEDIUM", "P2": "LOW", "": "LOW"}.items()):
        is_done = priority == "P1"
        made = crm.create_task(Task(f"k_{number}", "s", "b", None, None, ann, acme, priority, is_done)).created_id
        said = server.properties_of("tasks", str(made))
        assert said["hs_timestamp"][:16] == server.now.isoformat()[:16]
        assert (said["hs_task_priority"], said["hs_task_status"]) == (shown, "COMPLETED" if is_done else "NOT_STARTED")
        assert "hubspot_owner_id" not in said
        assert server.state.associations["tasks", "contacts"][str(made)] == [ann]
        assert server.state.associations["tasks", "companies"][str(made)] == [acme]


def test_an_owner_is_assigned_where_there_is_none(server: HubSpotServer, crm: HubSpot) -> None:
    free, taken = server.add("companies", name="A"), server.add("companies", name="B", hubspot_owner_id="3")
    assert crm.assign_owner("account", free, "7") == Receipt(free)
    assert server.properties_of("companies", free)["hubspot_owner_id"] == "7"
    assert crm.assign_owner("account", taken, "7") == Receipt(taken, "its owner is 3", is_needless=True)
    assert crm.assign_owner("account", taken, "7", instead_of=["3"]) == Receipt(taken)
    assert "is not in HubSpot" in str(crm.assign_owner("account", "99", "7").error)


def test_fields_are_made_once(server: HubSpotServer, crm: HubSpot) -> None:
    assert {spec.name for spec in SPECS} | {"pls_do_not_contact"} <= crm.describe_fields("contact")
    server.asked.clear()
    crm.create_fields("contact", SPECS)
    assert not server.lines("POST")
    assert server.state.properties["tasks"]["pls_key"]["hasUniqueValue"] is True


def test_missing_scopes_are_named(server: HubSpotServer, crm: HubSpot) -> None:
    assert crm.missing_scopes() == []
    server.scopes = tuple(scope for scope in server.scopes if scope != "crm.objects.companies.write")
    assert crm.missing_scopes() == ["crm.objects.companies.write"]


def test_of_a_token_that_hubspot_does_not_tell_about_it_is_tried_what_can_be_read(
    server: HubSpotServer, crm: HubSpot
) -> None:
    server.fail("answer", "access-token-info", times=9, reply=Reply(404, {"message": "no private app"}))
    assert crm.missing_scopes() == []
    server.scopes = ("crm.objects.contacts.read", "crm.objects.companies.read", "crm.objects.owners.read")
    assert crm.missing_scopes() == ["crm.objects.deals.read", "tickets"]


def test_a_merged_records_id_reads_as_gone(server: HubSpotServer, crm: HubSpot) -> None:
    winner, loser = server.add("contacts", email="a@acme.com"), server.add("contacts", email="b@acme.com")
    server.merge("contacts", winner, loser)
    assert crm.read("contact", [loser], ["email"]) == {}


def test_the_burst_limit_is_used_and_never_exceeded() -> None:
    clock = FakeClock()
    with HubSpotServer(clock, limit=190, seconds_per_request=0.01) as server:
        crm = connected(server)
        crm.create_fields("contact", SPECS)
        ann = server.add("contacts", email="ann@acme.com")
        started, before = clock.now(), len(server.asked)
        for score in range(190 * 4):
            crm.update("contact", [update(ann, pql_score=score)])
        rate = (len(server.asked) - before) / (clock.now() - started)
    assert server.refused_for_speed == 0
    assert rate >= 0.95 * 19


def test_a_share_of_the_day_is_left_to_others(server: HubSpotServer) -> None:
    with HubSpotServer(daily=20) as small:
        crm = connected(small)
        with pytest.raises(CrmUnavailable, match="of the day's 20 requests are left"):
            for _ in range(20):
                crm.read("contact", ["1"], ["email"])
        assert len(small.asked) == 18


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "PLS_HUBSPOT_TOKEN is not set"),
        ({"PLS_HUBSPOT_TOKEN": "t", "PLS_HUBSPOT_BASE_URL": "http://api.hubapi.com"}, "expected https"),
    ],
)
def test_what_is_missing_is_said(variables: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        connect(variables, read_playbook(None).crm_sources)
