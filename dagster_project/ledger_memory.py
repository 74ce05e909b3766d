"""Whether the ledger still knows what it knew when it was last copied into the warehouse.

LedgerError
 └─ LedgerHasForgotten: it was lost, is another one, or comes out of a backup
"""

import duckdb
import sqlalchemy as sa

from dagster_project.ledger import Ledger
from dagster_project.ledger_engine import LedgerError
from dagster_project.ledger_writing import CHANGES
from dagster_project.settings import Settings


class LedgerHasForgotten(LedgerError):
    """The ledger knows less than its own copy; the message says what would follow, and the way out."""


def check_memory(ledger: Ledger, connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """See that nothing is decided by a ledger that has forgotten something: all of that would be done again.

    Args:
        ledger: The ledger.
        connection: The warehouse.
        settings: Where both lie, for the message.

    Raises:
        LedgerHasForgotten: The warehouse has a copy of a later state.
    """
    # A copy that was interrupted may lack tables, one that an earlier version made may lack the column.
    copies = connection.sql(
        "select table_name from information_schema.columns where table_catalog = current_database() "
        "and table_schema = 'ops' and table_name in ('handoffs', 'deliveries') and column_name = 'change'"
    ).fetchall()
    newest = [connection.sql(f"select max(change) from ops.{table}").fetchall()[0][0] for (table,) in copies]
    copied = max((change for change in newest if change is not None), default=0)
    known = int(ledger.get_meta(CHANGES) or 0)
    if known < copied:
        shown = sa.make_url(settings.ledger_url).render_as_string()
        raise LedgerHasForgotten(
            f"the ledger {shown} has {known:,} changes, and {settings.warehouse} has a copy of one with {copied:,}: it "
            "was lost, is another one, or comes out of a backup. What it does not know would be sent to sellers and to "
            "the CRM again. Put the right one back; if there is none, remove the warehouse, which the next run makes "
            "anew, and expect alerts that were sent before"
        )
