"""Which open candidates a run has to decide again where only some people and accounts have changed.

A candidate that waits for somebody with room is decided as before as long as nothing that the decision reads has
changed: whoever still had room after the last run had nobody waiting for them.
"""

from __future__ import annotations

import json
from collections.abc import Collection

import polars as pl

from dagster_project.core.decisions import HELD_CAPACITY
from dagster_project.core.handoff_plan import PAST_SCHEMA
from dagster_project.core.routing import Desk
from dagster_project.core.triggers import conform

WAITING_SCHEMA = pl.Schema({"candidate_key": pl.String(), "last_decision": pl.String(), "named": pl.String()})
"""What is read of every open candidate; `named` is `named_by`."""
_BETWEEN = "\x1f"


def named_by(triggers: pl.Expr) -> pl.Expr:
    """Everybody whom an open candidate names, as one text: its subject, person and account, and what it fired for.

    Args:
        triggers: The firings as the ledger keeps them, a JSON list of texts.
    """
    ids = [pl.col(name).fill_null("") for name in ("subject_id", "user_id", "account_id")]
    return pl.concat_str(pl.lit(""), *ids, triggers, separator=_BETWEEN)


def _mentions(ids: Collection[str]) -> list[str]:
    """How these are named there; a firing ends with its subject, see `candidates._write_firing`."""
    return [f"{_BETWEEN}{one}{_BETWEEN}" for one in ids] + [f":{json.dumps(one)[1:]}" for one in ids]


def to_decide_again(
    waiting: pl.DataFrame,
    *,
    touched: Collection[str],
    past: pl.DataFrame,
    desk: Desk,
    had_room: frozenset[str] | None,
    crm_hold_reason: str | None,
) -> list[str]:
    """The keys of the open candidates whose decision could differ from the one before.

    Args:
        waiting: `WAITING_SCHEMA`, all of them.
        touched: Ids of the users and accounts that were scored again, and of the accounts of these users.
        past: `PAST_SCHEMA`, handoffs within the cooldown at least: it ends without anything else happening.
        desk: As the run finds it.
        had_room: Who had room after the last run, see `HandoffPlan.with_room`; None if that isn't known.
        crm_hold_reason: Why no-contact flags can't be trusted now.
    """
    if crm_hold_reason is not None or had_room is None or desk.with_room() - had_room:
        return waiting["candidate_key"].to_list()
    cooling = conform(past, PAST_SCHEMA)
    changing = {*touched, *cooling["account_id"], *cooling["user_id"]} - {None}
    is_concerned = pl.col("named").str.contains_any(_mentions(changing)) if changing else pl.lit(False)
    waits_for_room = pl.col("last_decision") == HELD_CAPACITY
    return waiting.filter(~waits_for_room | is_concerned)["candidate_key"].to_list()
