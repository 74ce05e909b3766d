"""Salesforce's connector against an org on this machine: signing in, writing few and many, reading, what fails."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from crm_rigs import CALM, HASTY, SPECS, VALUES
from loopback import Reply
from salesforce_server import CLIENT_ID, SECRET, USERNAME, SalesforceServer

from dagster_project.clients.crm import (
    IS_DELETED,
    CrmDenied,
    CrmNotDone,
    CrmRefused,
    CrmUnavailable,
    CrmUnknown,
    Receipt,
    Task,
)
from dagster_project.clients.http import RetryPolicy
from dagster_project.clients.salesforce import Salesforce, connect
from dagster_project.core.crm_source_rules import CrmSourceRules
from dagster_project.core.sync import FieldUpdate
from dagster_project.playbook_files import read_playbook

RULES = read_playbook(None).crm_sources
SIGNED = {"PLS_SALESFORCE_CLIENT_ID": CLIENT_ID, "PLS_SALESFORCE_CLIENT_SECRET": SECRET}


@pytest.fixture
def server() -> Iterator[SalesforceServer]:
    with SalesforceServer(page=50) as org:
        yield org


@pytest.fixture
def crm(server: SalesforceServer) -> Salesforce:
    crm = connected(server)
    crm.create_fields("contact", SPECS)
    crm.create_fields("account", [])
    server.asked.clear()
    return crm


def connected(
    server: SalesforceServer, policy: RetryPolicy = CALM, *, rules: CrmSourceRules = RULES, **variables: str
) -> Salesforce:
    return connect(
        {"PLS_SALESFORCE_BASE_URL": server.base_url, **(variables or SIGNED)},
        rules,
        clock=server.clock,
        policy=policy,
        now=lambda: server.now.replace(tzinfo=None),
    )


def update(object_id: str, create: dict[str, Any] | None = None, **fields: Any) -> FieldUpdate:
    return FieldUpdate(object_id, fields, "fingerprint", create)


def test_what_is_read_back_is_what_was_written_to_contacts_and_leads(server: SalesforceServer, crm: Salesforce) -> None:
    ann, lee = server.add("Contact", Email="ann@acme.com"), server.add("Lead", Email="lee@acme.com")
    assert crm.update("contact", [update(ann, **VALUES), update(lee, **VALUES)]) == [Receipt(ann), Receipt(lee)]
    assert crm.read("contact", [ann, lee, "no id", "003000000000000099"], [*VALUES]) == {ann: VALUES, lee: VALUES}


def test_a_list_without_items_empties_its_field(server: SalesforceServer, crm: Salesforce) -> None:
    ann = server.add("Contact")
    for features in (["Reports"], []):
        crm.update("contact", [update(ann, features_used=features)])
        assert crm.read("contact", [ann], ["features_used"]) == {ann: {"features_used": features}}


def test_what_is_not_known_leaves_what_stands_there(server: SalesforceServer, crm: Salesforce) -> None:
    ann = server.add("Contact", Title="COO")
    assert crm.update("contact", [update(ann, Title=None, pql_score=1)]) == [Receipt(ann)]
    fields = server.records["Contact"][ann].fields
    assert (fields["Title"], fields["pql_score__c"]) == ("COO", 1)


def test_collections_take_200_records(server: SalesforceServer, crm: Salesforce) -> None:
    ids = [server.add("Contact", Email=f"u{i}@acme.com", Title="COO") for i in range(450)]
    crm.describe_fields("contact")
    server.asked.clear()
    receipts = crm.update("contact", [update(i, pql_score=1) for i in ids])
    assert (len(receipts), {r.error for r in receipts}, len(server.asked)) == (450, {None}, 3)
    assert server.records["Contact"][ids[9]].fields["Title"] == "COO"


def test_failures_inside_status_200_are_failures(server: SalesforceServer, crm: Salesforce) -> None:
    ann, bob = server.add("Contact"), server.add("Contact")
    server.delete("Contact", bob)
    receipts = crm.update("contact", [update(ann, pql_score=1), update(bob, pql_score=2), update("x", pql_score=3)])
    assert receipts[0].error is None
    assert receipts[1] == Receipt(bob, "ENTITY_IS_DELETED: entity is deleted")
    assert "MALFORMED_ID" in str(receipts[2].error)
    locked = [{"success": False, "errors": [{"statusCode": "UNABLE_TO_LOCK_ROW", "message": "busy"}]}]
    server.fail("answer", "PATCH .*/composite/sobjects$", reply=Reply(200, locked))
    [receipt] = crm.update("contact", [update(ann, pql_score=5)])
    assert receipt.is_retryable


def test_fewer_results_than_records_confirm_only_those_they_name(server: SalesforceServer, crm: Salesforce) -> None:
    ann, bob = server.add("Contact"), server.add("Contact")
    both = [update(ann, pql_score=1), update(bob, pql_score=2)]
    server.fail(
        "answer", "PATCH .*/composite/sobjects$", reply=Reply(200, [{"id": bob, "success": True, "errors": []}])
    )
    assert crm.update("contact", both) == [Receipt(bob)]
    for odd in ([], [{"id": "003000000000999", "success": True}], [{"success": True}]):
        server.fail("answer", "PATCH .*/composite/sobjects$", reply=Reply(200, odd))
        assert crm.update("contact", both) == []
    server.fail("answer", "PATCH .*/composite/sobjects$", reply=Reply(200))
    with pytest.raises(CrmUnavailable):
        crm.update("contact", both)


def test_a_request_refused_as_a_whole_is_the_callers_to_split(server: SalesforceServer, crm: Salesforce) -> None:
    ann = server.add("Contact")
    with pytest.raises(CrmRefused, match="No such column 'nothing__c'"):
        crm.update("contact", [update(ann, nothing=1)])


def test_of_many_requests_the_guilty_record_is_found_here(server: SalesforceServer, crm: Salesforce) -> None:
    ids = [server.add("Contact") for _ in range(201)]
    changes = [update(i, pql_score=1) for i in ids[:-1]] + [update(ids[-1], nothing=1)]
    changes.insert(3, changes.pop())
    errors = {r.object_id: r.error for r in crm.update("contact", changes) if r.error}
    assert list(errors) == [ids[-1]]
    assert server.wrote >= 200


def test_large_sets_go_as_one_bulk_job(server: SalesforceServer, crm: Salesforce) -> None:
    ids = [server.add("Contact", Title="COO") for _ in range(2_000)]
    changes = [update(i, **VALUES) for i in ids[:-2]] + [update(ids[-2], pql_classification='poison, "bad"\nline')]
    server.delete("Contact", ids[-1])
    changes.append(update(ids[-1], pql_score=3))
    crm.describe_fields("contact")
    server.asked.clear()
    receipts = {r.object_id: r for r in crm.update("contact", changes)}
    assert len(receipts) == 2_000
    assert sorted(i for i, r in receipts.items() if r.error) == ids[-2:]
    assert "FIELD_CUSTOM_VALIDATION_EXCEPTION" in str(receipts[ids[-2]].error)
    assert crm.read("contact", ids[:1], [*VALUES]) == {ids[0]: VALUES}
    assert server.records["Contact"][ids[0]].fields["Title"] == "COO"
    assert len(server.lines("/jobs/ingest")) == 8  # create, fill, close, two looks, three results


def test_what_a_failed_job_did_not_get_to_is_tried_again(server: SalesforceServer, crm: Salesforce) -> None:
    ids = [server.add("Contact") for _ in range(2_000)]
    server.job_fails = True
    receipts = crm.update("contact", [update(i, pql_score=1) for i in ids])
    assert len(receipts) == 2_000 and all(r.is_retryable for r in receipts)


def test_a_job_that_takes_too_long_is_stopped_and_what_it_did_counts(server: SalesforceServer, crm: Salesforce) -> None:
    ids = [server.add("Contact") for _ in range(2_000)]
    server.job_stands_still_after = 500
    began = server.clock.now()
    receipts = crm.update("contact", [update(i, pql_score=1) for i in ids])
    assert [r.object_id for r in receipts if r.error is None] == ids[:500]
    assert all(r.is_retryable for r in receipts[500:]) and len(receipts) == 2_000
    assert (len(server.jobs), server.clock.now() - began < 900) == (1, True)
    with pytest.raises(CrmNotDone, match="the next run tries the rest"):
        crm.update("contact", [update(i, pql_score=2) for i in ids])
    assert len(server.jobs) == 1, "another job would stand still as well"


def test_a_job_that_does_not_even_stop_is_asked_for_once(server: SalesforceServer, crm: Salesforce) -> None:
    ids = [server.add("Contact") for _ in range(2_000)]
    server.job_stands_still_after, server.jobs_stop = 500, False
    with pytest.raises(CrmNotDone, match="does not stop"):
        crm.update("contact", [update(i, pql_score=1) for i in ids])


def test_a_job_that_was_not_closed_is_closed_again(server: SalesforceServer, crm: Salesforce) -> None:
    ids = [server.add("Contact") for _ in range(2_000)]
    server.fail("answer", "PATCH .*/jobs/ingest", reply=Reply(204))
    receipts = crm.update("contact", [update(i, pql_score=1) for i in ids])
    assert len(receipts) == 2_000 and not any(r.error for r in receipts)


@pytest.mark.parametrize("kind", ["reset", "lost", "cut", "delay", "twice"])
def test_a_broken_connection_is_survived(server: SalesforceServer, crm: Salesforce, kind: Any) -> None:
    crm = connected(server, policy=HASTY if kind == "delay" else CALM)
    ann = server.add("Contact")
    server.fail(kind, "PATCH")
    assert crm.update("contact", [update(ann, pql_score=1)]) == [Receipt(ann)]
    server.fail(kind, "PATCH", times=3)
    if kind != "twice":
        with pytest.raises(CrmUnknown):
            crm.update("contact", [update(ann, pql_score=1)])


def test_a_session_that_ended_is_begun_anew(server: SalesforceServer, crm: Salesforce) -> None:
    ann = server.add("Contact")
    server.end_sessions()
    assert crm.update("contact", [update(ann, pql_score=1)]) == [Receipt(ann)]
    assert len(server.lines("oauth2/token")) == 1


def test_wrong_credentials_are_denied_without_being_repeated(server: SalesforceServer) -> None:
    crm = connected(server, PLS_SALESFORCE_CLIENT_ID=CLIENT_ID, PLS_SALESFORCE_CLIENT_SECRET="wrong-secret")
    with pytest.raises(CrmDenied, match="invalid client credentials") as denied:
        crm.read("contact", ["003000000000000001"], ["Email"])
    assert "wrong-secret" not in str(denied.value)
    assert len(server.asked) == 1


def test_a_certificate_signs_in(server: SalesforceServer) -> None:
    jwt = pytest.importorskip("jwt")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    crm = connected(
        server,
        PLS_SALESFORCE_CLIENT_ID=CLIENT_ID,
        PLS_SALESFORCE_USERNAME=USERNAME,
        PLS_SALESFORCE_PRIVATE_KEY=pem.replace("\n", "\\n"),
    )
    assert "Email" in crm.describe_fields("contact")
    claims = jwt.decode(
        server.assertions[0], key.public_key(), algorithms=["RS256"], audience="https://login.salesforce.com"
    )
    assert (claims["iss"], claims["sub"]) == (CLIENT_ID, USERNAME)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "CLIENT_ID and PLS_SALESFORCE_CLIENT_SECRET are not set"),
        ({**SIGNED, "PLS_SALESFORCE_BASE_URL": ""}, "BASE_URL is not set"),
        ({**SIGNED, "PLS_SALESFORCE_BASE_URL": "http://x.my.salesforce.com"}, "expected https"),
        ({"PLS_SALESFORCE_CLIENT_ID": "c", "PLS_SALESFORCE_PRIVATE_KEY": "/no/such/key"}, "USERNAME is not set"),
        (
            {"PLS_SALESFORCE_CLIENT_ID": "c", "PLS_SALESFORCE_USERNAME": "u", "PLS_SALESFORCE_PRIVATE_KEY": "/no/key"},
            "can't be read",
        ),
    ],
)
def test_what_is_missing_is_said(variables: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        connect(
            {"PLS_SALESFORCE_BASE_URL": "https://x.my.salesforce.com", **variables}, read_playbook(None).crm_sources
        )


def test_a_sign_up_becomes_a_lead_once_or_a_contact_where_the_account_is_known(
    server: SalesforceServer, crm: Salesforce
) -> None:
    account = server.add("Account", Name="Acme")
    bob = server.add("Contact", Email="bob@acme.com", FirstName="Robert", LastName="Roy")
    new = [
        update("u_1", {"email": "Ann@new.com", "name": "Ann van Lee"}, pql_score=1),
        update("u_2", {"email": "bob@acme.com", "name": "Bob"}, pql_score=2),
        update("u_3", {"email": "eve@acme.com", "account_id": account}, pql_score=3),
    ]
    for _ in range(2):
        receipts = {r.object_id: r for r in crm.update("contact", new)}
    assert {r.error for r in receipts.values()} == {None}
    [lead] = server.records["Lead"].values()
    assert (lead.fields["FirstName"], lead.fields["LastName"], lead.fields["Company"]) == ("Ann van", "Lee", "new.com")
    assert server.records["Contact"][bob].fields["FirstName"] == "Robert"
    assert len(server.records["Contact"]) == 2
    assert [r.fields.get("AccountId") for r in server.records["Contact"].values()] == [None, account]


def test_a_sign_up_is_the_oldest_record_with_the_address_a_contact_before_a_lead(
    server: SalesforceServer, crm: Salesforce
) -> None:
    """Of two the same one every time, or each run would write to another; a converted Lead is a Contact by now."""
    leads = [server.add("Lead", Email=email) for email in ("Ann@new.com", "ann@new.com", "bob@acme.com")]
    contacts = [server.add("Contact", Email="BOB@acme.com", LastName=name) for name in ("Roy", "Ray")]
    converted = server.add("Lead", Email="eve@new.com", IsConverted=True)
    people = {"u_1": " ANN@new.com ", "u_2": "Bob@acme.com", "u_3": "eve@new.com", "u_4": "guilty@new.com"}
    guilty = server.add("Lead", Email="guilty@new.com")
    new = [update(who, {"email": email}, pql_score=1) for who, email in people.items()]
    new[-1].fields["pql_classification"] = "poison"
    receipts = {r.object_id: r for r in crm.update("contact", new)}
    assert (receipts["u_1"].created_id, receipts["u_2"].created_id) == (leads[0], contacts[0])
    assert receipts["u_3"].error is None
    assert receipts["u_3"].created_id not in (None, converted)
    assert (receipts["u_4"].created_id, bool(receipts["u_4"].error)) == (None, True)
    assert "pql_score__c" not in server.records["Lead"][guilty].fields


def test_a_name_that_nobody_told_is_the_address_and_nothing_but_contacts_is_made(
    server: SalesforceServer, crm: Salesforce
) -> None:
    [made] = crm.update("contact", [update("u_1", {"email": "ann@new.com", "name": None}, pql_score=1)])
    assert server.records["Lead"][str(made.created_id)].fields["LastName"] == "ann@new.com"
    [refused] = crm.update("account", [update("a_1", {"email": "ann@new.com"})])
    assert refused == Receipt("a_1", "only contacts are made in Salesforce")
    assert not server.records["Account"]


def test_many_addresses_are_looked_for_and_many_records_and_tasks_read_in_several_requests(
    server: SalesforceServer, crm: Salesforce
) -> None:
    ids = [server.add("Contact", Email=f"p{n}@acme.com", LastName=str(n)) for n in range(401)]
    new = [update(f"u_{n}", {"email": f"p{n}@acme.com"}, pql_score=n) for n in range(401)]
    receipts = crm.update("contact", new)
    assert {r.object_id: r.created_id for r in receipts} == {f"u_{n}": object_id for n, object_id in enumerate(ids)}
    ids += [server.add("Contact", LastName="x") for _ in range(1_600)]
    assert list(crm.read("contact", [*ids, "no id", ids[0]], ["pql_score"])) == ids
    assert "no id" not in str([asked.body for asked in server.asked]), "Salesforce would refuse all for it"
    tasks = {f"k_{n}": server.add("Task", pls_key__c=f"k_{n}") for n in range(101)}
    assert {key: state.task_id for key, state in crm.find_tasks([*tasks]).items()} == tasks


TASK = Task("k/1 'x'", "Call Ann", "now", datetime(2026, 7, 1), contact_id=None, priority="P0")


def test_a_task_is_never_made_twice_and_is_found_by_its_key(server: SalesforceServer, crm: Salesforce) -> None:
    server.fail("lost", "PATCH .*/sobjects/Task")
    made = crm.create_task(TASK)
    crm.create_task(TASK)
    assert all(re.search("/Task/pls_key__c/[^/]+$", line) for line in server.lines("PATCH .*/Task/"))
    [task] = server.records["Task"].values()
    assert (task.fields["ActivityDate"], task.fields["Priority"]) == ("2026-07-01", "High")
    server.change("Task", str(made.created_id), IsClosed=True, pls_outcome__c="meeting")
    found = crm.find_tasks([TASK.key, "k_2"])
    assert {k: (s.task_id, s.status, s.outcome) for k, s in found.items()} == {
        TASK.key: (made.created_id, "done", "meeting")
    }


PAGE = Reply(200, "<html>", {"Content-Type": "text/html"})


@pytest.mark.parametrize("reply", [PAGE, Reply(200, {"success": True}), Reply(200, []), Reply(200, [1]), Reply(204)])
def test_an_odd_answer_about_a_task_leaves_open_whether_it_was_made(
    server: SalesforceServer, crm: Salesforce, reply: Reply
) -> None:
    server.fail("answer", "PATCH .*/sobjects/Task", reply=reply)
    with pytest.raises(CrmUnavailable):
        crm.create_task(TASK)


@pytest.mark.parametrize("reply", [PAGE, Reply(200, {"success": True}), Reply(200, ["odd"]), Reply(200, [None])])
def test_an_odd_answer_about_fields_confirms_nothing(server: SalesforceServer, crm: Salesforce, reply: Reply) -> None:
    ann = server.add("Contact")
    server.fail("answer", "PATCH .*/composite/sobjects", reply=reply)
    with pytest.raises(CrmUnavailable):
        crm.update("contact", [update(ann, Title="CTO")])


def test_a_task_says_what_is_to_be_done_by_whom_and_until_when(server: SalesforceServer, crm: Salesforce) -> None:
    user, contact, account = (server.add(kind) for kind in ("User", "Contact", "Account"))
    for number, (priority, shown) in enumerate({"P0": "High", "P1": "Normal", "P2": "Low", "": "Low"}.items()):
        told = Task(f"k_{number}", "S" * 300, "b", None, user, contact, account, priority, is_done=priority == "P1")
        fields = server.records["Task"][str(crm.create_task(told).created_id)].fields
        assert fields["Subject"] == "S" * 255, "Salesforce takes no more"
        assert (fields["Priority"], fields["Status"]) == (shown, "Completed" if priority == "P1" else "Not Started")
        assert fields["ActivityDate"] == server.now.date().isoformat()
        assert (fields["OwnerId"], fields["WhoId"], fields["WhatId"]) == (user, contact, account)
    assert {state.status for state in crm.find_tasks(["k_0", "k_2"]).values()} == {"open"}


def test_a_task_that_is_refused_is_told_of_and_stops_nobody(server: SalesforceServer, crm: Salesforce) -> None:
    for code, is_retryable in (("INVALID_FIELD", False), ("UNABLE_TO_LOCK_ROW", True)):
        server.fail("answer", "PATCH .*/sobjects/Task", reply=Reply(400, [{"errorCode": code, "message": "no"}]))
        receipt = crm.create_task(TASK)
        assert code in str(receipt.error)
        assert receipt.is_retryable is is_retryable


def test_a_task_about_a_lead_names_no_account(server: SalesforceServer, crm: Salesforce) -> None:
    lead, account = server.add("Lead"), server.add("Account")
    made = crm.create_task(Task("k", "s", "b", datetime(2026, 7, 1), contact_id=lead, account_id=account))
    fields = server.records["Task"][str(made.created_id)].fields
    assert (fields["WhoId"], fields.get("WhatId")) == (lead, None)


def test_an_owner_is_assigned_where_there_is_nobody_active(server: SalesforceServer, crm: Salesforce) -> None:
    active, gone = server.add("User", IsActive=True), server.add("User", IsActive=False)
    new = server.add("User", IsActive=True)
    for owner, needless in ((active, True), (gone, False), ("00G000000000000001", False), (None, False)):
        account = server.add("Account", OwnerId=owner)
        receipt = crm.assign_owner("account", account, new)
        assert receipt.is_needless is needless
        assert server.records["Account"][account].fields["OwnerId"] == (owner if needless else new)
    account = server.add("Account", OwnerId=active)
    assert crm.assign_owner("account", account, new, instead_of=[active]) == Receipt(account)
    server.asked.clear()
    assert crm.assign_owner("account", account, new) == Receipt(account), "it is theirs already"
    assert not server.lines("PATCH ")


def test_fields_are_made_once_on_contacts_and_leads_and_can_be_seen(server: SalesforceServer, crm: Salesforce) -> None:
    assert {"pql_score", "pql_score__c", "pls_do_not_contact__c"} <= crm.describe_fields("contact")
    assert not server.hidden
    crm.create_fields("contact", SPECS)
    assert not server.lines("POST .*CustomField")
    assert server.fields["Task"]["pls_key__c"]["externalId"]


def test_a_field_that_only_contacts_or_only_leads_have_is_known(crm: Salesforce) -> None:
    assert crm.unknown_fields("contact", ["AccountId", "Company", "pql_score", "nothing"]) == ["nothing"]
    assert crm.unknown_fields("account", ["AccountId", "Name"]) == ["AccountId"]


def test_missing_rights_are_named(server: SalesforceServer, crm: Salesforce) -> None:
    assert crm.missing_scopes() == []
    server.rights["Lead"].discard("updateable")
    server.rights["Case"].clear()
    assert crm.missing_scopes() == ["updateable on Lead", "queryable on Case"]


def test_the_days_limit_is_kept() -> None:
    with SalesforceServer(daily=10) as server:
        crm = connected(server)
        with pytest.raises(CrmUnavailable, match="of the day's 10 requests are left"):
            for _ in range(20):
                crm.missing_scopes()
        assert len(server.lines("describe")) == 9
        with pytest.raises(CrmUnavailable, match="REQUEST_LIMIT_EXCEEDED"):
            for _ in range(3):
                connected(server).describe_fields("account")


def pages(crm: Salesforce, entity: str, cursor: str | None = None) -> tuple[list[dict[str, Any]], str]:
    found = list(crm.extract(entity, cursor))
    assert [page.is_last for page in found] == [False] * (len(found) - 1) + [True]
    return [dict(row) for page in found for row in page.rows], found[-1].cursor


def test_everything_is_read_in_our_columns(server: SalesforceServer, crm: Salesforce) -> None:
    account = server.add("Account", Name="Acme", Website="https://www.acme.com/de", NumberOfEmployees=120)
    ids = [
        server.add("Contact", Email=f"u{i}@acme.com", AccountId=account, HasOptedOutOfEmail=i == 0) for i in range(120)
    ]
    lead = server.add("Lead", Email="lee@new.com", Status="Open")
    server.add("Lead", Email="old@new.com", IsConverted=True, ConvertedContactId=ids[0])
    contacts, _ = pages(crm, "contacts")
    assert [row["contact_id"] for row in contacts] == [*ids, lead]
    assert (contacts[0]["email_opt_out"], contacts[0]["account_id"], contacts[-1]["lifecycle_stage"]) == (
        True, account, "Open",
    )  # fmt: skip
    assert "do_not_contact" in contacts[0]
    [row], _ = pages(crm, "accounts")
    assert (row["domain"], row["employee_count"]) == ("acme.com", 120)
    won = server.add(
        "Opportunity", IsClosed=True, IsWon=True, CloseDate="2026-06-02", CreatedDate="2026-05-01T10:00:00.000+0000"
    )
    server.roles[won] += [{"ContactId": ids[1], "IsPrimary": False}, {"ContactId": ids[2], "IsPrimary": True}]
    server.add("Opportunity", CloseDate="2026-12-01")
    server.add("Opportunity", IsClosed=True, IsWon=False, CloseDate="2099-12-31")
    first, second, third = pages(crm, "opportunities")[0]
    assert (first["contact_id"], first["closed_at"], first["created_at"]) == (
        ids[2],
        "2026-06-02",
        "2026-05-01T10:00:00.000Z",
    )
    assert (second["contact_id"], second["closed_at"]) == (None, None)
    assert third["closed_at"] == third["updated_at"][:10], "a deal that is closed was closed by then"
    server.add("User", Name="Max", Department="Enterprise SDR", IsActive=True)
    assert [(r["team"], r["is_active"]) for r in pages(crm, "owners")[0]] == [("enterprise_sdr", True)]
    server.add("Case", Type="Limits", SuppliedEmail="x@y.com")
    server.add("Case", Type=True)  # somebody's checkbox
    assert [(r["category"], r["email"]) for r in pages(crm, "tickets")[0]] == [("limits", "x@y.com"), ("true", None)]


@pytest.mark.parametrize("website", ["[tbd]", "www.acme.com [old]", "acme.com]", "℀.com"])
def test_what_is_no_website_costs_no_other_record(server: SalesforceServer, crm: Salesforce, website: str) -> None:
    server.add("Account", Website=website)
    server.add("Account", Website="acme.com")
    rows, _ = pages(crm, "accounts")
    assert [row["domain"] for row in rows] == [None, "acme.com"]


def test_a_no_that_our_user_does_not_see_of_contacts_is_no_column(server: SalesforceServer, crm: Salesforce) -> None:
    server.add("Contact", Email="ann@acme.com", HasOptedOutOfEmail=True)
    server.add("Lead", Email="lee@new.com", HasOptedOutOfEmail=True)
    assert [row["email_opt_out"] for row in pages(crm, "contacts")[0]] == [True, True]
    server.hidden.add("Contact.HasOptedOutOfEmail")
    assert not any("email_opt_out" in row for row in pages(connected(server), "contacts")[0])


def test_nothing_and_no_are_values_of_custom_fields(server: SalesforceServer) -> None:
    for name in ("Seats__c", "Beta__c", "Tier__c"):
        server.add_field("Account", name)
    server.add("Account", Seats__c=0, Beta__c=False, Tier__c="")
    source = RULES.systems["salesforce"].model_copy(update={"custom_fields": ("Seats__c", "Beta__c", "Tier__c")})
    [row], _ = pages(connected(server, rules=RULES.model_copy(update={"systems": {"salesforce": source}})), "accounts")
    assert row["custom_fields"] == {"Seats__c": 0, "Beta__c": False}


def test_changes_deletions_merges_and_conversions_since_the_last_time(
    server: SalesforceServer, crm: Salesforce
) -> None:
    ids = [server.add("Contact") for _ in range(5)]
    lead = server.add("Lead")
    server.clock.advance(3600)
    _, cursor = pages(crm, "contacts")
    server.clock.advance(3600)
    server.change("Contact", ids[0], Title="CTO")
    server.delete("Contact", ids[1])
    server.delete("Contact", ids[2], into=ids[3])
    server.change("Lead", lead, IsConverted=True, ConvertedContactId=ids[4])
    rows, _ = pages(crm, "contacts", cursor)
    assert rows[0]["role"] == "CTO"
    assert rows[1:] == [
        {"contact_id": ids[1], IS_DELETED: True},
        {"contact_id": ids[2], IS_DELETED: True},
        {"contact_id": lead, IS_DELETED: True},
    ]


def test_a_field_that_our_user_does_not_see_is_missing_until_it_does(server: SalesforceServer, crm: Salesforce) -> None:
    flag = "pls_do_not_contact__c"
    seen = connected(server).missing_fields("contacts")
    assert f"Lead.{flag}" not in seen and "Contact.Status" in seen
    server.hidden.add(f"Lead.{flag}")
    assert connected(server).missing_fields("contacts") == sorted([*seen, f"Lead.{flag}"])
    server.hidden.clear()
    assert connected(server).missing_fields("contacts") == seen


def test_an_interrupted_extract_goes_on_behind_the_last_page(server: SalesforceServer, crm: Salesforce) -> None:
    ids = [server.add("Contact") for _ in range(120)]
    lead = server.add("Lead")
    server.fail("reset", "GET .*/query/", times=9, after=1)
    seen, cursor = [], None
    with pytest.raises(CrmUnavailable):
        for page in crm.extract("contacts", None):
            seen += page.rows
            cursor = page.cursor
    server.heal()
    server._open_queries.clear()
    more, _ = pages(crm, "contacts", cursor)
    assert [row["contact_id"] for row in [*seen, *more]] == [*ids, lead]


@pytest.mark.parametrize("body", [{}, {"totalSize": 5, "done": True, "records": []}, None])
def test_an_answer_that_says_nothing_is_a_failed_read(server: SalesforceServer, crm: Salesforce, body: Any) -> None:
    server.fail("answer", "GET .*/query", reply=Reply(200, body))
    with pytest.raises(CrmUnavailable, match="no records"):
        list(crm.extract("accounts", None))


def test_pages_that_lead_back_and_pages_that_are_missing_are_failed_reads(
    server: SalesforceServer, crm: Salesforce
) -> None:
    again = {"totalSize": 9, "done": False, "records": [], "nextRecordsUrl": "/services/data/v67.0/query/01g-1"}
    page = again | {"records": [{"Id": "005000000000000001", "SystemModstamp": "2026-06-01T00:00:00.000+0000"}]}
    server.fail("answer", "GET .*/query", reply=Reply(200, page), times=50)
    with pytest.raises(CrmUnavailable, match="lead back"):
        list(crm.extract("owners", None))
    server.heal()
    server.fail("answer", "GET .*/query", reply=Reply(200, page | {"done": True, "nextRecordsUrl": None}))
    with pytest.raises(CrmUnavailable, match="found 9 records, showed 1 of them"):
        list(crm.extract("owners", None))
