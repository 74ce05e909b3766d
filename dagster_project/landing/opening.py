"""Landed files as plain ones that DuckDB can open, whatever their compression or name."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from dagster_project.landing.discovery import NOT_OPENED, LandedFile

_SHARE_OF_DISK = 0.8
"""Of what is free where files are unpacked: the archive of one may not take the room of all others."""
_PARQUET = b"PAR1"
_FOREIGN = {
    _PARQUET: "a Parquet file",
    b"\x1f\x8b": "a gzip archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
"""First bytes -> what a file is that is named as if it were text in UTF-8."""


class UnreadableFile(Exception):
    """No row of a file can be read; the message says why."""


@contextmanager
def plain_file(file: LandedFile) -> Iterator[Path]:
    """A path to the uncompressed content, valid inside the block.

    Compressed files are unpacked to disk first: DuckDB does not notice every truncated archive, and reads a
    plain file with all threads.

    Raises:
        UnreadableFile: The archive is damaged or cut off, or the content is not what the name says.
    """
    if file.compression is None and _is_plain(str(file.path)):
        _expect_text(file, file.path)
        yield file.path
        return
    with tempfile.TemporaryDirectory(prefix="pls-landing-") as folder:
        plain = Path(folder) / f"plain{file.kind}"
        if file.compression is None:
            plain.symlink_to(file.path.resolve())
        else:
            _unpack(file, plain)
        _expect_text(file, plain)
        yield plain


def first_line(path: Path, limit: int = 1 << 20) -> tuple[bytes, int]:
    """The first line that isn't blank, without its end, and how many lines are before it; empty if there is none."""
    with path.open("rb") as file:
        for before, line in enumerate(iter(lambda: file.readline(limit), b"")):
            if line.strip(b"\xef\xbb\xbf \t\r\n"):
                return line.rstrip(b"\r\n"), before
    return b"", 0


def unfinished_last_line(path: Path, limit: int = 1 << 24) -> bytes:
    """The last line, if nothing ends it; empty otherwise (also if it is longer than `limit` bytes)."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - limit))
        tail = file.read()
    if tail.endswith(b"\n") or (size > limit and b"\n" not in tail):
        return b""
    return tail.rpartition(b"\n")[2]


def _is_plain(name: str) -> bool:
    """Whether DuckDB takes a name for a name: neither for a glob nor for something that it can't spell."""
    return not set("*?[") & set(name) and not any("\ud800" <= letter <= "\udfff" for letter in name)


def _expect_text(file: LandedFile, content: Path) -> None:
    if file.kind == ".parquet":
        return
    with content.open("rb") as opened:
        head = opened.read(4)
    for start, what in _FOREIGN.items():
        if head.startswith(start):
            raise UnreadableFile(f"this is {what}, expected {file.kind} text in UTF-8")


def _unpack(file: LandedFile, target: Path) -> None:
    if file.size == 0:
        target.touch()
        return
    with file.path.open("rb") as opened:
        if file.kind == ".parquet" and opened.read(len(_PARQUET)) == _PARQUET:
            # Of a Parquet file some writers put the compression of what is in it into its name.
            target.symlink_to(file.path.resolve())
            return
    try:
        with (
            pa.OSFile(str(file.path), "rb") as packed,
            pa.CompressedInputStream(packed, file.compression) as source,
            target.open("wb") as unpacked,
        ):
            room = int(_SHARE_OF_DISK * shutil.disk_usage(target.parent).free)
            while part := source.read(1 << 20):
                if (room := room - len(part)) < 0:
                    raise UnreadableFile(f"{NOT_OPENED}: it unpacks to more than the disk has room for")
                unpacked.write(part)
    except OSError as error:
        if error.errno is not None:  # the disk's trouble, not the archive's
            raise
        raise UnreadableFile(f"the {file.compression} archive is damaged or cut off: {error}") from error
