"""Reads the serving copy for assistants: read-only, walled in, and never for long.

Each new copy is opened when it has replaced the one before it; a query that is under way finishes on the old one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock, Timer
from typing import Any, TypeVar

import duckdb
import polars as pl

from dagster_project.core.assistant_rules import Limits
from dagster_project.tools.errors import Unavailable

Answer = TypeVar("Answer")
THREADS = 2
"""Of one copy, all its queries together; what an assistant asks must not starve the pipeline beside it."""


class ServingCopy:
    """The published tables, for reading.

    Args:
        path: `serving.duckdb`.
        limits: Seconds and memory of a query.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._opening = Lock()
        self._opened: tuple[tuple[int, int, int], duckdb.DuckDBPyConnection] | None = None

    def rows(self, query: str, parameters: Sequence[Any] = (), *, at_most: int | None = None) -> list[dict[str, Any]]:
        """The rows of a query, as dictionaries.

        Args:
            query: SQL with a `?` for each value that somebody else chose.
            parameters: Those values.
            at_most: How many rows are read; None means all of them.

        Raises:
            Unavailable: There is no copy, it is another version's, or the query took too long.
        """

        def read(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
            cursor.execute(query, list(parameters))
            names = [column[0] for column in cursor.description or ()]
            found = cursor.fetchall() if at_most is None else cursor.fetchmany(at_most)
            return [dict(zip(names, row, strict=True)) for row in found]

        return self._run(read)

    def frame(self, query: str, parameters: Sequence[Any] = ()) -> pl.DataFrame:
        """The rows of a query as a frame, with their types even when there are none; else as `rows`."""
        return self._run(lambda cursor: cursor.sql(query, params=list(parameters)).pl())

    def row(self, query: str, parameters: Sequence[Any] = ()) -> dict[str, Any] | None:
        """The first row of a query, None if there is none."""
        return next(iter(self.rows(query, parameters, at_most=1)), None)

    def close(self) -> None:
        """Forget the copy that is open."""
        with self._opening:
            if self._opened:
                self._opened[1].close()
            self._opened = None

    def _run(self, ask: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
        cursor = self._connection().cursor()
        timer = Timer(self._limits.seconds, cursor.interrupt)
        timer.start()
        try:
            cursor.execute("use serving")
            return ask(cursor)
        except duckdb.InterruptException:
            raise Unavailable(
                f"the query took longer than {self._limits.seconds:g} s: ask for less, or raise limits.seconds in "
                "assistant.yml"
            ) from None
        except duckdb.OutOfMemoryException:
            raise Unavailable(
                f"the query needs more than {self._limits.memory_mb} MB: ask for less, or raise limits.memory_mb in "
                "assistant.yml"
            ) from None
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            raise Unavailable(
                f"{self._path.name} was published by another version (it lacks something): run `pls run` once. "
                f"DuckDB says: {str(error).splitlines()[0]}"
            ) from None
        finally:
            timer.cancel()
            cursor.close()

    def _connection(self) -> duckdb.DuckDBPyConnection:
        with self._opening:
            try:
                found = self._path.stat()
            except FileNotFoundError:
                raise Unavailable(f"nothing has been scored yet ({self._path} is not there): run `pls run`") from None
            identity = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._opened is None or self._opened[0] != identity:
                # Who still reads the copy before this one has a cursor that keeps it open.
                self._opened = (identity, _opened(self._path, self._limits))
            return self._opened[1]


def _opened(path: Path, limits: Limits) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"threads": THREADS, "temp_directory": ""})
    literal = str(path).replace("'", "''")
    try:
        connection.execute(f"attach '{literal}' as serving (read_only)")
    except duckdb.Error as error:
        connection.close()
        raise Unavailable(f"{path} can't be opened ({str(error).splitlines()[0]}): run `pls run`") from None
    connection.execute(f"set memory_limit = '{limits.memory_mb}MB'")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")
    return connection
