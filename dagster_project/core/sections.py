"""A report as sections of text and tables, with pictures by name; as Markdown. As a page it is drawn elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dagster_project.core.escaping import markdown

Row = Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        title: Its heading.
        text: Paragraphs, Markdown without headings and tables.
        rows: A table, cell by column; every row has the columns of the first.
        picture: Which chart belongs here, or nothing.
    """

    title: str
    text: str
    rows: Sequence[Row] = ()
    picture: str = ""


def as_markdown(sections: Sequence[Section], title: str) -> str:
    """The report without its pictures."""
    parts = [f"# {title}"]
    for section in sections:
        parts += [f"## {section.title}", section.text]
        if section.rows:
            parts.append(markdown_rows(section.rows))
    return "\n\n".join(parts) + "\n"


def markdown_rows(rows: Sequence[Row]) -> str:
    """A table; what somebody typed stays in its cell."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(markdown(row[name]) for name in names)} |" for row in rows]
    return "\n".join(lines)
