"""A demo company whose CRM records are moved from files into a HubSpot or a Salesforce on this machine."""

import csv
import gzip
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import yaml
from hubspot_server import TOKEN, HubSpotServer
from loopback import Loopback
from salesforce_server import CLIENT_ID, PREFIXES, SECRET, Record, SalesforceServer

from dagster_project.core.crm_source_rules import COLUMNS
from dagster_project.playbook_files import PACKAGED

ENTITIES = ("owners", "accounts", "contacts", "opportunities", "tickets")
_KEYS = {"opportunities": "opportunity_id"}


class Company(Protocol):
    """A CRM with a company in it.

    Attributes:
        name: As in PLS_CRM.
        server: Where it is.
        variables: How it is reached.
        writing: Lines of requests that write.
    """

    name: str
    server: Loopback
    variables: Mapping[str, str]
    writing: str

    def theirs(self, text: str) -> str:
        """A text with the files' ids as this CRM's."""
        ...

    def take(self, landing: Path) -> dict[str, dict[str, str]]:
        """Make the files' records; returns the columns by entity, as `crm_sources.yml` has them."""
        ...

    def tasks(self) -> list[str]:
        """The keys of all tasks."""
        ...

    def refuse(self, field: str | None) -> None:
        """Refuse every contact's update of a field from now on, or none any more."""
        ...


