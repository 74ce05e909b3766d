"""Records that a run had to write elsewhere and did not, so that deltas write them, whose plans are about few records.

`activation.left_over` in the warehouse, one row per record. A run takes some of them up, and when it has sent what it
could, they go, and what it left itself is put in their place. What is refused for good, or waits for somebody's yes, is
not among them.
"""

from collections.abc import Iterable

import duckdb
import polars as pl

TABLE = "activation.left_over"
AT_ONCE = 1_000
"""How many of them a delta takes up, since somebody waits for its news; a run of everything plans all anyway."""
_CREATE = f"""
create schema if not exists activation;
create table if not exists {TABLE} (
  destination varchar, object_type varchar, object_id varchar, is_held boolean, is_taken boolean
);
"""


def take_up(connection: duckdb.DuckDBPyConnection, destination: str, *, everything: bool, held_too: bool) -> int:
    """Note what a run plans again, those that have waited longest first.

    Args:
        connection: The warehouse.
        destination: Where to.
        everything: Whether the run is about all records.
        held_too: Whether those that were held while a feed was silent may be written now.

    Returns:
        How many there are.
    """
    connection.execute(_CREATE)
    limit = "" if everything else f"limit {AT_ONCE}"
    [(count,)] = connection.execute(
        f"update {TABLE} set is_taken = true where rowid in (select rowid from {TABLE} "
        f"where destination = ? and (? or not is_held) order by rowid {limit})",
        [destination, held_too or everything],
    ).fetchall()
    return int(count)


def taken(destination: str, object_type: str) -> str:
    """A query for the ids that were taken up."""
    return (
        f"select object_id from {TABLE} "
        f"where is_taken and destination = '{destination}' and object_type = '{object_type}'"
    )


def drop_taken(connection: duckdb.DuckDBPyConnection, destination: str) -> None:
    """What was taken up has been tried."""
    connection.execute(f"delete from {TABLE} where destination = ? and is_taken", [destination])


def put_off(
    connection: duckdb.DuckDBPyConnection,
    destination: str,
    object_type: str,
    ids: Iterable[str],
    *,
    is_held: bool = False,
) -> None:
    """Leave records to a later run.

    Args:
        connection: The warehouse.
        destination: Where to.
        object_type: As the destination calls it.
        ids: Which.
        is_held: Whether they have to wait until all feeds deliver.
    """
    rows = pl.DataFrame({"object_id": list(ids)}, schema={"object_id": pl.String()})
    if rows.is_empty():
        return
    connection.execute(
        f"delete from {TABLE} where destination = ? and object_type = ? and object_id in (select object_id from rows)",
        [destination, object_type],
    )
    connection.execute(
        f"insert into {TABLE} select ?, ?, object_id, ?, false from rows", [destination, object_type, is_held]
    )
