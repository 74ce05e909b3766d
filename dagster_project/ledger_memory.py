"""Whether the ledger still knows what it knew when it was last copied into the warehouse.

LedgerError
 └─ LedgerHasForgotten: it was lost, is another one, or comes out of a backup
"""

from uuid import uuid4

import duckdb

from dagster_project.ledger import Ledger
from dagster_project.ledger_engine import LedgerError, shown_url
from dagster_project.ledger_writing import CHANGES
from dagster_project.settings import Settings
from dagster_project.warehouse import transaction

_COPIES = "copies into "
"""How the key in the ledger's `meta` begins under which it knows how many copies a warehouse has."""


class LedgerHasForgotten(LedgerError):
    """The ledger knows less than its own copy; the message says what would follow, and the way out."""


def note_copy(ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> None:
    """Write down in both that the ledger, as it is, was copied into this warehouse.

    The copies of a warehouse are counted. That the ledger goes on being written to does not make it one that knows of a
    later copy than it does.

    Args:
        ledger: The ledger; it is told first, so that it never knows of fewer copies than were made.
        connection: The warehouse.
    """
    warehouse_id, number = _copies(connection) or (uuid4().hex, 0)
    number = max(number, _known_copies(ledger, warehouse_id)) + 1
    ledger.set_meta(_COPIES + warehouse_id, str(number))
    with transaction(connection):
        connection.execute("delete from raw.ledger_copies")
        connection.execute("insert into raw.ledger_copies values (?, ?)", [warehouse_id, number])


def check_memory(ledger: Ledger, connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """See that nothing is decided, or done, by a ledger that has forgotten something: it would be done again.

    Args:
        ledger: The ledger.
        connection: The warehouse.
        settings: Where both lie, for the message.

    Raises:
        LedgerHasForgotten: The warehouse has a copy of a later state.
    """
    copied, known = _changes_copied(connection), int(ledger.get_meta(CHANGES) or 0)
    lacks = f"has {known:,} changes, and {{}} has a copy of one with {copied:,}" if known < copied else None
    if lacks is None and (copies := _copies(connection)):
        warehouse_id, number = copies
        if (told := _known_copies(ledger, warehouse_id)) < number:
            lacks = f"knows of {told:,} copies of it, and {{}} is copy {number:,}"
    if lacks is not None:
        shown = shown_url(settings.ledger_url)
        raise LedgerHasForgotten(
            f"the ledger {shown} {lacks.format(settings.warehouse)}: it was lost, is another one, or comes out of a "
            "backup. What it does not know would be sent to sellers and to the CRM again. Put the right one back; if "
            "there is none, remove the warehouse, which the next run makes anew, and expect alerts that were sent once"
        )


def _changes_copied(connection: duckdb.DuckDBPyConnection) -> int:
    # A copy that was interrupted may lack tables, one that an earlier version made may lack the column.
    copies = connection.sql(
        "select table_name from information_schema.columns where table_catalog = current_database() "
        "and table_schema = 'ops' and table_name in ('handoffs', 'deliveries') and column_name = 'change'"
    ).fetchall()
    newest = [connection.sql(f"select max(change) from ops.{table}").fetchall()[0][0] for (table,) in copies]
    return max((change for change in newest if change is not None), default=0)


def _copies(connection: duckdb.DuckDBPyConnection) -> tuple[str, int] | None:
    """What this warehouse is called, and how many copies were made into it; None before the first."""
    found = connection.sql("select warehouse_id, number from raw.ledger_copies").fetchall()
    return found[0] if found else None


def _known_copies(ledger: Ledger, warehouse_id: str) -> int:
    return int(ledger.get_meta(_COPIES + warehouse_id) or 0)
