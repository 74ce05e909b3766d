"""The automation rules that have a condition of their own: when they fire, and what is decided about each firing.

The rules that follow a handoff (its task, the owner of a new enterprise account, the note on an open opportunity) are
in ``follow_ups``. A decision is only a decision: the actions and notices of it are kept with it and carried out later.
Source of the rules: section 7.2 of the specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.core import decisions as table
from dagster_project.core.actions import Action
from dagster_project.core.candidates import Candidate, Firing, Slot, Standings, identity
from dagster_project.core.decisions import Circumstances
from dagster_project.core.feeds import Silence, may_have_been_active
from dagster_project.core.routing import Desk, Request
from dagster_project.core.standings import Standing
from dagster_project.core.triggers import (
    CONDITION_SCHEMA,
    FIRED_SCHEMA,
    STATE_SCHEMA,
    condition_rows,
    conform,
    iso_text,
)
from dagster_project.core.wording import Row, company_name, person_name, score_text, short

if TYPE_CHECKING:
    from dagster_project.core.playbook import Playbook

SCORE_RISE, TIER_RAISE, REACTIVATION = "score_rise", "tier_raise", "reactivation"
RULES = (SCORE_RISE, TIER_RAISE, REACTIVATION)
ACTED, SKIPPED = "acted", "skipped"
NO_COMPANY = "no company"
"""What stands for {company} of somebody without one."""
_NOTICE_PRIORITY = "P2"
_GUARDS: Mapping[str, tuple[str, ...]] = {
    SCORE_RISE: (table.SELF_SERVE, table.OPEN_OPPORTUNITY, table.CUSTOMER),
    TIER_RAISE: (),
    REACTIVATION: (table.SELF_SERVE, table.OPEN_OPPORTUNITY),
}
"""The rows of the decision table that stop a rule, after no-contact, the baseline and stale CRM data, which stop all.

