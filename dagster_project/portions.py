"""Tables that grow with users, read and written a portion of rows at a time, so that memory does not grow with them."""

from collections.abc import Iterator
from contextlib import closing

import duckdb
import polars as pl

PORTION = 25_000
"""Users or accounts that are in memory with all that is known of them, at a time."""


def portions(connection: duckdb.DuckDBPyConnection, query: str, *, rows: int = PORTION) -> Iterator[pl.DataFrame]:
    """The result of a query as frames, while the connection is free for other things.

    Args:
        connection: The warehouse. What it has not committed is not seen, nor are its temporary tables.
        query: What is read.
        rows: How many rows a frame has; the last one has what is left.

    Yields:
        At least one frame, which has no rows where there are none.
    """
    with closing(connection.cursor()) as reader:
        batches = reader.sql(query).to_arrow_reader(rows)
        is_empty = True
        for batch in batches:
            is_empty = False
            yield pl.DataFrame(batch)
        if is_empty:
            yield pl.DataFrame(batches.schema.empty_table())


def on_its_own(picked: pl.DataFrame) -> pl.DataFrame:
    """The same rows, for keeping: columns that were picked of a frame keep all of what was read for it in memory.

    Numbers are copied by taking every row, texts by arrow's older form of them.
    """
    copied = picked.select(pl.all().gather(pl.int_range(pl.len())))
    return pl.DataFrame(copied.to_arrow(compat_level=pl.CompatLevel.oldest()))


def add_portion(connection: duckdb.DuckDBPyConnection, table: str, portion: pl.DataFrame) -> None:
    """Add rows to a table (schema.name), which is made with the frame's columns where it is missing.

    DuckDB finds the rows as a local variable; a registered name would be held in memory until the commit.
    """
    connection.execute(f"create table if not exists {table} as from portion limit 0")
    connection.execute(f"insert into {table} by name from portion")
