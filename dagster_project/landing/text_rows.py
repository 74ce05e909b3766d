"""Text files row by row in Python, for those that DuckDB's readers refuse.

A file with one broken line must not lose the others: here every row comes out, the broken ones with their raw
text and what is wrong with them. Rows leave as Arrow batches of text, so that the same SQL judges them as on
the fast path.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")

LONGEST_ROW = 32 << 20
"""Bytes; a longer line is quarantined with its beginning."""
_MOST_LINES = 1000
_BATCH_ROWS = 20_000
_DELIMITERS = (",", ";", "\t", "|")

NOT_UTF8 = "the text is not valid UTF-8"
CUT_OFF = "the last line is cut off: the file may still be being written; it is read again when it changes"


@dataclass(frozen=True)
class _Line:
    text: str
    problem: str | None


Row = tuple[int, str | None, str | None, list[str] | None]
"""Row number, problem, raw text (None when fields are given), fields."""


def delimiter_of(header: str) -> str:
    """The delimiter that splits the header into most names; a comma if none does."""
    return max(_DELIMITERS, key=lambda delimiter: (len(split_header(header, delimiter)), delimiter == ","))


def split_header(header: str, delimiter: str) -> list[str]:
    """The names in a CSV header, trimmed."""
    try:
        names = _fields([header], delimiter)
    except csv.Error:
        names = None
    return [name.strip() for name in names or [header]]


def line_reader(path: Path, file_id: int) -> pa.RecordBatchReader:
    """The lines of a text file that aren't blank: (file_id, row_number, problem, line, is_open).

    `is_open` says that nothing ends the line: it is the file's last one.
    """
    schema = pa.schema(
        [("file_id", pa.int32()), ("row_number", pa.int64()), ("problem", pa.string())]
        + [("line", pa.large_string()), ("is_open", pa.bool_())]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for part in _portions(_lines(path)):
            yield pa.record_batch([[file_id] * len(part), *map(list, zip(*part, strict=True))], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def csv_reader(path: Path, file_id: int, width: int, delimiter: str) -> pa.RecordBatchReader:
    """The rows after the header: (file_id, row_number, problem, raw_line, c0, c1, ...), blank lines left out."""
    names = [f"c{i}" for i in range(width)]
    schema = pa.schema(
        [("file_id", pa.int32()), ("row_number", pa.int64()), ("problem", pa.string())]
        + [("raw_line", pa.large_string()), *((name, pa.large_string()) for name in names)]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for part in _portions(_records(path, width, delimiter)):
            nothing: list[str | None] = [None] * width
            rows = [(file_id, number, problem, raw, *(fields or nothing)) for number, problem, raw, fields in part]
            yield pa.record_batch([list(column) for column in zip(*rows, strict=True)], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _portions(rows: Iterable[T]) -> Iterator[list[T]]:
    rows = iter(rows)
    while part := list(islice(rows, _BATCH_ROWS)):
        yield part


def _lines(path: Path) -> Iterator[tuple[int, str | None, str, bool]]:
    for number, raw in _raw_lines(path):
        if not raw.strip():
            continue
        text, problem = _decoded(raw)
        is_open = not raw.endswith(b"\n")
        if problem == NOT_UTF8 and is_open:
            problem = CUT_OFF
        yield number, problem, text, is_open


def _records(path: Path, width: int, delimiter: str) -> Iterator[Row]:
    """CSV records.

    One that does not fit is given up after its first line, so that a lost quote costs one row.
    """
    csv.field_size_limit(LONGEST_ROW)
    source = (_Line(*_decoded(raw)) for _, raw in _raw_lines(path) if raw.strip())
    next(source, None)
    ahead: list[_Line] = []
    number = 0
    while _look_ahead(ahead, source, 1):
        number += 1
        used, fields = _next_record(ahead, source, delimiter)
        lines = ahead[:used]
        problem = next((line.problem for line in lines if line.problem), None)
        if fields is None or len(fields) != width:
            lines = ahead[:1]
            found = "quotes that don't match" if fields is None else f"{len(fields)} fields"
            problem = lines[0].problem or f"the row has {found}, the header {width} fields"
        del ahead[: len(lines)]
        if problem is None:
            yield number, None, None, fields
        else:
            yield number, problem, "\n".join(line.text for line in lines), None


def _next_record(ahead: list["_Line"], source: Iterator["_Line"], delimiter: str) -> tuple[int, list[str] | None]:
    """How many lines make the next record, and its fields; None if its quotes don't match."""
    used = 1
    while True:
        try:
            return used, _fields([line.text + "\n" for line in ahead[:used]], delimiter)
        except csv.Error as error:
            if "unexpected end" not in str(error):
                return 1, None
        used += 1
        # Only a line with a quote can close the one that is open.
        while _look_ahead(ahead, source, used) and '"' not in ahead[used - 1].text:
            used += 1
        if used > min(len(ahead), _MOST_LINES):
            return 1, None


def _look_ahead(ahead: list["_Line"], source: Iterator["_Line"], count: int) -> bool:
    """Fetch lines until `count` are ahead, as far as a record may reach."""
    if count > len(ahead) and count <= _MOST_LINES:
        ahead.extend(islice(source, count - len(ahead)))
    return count <= len(ahead)


def _fields(lines: list[str], delimiter: str) -> list[str] | None:
    rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    return rows[0] if len(rows) == 1 else None


def _decoded(raw: bytes) -> tuple[str, str | None]:
    raw = raw.rstrip(b"\r\n")
    if len(raw) >= LONGEST_ROW:
        return raw[:1000].decode("utf-8", "replace"), f"the line is longer than {LONGEST_ROW >> 20} MiB"
    try:
        return raw.decode("utf-8"), None
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace"), NOT_UTF8


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their 1-based numbers; of one that is too long only the beginning."""
    with path.open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        number = 0
        while raw := file.readline(LONGEST_ROW + 1):
            number += 1
            rest = raw
            while len(rest) > LONGEST_ROW and not rest.endswith(b"\n"):
                rest = file.readline(LONGEST_ROW + 1)
            yield number, raw
