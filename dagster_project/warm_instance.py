"""The Dagster instance as `pls` opens it: the same files, with what Dagster pays for each event left out.

Dagster's SQLite event log opens an engine for every event and makes each run's own database by migrations. Kept open,
and copied from an empty one, the same log costs a tenth. Whoever keeps Dagster's storage elsewhere (PostgreSQL) has
neither cost, and that storage is left as it is.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import StaticPool

EMPTY_SHARD = "empty"
"""Name of the database without events that those of new runs begin as; in a folder that Dagster does not list."""


class WarmEventLog(SqliteEventLogStorage):
    """Dagster's SQLite event log with its connections kept open: that of all runs, and that of the run under way."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._open: dict[str, Connection] = {}
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "WarmEventLog":
        """As Dagster makes it from an instance's configuration."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            connection = self._open.get(shard)
            if connection is None:
                connection = self._open[shard] = self._opened(shard)
            with connection.begin():
                yield connection

    def dispose(self) -> None:
        """Close what is open."""
        with self._db_lock:
            self._close(self._open)
        super().dispose()

    def _opened(self, shard: str) -> Connection:
        self._close([name for name in self._open if name != INDEX_SHARD_NAME])
        path = Path(self.path_for_shard(shard))
        if not path.exists() and shard != INDEX_SHARD_NAME:
            # In one piece: another process may be looking for this run's database.
            begun = path.with_suffix(".new")
            shutil.copyfile(self._empty_shard(), begun)
            begun.rename(path)
        engine = _engine(f"sqlite:///{path}")
        if shard not in self._initialized_dbs and shard == INDEX_SHARD_NAME:
            self._initdb(engine, for_index_shard=True)
        self._initialized_dbs.add(shard)
        return engine.connect()

    def _empty_shard(self) -> Path:
        """Made once per worker, so that it is of the installed Dagster's schema."""
        path = Path(self._base_dir) / EMPTY_SHARD / "shard.sqlite"
        if EMPTY_SHARD not in self._initialized_dbs:
            path.parent.mkdir(exist_ok=True)
            # In one piece: another process that begins at the same time makes it as well, and copies it.
            with TemporaryDirectory(dir=path.parent) as folder:
                begun = Path(folder) / path.name
                engine = _engine(f"sqlite:///{begun}")
                self._initdb(engine)
                engine.dispose()
                begun.replace(path)
            self._initialized_dbs.add(EMPTY_SHARD)
        return path

    def _close(self, names: Any) -> None:
        for name in list(names):
            connection = self._open.pop(name)
            self._initialized_dbs.discard(name)
            connection.close()
            connection.engine.dispose()


def warm(ref: InstanceRef) -> InstanceRef:
    """The same instance with a warm event log and without a copy of what the process prints, which its terminal has."""
    log = ref.event_storage_data
    if log is None or log.class_name != SqliteEventLogStorage.__name__:
        return ref
    nothing = ConfigurableClassData("dagster._core.storage.noop_compute_log_manager", "NoOpComputeLogManager", "{}\n")
    return ref._replace(
        event_storage_data=log._replace(module_name=__name__, class_name=WarmEventLog.__name__),
        storage_data=None,
        compute_logs_data=nothing,
    )


def _engine(address: str) -> Any:
    # Dagster's own lock keeps threads from each other; a connection may change hands between them.
    arguments = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
    engine = create_engine(address, poolclass=StaticPool, connect_args=arguments)
    # Dagster writes ahead (WAL): a power cut may cost the last events that the UI shows, never the database. Waiting
    # for the disk at every event costs more than writing it.
    event.listen(engine, "connect", lambda connection, _: connection.execute("pragma synchronous = normal"))
    return engine
