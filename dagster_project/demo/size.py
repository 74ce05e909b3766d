"""What a simulation is asked for, its time line and its random streams.

Time inside the simulation is a float: days since `start`, the midnight (UTC) on which the history begins. The
simulation knows no clock; `end` is an argument.
"""

import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DAY_MS = 86_400_000


def naive_utc(moment: datetime) -> datetime:
    """The moment as naive UTC, to the millisecond; a naive one is taken as UTC already."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass(frozen=True)
class DemoSize:
    """The arguments of a simulation. `users` are people who signed up, `accounts` companies of any kind."""

    seed: int
    users: int
    accounts: int
    days: int
    end: datetime

    def __post_init__(self) -> None:
        if self.users < 1 or self.accounts < 1 or self.days < 1:
            raise ValueError("users, accounts and days must each be at least 1")
        if self.seed < 0:
            raise ValueError("seed must not be negative")

    @property
    def start(self) -> datetime:
        """The first midnight: with the day of `end` the history has `days` calendar days."""
        midnight = self.end.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight - timedelta(days=self.days - 1)

    @property
    def horizon(self) -> float:
        """`end`, in days since `start`."""
        return (self.end - self.start) / timedelta(days=1)

    @property
    def horizon_ms(self) -> int:
        """`end`, in whole milliseconds since `start`."""
        return (self.end - self.start) // timedelta(milliseconds=1)

    def moment(self, day: float) -> datetime:
        """The moment `day` days after `start`, to the second."""
        return self.start + timedelta(seconds=int(day * 86_400))

    def stream(self, name: str, part: int = 0) -> np.random.Generator:
        """An independent random stream. Streams are named, so that a new one leaves the others as they
        were.
        """
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), part])


def chance(score: Floats) -> Floats:
    """The logistic function: a latent score on the whole line as a probability."""
    return 1.0 / (1.0 + np.exp(-score))