A tier is raised in silence, so that nobody is in its way; who comes back was often a customer once.
"""
RULE_DECISION_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(("decision_id", "rule", "subject_type", "subject_id", "user_id", "account_id"), pl.String()),
        **dict.fromkeys(("occurrence", "decision", "reason", "recipient_id"), pl.String()),
        "decided_at": pl.Datetime("us"),
    }
)
NOTICE_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(("notice_id", "topic", "recipient_id", "user_id", "account_id", "text", "status"), pl.String()),
        "created_at": pl.Datetime("us"),
    }
)
PAST_RULE_SCHEMA = pl.Schema(
    {**dict.fromkeys(("rule", "user_id", "account_id"), pl.String()), "decided_at": pl.Datetime("us")}
)

Acts = dict[tuple[str, str, str | None], datetime]
"""When a rule was acted on last, by the rule, `account_id` or `user_id`, and whose it is."""


@dataclass
class Outcome:
    """What the rules of a run came to: rows for the ledger, and actions for the CRM."""

    decisions: list[dict[str, Any]] = field(default_factory=list)
    notices: list[dict[str, Any]] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)


@dataclass(frozen=True)
class RuleRun:
    """What the rules of a run look at. ``past`` are the firings that were acted on, newest within the cooldown.

    ``held_since`` says by rule, subject type and id since when a firing is held; ``holders`` by account and by person
    who has their newest handoff that is not over.
    """

    run: Circumstances
    playbook: Playbook
    desk: Desk
    standings: Standings
    users: Mapping[str, Row]
    accounts: Mapping[str, Row]
    rises: Mapping[str, float]
    past: pl.DataFrame
    held_since: Mapping[tuple[str, str, str], datetime]
    holders: Mapping[Slot, str]


def rule_conditions(
    users: pl.DataFrame,
    accounts: pl.DataFrame,
    rises: pl.DataFrame,
    playbook: Playbook,
    *,
    silences: Sequence[Silence] = (),
) -> pl.DataFrame:
    """The state of every rule's condition at one moment, as ``CONDITION_SCHEMA``.

    Args:
        users: One row per user, features with scores and stage.
        accounts: One row per account.
        rises: ``user_id, rise``: how far the score stands above the one of the rule's number of days before.
        playbook: The rules.
        silences: When feeds of events were silent: who returns after one was not gone, as far as anybody knows.
    """
    rules = playbook.automation
    found = [CONDITION_SCHEMA.to_frame()]
    if rules.score_rise.enabled:
        risen = users.select("user_id").join(conform(rises, RISE_SCHEMA), on="user_id", how="left")
        high = pl.col("rise").fill_null(0.0) >= rules.score_rise.points
        found.append(condition_rows(risen, SCORE_RISE, holds=high, rearmed=~high))
    if rules.tier_raise.enabled:
        grown = pl.col("active_users_30d").fill_null(0) >= rules.tier_raise.active_users
        found.append(condition_rows(accounts, TIER_RAISE, holds=grown, rearmed=~grown))
    if rules.reactivation.enabled:
        back, last = pl.col("reactivated_at"), pl.col("previous_active_day")
        doubtful = may_have_been_active(back, last, silences, playbook.scoring.measurement.inactive_days)
        # without a silence there is nothing to look at, and a condition without a column is none for a filter
        found.append(_returns(users.filter(~doubtful) if silences else users, accounts))
    return pl.concat(found)


RISE_SCHEMA = pl.Schema({"user_id": pl.String(), "rise": pl.Float64()})


def _returns(users: pl.DataFrame, accounts: pl.DataFrame) -> pl.DataFrame:
    """Who is back; an occurrence is the return, or the churn in the CRM that somebody came back from."""
    said = accounts.select(
        "account_id", account_status="subscription_status", account_since="subscription_status_since"
    )
    back = users.filter(pl.col("activation_stage") == "reactivated").join(said, on="account_id", how="left")
    by_account = pl.col("account_status").is_not_null()
    status = pl.coalesce("account_status", "subscription_status")
    since = pl.when(by_account).then("account_since").otherwise("subscription_status_since")
    churned_at = pl.when(status == "churned").then(since)
    at = pl.coalesce(pl.max_horizontal("reactivated_at", churned_at), "first_event_at")
    return condition_rows(back, REACTIVATION, holds=pl.lit(True), occurrence=iso_text(at))


def score_rises(history: pl.DataFrame, since: datetime) -> pl.DataFrame:
    """How far scores stand above where they stood at a moment, or above their first one if that is younger.

    What another definition of the score added does not count. Of a change without causes, and with another model
    version than the row before it, nobody can tell how much that is: it does not count at all.

    Args:
        history: ``subject_id, score, as_of, model_version`` of the score history, and ``definition`` of its causes,
            with each subject's last row before ``since``.
        since: The moment that is compared with.

    Returns:
        ``RISE_SCHEMA``.
    """
    before = pl.col("score").shift(1).over("subject_id", order_by="as_of")
    same_model = pl.col("model_version") == pl.col("model_version").shift(1).over("subject_id", order_by="as_of")
    redefined = pl.coalesce("definition", pl.when(same_model).then(0.0))
    steps = history.sort("subject_id", "as_of").with_columns(step=pl.col("score") - before - redefined)
    return (
        steps.filter(pl.col("as_of") > since)
        .group_by("subject_id")
        .agg(rise=pl.col("step").sum().round(1))
        .select(pl.col("subject_id").alias("user_id"), "rise")
        .sort("user_id")
    )


def decide_rules(fired: pl.DataFrame, context: RuleRun) -> tuple[Outcome, pl.DataFrame]:
    """Decide every firing of a rule.

    Args:
        fired: ``FIRED_SCHEMA`` with ``stood_before``.
        context: What they look at.

    Returns:
        The outcome, and the firings that are held (``FIRED_SCHEMA``): their edges are kept for the next run.
    """
    outcome, held = Outcome(), []
    acts = _latest_acts(conform(context.past, PAST_RULE_SCHEMA).iter_rows(named=True))
    for firing in sorted(_firings(fired), key=lambda firing: _order(firing, context)):
        decision, reason, recipient_id = _decide(firing, context, outcome, acts=acts)
        row = _decision_row(firing, context, decision, reason=reason, recipient_id=recipient_id)
        outcome.decisions.append(row)
        if decision == ACTED:
            acts |= _latest_acts([row])
        if decision in table.HELD:
            held.append({name: getattr(firing, name) for name in FIRED_SCHEMA})
    return outcome, pl.DataFrame(held, schema=FIRED_SCHEMA)


def without_held(states: pl.DataFrame, before: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """The triggers' states with those of held firings as they were, so that they fire again."""
    key = ["subject_type", "subject_id", "trigger"]
    kept = states.join(held, on=key, how="anti")
    return pl.concat([kept, conform(before, STATE_SCHEMA).join(held, on=key, how="semi")]).sort(key)


def _firings(fired: pl.DataFrame) -> list[Firing]:
    return [Firing(**row) for row in fired.iter_rows(named=True)]


def _order(firing: Firing, context: RuleRun) -> tuple[str, date, float, str]:
    """The best of each rule first: of an account only one is told of within the cooldown.

    Those before them that are held from an earlier day: newer ones, of which there are some every day, would keep them
    waiting for ever.
    """
    known = _standing(firing, context)
    key = firing.trigger, firing.subject_type, firing.subject_id
    held_since = context.held_since.get(key, context.run.as_of)
    return firing.trigger, held_since.date(), -(known.score if known else 0.0), firing.subject_id


