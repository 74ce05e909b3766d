"""Whether anybody has a file open, as far as Linux tells: by asking for a lease on it, and giving that back at once."""

import fcntl
import os
import signal
import stat
from pathlib import Path

LOCAL_FILE_SYSTEMS = ("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs")
"""Of these this machine knows everybody who has a file open; a folder that is shared may be used by others."""
_MOUNTS = Path("/proc/self/mounts")


def was_left_alone(path: Path) -> bool:
    """Whether nobody has a file open or keeps it under another name; no where the operating system doesn't say.

    Whoever opened it while it was published may go on reading for as long as they like, with or without DuckDB's lock.
    """
    try:
        return path.stat().st_nlink == 1 and _has_lease(path, os.O_RDWR, "F_WRLCK")
    except OSError:
        return False


def is_written_by_nobody(path: Path) -> bool:
    """Whether nobody has a file open for writing; no where the operating system doesn't say."""
    return _has_lease(path, os.O_RDONLY, "F_RDLCK")


def _has_lease(path: Path, opened: int, kind: str) -> bool:
    if not hasattr(fcntl, "F_SETLEASE") or _file_system_of(path) not in LOCAL_FILE_SYSTEMS:
        return False
    try:
        handle = os.open(path, opened | os.O_NONBLOCK)  # of a pipe one would wait for somebody at its other end
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return False
        # Whoever opens it in between has this process told by a signal, which must not be one that ends it.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, getattr(fcntl, kind))  # refused while it is open elsewhere
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _file_system_of(path: Path) -> str | None:
    """The kind of file system that a path is on, None where that is not told."""
    try:
        mounts = [line.split(" ")[1:3] for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        return None
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself, until Python 3.13
        return None
    # Blanks in paths are told as numbers; the last one mounted over a folder is the one that is seen.
    over = [(Path(at.replace("\\040", " ")), kind) for at, kind in mounts]
    found = [(len(at.parts), place, kind) for place, (at, kind) in enumerate(over) if resolved.is_relative_to(at)]
    return max(found)[2] if found else None
