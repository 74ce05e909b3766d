"""What is wrong with an event catalogue, in words that name the row: people type it, and dbt's words name neither.

What its columns mean is in section 2.2 of the specification; which words they take stands beside the seed.
"""

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from itertools import zip_longest

COLUMNS = ("event_name", "match", "signal", "feature", "is_action")
_NEEDED = frozenset({"event_name", "match"})
_NULL = "null"
"""What dbt reads as an empty cell."""
_SHOWN = 10


def known_names(content: bytes) -> list[str]:
    """The names of track events that a catalogue lists, in small letters and sorted.

    Args:
        content: The file, one that `problems_of_catalog` has nothing to say about.
    """
    header, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    names = [name.strip().lower() for name in header]
    entries = (dict(zip_longest(names, (cell.strip().lower() for cell in row), fillvalue="")) for row in rows)
    return sorted({entry["event_name"] for entry in entries if entry["match"] == "track"})


def problems_of_catalog(content: bytes, words: Mapping[str, Collection[str]]) -> list[str]:
    """What keeps a catalogue from being used, a line per problem; empty for a good one.

    Args:
        content: The file.
        words: By column, the words that it takes, in small letters; others take any text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        return [f"row {row} is no UTF-8: save the file as UTF-8"]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if lacking := [name for name in COLUMNS if name not in header]:
            said = f"row 1 has {','.join(header) or 'nothing'}"
            return [f"{said}, expected {','.join(COLUMNS)}, separated by commas; missing: {', '.join(lacking)}"]
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        return [f"row {reader.line_num}: {error}; is there a quotation mark that is not closed?"]
    if not rows:
        return ["it names no event: nothing would feed any signal"]
    found = [f"row {number}: {problem}" for number, row in rows for problem in _problems_of(row, header, words)]
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return found[:_SHOWN] + more


def _problems_of(row: list[str], header: list[str], words: Mapping[str, Collection[str]]) -> Iterator[str]:
    if len(row) > len(header):
        yield f"{len(row)} fields, expected {len(header)}: a comma within a name needs quotation marks around it"
        return
    said = ("" if cell.strip().lower() == _NULL else cell.strip() for cell in row)
    cells = dict(zip_longest(header, said, fillvalue=""))
    for column in COLUMNS:
        cell = cells[column]
        if not cell and column in _NEEDED:
            yield f"{column} is empty"
        elif cell and column in words and cell.lower() not in words[column]:
            yield f"{column} is {cell!r}, expected one of {', '.join(words[column])}"
