"""The base of every playbook model: frozen, and an unknown key is an error rather than a setting that does nothing.

And the numbers that several of them have.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST_DAYS = 3650
"""Of any period: what is longer is a slip of the keyboard, and leads to days before there were any."""
Count = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=MOST_DAYS)]
SomeDays = Annotated[float, Field(gt=0, le=MOST_DAYS)]
Hours = Annotated[float, Field(ge=0, le=24 * MOST_DAYS)]
SomeHours = Annotated[float, Field(gt=0, le=24 * MOST_DAYS)]


class StrictModel(BaseModel):
    """A frozen pydantic model that forbids unknown keys and numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
