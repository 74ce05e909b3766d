"""A handoff package as Slack Block Kit: the same model as the Markdown, in elements in which text is only text.

What people typed stands in plain-text and rich-text elements, which know no markup, links or mentions. Every text is
cut to a length that Slack takes, so that no package can be refused for what is in it. Source of the limits: Slack's
reference (a header has 150 characters, a message 50 blocks).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dagster_project.core.escaping import plain
from dagster_project.core.package_model import HandoffPackage, Line
from dagster_project.core.wording import score_text

Block = dict[str, Any]
HEADER_LENGTH = 150
LINE_LENGTH = 500
SECTION_LENGTH = 2000
"""Characters of one section; all of them together stay below what Slack takes as one message."""


def handoff_blocks(package: HandoffPackage) -> list[Block]:
    """The package of section 6 as blocks, seven headings in the specified order."""
    sections: dict[str, Iterable[tuple[str, str]]] = {
        "Key Signals": [(signal.label, f"{signal.value} ({signal.meaning})") for signal in package.signals],
        "User Journey": [(f"{moment.at:%Y-%m-%d}", moment.what) for moment in package.journey],
        "Product Context": _pairs(package.product),
        "Suggested Approach": _pairs(package.approach),
        "Contact": _pairs(package.contact),
    }
    heading = plain(f"{package.title}: {package.company}", longest=HEADER_LENGTH)
    return [
        {"type": "header", "text": {"type": "plain_text", "text": heading, "emoji": False}},
        _rich_text([_heading(f"Score: {score_text(package.score)}/100")]),
        *(_rich_text([_heading(name), *_bullets(pairs)]) for name, pairs in sections.items()),
    ]


def _pairs(lines: Sequence[Line]) -> list[tuple[str, str]]:
    return [(line.label, line.text) for line in lines]


def _rich_text(elements: list[Block]) -> Block:
    return {"type": "rich_text", "elements": elements}


def _heading(text: str) -> Block:
    return {"type": "rich_text_section", "elements": [_bold(text)]}


def _bullets(pairs: Iterable[tuple[str, str]]) -> list[Block]:
    """A list, unless there is nothing to list: Slack refuses an empty one."""
    lines = [{"type": "rich_text_section", "elements": [_bold(label), _text(text)]} for label, text in _fitting(pairs)]
    return [{"type": "rich_text_list", "style": "bullet", "elements": lines}] if lines else []


def _fitting(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """As many lines as a section has room for, each cut to the length of one."""
    room = SECTION_LENGTH
    for label, text in pairs:
        shown = (plain(label, longest=HEADER_LENGTH), ": " + plain(text, longest=LINE_LENGTH))
        room -= sum(map(len, shown))
        if room < 0:
            yield "…", " and more"
            return
        yield shown


def _bold(text: str) -> Block:
    return {"type": "text", "text": text, "style": {"bold": True}}


def _text(text: str) -> Block:
    return {"type": "text", "text": text}
