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


def tell_what_was_ever_known(stories: Stories) -> None:
    """Accounts A20 to A25, a user of each: who paid and who had an opportunity once, and what became of that."""
    for number, name in enumerate(("churned", "free", "silent", "lost", "withdrawn", "ahead-of-time"), start=20):
        stories.identify(f"of_{name}", "06-01 10:00:00", email=f"p@{name}.com")
        stories.accounts.append({"account_id": f"A{number}", "name": name, "domain": f"{name}.com"})
    churned, free, silent = stories.accounts[-6:-3]
    churned |= {"subscription_status": "paying"}
    churned["later"] = {"subscription_status": "churned", "updated_at": "2026-06-27"}
    free |= {"subscription_status": "free"}
    silent["later"] = {"subscription_status": "free", "updated_at": "2026-06-27"}
    for group_id in ("A21", "A22"):
        stories.group(None, group_id, "06-10 10:00:00", subscription_status="paying")
        stories.group(None, group_id, "06-29 10:00:00", subscription_status="churned")
    stories.opportunities += [
        {"opportunity_id": "op_lost", "account_id": "A23", "created_at": "2026-06-25",
         "later": {"is_closed": "true", "closed_at": "2026-06-29"}},
        {"opportunity_id": "op_withdrawn", "account_id": "A24", "created_at": "2026-06-01", "closed_at": "2026-06-24",
         "is_won": "true", "stage": "deleted later"},
        {"opportunity_id": "op_ahead", "account_id": "A25", "created_at": "2026-07-02"},
    ]  # fmt: skip


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
