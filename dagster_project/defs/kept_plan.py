"""The plan between `crm/plan` and `crm/fields`: rows in the warehouse, added to by the one and read by the other.

It stays there until the next one. What of it is still to be written is asked of the ledger each time.
"""

from collections.abc import Iterable, Iterator

import duckdb
import polars as pl

from dagster_project.core.sync import Target, without_confirmed
from dagster_project.defs.resources import Workplace
from dagster_project.defs.tables import append_rows
from dagster_project.field_plans import OPERATION, PORTION, certain
from dagster_project.ledger import Ledger
from dagster_project.refresh import require_tables

PLAN = "activation.crm_updates"
"""Its table: `core.sync.PLAN_SCHEMA` and the object type."""


def still_to_write(
    ledger: Ledger, to: str, object_type: str, plan: Iterable[pl.DataFrame], *, target: Target
) -> Iterator[pl.DataFrame]:
    """A plan without the records of which all that it would write has been confirmed since it was made.

    Args:
        ledger: What was confirmed, and what was begun and never answered: that is written again.
        to: The destination's name.
        object_type: `contact` or `account`.
        plan: `core.sync.PLAN_SCHEMA`, by portions.
        target: What is written, and how.
    """
    doubtful: dict[str, str] | None = None
    for part in plan:
        ids = part.filter(pl.col("operation").is_in(["create", "update"]))["object_id"].to_list()
        if not ids:
            yield part
            continue
        if doubtful is None:
            doubtful = ledger.unsettled(to, object_type, OPERATION)
        yield without_confirmed(part, certain(ledger.confirmed(to, object_type, ids), doubtful), target)


class PlanRows:
    """A plan on its way into the warehouse, which is opened now and then and not for each part of it."""

    def __init__(self, workplace: Workplace) -> None:
        self._workplace = workplace
        self._parts: list[pl.DataFrame] = []

    def add(self, kind: str, part: pl.DataFrame) -> None:
        """Take rows of one object type, see `core.sync.PLAN_SCHEMA`; the warehouse may get them later."""
        self._parts.append(part.select(pl.lit(kind).alias("object_type"), pl.all()))
        if sum(part.height for part in self._parts) >= PORTION:
            with self._workplace.connect(stays_open=True) as connection:
                self._write(connection)

    def flush(self) -> None:
        """Write what the warehouse has not got yet."""
        if self._parts:
            with self._workplace.connect(stays_open=True) as connection:
                self._write(connection)

    def _write(self, connection: duckdb.DuckDBPyConnection) -> None:
        append_rows(connection, PLAN, pl.concat(self._parts))
        self._parts.clear()


class KeptPlan:
    """The plan as it stands in the warehouse, which nobody has open while something takes long to be sent.

    Attributes:
        planned: How many records it would write.
    """

    def __init__(self, workplace: Workplace) -> None:
        self._workplace = workplace
        with workplace.connect(stays_open=True) as connection:
            require_tables(connection, [PLAN])
            [(self.planned, rows)] = connection.sql(
                f"select count(*) filter (where operation in ('create', 'update')), count(*) from {PLAN}"
            ).fetchall()
            # A small one is read at once: opening a large warehouse takes longer than all of it.
            self._whole = connection.sql(f"select * from {PLAN} order by object_id").pl() if rows <= PORTION else None

    def portions(self, kind: str, *, only_settled: bool) -> Iterator[pl.DataFrame]:
        """The rows of one object type, all or only those in which nothing is left to write."""
        for part in self._parts(kind):
            yield part.filter(pl.col("operation") == "none") if only_settled else part

    def _parts(self, kind: str) -> Iterator[pl.DataFrame]:
        if self._whole is not None:
            yield self._whole.filter(pl.col("object_type") == kind).drop("object_type")
            return
        after = ""
        while True:
            with self._workplace.connect(stays_open=True) as connection:
                part = connection.sql(
                    f"select * exclude (object_type) from {PLAN} where object_type = ? and object_id > ? "
                    f"order by object_id limit {PORTION}",
                    params=[kind, after],
                ).pl()
            if part.is_empty():
                return
            after = part["object_id"][-1]
            yield part
