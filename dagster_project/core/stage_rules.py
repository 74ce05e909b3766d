"""The model of ``stages.yml``: when somebody counts as activated, gone or back.

The rule itself is in ``stages``. How long an absence is measured is ``inactive_days`` of ``scoring.yml``.
"""

from typing import Annotated

from pydantic import Field

from dagster_project.core.scoring_rules import Classification
from dagster_project.core.strict import Days, StrictModel


class StageRules(StrictModel):
    """``stages.yml``.

    Attributes:
        activated_setup_share: Share of the setup steps that activation takes, beside data or an integration.
        pql_classes: The classes that make somebody a product qualified lead.
        reactivated_within_days: For how long somebody who came back is called reactivated.
    """

    activated_setup_share: Annotated[float, Field(ge=0, le=1)]
    pql_classes: frozenset[Classification] = Field(min_length=1)
    reactivated_within_days: Days
