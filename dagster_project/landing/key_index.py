"""Which message keys may be stored already: sorted runs of them, in files beside the warehouse.

To find a few keys among a hundred million, DuckDB reads them all; in a sorted file each takes a few steps. The runs
hold the keys of all batches up to one, and the few newer rows are DuckDB's to search. Rows that were replaced since
leave their keys in a run: what is found here may be stored, what is not found is not. Files are never changed, and the
warehouse says which of them count: without them, everything is DuckDB's to search until they are made anew.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dagster_project.warehouse import transaction

RUN_ROWS = 1 << 24
"""Keys of a run: 128 MB, which are sorted in memory."""
WORTH_ROWS = 1 << 22
"""New rows that are worth to be added to the runs: DuckDB searches fewer in a hundredth of a second."""
FEW_LOOKUPS = 200_000
"""Look-ups, in all runs together, up to which they are faster than DuckDB is with the whole column."""
READ_ROWS = 1 << 20
"""Keys that are taken from DuckDB at a time."""
_KEY = np.dtype("<u8")
_Keys = npt.NDArray[np.uint64]


class KeyIndex:
    """The keys of `raw.events`.

    Args:
        connection: The warehouse, with no transaction begun.
        run_rows: Keys of a run.
        worth_rows: New rows from which on `extend` does something.
        few_lookups: How many keys times runs are looked up in files.

    Attributes:
        folder: Where the files are; None for a warehouse in memory, which has none.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        run_rows: int = RUN_ROWS,
        worth_rows: int = WORTH_ROWS,
        few_lookups: int = FEW_LOOKUPS,
    ) -> None:
        self._connection, self._run_rows, self._worth_rows = connection, run_rows, worth_rows
        self._few_lookups = few_lookups
        [(path,)] = connection.sql(
            "select path from duckdb_databases() where database_name = current_database()"
        ).fetchall()
        self.folder = Path(path).with_suffix(".keys") if path else None
        self._runs: dict[str, _Keys] = {}
        self._up_to_batch = 0
        for name, rows, up_to_batch in connection.sql("from raw.key_runs").fetchall():
            self._up_to_batch = up_to_batch
            self._runs[name] = self._opened(name, rows)
        if any(len(run) == 0 for run in self._runs.values()):
            self.forget()
        self._remove_others()

    def _opened(self, name: str, rows: int) -> _Keys:
        """A run, or nothing where it is not as it was written."""
        path = self._path(name)
        try:
            is_whole = path.stat().st_size == rows * _KEY.itemsize
        except OSError:
            is_whole = False
        return np.memmap(path, _KEY, mode="r") if is_whole else np.empty(0, _KEY)

    def _path(self, name: str) -> Path:
        return (self.folder or Path()) / name

    def forget(self) -> None:
        """No run counts any more."""
        self._connection.execute("delete from raw.key_runs")
        self._runs, self._up_to_batch = {}, 0

    def found(self, asked: pa.Table) -> pa.Table:
        """Which of some keys may be stored.

        Args:
            asked: Keys (column `key`), each once; NULL is none.

        Returns:
            The same column, each key once.
        """
        keys = np.sort(asked["key"].drop_null().to_numpy())
        are_few = len(keys) * len(self._runs) <= self._few_lookups
        since = self._up_to_batch if are_few else 0
        found = self._connection.sql(
            "select distinct message_key as key from raw.events "
            f"where batch_id > {since} and message_key in (select key from asked)"
        ).to_arrow_table()
        if not are_few:
            return found
        parts = [_those_in(run, keys) for run in self._runs.values()]
        return pa.table({"key": np.unique(np.concatenate([found["key"].to_numpy(), *parts]))})

    def extend(self) -> None:
        """Add what has been loaded since, if it is much; call with no transaction begun."""
        [(rows, up_to_batch)] = self._connection.execute(
            "select count(*), max(batch_id) from raw.events where batch_id > ?", [self._up_to_batch]
        ).fetchall()
        if self.folder is None or rows < self._worth_rows:
            return
        self.folder.mkdir(exist_ok=True)
        whole = {name: run for name, run in self._runs.items() if len(run) == self._run_rows}
        partial = [run for name, run in self._runs.items() if name not in whole]
        written = {self._write(keys): len(keys) for keys in self._sorted(partial, rows)}
        runs = {name: len(run) for name, run in whole.items()} | written
        with transaction(self._connection):
            self._connection.execute("delete from raw.key_runs")
            for name, count in runs.items():
                self._connection.execute("insert into raw.key_runs values (?, ?, ?)", [name, count, up_to_batch])
        self._runs = {name: self._opened(name, count) for name, count in runs.items()}
        self._up_to_batch = up_to_batch
        self._remove_others()

    def _remove_others(self) -> None:
        """Remove files that don't count: those of a warehouse that was here before among them."""
        if self.folder is None or not self.folder.exists():
            return
        for path in self.folder.iterdir():
            if path.name not in self._runs:
                path.unlink(missing_ok=True)

    def _sorted(self, partial: list[_Keys], rows: int) -> Iterator[_Keys]:
        """Runs of these keys and those of new rows; a run is overwritten when the next one is asked for."""
        left = rows + sum(map(len, partial))
        run = np.empty(min(self._run_rows, left), _KEY)
        filled = 0
        for keys in self._parts(partial):
            while len(keys):
                taken = min(len(keys), len(run) - filled)
                run[filled : filled + taken] = keys[:taken]
                filled, keys = filled + taken, keys[taken:]
                if filled == len(run):
                    run.sort()
                    yield run
                    left, filled = left - filled, 0
                    run = run[:left]

    def _parts(self, partial: list[_Keys]) -> Iterator[_Keys]:
        yield from partial
        # A cursor of its own: whoever stops in the middle leaves the connection as it was.
        with self._connection.cursor() as reader:
            batches = reader.sql(
                f"select message_key as key from raw.events where batch_id > {self._up_to_batch}"
            ).to_arrow_reader(READ_ROWS)
            for batch in batches:
                yield batch["key"].to_numpy()

    def _write(self, keys: _Keys) -> str:
        name = uuid4().hex
        try:
            with self._path(name).open("wb") as file:
                keys.tofile(file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self._path(name).unlink(missing_ok=True)
            raise
        return name


def _those_in(run: _Keys, keys: _Keys) -> _Keys:
    """Those of some sorted keys that are in a sorted run."""
    places = np.minimum(np.searchsorted(run, keys), len(run) - 1)
    return keys[run[places] == keys]
