"""Which open candidates a run has to decide again where only some people and accounts have changed.

A candidate that waits for somebody with room is decided as before as long as nothing that the decision reads has
changed: whoever still had room after the last run had nobody waiting for them.
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from dagster_project.core.candidates import CANDIDATE_SCHEMA
from dagster_project.core.decisions import HELD_CAPACITY
from dagster_project.core.handoff_plan import PAST_SCHEMA
from dagster_project.core.routing import Desk
from dagster_project.core.triggers import conform


def to_decide_again(
    candidates: pl.DataFrame,
    *,
    touched: Collection[str],
    past: pl.DataFrame,
    desk: Desk,
    had_room: frozenset[str] | None,
    crm_hold_reason: str | None,
) -> pl.DataFrame:
    """The open candidates whose decision could differ from the one before.

    Args:
        candidates: `CANDIDATE_SCHEMA`, all that wait.
        touched: Ids of the users and accounts that were scored again, and of the accounts of these users.
        past: `PAST_SCHEMA`, handoffs within the cooldown: it ends without anything else happening.
        desk: As the run finds it.
        had_room: Who had room after the last run, see `HandoffPlan.with_room`; None if that isn't known.
        crm_hold_reason: Why no-contact flags can't be trusted now.

    Returns:
        Rows of `candidates`.
    """
    candidates = conform(candidates, CANDIDATE_SCHEMA)
    if crm_hold_reason is not None or had_room is None or desk.with_room() - had_room:
        return candidates
    cooling = conform(past, PAST_SCHEMA)
    changing = {*touched, *cooling["account_id"], *cooling["user_id"]} - {None}
    # what follows the subject's type in a firing, see `candidates._write_firing`
    fired_for = pl.col("triggers").list.eval(pl.element().str.extract(r"(?s)^\S+ \S+ \S+ \w+:(.*)$"))
    ids = candidates.select(
        "candidate_key", id=pl.concat_list("subject_id", "user_id", "account_id", fired_for)
    ).explode("id")
    concerned = ids.filter(pl.col("id").is_in(list(changing)))
    waits_for_room = pl.col("last_decision") == HELD_CAPACITY
    return candidates.filter(~waits_for_room | pl.col("candidate_key").is_in(concerned["candidate_key"].to_list()))
