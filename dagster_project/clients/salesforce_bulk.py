"""Large sets of updates through Salesforce's Bulk API 2.0: a CSV goes up, a job works on it, three CSVs come back.

Facts: a job is created, filled, closed with `UploadComplete`, and asked after until it is done; results tell the `Id`
of each row; an empty cell leaves a field alone.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from dagster_project.clients.crm import CrmNotDone, CrmRefused, CrmUnknown, Receipt
from dagster_project.clients.http import words_of
from dagster_project.clients.salesforce_api import SalesforceApi, object_of

_LONGEST_PAUSE = 20.0
_PATIENCE = 600.0
"""Seconds that a job may take before it is stopped: others wait for their turn on the data folder as long."""
_PARTING = 60.0
"""Seconds that a job may take to stop."""
_OPEN, _CLOSED, _ABORTED = "Open", "UploadComplete", "Aborted"
_OVER = ("JobComplete", "Failed", _ABORTED)


def update_in_bulk(
    api: SalesforceApi, kind: str, rows: Sequence[Mapping[str, Any]], *, is_retryable: frozenset[str]
) -> tuple[list[Receipt], bool]:
    """Update records.

    Args:
        api: The org.
        kind: The sObject.
        rows: Fields by Salesforce's name, `Id` among them.
        is_retryable: Codes of errors that may be gone next time.

    Returns:
        One receipt per row that the job says something about, and whether it had to be stopped.

    Raises:
        CrmRefused: The job took nothing.
        CrmNotDone: It is not over after ten minutes, and does not stop.
    """
    job = {"object": kind, "operation": "update", "contentType": "CSV", "lineEnding": "LF"}
    job_id = object_of(api.request("POST", "/jobs/ingest", body=job).body, "which job was made", "id")["id"]
    path = f"/jobs/ingest/{job_id}"
    api.request("PUT", f"{path}/batches", data=_csv(rows), content_type="text/csv")
    api.request("PATCH", path, body={"state": _CLOSED})
    state = _wait(api, path)
    receipts = [Receipt(_id_of(row)) for row in _results(api, path, "successfulResults")]
    for row in _results(api, path, "failedResults"):
        words = row.get("sf__Error") or "UNKNOWN_EXCEPTION: no reason was given"
        receipts.append(Receipt(_id_of(row), words, is_retryable=words.partition(":")[0] in is_retryable))
    why = state.get("errorMessage")
    if state.get("state") == "Failed" and not receipts:
        raise CrmRefused(f"the bulk job of {len(rows)} {kind} records failed: {why}")
    words = "the job ended before its turn" + (f": {why}" if why else "")
    unprocessed = _results(api, path, "unprocessedrecords")
    receipts += [Receipt(_id_of(row), words, is_retryable=True) for row in unprocessed]
    return receipts, state["state"] == _ABORTED


def _wait(api: SalesforceApi, path: str) -> Mapping[str, Any]:
    """The job once it is over. One that takes too long is stopped: what it has done by then counts."""
    until, pause, is_stopped = api.clock.now() + _PATIENCE, 1.0, False
    while True:
        job = object_of(api.request("GET", path).body, "how the job stands", "state")
        if job["state"] in _OVER:
            return job
        if api.clock.now() > until:
            if is_stopped:
                raise CrmNotDone(f"the bulk job {job.get('id')} is {job['state']} and does not stop")
            _put_into(api, path, _ABORTED)
            until, is_stopped = api.clock.now() + _PARTING, True
        elif job["state"] == _OPEN and not is_stopped:  # that it was closed did not arrive
            _put_into(api, path, _CLOSED)
        api.clock.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _put_into(api: SalesforceApi, path: str, state: str) -> None:
    """Ask for a job's next state. It may have gone on meanwhile; the next look tells."""
    with suppress(CrmRefused):
        api.request("PATCH", path, body={"state": state})


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    names = ["Id", *sorted({name for row in rows for name in row if name != "Id"})]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """A value; what stands for none has a word of its own, because an empty cell leaves a field alone."""
    if value is None:
        return "#N/A"
    return str(value).lower() if isinstance(value, bool) else value


def _results(api: SalesforceApi, path: str, which: str) -> list[dict[str, str]]:
    text = api.request("GET", f"{path}/{which}").body
    if text is not None and not isinstance(text, str):
        raise CrmUnknown(f"Salesforce's answer does not say the {which} of a bulk job: {words_of(text)}")
    return list(csv.DictReader(io.StringIO(text))) if text else []


def _id_of(row: Mapping[str, str]) -> str:
    """Of whom a row of results speaks: our column, else theirs, which is empty where nothing was found."""
    return row.get("Id") or row.get("sf__Id") or ""
