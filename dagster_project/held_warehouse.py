"""The warehouse's file, kept open between the steps of a run: to open and close one of many gigabytes takes seconds."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb

from dagster_project.warehouse import Warehouse, use_utc

IDLE_SECONDS = 5.0
"""For how long an open file waits for the next step. Most answers from outside come sooner; while a run waits for a
slower one, others get at the warehouse long before they give up (`Warehouse`)."""


class HeldWarehouse:
    """One run's hold on the file, which nobody else can open meanwhile.

    Args:
        idle_seconds: After so many seconds in which no step uses the file it is closed.
    """

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.RLock()
        self._file = ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._users = 0
        self._timer: threading.Timer | None = None

    @contextmanager
    def connect(self, path: Path, *, stays_open: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """A writing connection of one's own; see `Warehouse.connect` for what is raised.

        Args:
            path: The file.
            stays_open: Whether the file stays open after the block, for as long as others follow within
                `idle_seconds`. After one that fails it does not.
        """
        with self._lock:
            self._stop_waiting()
            if self._connection is None:
                self._connection = self._file.enter_context(Warehouse(path).connect())
            connection = self._connection.cursor()
            self._users += 1
        try:
            use_utc(connection)
            yield connection
        except BaseException:
            stays_open = False
            raise
        finally:
            connection.close()
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._wait() if stays_open else self.let_go()

    def let_go(self) -> None:
        """Close the file now."""
        with self._lock:
            self._stop_waiting()
            self._connection = None
            self._file.close()

    def _wait(self) -> None:
        self._timer = threading.Timer(self._idle_seconds, self._let_go_if_idle)
        self._timer.daemon = True
        self._timer.start()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _let_go_if_idle(self) -> None:
        with self._lock:
            if self._timer is threading.current_thread():
                self.let_go()
