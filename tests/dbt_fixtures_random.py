"""Random events and CRM extracts, near enough to each other that everything that can go together does."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from dbt_fixtures_reference import Catalogue

from dagster_project.settings import DBT_PROJECT_DIR

CATALOGUE = Catalogue.read(DBT_PROJECT_DIR / "seeds" / "event_catalog.csv")
FIRST_DAY = datetime(2026, 4, 20)
TRACKED = [r["event_name"] for r in CATALOGUE.rows if r["match"] == "track"] + ["Something Of Ours"]
PAGES = ["Pricing", "pricing", "Home", None, "Upgrade"]
PATHS = ["/pricing", "/Pricing/enterprise", "/docs", None, "/upgrade?from=limit"]


def random_event(chance: random.Random, number: int) -> dict:
    """Any type, any id, near in time to others, so that gaps of about half an hour happen."""
    user, anonymous = f"u{chance.randrange(10)}", f"a{chance.randrange(14)}"
    kind = chance.choices(["track", "page", "screen", "identify", "group"], [70, 15, 5, 6, 4])[0]
    at = FIRST_DAY + timedelta(days=int(71 * chance.random() ** 0.5), minutes=chance.choice([0, 30, 600, 1380]))
    at += timedelta(minutes=chance.randrange(0, 60), seconds=chance.choice([0, 0, 0, 1]))
    event = {
        "message_id": f"e{number}",
        "type": kind,
        "user_id": user if kind == "identify" or chance.random() < 0.5 else None,
        "anonymous_id": anonymous if kind == "identify" or chance.random() < 0.6 else None,
        "session_id": chance.choice([None, None, None, "s1", "s2"]),
        "group_id": chance.choice([None, "g1", "g2"]),
        "timestamp": str(at),
        "received_at": str(at + timedelta(minutes=chance.randrange(3))),
        "feature": chance.choice([None, None, "charts", "dashboards"]) if kind != "identify" else None,
    }
    if kind == "track":
        event["event"] = chance.choice([str.lower, str.upper, str])(chance.choice(TRACKED))
        event["integration"] = chance.choice([None, "slack", "hubspot"])
        event["status"] = chance.choice([None, "complete", "Failed", "partial"])
    elif kind in ("page", "screen"):
        event["name"] = chance.choice(PAGES)
        event["path"] = chance.choice(PATHS) if kind == "page" else None
    # Of a file whose rows say who somebody is whatever they are about.
    event["identifies"] = True if kind not in ("identify", "group") and chance.random() < 0.05 else None
    return event


def random_person(chance: random.Random, event: dict) -> dict:
    """An event that now and then says who somebody is."""
    if (event["type"] != "identify" and not event["identifies"]) or chance.random() < 0.2:
        return event
    host = chance.choice(["acme.com", "acme.com", "eu.acme.com", "beta.io", "gmail.com", "gmail.com", "ours.com"])
    traits = {"email": f"P{chance.randrange(8)}@{host}", "kind": chance.choice(["bot", *["person"] * 6, None])}
    return event | {"traits": {name: value for name, value in traits.items() if value}}


def random_extract(chance: random.Random, entity: str) -> Iterator[dict[str, Any]]:
    """Some of the records that there might be, each with something else about it every time."""
    dated = [f"2026-{month:02}-{day:02} 10:00:00" for month in (4, 5, 6) for day in (3, 14, 25)]
    for number in range(6):
        if chance.random() < 0.3:
            continue
        if entity == "accounts":
            yield {
                "account_id": f"g{number}",
                "domain": chance.choice(["acme.com", "https://www.beta.io/", "acme.com", None]),
                "employee_count": chance.choice(["20", "300", "5000", None]),
                "segment_override": chance.choice([None, None, "enterprise"]),
                "tech_stack": chance.choice([None, "dbt; Segment"]),
                "updated_at": chance.choice([*dated, None]),
            }
        elif entity == "contacts":
            yield {
                "contact_id": f"c{number}",
                "email": f"p{chance.randrange(6)}@{chance.choice(['acme.com', 'beta.io', 'gmail.com'])}",
                "account_id": chance.choice(["g1", "g3", "g5", None]),
                "department": chance.choice(["Sales", "sales", "IT", None]),
                "updated_at": chance.choice([*dated, None]),
            }
        else:
            yield {
                "ticket_id": f"t{number}",
                "contact_id": chance.choice([f"c{number}", None]),
                "email": f"p{chance.randrange(6)}@acme.com",
                "category": chance.choice(["limits", "Limits", "billing"]),
                "created_at": chance.choice([*dated, None]),
            }
