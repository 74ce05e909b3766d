"""What is kept of every call: who asked what, and what came of it. Never a secret."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

from dagster_project.ledger import Ledger

Decision = Literal["answered", "planned", "written", "refused", "failed"]
HIDDEN = "(hidden)"
_SECRET_NAMES = frozenset({"token"})
_SECRETS = re.compile(
    r"xox[a-z]-[\w-]+|\bBearer\s+\S+|\beyJ[\w-]+\.[\w-]+\.[\w-]*|\b(?:sk|pat|ghp|gho|glpat)[-_][\w-]{12,}|"
    r"https://hooks\.slack\.com/\S+",
    re.IGNORECASE,
)
_LONGEST = 2000
"""Characters of arguments that are kept."""


@dataclass(frozen=True)
class Call:
    """One call of a tool and what came of it.

    Attributes:
        tool: As it was asked for.
        arguments: As they came.
        known: The arguments that the tool has; what else came is kept by name only.
        decision: What was decided.
        reason: Why it was refused or failed; what was planned or written.
        result_bytes: Of the answer, as JSON.
        milliseconds: How long it took.
        delivery_id: What was sent elsewhere.
    """

    tool: str
    arguments: Mapping[str, Any]
    known: Collection[str]
    decision: Decision
    reason: str | None
    result_bytes: int
    milliseconds: float
    delivery_id: str | None = None


def keep(ledger: Ledger, call: Call, *, who: str, at: datetime) -> None:
    """Write a call into the ledger.

    Args:
        ledger: The ledger.
        call: The call.
        who: Whoever asked.
        at: When, naive UTC.
    """
    ledger.keep_tool_call(
        {
            "call_id": f"tc_{uuid4().hex[:16]}",
            "called_at": at,
            "asked_by": who,
            "tool": without_secrets(call.tool)[:100],
            "arguments": _arguments(call),
            "decision": call.decision,
            "reason": without_secrets(call.reason) if call.reason else None,
            "result_bytes": call.result_bytes,
            "milliseconds": round(call.milliseconds, 1),
            "delivery_id": call.delivery_id,
        }
    )


def without_secrets(text: str) -> str:
    """A text in which what looks like a token stands no more."""
    return _SECRETS.sub(HIDDEN, text)


def _arguments(call: Call) -> str:
    shown = {
        name: value if name in call.known and name not in _SECRET_NAMES else HIDDEN
        for name, value in call.arguments.items()
    }
    text = without_secrets(json.dumps(shown, ensure_ascii=False, default=str))
    return text if len(text) <= _LONGEST else json.dumps({"cut": text[:_LONGEST]}, ensure_ascii=False)
