"""Feeds of events that have fallen silent: what looks like people leaving is then nobody listening. Section 7.1.

A feed that delivered daily and has delivered nothing for long enough is silent. While it is, scores are computed and no
decrease is written; who returns after it has not come back, as far as anybody knows. Deliveries come in as a frame,
silences go out; how deliveries are read is `landing/feeds.py`'s business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import polars as pl

from dagster_project.core.source_rules import FeedSilence


@dataclass(frozen=True)
class Silence:
    """A time in which a feed that used to deliver daily delivered nothing.

    Attributes:
        feed: Its name.
        since: Its last event before, naive UTC.
        until: Its first event after; None while it is silent.
    """

    feed: str
    since: datetime
    until: datetime | None = None


def silences(deliveries: pl.DataFrame, as_of: datetime, rules: FeedSilence) -> list[Silence]:
    """The silences of all feeds up to a moment, oldest first.

    Args:
        deliveries: One row per feed and UTC day with events until `as_of`: `feed, day, first_at, last_at`.
        as_of: The moment scored, naive UTC.
        rules: `feed_silence` of `sources.yml`.
    """
    found = []
    for (feed,), days in deliveries.sort("feed", "day").group_by("feed", maintain_order=True):
        found += list(_silences_of(str(feed), days, as_of, rules))
    return sorted(found, key=lambda silence: (silence.since, silence.feed))


def hold_reason(found: Sequence[Silence], as_of: datetime, rules: FeedSilence) -> str | None:
    """Why no decrease may be written now; None if every feed delivers, or fell silent for good.

    Args:
        found: From `silences`.
        as_of: The moment scored.
        rules: After `given_up_days` a feed that is silent counts as one that there is no more.
    """
    given_up = as_of - timedelta(days=rules.given_up_days)
    silent = [silence for silence in found if silence.until is None and silence.since >= given_up]
    if not silent:
        return None
    said = "; ".join(
        f"{silence.feed} has delivered nothing since {silence.since:%Y-%m-%d %H:%M} UTC" for silence in silent
    )
    return f"{said}: no decrease is written until it does"


def judges_otherwise(found: Sequence[Silence], known: Sequence[Silence], as_of: datetime) -> bool:
    """Whether by other silences than those known before somebody else may seem to have come back.

    That a silence has ended today does not count: who returned since it began is doubted as before.

    Args:
        found: From `silences`.
        known: The same of an earlier look.
        as_of: The moment of `found`.
    """

    def judged(silence: Silence) -> Silence:
        ended_today = silence.until is not None and silence.until.date() == as_of.date()
        return replace(silence, until=None) if ended_today else silence

    return {judged(silence) for silence in found} != {judged(silence) for silence in known}


def may_have_been_active(
    returned_at: pl.Expr, last_day: pl.Expr, found: Sequence[Silence], inactive_days: int
) -> pl.Expr:
    """Whether somebody who came back may never have been gone: nobody was listening for a part of the time.

    Who was away for long enough while somebody was listening was gone, whatever fell silent before or after.

    Args:
        returned_at: When they came back, naive UTC; null gives false.
        last_day: The last day before on which they were active.
        found: From `silences`.
        inactive_days: For how many days without an event somebody counts as inactive.
    """
    deaf = _together(found)
    if not deaf:
        return pl.lit(False)
    back = returned_at.dt.date()
    begins = [last_day, *(pl.lit(until.date()) for _, until in deaf)]
    ends = [*(pl.lit(since.date()) for since, _ in deaf), back]
    heard = [
        pl.min_horizontal(end, back) - pl.max_horizontal(begin, last_day)
        for begin, end in zip(begins, ends, strict=True)
    ]
    was_gone = pl.max_horizontal(heard) >= pl.duration(days=inactive_days)
    return returned_at.is_not_null() & ~was_gone.fill_null(False)


def _together(found: Sequence[Silence]) -> list[tuple[datetime, datetime]]:
    """The times in which any feed was silent, in order; one that is silent still is so for ever."""
    times: list[tuple[datetime, datetime]] = []
    for silence in sorted(found, key=lambda silence: silence.since):
        until = silence.until or datetime.max
        if times and silence.since <= times[-1][1]:
            times[-1] = times[-1][0], max(times[-1][1], until)
        else:
            times.append((silence.since, until))
    return times


def _silences_of(feed: str, days: pl.DataFrame, as_of: datetime, rules: FeedSilence) -> Iterator[Silence]:
    delivered = days.rows(named=True)
    starts = [row["first_at"] for row in delivered[1:]]
    for position, (row, next_at) in enumerate(zip(delivered, [*starts, None], strict=True)):
        silent_for = (next_at or as_of) - row["last_at"]
        if silent_for > timedelta(hours=rules.hours) and _was_daily(
            [d["day"] for d in delivered[: position + 1]], rules
        ):
            yield Silence(feed, row["last_at"], next_at)


def _was_daily(days: Sequence[date], rules: FeedSilence) -> bool:
    """Whether a feed delivered on most of the days that end with the last of these."""
    begin = days[-1] - timedelta(days=rules.look_back_days - 1)
    recent = [day for day in days if day >= begin]
    return days[0] <= begin and len(recent) >= rules.daily_share * rules.look_back_days
