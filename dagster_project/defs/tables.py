"""Frames to warehouse tables and to what the UI shows of them: Markdown tables and bar charts."""

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import duckdb
import polars as pl

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


def append_rows(connection: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame) -> None:
    """Add the frame's rows to `table`, which has the same columns."""
    connection.register("incoming_frame", frame)
    try:
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
    # Half a second that a process which draws nothing need not spend.
    from matplotlib.figure import Figure

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


def shown_table(
    connection: duckdb.DuckDBPyConnection, table: str, told: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What the UI shows of one table; see `shown_tables`.

    Args:
        connection: The warehouse.
        table: Its name as `schema.name`.
        told: What to say about its columns.
    """
    return shown_tables(connection, {table: told or {}})[table]


def shown_tables(
    connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, Any]]:
    """What the UI shows of tables and views that exist: their columns and, where it is cheap, how many rows they have.

    Args:
        connection: The warehouse.
        tables: By name as `schema.name`, what to say about a column, by its name, where the warehouse has no comment
            on it. Published tables are the only ones that have comments.

    Returns:
        Metadata of an asset by the table's name.
    """
    published = [name for name in tables if name.startswith("marts.")]
    comments = _comments(connection, published) if published else {}
    views = {
        name for (name,) in connection.sql("select schema_name || '.' || view_name from duckdb_views()").fetchall()
    }
    shown: dict[str, dict[str, Any]] = {}
    for name, told in tables.items():
        try:
            columns = connection.execute(f"describe {name}").fetchall()
        except (duckdb.CatalogException, duckdb.BinderException):  # not there, or a view of what is not there
            continue
        described = [
            dg.TableColumn(column, kind.lower(), description=comments.get((name, column)) or told.get(column))
            for column, kind, *_ in columns
        ]
        shown[name] = {"dagster/column_schema": dg.TableSchema(described)}
        if name not in views or name in published:  # a published view only selects from tables
            [(count,)] = connection.sql(f"select count(*) from {name}").fetchall()
            shown[name]["dagster/row_count"] = count
    return shown


def _comments(connection: duckdb.DuckDBPyConnection, tables: Sequence[str]) -> dict[tuple[str, str], str]:
    """By table and column what the warehouse says of it. All of its columns are gone through: that takes a while."""
    rows = connection.execute(
        "select schema_name || '.' || table_name as name, column_name, comment from duckdb_columns() "
        "where database_name = current_database() and list_contains(?, name) and comment is not null",
        [list(tables)],
    ).fetchall()
    return {(name, column): comment for name, column, comment in rows}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list):
        value = ", ".join(str(item) for item in value)
    return markdown(value)
