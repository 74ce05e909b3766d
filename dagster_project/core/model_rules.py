"""The model of ``models.yml``: what is kept of each day's scores."""

from dagster_project.core.strict import Days, StrictModel


class ModelRules(StrictModel):
    """``models.yml``.

    Attributes:
        published_days: How many of the latest days are published.
    """

    published_days: Days
