"""Stories for the models: raw rows by hand, and their feature rows. dbt itself is in `dbt_fixtures.py`."""

from dataclasses import dataclass, field
from typing import Any

from dbt_fixtures import Shop, end_of

LIVE = "2026-06-30 18:00:00"
BASELINE = end_of("2026-06-23")

Rows = list[dict[str, Any]]


@dataclass
class Stories:
    """What all stories of a module put into one warehouse. Times are of 2026, without the year."""

    events: Rows = field(default_factory=list)
    accounts: Rows = field(default_factory=list)
    contacts: Rows = field(default_factory=list)
    opportunities: Rows = field(default_factory=list)
    tickets: Rows = field(default_factory=list)

    def track(self, user: str | None, event: str, at: str, **more: Any) -> None:
        self.events.append({"event": event, "user_id": user, "timestamp": f"2026-{at}", **more})

    def page(self, user: str | None, name: str | None, at: str, **more: Any) -> None:
        self.events.append({"type": "page", "name": name, "user_id": user, "timestamp": f"2026-{at}", **more})

    def identify(self, user: str, at: str, *, anonymous_id: str | None = None, **traits: Any) -> None:
        self.events.append(
            {
                "type": "identify",
                "user_id": user,
                "anonymous_id": anonymous_id,
                "timestamp": f"2026-{at}",
                "traits": traits,
            }
        )

    def group(self, user: str | None, group_id: str, at: str, **traits: Any) -> None:
        self.events.append(
            {
                "type": "group",
                "user_id": user,
                "group_id": group_id,
                "timestamp": f"2026-{at}",
                "traits": traits,
            }
        )


def user(shop: Shop, user_id: str, *columns: str, as_of: str = LIVE) -> Any:
    """These columns of the user's feature row: a tuple, or the value if it is one column."""
    return _picked(shop, "user_features", "user_id", user_id, columns, as_of)


def account(shop: Shop, account_id: str, *columns: str, as_of: str = LIVE) -> Any:
    """These columns of the account's feature row: a tuple, or the value if it is one column."""
    return _picked(shop, "account_features", "account_id", account_id, columns, as_of)


def is_absent(shop: Shop, table: str, key: str, value: str, as_of: str = LIVE) -> bool:
    return not shop.rows(f"from features.{table} where {key} = '{value}' and as_of = timestamp '{as_of}'")


def _picked(shop: Shop, table: str, key: str, value: str, columns: tuple[str, ...], as_of: str) -> Any:
    where = f"{key} = '{value}' and as_of = timestamp '{as_of}'"
    found = shop.rows(f"select {', '.join(columns)} from features.{table} where {where}")
    assert len(found) == 1, f"{value} has {len(found)} rows in {table}"
    return found[0] if len(columns) > 1 else found[0][0]
