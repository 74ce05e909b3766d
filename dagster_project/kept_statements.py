"""What dbt wrote and executed once, among its artefacts: for later runs, of other processes too.

What belongs here: which statements dbt executed, and the file that keeps them. Which ones may be executed again, and
how, is `delta_statements.py`'s and `node_statements.py`'s business.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt_common.events.base_types import EventMsg

_DBT_COMMENT = re.compile(r"^\s*/\*.*?\*/\s*", re.DOTALL)


class NotRepeatable(RuntimeError):
    """This is for dbt to do; the message says why."""


def executed_by_nodes(events: "Iterable[EventMsg]") -> Iterator[tuple[str, str]]:
    """The ids of nodes and the statements that dbt executed for each, in its order.

    Args:
        events: Everything that dbt told of.
    """
    for event in events:
        if event.info.name == "SQLQuery" and event.data.node_info.unique_id:
            yield event.data.node_info.unique_id, _DBT_COMMENT.sub("", event.data.sql)


def keep_file(path: Path, written_for: str, statements: Mapping[str, Any]) -> None:
    """Keep statements.

    Args:
        path: The file; replaced in one piece.
        written_for: What they depend on beside the tables.
        statements: As JSON can hold them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps({"written_for": written_for, **statements}), encoding="utf-8")
    fresh.replace(path)


def kept_file(path: Path, written_for: str) -> Mapping[str, Any] | None:
    """The statements that were kept last, if they were written for the same; None as well where nothing can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found["written_for"] == written_for else None
