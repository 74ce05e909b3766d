"""Answers in the shapes that Salesforce and HubSpot give: keys, types, statuses and codes are facts, values are ours.

Where the shapes are from (each test names one):
    restforce       github.com/restforce/restforce, spec/fixtures (MIT)
    simple          github.com/simple-salesforce/simple-salesforce, simple_salesforce/tests (Apache-2.0)
    jsforce         github.com/jsforce/jsforce, src/api/bulk2.ts (MIT)
    REST, Bulk 2.0  Salesforce's REST API and Bulk API 2.0 developer guides
    hubspot-python  github.com/HubSpot/hubspot-api-python, hubspot/crm/*/models (Apache-2.0)
    HubSpot docs    developers.hubspot.com: error handling, usage guidelines
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crm_rigs import CALM, SPECS
from hubspot_server import TOKEN, HubSpotServer
from loopback import Loopback, Reply
from salesforce_server import CLIENT_ID, SECRET, SalesforceServer

from dagster_project.clients import hubspot, salesforce
from dagster_project.clients.crm import CrmClient, CrmDenied, CrmRefused, CrmUnavailable, Receipt, Task
from dagster_project.core.sync import FieldUpdate
from dagster_project.playbook_files import read_playbook

RULES = read_playbook(None).crm_sources
TASK = Task("k_1", "Call Ann", "She asked for it")
COLLECTION, TASKS = "PATCH .*/composite/sobjects$", "PATCH .*/sobjects/Task/"
JOB = {
    "id": "750000000000001", "operation": "update", "object": "Contact", "createdById": "005000000000001",
    "createdDate": "2026-06-01T10:00:00.000+0000", "systemModstamp": "2026-06-01T10:00:00.000+0000",
    "concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": 67.0, "jobType": "V2Ingest",
    "lineEnding": "LF", "columnDelimiter": "COMMA", "retries": 0, "totalProcessingTime": 0,
    "apiActiveProcessingTime": 0, "apexProcessingTime": 0, "numberRecordsProcessed": 0, "numberRecordsFailed": 0,
}  # fmt: skip


@pytest.fixture
def org() -> Iterator[SalesforceServer]:
    with SalesforceServer() as server:
        yield server


@pytest.fixture
def account() -> Iterator[HubSpotServer]:
    with HubSpotServer() as server:
        yield server


def on_salesforce(org: SalesforceServer) -> salesforce.Salesforce:
    said = {"BASE_URL": org.base_url, "CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": SECRET}
    variables = {f"PLS_SALESFORCE_{name}": value for name, value in said.items()}
    crm = salesforce.connect(variables, RULES, clock=org.clock, policy=CALM)
    crm.create_fields("contact", SPECS)
    return crm


def on_hubspot(account: HubSpotServer) -> hubspot.HubSpot:
    variables = {"PLS_HUBSPOT_TOKEN": TOKEN, "PLS_HUBSPOT_BASE_URL": account.base_url}
    crm = hubspot.connect(variables, RULES, clock=account.clock, policy=CALM)
    crm.create_fields("contact", SPECS)
    return crm


def update(object_id: str, create: dict[str, Any] | None = None, **fields: Any) -> FieldUpdate:
    return FieldUpdate(object_id, fields or {"pql_score": 1}, "fingerprint", create)


def failing(server: Loopback, line: str, status: int, body: Any, times: int = 1, **headers: str) -> None:
    server.fail("answer", line, times=times, reply=Reply(status, body, headers))


# Salesforce


def test_each_record_of_a_collection_has_its_own_errors(org: SalesforceServer) -> None:
    """REST, sObject Collections: success, statusCode, message, fields."""
    crm = on_salesforce(org)
    ids = [org.add("Contact") for _ in range(4)]
    duplicate = {"statusCode": "DUPLICATES_DETECTED", "message": "Use one of these records?", "fields": []}
    locked = {"statusCode": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access", "fields": []}
    required = {"statusCode": "REQUIRED_FIELD_MISSING", "message": "Required: [LastName]", "fields": ["LastName"]}
    results: list[dict[str, Any]] = [{"id": ids[0], "success": True, "errors": []}]
    results += [{"success": False, "errors": errors} for errors in ([duplicate], [locked], [locked, required])]
    failing(org, COLLECTION, 200, results)
    assert crm.update("contact", [update(object_id) for object_id in ids]) == [
        Receipt(ids[0]),
        Receipt(ids[1], "DUPLICATES_DETECTED: Use one of these records?"),
        Receipt(ids[2], "UNABLE_TO_LOCK_ROW: unable to obtain exclusive access", is_retryable=True),
        Receipt(ids[3], "UNABLE_TO_LOCK_ROW: unable to obtain exclusive access; "
                "REQUIRED_FIELD_MISSING: Required: [LastName]"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "words", "is_retryable"),
    [
        (400, [{"message": "busy", "errorCode": "UNABLE_TO_LOCK_ROW"}], "UNABLE_TO_LOCK_ROW: busy", True),
        (400, [{"errorCode": "DUPLICATES_DETECTED", "message": "there", "duplicateResut": {"matchResults": []}}],
         "DUPLICATES_DETECTED: there", False),
        (400, [{"message": "bad id", "errorCode": "FIELD_INTEGRITY_EXCEPTION", "fields": ["WhoId"]}],
         "FIELD_INTEGRITY_EXCEPTION: bad id", False),
        (300, ["/services/data/v67.0/sobjects/Task/00T1", "/services/data/v67.0/sobjects/Task/00T2"],
         "status 300", False),
    ],
)  # fmt: skip
def test_a_refusal_of_one_record_is_final_unless_it_is_of_a_moment(
    org: SalesforceServer, status: int, body: Any, words: str, is_retryable: bool
) -> None:
    """REST, status codes and error responses; restforce upsert_multiple_error_response, write_error_response."""
    failing(org, TASKS, status, body)
    receipt = on_salesforce(org).create_task(TASK)
    assert words in str(receipt.error) and receipt.is_retryable == is_retryable


def test_an_expired_session_is_begun_anew(org: SalesforceServer) -> None:
    """restforce expired_session_response."""
    crm = on_salesforce(org)
    failing(org, COLLECTION, 401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])
    ann = org.add("Contact")
    org.asked.clear()
    assert crm.update("contact", [update(ann)]) == [Receipt(ann)]
    assert len(org.lines("oauth2/token")) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(403, [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]),
        Reply(503, [{"message": "busy", "errorCode": "SERVER_UNAVAILABLE"}]),
        Reply(503, "<html>maintenance</html>", content_type="text/html"),
    ],
)
def test_no_room_is_no_refusal(org: SalesforceServer, reply: Reply) -> None:
    """REST, status codes and error responses."""
    crm = on_salesforce(org)
    org.fail("answer", COLLECTION, times=9, reply=reply)
    with pytest.raises(CrmUnavailable):
        crm.update("contact", [update(org.add("Contact"))])


@pytest.mark.parametrize("body", [
    {"error": "invalid_grant", "error_description": "authentication failure"},
    {"error": "invalid_client_id", "error_description": "client identifier invalid"},
])  # fmt: skip
@pytest.mark.parametrize("status", [400, 401])
def test_a_sign_in_that_is_refused_says_why_and_is_not_repeated(
    org: SalesforceServer, body: dict[str, str], status: int
) -> None:
    """restforce auth_error_response, refresh_error_response."""
    failing(org, "oauth2/token", status, body)
    with pytest.raises(CrmDenied, match=body["error_description"]) as error:
        on_salesforce(org)
    assert len(org.asked) == 1 and SECRET not in str(error.value)


@pytest.mark.parametrize("said", [
    "api-usage=4999/5000",
    "api-usage=4999/5000; per-app-api-usage=17/250(appName=ours)",
    "per-app-api-usage=17/250(appName=ours); api-usage=4999/5000",
])  # fmt: skip
def test_the_days_limit_is_read_beside_that_of_an_app(org: SalesforceServer, said: str) -> None:
    """simple test_api: Sforce-Limit-Info."""
    crm = on_salesforce(org)
    failing(org, "/query", 200, {"totalSize": 0, "done": True, "records": []}, **{"Sforce-Limit-Info": said})
    assert crm.find_tasks(["k_1"]) == {}
    with pytest.raises(CrmUnavailable, match="1 of the day's 5000 requests are left"):
        crm.find_tasks(["k_1"])


def test_pages_follow_their_address_whatever_version_is_in_it(org: SalesforceServer) -> None:
    """restforce query_paginated_first_page_response, query_paginated_last_page_response."""
    crm = on_salesforce(org)
    address = "/services/data/v66.0/query/01g000000000001-2000"
    pages = [[{"attributes": {"type": "Task", "url": "/services/data/v66.0/sobjects/Task/00T1"}, "Id": "00T1",
               "pls_key__c": key, "IsClosed": False, "pls_outcome__c": None}] for key in ("k_1", "k_2")]  # fmt: skip
    failing(org, "/query$", 200, {"totalSize": 2, "done": False, "nextRecordsUrl": address, "records": pages[0]})
    failing(org, f"GET {address}$", 200, {"totalSize": 2, "done": True, "records": pages[1]})
    assert set(crm.find_tasks(["k_1", "k_2"])) == {"k_1", "k_2"}


def in_bulk(org: SalesforceServer, state: dict[str, Any], successful: str, failed: str, unprocessed: str) -> None:
    """Script a job that ends so."""
    failing(org, "POST .*/jobs/ingest$", 200, JOB | {"state": "Open", "contentUrl": "services/data/v67.0/jobs/ingest"})
    failing(org, "PUT .*/batches$", 201, None)
    failing(org, "PATCH .*/jobs/ingest/", 200, JOB | {"state": "UploadComplete"})
    failing(org, "GET .*/jobs/ingest/[^/]+$", 200, JOB | {"state": "InProgress"})
    failing(org, "GET .*/jobs/ingest/[^/]+$", 200, JOB | state)
    texts = {"successfulResults": successful, "failedResults": failed, "unprocessedrecords": unprocessed}
    for which, text in texts.items():
        reply = Reply(200 if text else 204, text or None, content_type="text/csv")
        org.fail("answer", f"GET .*/{which}$", reply=reply)


def test_a_bulk_job_tells_of_each_row(org: SalesforceServer) -> None:
    """jsforce and simple test_bulk2: job states, sf__Id, sf__Created, sf__Error; restforce failed_results."""
    crm = on_salesforce(org)
    crm.bulk_from = 2
    ids = [org.add("Contact") for _ in range(4)]
    in_bulk(
        org,
        {"state": "JobComplete", "numberRecordsProcessed": 4, "numberRecordsFailed": 3},
        f'"sf__Id","sf__Created","Id","pql_score__c"\n"{ids[0]}","false","{ids[0]}","1"\n',
        f'"sf__Id","sf__Error","Id","pql_score__c"\n"{ids[1]}","UNABLE_TO_LOCK_ROW:busy:--","{ids[1]}","1"\n'
        f'"","UNABLE_TO_LOCK_ROW","{ids[2]}","1"\n'
        f'"","FIELD_CUSTOM_VALIDATION_EXCEPTION:Zu groß, ""sagt"" die Regel:pql_score__c --","{ids[3]}","1"\n',
        "",
    )
    assert crm.update("contact", [update(object_id) for object_id in ids]) == [
        Receipt(ids[0]),
        Receipt(ids[1], "UNABLE_TO_LOCK_ROW:busy:--", is_retryable=True),
        Receipt(ids[2], "UNABLE_TO_LOCK_ROW", is_retryable=True),
        Receipt(ids[3], 'FIELD_CUSTOM_VALIDATION_EXCEPTION:Zu groß, "sagt" die Regel:pql_score__c --'),
    ]


def test_a_job_that_was_stopped_says_so_of_what_it_did_not_get_to(org: SalesforceServer) -> None:
    """Bulk 2.0: Aborted; unprocessedrecords has the columns that were sent."""
    crm = on_salesforce(org)
    crm.bulk_from = 2
    ids = [org.add("Contact") for _ in range(2)]
    done = f'"sf__Id","sf__Created","Id","pql_score__c"\n"{ids[0]}","false","{ids[0]}","1"\n'
    in_bulk(org, {"state": "Aborted"}, done, "", f'"Id","pql_score__c"\n"{ids[1]}","1"\n')
    assert crm.update("contact", [update(object_id) for object_id in ids]) == [
        Receipt(ids[0]),
        Receipt(ids[1], "the job ended before its turn", is_retryable=True),
    ]


def test_a_job_that_is_refused_as_a_whole_goes_as_collections_which_say_why(org: SalesforceServer) -> None:
    """Bulk 2.0: a Failed job with an errorMessage, such as one about its header."""
    crm = on_salesforce(org)
    crm.bulk_from = 2
    ids = [org.add("Contact") for _ in range(2)]
    rows = "".join(f'"{object_id}","1"\n' for object_id in ids)
    why = "InvalidBatch : Field name not found : nothing__c"
    in_bulk(org, {"state": "Failed", "errorMessage": why}, "", "", f'"Id","nothing__c"\n{rows}')
    receipts = crm.update("contact", [update(ids[0], pql_score=1), update(ids[1], nothing=1)])
    assert receipts[0] == Receipt(ids[0])
    assert "No such column 'nothing__c'" in str(receipts[1].error) and not receipts[1].is_retryable


# HubSpot


def answered(crm: CrmClient, account: HubSpotServer, status: int, errors: list[dict[str, Any]]) -> list[Receipt]:
    """What becomes of two records when HubSpot takes the first and says this of the second."""
    ann, bob = account.add("contacts", email="ann@acme.com"), account.add("contacts", email="bob@acme.com")
    moments = dict.fromkeys(("requestedAt", "startedAt", "completedAt"), "2026-06-01T10:00:00.000Z")
    taken = {"id": ann, "properties": {"pql_score": "1"}, "createdAt": "2026-06-01T10:00:00Z", "archived": False}
    said = [
        {
            **error,
            "context": {
                name: [bob if one == "bob" else one for one in value] for name, value in error["context"].items()
            },
        }
        for error in errors
    ]
    body = {"status": "COMPLETE", "results": [taken], "numErrors": len(errors), "errors": said, "links": {}, **moments}
    failing(account, "batch/update", status, body)
    return [
        Receipt(receipt.object_id == ann and "ann" or "bob", receipt.error, receipt.is_retryable)
        for receipt in crm.update("contact", [update(ann), update(bob)])
    ]


@pytest.mark.parametrize("status", [200, 207])
@pytest.mark.parametrize("context", [{"ids": ["bob"]}, {"id": ["bob"]}, {"objectWriteTraceId": ["bob"]}, {}])
def test_an_error_beside_results_is_that_of_its_record(
    account: HubSpotServer, status: int, context: dict[str, list[str]]
) -> None:
    """hubspot-python: BatchResponseSimplePublicObjectWithErrors, StandardError, ErrorDetail."""
    error = {
        "status": "error", "category": "VALIDATION_ERROR", "id": "7b1f0e1a-0000", "message": "was not valid",
        "subCategory": {}, "context": context, "links": {"knowledge": "https://knowledge.example"},
        "errors": [{"message": "was not valid", "code": "INVALID", "in": "pql_score", "context": {}}],
    }  # fmt: skip
    receipts = answered(on_hubspot(account), account, status, [error])
    assert receipts == [Receipt("ann"), Receipt("bob", "VALIDATION_ERROR: was not valid")]


@pytest.mark.parametrize("category", ["RATE_LIMITS", "INTERNAL_ERROR", "TIMEOUT"])
def test_an_error_of_a_moment_is_tried_again(account: HubSpotServer, category: str) -> None:
    """HubSpot docs: categories."""
    error = {"status": "error", "category": category, "message": "later", "context": {"ids": ["bob"]}}
    receipts = answered(on_hubspot(account), account, 207, [error])
    assert receipts[1] == Receipt("bob", f"{category}: later", is_retryable=True)


def test_a_batch_that_is_not_done_confirms_nothing(account: HubSpotServer) -> None:
    """hubspot-python: status is PENDING, PROCESSING, CANCELED or COMPLETE."""
    crm = on_hubspot(account)
    failing(account, "batch/update", 200, {"status": "CANCELED", "results": [], "links": {}})
    assert crm.update("contact", [update(account.add("contacts"))]) == []


@pytest.mark.parametrize(
    ("body", "pause"),
    [
        ({"status": "error", "message": "You have reached your ten_secondly_rolling limit.", "errorType": "RATE_LIMIT",
          "correlationId": "c", "policyName": "TEN_SECONDLY_ROLLING", "groupName": "publicapi"}, 10.0),
        ({"status": "error", "category": "RATE_LIMITS", "message": "You have reached your ten_secondly_rolling limit."},
         10.0),
        ({"status": "error", "category": "RATE_LIMITS", "message": "You have reached your secondly limit."}, 1.0),
        ({"status": "error", "message": "too many", "errorType": "RATE_LIMIT"}, 10.0),
    ],
)  # fmt: skip
def test_a_burst_that_was_too_fast_is_waited_out(account: HubSpotServer, body: dict[str, str], pause: float) -> None:
    """HubSpot docs: 429 with and without policyName."""
    crm = on_hubspot(account)
    failing(account, "batch/update", 429, body)
    ann = account.add("contacts", email="ann@acme.com")
    account.clock.slept.clear()
    assert crm.update("contact", [update(ann)]) == [Receipt(ann)]
    assert account.clock.slept == [pause]


@pytest.mark.parametrize(
    "body",
    [
        {"status": "error", "message": "You have reached your daily limit.", "policyName": "DAILY"},
        {"status": "error", "message": "You have reached your daily limit.", "category": "RATE_LIMITS"},
    ],
)
def test_a_day_that_is_used_up_is_not_waited_out(account: HubSpotServer, body: dict[str, str]) -> None:
    """HubSpot docs: 429 with and without policyName."""
    crm = on_hubspot(account)
    failing(account, "batch/update", 429, body, times=9)
    account.asked.clear()
    with pytest.raises(CrmUnavailable, match="daily limit"):
        crm.update("contact", [update(account.add("contacts"))])
    assert len(account.lines("batch/update")) == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"status": "error", "category": "EXPIRED_AUTHENTICATION", "message": "expired"}, CrmDenied),
        (403, {"status": "error", "category": "MISSING_SCOPES", "message": "more scopes", "correlationId": "c",
               "errors": [{"message": "one", "context": {"requiredGranularScopes": ["tickets"]}}], "links": {}},
         CrmDenied),
        (400, {"status": "error", "category": "VALIDATION_ERROR", "message": "Invalid input JSON"}, CrmRefused),
        (423, {"status": "error", "message": "locked"}, CrmUnavailable),
        (477, {"status": "error", "message": "migration in progress"}, CrmUnavailable),
        (502, "<html>bad gateway</html>", CrmUnavailable),
    ],
)  # fmt: skip
def test_what_an_error_means(account: HubSpotServer, status: int, body: Any, expected: Callable[..., Any]) -> None:
    """HubSpot docs: error handling."""
    crm = on_hubspot(account)
    failing(account, "batch/update", status, body, times=9)
    with pytest.raises(expected):  # type: ignore[call-overload]
        crm.update("contact", [update(account.add("contacts"))])
