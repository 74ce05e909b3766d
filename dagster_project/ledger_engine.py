"""How the ledger's database is opened: SQLite with write-ahead log, or PostgreSQL, at this version's revision.

LedgerError
 ├─ LedgerTooNew: the ledger was migrated by a newer version of the code
 └─ LedgerUnreachable: its database can't be opened
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from dagster_project.errors import PlsError

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 7_255_512
"""PostgreSQL's advisory lock under which a migration runs; any number that nothing else uses."""
RUN_LOCK = 7_255_513
"""The same of whoever has the only run on a ledger."""
RUN_PAUSE = 0.2
"""Seconds between two tries to have it."""
LOCK_SECONDS = 30
"""How long an SQLite ledger waits for others that write."""


class LedgerError(PlsError):
    """The ledger can't be used."""


class LedgerTooNew(LedgerError):
    """The ledger knows a revision that this version does not."""


class LedgerUnreachable(LedgerError):
    """The database is not there, is not ours to write, or does not answer."""


def shown_url(url: str | sa.URL) -> str:
    """A ledger's URL as it may be told: without what may be a password, wherever it stands."""
    parts = sa.make_url(url)
    # Of a password with an @ in it the rest is read as part of the host.
    host = parts.host.rpartition("@")[2] if parts.host else None
    return sa.URL.create(parts.drivername, host=host, port=parts.port, database=parts.database).render_as_string()


def ledger_engine(url: sa.URL) -> sa.Engine:
    """An engine for the ledger; the folder of an SQLite file is made."""
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise LedgerError(
            f"PLS_LEDGER_URL names a {url.get_backend_name()} database; expected sqlite:///... or postgresql+psycopg://..."
        )
    try:
        url.get_dialect().import_dbapi()
    except (sa.exc.NoSuchModuleError, ImportError) as error:
        raise LedgerError(
            f"PLS_LEDGER_URL names the driver {url.get_driver_name()}, which is not installed; expected "
            "postgresql+psycopg://... and .venv/bin/pip install -e '.[postgres]'"
        ) from error
    if url.get_backend_name() != "sqlite":
        return _on_server(url, pool_pre_ping=True)  # whoever keeps it open outlives a restart of the server
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": LOCK_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _: object) -> None:
        # The driver's own transactions begin late and leave schema changes out; ours are begun below.
        connection.isolation_level = None
        _switch_to_wal(connection)
        connection.execute("pragma synchronous = full")

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        # Writers wait for each other here and not halfway, where SQLite could only give up.
        connection.exec_driver_sql("begin immediate")

    return engine


def _on_server(url: sa.URL, **options: Any) -> sa.Engine:
    """An engine whose connections are found dead within two minutes, by us and by the server.

    By default a server keeps a session, and the lock that it has, for two hours after its client's machine is gone.
    """
    ours = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 5}
    engine = sa.create_engine(url, connect_args=ours, **options)

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _: object) -> None:
        for name, value in ours.items():
            try:
                with connection.cursor() as cursor:
                    cursor.execute(f"set tcp_{name} = {value}")
                connection.commit()
            except connection.Error:  # not every system knows all of them: what it does not know stays as it is
                connection.rollback()

    return engine


def _switch_to_wal(connection: Any) -> None:
    """Of several that switch a fresh file at once SQLite refuses all but one, without waiting: they try again."""
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            is_lock = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not is_lock or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


@contextmanager
def only_run_on(url: str, patience: float) -> Iterator[bool]:
    """Have the only run on a ledger that others reach as well, while the block lasts.

    Two data folders may have one PostgreSQL ledger: each of two runs at once would send what the other one sends. An
    SQLite ledger is kept by the lock on its data folder. A database that can't be reached now keeps nobody from going
    on: the steps that need it say so.

    Args:
        url: The ledger's.
        patience: Seconds to wait for another run to end.

    Yields:
        Whether it is this one's turn.
    """
    if not url.startswith("postgresql"):
        yield True
        return
    engine = _on_server(sa.make_url(url), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    try:
        connection = engine.connect()
    except sa.exc.OperationalError:
        yield True
        return
    # Of its schema: there may be several ledgers in one database.
    turn = sa.text("select pg_try_advisory_lock(:key, hashtext(coalesce(current_schema(), '')))")
    give_up = time.monotonic() + patience
    try:
        while not connection.execute(turn, {"key": RUN_LOCK}).scalar_one():
            if time.monotonic() >= give_up:
                yield False
                return
            time.sleep(RUN_PAUSE)
        yield True
    finally:
        with suppress(sa.exc.DBAPIError):
            connection.close()


def migrate(engine: sa.Engine) -> None:
    """Bring the ledger to this version's tables.

    Raises:
        LedgerTooNew: It is at a revision that this version does not know.
        LedgerUnreachable: Its database can't be opened.
    """
    try:
        _migrate(engine)
    except sa.exc.OperationalError as error:
        where, why = shown_url(engine.url), " ".join(str(error.orig).split())
        way_out = (
            "whoever runs this has to be allowed to write the file and its folder, there has to be room, and nobody "
            "may hold it for long"
            if engine.dialect.name == "sqlite"
            else "see that the database is there and that user and password are right"
        )
        raise LedgerUnreachable(f"the ledger {where} can't be opened: {why}; {way_out} (PLS_LEDGER_URL)") from error
    except sa.exc.DatabaseError as error:
        if engine.dialect.name != "sqlite":  # a server that refuses something is not damaged
            raise
        where, why = shown_url(engine.url), " ".join(str(error.orig).split())
        raise LedgerUnreachable(
            f"the ledger {where} is damaged: {why}; restore it from a backup. It knows who was handed over: without it "
            "they would be again (PLS_LEDGER_URL)"
        ) from error


def _migrate(engine: sa.Engine) -> None:
    heads, known = _revisions()
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        current = MigrationContext.configure(connection).get_current_heads()
        if unknown := set(current) - known:
            raise LedgerTooNew(
                f"the ledger {shown_url(engine.url)} is at revision {', '.join(sorted(unknown))}, which "
                "this version does not know: run the version that wrote it, or set PLS_LEDGER_URL to another"
            )
        if current != heads:
            config = _migrations()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


@cache
def _revisions() -> tuple[tuple[str, ...], frozenset[str]]:
    """The newest revisions of this version, and all that it knows. Read once: a run opens the ledger many times."""
    scripts = ScriptDirectory.from_config(_migrations())
    return tuple(scripts.get_heads()), frozenset(script.revision for script in scripts.walk_revisions())
