"""How many alerts a playbook means: at once on the day that it goes live, and in a week like the last.

Both are plans of the same code that plans every run, with other states: on the first day those that the ledger holds,
for the week those in which everything that stood a week ago has fired already. Nothing is kept and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from dagster_project.core.decisions import HELD_CAPACITY
from dagster_project.core.handoff_plan import HandoffInputs, HandoffPlan
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.playbook import Playbook
from dagster_project.core.triggers import KEY, STATE_SCHEMA, conditions

DAYS = 7


@dataclass(frozen=True)
class Alerts:
    """What one plan decides.

    Attributes:
        by_recipient: Handoffs.
        by_decision: Candidates of which there is news.
        without_room: Candidates for whom nobody has room, those that have waited before among them.
    """

    by_recipient: Mapping[str, int]
    by_decision: Mapping[str, int]
    without_room: int = 0

    @property
    def sent(self) -> int:
        """How many handoffs there are."""
        return sum(self.by_recipient.values())


def on_the_first_day(inputs: HandoffInputs, playbook: Playbook) -> Alerts:
    """What the next run would decide.

    Args:
        inputs: As a run gathers them, scored by the playbook.
        playbook: The rules.
    """
    return _alerts(plan_handoffs(inputs, playbook))


def in_a_week(inputs: HandoffInputs, scores_then: pl.DataFrame | None, playbook: Playbook) -> Alerts:
    """What fires in the seven days up to the moment, had the playbook been live before.

    An event counts when it happened in the week. `hot_pql` counts for whoever is above the line now and was not a week
    ago. Other levels count when the ledger says that they fired in the week; how long one has stood that never fired is
    not known, so it counts as standing. A person's capacity is that of seven days, spread evenly.

    Args:
        inputs: As a run gathers them, scored by the playbook; `past` and `turns` as the ledger has them.
        scores_then: `user_id, score` a week ago, under the playbook; whoever is missing was not there. None when it is
            not known: whoever is above the line then counts as standing.
        playbook: The rules.
    """
    since = inputs.as_of - timedelta(days=DAYS)
    current = conditions(inputs.users, inputs.accounts, playbook)
    week = replace(
        inputs,
        baseline=None,
        baseline_at=None,
        states=_stood(current, inputs.states, scores_then, since=since, playbook=playbook),
        open_candidates=pl.DataFrame(),
        past=inputs.past.filter(pl.col("created_at") <= since) if inputs.past.width else inputs.past,
    )
    capacity = playbook.routing.daily_capacity * DAYS
    return _alerts(
        plan_handoffs(week, replace(playbook, routing=playbook.routing.model_copy(update={"daily_capacity": capacity})))
    )


def _stood(
    current: pl.DataFrame,
    states: pl.DataFrame,
    scores_then: pl.DataFrame | None,
    *,
    since: datetime,
    playbook: Playbook,
) -> pl.DataFrame:
    """The states in which what held a week ago has fired already, as `STATE_SCHEMA`."""
    line = since.strftime("%Y-%m-%dT%H:%M:%S.%f")
    was_hot = pl.lit(True)
    if scores_then is not None:
        hot_then = scores_then.filter(pl.col("score") > playbook.handoffs.triggers.hot_pql.score_above)
        was_hot = pl.col("subject_id").is_in(hot_then["user_id"].to_list())
    fired = pl.DataFrame(schema={**dict.fromkeys(KEY, pl.String), "fired_at": pl.String})
    if states.width:
        fired = states.filter(~pl.col("is_armed")).select(*KEY, fired_at="occurrence")
    joined = current.filter("holds").join(fired, on=KEY, how="left")
    is_event = pl.col("occurrence").is_not_null()
    stands = (
        pl.when(is_event)
        .then(pl.col("occurrence") <= line)
        .when(pl.col("trigger") == "hot_pql")
        .then(was_hot)
        .otherwise((pl.col("fired_at") <= line).fill_null(True))
    )
    return joined.filter(stands).select(
        *KEY,
        occurrence=pl.col("occurrence").fill_null(pl.lit(line)),
        is_armed=pl.lit(False),
        changed_at=pl.lit(since, pl.Datetime("us")),
    ).select(pl.col(name).cast(kind) for name, kind in STATE_SCHEMA.items())  # fmt: skip


def _alerts(plan: HandoffPlan) -> Alerts:
    return Alerts(
        by_recipient=dict(plan.handoffs.group_by("recipient_id").len().sort("recipient_id").iter_rows()),
        by_decision=dict(plan.decisions.group_by("decision").len().sort("decision").iter_rows()),
        without_room=plan.candidates.filter(pl.col("last_decision") == HELD_CAPACITY).height,
    )
