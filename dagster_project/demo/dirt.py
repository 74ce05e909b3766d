"""What real extracts have wrong with them: rows twice, rows late, rows that cannot be read, clocks ahead of
time.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

SAME_AGAIN, CHANGED_AGAIN, LATE = 0.002, 0.0015, 0.004
BROKEN_LINES = (
    '{"message_id":"msg_cut_off","type":"track","event":"Report Expo',
    "Connection reset by peer",
    '{"message_id":"msg_no_id","type":"track","event":"Signed In","timestamp":"2024-01-01T00:00:00Z"}',
)
SKEWED_ROWS = 3


@dataclass(frozen=True)
class Deliveries:
    """What becomes of a week's rows: `now` arrives with the week, `later` in a file of its own, days
    afterwards.
    """

    now: pl.DataFrame
    later: pl.DataFrame
    same_again: int
    changed_again: int
    late: int


def delivered(rows: pl.DataFrame, rng: np.random.Generator, *, end: datetime, all_in_time: bool = False) -> Deliveries:
    """Splits rows into those in time and those late, and repeats some.

    A repetition has the message id of its original; in the later file it has other content and a later
    `received_at`. No `received_at` is after `end`.
    """
    draw = rng.random(len(rows))
    web = (rows["service"] == "web").to_numpy()
    late = web & (draw < LATE) & (not all_in_time)
    same = (rows["service"] != "billing").to_numpy() & (draw > 1 - SAME_AGAIN)
    changed = web & (draw > 0.5) & (draw < 0.5 + CHANGED_AGAIN) & (rows["type"] == "track").to_numpy()
    wait = pl.Series("wait", rng.uniform(26, 140, len(rows)) * 3_600_000).cast(pl.Int64).cast(pl.Duration("ms"))
    waited = pl.min_horizontal(pl.col("received_at") + wait, pl.lit(end).dt.replace_time_zone("UTC")).cast(
        pl.Datetime("ms", "UTC")
    )
    altered = rows.with_columns(waited.alias("received_at"), properties=pl.lit('{"retried": true}'))
    changed_rows = altered.filter(changed & (altered["received_at"] > rows["received_at"]).to_numpy())
    late_rows = rows.with_columns(waited.alias("received_at")).filter(late)
    return Deliveries(
        now=pl.concat([rows.filter(~late), rows.filter(same)]).sort("timestamp", "message_id", maintain_order=True),
        later=pl.concat([late_rows, changed_rows]).sort("message_id", "received_at"),
        same_again=int(same.sum()),
        changed_again=len(changed_rows),
        late=len(late_rows),
    )


def with_broken_lines(lines: list[str]) -> list[str]:
    """The lines with unreadable ones in between: cut off, not JSON, without any id."""
    places = [len(lines) * (number + 1) // (len(BROKEN_LINES) + 1) for number in range(len(BROKEN_LINES))]
    spoilt = list(lines)
    for shift, (place, line) in enumerate(zip(places, BROKEN_LINES, strict=True)):
        spoilt.insert(place + shift, line)
    return spoilt


def with_a_bad_timestamp(lines: list[str]) -> list[str]:
    """CSV lines (header first) with one more row whose timestamp is none."""
    return [*lines, "track,Seat Added,u_000001,31/31/2024 25:61,,"]


def skewed(rows: pl.DataFrame, *, end: datetime) -> pl.DataFrame:
    """A few of the rows once more as new events whose device clock runs ahead: stamped after `end`."""
    picked = rows.filter(pl.col("user_id").is_not_null() & (pl.col("type") == "track")).tail(SKEWED_ROWS)
    ahead = pl.Series([1_500_000 * (number + 1) for number in range(len(picked))], dtype=pl.Int64)
    return picked.with_columns(
        message_id=pl.col("message_id").cast(pl.String).str.replace("msg_", "msg_skewed_"),
        timestamp=(pl.lit(end).dt.replace_time_zone("UTC") + ahead.cast(pl.Duration("ms"))).cast(
            pl.Datetime("ms", "UTC")
        ),
        received_at=pl.lit(end).dt.replace_time_zone("UTC").cast(pl.Datetime("ms", "UTC")),
    )
