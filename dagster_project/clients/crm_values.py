"""What the connectors share: lists as one text and back; failed requests and unreadable answers as errors of a CRM."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from inspect import isfunction
from typing import Any, ParamSpec, TypeVar

from dagster_project.clients.crm import CrmClient, CrmDenied, CrmRefused, CrmUnavailable, CrmUnknown
from dagster_project.clients.http import ApiRefused, ApiUnavailable, ApiUnknown

UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)
"""What reading an answer of another shape than the documented one ends with."""
_Given = ParamSpec("_Given")
_Said = TypeVar("_Said")
_Client = TypeVar("_Client")
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DATED = re.compile(r"(.+) \((\d{4}-\d{2}-\d{2})\)")


@contextmanager
def crm_errors() -> Iterator[None]:
    """Requests inside fail as a CRM does."""
    try:
        yield
    except ApiUnavailable as error:
        unavailable = CrmUnknown(str(error)) if isinstance(error, ApiUnknown) else CrmUnavailable(str(error))
        unavailable.is_silent = error.is_silent
        raise unavailable from None
    except ApiRefused as error:
        if error.status in REDIRECTS:  # it says nothing about what was sent: a page stands where the CRM was
            raise CrmUnavailable(str(error)) from None
        kind = CrmDenied if error.status in (401, 403) else CrmRefused
        raise kind(str(error)) from None


def unknown_shape(error: Exception) -> str:
    """What is said of an answer that could not be read, in the words of one of `UNREADABLE`."""
    return f"the CRM's answer has an unknown shape ({type(error).__name__}: {error})"


def unreadable_is_unknown(client: type[_Client]) -> type[_Client]:
    """A connector whose methods raise CrmUnknown where an answer has a shape that nobody has foreseen.

    `extract` is no one of them: what it reads is judged page by page (`extraction.fetch`).
    """
    for name, member in vars(CrmClient).items():
        if isfunction(member) and not name.startswith("_") and name != "extract":
            setattr(client, name, _guarded(getattr(client, name)))
    return client


def _guarded(method: Callable[_Given, _Said]) -> Callable[_Given, _Said]:
    @wraps(method)
    def guarded(*args: _Given.args, **kwargs: _Given.kwargs) -> _Said:
        try:
            return method(*args, **kwargs)
        except UNREADABLE as error:
            raise CrmUnknown(unknown_shape(error)) from error

    return guarded


def joined(items: Sequence[Any]) -> str:
    """A list as one text: items separated by `; `, one with a name and a date as `name (date)`."""
    return "; ".join(_item(item) for item in items)


def split(text: str | None) -> list[Any]:
    """The list that `joined` made a text of."""
    items = re.findall(r"((?:\\.|[^\\;]|\\$)+)(?:;\s*|$)", text or "", re.DOTALL)
    return [_undated(re.sub(r"\\([\\;])", r"\1", item)) for item in items]


def utc_text(moment: datetime) -> str:
    """A moment, naive UTC or with an offset, as vendors write it: ISO 8601 with milliseconds and Z."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def moment_of(text: str) -> datetime:
    """A vendor's moment as naive UTC; one without an offset is in UTC."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def to_seconds(text: str) -> str:
    """A vendor's moment as we write it: ISO 8601 in UTC, whole seconds, Z."""
    return moment_of(text).isoformat(timespec="seconds") + "Z"


def number_of(said: Any) -> int | float:
    """A vendor's number, whole where it is."""
    value = float(said)
    return int(value) if value.is_integer() else value


def _item(item: Any) -> str:
    text = f"{item['name']} ({item['date']})" if isinstance(item, Mapping) else str(item)
    return text.replace("\\", "\\\\").replace(";", "\\;")


def _undated(item: str) -> Any:
    dated = _DATED.fullmatch(item)
    return {"name": dated[1], "date": dated[2]} if dated else item
