"""What the CRM should know about contacts and accounts. Source of the fields: section 7.1 of the specification.

Frames in, plain records out, under our own field names; which of them differ is ``sync``'s business.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

_NOT_SIGNALS = frozenset({"fit_multiplier", "cap", "rounding"})


def contact_fields(users: pl.DataFrame, top_signals: int) -> dict[str, dict[str, Any]]:
    """Our fields of every contact that has a user.

    Args:
        users: Scored users with `contact_id`. Of several with one contact, the one with the highest score speaks for
            it, then the smallest id.
        top_signals: How many of the strongest signals are told.

    Returns:
        By contact id; None is unknown.
    """
    speaking = (
        users.filter(pl.col("contact_id").is_not_null())
        .sort("pql_score", "user_id", descending=[True, False])
        .unique("contact_id", keep="first", maintain_order=True)
    )
    return {
        row["contact_id"]: {
            "pql_score": row["pql_score"],
            "pql_classification": row["classification"],
            "last_active": _day(row["last_active_at"]),
            "features_used": row["features_used"],
            "activation_status": row["activation_stage"],
            "activation_milestones": _reached(row["milestones"]),
            "usage_tier": row["usage_tier"],
            "pls_segment": row["segment"],
            "pls_motion": row["motion"],
            "pls_top_signals": _strongest(row["explanation"], top_signals),
            "pls_scored_at": _moment(row["as_of"]),
        }
        for row in speaking.iter_rows(named=True)
    }


def account_fields(accounts: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Our fields of every account that the CRM knows (`in_crm`), by account id."""
    return {
        row["account_id"]: {
            "pqa_score": row["pqa_score"],
            "pqa_quadrant": row["quadrant"],
            "pls_segment": row["segment"],
            "active_users_30d": row["active_users_30d"],
            "pls_scored_at": _moment(row["as_of"]),
        }
        for row in accounts.filter("in_crm").iter_rows(named=True)
    }


def _reached(milestones: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Name and date; None is unknown, which is something else than none reached."""
    if milestones is None:
        return None
    return [{"name": reached["name"], "date": _day(reached["reached_at"])} for reached in milestones]


def _strongest(explanation: Sequence[Mapping[str, Any]] | None, count: int) -> list[str] | None:
    """`signal: value` of what adds most to the score; what adds nothing is not told. None is unknown."""
    if explanation is None:
        return None
    adding = [entry for entry in explanation if entry["signal"] not in _NOT_SIGNALS and entry["contribution"] > 0]
    adding.sort(key=lambda entry: (-entry["contribution"], entry["signal"]))
    return [f"{entry['signal']}: {entry['value']}" for entry in adding[:count]]


def _day(moment: datetime | None) -> str | None:
    return moment.date().isoformat() if moment else None


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds") + "Z"
