"""A small world for stories: companies, people and what they do, written as the files that an installation is fed with.

Every story has a company of its own, named by its slug; moments are days of June 2026.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

FIRST = datetime(2026, 6, 20, 18)
SECOND = datetime(2026, 6, 22, 18)
THIRD = datetime(2026, 6, 23, 18)
STALE = datetime(2026, 7, 1, 18)
"""The runs. The CRM is delivered on the day of the first and never again: by the last it is too old to act on."""
RUNS = (FIRST, SECOND, THIRD, STALE)
WORK = (
    "Dashboard Created",
    "Report Exported",
    "Project Created",
    "Task Completed",
    "Alert Configured",
    "Search Performed",
)
OWNERS = (
    ("o_ae", "ae", True), ("o_sdr", "sdr", True), ("o_esdr", "enterprise_sdr", True), ("o_csm", "csm", True),
    ("o_sales", "sales", True), ("o_mine", "csm", True), ("o_gone", "ae", False), ("o_busy", "sdr", True),
)  # fmt: skip
Rows = list[dict[str, Any]]


def day(number: int, hour: int = 9) -> datetime:
    """A moment of June 2026; a day below 1 is one of May."""
    return datetime(2026, 6, 1, hour) + timedelta(days=number - 1)


def midnight_after(run: datetime) -> datetime:
    """When a run is made: its day is over."""
    return run.replace(hour=0) + timedelta(days=1)


@dataclass
class World:
    """What has been told so far.

    Attributes:
        events: All events.
        crm: The rows of each entity.
        suppressed: Rows of the suppression list.
        accounts_later: Accounts that the CRM gets to know after the second run.
    """

    events: Rows = field(default_factory=list)
    crm: dict[str, Rows] = field(
        default_factory=lambda: {"accounts": [], "contacts": [], "opportunities": [], "tickets": []}
    )
    suppressed: Rows = field(default_factory=list)
    accounts_later: Rows = field(default_factory=list)

    def company(self, slug: str, *, is_known_later: bool = False, **said: Any) -> None:
        """An account of the CRM; 240 employees unless said differently."""
        known = {"account_id": f"A-{slug}", "name": slug.title(), "domain": f"{slug}.com", "employee_count": 240}
        accounts = self.accounts_later if is_known_later else self.crm["accounts"]
        accounts.append({**known, "do_not_contact": False, "account_tier": "C", **said})

    def person(self, slug: str, name: str = "ann", *, since: int = 18, known_to_crm: bool = True, **said: Any) -> str:
        """Somebody of a company, first heard of on a day, by default a contact of the CRM too; their user id."""
        user_id, email = f"{slug}-{name}", f"{name}@{slug}.com"
        self._say(user_id, day(since, 7), type="identify", traits={"email": email, "name": name.title()})
        if known_to_crm:
            contact = {"contact_id": f"C-{user_id}", "email": email, "name": name.title(), "account_id": f"A-{slug}"}
            self.crm["contacts"].append({**contact, "email_opt_out": False, "do_not_contact": False, **said})
        return user_id

    def opportunity(self, slug: str, **said: Any) -> None:
        row = {"opportunity_id": f"O-{slug}", "account_id": f"A-{slug}", "created_at": "2026-05-01", "is_closed": False}
        self.crm["opportunities"].append({**row, **said})

    def ticket(self, user_id: str, number: int, status: str = "open") -> None:
        created = {"ticket_id": f"T-{user_id}-{number}", "created_at": f"{day(number):%Y-%m-%dT%H:%M:%SZ}"}
        self.crm["tickets"].append({**created, "contact_id": f"C-{user_id}", "category": "limits", "status": status})

    def does(self, user_id: str, event: str, on: int, hour: int = 9, **properties: Any) -> None:
        """A track event."""
        self._say(user_id, day(on, hour), event=event, properties=properties)

    def looks_at_pricing(self, user_id: str, on: int, hour: int = 9) -> None:
        """One session with the pricing page."""
        self._say(user_id, day(on, hour), type="page", name="Pricing", session_id=f"{user_id}-price-{on}-{hour}")

    def visits(self, user_id: str, on: int, hour: int = 9) -> None:
        """A short session."""
        self._say(user_id, day(on, hour), event="Search Performed", session_id=f"{user_id}-{on}-{hour}")

    def works(self, user_id: str, on: int, days: int = 2) -> None:
        """So much that the usage score is 100: three long sessions a day, six features, eighteen actions."""
        for number in range(on, on + days):
            for hour in (8, 11, 14):
                for step, event in enumerate(WORK):
                    at = day(number, hour) + timedelta(minutes=8 * step)
                    self._say(user_id, at, event=event, session_id=f"{user_id}-{number}-{hour}")

    def rolls_out(self, user_id: str, on: int) -> None:
        """So much that the engagement score is 100: teammates, integrations, own data, all of the set-up."""
        for number in range(3):
            self.does(user_id, "Team Member Invited", on, 8 + number)
        for tool in ("slack", "github"):
            self.does(user_id, "Integration Connected", on, 12, integration=tool)
        self.does(user_id, "Data Imported", on, 12, status="complete")
        for step in ("Workspace Created", "Profile Completed", "Teammate Added", "Integration Configured"):
            self.does(user_id, step, on, 13)

    def gets_hot(self, user_id: str, on: int, days: int = 2) -> None:
        """A mid-market score of 84: all of usage and engagement, no intent."""
        self.works(user_id, on, days)
        self.rolls_out(user_id, on)

    def _say(self, user_id: str, at: datetime, **said: Any) -> None:
        number = len(self.events)
        moment = f"{at:%Y-%m-%dT%H:%M:%S}Z"
        self.events.append(
            {"type": "track", **said, "message_id": f"m{number}", "user_id": user_id, "timestamp": moment}
        )

    def deliver(self, landing: Path) -> None:
        """Write the CRM's files and those events that have happened before the first run."""
        owners = [{"owner_id": o, "name": o, "team": team, "is_active": active} for o, team, active in OWNERS]
        for entity, rows in {**self.crm, "owners": owners}.items():
            _write(landing / f"crm/{entity}.ndjson", rows)
        _write(landing / "suppression.ndjson", self.suppressed)
        self.deliver_events(landing, FIRST, since=datetime.min)

    def deliver_later(self, landing: Path) -> None:
        """Write the accounts again, with those that the CRM has got to know."""
        _write(landing / "crm/accounts.ndjson", [*self.crm["accounts"], *self.accounts_later])

    def deliver_events(self, landing: Path, until: datetime, *, since: datetime) -> None:
        """Write the events of a stretch of time, up to the end of its last day."""
        rows = [row for row in self.events if since < _moment(row) <= until.replace(hour=23, minute=59)]
        _write(landing / f"events/{until:%Y-%m-%d}.ndjson", rows)


def _moment(row: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(row["timestamp"].rstrip("Z"))


def _write(path: Path, rows: Rows) -> None:
    """A file that was delivered on the day of the first run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    at = FIRST.replace(tzinfo=UTC).timestamp()
    os.utime(path, (at, at))
