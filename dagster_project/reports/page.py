"""A report as one HTML file that needs no other: text, tables and pictures inside."""

import re
from collections.abc import Mapping, Sequence
from html import escape

from dagster_project.core.sections import Row, Section

_STYLE = """
:root { color-scheme: light; --ink: #1f2937; --muted: #6b7280; --line: #e5e7eb; --accent: #4f46e5; }
* { box-sizing: border-box; }
body { margin: 0; background: #f9fafb; color: var(--ink); font: 15px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 40px 24px 64px; }
header p { color: var(--muted); margin: 4px 0 0; }
h1 { font-size: 27px; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 0 0 6px; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 20px 24px; margin-top: 18px; }
section p { margin: 0 0 10px; max-width: 68ch; }
figure { margin: 12px 0 4px; }
figure svg { width: 100%; height: auto; max-width: 660px; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; margin-top: 10px; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--muted); font-weight: 600; }
th, td { padding: 6px 26px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td.number, th.number { text-align: right; white-space: nowrap; }
code { background: #f3f4f6; border-radius: 4px; padding: 1px 4px; font-size: 13px; }
nav { margin-top: 14px; font-size: 13.5px; } nav a { color: var(--accent); text-decoration: none; margin-right: 14px; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""
_NUMBER = re.compile(r"^[+-]?[\d,.]+( %|x)?$")
_INTERVAL = re.compile(r"^[+-]?[\d.]+( to |-)[+-]?[\d.]+( %)?$")


def html_page(sections: Sequence[Section], pictures: Mapping[str, str], *, title: str, told: str) -> str:
    """The page.

    Args:
        sections: What it says.
        pictures: SVG elements by the names that sections have for them.
        title: Its heading.
        told: A line below it.
    """
    links = "".join(f'<a href="#s{n}">{escape(section.title)}</a> ' for n, section in enumerate(sections))
    body = "".join(_section(n, section, pictures.get(section.picture, "")) for n, section in enumerate(sections))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<header><h1>{escape(title)}</h1><p>{escape(told)}</p><nav>{links}</nav></header>{body}</main></body></html>\n"
    )


def _section(number: int, section: Section, picture: str) -> str:
    paragraphs = "".join(f"<p>{_inline(part)}</p>" for part in section.text.split("\n\n") if part)
    figure = f'<figure role="img" aria-label="{escape(section.title)}">{picture}</figure>' if picture else ""
    return (
        f'<section id="s{number}"><h2>{escape(section.title)}</h2>{paragraphs}{figure}{_table(section.rows)}</section>'
    )


def _inline(text: str) -> str:
    """Bold and code of the sections' own texts."""
    safe = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", safe)


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    right = {name: all(_is_number(row[name]) for row in rows) and any(row[name] for row in rows) for name in rows[0]}
    kind = {name: ' class="number"' if right[name] else "" for name in rows[0]}
    head = "".join(f"<th{kind[name]}>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td{kind[name]}>{escape(row[name])}</td>" for name in rows[0]) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _is_number(text: str) -> bool:
    return not text or bool(_NUMBER.match(text) or _INTERVAL.match(text))
