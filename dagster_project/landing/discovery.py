"""Which files have landed and whether they are complete. What is in them is the readers' business."""

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from errno import EACCES, ELOOP
from functools import partial
from pathlib import Path
from typing import NamedTuple

EVENTS = "events"
"""The source of product events."""
API = "api:"
"""How the paths of extracts from a connected CRM begin in `raw.files`."""
NDJSON = ".ndjson"
EVENT_SUFFIXES = (".parquet", NDJSON, ".jsonl", ".json", ".csv")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
NOT_OPENED = "the file can't be opened"
"""How the reasons begin that say nothing about what is in a file; it is tried each time until it can be opened."""
_VOLUMES_OWN = frozenset({"lost+found"})
_UNFINISHED = (".tmp", ".part", ".crdownload")
_EPOCH = datetime(1970, 1, 1)
_HAS_DIGIT = re.compile("[0-9]")
_ESCAPE = "\\udc"


class FoundFile(NamedTuple):
    """A file that could be read, as a look at its folder shows it.

    Attributes:
        path: Where it is.
        name: Relative to the folder that was asked for, with `/`; bytes that are no UTF-8 are escaped.
        size: Bytes.
        modified_ns: Nanoseconds since 1970, UTC.
    """

    path: str
    name: str
    size: int
    modified_ns: int

    def landed(self, source: str, folder: str = "") -> "LandedFile":
        """The same as a file of a source, its name relative to the landing folder.

        Args:
            source: As `LandedFile` has it.
            folder: That was asked for, relative to the landing folder, with a `/` at its end.
        """
        name = f"{folder}{self.name}".rstrip("/")  # the folder itself may be one that we may not look into
        return LandedFile(Path(self.path), name, source, self.size, _naive_utc(self.modified_ns))


@dataclass(frozen=True)
class LandedFile:
    """A file as it was when it was last looked at.

    Attributes:
        path: Where it is.
        name: Relative to the landing folder, with `/`; bytes that are no UTF-8 are escaped.
        source: `events`, `crm.<entity>` or `suppression`.
        size: Bytes.
        modified_at: Naive UTC.
        extract_at: For CRM files the moment that they describe, naive UTC.
        content_hash: SHA-256 of the bytes as they lie there; empty until it was computed.
    """

    path: Path
    name: str
    source: str
    size: int
    modified_at: datetime
    extract_at: datetime | None = None
    content_hash: str = ""

    @property
    def state(self) -> tuple[int, datetime]:
        """Size and time; whoever writes to a file changes them."""
        return self.size, self.modified_at

    @property
    def version(self) -> str:
        """Name and state in one text, as a run is told of a file that somebody saw completed."""
        return f"{self.name} {self.size} {self.modified_at.isoformat()}"

    @property
    def kind(self) -> str:
        """The suffix that says how to read it, one of `EVENT_SUFFIXES`."""
        return _kind(self.path.name)[0]

    @property
    def compression(self) -> str | None:
        """`gzip`, `zstd` or None."""
        return _kind(self.path.name)[1]

    def hashed(self) -> "LandedFile":
        """The same with its content hash.

        Raises:
            OSError: It can't be opened; a folder never can.
        """
        if self.path.is_dir():
            raise PermissionError(EACCES, "we may not look into this folder")
        with self.path.open("rb") as file:
            return replace(self, content_hash=hashlib.file_digest(file, "sha256").hexdigest())

    def is_unchanged(self) -> bool:
        """Whether it still has the size and the time that were seen."""
        return state_of(self.path) == self.state


