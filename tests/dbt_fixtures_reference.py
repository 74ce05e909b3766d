"""The measurements of the specification's sections 2 and 3 once more: plain Python over all events at once.

Slow, obvious and without a rollup: the models are compared with it on random events.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

INTENT = (
    "pricing_page_view", "upgrade_click", "plan_comparison", "limit_support_contact", "invoice_download",
    "api_key_generated",
)  # fmt: skip
COUNTED = (*INTENT, "sales_request", "limit_hit", "seat_added", "upgrade_page_view")

Event = Mapping[str, Any]


@dataclass
class Catalogue:
    """The event catalogue as a person would read it."""

    rows: list[dict[str, str]]

    @classmethod
    def read(cls, path: Path) -> "Catalogue":
        with path.open() as file:
            return cls(list(csv.DictReader(file)))

    def rows_of(self, event: Event) -> list[dict[str, str]]:
        """Exact names before globs."""
        kind = {"track": "track", "page": "page", "screen": "page"}.get(event["type"])
        name = event.get("event") if kind == "track" else event.get("name")
        exact = [r for r in self.rows if r["match"] == kind and r["event_name"].lower() == (name or "").lower()]
        if exact or kind != "page":
            return exact
        path = (event.get("path") or "").lower()
        globs = [r for r in self.rows if r["match"] == "page_path"]
        return [r for r in globs if path and path.startswith(r["event_name"].lower().removesuffix("*"))]

    def steps(self) -> set[str]:
        return {r["event_name"] for r in self.rows if r["signal"] == "setup_step"}


@dataclass
class Person:
    """A user's events up to a moment, oldest first, and what they amount to."""

    as_of: datetime
    catalogue: Catalogue
    events: list[Event] = field(default_factory=list)

    def measures(self) -> dict[str, Any]:
        window = [e for e in self.events if self.as_of.date() - timedelta(days=30) < e["at"].date()]
        sessions = self._sessions(window)
        days = (self.as_of.date() - self.events[0]["at"].date()).days + 1
        observed = min(30, max(7, days))
        micros = sum(max((s[-1]["at"] - s[0]["at"]) / timedelta(microseconds=1), 60_000_000) for s in sessions)
        steps = {r["event_name"] for e in self.events for r in self.catalogue.rows_of(e) if r["signal"] == "setup_step"}
        statuses = [(e.get("status") or "").lower() for e in self._with("data_import", self.events)]
        pricing = [s for s in sessions if self._with("pricing_page_view", s)]
        return {
            "first_event_at": self.events[0]["at"],
            "last_active_at": self.events[-1]["at"],
            "days_observed": observed,
            "active_in_window": bool(window),
            "sessions": len(sessions),
            "sessions_per_week": len(sessions) * 7 / observed,
            "minutes_per_week": micros * 7 / (60_000_000 * observed),
            "features_used": sorted({f for e in window if (f := self._feature(e))}),
            "actions": sum(self._is_action(e) for e in window),
            "team_invites": len(self._with("team_invite", window)),
            "integrations": self._integrations(),
            "data_imported": self._import(statuses),
            "imports_failed": statuses.count("failed"),
            "setup_share": len(steps) / len(self.catalogue.steps()),
            "pricing_visits": len(pricing),
            **self._return(),
            **{signal: len(self._with(signal, window)) for signal in COUNTED},
        }

    def _return(self) -> dict[str, Any]:
        """The latest event thirty days or more after the one before."""
        days = sorted({e["at"].date() for e in self.events})
        pauses = [(before, day) for before, day in zip(days, days[1:], strict=False) if (day - before).days >= 30]
        before, day = pauses[-1] if pauses else (None, None)
        back = next((e["at"] for e in self.events if e["at"].date() == day), None)
        earlier = [day for day in days if (self.as_of.date() - day).days >= 14]
        return {
            "reactivated_at": back,
            "previous_active_day": before,
            "last_day_before_lately": max(earlier, default=None),
        }

    def _with(self, signal: str, events: Iterable[Event]) -> list[Event]:
        return [e for e in events if any(r["signal"] == signal for r in self.catalogue.rows_of(e))]

    def _feature(self, event: Event) -> str | None:
        if event["type"] not in ("track", "page", "screen"):
            return None
        return event.get("feature") or next((r["feature"] for r in self.catalogue.rows_of(event) if r["feature"]), None)

    def _is_action(self, event: Event) -> bool:
        rows = self.catalogue.rows_of(event)
        said = all(r["is_action"] == "true" for r in rows)
        return event["type"] == "track" and said and not any(r["signal"] in INTENT for r in rows)

    def _integrations(self) -> int:
        latest: dict[str, bool] = {}
        for event in self.events:
            for row in self.catalogue.rows_of(event):
                if row["signal"] in ("integration_connected", "integration_disconnected"):
                    latest[event.get("integration") or ""] = row["signal"] == "integration_connected"
        return sum(latest.values())

    def _import(self, statuses: list[str]) -> str:
        if "complete" in statuses:
            return "full"
        return "some" if any(s != "failed" for s in statuses) else "none"

    def _sessions(self, events: Iterable[Event]) -> list[list[Event]]:
        days: dict[Any, list[Event]] = defaultdict(list)
        for event in events:
            days[event["at"].date()].append(event)
        return [session for day in days.values() for session in self._sessions_of_day(day)]

    def _sessions_of_day(self, events: list[Event]) -> list[list[Event]]:
        by_id: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            if event.get("session_id"):
                by_id[event["session_id"]].append(event)
        if by_id:
            return list(by_id.values())
        sessions = [[events[0]]]
        for before, event in zip(events, events[1:], strict=False):
            if event["at"] - before["at"] > timedelta(minutes=30):
                sessions.append([])
            sessions[-1].append(event)
        return sessions


def people(
    events: Iterable[Event], *, as_of: datetime, known_until: datetime, catalogue: Catalogue
) -> dict[str, Person]:
    """Whose events are whose: anonymous ids belong to the user they were first identified with.

    Args:
        events: With `at` as datetime; one per message id.
        as_of: The moment to measure.
        known_until: The live moment, up to which identifications count.
        catalogue: What events mean.
    """
    ordered = sorted(events, key=lambda e: (e["at"], e["received_at"], e["message_id"]))
    owners: dict[str, str] = {}
    for event in ordered:
        says_who = event["type"] == "identify" or event.get("identifies")
        identifies = says_who and event.get("user_id") and event.get("anonymous_id")
        if identifies and event["at"] <= known_until:
            owners.setdefault(event["anonymous_id"], event["user_id"])
    found: dict[str, Person] = {}
    for event in ordered:
        user = event.get("user_id") or owners.get(event.get("anonymous_id") or "")
        if user and event["at"] <= as_of:
            found.setdefault(user, Person(as_of, catalogue)).events.append(event)
    return found
