"""What has changed in Salesforce, page by page, in the columns of section 2.3.

Records are read in the order of their ids, so that an interrupted extract goes on behind the last one. Changes are
those since a `SystemModstamp`, asked with `queryAll`, which shows deleted and merged records (`MasterRecordId`) too.
Leads are contacts until they are converted.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from dagster_project.clients.crm import IS_DELETED, Page
from dagster_project.clients.crm_values import moment_of, utc_text
from dagster_project.clients.cursors import Cursor
from dagster_project.clients.salesforce_api import SalesforceApi, quoted
from dagster_project.core.crm_source_rules import KEYS, NO_CONTACT_COLUMNS, CrmSource, CrmSourceRules

log = logging.getLogger(__name__)

KINDS = {
    "accounts": ("Account",),
    "contacts": ("Contact", "Lead"),
    "opportunities": ("Opportunity",),
    "owners": ("User",),
    "tickets": ("Case",),
}
_ROLES = "OpportunityContactRoles"
_ALWAYS = {"Lead": ("IsConverted", "ConvertedContactId"), "User": ("IsActive",)}
_DATES = frozenset({"created_at", "closed_at"})


class SalesforceExtract:
    """Reads one org.

    Args:
        api: Where requests go.
        rules: `crm_sources.yml`.
        fields: sObject -> the fields that our user sees.
        now: The time, naive UTC.
    """

    def __init__(
        self,
        api: SalesforceApi,
        rules: CrmSourceRules,
        *,
        fields: Callable[[str], Collection[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._source: CrmSource = rules.systems["salesforce"]
        self._overlap = timedelta(minutes=rules.overlap_minutes)
        self._fields = fields
        self._now = now

    def pages(self, entity: str, cursor: str | None) -> Iterator[Page]:
        """See `CrmClient.extract`."""
        at = Cursor.of(cursor, self._now)
        kinds = KINDS[entity]
        columns = [ours for ours, _ in self._wanted(entity, kinds[0])]
        # Of contacts whose no we don't see nobody knows it, whatever leads say: the column has to be missing.
        unseen = set(NO_CONTACT_COLUMNS.get(entity, ())) - set(columns)
        for kind in kinds[kinds.index(at.part) if at.part else 0 :]:
            at = replace(at, part=kind, after=at.after if kind == at.part else None)
            wanted = [(ours, theirs) for ours, theirs in self._wanted(entity, kind) if ours not in unseen]
            for records in self._api.query(self._soql(entity, kind, wanted, at), deleted_too=at.since is not None):
                rows = [self._row(entity, kind, record, wanted, columns) for record in records]
                at = replace(at, after=records[-1]["Id"]) if records else at
                yield Page(rows, at.text(), is_last=False)
        yield Page([], at.following(), is_last=True)

    def missing_fields(self, entity: str) -> list[str]:
        """See `CrmClient.missing_fields`, with the sObject that lacks it."""
        return [f"{kind}.{name}" for kind in KINDS[entity] for name in self._source.lacking(entity, self._fields(kind))]

    def _wanted(self, entity: str, kind: str) -> list[tuple[str, str]]:
        """Our column and the field, for fields that this sObject has."""
        there = self._fields(kind)
        wanted = list(self._source.fields_of(entity).items())
        for ours, theirs in wanted:
            if theirs not in there:
                log.info("Salesforce's %s has no field %s: %s stays empty", kind, theirs, ours)
        return [(ours, theirs) for ours, theirs in wanted if theirs in there]

    def _soql(self, entity: str, kind: str, wanted: list[tuple[str, str]], at: Cursor) -> str:
        there = self._fields(kind)
        names = {"Id", "SystemModstamp", *(theirs for _, theirs in wanted), *_ALWAYS.get(kind, ())}
        if entity == "accounts":
            names |= {name for name in self._source.custom_fields if name in there}
        if at.since is not None:
            names |= {name for name in ("IsDeleted", "MasterRecordId") if name in there}
        selected = sorted(names)
        if entity == "opportunities":
            selected.append(f"(SELECT ContactId, IsPrimary FROM {_ROLES})")
        conditions = []
        if at.since is not None:
            conditions.append(f"SystemModstamp >= {utc_text(moment_of(at.since) - self._overlap)}")
        elif kind == "Lead":
            conditions.append("IsConverted = false")
        if at.after is not None:
            conditions.append(f"Id > {quoted(at.after)}")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {', '.join(selected)} FROM {kind}{where} ORDER BY Id"

    def _row(
        self, entity: str, kind: str, record: Mapping[str, Any], wanted: list[tuple[str, str]], columns: list[str]
    ) -> dict[str, Any]:
        key = KEYS[entity]
        if record.get("IsDeleted") or record.get("IsConverted"):
            return {key: record["Id"], IS_DELETED: True}
        row: dict[str, Any] = dict.fromkeys(columns)
        row |= {ours: _text_of(ours, record.get(theirs)) for ours, theirs in wanted}
        row |= {key: record["Id"], "updated_at": utc_text(moment_of(record["SystemModstamp"]))}
        match entity:
            case "accounts":
                row["domain"] = _host(row.get("domain"))
                if self._source.custom_fields:
                    said = {name: record.get(name) for name in self._source.custom_fields}
                    row["custom_fields"] = {n: value for n, value in said.items() if value not in (None, "")} or None
            case "opportunities":
                row["contact_id"] = _main_contact(record)
                row["closed_at"] = _closed_on(row, moment_of(record["SystemModstamp"]))
            case "owners":
                row |= {"is_active": bool(record.get("IsActive")), "team": self._source.team(row.get("team"))}
            case "tickets":
                row["category"] = self._source.category(row.get("category"))
        return row


def _text_of(column: str, said: Any) -> Any:
    """A value of a record; moments in the form that files have."""
    if column in _DATES and isinstance(said, str) and "T" in said:
        return utc_text(moment_of(said))
    return said


def _host(website: str | None) -> str | None:
    """The host of a website, which people write with and without a scheme; None where it is none."""
    if not website:
        return None
    try:
        host = urlsplit(website if "://" in website else f"//{website}").hostname
    except ValueError:  # the field is free text, such as "[tbd]"
        return None
    return host.removeprefix("www.") if host else None


def _closed_on(deal: Mapping[str, Any], changed_at: datetime) -> str | None:
    """When a deal was closed. Its date is a guess until then, which may be left as it is: one that lies ahead."""
    if not deal.get("is_closed"):
        return None
    guess = deal.get("closed_at")
    is_possible = guess and guess[:10] <= f"{changed_at + timedelta(days=1):%Y-%m-%d}"  # somewhere it is tomorrow
    return guess if is_possible else f"{changed_at:%Y-%m-%d}"


def _main_contact(record: Mapping[str, Any]) -> str | None:
    """The primary contact of an opportunity, else its first."""
    roles = (record.get(_ROLES) or {}).get("records") or []
    best = sorted(roles, key=lambda role: not role.get("IsPrimary"))
    return str(best[0]["ContactId"]) if best else None
