"""How names, numbers and lists are written for a reader; every text that comes out is plain and of one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagster_project.core.escaping import plain

Row = Mapping[str, Any]
LONGEST_IN_A_SENTENCE = 80
"""Characters of a name within running text: a longer one would be the whole sentence."""
_EXAMPLES = 3


def score_text(score: float) -> str:
    """A score as people write it: 95.3, and 80 rather than 80.0."""
    return f"{score:.1f}".removesuffix(".0")


def person_name(person: Row) -> str:
    """What to call a person: the CRM's name, the product's, the e-mail, the id."""
    return first_text(person, "contact_name", "user_name", "email", "user_id")


def company_name(person: Row, account: Row | None) -> str:
    """The account's name, else its domain or id; a person without an account stands for themselves."""
    if account is None:
        return person_name(person)
    return first_text(account, "name", "domain", "account_id").removeprefix("domain:")


def first_text(row: Row, *columns: str) -> str:
    """The first of the columns that says something, as plain text."""
    return next((text for column in columns if (text := plain(row[column]))), "")


def short(text: str) -> str:
    """A text that fits into a sentence."""
    return plain(text, longest=LONGEST_IN_A_SENTENCE)


def listing(items: Sequence[str], limit: int = _EXAMPLES) -> str:
    """The first few as `a, b and c`."""
    shown = list(items[:limit])
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def many(count: int, one: str, several: str | None = None) -> str:
    """A number with its noun: `1 import`, `2 imports`."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def number(value: object) -> str:
    """A number as it was published, without needless zeros; what is none stays the text that it is."""
    text = plain(value)
    try:
        return f"{float(text):.2f}".rstrip("0").removesuffix(".")
    except ValueError:
        return text


def percent(value: object) -> str:
    """A share as a percentage; what is no number stays the text that it is."""
    text = plain(value)
    try:
        return f"{float(text):.0%}"
    except ValueError:
        return text
