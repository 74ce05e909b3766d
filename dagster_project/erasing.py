"""`pls erase`: what was said of a person goes, what was decided and sent stays known.

The ledger, the outbox and the embedded CRM keep texts for good, with names and addresses in them. Everything else is
made of the landing files and a connected CRM, which are their owners' to change: it is said what of them names the
person.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.escaping import markdown, plain
from dagster_project.core.letters import harmless
from dagster_project.errors import PlsError
from dagster_project.ledger import Ledger
from dagster_project.ledger_deliveries import OPEN_DELIVERIES

ERASED = "(erased)"
_NOT_DONE = frozenset({*OPEN_DELIVERIES, "parked"})
_TOLD = frozenset({"package_markdown", "text", "payload"})
"""A column that handoffs, notices and deliveries have, one each."""
_BY_ADDRESS = "email:"
"""How the ids of contacts begin that have none in the CRM yet."""
_OF_THE_PERSON = frozenset({"package_markdown", "package_blocks", "text"})
"""Columns that say what somebody did, of a handoff or a notice: nothing of them is left."""


class NobodyKnown(PlsError):
    """Nothing is known by which texts about a person could be found."""


@dataclass(frozen=True)
class Person:
    """Somebody of whom nothing may be said any more.

    Attributes:
        user_id: The product's id of them, which stays: without it they would be handed over again.
        texts: Their names and addresses.
    """

    user_id: str
    texts: frozenset[str]

    def without(self, text: str, *, is_theirs: bool) -> str:
        """A text in which neither their names nor their addresses stand, however they were written.

        Args:
            text: The text.
            is_theirs: Whether it is about them. In others a single word may be somebody else's name.
        """
        texts = [said for said in self.texts if is_theirs or "@" in said or " " in said]
        known = {form for said in texts for form in _forms(said)}
        if not known:
            return text
        longest_first = "|".join(re.escape(form) for form in sorted(known, key=len, reverse=True))
        # Whole ones: an address may be the end or the beginning of somebody else's.
        whole = rf"(?<![\w.+%-])(?:{longest_first})(?![\w-]|\\?[.@]\w)"
        return re.sub(whole, ERASED, text, flags=re.IGNORECASE)


def person_of(serving: Path, user_id: str, also: Iterable[str]) -> Person:
    """A person by what is published of them, and what is said beside it.

    Args:
        serving: The serving copy, which may not be there.
        user_id: The product's id.
        also: Other names and addresses of theirs.

    Raises:
        NobodyKnown: Neither says anything.
    """
    texts = {text.strip() for text in also if text.strip()}
    if serving.exists():
        with duckdb.connect(str(serving), read_only=True) as connection:
            for row in connection.execute(
                "select email, user_name, contact_name from marts.user_profiles where user_id = ?", [user_id]
            ).fetchall():
                texts.update(text.strip() for text in row if text and text.strip())
    if not texts:
        raise NobodyKnown(f"{user_id} is not published, or without a name: say names and addresses with --also")
    return Person(user_id, frozenset(texts))


def erase_from_ledger(ledger: Ledger, person: Person) -> int:
    """Take a person out of all texts of the ledger; how many rows have changed.

    Args:
        ledger: Opened, with no run under way.
        person: Whom.
    """
    of_person = ledger.of_user(person.user_id)
    addresses = {text.lower() for text in person.texts if "@" in text}

    def change(row: Mapping[str, Any], texts: Collection[str]) -> dict[str, Any]:
        is_theirs = (
            row.get("user_id") == person.user_id
            or row.get("object_id") in of_person
            or _is_action_about(person.user_id, row.get("payload", ""))
        )
        changed = {}
        for column in texts:
            said = row[column]
            if said is None:
                continue
            left = ERASED if is_theirs and column in _OF_THE_PERSON else person.without(said, is_theirs=is_theirs)
            if column == "package_blocks" and is_theirs:
                left = "[]"
            elif column == "payload" and is_theirs:
                left = "{}"
            if left != said:
                changed[column] = left
        # Nobody is told any more what there is nothing left to tell of.
        if is_theirs and row.get("status") in _NOT_DONE and _TOLD & set(row):
            changed["status"] = "cancelled"
        # Contacts that were made have no other id than their address.
        said = row.get("object_id") or ""
        if said.startswith(_BY_ADDRESS) and said.removeprefix(_BY_ADDRESS).lower() in addresses:
            changed["object_id"] = f"{_BY_ADDRESS}{ERASED}{sha256(said.encode()).hexdigest()[:12]}"
        return changed

    return ledger.rewrite(change)


def erase_from_outbox(outbox: Path, ledger: Ledger, person: Person) -> int:
    """Remove the letters about a person, and take them out of all others; how many files have changed.

    Args:
        outbox: The folder.
        ledger: Knows which handoffs and notices are about them.
        person: Whom.
    """
    of_person = ledger.of_user(person.user_id)
    changed = 0
    for path in sorted(outbox.rglob("*.md")):
        said = path.read_text(encoding="utf-8")
        if any(name in path.name for name in of_person):
            path.unlink()
        elif (left := person.without(said, is_theirs=False)) != said:
            path.write_text(left, encoding="utf-8")
        else:
            continue
        changed += 1
    return changed


def erase_from_local_crm(crm: LocalCrm, ledger: Ledger, person: Person) -> int:
    """Take a person out of the embedded CRM, which keeps deleted records; how many records and tasks have changed.

    What the extracts still say of them comes back with a run.

    Args:
        crm: The embedded CRM.
        ledger: Knows which tasks are about them; it must not have forgotten yet.
        person: Whom.
    """
    tasks = {
        key
        for part in ledger.read_portions("deliveries")
        for key, payload in part.filter(pl.col("action_key").is_not_null()).select("action_key", "payload").iter_rows()
        if _is_action_about(person.user_id, payload)
    }
    addresses = replace(person, texts=frozenset(text for text in person.texts if "@" in text))
    contacts: set[str] = set()

    def change(kind: str, key: str, said: Mapping[str, Any]) -> Mapping[str, Any]:
        email = str(said.get("email") or "")
        if kind == "contact" and addresses.without(email, is_theirs=True) != email:
            contacts.add(key)
        if kind == "task" and (said.get("contact_id") in contacts or key in tasks):
            return {**said, "subject": ERASED, "body": ERASED}
        is_theirs = kind == "contact" and key in contacts
        return {
            name: person.without(value, is_theirs=is_theirs) if isinstance(value, str) else value
            for name, value in said.items()
        }

    return crm.rewrite(change)


def files_that_name(warehouse: Path, person: Person) -> list[str]:
    """The landing files of which rows name a person, sorted.

    Args:
        warehouse: The warehouse, which may not be there.
        person: Whom.
    """
    if not warehouse.exists():
        return []
    named = " or ".join("contains(lower({0}), ?)" for _ in person.texts)
    texts = [text.lower() for text in sorted(person.texts)]
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        found = connection.execute(
            "select distinct path from raw.files where file_id in ("
            f"select file_id from raw.events where user_id = ? or {named.format('traits')} "
            f"union all select file_id from raw.quarantine where {named.format('raw')} "
            "union all select extracts.file_id from raw.crm_extracts as extracts "
            "join raw.crm_extract_rows as held "
            "on extracts.extract_id between held.first_extract_id and held.extract_id "
            "join raw.crm_versions as versions on held.version_id = versions.version_id "
            f"and extracts.entity = versions.entity where {named.format('payload')}) order by path",
            [person.user_id, *texts, *texts, *texts],
        ).fetchall()
    return [path for (path,) in found]


def _is_action_about(user_id: str, payload: str) -> bool:
    """Whether the payload of a delivery is an action (`actions.action_request`) that is about a user."""
    if json.dumps(user_id) not in payload:  # most, and parsing takes time
        return False
    action = json.loads(payload)
    about = action.get("payload") if isinstance(action, dict) else None
    return isinstance(about, dict) and about.get("user_id") == user_id


def _forms(text: str) -> set[str]:
    """A text as it was typed and as packages, messages and JSON have it."""
    forms = {text, plain(text)}
    forms |= {markdown(form) for form in forms} | {harmless(form) for form in forms}
    return forms | {json.dumps(form)[1:-1] for form in forms} | {json.dumps(f, ensure_ascii=False)[1:-1] for f in forms}
