"""The event catalogue, a seed of the dbt project, looked at before dbt is: its words name neither file nor row."""

from typing import Any

import yaml

from dagster_project.core.event_catalog import problems_of_catalog
from dagster_project.errors import PlsError
from dagster_project.settings import DBT_PROJECT_DIR

SEEDS = DBT_PROJECT_DIR / "seeds"
CATALOGUE = SEEDS / "event_catalog.csv"


class CatalogError(PlsError):
    """The catalogue can't be used; the message names rows, and what was expected."""


def check_catalog() -> None:
    """See that the catalogue can be used.

    Raises:
        CatalogError: It can't.
    """
    try:
        content = CATALOGUE.read_bytes()
    except OSError as error:
        raise CatalogError(f"{CATALOGUE} can't be read ({error.strerror}): which events feed which signal?") from error
    if problems := problems_of_catalog(content, _words()):
        raise CatalogError("\n".join(f"{CATALOGUE.name}: {problem}" for problem in problems))


def _words() -> dict[str, list[str]]:
    """By column, the words that the seed's own test accepts."""
    seeds: list[dict[str, Any]] = yaml.safe_load((SEEDS / "seeds.yml").read_text(encoding="utf-8"))["seeds"]
    [catalogue] = [seed for seed in seeds if seed["name"] == CATALOGUE.stem]
    return {
        column["name"]: test["accepted_words"]["arguments"]["values"]
        for column in catalogue["columns"]
        for test in column.get("data_tests", [])
        if isinstance(test, dict) and "accepted_words" in test
    }
