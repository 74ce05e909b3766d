"""The model of ``models.yml``: what is kept of each day's scores."""

from typing import Annotated

from pydantic import Field

from dagster_project.core.strict import StrictModel


class ModelRules(StrictModel):
    """``models.yml``.

    Attributes:
        published_days: How many of the latest days are published.
    """

    published_days: Annotated[int, Field(ge=1)]
