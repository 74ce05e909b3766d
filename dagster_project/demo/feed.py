"""Event rows as the product's services send them: happenings dressed with ids, times, properties, traits,
context.

Columns are the canonical ones of the input format, in snake_case; `properties`, `traits` and `context` are
JSON text. A further column `service` (web, mobile, billing) says who sends the row; files do not show it.
"""

import json

import numpy as np
import polars as pl

from dagster_project.demo.catalog import catalog
from dagster_project.demo.companies import NO_GROUP, Companies
from dagster_project.demo.people import TEST, People, traits_say_test
from dagster_project.demo.size import DemoSize, Ints
from dagster_project.demo.timeline import Happenings

COLUMNS = (
    "message_id", "type", "event", "name", "user_id", "anonymous_id", "group_id", "session_id",
    "timestamp", "received_at", "properties", "traits", "context",
)  # fmt: skip
ANONYMOUS_CONTEXT = '{"library": {"name": "web"}}'
PLAN_NAMES = {"free": "Free", "trial": "Team trial", "paying": "Team", "churned": "Free"}


class Feed:
    """Turns happenings into event rows; holds the columns that stay the same for a person."""

    def __init__(self, size: DemoSize, companies: Companies, people: People) -> None:
        self._size, self._companies, self._people = size, companies, people
        templates = catalog().templates
        self._type = pl.Series([row.type for row in templates])
        self._event = pl.Series([row.event for row in templates], dtype=pl.String)
        self._name = pl.Series([row.name for row in templates], dtype=pl.String)
        self._properties = pl.Series([row.properties for row in templates], dtype=pl.String)
        self._is_billing = np.array([row.is_billing for row in templates])
        self._has_traits = np.array([row.type in ("identify", "group") for row in templates])
        self._user = pl.Series(people.user_ids)
        self._anonymous = pl.Series(people.anonymous_ids)
        self._group = pl.Series([self._group_of(team) for team in people.company.tolist()], dtype=pl.String)
        self._context = pl.Series([self._context_of(team) for team in people.company.tolist()])

    def rows(self, happenings: Happenings, rng: np.random.Generator) -> pl.DataFrame:
        """One row per happening, in the same order."""
        person, template, at_ms = happenings.person, happenings.template, happenings.at_ms
        billing, mobile = self._is_billing[template], self._people.is_mobile[person]
        usual_delay = np.where(mobile & ~billing, 600_000, 1_500)
        delay = 40 + (usual_delay * rng.exponential(1, len(person))).astype(np.int64)
        # Nothing is received after the end; only then may a row be received the moment it happened.
        received = np.maximum(np.minimum(at_ms + delay, self._size.horizon_ms), at_ms)
        frame = pl.DataFrame(
            {
                "message_id": message_ids(rng, len(person)),
                "type": self._type.gather(template),
                "event": self._event.gather(template),
                "name": self._name.gather(template),
                "user_id": self._user.gather(person),
                "anonymous_id": self._anonymous.gather(person),
                "group_id": self._group.gather(person),
                "session_id": pl.Series([f"s_{c:x}" for c in happenings.session.tolist()], dtype=pl.String),
                "timestamp": self._moments(at_ms),
                "received_at": self._moments(received),
                "properties": self._properties.gather(template),
                "traits": self._traits(happenings),
                "context": self._context.gather(person),
                "service": np.where(billing, "billing", np.where(mobile, "mobile", "web")),
                "is_anonymous": happenings.is_anonymous,
                "has_session": happenings.session >= 0,
            }
        )
        return _as_its_service_sends_it(frame).select(*COLUMNS, "service")

    def _moments(self, at_ms: Ints) -> pl.Series:
        start = int(np.datetime64(self._size.start, "ms").astype(np.int64))
        return pl.Series(at_ms + start).cast(pl.Datetime("ms", "UTC"))

    def _group_of(self, team: int) -> str | None:
        if team < 0 or self._companies.grouping[team] == NO_GROUP:
            return None
        return self._companies.group_ids[team]

    def _context_of(self, team: int) -> str:
        group = self._group_of(team)
        library = {"library": {"name": "web"}}
        return json.dumps({"groupId": group, **library} if group else library)

    def _traits(self, happenings: Happenings) -> pl.Series:
        traits: list[str | None] = [None] * len(happenings)
        templates = catalog().templates
        for place in np.flatnonzero(self._has_traits[happenings.template]).tolist():
            template, person = templates[happenings.template[place]], int(happenings.person[place])
            plan = template.plan_state
            said = self._team_traits(person, plan) if template.type == "group" else self._own_traits(person, plan)
            traits[place] = json.dumps(said)
        return pl.Series(traits, dtype=pl.String)

    def _own_traits(self, person: int, plan: str | None) -> dict[str, str | bool]:
        people = self._people
        traits: dict[str, str | bool] = {
            "email": people.emails[person],
            "name": " ".join(people.names[person]),
        }
        if people.kind[person] == TEST and traits_say_test(people.emails[person]):
            traits["is_test"] = True
        if plan:
            traits |= {"plan": PLAN_NAMES[plan], "subscription_status": plan}
        return traits

    def _team_traits(self, person: int, plan: str | None) -> dict[str, str]:
        state = plan or "free"
        company = self._companies.names[self._people.company[person]]
        return {"name": company, "plan": PLAN_NAMES[state], "subscription_status": state}


def _as_its_service_sends_it(frame: pl.DataFrame) -> pl.DataFrame:
    """Leaves out the ids that a row doesn't have; a page of the mobile app is a screen."""
    service, kind = pl.col("service"), pl.col("type")
    is_known = ~pl.col("is_anonymous")
    tells_device = (service == "web") | (service == "mobile") & (kind == "identify")
    is_screen = (service == "mobile") & (kind == "page")
    return frame.with_columns(
        pl.when(tells_device).then("anonymous_id"),
        pl.when(is_known).then("user_id"),
        pl.when(kind == "group").then("group_id"),
        pl.when(pl.col("has_session")).then("session_id"),
        pl.when(is_known).then("context").otherwise(pl.lit(ANONYMOUS_CONTEXT)).alias("context"),
        pl.when(is_screen).then(pl.lit("screen")).otherwise("type").alias("type"),
    )


def message_ids(rng: np.random.Generator, count: int) -> list[str]:
    """`count` random message ids of 64 bits."""
    text = rng.bytes(8 * count).hex()
    return [f"msg_{text[place : place + 16]}" for place in range(0, 16 * count, 16)]
