"""Single events that are planned for a whole history ahead: collected as (day, person, template), then given
a time.

What happens on one day to one person happens in one sitting, a minute or two apart, as in a session.
"""

from dataclasses import dataclass

import numpy as np

from dagster_project.demo.people import People
from dagster_project.demo.size import DAY_MS, Bools, DemoSize, Floats, Ints

SPACING_MS = 75_000


@dataclass(frozen=True)
class Happenings:
    """Event rows as columns, one entry per event, ordered by `at_ms` (milliseconds since the start of the
    history).

    `session` is -1 without a session; `is_anonymous` events carry no user id.
    """

    at_ms: Ints
    person: Ints
    template: Ints
    session: Ints
    is_anonymous: Bools

    def __len__(self) -> int:
        return len(self.at_ms)

    def take(self, which: Ints | Bools | slice) -> "Happenings":
        """The chosen rows."""
        return Happenings(
            self.at_ms[which],
            self.person[which],
            self.template[which],
            self.session[which],
            self.is_anonymous[which],
        )


def joined_happenings(first: Happenings, second: Happenings) -> Happenings:
    """Both, in one order of time; ties are broken by person and template, so that the order is always the
    same.
    """
    both = Happenings(
        np.concatenate([first.at_ms, second.at_ms]),
        np.concatenate([first.person, second.person]),
        np.concatenate([first.template, second.template]),
        np.concatenate([first.session, second.session]),
        np.concatenate([first.is_anonymous, second.is_anonymous]),
    )
    return both.take(np.lexsort((both.template, both.person, both.at_ms)))


class Timeline:
    """Collects planned events. Within one day of one person they keep the order in which they were added."""

    def __init__(self) -> None:
        self._days: list[Floats] = []
        self._people: list[Ints] = []
        self._templates: list[Ints] = []
        self._anonymous: list[Bools] = []

    def add(self, day: Floats, person: Ints, template: Ints | int, *, anonymous: bool = False) -> None:
        """One event per entry of `person`, each on its day; `template` may be one number for all."""
        self._days.append(np.asarray(day, dtype=float))
        self._people.append(np.asarray(person, dtype=np.int64))
        self._templates.append(np.broadcast_to(np.asarray(template, dtype=np.int64), (len(person),)))
        self._anonymous.append(np.full(len(person), anonymous))

    def happenings(self, size: DemoSize, people: People, billing: Bools) -> Happenings:
        """The events in order, without those before the history, after its end, or of people who had left by
        then.

        `billing` says for each template whether it comes from the billing service, which knows no sessions.
        """
        day, person = np.concatenate(self._days), np.concatenate(self._people)
        template, anonymous = np.concatenate(self._templates), np.concatenate(self._anonymous)
        keeps = (day >= 0) & (day < size.horizon)
        keeps &= anonymous | (day >= people.joined[person])
        day, person, template, anonymous = day[keeps], person[keeps], template[keeps], anonymous[keeps]
        whole = np.floor(day).astype(np.int64)
        order = np.lexsort((np.arange(len(day)), person, whole))
        whole, person, template, anonymous = whole[order], person[order], template[order], anonymous[order]
        starts = np.flatnonzero((np.diff(whole, prepend=-1) != 0) | (np.diff(person, prepend=-1) != 0))
        rank = np.arange(len(whole)) - np.repeat(starts, np.diff(np.append(starts, len(whole))))
        at_ms = whole * DAY_MS + _time_of_day(size, people, whole=whole, person=person) + rank * SPACING_MS
        session = np.where(billing[template] | people.is_mobile[person], -1, session_code(person, whole, 0))
        rows = Happenings(at_ms, person, template, session, anonymous)
        rows = rows.take((at_ms < size.horizon_ms) & (at_ms // DAY_MS == whole))
        return rows.take(np.lexsort((rows.template, rows.person, rows.at_ms)))


def session_code(person: Ints, day: Ints, place: Ints | int) -> Ints:
    """A number for the `place`-th session of a person on a day; place 0 is that of the planned events."""
    return (person << 24) | (day << 8) | place


def _time_of_day(size: DemoSize, people: People, *, whole: Ints, person: Ints) -> Ints:
    """Milliseconds after midnight at which a person's planned events of a day begin: some working hour.

    On the day of sign-up it is the sign-up, and on the last day it is early enough to be over by the end.
    """
    scattered = (person * 0.6180339887 + whole * 0.7548776662) % 1.0
    share = 0.3 + 0.42 * scattered
    joined = people.joined[person]
    share = np.where(np.floor(joined) == whole, joined % 1.0, share)
    last_day = size.horizon - np.floor(size.horizon)
    squeezed = np.where(whole == int(size.horizon), np.minimum(share, scattered * last_day * 0.8), share)
    return (squeezed * DAY_MS).astype(np.int64)
