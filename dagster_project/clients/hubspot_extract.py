"""What has changed in HubSpot, page by page, in the columns of section 2.3.

Everything is read with the list endpoints. Changes are searched for by the time of the last change, page after page by
id, because a search shows no more than 10,000 records and lags a little behind; deleted records are listed as archived;
merged ones stand in `hs_merged_object_ids` of the one that they went into. Facts: vendor's reference, 2026-09.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from dagster_project.clients.crm import IS_DELETED, CrmUnavailable, Page
from dagster_project.clients.crm_values import crm_errors, moment_of, utc_text
from dagster_project.clients.cursors import Cursor, Onwards
from dagster_project.clients.http import HttpApi
from dagster_project.clients.hubspot_answers import results_of
from dagster_project.core.crm_source_rules import KEYS, OBJECTIONS, CrmSource, CrmSourceRules

log = logging.getLogger(__name__)

KINDS = {"accounts": "companies", "contacts": "contacts", "opportunities": "deals", "tickets": "tickets"}
ASSOCIATED = {
    "opportunities": {"companies": "account_id", "contacts": "contact_id"},
    "tickets": {"contacts": "contact_id"},
}
"""Entity -> HubSpot's other objects -> our column."""
LISTED, FOUND = 100, 200
"""Records on a page of a list and of a search, the most that there may be."""
_MODIFIED = {"contacts": "lastmodifieddate"}
_MERGED = "hs_merged_object_ids"
_PRIMARY_COMPANY = 5
LEFT_OUT = "left out by HubSpot"
"""What is read of an objection that a record comes without: nobody knows what it says, so that it counts as one."""
_ARCHIVED = "archived"
"""The part of an extract that comes after what is alive."""


