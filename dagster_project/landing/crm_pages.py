"""Pages of an extract that have arrived, kept on disk until the whole of it has: what was read is not read twice.

One folder per CRM and entity, one file per page. What is in the pages is the CRM's business, what becomes of them that
of `crm_api`.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4


@dataclass(frozen=True)
class Progress:
    """How far an extract has come.

    Attributes:
        started_at: When it began, naive UTC: nothing in it is known to be younger.
        is_full: Whether it reads everything.
        cursor: Where to go on; None before the first page.
        pages: How many pages have arrived.
        is_complete: Whether the last one has.
        fields: What its rows are made of, from `fields_text`; None if nobody wrote it down.
        last_page_at: When the last page was kept, naive UTC; None before the first, and while others follow it.
    """

    started_at: datetime
    is_full: bool
    cursor: str | None = None
    pages: int = 0
    is_complete: bool = False
    fields: str | None = None
    last_page_at: datetime | None = None

    @property
    def kept_at(self) -> datetime:
        """When the last page was kept, naive UTC; when it began, before the first."""
        return self.last_page_at or self.started_at


class PageStore:
    """The pages of one entity of one CRM.

    Args:
        folder: Its own folder; made when the first page comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def progress(self) -> Progress | None:
        """How far the extract in here has come; None if there is none."""
        paths = self._paths()
        if not paths or paths[-1].stem != _number(len(paths)):  # without one in between it is half an extract
            return None
        last = json.loads(paths[-1].read_text())
        return Progress(
            started_at=datetime.fromisoformat(last["started_at"]),
            is_full=last["is_full"],
            cursor=last["cursor"],
            pages=len(paths),
            is_complete=last["is_last"],
            fields=last.get("fields"),
            last_page_at=datetime.fromtimestamp(paths[-1].stat().st_mtime, UTC).replace(tzinfo=None),
        )

    def keep(self, before: Progress, rows: list[Mapping[str, Any]], cursor: str, *, is_last: bool) -> Progress:
        """Keep a page; it is there whole or not at all.

        Args:
            before: How far the extract had come.
            rows: The page's.
            cursor: Where to go on after it.
            is_last: Whether it is the last one.
        """
        said = {
            "started_at": before.started_at.isoformat(),
            "is_full": before.is_full,
            "fields": before.fields,
            "cursor": cursor,
            "is_last": is_last,
            "rows": rows,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{_number(before.pages + 1)}.json"
        unfinished = path.with_suffix(".part")
        with unfinished.open("w") as file:
            json.dump(said, file, default=str)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        return replace(before, cursor=cursor, pages=before.pages + 1, is_complete=is_last)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all pages, in order; one page at a time is in memory."""
        for path in self._paths():
            yield from json.loads(path.read_text())["rows"]

    def clear(self) -> None:
        """Forget all pages, at once: what is left of some would look like an extract."""
        going = self._folder.with_name(f".{self._folder.name}.{uuid4().hex}")
        with suppress(FileNotFoundError):
            self._folder.rename(going)
        shutil.rmtree(going, ignore_errors=True)

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))


def _number(page: int) -> str:
    return f"{page:08d}"