def _standing(firing: Firing, context: RuleRun) -> Standing | None:
    standings = context.standings
    return (standings.people if firing.subject_type == "user" else standings.accounts).get(firing.subject_id)


def _decide(firing: Firing, context: RuleRun, so_far: Outcome, *, acts: Acts) -> tuple[str, str, str | None]:
    """Decision, reason and recipient; what is to be done is added to ``so_far``."""
    candidate = _candidate(firing, context)
    if candidate.blocked:
        return table.NO_CONTACT, candidate.blocked, None
    if firing.stood_before:
        days = context.run.rules.baseline_days
        return table.BASELINE, f"it already stood {days} days before the first run", None
    for decision in (table.HELD_STALE_CRM, *_GUARDS[firing.trigger]):
        if reason := table.ROWS[decision](candidate, context.run):
            return decision, reason, None
    if at := _acted_before(firing, candidate, context, acts=acts):
        days = context.run.rules.cooldown_days
        return table.SUPPRESSED_COOLDOWN, f"{firing.trigger} was acted on on {at:%Y-%m-%d}, within {days} days", None
    if firing.trigger == TIER_RAISE:
        return _raise_tier(firing, context, so_far)
    return _notify(firing, candidate, context, so_far=so_far)


def _candidate(firing: Firing, context: RuleRun) -> Candidate:
    """The firing as the decision table looks at one: without triggers of its own, about its person or account."""
    known = _standing(firing, context)
    account = context.standings.accounts.get(known.account_id) if known and known.account_id else None
    blocked = f"{known.name}: {known.blocked}" if known and known.blocked else None
    return Candidate(
        key=identity("ru", firing.trigger, firing.subject_type, firing.subject_id, firing.occurrence),
        subject_type=firing.subject_type,
        subject_id=firing.subject_id,
        account_id=known.account_id if known else None,
        account=account,
        people={firing.subject_id: known} if known and firing.subject_type == "user" else {},
        champion=known if firing.subject_type == "user" else None,
        firings=(),
        blocked=blocked if known else f"{firing.subject_type} {firing.subject_id} is no longer scored",
        first_seen_at=context.run.as_of,
    )


def _latest_acts(rows: Iterable[Mapping[str, Any]]) -> Acts:
    """When each rule was acted on last, for each account and for each person."""
    latest: Acts = {}
    for row in rows:
        for column in ("account_id", "user_id"):
            key = row["rule"], column, row[column]
            latest[key] = max(row["decided_at"], latest.get(key, row["decided_at"]))
    return latest


def _acted_before(firing: Firing, candidate: Candidate, context: RuleRun, *, acts: Acts) -> datetime | None:
    """When the same rule was acted on last for the account, or the person without one, within the cooldown."""
    whose = ("account_id", candidate.account_id) if candidate.account_id else ("user_id", firing.subject_id)
    at = acts.get((firing.trigger, *whose))
    since = context.run.as_of - timedelta(days=context.run.rules.cooldown_days)
    return at if at is not None and at > since else None


def _raise_tier(firing: Firing, context: RuleRun, so_far: Outcome) -> tuple[str, str, str | None]:
    account, tiers = context.accounts[firing.subject_id], context.playbook.crm_fields.account_tiers
    name, current = company_name({}, account), account["account_tier"]
    team = account["active_users_30d"]
    if not account["in_crm"]:
        return SKIPPED, f"{name} has {team} active users and is no account of the CRM", None
    if current is not None and current not in tiers:
        return SKIPPED, f"the tier {current} of {name} is none of account_tiers in crm_fields.yml", None
    place = tiers.index(current) + 1 if current is not None else 0
    if place >= len(tiers):
        return SKIPPED, f"{name} has the highest tier already" if tiers else "crm_fields.yml names no tiers", None
    key = identity("ac", TIER_RAISE, firing.subject_id, firing.occurrence)
    so_far.actions.append(Action(key, "raise_tier", "account", firing.subject_id, {"to": tiers[place]}))
    return ACTED, f"{name} has {team} active users: tier {current or 'unknown'} raised to {tiers[place]}", None


