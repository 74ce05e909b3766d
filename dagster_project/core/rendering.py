"""A handoff package as Markdown. The model says everything once, in plain text; a renderer only lays it out.

What a package says is built in ``packages``; Slack's layout of the same model is in ``block_kit``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dagster_project.core.escaping import markdown
from dagster_project.core.package_model import HandoffPackage, Line, Signal
from dagster_project.core.wording import score_text

_NAMED = {
    "contact_name": re.compile(r"^- \*\*Name\*\*: (.+)$", re.MULTILINE),
    "email": re.compile(r"^- \*\*E\\?-mail\*\*: (.+)$", re.MULTILINE),
}
LINE_LENGTH = 600
"""Characters of one line: a sentence of the playbook with a few names in it."""


def handoff_markdown(package: HandoffPackage) -> str:
    """The package of section 6: seven headings in the specified order, the last five with lines below."""
    journey = [f"- **{moment.at:%Y-%m-%d}**: {markdown(moment.what)}" for moment in package.journey]
    signals = [signal_line(signal) for signal in package.signals]
    sections: dict[str, list[str]] = {
        f"## {markdown(package.title)}: {markdown(package.company)}": [],
        f"### Score: {score_text(package.score)}/100": [],
        "### Key Signals": signals,
        "### User Journey": journey,
        "### Product Context": _lines(package.product),
        "### Suggested Approach": _lines(package.approach),
        "### Contact": _lines(package.contact),
    }
    return "\n\n".join("\n".join([heading, *body]) for heading, body in sections.items()) + "\n"


def named_in(package: str) -> dict[str, str]:
    """Whom a package that was rendered as Markdown names: `contact_name` and `email`, those that it has.

    They are as they were then; the person may be called otherwise now.
    """
    return {column: found[1] for column, line in _NAMED.items() if (found := line.search(package))}


def signal_line(signal: Signal) -> str:
    """A signal as a line of a list."""
    return f"- **{markdown(signal.label)}**: {markdown(signal.value)} ({markdown(signal.meaning)})"


def _lines(lines: Iterable[Line]) -> list[str]:
    return [f"- **{markdown(line.label)}**: {markdown(line.text, LINE_LENGTH)}" for line in lines]


def handoff_text(package: HandoffPackage) -> str:
    """The package as plain text, for fields that know no markup such as a task of the CRM."""
    told = {
        "Key Signals": [f"{signal.label}: {signal.value} ({signal.meaning})" for signal in package.signals],
        "User Journey": [f"{moment.at:%Y-%m-%d}: {moment.what}" for moment in package.journey],
        "Product Context": [f"{line.label}: {line.text}" for line in package.product],
        "Suggested Approach": [f"{line.label}: {line.text}" for line in package.approach],
        "Contact": [f"{line.label}: {line.text}" for line in package.contact],
    }
    heading = f"{package.title}: {package.company}\nScore: {score_text(package.score)}/100"
    return "\n\n".join([heading, *("\n".join([name, *lines]) for name, lines in told.items())]) + "\n"