class HubSpotExtract:
    """Reads one account.

    Args:
        api: Where requests go.
        search: The same, within the search's own limit.
        version: Of the API.
        rules: `crm_sources.yml`.
        fields: HubSpot's object -> the properties that it has.
        now: The time, naive UTC.
    """

    def __init__(
        self,
        api: HttpApi,
        search: HttpApi,
        *,
        version: str,
        rules: CrmSourceRules,
        fields: Callable[[str], Collection[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._search = search
        self._version = version
        self._source: CrmSource = rules.systems["hubspot"]
        self._overlap = timedelta(minutes=rules.overlap_minutes)
        self._fields = fields
        self._now = now

    def pages(self, entity: str, cursor: str | None) -> Iterator[Page]:
        """See `CrmClient.extract`."""
        at = Cursor.of(cursor, self._now)
        if entity == "owners":
            yield self._owners(at)
            return
        wanted = self._wanted(entity)
        onwards = Onwards()
        while True:
            if at.part == _ARCHIVED:
                rows, after = self._archived(entity, at)
            elif at.since is None:
                rows, after = self._listed(entity, at, wanted)
            else:
                rows, after = self._changed(entity, at, wanted)
            is_over = after is None and (at.since is None or at.part == _ARCHIVED)
            if is_over:
                yield Page(rows, at.following(), is_last=True)
                return
            if after is None:
                at, onwards = replace(at, part=_ARCHIVED, after=None), Onwards()
            else:
                at = replace(at, after=onwards.to(after))
            yield Page(rows, at.text(), is_last=False)

    def missing_fields(self, entity: str) -> list[str]:
        """See `CrmClient.missing_fields`; owners have no properties."""
        return [] if entity == "owners" else self._source.lacking(entity, self._fields(KINDS[entity]))

    def _wanted(self, entity: str) -> dict[str, str]:
        """Our column -> the property, for properties that this account has."""
        there = self._fields(KINDS[entity])
        wanted = self._source.fields_of(entity)
        for ours, theirs in wanted.items():
            if theirs not in there:
                log.info("HubSpot's %s have no property %s: %s stays empty", KINDS[entity], theirs, ours)
        return {ours: theirs for ours, theirs in wanted.items() if theirs in there}

    def _properties(self, entity: str, wanted: Mapping[str, str]) -> list[str]:
        names = {*wanted.values(), _MERGED}
        if entity == "contacts":
            names |= {"firstname", "lastname"}
        if entity == "accounts":
            names |= set(self._source.custom_fields)
        return sorted(names)

    def _listed(
        self, entity: str, at: Cursor, wanted: Mapping[str, str], *, is_archived: bool = False
    ) -> tuple[list[dict[str, Any]], str | None]:
        params: dict[str, Any] = {
            "limit": LISTED,
            "archived": "true" if is_archived else "false",
            "properties": ",".join(self._properties(entity, wanted)),
        }
        if at.after:
            params["after"] = at.after
        if entity in ASSOCIATED and not is_archived:
            params["associations"] = ",".join(ASSOCIATED[entity])
        with crm_errors():
            answer = self._api.request("GET", f"/crm/objects/{self._version}/{KINDS[entity]}", params=params).body
        records, after = _records(answer)
        if is_archived:
            return [dict(record) for record in records], after
        rows = [self._row(entity, record, wanted, _listed_others(record)) for record in records]
        return rows, after

    def _archived(self, entity: str, at: Cursor) -> tuple[list[dict[str, Any]], str | None]:
        """Deleted since then; the list has no filter of its own."""
        records, after = self._listed(entity, at, {}, is_archived=True)
        since = self._since(at)
        gone = [record["id"] for record in records if moment_of(record.get("archivedAt") or utc_text(since)) >= since]
        return [{KEYS[entity]: object_id, IS_DELETED: True} for object_id in gone], after

    def _changed(self, entity: str, at: Cursor, wanted: Mapping[str, str]) -> tuple[list[dict[str, Any]], str | None]:
        kind = KINDS[entity]
        milliseconds = int((self._since(at) - datetime(1970, 1, 1)).total_seconds() * 1000)
        modified = _MODIFIED.get(kind, "hs_lastmodifieddate")
        filters = [{"propertyName": modified, "operator": "GTE", "value": str(milliseconds)}]
        filters.append({"propertyName": "hs_object_id", "operator": "GT", "value": at.after or "0"})
        body = {
            "filterGroups": [{"filters": filters}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": self._properties(entity, wanted),
            "limit": FOUND,
        }
        with crm_errors():
            answer = self._search.request("POST", f"/crm/objects/{self._version}/{kind}/search", body=body).body
        records, after = _records(answer)
        found = int(answer.get("total") or 0)
        if found > len(records) and (after is None or not records):
            raise CrmUnavailable(f"HubSpot found {found} {kind}, showed {len(records)} of them and no further page")
        others = self._others(entity, [record["id"] for record in records])
        rows: list[dict[str, Any]] = []
        for record in records:
            rows.append(self._row(entity, record, wanted, others.get(record["id"], {})))
            merged = (record["properties"].get(_MERGED) or "").split(";")
            rows += [{KEYS[entity]: loser, IS_DELETED: True} for loser in merged if loser.strip()]
        return rows, records[-1]["id"] if after else None

    def _others(self, entity: str, ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """By id: our column -> the associated record, the primary one before others."""
        found: dict[str, dict[str, str]] = {}
        for other, column in ASSOCIATED.get(entity, {}).items():
            for start in range(0, len(ids), LISTED):
                inputs = [{"id": object_id} for object_id in ids[start : start + LISTED]]
                path = f"/crm/associations/{self._version}/{KINDS[entity]}/{other}/batch/read"
                with crm_errors():
                    answer = self._api.request("POST", path, body={"inputs": inputs}, also=[207]).body
                for result in _records(answer)[0]:
                    best = sorted(result["to"], key=_is_primary, reverse=True)[0]
                    found.setdefault(str(result["from"]["id"]), {})[column] = str(best["toObjectId"])
        return found

    def _row(
        self, entity: str, record: Mapping[str, Any], wanted: Mapping[str, str], others: Mapping[str, str]
    ) -> dict[str, Any]:
        said = record["properties"]
        row: dict[str, Any] = {ours: said.get(theirs) or None for ours, theirs in wanted.items()}
        # A property without a value comes as null; one that does not come was removed or hidden since we asked.
        row |= {ours: LEFT_OUT for ours, theirs in wanted.items() if ours in OBJECTIONS and theirs not in said}
        row |= dict.fromkeys(ASSOCIATED.get(entity, {}).values()) | dict(others)
        row |= {KEYS[entity]: str(record["id"]), "updated_at": record.get("updatedAt")}
        if entity == "contacts" and "name" not in wanted:
            row["name"] = " ".join(filter(None, [said.get("firstname"), said.get("lastname")])) or None
        if entity == "accounts" and self._source.custom_fields:
            row["custom_fields"] = {name: said[name] for name in self._source.custom_fields if said.get(name)} or None
        if entity == "opportunities" and str(row.get("is_closed")).lower() != "true":
            row["closed_at"] = None  # HubSpot's is a guess until then
        if entity == "tickets":
            row["category"] = self._source.category(row.get("category"))
        return row

    def _owners(self, at: Cursor) -> Page:
        """All of them, every time: they are few, and have no time of change."""
        rows = []
        for archived in ("false", "true"):
            after: str | None = None
            onwards = Onwards()
            while True:
                params = {"limit": LISTED, "archived": archived, **({"after": after} if after else {})}
                with crm_errors():
                    answer = self._api.request("GET", f"/crm/owners/{self._version}", params=params).body
                owners, after = _records(answer)
                rows += [self._owner(owner, is_active=archived == "false") for owner in owners]
                if after is None:
                    break
                after = onwards.to(after)
        return Page(rows, at.following(), is_last=True)

    def _owner(self, owner: Mapping[str, Any], *, is_active: bool) -> dict[str, Any]:
        teams = sorted(owner.get("teams") or [], key=lambda team: not team.get("primary"))
        known = [ours for ours in (self._source.team(team.get("name")) for team in teams) if ours]
        return {
            "owner_id": str(owner["id"]),
            "name": " ".join(filter(None, [owner.get("firstName"), owner.get("lastName")])) or None,
            "email": owner.get("email"),
            "team": known[0] if known else None,
            "is_active": is_active,
            "updated_at": owner.get("updatedAt"),
        }

    def _since(self, at: Cursor) -> datetime:
        return moment_of(str(at.since)) - self._overlap


def _records(answer: Any) -> tuple[list[Mapping[str, Any]], str | None]:
    """The records of a page, and where the next one begins."""
    found = results_of(answer)
    after = ((answer.get("paging") or {}).get("next") or {}).get("after")
    return found, str(after) if after is not None else None


def _listed_others(record: Mapping[str, Any]) -> dict[str, str]:
    """The associated records that came with a listed one, the primary one before others."""
    found = {}
    for columns in ASSOCIATED.values():
        for other, column in columns.items():
            said = ((record.get("associations") or {}).get(other) or {}).get("results") or []
            if said:
                best = sorted(said, key=lambda entry: "primary" in str(entry.get("type")), reverse=True)[0]
                found[column] = str(best["id"])
    return found


def _is_primary(entry: Mapping[str, Any]) -> bool:
    types = entry.get("associationTypes") or []
    return any(said.get("typeId") == _PRIMARY_COMPANY or said.get("label") == "Primary" for said in types)