def rows_of(landing: Path, entity: str) -> list[dict[str, str]]:
    """An entity's newest file."""
    with (landing / "crm" / f"{entity}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def key_of(entity: str) -> str:
    return _KEYS.get(entity, f"{entity[:-1]}_id")


def changed_at(row: Mapping[str, str]) -> datetime | None:
    said = row.get("updated_at") or row.get("created_at")
    return datetime.fromisoformat(said).replace(tzinfo=UTC) if said else None


@dataclass
class HubSpotCompany:
    """In HubSpot, whose ids may be any."""

    server: HubSpotServer
    name: str = "hubspot"
    writing: str = r"POST .*/(batch/(update|upsert|create|associate)|objects/2026-09/\w+$)"
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables = {"PLS_HUBSPOT_TOKEN": TOKEN, "PLS_HUBSPOT_BASE_URL": self.server.base_url}

    def theirs(self, text: str) -> str:
        return text

    def tasks(self) -> list[str]:
        return [record.properties["pls_key"] for record in self.server.state.objects["tasks"].values()]

    def refuse(self, field: str | None) -> None:
        self.server.state.frozen = {"contacts": field} if field else {}

    def take(self, landing: Path) -> dict[str, dict[str, str]]:
        kinds = {"accounts": "companies", "contacts": "contacts", "opportunities": "deals", "tickets": "tickets"}
        self._take_owners(landing)
        return {entity: self._take(landing, entity, kind) for entity, kind in kinds.items()}

    def _take(self, landing: Path, entity: str, kind: str) -> dict[str, str]:
        """Columns become properties or associations."""
        associated = {"opportunities": ("account_id", "contact_id"), "tickets": ("contact_id",)}.get(entity, ())
        names: dict[str, str] = {}
        for row in rows_of(landing, entity):
            object_id = row[key_of(entity)]
            said: dict[str, Any] = {}
            for column, value in row.items():
                if column not in COLUMNS[entity] or column in associated or not value:
                    continue
                names[column] = f"p_{column}"
                self.server.state.properties[kind][names[column]] = {"name": names[column], "type": "string"}
                said[names[column]] = value
            self.server.add(kind, object_id, **said)
            record = self.server.state.objects[kind][object_id]
            record.updated = changed_at(row) or record.updated
            for column in associated:
                if row[column]:
                    other = "companies" if column == "account_id" else "contacts"
                    self.server.associate(kind, object_id, other, row[column])
        return names

    def _take_owners(self, landing: Path) -> None:
        for row in rows_of(landing, "owners"):
            first, _, last = row["name"].partition(" ")
            self.server.state.owners.append(
                {
                    "id": row["owner_id"],
                    "firstName": first,
                    "lastName": last,
                    "email": row["email"],
                    "teams": [{"name": row["team"], "primary": True}],
                    "archived": row["is_active"] != "true",
                }
            )


@dataclass
class SalesforceCompany:
    """In Salesforce, whose ids have 18 characters and begin with what they are of."""

    server: SalesforceServer
    name: str = "salesforce"
    writing: str = r"(PATCH|PUT) /services/data|POST .*/(composite/sobjects|jobs/ingest|sobjects/\w+)$"
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables = {
            "PLS_SALESFORCE_BASE_URL": self.server.base_url,
            "PLS_SALESFORCE_CLIENT_ID": CLIENT_ID,
            "PLS_SALESFORCE_CLIENT_SECRET": SECRET,
        }

    def theirs(self, text: str) -> str:
        kinds = {"A": "Account", "C": "Contact", "O": "Opportunity", "OW": "User", "T": "Case"}
        return re.sub(r"\b(A|C|O|OW|T)-(\d+)\b", lambda found: f"{PREFIXES[kinds[found[1]]]}{found[2]:0>15}", text)

    def tasks(self) -> list[str]:
        return [record.fields["pls_key__c"] for record in self.server.records["Task"].values()]

    def refuse(self, field: str | None) -> None:
        self.server.rules = {("Contact", f"{field}__c")} if field else set()

    def take(self, landing: Path) -> dict[str, dict[str, str]]:
        kinds = {"accounts": "Account", "contacts": "Contact", "opportunities": "Opportunity", "tickets": "Case"}
        kinds["owners"] = "User"
        return {entity: self._take(landing, entity, kinds[entity]) for entity in ENTITIES}

    def _take(self, landing: Path, entity: str, kind: str) -> dict[str, str]:
        """Columns become custom fields; an opportunity's contact a role."""
        names = {column: f"p_{column}__c" for column in COLUMNS[entity] if column != "slack_user_id"}
        if entity == "opportunities":
            del names["contact_id"]
        for name in names.values():
            self.server.add_field(kind, name)
        for row in rows_of(landing, entity):
            object_id = self.theirs(row[key_of(entity)])
            said: dict[str, Any] = {
                names[column]: self.theirs(value) for column, value in row.items() if column in names and value
            }
            said |= {"IsActive": row["is_active"] == "true"} if entity == "owners" else {}
            if entity == "opportunities":
                said[names["is_closed"]] = row["is_closed"] == "true"
                if row["contact_id"]:
                    role = {"ContactId": self.theirs(row["contact_id"]), "IsPrimary": True}
                    self.server.roles[object_id].append(role)
            self.server.records[kind][object_id] = Record({**said, "Id": object_id}, changed_at(row) or self.server.now)
        return names


@contextmanager
def hubspot() -> Iterator[Company]:
    """An empty HubSpot."""
    with HubSpotServer(limit=100_000, epoch=datetime.now(UTC)) as server:
        yield HubSpotCompany(server)


@contextmanager
def salesforce() -> Iterator[Company]:
    """An empty Salesforce."""
    with SalesforceServer(epoch=datetime.now(UTC)) as server:
        yield SalesforceCompany(server)


COMPANIES: dict[str, Any] = {"hubspot": hubspot, "salesforce": salesforce}


def copy_events(company: Company, source: Path, target: Path) -> None:
    """The files' events with this CRM's ids."""
    if company.theirs("A-000001") == "A-000001":
        shutil.copytree(source, target, copy_function=shutil.copy2)
        return
    for path in sorted(source.rglob("*.*")):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            texts = pl.col(pl.String).map_elements(company.theirs, return_dtype=pl.String)
            pl.read_parquet(path).with_columns(texts).write_parquet(copy)
        else:
            read: Any = gzip.open if path.suffix == ".gz" else open
            with read(path, "rt") as old, read(copy, "wt") as new:
                new.write(company.theirs(old.read()))
        shutil.copystat(path, copy)


def write_playbook(folder: Path, name: str, columns: Mapping[str, Mapping[str, str]]) -> None:
    """A playbook that reads these columns, at every run."""
    folder.mkdir()
    rules = yaml.safe_load((PACKAGED / "crm_sources.yml").read_text())
    rules["extract_every_minutes"] = 0
    rules["systems"][name]["columns"] = {entity: dict(names) for entity, names in columns.items()}
    (folder / "crm_sources.yml").write_text(yaml.safe_dump(rules))


def opened(name: str) -> AbstractContextManager[Company]:
    """The CRM of this name."""
    manager: AbstractContextManager[Company] = COMPANIES[name]()
    return manager
