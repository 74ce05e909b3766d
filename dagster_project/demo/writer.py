"""Writes files into the landing folder so that the same rows are always the same bytes, and remembers what it
wrote.

The modification time of a file is part of what it says (when it was delivered), so it is set, not left to the
clock.
"""

import gzip
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

CAMEL = {
    "message_id": "messageId", "user_id": "userId", "anonymous_id": "anonymousId", "group_id": "groupId",
    "session_id": "sessionId", "received_at": "receivedAt",
}  # fmt: skip
OBJECTS = ("properties", "traits", "context")
ISO = "%Y-%m-%dT%H:%M:%S%.3fZ"


@dataclass
class LandingWriter:
    """Writes under `root`; `files` lists the paths written, relative to it."""

    root: Path
    files: list[str] = field(default_factory=list)

    def parquet(self, path: str, frame: pl.DataFrame, *, modified_at: datetime) -> None:
        """One Parquet file with typed moments."""
        target = self._target(path)
        frame.write_parquet(target, compression="zstd", row_group_size=100_000, statistics=True)
        self._written(path, modified_at)

    def lines(self, path: str, lines: list[str], *, modified_at: datetime) -> None:
        """One text line per entry; compressed when the path ends in `.gz`."""
        content = ("\n".join(lines) + "\n").encode() if lines else b""
        # gzip writes the time into its header unless told otherwise.
        self._target(path).write_bytes(gzip.compress(content, 6, mtime=0) if path.endswith(".gz") else content)
        self._written(path, modified_at)

    def csv(self, path: str, frame: pl.DataFrame, *, modified_at: datetime) -> None:
        """One CSV file with a header; moments as ISO 8601 in UTC."""
        frame.write_csv(self._target(path), datetime_format="%Y-%m-%dT%H:%M:%SZ")
        self._written(path, modified_at)

    def _target(self, path: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _written(self, path: str, modified_at: datetime) -> None:
        seconds = modified_at.replace(tzinfo=UTC).timestamp()
        os.utime(self.root / path, (seconds, seconds))
        self.files.append(path)


def event_lines(frame: pl.DataFrame, *, camel_case: bool = False) -> list[str]:
    """Event rows as JSON lines; nulls are left out, `properties`, `traits` and `context` are objects."""
    pieces = []
    for place, column in enumerate(frame.columns):
        key = CAMEL.get(column, column) if camel_case else column
        value = pl.col(column).dt.strftime(ISO) if frame.schema[column].is_temporal() else pl.col(column)
        quote = "" if column in OBJECTS else '"'
        piece = pl.concat_str(pl.lit(f'{"," if place else ""}"{key}":{quote}'), value, pl.lit(quote))
        pieces.append(piece.fill_null(""))
    return frame.select(pl.concat_str(pl.lit("{"), *pieces, pl.lit("}"))).to_series().to_list()
