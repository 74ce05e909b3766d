"""The base of every playbook model: frozen, and an unknown key is an error rather than a setting that does nothing.

And the numbers and names that several of them have.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

_MACHINES_ZONES = re.compile(r"localtime|posixrules|Factory|(?:posix|right)/.*")
"""What a system has beside time zones; elsewhere they are others, or none."""


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
        is_known = not _MACHINES_ZONES.fullmatch(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        is_known = False
    if not is_known:
        raise ValueError(f"found {name!r}, expected a time zone such as Europe/Berlin or America/New_York")
    return name


MOST_DAYS = 3650
"""Of any period: what is longer is a slip of the keyboard, and leads to days before there were any."""
Count = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=MOST_DAYS)]
SomeDays = Annotated[float, Field(gt=0, le=MOST_DAYS)]
Hours = Annotated[float, Field(ge=0, le=24 * MOST_DAYS)]
SomeHours = Annotated[float, Field(gt=0, le=24 * MOST_DAYS)]
TimeZone = Annotated[str, AfterValidator(_known_zone)]


class StrictModel(BaseModel):
    """A frozen pydantic model that forbids unknown keys and numbers that are none.

    YAML reads yes, no, on and off as true and false, which count as 1 and 0 where a number belongs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_yes_or_no(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _kinds_of(cls, info.field_name or "")
        # A model in it judges what it is given itself.
        given = [value] if any(map(_is_model, kinds)) else _within(value)
        found = next((one for one in given if isinstance(one, bool)), None)
        if found is not None and kinds.isdisjoint((bool, Any)):
            raise ValueError(
                f"found {str(found).lower()}, which is also how YAML reads yes, no, on and off: expected a number, or "
                "a word in quotes"
            )
        return value


@cache
def _kinds_of(model: type[BaseModel], field: str) -> frozenset[Any]:
    """The types that a field's type is made of."""
    return frozenset(_kinds_in(model.model_fields[field].annotation))


def _kinds_in(kind: Any) -> Iterator[Any]:
    """The types that a type is made of, such as those of a union or of a mapping's values."""
    arguments = () if get_origin(kind) is Literal else get_args(kind)
    if not arguments:
        yield kind
    for argument in arguments:
        yield from _kinds_in(argument)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _within(value: Any) -> Iterator[Any]:
    """A value, or all that it holds, however deep."""
    if isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _within(inner)
    else:
        yield value
