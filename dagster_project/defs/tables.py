"""Frames to warehouse tables and to what the UI shows of them: Markdown tables and bar charts."""

import base64
import io
from collections.abc import Sequence

import dagster as dg
import duckdb
import polars as pl
from matplotlib.figure import Figure

from dagster_project.core.escaping import markdown


def replace_table(connection: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame) -> None:
    """Make `table` (schema.name) hold exactly the frame's rows and columns."""
    schema = table.partition(".")[0]
    connection.execute(f"create schema if not exists {schema}")
    connection.register("incoming_frame", frame)
    try:
        connection.execute(f"create or replace table {table} as select * from incoming_frame")
    finally:
        connection.unregister("incoming_frame")


def replace_rows(connection: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame, rows: str) -> None:
    """Make the frame's rows stand where `rows`, a condition, holds in `table`; the columns are the same."""
    connection.register("incoming_frame", frame)
    try:
        connection.execute(f"delete from {table} where {rows}")
        connection.execute(f"insert into {table} by name select * from incoming_frame")
    finally:
        connection.unregister("incoming_frame")


def markdown_table(frame: pl.DataFrame) -> dg.MarkdownMetadataValue:
    """A frame as a Markdown table; cell texts that users typed can't break out of their cell."""
    rows = [frame.columns, ["---"] * frame.width, *frame.rows()]
    lines = [
        "| " + " | ".join(_cell(cell) if number > 1 else str(cell) for cell in row) + " |"
        for number, row in enumerate(rows)
    ]
    return dg.MetadataValue.md("\n".join(lines))


def bar_chart(labels: Sequence[str], values: Sequence[int], *, title: str) -> dg.MarkdownMetadataValue:
    """Horizontal bars with their numbers, as a picture inside Markdown."""
    figure = Figure(figsize=(6, 0.5 + 0.4 * max(1, len(labels))), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(labels), list(values), color="#4f46e5")
    axes.bar_label(bars, padding=3, fmt="{:,.0f}")
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.15)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    encoded = base64.b64encode(picture.getvalue()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{encoded})")


def column_schema(frame: pl.DataFrame) -> dg.TableSchema:
    """The frame's columns for the UI."""
    return dg.TableSchema(columns=[dg.TableColumn(name, str(dtype).lower()) for name, dtype in frame.schema.items()])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        value = ", ".join(str(item) for item in value)
    return markdown(value)
