"""What an AI assistant may ask and do, as a plain Python API; `pls mcp` serves the same over MCP.

    from dagster_project.tools import Tools
    with Tools(settings, playbook, who="ann@acme.com") as tools:
        tools.call("leads.get_hottest", owner="ann@acme.com", limit=5)

Which tools there are, and how far each reaches, is in the playbook (`assistant.yml`). They read the serving copy only.
"""

import re
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from datetime import datetime
from difflib import get_close_matches
from threading import Lock
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from dagster_project.clock import utc_now
from dagster_project.core.masking import Mask
from dagster_project.core.playbook import Playbook, PlaybookError
from dagster_project.ledger import Ledger
from dagster_project.settings import Settings
from dagster_project.tools.catalogue import listed_tools
from dagster_project.tools.checking import explained
from dagster_project.tools.desk import Desk, Result, Tool
from dagster_project.tools.errors import ToolError, Unavailable, UnknownTool, WrongArguments
from dagster_project.tools.journal import Call, Decision, keep
from dagster_project.tools.leads import Lead
from dagster_project.tools.questions import DOCUMENT, Answer
from dagster_project.tools.serving import ServingCopy
from dagster_project.tools.writes import Written


def _without_addresses(value: Any, mask: Mask, *, name: str = "") -> Any:
    """An answer in which no address stands but in ids: names of features and companies are what somebody typed."""
    if isinstance(value, BaseModel):
        fields = {field: getattr(value, field) for field in type(value).model_fields}
        shown = {field: _without_addresses(said, mask, name=field) for field, said in fields.items()}
        return value.model_copy(update=shown)
    if isinstance(value, dict):
        return {key: _without_addresses(said, mask, name=str(key)) for key, said in value.items()}
    if isinstance(value, list):
        return [_without_addresses(said, mask, name=name) for said in value]
    # By its id other tools are asked for a subject, and a token is given back as it is.
    return mask.text(value, ()) if isinstance(value, str) and not name.endswith(("id", "token")) else value


def _check_masked(masked: Collection[str], serving: ServingCopy) -> None:
    """A column that is nowhere masks nothing, and whoever mistyped one believes that it does.

    Raises:
        PlaybookError: There is no such column in the copy, in docs/sql.md or in an answer.
    """
    try:
        rows = serving.rows("select distinct column_name from duckdb_columns() where schema_name = 'marts'")
    except Unavailable:
        return
    published = {row["column_name"] for row in rows}
    named = {*published, *Lead.model_fields, *re.findall(r"\w+", DOCUMENT.read_text(encoding="utf-8"))}
    if unknown := sorted(set(masked) - named):
        near = sorted({name for word in unknown for name in get_close_matches(word, published)})
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise PlaybookError(f"assistant.yml: personal_data.masked: no column is called {', '.join(unknown)}{hint}")


class Tools:
    """The tools of one installation, for one person at a time.

    Args:
        settings: Where the stores are.
        playbook: The rules, the whitelist among them.
        who: Who asks, unless a call says otherwise.
        clock: The present moment as naive UTC.
    """

    def __init__(
        self, settings: Settings, playbook: Playbook, *, who: str, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._settings, self._playbook, self._who, self._clock = settings, playbook, who, clock
        self._tools = {tool.name: tool for tool in listed_tools(playbook)}
        self._serving = ServingCopy(settings.serving, playbook.assistant.limits)
        _check_masked(playbook.assistant.personal_data.masked, self._serving)
        self._one_write = Lock()

    def __enter__(self) -> Self:
        self._ledger = Ledger(self._settings.ledger_url).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger.__exit__()
        self._serving.close()

    def listed(self) -> list[Tool]:
        """The tools that there are."""
        return list(self._tools.values())

    def call(
        self, name: str, arguments: Mapping[str, Any] | None = None, /, *, who: str | None = None, **more: Any
    ) -> Result:
        """Use a tool. The call is in the ledger before the answer is given.

        Args:
            name: The tool's name.
            arguments: What it takes.
            who: Who asks, if somebody else than whoever the tools were made for.
            more: The same as `arguments`, one by one.

        Returns:
            The tool's own result.

        Raises:
            ToolError: There is no answer; the message says what to do instead.
        """
        asked, who = {**(arguments or {}), **more}, who or self._who
        tool = self._tools.get(name)
        # How many writes somebody has had is in the ledger when the call is: the next one asks after that.
        with self._one_write if tool and tool.writes else nullcontext():
            return self._call(name, tool, asked, who=who)

    def _call(self, name: str, tool: Tool | None, asked: Mapping[str, Any], *, who: str) -> Result:
        began, at = time.perf_counter(), self._clock()
        decision: Decision = "failed"
        reason: str | None = "it ended in an error that is not the caller's"
        size, delivery_id = 0, None  # type: int, str | None
        try:
            result = self._answer(name, tool, asked, who=who)
            size, decision, reason = len(result.model_dump_json()), "answered", None
            if isinstance(result, Written):
                decision, reason, delivery_id = result.decision, result.summary, result.delivery_id
        except ToolError as error:
            decision, reason = "failed" if isinstance(error, Unavailable) else "refused", str(error)
            raise
        finally:
            known = tool.arguments.model_fields if tool else ()
            call = Call(
                tool=name,
                arguments=asked,
                known=known,
                decision=decision,
                reason=reason,
                result_bytes=size,
                milliseconds=1000 * (time.perf_counter() - began),
                delivery_id=delivery_id,
            )
            keep(self._ledger, call, who=who, at=at)
        return result

    def _answer(self, name: str, tool: Tool | None, asked: Mapping[str, Any], *, who: str) -> Result:
        if tool is None:
            raise UnknownTool(f"there is no tool {name!r}; there are {', '.join(self._tools) or 'none'}")
        try:
            taken = tool.arguments.model_validate(asked)
        except ValidationError as error:
            raise WrongArguments(explained(tool, error)) from None
        desk = Desk(
            settings=self._settings,
            playbook=self._playbook,
            serving=self._serving,
            ledger=self._ledger,
            mask=Mask(self._playbook.assistant.personal_data.masked),
            who=who,
            clock=self._clock,
        )
        result = tool.run(desk, **{field: getattr(taken, field) for field in type(taken).model_fields})
        # A plan names who asks; of the rows of a question each cell is masked by its column, and ids stand among them.
        return result if isinstance(result, Written | Answer) else _without_addresses(result, desk.mask)
