"""Landed files as plain ones that DuckDB can open, whatever their compression or name."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from dagster_project.landing.discovery import LandedFile


class UnreadableFile(Exception):
    """No row of a file can be read; the message says why."""


@contextmanager
def plain_file(file: LandedFile) -> Iterator[Path]:
    """A path to the uncompressed content, valid inside the block.

    Compressed files are unpacked to disk first: DuckDB does not notice every truncated archive, and reads a
    plain file with all threads.

    Raises:
        UnreadableFile: The archive is damaged or cut off, or the file can't be opened.
    """
    if file.compression is None and not set("*?[") & set(str(file.path)):
        yield file.path
        return
    with tempfile.TemporaryDirectory(prefix="pls-landing-") as folder:
        plain = Path(folder) / f"plain{file.kind}"
        if file.compression is None:
            plain.symlink_to(file.path.resolve())  # DuckDB would take the name for a glob
        else:
            _unpack(file, plain)
        yield plain


def first_line(path: Path, limit: int = 1 << 20) -> bytes:
    """The first line that isn't blank, without its end; empty if there is none."""
    with path.open("rb") as file:
        while line := file.readline(limit):
            if line.strip(b"\xef\xbb\xbf \t\r\n"):
                return line.rstrip(b"\r\n")
    return b""


def unfinished_last_line(path: Path, limit: int = 1 << 24) -> bytes:
    """The last line, if nothing ends it; empty otherwise (also if it is longer than `limit` bytes)."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - limit))
        tail = file.read()
    if tail.endswith(b"\n") or (size > limit and b"\n" not in tail):
        return b""
    return tail.rpartition(b"\n")[2]


def _unpack(file: LandedFile, target: Path) -> None:
    if file.size == 0:
        target.touch()
        return
    try:
        with (
            pa.OSFile(str(file.path), "rb") as packed,
            pa.CompressedInputStream(packed, file.compression) as source,
            target.open("wb") as unpacked,
        ):
            shutil.copyfileobj(source, unpacked, 1 << 20)
    except OSError as error:
        if error.errno is not None:  # the disk's trouble, not the archive's
            raise
        raise UnreadableFile(f"the {file.compression} archive is damaged or cut off: {error}") from error
