"""The model of a file in ``challengers/``: another way to score, tried beside the champion, and whom it is judged on.

The champion is ``scoring.yml``. A challenger says only what it does otherwise.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from dagster_project.core.playbook_text import problems_of, rules_of
from dagster_project.core.scoring_rules import ScoringRules
from dagster_project.core.segment_rules import Segment
from dagster_project.core.strict import StrictModel

FOLDER = "challengers"
CHAMPION = "champion"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
Deals = Literal["new_business", "expansion", "all"]


class JudgedOn(StrictModel):
    """Whose scores are compared with which deals.

    Attributes:
        deals: `new_business` looks at accounts that have won no deal yet, `expansion` at those that have.
        segments: Of these alone; none named means all.
    """

    deals: Deals = "new_business"
    segments: tuple[Segment, ...] = ()


class ChallengerFile(StrictModel):
    """``challengers/<name>.yml``.

    Attributes:
        about: What it is for, a line for people.
        judged_on: Whom it is judged on.
        scoring: What differs from ``scoring.yml``; null takes a key away.
    """

    about: str = ""
    judged_on: JudgedOn = JudgedOn()
    scoring: Annotated[dict[str, Any], Field(min_length=1)]


class Challenger(StrictModel):
    """A challenger with all its rules.

    Attributes:
        about: As in the file.
        judged_on: As in the file.
        scoring: ``scoring.yml`` with what differs.
    """

    about: str
    judged_on: JudgedOn
    scoring: ScoringRules


class _NotThere(ValueError):
    """A key is to be taken away that isn't there; the message names it."""


def read_challengers(texts: Mapping[str, str], champion: ScoringRules) -> tuple[dict[str, Challenger], list[str]]:
    """Read the challengers of a champion.

    Args:
        texts: The text of every file in the folder by its name.
        champion: What they differ from.

    Returns:
        Those that can be used, by name, and a line per problem with the others.
    """
    read: dict[str, Challenger] = {}
    wrong: list[str] = []
    for file, text in sorted(texts.items()):
        name = file.removesuffix(".yml")
        if not _NAME.fullmatch(name) or name == CHAMPION:
            expected = f"expected a name of small letters, digits, - and _ that ends with .yml, and not {CHAMPION}.yml"
            wrong.append(f"{FOLDER}/{file}: {expected}")
            continue
        found = _read(text, champion)
        if isinstance(found, Challenger):
            known = {"scoring.yml": champion, **{f"{FOLDER}/{other}.yml": read[other].scoring for other in read}}
            twin = next((other for other, rules in known.items() if rules == found.scoring), None)
            if twin is None:
                read[name] = found
                continue
            found = [f"scoring: this scores as {twin} does: expected a difference, or no such file"]
        wrong += [f"{FOLDER}/{file}: {problem}" for problem in found]
    return read, wrong


def _read(text: str, champion: ScoringRules) -> Challenger | list[str]:
    """The challenger, or what is wrong with it."""
    try:
        said = rules_of(text, ChallengerFile)
    except yaml.YAMLError as error:
        return [f"this is no YAML: {' '.join(str(error).split())}"]
    except ValidationError as error:
        return list(problems_of(error, ChallengerFile))
    if "measurement" in said.scoring:
        return ["scoring.measurement: all models score the same measurements: expected in scoring.yml alone"]
    try:
        changed = _with_changes(champion.model_dump(by_alias=True, mode="json"), said.scoring)
        scoring = ScoringRules.model_validate(changed)
    except _NotThere as error:
        return [f"scoring.{error}"]
    except ValidationError as error:
        return [f"scoring.{problem}" for problem in problems_of(error, ScoringRules)]
    return Challenger(about=said.about, judged_on=said.judged_on, scoring=scoring)


def _with_changes(rules: Mapping[str, Any], changes: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Rules with some keys changed, added, or taken away (null).

    Args:
        rules: As a file says them.
        changes: The same in part.
        path: Where both are, for the message.

    Raises:
        _NotThere: A key to take away isn't there.
    """
    changed = dict(rules)
    for key, value in changes.items():
        here, now = (*path, str(key)), changed.get(key)
        if value is None:
            if key not in changed:
                raise _NotThere(f"{'.'.join(here)}: scoring.yml has no such key, so there is nothing to take away")
            del changed[key]
        elif isinstance(value, Mapping) and isinstance(now, Mapping):
            changed[key] = _with_changes(now, value, here)
        else:
            changed[key] = value
    return changed
