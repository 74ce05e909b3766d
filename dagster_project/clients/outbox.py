"""The outbox: a folder with a Markdown file per letter, whole or not at all. Used while no chat is connected."""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from dagster_project.clients.chat import Place, Posted, Refused
from dagster_project.core.letters import ALERT, HANDOFF, Letter

_FILE_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")


class Outbox:
    """A folder in which a letter is `<its day>/<its id>.md`.

    Args:
        folder: It and its parents are made when missing.
    """

    name = "outbox"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def places(self, letter: Letter) -> Iterator[Place]:
        """The letter's file."""
        yield Place(f"{letter.day:%Y-%m-%d}/{_file_name(letter)}")

    def post(self, letter: Letter, place: Place) -> Posted:
        """Write the file; see `Chat.post`. A broken write leaves nothing that could be taken for a letter."""
        try:
            _write_whole(self._folder / place.channel, letter.markdown)
        except OSError as error:
            raise Refused(str(error)) from error
        return Posted(place.channel, "")

    def find(self, key: str, place: Place, since: datetime) -> Posted | None:
        """The file, if it is there; see `Chat.find`."""
        return Posted(place.channel, "") if (self._folder / place.channel).is_file() else None


def _file_name(letter: Letter) -> str:
    """The id, with what is said about it behind it; or what stands for both where they can't be a file's name."""
    kind = "" if letter.object_type == HANDOFF else f"{letter.object_type}-"
    what = "" if letter.operation == ALERT else f"-{letter.operation.replace(':', '-')}"
    name = f"{kind}{letter.object_id}{what}"
    if _FILE_NAME.fullmatch(name) and letter.object_id:
        return f"{name}.md"
    return f"{letter.object_type}-{sha256(letter.key.encode(errors='surrogatepass')).hexdigest()[:16]}.md"


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees a part of it, and a crash leaves all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    for folder in path.parents[:3]:  # the day, the outbox, the data folder: any of them may be new
        _keep_names(folder)


def _keep_names(folder: Path) -> None:
    """Make what was created in a folder outlast a power cut; a system that can't open folders sees to it itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
