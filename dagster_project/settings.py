"""Where things are and what the user set: the one module that knows the checkout's layout and the environment's names.

The environment itself is read in `environment_settings` alone; everything else takes a `Settings`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from dotenv import load_dotenv

from dagster_project.clients.connectors import CONNECTORS, LOCAL
from dagster_project.clients.http import EndpointRefused, checked_endpoint
from dagster_project.core.strict import MOST_DAYS

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DBT_PROJECT_DIR = PROJECT_ROOT / "dbt_models"


KEEP_UPDATES_DAYS = 90.0
"""Every day of use writes a record of each active user into the CRM, and full runs copy all that is kept."""
KEEP_RUNS_DAYS = 7.0
"""A worker makes thousands of runs a day, and each takes a quarter of a megabyte or more."""


class SettingsError(ValueError):
    """A PLS_* variable holds something that can't be used; the message names it and what it should be."""


@dataclass(frozen=True)
class SlackAccess:
    """How Slack is reached. Secrets are not part of what is printed.

    Attributes:
        bot_token: Sends as the app; None when there is none.
        webhook_url: The lesser way, into one channel; not used beside a token.
        signing_secret: What Slack signs its requests to `pls serve` with; without it alerts have no buttons.
        base_url: Where Slack's API is.
    """

    bot_token: str | None = field(default=None, repr=False)
    webhook_url: str | None = field(default=None, repr=False)
    signing_secret: str | None = field(default=None, repr=False)
    base_url: str = "https://slack.com/api/"


@dataclass(frozen=True)
class Settings:
    """What the user chose, checked.

    Attributes:
        data_dir: The data folder, absolute.
        playbook_dir: The user's playbook, or None for the packaged one.
        as_of: The moment to score as naive UTC, or None for now.
        ledger_url: SQLAlchemy URL of the ledger.
        crm: `local`, or the connector's name.
        crm_access: The variables of that connector that are set; secrets are among them.
        product_url: Where traits are sent to, None for nowhere.
        product_key: Who we are there.
        automate: Whether the schedule and the sensor start running by themselves.
        keep_updates_days: How many days a write of fields is kept that another one has followed; 0 for ever.
        keep_runs_days: How many days Dagster's runs of micro-batches are kept; 0 for ever.
        slack: How Slack is reached, if at all.
        mcp_tokens: Who may ask over HTTP, by token.
    """

    data_dir: Path
    playbook_dir: Path | None
    as_of: datetime | None
    ledger_url: str = field(repr=False)
    crm: str
    crm_access: Mapping[str, str] = field(repr=False)
    product_url: str | None
    product_key: str | None = field(repr=False)
    automate: bool
    keep_updates_days: float = KEEP_UPDATES_DAYS
    keep_runs_days: float = KEEP_RUNS_DAYS
    slack: SlackAccess = field(default_factory=SlackAccess)
    mcp_tokens: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def landing(self) -> Path:
        """Where extracts arrive."""
        return self.data_dir / "landing"

    @property
    def warehouse(self) -> Path:
        """The DuckDB file that one process at a time writes."""
        return self.data_dir / "warehouse.duckdb"

    @property
    def serving(self) -> Path:
        """The DuckDB file that analysts open read-only; replaced atomically."""
        return self.data_dir / "serving.duckdb"

    @property
    def local_crm(self) -> Path:
        """The embedded CRM's SQLite file."""
        return self.data_dir / "crm.sqlite"

    @property
    def crm_destination(self) -> str:
        """What deliveries call the connected CRM; known without connecting to it."""
        return f"crm:{self.crm}"

    @property
    def crm_pages(self) -> Path:
        """Where pages of a connected CRM are kept until its extract is complete."""
        return self.data_dir / ".crm_pages"

    @property
    def crm_pages_lock(self) -> Path:
        """The file whose lock is held by whoever reads such pages or loads them."""
        return self.data_dir / ".crm_pages.lock"

    @property
    def outbox(self) -> Path:
        """Where handoffs are written as Markdown while no chat is connected."""
        return self.data_dir / "outbox"

    @property
    def dbt_target(self) -> Path:
        """dbt's artefacts, per data folder, so that two runs on two folders don't share them."""
        return self.data_dir / ".dbt"

    @property
    def watch_lease(self) -> Path:
        """The file whose lock makes a `pls watch` the only one on the data folder."""
        return self.data_dir / ".watch.lock"

    @property
    def run_lock(self) -> Path:
        """The file whose lock a pipeline run holds from its first step to its last."""
        return self.data_dir / ".run.lock"

    @property
    def run_note(self) -> Path:
        """The id of the run that holds the lock, or held it when its process was killed."""
        return self.data_dir / ".run.id"


