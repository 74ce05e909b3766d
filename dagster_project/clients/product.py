"""The product, or the customer data platform before it, as Segment's HTTP API: traits in identify and group calls.

Facts used (Segment's reference of the HTTP tracking API): `POST /v1/batch` takes up to 500 KB in `batch`, each call up
to 32 KB; the write key is the user of Basic authentication; `messageId` tells a call that arrives twice; a group call
needs a `userId` or an `anonymousId` beside its `groupId`.
"""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from dagster_project.clients.crm import CrmRefused, Receipt
from dagster_project.clients.crm_values import crm_errors
from dagster_project.clients.http import Clock, HttpApi, RetryPolicy
from dagster_project.core.sync import FieldUpdate

BATCH_PATH = "/v1/batch"


class Product:
    """What traits are sent to; a `Destination` of `field_plans.py` whose object types are `user` and `account`.

    Args:
        url: PLS_PRODUCT_URL: the address, with or without `/v1/batch`.
        write_key: Who we are; None where the address asks for none.
        now: The time, naive UTC.
        clock: What waiting is measured in.
        policy: Timeouts and retries.

    Raises:
        EndpointRefused: The address is neither https nor this machine.
    """

    name = "product"
    max_batch = 100

    def __init__(
        self,
        url: str,
        write_key: str | None,
        *,
        now: Callable[[], datetime],
        clock: Clock | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        base = url.rstrip("/")
        self._path = "" if base.endswith("/batch") else BATCH_PATH
        key = base64.b64encode(f"{write_key}:".encode()).decode()
        headers = {"Authorization": f"Basic {key}"} if write_key else {}
        secrets = [write_key, key] if write_key else []
        self._api = HttpApi(base, authorize=lambda: headers, secrets=lambda: secrets, clock=clock, policy=policy)
        self._now = now

    def update(self, object_type: str, updates: Sequence[FieldUpdate]) -> list[Receipt]:
        """Send traits, all of them in one request; sent twice, a call is known by its `messageId`.

        Raises:
            CrmRefused: The batch was not taken, whatever the status.
            CrmUnavailable: Nobody knows, or there is no room; the same again does no harm.
        """
        sent_at = self._now().replace(tzinfo=UTC).isoformat(timespec="milliseconds")
        calls = [_call(object_type, update, sent_at) for update in updates]
        with crm_errors():
            answer = self._api.request("POST", self._path, body={"batch": calls, "sentAt": sent_at})
        if isinstance(answer.body, dict) and answer.body.get("success") is False:
            raise CrmRefused(f"status {answer.status}: {json.dumps(answer.body)[:500]}")
        return [Receipt(update.object_id) for update in updates]

    def read(self, object_type: str, ids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Nothing: traits can be sent and not be read."""
        return {}


def _call(object_type: str, update: FieldUpdate, sent_at: str) -> dict[str, Any]:
    who = (
        {"type": "identify", "userId": update.object_id}
        if object_type == "user"
        else {"type": "group", "groupId": update.object_id, "anonymousId": f"account:{update.object_id}"}
    )
    traits = {name: _decoded(value) if name == "custom_fields" else value for name, value in update.fields.items()}
    return {**who, "messageId": update.delivery_id, "timestamp": sent_at, "traits": traits}


def _decoded(value: Any) -> Any:
    """Custom fields as the object that they are; a text that is none stays one."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
