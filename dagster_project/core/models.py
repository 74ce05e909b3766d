"""The models that score side by side: the champion, which acts, and its challengers, which are only measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dagster_project.core.challenger_rules import CHAMPION, FOLDER, JudgedOn
from dagster_project.core.playbook import Playbook, PlaybookError
from dagster_project.core.scoring_rules import ScoringRules


@dataclass(frozen=True)
class Model:
    """One way to score.

    Attributes:
        name: `champion`, or the name of the challenger's file.
        version: What stands on its scores.
        playbook: Its rules; those of the champion but for the scoring.
        about: What it is for.
        judged_on: Whom it is judged on.
    """

    name: str
    version: str
    playbook: Playbook
    about: str = ""
    judged_on: JudgedOn = JudgedOn()

    @property
    def is_champion(self) -> bool:
        """Whether it is the one that acts."""
        return self.name == CHAMPION

    @property
    def scoring(self) -> ScoringRules:
        """Its scoring rules."""
        return self.playbook.scoring


def models_of(playbook: Playbook, catalogue: str) -> list[Model]:
    """The champion, then the challengers by name.

    Args:
        playbook: The rules.
        catalogue: The text of the event catalogue.
    """
    champion = replace(playbook, challengers={})
    found = [Model(CHAMPION, champion.model_version(catalogue), champion)]
    for name, challenger in sorted(playbook.challengers.items()):
        rules = replace(champion, scoring=challenger.scoring)
        found.append(Model(name, rules.model_version(catalogue), rules, challenger.about, challenger.judged_on))
    return found


def promoted(playbook: Playbook, name: str) -> Playbook:
    """The playbook in which a challenger is the champion.

    Args:
        playbook: The live one.
        name: The challenger's.

    Raises:
        PlaybookError: There is no such challenger.
    """
    if name not in playbook.challengers:
        known = ", ".join(sorted(playbook.challengers)) or "none"
        raise PlaybookError(f"there is no challenger {name} in {FOLDER}/: there are {known}")
    return replace(playbook, scoring=playbook.challengers[name].scoring, challengers={})
