"""What every tool works with, and what a tool is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from dagster_project.core.masking import Mask
from dagster_project.core.playbook import Playbook
from dagster_project.ledger import Ledger
from dagster_project.settings import Settings
from dagster_project.tools.serving import ServingCopy

LONGEST_TEXT = 200
"""Characters of a name or an id: a longer one is nobody's."""


class Result(BaseModel):
    """What a tool answers: typed, and nothing changes it afterwards."""

    model_config = ConfigDict(frozen=True)


@dataclass(frozen=True)
class Desk:
    """The stores and rules of one installation, and on whose behalf they are used.

    Attributes:
        who: Whoever asks, as writes are signed and calls are logged.
        clock: The present moment as naive UTC.
    """

    settings: Settings
    playbook: Playbook
    serving: ServingCopy
    ledger: Ledger
    mask: Mask
    who: str
    clock: Callable[[], datetime]


@dataclass(frozen=True)
class Tool:
    """One tool as the whitelist leaves it.

    Attributes:
        name: What it is called by.
        title: The same for people.
        description: What an assistant needs to know to choose and use it.
        arguments: What it takes; an argument that is not on the whitelist does not fit it.
        result: What it answers.
        run: Does it.
        writes: Whether it changes anything outside.
    """

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    result: type[Result]
    run: Callable[..., Result]
    writes: bool = False

    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments."""
        return self.arguments.model_json_schema()

    def output_schema(self) -> dict[str, Any]:
        """JSON Schema of the result."""
        return self.result.model_json_schema(mode="serialization")


Name = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
"""What somebody is called, or the id of something."""


def one_of(names: Iterable[str]) -> Any:
    """The type of a text that is one of these."""
    return Literal[tuple(names)]


def some_of(names: Iterable[str]) -> Any:
    """The type of a list of these, with at least one of them."""
    known = tuple(names)
    return Annotated[list[one_of(known)], Field(min_length=1, max_length=len(known))]  # type: ignore[misc]


def arguments(tool: str, **fields: Any) -> type[BaseModel]:
    """The model of a tool's arguments.

    Args:
        tool: Its name.
        fields: By name, a pair of type and default or `Field(...)`, as pydantic takes it.
    """
    name = "".join(part.capitalize() for part in tool.replace(".", "_").split("_"))
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True, str_strip_whitespace=True), **fields)
