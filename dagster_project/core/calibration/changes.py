"""A suggestion as changes of single keys of the playbook's files, and those keys changed in the files' own text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import yaml

from dagster_project.core.calibration.suggestions import matching_bound
from dagster_project.core.playbook import Playbook
from dagster_project.core.scoring_rules import ScoringRules

SUGGESTIONS = pl.Schema(
    {
        **dict.fromkeys(("model_version", "file", "key"), pl.String()),
        **dict.fromkeys(("value", "suggested"), pl.Float64()),
    }
)
"""One row per key of the playbook to change; `suggested` is null for a signal to remove."""
_MOST_APART = 5.0


@dataclass(frozen=True)
class Change:
    """One key of one file: what it is to be, None to remove it."""

    file: str
    key: tuple[str, ...]
    value: float | None
    suggested: float | None


def suggested_changes(suggested: ScoringRules, samples: pl.DataFrame, playbook: Playbook) -> list[Change]:
    """What has to change in the files for the suggestion to hold.

    The line above which `hot_pql` calls sales moves with the class bounds, so that as many people are above it.

    Args:
        suggested: The suggested rules.
        samples: With `score` as it is and `tried` as it would be.
        playbook: The live one.
    """
    live = playbook.scoring.model_dump(by_alias=True, mode="json")
    changes = [
        Change("scoring.yml", *change)
        for change in _differences(live, suggested.model_dump(by_alias=True, mode="json"))
    ]
    now, then = samples["score"].to_numpy(), samples["tried"].to_numpy()
    trigger = playbook.handoffs.triggers.hot_pql
    above = matching_bound(now, then, trigger.score_above, range(1, 101))
    # Kept apart as they were, within reason: a score that wavers about one line would call sales again and again.
    apart = min(trigger.score_above - trigger.rearm_below, _MOST_APART)
    below = matching_bound(now, then, trigger.rearm_below, range(max(1, int(above - apart) + 1)))
    for name, value, moved in (
        ("score_above", trigger.score_above, above),
        ("rearm_below", trigger.rearm_below, below),
    ):
        if value != moved:
            changes.append(Change("handoffs.yml", ("triggers", "hot_pql", name), value, float(moved)))
    return changes


def _differences(
    live: Mapping[str, Any], other: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], float | None, float | None]]:
    for name, value in live.items():
        here = (*path, str(name))
        if name not in other:
            yield here, float(value) if isinstance(value, int | float) else None, None
        elif isinstance(value, Mapping) and isinstance(other[name], Mapping):
            yield from _differences(value, other[name], here)
        elif value != other[name]:
            yield here, float(value) if isinstance(value, int | float) else None, float(other[name])


def frame_of(changes: Sequence[Change], model_version: str) -> pl.DataFrame:
    """`SUGGESTIONS`."""
    rows = [(model_version, one.file, ".".join(one.key), one.value, one.suggested) for one in changes]
    return pl.DataFrame(rows, schema=SUGGESTIONS, orient="row")


def changes_of(frame: pl.DataFrame) -> list[Change]:
    """The changes that `frame_of` made a frame of."""
    return [
        Change(row["file"], tuple(row["key"].split(".")), row["value"], row["suggested"])
        for row in frame.iter_rows(named=True)
    ]


class NotInTheFile(ValueError):
    """A key to change is not in the text; the message names it."""


def changed_text(text: str, changes: Sequence[Change]) -> str:
    """A file of the playbook with some keys changed and everything else, comments too, as it was.

    Args:
        text: YAML.
        changes: Of this file.

    Raises:
        NotInTheFile: A key isn't there: the file has changed since the suggestion was made.
    """
    for change in changes:  # one at a time: each moves what comes after it
        text = _with_change(text, change)
    return text


def _with_change(text: str, change: Change) -> str:
    parent: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for step in change.key[:-1]:
        parent = _entry(parent, step, change)[1]
    key, value = _entry(parent, change.key[-1], change)
    if change.suggested is not None:
        return text[: value.start_mark.index] + f"{change.suggested:g}" + text[value.end_mark.index :]
    if parent.flow_style:
        kept = [node for name, node in parent.value if name is not key]
        names = [name for name, _ in parent.value if name is not key]
        written = ", ".join(f"{name.value}: {_source(text, node)}" for name, node in zip(names, kept, strict=True))
        return f"{text[: parent.start_mark.index]}{{{written}}}{text[parent.end_mark.index :]}"
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    stop = text.find("\n", value.end_mark.index) + 1 or len(text)
    return text[:start] + text[stop:]


def _source(text: str, node: yaml.Node) -> str:
    return text[node.start_mark.index : node.end_mark.index]


def _entry(parent: Any, name: str, change: Change) -> tuple[yaml.Node, Any]:
    for key, value in parent.value if isinstance(parent, yaml.MappingNode) else []:
        if key.value == name:
            return key, value
    raise NotInTheFile(f"{change.file}: {'.'.join(change.key)} is not there: expected the playbook that was calibrated")