def _notify(firing: Firing, candidate: Candidate, context: RuleRun, *, so_far: Outcome) -> tuple[str, str, str | None]:
    rules, desk = context.playbook.automation, context.desk
    rule = rules.score_rise if firing.trigger == SCORE_RISE else rules.reactivation
    person, account = candidate.champion, candidate.account
    slot: Slot = ("account", candidate.account_id) if candidate.account_id else ("user", firing.subject_id)
    owners = [
        (person.owner_id if person else None, "contact"),
        (account.owner_id if account else None, "account"),
        # two people must not be told of one
        (context.holders.get(slot) or context.holders.get(("user", firing.subject_id)), "open handoff"),
    ]
    if firing.trigger == REACTIVATION:  # the word is for that team, whoever else owns the account
        owners = [(owner_id, owned) for owner_id, owned in owners if _is_in(owner_id, rule.team, desk)]
    assigned = desk.assign(Request(tuple(owners), rule.team, _NOTICE_PRIORITY))
    if assigned.recipient_id is None:
        return table.HELD_CAPACITY, assigned.reason, None
    row = context.users[firing.subject_id]
    is_new = firing.trigger == REACTIVATION and row["first_event_at"] > datetime.fromisoformat(firing.occurrence)
    text = (rules.reactivation.notice_of_new if is_new else rule.notice).format_map(_words(firing, context))
    key = identity("no", firing.trigger, firing.subject_id, firing.occurrence)
    so_far.notices.append(
        notice_row(key, firing.trigger, assigned.recipient_id, person=row, text=text, at=context.run.as_of)
    )
    return ACTED, f"{assigned.reason}: {text}", assigned.recipient_id


def _is_in(owner_id: str | None, team: str, desk: Desk) -> bool:
    owner = desk.owners.get(owner_id or "")
    return owner is not None and owner.team == team


def _words(firing: Firing, context: RuleRun) -> dict[str, str]:
    person = context.users[firing.subject_id]
    account = context.accounts.get(person["account_id"] or "")
    return {
        "person": short(person_name(person)),
        "company": short(company_name(person, account)) if account else NO_COMPANY,
        "score": score_text(person["pql_score"] or 0.0),
        "rise": score_text(context.rises.get(firing.subject_id, 0.0)),
        "days": str(context.playbook.automation.score_rise.days),
        "active_users": str((account["active_users_30d"] if account else 1) or 0),
        "date": f"{_seen_at(firing, person):%Y-%m-%d}",
    }


def _seen_at(firing: Firing, person: Row) -> datetime:
    """The moment that a notice names. Who had churned in the CRM was seen after that, not then."""
    at = datetime.fromisoformat(firing.occurrence)
    if firing.trigger != REACTIVATION:
        return at
    seen = (person["reactivated_at"], person["first_event_at"], person["last_active_at"])
    return next((moment for moment in seen if moment is not None and moment >= at), at)


def notice_row(key: str, topic: str, recipient_id: str, *, person: Row, text: str, at: datetime) -> dict[str, Any]:
    """A row of ``NOTICE_SCHEMA`` that waits to be told; its text is plain."""
    return {
        "notice_id": key,
        "topic": topic,
        "recipient_id": recipient_id,
        "user_id": person["user_id"],
        "account_id": person["account_id"],
        "text": text,
        "status": "pending",
        "created_at": at,
    }


def _decision_row(
    firing: Firing, context: RuleRun, decision: str, *, reason: str, recipient_id: str | None
) -> dict[str, Any]:
    known, at = _standing(firing, context), context.run.as_of
    # What is held is told of once a day and not once per run.
    moment = f"{at:%Y-%m-%d}" if decision in table.HELD else at.isoformat()
    return rule_decision_row(
        (firing.trigger, firing.subject_type, firing.subject_id, firing.occurrence),
        (known.id if known and firing.subject_type == "user" else None, known.account_id if known else None),
        decision,
        moment=moment,
        rest={"reason": reason, "recipient_id": recipient_id, "decided_at": at},
    )


def rule_decision_row(
    firing: Sequence[str],
    whose: tuple[str | None, str | None],
    decision: str,
    *,
    moment: str,
    rest: Mapping[str, Any],
) -> dict[str, Any]:
    """A row of ``RULE_DECISION_SCHEMA``.

    Args:
        firing: Rule, subject type, subject id and occurrence.
        whose: User and account.
        decision: Its name.
        moment: What tells two decisions about the same firing apart.
        rest: `reason`, `recipient_id` and `decided_at`.
    """
    rule, subject_type, subject_id, occurrence = firing
    told = occurrence if decision not in table.HELD else ""
    return {
        "decision_id": identity("rd", rule, subject_type, subject_id, told, decision, moment),
        "rule": rule,
        "subject_type": subject_type,
        "subject_id": subject_id,
        "user_id": whose[0],
        "account_id": whose[1],
        "occurrence": occurrence,
        "decision": decision,
        **rest,
    }


def frame_of(rows: Iterable[Mapping[str, Any]], schema: pl.Schema) -> pl.DataFrame:
    """Rows as a frame, sorted by its first column."""
    return pl.DataFrame(list(rows), schema=schema, orient="row").sort(schema.names()[0])
