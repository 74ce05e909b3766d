"""A report's sections at a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dagster_project.core.sections import Section


def print_sections(console: Console, sections: Sequence[Section]) -> None:
    """Print each section: heading, text, table."""
    for section in sections:
        console.print(f"[bold]{escape(section.title)}[/bold]")
        console.print(escape(section.text.replace("**", "").replace("`", "")), highlight=False)
        if section.rows:
            table = Table(box=None, pad_edge=False, header_style="dim")
            for name in section.rows[0]:
                table.add_column(escape(name), overflow="fold")
            for row in section.rows:
                table.add_row(*(escape(value) for value in row.values()))
            console.print(table)
        console.print()
