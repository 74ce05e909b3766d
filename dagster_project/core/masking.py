"""Personal data made unreadable: a column on the list is shown as its first letters, wherever it appears.

Which columns are on the list is the playbook's business (``assistant.yml``).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dagster_project.core.escaping import markdown, plain
from dagster_project.core.wording import short

HIDDEN = "…"
_ADDRESS = re.compile(r"(?<![^\s(<\[\"'*:,;])[^\s@()<>\[\]\"'*:,;…]+@(?:[\w-]+\\?\.)+\w{2,}")
_WITHHELD = "(personal data: not shown)"
_NAMES = frozenset({"email", "user_name", "contact_name", "person", "name"})
"""Columns of which a first letter helps and tells nobody who it is; of others nothing is shown."""


@dataclass(frozen=True)
class Mask:
    """What is masked.

    Attributes:
        columns: Their names.
    """

    columns: frozenset[str]

    def value(self, column: str, value: Any) -> Any:
        """The value as it may be shown."""
        if column not in self.columns or value is None:
            return value
        if column not in _NAMES:
            return _WITHHELD
        return masked(str(value))

    def row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as it may be shown."""
        return {name: self.value(name, value) for name, value in row.items()}

    def text(self, text: str, people: Iterable[Mapping[str, Any]]) -> str:
        """A text in which the masked values of these people don't stand any more.

        Args:
            text: Written about these people, among others.
            people: Rows with columns of theirs.
        """
        known: dict[str, str] = {}
        for person in people:
            for column, value in person.items():
                if column in self.columns & _NAMES and value and str(value).strip():
                    shown = masked(str(value))
                    # As it was typed, as it is told, in a sentence too, and as Markdown tells it.
                    for told in (str(value), plain(value), short(str(value))):
                        known |= {told: shown, markdown(told): shown}
        if known:
            # Whole words: a short name is part of many others.
            longest_first = "|".join(re.escape(value) for value in sorted(known, key=len, reverse=True))
            text = re.sub(rf"(?<!\w)(?:{longest_first})(?!\w)", lambda found: known[found[0]], text)
        if "email" in self.columns:  # of whomever: who is not here any more, or had another address then
            text = _ADDRESS.sub(lambda found: masked(found[0]), text)
        return text


def masked(text: str) -> str:
    """First letters: `a…@acme.com`, `A… S…`."""
    local, at, domain = text.rpartition("@")
    if at and local and " " not in text:
        return f"{local[:1]}{HIDDEN}@{domain}"
    return " ".join(f"{word[:1]}{HIDDEN}" for word in text.split())
