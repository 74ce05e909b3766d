"""What can happen in the product: every event of the simulation as a template that event rows point at.

Names are those of the default event catalogue, plus some that no catalogue knows, as every product has them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

FEATURE_ACTIONS: tuple[tuple[str, Mapping[str, str | int]], ...] = (
    ("Dashboard Created", {"title": "Weekly overview"}),
    ("Report Exported", {"format": "csv"}),
    ("Project Created", {"template": "blank"}),
    ("Task Completed", {}),
    ("Alert Configured", {"channel": "email"}),
    ("Automation Enabled", {"kind": "schedule"}),
    ("Search Performed", {"results": 12}),
    ("File Uploaded", {"kind": "csv"}),
    ("Heatmap Opened", {"feature": "heatmaps"}),
    ("Comment Posted", {"feature": "comments"}),
)
UNKNOWN_EVENTS = ("Theme Changed", "Tooltip Dismissed", "Keyboard Shortcut Used", "Feedback Widget Opened")
APP_PAGES = (
    ("Dashboard", "/app/dashboard"), ("Reports", "/app/reports"), ("Projects", "/app/projects"),
    ("Settings", "/app/settings"), ("Inbox", "/app/inbox"),
    ("Docs", "/docs/getting-started"), ("Docs", "/docs/api/authentication"), ("Docs", "/docs/integrations"),
)  # fmt: skip
SITE_PAGES = (
    ("Home", "/"),
    ("Blog", "/blog/launch-notes"),
    ("Docs", "/docs/getting-started"),
    ("Customers", "/customers"),
)
PRICING_PAGES = (
    ("Pricing", "/pricing"),
    ("Plans", "/pricing/teams"),
    ("Plans", "/pricing/enterprise/security"),
)
SETUP_STEPS = ("Workspace Created", "Profile Completed", "Teammate Added", "Integration Configured")
INTEGRATIONS = (
    "slack",
    "salesforce",
    "hubspot",
    "github",
    "jira",
    "google-sheets",
    "snowflake",
    "zendesk",
    "",
)
IMPORT_STATUSES = ("complete", "partial", "failed")
PLAN_STATES = ("free", "trial", "paying", "churned")
# Sent by the billing service rather than the app: other files, no session.
BILLING_EVENTS = ("Limit Reached", "Seat Added", "Invoice Downloaded")


@dataclass(frozen=True)
class Template:
    """One kind of event row; `properties` is JSON text. `event` names a track, `name` a page, `plan_state` is
    a trait.
    """

    type: str
    event: str | None
    name: str | None
    properties: str | None
    plan_state: str | None = None

    @property
    def is_billing(self) -> bool:
        return self.event in BILLING_EVENTS


class Catalog:
    """All templates, by number; `find` gives the numbers of a key in the order above."""

    def __init__(self) -> None:
        self.templates: list[Template] = []
        self._numbers: dict[str, list[int]] = {}
        for name, path in APP_PAGES:
            self._page("app page", name, path)
        for name, path in SITE_PAGES:
            self._page("site page", name, path)
        for name, path in PRICING_PAGES:
            self._page("pricing page", name, path)
        self._page("upgrade page", "Upgrade", "/upgrade")
        for event, properties in FEATURE_ACTIONS:
            self._track("feature action", event, properties)
        for event in UNKNOWN_EVENTS:
            self._track("unknown", event, {"source": "app"})
        for event in SETUP_STEPS:
            self._track("setup", event, {})
        for integration in INTEGRATIONS:
            named = {"integration": integration} if integration else {}
            self._track("connect", "Integration Connected", named)
            self._track("disconnect", "Integration Disconnected", named)
        for status in IMPORT_STATUSES:
            self._track("import", "Data Imported", {"status": status, "source": "csv"})
        self._track("import start", "Data Import Started", {"source": "csv"})
        self._track("invite", "Team Member Invited", {"role": "editor"})
        self._track("invite", "Invite Sent", {"channel": "link"})
        self._track("sales request", "Contact Sales Clicked", {"placement": "pricing"})
        self._track("sales request", "Demo Requested", {"placement": "header"})
        for event in (
            "Signed Up", "Signed In", "Upgrade Clicked", "Plans Compared", "Limit Support Requested",
            "API Key Generated", "Unsubscribed", "Resubscribed", *BILLING_EVENTS,
        ):  # fmt: skip
            self._track(event, event, {})
        self._add("identify", Template("identify", None, None, None))
        for state in PLAN_STATES:
            self._add("group", Template("group", None, None, None, state))
            self._add("identify plan", Template("identify", None, None, None, state))

    def find(self, key: str) -> list[int]:
        """The template numbers of a key, for example `pricing page` or `Upgrade Clicked`."""
        return self._numbers[key]

    def one(self, key: str) -> int:
        """The only template of a key."""
        (number,) = self._numbers[key]
        return number

    def _add(self, key: str, template: Template) -> None:
        self._numbers.setdefault(key, []).append(len(self.templates))
        self.templates.append(template)

    def _page(self, key: str, name: str, path: str) -> None:
        self._add(key, Template("page", None, name, json.dumps({"path": path, "title": name})))

    def _track(self, key: str, event: str, properties: Mapping[str, str | int]) -> None:
        self._add(key, Template("track", event, None, json.dumps(dict(properties)) if properties else None))


@lru_cache(maxsize=1)
def catalog() -> Catalog:
    """The one catalogue of all simulations."""
    return Catalog()
