"""The playbook: everything that RevOps tunes, as checked models, and the version of what changes a score.

Texts come in and models go out; where the files lie is ``playbook_files``'s business. Each file's model says what
its keys mean; an error here names the file, the key and what was expected.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, time
from hashlib import sha256
from typing import Any, get_type_hints

import yaml
from pydantic import ValidationError

from dagster_project.core.assistant_rules import AssistantRules
from dagster_project.core.automation_rules import AutomationRules
from dagster_project.core.calibration_rules import CalibrationRules
from dagster_project.core.challenger_rules import FOLDER, Challenger, read_challengers
from dagster_project.core.crm_field_rules import CrmFieldRules
from dagster_project.core.crm_source_rules import OF_PEOPLE, CrmSourceRules
from dagster_project.core.delivery_rules import DeliveryRules
from dagster_project.core.handoff_rules import HandoffRules, RoutingRules
from dagster_project.core.identity_rules import IdentityRules
from dagster_project.core.model_rules import ModelRules
from dagster_project.core.playbook_text import problems_of, rules_of
from dagster_project.core.scoring_rules import ScoringRules
from dagster_project.core.segment_rules import SegmentRules
from dagster_project.core.source_rules import SourceRules
from dagster_project.core.stage_rules import StageRules

FORMULA_VERSION = 1
"""Raised when the code behind a score changes what it gives for the same playbook and the same features."""


class PlaybookError(ValueError):
    """The playbook can't be used; the message has a line per problem: file, key, what was expected."""


@dataclass(frozen=True)
class Playbook:
    """All rules. The file of each is its name with ``.yml``; challengers have a folder, with a file each."""

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
    challengers: Mapping[str, Challenger] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """A hash of every rule that changes what a run does: whether any of them is another one than before.

        Challengers do nothing but be measured, by the next full run.
        """
        rules = {name: getattr(self, name).model_dump() for name in FILES.values() if name != "assistant"}
        return sha256(json.dumps(rules, sort_keys=True, default=_as_json).encode()).hexdigest()[:16]

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


FILES: Mapping[str, str] = {f"{part.name}.yml": part.name for part in fields(Playbook) if part.name != FOLDER}
"""Every file of a playbook -> the field that it fills."""


def load_playbook(texts: Mapping[str, str], challengers: Mapping[str, str] | None = None) -> Playbook:
    """Read a playbook.

    Args:
        texts: The text of every file in `FILES` by its name.
        challengers: The text of every file in the folder of challengers by its name.

    Raises:
        PlaybookError: Something in it can't be used. All problems of all files are named at once.
    """
    types = get_type_hints(Playbook)
    parts: dict[str, Any] = {}
    problems: list[str] = []
    for file, part in FILES.items():
        try:
            parts[part] = rules_of(texts[file], types[part])
        except yaml.YAMLError as error:
            problems.append(f"{file}: this is no YAML: {' '.join(str(error).split())}")
        except ValidationError as error:
            problems.extend(f"{file}: {problem}" for problem in problems_of(error, types[part]))
    if "scoring" in parts:  # challengers differ from it: without it nothing can be said of them
        parts[FOLDER], wrong = read_challengers(challengers or {}, parts["scoring"])
        problems.extend(wrong)
    problems.extend(_written_over_people(parts))
    if problems:
        raise PlaybookError("The playbook can't be used:\n" + "\n".join(f"  {line}" for line in problems))
    return Playbook(**parts)


def _written_over_people(parts: Mapping[str, Any]) -> Iterator[str]:
    """Targets of `crm_fields.yml` and `assistant.yml` that a connected CRM's keys, consent or owners are read from."""
    if "crm_sources" not in parts:
        return
    for key, object_type, names in _targets(parts):
        of_people = parts["crm_sources"].fields_of_people(object_type)
        for name in names:
            if column := of_people.get(name.lower()):
                which = name if name == column else f"{name} ({column}, says crm_sources.yml)"
                yield f"{key}: {which} can't be written: a person changes it, in the CRM; expected another field"


def _targets(parts: Mapping[str, Any]) -> Iterator[tuple[str, str, Collection[str]]]:
    """The keys under which fields of a CRM are named to be written, with the object type and those fields."""
    if "crm_fields" in parts:
        for object_type in OF_PEOPLE:
            for ours, theirs in getattr(parts["crm_fields"], object_type).items():
                yield f"crm_fields.yml: {object_type}.{ours}", object_type, [theirs] if theirs else []
    record = parts["assistant"].writes.update_record if "assistant" in parts else None
    if record is not None:
        key = "assistant.yml: writes.crm.update_record"
        for object_type, names in record.fields.items():
            yield f"{key}.fields.{object_type}", object_type, names
        for object_type, name in record.signature.items():
            yield f"{key}.signature.{object_type}", object_type, [name]


def _as_json(value: object) -> object:
    """What rules hold beyond JSON: days and times as ISO text, sets in an order that is the same in every process."""
    match value:
        case date() | time():
            return value.isoformat()
        case set() | frozenset():
            return sorted(value)
        case _:
            raise TypeError(f"{value!r} has no place in a fingerprint: say how it is written in _as_json")
