"""A product on this machine that takes Segment's batches: it keeps traits, and knows a call that arrives twice."""

import base64
from typing import Any

from loopback import Asked, Loopback, Reply

WRITE_KEY = "wk-secret"


class ProductServer(Loopback):
    """What Segment documents of its batch endpoint.

    Attributes:
        traits: By `userId` or `groupId`, what was said last.
        repeated: How many calls came twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.traits: dict[str, dict[str, Any]] = {}
        self.seen: set[str] = set()
        self.repeated = 0

    def answer(self, asked: Asked) -> Reply:
        key = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
        if asked.headers.get("Authorization") != f"Basic {key}":
            return Reply(401, {"success": False, "message": "unknown write key"})
        if asked.line != "POST /v1/batch" or len(asked.body["batch"]) > 100:
            return Reply(400, {"success": False, "message": "no such thing"})
        if any("poison" in str(call["traits"]) for call in asked.body["batch"]):
            return Reply(200, {"success": False, "message": "a trait is not allowed"})
        for call in asked.body["batch"]:
            who = call["userId"] if call["type"] == "identify" else call["groupId"]
            if call["type"] == "group" and not call.get("anonymousId"):
                return Reply(400, {"success": False, "message": "a group call needs somebody"})
            if call["messageId"] in self.seen:
                self.repeated += 1
                continue
            self.seen.add(call["messageId"])
            self.traits.setdefault(who, {}).update(call["traits"])
        return Reply(200, {"success": True})
