"""Ledgers to begin with: empty, at this version's tables. Migrating each would take longer than most of its tests."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from dagster_project.ledger import Ledger


def empty_ledger(path: Path) -> str:
    """The URL of a ledger in which nothing is yet: a copy of one that was migrated."""
    path.write_bytes(_migrated())
    return f"sqlite:///{path}"


@cache
def _migrated() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "ledger.sqlite")
        with Ledger(f"sqlite:///{path}"):
            pass
        return path.read_bytes()
