"""Small text files of one shape, judged with one query: planning it takes longer than reading them."""

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from dagster_project.landing.discovery import LandedFile, not_opened
from dagster_project.landing.event_fields import EventSource
from dagster_project.landing.event_reading import together
from dagster_project.landing.event_sql import canonical_rows
from dagster_project.landing.opening import UnreadableFile


class SmallFiles:
    """Gathers the rows of small files and judges them together.

    Args:
        connection: The warehouse.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._shapes: dict[str, dict[LandedFile, list[pa.RecordBatch]]] = {}  # by the SQL that judges them
        self.size = 0

    def add(self, file: LandedFile, file_id: int, source: EventSource) -> None:
        """Read the rows of a file into memory.

        Raises:
            UnreadableFile: It can't be read to its end.
        """
        try:
            rows = list(source.rows.slow_rows(file_id))
        except OSError as error:
            raise UnreadableFile(not_opened(error)) from error
        sql = canonical_rows(source, source.rows.read_with("by hand"))
        self._shapes.setdefault(sql, {})[file] = rows
        self.size += sum(batch.nbytes for batch in rows)

    def forget(self, file: LandedFile) -> None:
        """Leave out a file that was added."""
        for files in self._shapes.values():
            files.pop(file, None)

    def judged(self) -> Iterator[list[pa.RecordBatch] | tuple[LandedFile, UnreadableFile]]:
        """The canonical rows of all files that were added; of a file that can't be read, why."""
        for sql, files in self._shapes.items():
            try:
                yield together(self._connection, sql, [batch for rows in files.values() for batch in rows])
            except UnreadableFile:
                for file, rows in files.items():
                    try:
                        yield together(self._connection, sql, rows)
                    except UnreadableFile as error:
                        yield file, error
