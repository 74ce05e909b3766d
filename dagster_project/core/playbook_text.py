"""One file of a playbook: its text as a model, and what is wrong with it in words that name the key."""

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dagster_project.core.scoring_rules import ALTERNATIVES

Rules = TypeVar("Rules", bound=BaseModel)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML in which a key that stands twice is an error: the earlier one would silently do nothing.

    Numbers are as in YAML 1.2: 10:30 is a time of day to people, and 630 to YAML 1.1; 030 is thirty, and 24 there.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, AttributeError) as error:
            if not isinstance(node, yaml.ScalarNode):
                raise
            # It looks like a day or a number and is none, such as 2026-02-30; PyYAML itself doesn't say where.
            why = f": {error}" if isinstance(error, ValueError) else ""
            said = f"{node.value!r} can't be read as {node.tag.rpartition(':')[2]}{why}"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from None


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for number, (key_node, _) in enumerate(node.value):
        if keys[number] in keys[:number]:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {keys[number]!r} stands twice", key_node.start_mark
            )
    return loader.construct_mapping(node, deep=True)


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float | str:
    if ":" in node.value:
        return str(node.value)
    if _LEADING_ZERO.fullmatch(node.value):
        return int(node.value.replace("_", ""))
    return _NUMBERS[node.tag](loader, node)


_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_NUMBERS: dict[str, Callable[[_Loader, yaml.ScalarNode], int | float]] = {
    "tag:yaml.org,2002:int": _Loader.construct_yaml_int,
    "tag:yaml.org,2002:float": _Loader.construct_yaml_float,
}

_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
for _tag in _NUMBERS:
    _Loader.add_constructor(_tag, _number)


def rules_of(text: str, model: type[Rules]) -> Rules:
    """Read a file.

    Args:
        text: YAML.
        model: What its keys mean.

    Raises:
        yaml.YAMLError: It is no YAML, a key stands twice, or a day or number is none; the message has the line.
        ValidationError: The model doesn't take it.
    """
    content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with one more check
    return model.model_validate({} if content is None else content)


def problems_of(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """What a model did not take, a line per problem: the key, and what was expected."""
    for detail in error.errors():
        yield f"{_path(detail) or 'the file'}: {_expected(detail, model)}"


def _path(detail: ErrorDetails) -> str:
    parts = [part for part in detail["loc"] if part not in ALTERNATIVES and part != "[key]"]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")


def _expected(detail: ErrorDetails, model: type[BaseModel]) -> str:
    match detail["type"]:
        case "extra_forbidden":
            known = ", ".join(_keys_at(model, detail["loc"][:-1]))
            return f"unknown key, expected one of {known}" if known else "unknown key"
        case "missing":
            return "missing, expected a value: the packaged file of this version has one to copy"
        case "literal_error":
            return f"found {detail['input']!r}, expected {detail['ctx']['expected']}"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, found {detail['input']!r}"


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that the model behind a path knows: through fields, through the values of mappings and lists."""
    found: Any = model
    for step in path:
        if isinstance(found, type) and issubclass(found, BaseModel):
            field = next((f for n, f in found.model_fields.items() if step in (n, f.alias)), None)
            found = field.annotation if field else None
        elif step not in ALTERNATIVES:
            # the value type of a mapping, or the item type of a list, is its last argument that is no ellipsis
            found = next((a for a in reversed(get_args(found)) if a is not Ellipsis), None)
        found = _model_in(found) or found
    if isinstance(found, type) and issubclass(found, BaseModel):
        return [field.alias or name for name, field in found.model_fields.items()]
    return []


def _model_in(kind: Any) -> type[BaseModel] | None:
    """The model among the alternatives of a union or behind an annotation, unless it is inside a container."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if isinstance(kind, type) or getattr(kind, "__origin__", None) in (dict, tuple, frozenset):
        return None
    return next((model for argument in get_args(kind) if (model := _model_in(argument))), None)
