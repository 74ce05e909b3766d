"""The resources of the code location."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg
import duckdb
from filelock import FileLock, Timeout
from pydantic import Field, PrivateAttr
from sqlalchemy import make_url

from dagster_project.clients.chat import Chat
from dagster_project.clients.chats import connect_chat
from dagster_project.clients.connectors import LOCAL, connect_crm
from dagster_project.clients.crm import CrmClient
from dagster_project.clients.kept import KeptClients
from dagster_project.core.playbook import Playbook
from dagster_project.dead_runs import noted
from dagster_project.held_warehouse import HeldWarehouse
from dagster_project.ledger import Ledger
from dagster_project.ledger_engine import only_run_on
from dagster_project.playbook_files import read_playbook
from dagster_project.settings import Settings, SettingsError, environment_settings
from dagster_project.warehouse import AnotherRun

WAREHOUSE_POOL = "warehouse"
"""The pool that every asset which writes the warehouse is in; `dagster.yaml` limits it to one run."""

_CLIENTS = KeptClients()


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
    _held: HeldWarehouse = PrivateAttr(default_factory=HeldWarehouse)
    """Dagster copies the resource, and the copies share this."""

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
            self._held.let_go()
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
            stays_open: Whether the file is left open, and locked, for the steps that follow; see `HeldWarehouse`.
        """
        with self._held.connect(self.settings.warehouse, stays_open=stays_open) as connection:
            yield connection

    def ledger(self) -> Ledger:
        """The ledger, migrated to this version's schema."""
        return Ledger(self.settings.ledger_url)

    def crm(self) -> CrmClient:
        """The connected CRM; runs of one process share it for a while.

        Raises:
            SettingsError: What it needs is not set.
        """
        settings, rules = self.settings, self.playbook.crm_sources

        def connect() -> CrmClient:
            return connect_crm(settings.crm, settings.crm_access, rules, local=settings.local_crm)

        try:
            if settings.crm == LOCAL:
                return connect()
            access = (settings.crm, frozenset(settings.crm_access.items()), rules.model_dump_json())
            return _CLIENTS.get("crm", access, connect)
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
        """The clock, as naive UTC: the only one in the pipeline."""
        return datetime.now(UTC).replace(tzinfo=None)
