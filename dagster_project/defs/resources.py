"""The resources of the code location."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path

import dagster as dg
import duckdb
from filelock import FileLock, Timeout
from pydantic import Field, PrivateAttr

from dagster_project.clients.chat import Chat
from dagster_project.clients.chats import connect_chat
from dagster_project.clients.connectors import LOCAL, connect_crm
from dagster_project.clients.crm import CrmClient
from dagster_project.clients.kept import KeptClients
from dagster_project.clock import utc_now
from dagster_project.core.playbook import Playbook
from dagster_project.dead_runs import noted
from dagster_project.held_warehouse import HeldWarehouse
from dagster_project.ledger import Ledger
from dagster_project.ledger_engine import only_run_on, shown_url
from dagster_project.playbook_files import read_playbook
from dagster_project.settings import Settings, SettingsError, environment_settings
from dagster_project.warehouse import AnotherRun

WAREHOUSE_POOL = "warehouse"
"""The pool that every asset which writes the warehouse is in; `dagster.yaml` limits it to one run."""

_CLIENTS = KeptClients()


def begun_by(run: dg.DagsterRun) -> str:
    """The id of the run that a run goes on with, which is its own unless somebody executes again what has failed.

    What the first one has decided holds for those that go on from where it failed.
    """
    return run.root_run_id or run.run_id


@contextmanager
def _held_lock(path: Path, timeout_seconds: float) -> Iterator[bool]:
    """Whether a file's lock could be had within so many seconds; it is held until the end of the block."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout_seconds)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


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
    read_beside: dict[str, str] | None = Field(
        default=None,
        description="Entities of the connected CRM that somebody else has read into the data folder for this run to "
        "load, each with why it could not be read, or nothing. Without it the run reads what is due itself",
    )
    scores_first_from: int = Field(
        default=500,
        description="Users whom a delta has to have scored for it to publish scores before anything is decided. Fewer "
        "are published with what was decided: that takes less time than publishing twice, and alerts come sooner",
    )
    lock_timeout_seconds: float = 600.0
    _held: HeldWarehouse = PrivateAttr(default_factory=HeldWarehouse)
    """Of the one that a run is given: Dagster makes that anew of the fields above, and all steps share it."""

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
        with self.folder_locked(), only_run_on(self.settings.ledger_url, self.lock_timeout_seconds) as is_ours:
            if not is_ours:
                shown = shown_url(self.settings.ledger_url)
                raise AnotherRun(
                    f"another run, on another data folder, has held the ledger {shown} for "
                    f"{self.lock_timeout_seconds:.0f} s; wait for it to end, or stop it"
                )
            yield

    @contextmanager
    def folder_locked(self) -> Iterator[None]:
        """Hold the data folder's lock alone, for a look into the warehouse; raises what `locked` does."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        with _held_lock(self.settings.run_lock, self.lock_timeout_seconds) as is_ours:
            if not is_ours:
                raise AnotherRun(
                    f"another run has held {self.settings.run_lock} for {self.lock_timeout_seconds:.0f} s; "
                    "wait for it to end, or stop it"
                )
            try:
                yield
            finally:
                self._held.let_go()

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
            stays_open: Whether the file is left open, and locked, for the steps that follow; see `HeldWarehouse`.
        """
        with self._held.connect(self.settings.warehouse, stays_open=stays_open) as connection:
            yield connection

    def crm_pages_locked(self, timeout_seconds: float) -> AbstractContextManager[bool]:
        """Whether nobody else reads pages of the connected CRM, or loads them, until the end of the block.

        Whoever holds this waits for no run, so that a run may wait for it.

        Args:
            timeout_seconds: How long to wait for somebody else who does.
        """
        return _held_lock(self.settings.crm_pages_lock, timeout_seconds)

    def ledger(self) -> Ledger:
        """The ledger, migrated to this version's schema."""
        return Ledger(self.settings.ledger_url)

    def crm(self) -> CrmClient:
        """The connected CRM; runs of one process share it for a while.

        Raises:
            SettingsError: What it needs is not set.
        """
        settings = self.settings
        if settings.crm == LOCAL:
            return self.own_crm()
        access = (settings.crm, frozenset(settings.crm_access.items()), self.playbook.crm_sources.model_dump_json())
        return _CLIENTS.get("crm", access, self.own_crm)

    def own_crm(self) -> CrmClient:
        """The connected CRM, with a client that nobody shares and that knows nothing yet; raises what `crm` does."""
        settings = self.settings
        try:
            return connect_crm(settings.crm, settings.crm_access, self.playbook.crm_sources, local=settings.local_crm)
        except ValueError as error:
            raise SettingsError(f"PLS_CRM is {settings.crm}: {error}") from None

    @staticmethod
    def connect_anew() -> None:
        """What was learnt of outside systems may not be so any more: the next `crm` and `chat` know nothing of it."""
        _CLIENTS.forget()

    def chat(self) -> Chat:
        """Slack's bot, else its webhook, else the outbox: whichever is set up; shared like the CRM."""
        slack, rules, outbox = self.settings.slack, self.playbook.delivery.slack, self.settings.outbox
        access = (slack, rules.model_dump_json(), outbox)
        return _CLIENTS.get("chat", access, lambda: connect_chat(slack, rules, outbox=outbox))

    def now(self) -> datetime:
        """The clock of this run, as naive UTC."""
        return utc_now()