def state_of(path: Path) -> tuple[int, datetime] | None:
    """`LandedFile.state` of a file as it is now; None if it has gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, _naive_utc(stat.st_mtime_ns)


def event_files(landing: Path, only: Collection[str] | None = None) -> list[LandedFile]:
    """The event files below `landing/events`, sorted by name, and the folders that we may not look into.

    Such a folder stands for its files, which nobody knows: it can't be opened either.

    Args:
        landing: The landing folder.
        only: Names, relative to it: of these alone. What else is there is not looked at.
    """
    closed: list[FoundFile] = []
    prefix = f"{EVENTS}/"
    names = None
    if only is not None and EVENTS not in only:  # the whole folder is one that we might not look into
        names = [name.removeprefix(prefix) for name in only if name.startswith(prefix)]
    found = [file.landed(EVENTS, prefix) for file in readable_files(landing / EVENTS, closed, only=names)]
    # Whatever is done in such a folder is no news: nobody can tell.
    folders = [place.landed(EVENTS, prefix) for place in {*closed}]
    return sorted([*folders, *found], key=lambda file: file.name)


def readable_files(
    folder: Path,
    closed: list[FoundFile] | None = None,
    *,
    without: str | None = None,
    only: Collection[str] | None = None,
    stems: Collection[str] = (),
) -> Iterator[FoundFile]:
    """Files below `folder` with a suffix that can be read, in no order; hidden and unfinished ones are left alone.

    What goes during the look is not there. There may be a hundred thousand files, and some look every second: each is
    asked for its state once, and nothing more is made of it than a few strings and numbers.

    Args:
        folder: Where.
        closed: Takes the folders that we may not look into, but for those of a volume's own.
        without: A folder of `folder` that is passed over.
        only: Names of files, and of folders that we may not look into: others are left alone.
        stems: Names in lower case, without a suffix, of which files with any suffix are looked at.

    Raises:
        OSError: A folder can't be looked at. That is no empty folder.
    """
    look = _Look(without, closed if closed is not None else [], stems)
    if only is None:
        return look.below(str(folder), "")
    if any(_ESCAPE in name for name in only):  # which bytes such a name stands for nobody knows
        names = set(only)
        return (file for file in look.below(str(folder), "") if file.name in names)
    return look.at(str(folder), only)


@dataclass(frozen=True)
class _Look:
    without: str | None
    closed: list[FoundFile]
    stems: Collection[str] = ()

    def below(self, folder: str, prefix: str) -> Iterator[FoundFile]:
        try:
            with os.scandir(folder) as listed:
                entries = list(listed)
        except PermissionError:
            return self._note(folder, prefix)
        except (FileNotFoundError, NotADirectoryError):
            return None
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            name = f"{prefix}{entry.name if entry.name.isascii() else escaped(entry.name)}"
            if entry.is_dir(follow_symlinks=False):
                if name != self.without:
                    yield from self.below(entry.path, f"{name}/")
            elif self._is_wanted(entry.name):
                try:
                    state = _state(entry.stat)
                except PermissionError:  # names may be seen in some folders, and nothing else
                    self._note(folder, prefix)
                    continue
                if state is not None and stat.S_ISREG(state.st_mode):
                    yield FoundFile(entry.path, name, state.st_size, state.st_mtime_ns)

    def at(self, folder: str, names: Iterable[str]) -> Iterator[FoundFile]:
        for name in names:
            parts = name.split("/")
            if not all(parts) or any(_is_hidden(part) for part in parts) or parts[0] == self.without:
                continue
            path = str(Path(folder, *parts))
            try:
                state = _state(partial(os.stat, path))
                if state is not None and stat.S_ISDIR(state.st_mode):
                    os.scandir(path).close()
            except PermissionError:
                self._note(path, name)
                continue
            if state is not None and stat.S_ISREG(state.st_mode) and self._is_wanted(parts[-1]):
                yield FoundFile(path, name, state.st_size, state.st_mtime_ns)

    def _is_wanted(self, name: str) -> bool:
        if name.lower().endswith(_UNFINISHED):
            return False
        return can_be_read(name) or name.lower().partition(".")[0] in self.stems

    def _note(self, folder: str, name: str) -> None:
        if Path(folder).name not in _VOLUMES_OWN:
            self.closed.append(FoundFile(folder, name.rstrip("/"), 0, 0))


def _state(ask: Callable[[], os.stat_result]) -> os.stat_result | None:
    """What a file's state is; None for one that has gone, or a link that leads nowhere."""
    try:
        return ask()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == ELOOP:
            return None
        raise


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def escaped(name: str) -> str:
    """A name of which bytes that are no UTF-8 are written as `_ESCAPE` and two digits each."""
    return name.encode("utf-8", "backslashreplace").decode()


def can_be_read(name: str) -> bool:
    """Whether a file's name has a suffix that says how to read it."""
    return _kind(name)[0] in EVENT_SUFFIXES


def settle(
    files: Iterable[LandedFile], seconds: float, complete: Collection[str] | None = None
) -> tuple[list[LandedFile], list[LandedFile]]:
    """Wait until every file is old enough, and look at the young ones again.

    Args:
        files: What was found.
        seconds: How long a file must have been left alone.
        complete: Versions of files that somebody saw completed. Then nothing is waited for: other young ones, such as
            those that were written to since, come later.

    Returns:
        The files that are complete, and those that changed while we waited.
    """
    files = list(files)
    ages = {file.path: time.time() - file.modified_at.replace(tzinfo=UTC).timestamp() for file in files}
    young = {path for path, age in ages.items() if age < seconds}
    if complete is not None:
        young -= {file.path for file in files if file.version in complete}
        return [f for f in files if f.path not in young], [f for f in files if f.path in young]
    if not young:
        return files, []
    # A time in the future says nothing about the age: then the file is watched for the whole while.
    time.sleep(max(seconds - max(ages[path], 0.0) for path in young))
    still = {file.path for file in files if file.path not in young or file.is_unchanged()}
    return [f for f in files if f.path in still], [f for f in files if f.path not in still]


def hashed(files: Iterable[LandedFile]) -> tuple[list[LandedFile], list[tuple[LandedFile, str]]]:
    """The files with their content hashes; beside them those that can't be opened, with the cause.

    A file that has gone meanwhile is in neither.
    """
    good, bad = [], []
    for file in files:
        try:
            good.append(file.hashed())
        except FileNotFoundError:
            continue
        except OSError as error:
            bad.append((file, not_opened(error)))
    return good, bad


def not_opened(error: OSError) -> str:
    """The reason why the operating system does not give us a file."""
    return f"{NOT_OPENED}: {error.strerror or error}"


def _split(name: str) -> tuple[str, str]:
    """A name and its suffix; a `Path` takes as long as looking at the file."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if dot else (name, "")


def _kind(name: str) -> tuple[str, str | None]:
    stem, suffix = _split(name.lower())
    if suffix in COMPRESSIONS:
        _, kind = _split(stem)
        # Segment's own copies in S3 are lines of JSON, and their names say no more than a time and an id.
        return (NDJSON if not kind or _HAS_DIGIT.search(kind) else kind), COMPRESSIONS[suffix]
    return suffix, None


def _naive_utc(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
