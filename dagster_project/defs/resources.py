"""The resources of the code location."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg
import duckdb
from filelock import FileLock, Timeout
from pydantic import Field, PrivateAttr
from sqlalchemy import make_url

from dagster_project.clients.connectors import LOCAL, connect_crm
from dagster_project.clients.crm import CrmClient
from dagster_project.core.playbook import Playbook
from dagster_project.dead_runs import noted
from dagster_project.ledger import Ledger
from dagster_project.ledger_engine import only_run_on
from dagster_project.playbook_files import read_playbook
from dagster_project.settings import Settings, SettingsError, environment_settings
from dagster_project.warehouse import AnotherRun, Warehouse, use_utc

WAREHOUSE_POOL = "warehouse"
"""The pool that every asset which writes the warehouse is in; `dagster.yaml` limits it to one run."""


@dataclass
class _Held:
    """What keeps the warehouse's file open between steps; Dagster copies the resource, and the copies share this."""

    connection: duckdb.DuckDBPyConnection | None = None


class Workplace(dg.ConfigurableResource):
    """The stores and rules of one installation, held by one run at a time.

    For the whole of a run it holds a lock on the data folder, so that a run from the command line and one from
    the UI take turns instead of mixing their moments.
    """

    overrides: dict[str, str] = Field(
        default_factory=dict, description="PLS_* variables that win over the environment's, for one run"
    )
    complete_files: list[str] | None = Field(
        default=None,
        description="Versions of landing files that somebody saw completed: a name, a size in bytes and a time, naive "
        "UTC, with blanks between; other young files are left for a later run. "
        "Without it a run waits until every file has been left alone for a while",
    )
    yes: bool = Field(
        default=False, description="Whether a run may change more records of the CRM than crm_fields.yml allows"
    )
    lock_timeout_seconds: float = 600.0
    _held: _Held = PrivateAttr(default_factory=_Held)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Workplace"]:
        """Hold the data folder's lock while the run lasts."""
        run_id = context.run.run_id if context.run else None
        with self.locked(), noted(self.settings.run_note, context.instance, run_id):
            yield self

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the data folder's lock, and that of a ledger which others may share.

        Raises:
            AnotherRun: It was held for longer than `lock_timeout_seconds`.
        """
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.settings.run_lock)
        try:
            lock.acquire(timeout=self.lock_timeout_seconds)
        except Timeout:
            raise AnotherRun(
                f"another run has held {self.settings.run_lock} for {self.lock_timeout_seconds:.0f} s; "
                "wait for it to end, or stop it"
            ) from None
        try:
            with only_run_on(self.settings.ledger_url, self.lock_timeout_seconds) as is_ours:
                if not is_ours:
                    shown = make_url(self.settings.ledger_url).render_as_string()
                    raise AnotherRun(
                        f"another run, on another data folder, has held the ledger {shown} for "
                        f"{self.lock_timeout_seconds:.0f} s; wait for it to end, or stop it"
                    )
                yield
        finally:
            self.let_go()
            lock.release()

    @cached_property
    def settings(self) -> Settings:
        """Paths and choices."""
        return environment_settings(self.overrides)

    @cached_property
    def playbook(self) -> Playbook:
        """The rules of this run, read once."""
        return read_playbook(self.settings.playbook_dir)

    @contextmanager
    def connect(self, *, stays_open: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A writing connection to the warehouse.

        Args:
            stays_open: Whether the file is left open, and locked, for the steps that follow: opening one of many
                gigabytes takes longer than what a small batch has to do in it. `let_go`, or a block that does not ask
                for it, ends that. Nobody who waits for an answer from outside may have the file open.
        """
        held = self._held
        if held.connection is None:
            with Warehouse(self.settings.warehouse).connect() as connection:
                yield connection
                if stays_open:
                    # DuckDB keeps a file open in this process for as long as one connection to it is.
                    held.connection = duckdb.connect(str(self.settings.warehouse))
            return
        connection = held.connection.cursor()
        use_utc(connection)
        try:
            yield connection
        finally:
            connection.close()
            if not stays_open:
                self.let_go()

    def let_go(self) -> None:
        """Close the warehouse's file, if a step left it open."""
        if self._held.connection is not None:
            self._held.connection.close()
            self._held.connection = None

    def ledger(self) -> Ledger:
        """The ledger, migrated to this version's schema."""
        return Ledger(self.settings.ledger_url)

    @property
    def crm_is_here(self) -> bool:
        """Whether the CRM is the embedded one: it answers at once, and the warehouse's file may stay open meanwhile."""
        return self.settings.crm == LOCAL

    def crm(self) -> CrmClient:
        """The connected CRM; unless it is the embedded one, the warehouse's file is let go.

        Raises:
            SettingsError: What it needs is not set.
        """
        settings = self.settings
        if not self.crm_is_here:
            self.let_go()
        try:
            return connect_crm(settings.crm, settings.crm_access, self.playbook.crm_sources, local=settings.local_crm)
        except ValueError as error:
            raise SettingsError(f"PLS_CRM is {settings.crm}: {error}") from None

    def now(self) -> datetime:
        """The clock, as naive UTC: the only one in the pipeline."""
        return datetime.now(UTC).replace(tzinfo=None)