SHORTEST_TOKEN = 20
"""Characters of a token that nobody guesses."""
_SENT = "PLS_.*(_TOKEN|_WRITE_KEY|_SECRET|_WEBHOOK_URL)"
"""The names of settings that are sent as they are."""
_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def environment_settings(overrides: Mapping[str, str] | None = None) -> Settings:
    """What the user set, from the environment and the checkout's `.env`; `overrides` win over both."""
    load_dotenv(PROJECT_ROOT / ".env")
    return settings_from({**os.environ, **(overrides or {})})


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Read the PLS_* variables, which README.md lists.

    Args:
        environment: Names and values, usually the process's environment. An empty value counts as unset.

    Raises:
        SettingsError: A value can't be used.
    """
    set_values = {name: value.strip() for name, value in environment.items() if value.strip()}
    for name in (name for name in set_values if re.fullmatch(_SENT, name)):
        # It goes into a header, and an error about that would repeat it.
        if not set_values[name].isascii() or any(sign.isspace() for sign in set_values[name]):
            raise SettingsError(f"{name} can't be used; expected printable ASCII without blanks or line breaks")
    data_dir = Path(set_values.get("PLS_DATA_DIR", str(PROJECT_ROOT / "data"))).expanduser().absolute()
    # DuckDB takes what follows a ? for options, not for a name, and a backslash for a slash; dbt ends a name at #.
    taken = "?#" if os.sep == "\\" else "?#\\"
    if found := [character for character in taken if character in str(data_dir)]:
        raise SettingsError(f"PLS_DATA_DIR is '{data_dir}'; expected a folder without {found[0]} in its path")
    if data_dir.exists() and not data_dir.is_dir():
        raise SettingsError(f"PLS_DATA_DIR is '{data_dir}', which is a file; expected a folder")
    playbook = set_values.get("PLS_PLAYBOOK_DIR")
    crm = set_values.get("PLS_CRM", "local").lower()
    if crm not in (LOCAL, *CONNECTORS):
        raise SettingsError(f"PLS_CRM is {crm!r}; this version knows {', '.join((LOCAL, *CONNECTORS))}")
    ledger_url = set_values.get("PLS_LEDGER_URL", f"sqlite:///{quote(str(data_dir / 'ledger.sqlite'))}")
    if "PLS_LEDGER_URL" in set_values and not _is_database(ledger_url):
        # It may hold a password, so it is not repeated.
        raise SettingsError(
            "PLS_LEDGER_URL is no URL; expected one such as sqlite:////srv/pls/ledger.sqlite or "
            "postgresql+psycopg://user@host:5432/database"
        )
    product_url = set_values.get("PLS_PRODUCT_URL")
    automate = set_values.get("PLS_AUTOMATE", "0")
    if automate.lower() not in _SWITCH:
        raise SettingsError(f"PLS_AUTOMATE is {automate!r}; expected 1 or 0")
    return Settings(
        data_dir=data_dir,
        playbook_dir=Path(playbook).expanduser().absolute() if playbook else None,
        as_of=parse_moment(set_values["PLS_AS_OF"]) if "PLS_AS_OF" in set_values else None,
        ledger_url=ledger_url,
        crm=crm,
        crm_access={name: said for name, said in set_values.items() if name.startswith(f"PLS_{crm.upper()}_")},
        product_url=_endpoint("PLS_PRODUCT_URL", product_url) if product_url else None,
        product_key=set_values.get("PLS_PRODUCT_WRITE_KEY"),
        automate=_SWITCH[automate.lower()],
        keep_updates_days=_days("PLS_KEEP_UPDATES_DAYS", set_values, KEEP_UPDATES_DAYS),
        keep_runs_days=_days("PLS_KEEP_RUNS_DAYS", set_values, KEEP_RUNS_DAYS),
        slack=_slack_access(set_values),
        mcp_tokens=_mcp_tokens(set_values.get("PLS_MCP_TOKENS", "")),
    )


def _is_database(url: str) -> bool:
    from sqlalchemy import make_url  # most who look at settings need no database
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(url)
    except (ArgumentError, ValueError):  # the latter of a port that is none
        return False
    return True


def _days(name: str, set_values: Mapping[str, str], default: float) -> float:
    text = set_values.get(name, str(default))
    try:
        days = float(text)
    except ValueError:
        days = -1
    if not 0 <= days <= MOST_DAYS:
        raise SettingsError(f"{name} is {text!r}; expected a number of days, 0 for ever")
    return days


def _mcp_tokens(text: str) -> dict[str, str]:
    """`who=token` pairs with commas between them, as token -> who."""
    tokens: dict[str, str] = {}
    for number, pair in enumerate((part.strip() for part in text.split(",") if part.strip()), start=1):
        who, _, token = (part.strip() for part in pair.partition("="))
        # A token is a secret, so it is not repeated.
        if not who or len(token) < SHORTEST_TOKEN:
            raise SettingsError(
                f"PLS_MCP_TOKENS: pair {number} can't be used; expected who=token with a token of at least "
                f"{SHORTEST_TOKEN} characters, and commas between pairs"
            )
        if token in tokens:
            raise SettingsError(f"PLS_MCP_TOKENS: {tokens[token]} and {who} have the same token; expected one each")
        tokens[token] = who
    return tokens


def _slack_access(set_values: Mapping[str, str]) -> SlackAccess:
    base_url = _endpoint("PLS_SLACK_BASE_URL", set_values.get("PLS_SLACK_BASE_URL", SlackAccess.base_url))
    webhook = set_values.get("PLS_SLACK_WEBHOOK_URL")
    return SlackAccess(
        bot_token=set_values.get("PLS_SLACK_BOT_TOKEN"),
        webhook_url=_endpoint("PLS_SLACK_WEBHOOK_URL", webhook) if webhook else None,
        signing_secret=set_values.get("PLS_SLACK_SIGNING_SECRET"),
        base_url=base_url.rstrip("/") + "/",
    )


def _endpoint(name: str, url: str) -> str:
    """An address that a secret may be sent to: encrypted, or on this machine."""
    try:
        return checked_endpoint(url)
    except (EndpointRefused, ValueError):
        # A webhook's address is a secret itself, so it is not repeated.
        raise SettingsError(
            f"{name} can't be used; expected https://..., or http:// on this machine only, without a user or password"
        ) from None


FIRST_YEAR, LAST_YEAR = 1900, 2999
"""Of moments that can be asked for: before and after each there must be room for windows and due dates."""


def parse_moment(text: str, *, name: str = "PLS_AS_OF") -> datetime:
    """Read an ISO 8601 moment; without an offset it is UTC. Returns it as naive UTC.

    Raises:
        SettingsError: It is not ISO 8601, or in no year that can be asked for.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{name} is {text!r}; expected ISO 8601 in UTC such as 2026-06-30T12:00:00Z or 2026-06-30"
        ) from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise SettingsError(f"{name} is {text!r}; expected a moment of the years {FIRST_YEAR} to {LAST_YEAR}")
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
