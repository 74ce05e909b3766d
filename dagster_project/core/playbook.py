"""The playbook: everything that RevOps tunes, as checked models, and the version of what changes a score.

Texts come in and models go out; where the files lie is ``playbook_files``'s business. Each file's model says what
its keys mean; an error here names the file, the key and what was expected.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dagster_project.core.assistant_rules import AssistantRules
from dagster_project.core.automation_rules import AutomationRules
from dagster_project.core.calibration_rules import CalibrationRules
from dagster_project.core.crm_field_rules import CrmFieldRules
from dagster_project.core.crm_source_rules import CrmSourceRules
from dagster_project.core.delivery_rules import DeliveryRules
from dagster_project.core.handoff_rules import HandoffRules, RoutingRules
from dagster_project.core.identity_rules import IdentityRules
from dagster_project.core.model_rules import ModelRules
from dagster_project.core.scoring_rules import ALTERNATIVES, ScoringRules
from dagster_project.core.segment_rules import SegmentRules
from dagster_project.core.source_rules import SourceRules
from dagster_project.core.stage_rules import StageRules

FORMULA_VERSION = 1
"""Raised when the code behind a score changes what it gives for the same playbook and the same features."""

Rules = TypeVar("Rules", bound=BaseModel)


class PlaybookError(ValueError):
    """The playbook can't be used; the message has a line per problem: file, key, what was expected."""


@dataclass(frozen=True)
class Playbook:
    """All rules. The file of each is its name with ``.yml``."""

    scoring: ScoringRules
    segments: SegmentRules
    stages: StageRules
    identity: IdentityRules
    handoffs: HandoffRules
    routing: RoutingRules
    automation: AutomationRules
    delivery: DeliveryRules
    crm_fields: CrmFieldRules
    crm_sources: CrmSourceRules
    sources: SourceRules
    models: ModelRules
    calibration: CalibrationRules
    assistant: AssistantRules

    def fingerprint(self) -> str:
        """A hash of every rule that a run reads: whether any of them is another one than before."""
        rules = {
            field.name: getattr(self, field.name).model_dump() for field in fields(self) if field.name != "assistant"
        }
        # The order of a set is another one in every process.
        return sha256(json.dumps(rules, sort_keys=True, default=sorted).encode()).hexdigest()[:16]

    def model_version(self, catalogue: str) -> str:
        """A hash of what changes a score: formulas, tiers, segments, domains without a company, the catalogue.

        Args:
            catalogue: The text of the event catalogue, whose line ends don't count.
        """
        deciding = {
            "formula": FORMULA_VERSION,
            "scoring": self.scoring.model_dump(mode="json"),
            "segments": {
                name: rule.model_dump(mode="json", exclude={"motion"}) for name, rule in self.segments.segments.items()
            },
            "no company": sorted({*self.identity.free_mail, *self.identity.disposable}),
            "catalogue": catalogue.strip().splitlines(),
        }
        return sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]


FILES: Mapping[str, str] = {f"{field.name}.yml": field.name for field in fields(Playbook)}
"""Every file of a playbook -> the field that it fills."""


def load_playbook(texts: Mapping[str, str]) -> Playbook:
    """Read a playbook.

    Args:
        texts: The text of every file in `FILES` by its name.

    Raises:
        PlaybookError: Something in it can't be used. All problems of all files are named at once.
    """
    types = get_type_hints(Playbook)
    parts: dict[str, Any] = {}
    problems: list[str] = []
    for file, part in FILES.items():
        try:
            parts[part] = _rules(texts[file], types[part])
        except yaml.YAMLError as error:
            problems.append(f"{file}: this is no YAML: {' '.join(str(error).split())}")
        except ValidationError as error:
            problems.extend(f"{file}: {problem}" for problem in _problems(error, types[part]))
    if problems:
        raise PlaybookError("The playbook can't be used:\n" + "\n".join(f"  {line}" for line in problems))
    return Playbook(**parts)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML in which a key that stands twice is an error: the earlier one would silently do nothing."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for number, (key_node, _) in enumerate(node.value):
        if keys[number] in keys[:number]:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {keys[number]!r} stands twice", key_node.start_mark
            )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _rules(text: str, model: type[Rules]) -> Rules:
    content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with one more check
    return model.model_validate({} if content is None else content)


def _problems(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
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
            return "missing, expected a value"
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
