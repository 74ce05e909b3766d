"""Triggers: which conditions hold now, and which of them have just become true.

A condition is a level or an event; a trigger is the edge. Both are frames, so a whole company is one pass.
What is decided about a trigger that fired is not here (``decisions``), nor who receives it (``routing``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from dagster_project.core.handoff_rules import Triggers

if TYPE_CHECKING:
    from dagster_project.core.playbook import Playbook

CONDITION_SCHEMA = pl.Schema(
    {
        "subject_type": pl.String(),
        "subject_id": pl.String(),
        "trigger": pl.String(),
        "occurrence": pl.String(),
        "holds": pl.Boolean(),
        "rearmed": pl.Boolean(),
    }
)
STATE_SCHEMA = pl.Schema(
    {
        "subject_type": pl.String(),
        "subject_id": pl.String(),
        "trigger": pl.String(),
        "occurrence": pl.String(),
        "is_armed": pl.Boolean(),
        "changed_at": pl.Datetime("us"),
    }
)
FIRED_SCHEMA = pl.Schema(dict.fromkeys(("subject_type", "subject_id", "trigger", "occurrence"), pl.String()))
KEY = ["subject_type", "subject_id", "trigger"]
_SINCE_THEIR_DATE = ("limit_ticket", "hand_raise")
_ISO = "%Y-%m-%dT%H:%M:%S%.6f"


@dataclass(frozen=True)
class Edges:
    """What became true (``FIRED_SCHEMA``), and every trigger's state after that (``STATE_SCHEMA``).

    ``occurrence`` of a fired level is the moment it fired: a later episode of the same level is another
    occurrence.
    """

    fired: pl.DataFrame
    states: pl.DataFrame


def conditions(users: pl.DataFrame, accounts: pl.DataFrame, playbook: Playbook) -> pl.DataFrame:
    """The state of every trigger's condition at one moment, as ``CONDITION_SCHEMA``.

    ``users`` has one row per user with ``as_of, user_id, account_id, first_event_at, last_upgrade_click_at,
    last_limit_contact_at, last_sales_request_at, pricing_visits, pql_score, usage_tier``; ``accounts`` one
    per account with ``account_id, active_users_30d, segment, is_target_account``. Levels have a row for every
    subject, because a level that no longer holds is what re-arms it; events and the sign-up only where they
    hold. ``occurrence`` is the ISO time of the latest event behind an event-like trigger, null for the
    others. Source: section 6.
    """
    rules = playbook.handoffs.triggers
    enabled = [key for key, rule in rules.by_key().items() if rule.enabled]
    found = [*_levels(users, accounts, rules), *_events(users, rules), _signups(users, accounts, rules)]
    return pl.concat(found).filter(pl.col("trigger").is_in(enabled))


def _levels(users: pl.DataFrame, accounts: pl.DataFrame, rules: Triggers) -> list[pl.DataFrame]:
    score, visits, team = pl.col("pql_score"), pl.col("pricing_visits"), pl.col("active_users_30d")
    hot, pricing, growth = rules.hot_pql, rules.pricing_visits, rules.team_growth
    return [
        condition_rows(users, "hot_pql", holds=score > hot.score_above, rearmed=score < hot.rearm_below),
        condition_rows(users, "pricing_visits", holds=visits >= pricing.visits, rearmed=visits < pricing.visits),
        condition_rows(accounts, "team_growth", holds=team >= growth.active_users, rearmed=team < growth.active_users),
    ]


def _events(users: pl.DataFrame, rules: Triggers) -> list[pl.DataFrame]:
    heavy = pl.col("usage_tier") == rules.upgrade_intent.usage_tier
    moments = {
        "upgrade_intent": users.filter(heavy).select("user_id", at="last_upgrade_click_at"),
        "limit_ticket": users.select("user_id", at="last_limit_contact_at"),
        "hand_raise": users.select("user_id", at="last_sales_request_at"),
    }
    return [
        condition_rows(
            seen.filter(pl.col("at").is_not_null()),
            trigger,
            holds=pl.lit(True),
            occurrence=iso_text(pl.col("at")),
        )
        for trigger, seen in moments.items()
    ]


def _signups(users: pl.DataFrame, accounts: pl.DataFrame, rules: Triggers) -> pl.DataFrame:
    wanted = (pl.col("segment") == "enterprise").fill_null(False) | pl.col("is_target_account").fill_null(False)
    first_day = pl.col("as_of").dt.date() - pl.duration(days=rules.enterprise_signup.within_days - 1)
    new = users.filter(pl.col("first_event_at").dt.date() >= first_day)
    here = new.join(accounts.filter(wanted).select("account_id"), on="account_id", how="semi")
    return condition_rows(here, "enterprise_signup", holds=pl.lit(True))


def condition_rows(
    frame: pl.DataFrame,
    trigger: str,
    *,
    holds: pl.Expr,
    rearmed: pl.Expr | None = None,
    occurrence: pl.Expr | None = None,
) -> pl.DataFrame:
    """``CONDITION_SCHEMA`` of one trigger, a row per row of a frame with ``user_id`` or else ``account_id``."""
    subject = "user" if "user_id" in frame.columns else "account"
    return frame.select(
        subject_type=pl.lit(subject, pl.String),
        subject_id=pl.col(f"{subject}_id").cast(pl.String),
        trigger=pl.lit(trigger, pl.String),
        occurrence=pl.lit(None, pl.String) if occurrence is None else occurrence,
        holds=holds.fill_null(False),
        rearmed=pl.lit(False) if rearmed is None else rearmed.fill_null(False),
    )


def iso_text(moment: pl.Expr) -> pl.Expr:
    """A moment as the text that an occurrence is."""
    return moment.cast(pl.Datetime("us")).dt.strftime(_ISO)


def edges(current: pl.DataFrame, states: pl.DataFrame, as_of: datetime) -> Edges:
    """Which conditions have just become true, and the states to keep for the next run.

    ``current`` is ``CONDITION_SCHEMA``, ``states`` what the previous run kept (``STATE_SCHEMA``, empty at
    first). A level fires when it holds and is armed; an event when it is later than the one that fired last,
    so an older one that arrives late is no edge. A subject that is absent from ``current`` keeps its state, and a
    level fires and re-arms only after its last change: a run for a past moment must not make old news new.
    """
    before = conform(states, STATE_SCHEMA)
    is_in_order = pl.col("changed_at").is_null() | (pl.col("changed_at") <= as_of)
    moved = moves(current, before).filter(is_in_order | (pl.col("fires") & pl.col("occurrence").is_not_null()))
    moment = as_of.isoformat(timespec="microseconds")
    fired = moved.filter("fires").select(*KEY, pl.col("occurrence").fill_null(pl.lit(moment)))
    changed = moved.select(
        *KEY,
        occurrence=pl.when("fires")
        .then(pl.col("occurrence").fill_null(pl.lit(moment)))
        .otherwise(pl.col("occurrence_before")),
        is_armed=~pl.col("fires"),
        changed_at=pl.lit(as_of, pl.Datetime("us")),
    )
    kept = before.join(changed, on=KEY, how="anti")
    return Edges(fired=fired.sort(FIRED_SCHEMA.names()), states=pl.concat([kept, changed]).sort(KEY))


def moves(current: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    """The conditions that fire or re-arm now (``fires``, ``rearms``), with their states before; see ``edges``."""
    joined = current.join(conform(states, STATE_SCHEMA), on=KEY, how="left", suffix="_before")
    is_event, is_known = pl.col("occurrence").is_not_null(), pl.col("is_armed").is_not_null()
    is_later = pl.col("occurrence") > pl.col("occurrence_before")
    fires = pl.col("holds") & (
        ~is_known | pl.when(is_event).then(is_later.fill_null(True)).otherwise(pl.col("is_armed"))
    )
    rearms = pl.col("rearmed") & is_known & ~pl.col("is_armed")
    return joined.with_columns(fires=fires.fill_null(False), rearms=rearms.fill_null(False)).filter(
        pl.col("fires") | pl.col("rearms")
    )


def conform(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """``frame`` with exactly the columns of ``schema``; a frame without any column is an empty one.

    Raises polars' ``ColumnNotFoundError`` when one is missing: a broken read must not pass for an empty one.
    """
    if not frame.width:
        return schema.to_frame()
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def stood_before(fired: pl.DataFrame, baseline: pl.DataFrame | None, baseline_at: datetime | None) -> pl.DataFrame:
    """``fired`` with ``stood_before``: the condition already held in ``baseline`` (``CONDITION_SCHEMA`` of an
    earlier moment, ``baseline_at``; both None when there is no baseline); for an event, the same event was already the
    latest. A ticket or a request stood since its own date, also where a CRM extract told of it only later.
    """
    if baseline is None or baseline_at is None:
        return fired.with_columns(stood_before=pl.lit(False))
    old = pl.col("trigger").is_in(_SINCE_THEIR_DATE) & (
        pl.col("occurrence") <= baseline_at.isoformat(timespec="microseconds")
    )
    then = baseline.filter("holds").select(*KEY, earlier="occurrence", stood_before=pl.lit(True))
    same = pl.col("earlier").is_null() | (pl.col("earlier") == pl.col("occurrence"))
    joined = fired.join(then, on=KEY, how="left")
    return joined.with_columns(stood_before=(pl.col("stood_before") & same).fill_null(False) | old).drop("earlier")
