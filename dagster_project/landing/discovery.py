"""Which files have landed and whether they are complete. What is in them is the readers' business."""

import hashlib
import os
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from errno import EACCES
from pathlib import Path

EVENTS = "events"
"""The source of product events."""
API = "api:"
"""How the paths of extracts from a connected CRM begin in `raw.files`."""
EVENT_SUFFIXES = (".parquet", ".ndjson", ".jsonl", ".csv")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
NOT_OPENED = "the file can't be opened"
"""How the reasons begin that say nothing about what is in a file; it is tried each time until it can be opened."""
_LONG_AGO = datetime(1970, 1, 1)
_VOLUMES_OWN = frozenset({"lost+found"})
_UNFINISHED = (".tmp", ".part", ".crdownload")


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
        """The suffix that says how to read it: `.parquet`, `.ndjson`, `.jsonl` or `.csv`."""
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


def landed_file(path: Path, landing: Path, source: str) -> LandedFile | None:
    """Look at a file; None if it has gone meanwhile."""
    state = state_of(path)
    if state is None:
        return None
    return LandedFile(path, _name(path, landing), source, *state)


def _name(path: Path, landing: Path) -> str:
    return path.relative_to(landing).as_posix().encode("utf-8", "backslashreplace").decode()


def state_of(path: Path) -> tuple[int, datetime] | None:
    """`LandedFile.state` of a file as it is now; None if it has gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, _naive_utc(stat.st_mtime_ns)


def event_files(landing: Path) -> list[LandedFile]:
    """The event files below `landing/events`, sorted by name, and the folders that we may not look into.

    Such a folder stands for its files, which nobody knows: it can't be opened either.
    """
    closed: list[Path] = []
    found = [landed_file(path, landing, EVENTS) for path in readable_files(landing / "events", closed)]
    # Whatever is done in such a folder is no news: nobody can tell.
    folders = [LandedFile(path, _name(path, landing), EVENTS, 0, _LONG_AGO) for path in {*closed}]
    return sorted([*folders, *(file for file in found if file is not None)], key=lambda file: file.name)


def readable_files(folder: Path, closed: list[Path] | None = None, *, without: str | None = None) -> Iterator[Path]:
    """Files below `folder` with a suffix that can be read; hidden and unfinished ones are left alone.

    What goes during the look is not there.

    Args:
        folder: Where.
        closed: Takes the folders that we may not look into, but for those of a volume's own.
        without: A folder of `folder` that is passed over.

    Raises:
        OSError: A folder can't be looked at. That is no empty folder.
    """
    found = []

    def passed_over(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
            raise error
        if isinstance(error, PermissionError):
            note(Path(error.filename))

    def note(place: Path) -> None:
        if closed is not None and place.name not in _VOLUMES_OWN:
            closed.append(place)

    for place, folders, names in os.walk(folder, onerror=passed_over):
        passed = without if Path(place) == folder else None
        folders[:] = [name for name in folders if not name.startswith((".", "_")) and name != passed]
        found += [Path(place, name) for name in names if _may_be_read(name)]
    for path in sorted(found):
        try:
            if path.is_file():
                yield path
        except PermissionError:  # names may be seen in some folders, and nothing else
            note(path.parent)


def _may_be_read(name: str) -> bool:
    return (
        not name.startswith((".", "_")) and not name.lower().endswith(_UNFINISHED) and _kind(name)[0] in EVENT_SUFFIXES
    )


def settle(
    files: Iterable[LandedFile], seconds: float, complete: Collection[str] | None = None
) -> tuple[list[LandedFile], list[LandedFile]]:
    """Wait until every file is old enough, and look at the young ones again.

    Args:
        files: What was found.
        seconds: How long a file must have been left alone.
        complete: Versions of files that somebody saw completed. Then nothing is waited for: other young ones, and
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


def _kind(name: str) -> tuple[str, str | None]:
    path = Path(name.lower())
    if path.suffix in COMPRESSIONS:
        return Path(path.stem).suffix, COMPRESSIONS[path.suffix]
    return path.suffix, None


def _naive_utc(nanoseconds: int) -> datetime:
    seconds, rest = divmod(nanoseconds // 1000, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest, tzinfo=None)
