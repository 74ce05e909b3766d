"""Source relations over the three kinds of files: `(file_id, row_number, problem, src)`; `src` is a struct.

Here is how rows are split and how their cells are named; what the cells mean is the business of events and
CRM.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from dagster_project.landing.opening import UnreadableFile, first_line, unfinished_last_line
from dagster_project.landing.sql_text import WHITE_SPACE, identifier, literal
from dagster_project.landing.text_rows import (
    CUT_OFF,
    LONGEST_ROW,
    csv_reader,
    delimiter_of,
    line_reader,
    split_header,
)

Way = Literal["at once", "in order", "by hand"]
"""How rows are split: by all threads of DuckDB without row numbers, by one with them, or by Python."""

SLOW_ROWS = "slow_rows"
"""The name under which rows that Python split are read."""

BLANK = "blank line"
"""The problem of a line that is no row."""

MOST_COLUMNS = 1000
"""Of a CSV file. What DuckDB makes of a row's columns takes four times as long for twice as many."""
_NUMBER = "<number>"


@dataclass(frozen=True)
class Rows:
    """How the rows of one file are split.

    Attributes:
        path: The uncompressed file.
        relation: SQL of the source relation without `file_id`, read by DuckDB alone.
        slow_relation: SQL of the source relation over SLOW_ROWS; None where there is no slow way. The same SQL
            for two files says that they can be read together.
        raw: SQL of a row's raw text.
        places: Column -> SQL of its value, in the file's order; empty for NDJSON.
        types: Column -> DuckDB type.
        delimiter: Of a CSV file.
        width: Fields of a CSV row; more than there are columns when names repeat.
        used: The names of the columns that are read, as SQL; empty where all are.
    """

    path: Path
    relation: str
    slow_relation: str | None
    raw: str
    places: Mapping[str, str]
    types: Mapping[str, str]
    delimiter: str = ","
    width: int = 0
    used: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns found; None for NDJSON, where every line has its own."""
        return tuple(self.places) or None

    def read_with(self, way: Way, file_id: int = 0) -> str:
        """The source relation for one way of reading; by hand the rows bring their file ids."""
        if way == "by hand":
            if self.slow_relation is None:
                raise ValueError(f"{self.path} has no lines to split")
            return self.slow_relation
        rows = self.relation.replace(_NUMBER, "row_number() over ()" if way == "in order" else "null::bigint")
        return f"select {file_id}::integer as file_id, * from ({rows})"

    def slow_rows(self, file_id: int = 0) -> pa.RecordBatchReader:
        """The rows as Python splits them; read once."""
        if self.columns is None:
            return line_reader(self.path, file_id)
        return csv_reader(self.path, file_id, self.width, self.delimiter)


def csv_rows(path: Path) -> Rows | None:
    """Rows with a header; None for a file without even that.

    Of two columns with one name the first counts.

    Raises:
        UnreadableFile: It has more columns than any table of events or records.
    """
    first, blank_lines = first_line(path)
    header = first.decode("utf-8-sig", "replace")
    if not header:
        return None
    delimiter = delimiter_of(header)
    names = split_header(header, delimiter)
    if len(names) > MOST_COLUMNS:
        raise UnreadableFile(f"the header has {len(names):,} columns; expected {MOST_COLUMNS:,} at most")
    cells = [f"c{i}" for i in range(len(names))]
    pack = ", ".join(f"{cell} := {cell}" for cell in cells)
    columns = ", ".join(f"'{cell}': 'VARCHAR'" for cell in cells)
    places: dict[str, str] = {}
    for name, cell in zip(names, cells, strict=True):
        places.setdefault(name, f"src.{cell}")
    return Rows(
        path=path,
        relation=f"select {_NUMBER} as row_number, null::varchar as problem, struct_pack({pack}, "
        f"raw_line := null::varchar) as src from read_csv({literal(str(path))}, auto_detect = false, "
        f"header = true, skip = {blank_lines}, "
        f"columns = {{{columns}}}, delim = {literal(delimiter)}, quote = '\"', escape = '\"', "
        f"max_line_size = {LONGEST_ROW})",
        slow_relation="select file_id, row_number, problem, "
        f"struct_pack({pack}, raw_line := raw_line) as src from {SLOW_ROWS}",
        raw=f"coalesce(src.raw_line, {_joined(cells, delimiter)})",
        places=places,
        types=dict.fromkeys(places, "VARCHAR"),
        delimiter=delimiter,
        width=len(cells),
    )


def line_rows(path: Path, keys: Sequence[str], *, certain: str) -> Rows:
    """One JSON object per line; `src.said` is the list of the texts at `keys` (JSON paths as SQL literals).

    Args:
        path: The uncompressed file.
        keys: What to read from each object.
        certain: A path among `keys` that every good row has; without it a line is looked at twice.
    """
    said = f"json_extract_string(line, [{', '.join(keys)}])"
    position = list(keys).index(certain) + 1
    no_object = f"case when said[{position}] is null then json_type(line) <> 'OBJECT' else false end"

    def relation(columns: str, lines: str, is_open: str) -> str:
        invalid = f"case when {is_open} then {literal(CUT_OFF)} else 'the line is not valid JSON' end"
        return (
            f"select {columns}, case when problem is not null then problem when said is null then {invalid} "
            f"when {no_object} then 'the line is no JSON object' end as problem, "
            f"struct_pack(line := line, said := said) as src from (select *, try({said}) as said from ({lines}))"
        )

    last_line = unfinished_last_line(path)
    is_last = last_line and b"\0" not in last_line
    return Rows(
        path=path,
        relation=relation(
            "row_number",
            lines_sql(path),
            f"line = {literal(last_line.decode('utf-8', 'replace'))}" if is_last else "false",
        ),
        slow_relation=relation("file_id, row_number", f"select * from {SLOW_ROWS}", "is_open"),
        raw="src.line",
        places={},
        types={},
    )


def lines_sql(path: Path, number: str = _NUMBER) -> str:
    """SQL for (row_number, problem, line) of a text file; `number` is the SQL of the row number."""
    blank = (
        f"case when starts_with(line, '{{') then null when trim(line, {WHITE_SPACE}) <> '' then null else '{BLANK}' end"
    )
    return (
        f"select {number} as row_number, {blank} as problem, line from read_csv({literal(str(path))}, "
        "auto_detect = false, header = false, columns = {'line': 'VARCHAR'}, delim = chr(1), quote = '', "
        "escape = '', "
        f"max_line_size = {LONGEST_ROW})"
    )


def parquet_rows(
    connection: duckdb.DuckDBPyConnection, path: Path, is_used: Callable[[str], bool] = lambda name: True
) -> Rows:
    """A Parquet file; `is_used` says of a column whether it is read at all."""
    reading = f"read_parquet({literal(str(path))}, hive_partitioning = false, binary_as_string = true"
    described = connection.sql(f"describe select * from {reading})").fetchall()
    types = {name: kind for name, kind, *_ in described}
    used = tuple(identifier(name) for name in types if is_used(name))
    pack = ", ".join(f"{name} := {name}" for name in used)
    return Rows(
        path=path,
        relation="select file_row_number + 1 as row_number, null::varchar as problem, "
        f"struct_pack({pack}) as src from {reading}, file_row_number = true)",
        slow_relation=None,
        raw="to_json(src)::varchar",
        places={name: f"src.{identifier(name)}" for name in types},
        types=types,
        used=used,
    )


def parquet_text(place: str, sql_type: str) -> str:
    """A cell as text: structs and maps become JSON objects without empty fields, lists JSON arrays.

    Whole numbers are written without a point: an id or a count is a DOUBLE where a column has gaps. NaN is such a gap.
    """
    if sql_type.endswith("]"):
        return f"to_json({place})::varchar"
    if sql_type.startswith(("STRUCT", "MAP")):
        made = f"to_json({place})::varchar"
        return (
            f"case when {place} is not null then case when contains({made}, ':null') "
            f"then json_merge_patch('{{}}', {made})::varchar else {made} end end"
        )
    if sql_type in ("FLOAT", "DOUBLE"):
        # NaN first: DuckDB takes no account of it where a file's statistics say that all numbers are small.
        return (
            f"case when isnan({place}) then null "
            f"when isfinite({place}) and {place} = trunc({place}) and abs({place}) < 1e18 "
            f"then {place}::bigint::varchar else {place}::varchar end"
        )
    if sql_type.startswith("DECIMAL"):
        return f"regexp_replace({place}::varchar, '[.]0+$', '')"
    return f"{place}::varchar"


def _joined(cells: Sequence[str], delimiter: str) -> str:
    """SQL of a CSV line that says what the cells say; the bytes of the original are not kept."""
    values = ", ".join(f"coalesce(src.{cell}, '')" for cell in cells)
    quoted = (
        f"case when regexp_matches(cell, '[\"\\n\\r]') or contains(cell, {literal(delimiter)}) "
        "then '\"' || replace(cell, '\"', '\"\"') || '\"' else cell end"
    )
    return f"array_to_string(list_transform([{values}], lambda cell: {quoted}), {literal(delimiter)})"
