"""The handoffs of one run: which triggers fired, what is decided, who receives what is sent, and what follows.

This is where the parts meet: edges (``triggers``) become candidates here, ``decisions`` decides, ``routing``
assigns, ``handing_over`` makes the handoffs, ``follow_ups``, ``automation`` and ``audiences`` say what else is to be
done. The plan is only a plan: the ledger keeps it, and sending comes after that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.core import decisions as table
from dagster_project.core.actions import Action
from dagster_project.core.audiences import AUDIENCE_COLUMNS, MEMBER_SCHEMA, audiences
from dagster_project.core.automation import (
    NOTICE_SCHEMA,
    RISE_SCHEMA,
    RULE_DECISION_SCHEMA,
    RULES,
    Outcome,
    RuleRun,
    decide_rules,
    frame_of,
    rule_conditions,
    without_held,
)
from dagster_project.core.candidates import (
    CANDIDATE_SCHEMA,
    Candidate,
    Firing,
    OpenCandidate,
    Slot,
    candidate_row,
    firing_texts,
    gather,
    open_candidates,
    standings_of,
)
from dagster_project.core.decisions import Circumstances, PastHandoff, Verdict
from dagster_project.core.feedback import ENDED
from dagster_project.core.follow_ups import (
    OVERLAP_SCHEMA,
    RECYCLED,
    WITH_SALES,
    HandedOver,
    follow_up,
    given_back,
    opportunity_notes,
    taken_over,
)
from dagster_project.core.handing_over import hand_over, handoff_id
from dagster_project.core.handoff_plan import (
    DECISION_SCHEMA,
    FIRINGS_SCHEMA,
    HANDOFF_SCHEMA,
    PAST_SCHEMA,
    HandoffInputs,
    HandoffPlan,
    RowsBy,
)
from dagster_project.core.handoff_rules import PRIORITIES, HandoffRules
from dagster_project.core.routing import (
    Assignment,
    Desk,
    Request,
    open_desk,
    team_for,
    turns_frame,
)
from dagster_project.core.standings import USER_FLAGS, same_people, with_block_reasons
from dagster_project.core.triggers import KEY, STATE_SCHEMA, conditions, conform, edges, stood_before

if TYPE_CHECKING:
    from dagster_project.core.playbook import Playbook

FOLLOWED = (*AUDIENCE_COLUMNS, *USER_FLAGS, "suppression_reason")
"""What is looked at of everybody behind a decision, and of everybody in an audience."""


def plan_handoffs(inputs: HandoffInputs, playbook: Playbook) -> HandoffPlan:
    """A decision for each candidate that is new, has changed or is decided differently now; and all that follows."""
    rules = playbook.handoffs
    before = conform(inputs.states, STATE_SCHEMA)
    is_rule = pl.col("trigger").is_in(RULES)
    edge = edges(conditions(inputs.users, inputs.accounts, playbook), before.filter(~is_rule), inputs.as_of)
    fired = [
        Firing(**row) for row in stood_before(edge.fired, inputs.baseline, inputs.baseline_at).iter_rows(named=True)
    ]
    held = open_candidates(inputs.open_candidates, rules)
    standings = standings_of(
        inputs.users, inputs.accounts, [*fired, *(firing for was in held for firing in was.firings)]
    )
    candidates, joined = gather(fired, held, standings, inputs.as_of)

    past, other_ids = _past_by_subject(inputs.past), _other_ids(candidates, inputs)
    run = Circumstances(inputs.as_of, rules, inputs.crm_hold_reason, past, other_ids)
    verdicts = {key: table.decide(candidate, run) for key, candidate in candidates.items()}
    given = (inputs.past, inputs.past_notices)
    desk = open_desk(inputs.owners, given, inputs.turns, rules=playbook.routing, as_of=inputs.as_of)
    assigned = _route(verdicts, desk, rules)
    final = {key: _settled(verdict, assigned.get(key)) for key, verdict in verdicts.items()}

    known = {was.key: was for was in held}
    news = {key: verdict for key, verdict in final.items() if _is_news(verdict, candidates[key], known.get(key))}
    rows = [_decision_row(verdict, inputs.as_of, rules) for verdict in news.values()]
    rows += [_joined_row(was, candidates[key], inputs.as_of, rules) for was, key in joined]
    still_open = [
        candidate_row(candidates[key], v.decision, rules) for key, v in final.items() if v.decision in table.HELD
    ]
    handed_over = hand_over(
        [verdict for verdict in final.values() if verdict.decision == table.SENT],
        assigned,
        inputs,
        desk=desk,
        rules=rules,
        other_ids=other_ids,
    )
    follow = _follow(list(news.values()), handed_over, inputs, desk=desk, playbook=playbook)
    holders = _holders(inputs.past, handed_over)
    ruled = _rules(before.filter(is_rule), inputs, holders, run=run, desk=desk, playbook=playbook)
    return HandoffPlan(
        decisions=frame_of(rows, DECISION_SCHEMA),
        handoffs=frame_of([handoff.row for handoff in handed_over], HANDOFF_SCHEMA),
        firings=frame_of(
            [{"handoff_id": h.row["handoff_id"], "firings": firing_texts(h.verdict.candidate)} for h in handed_over],
            FIRINGS_SCHEMA,
        ),
        states=pl.concat([edge.states, ruled.states]).sort(KEY),
        candidates=frame_of(still_open, CANDIDATE_SCHEMA),
        turns=turns_frame(desk.turns),
        with_room=desk.with_room(),
        rule_decisions=frame_of(follow.decisions + ruled.outcome.decisions, RULE_DECISION_SCHEMA),
        notices=frame_of(follow.notices + ruled.outcome.notices, NOTICE_SCHEMA),
        overlaps=frame_of(follow.overlaps, OVERLAP_SCHEMA),
        members=frame_of(follow.members, MEMBER_SCHEMA),
        actions=tuple(sorted(follow.actions + ruled.outcome.actions, key=lambda action: action.key)),
    )


@dataclass
class _FollowUps(Outcome):
    """What follows from the decisions of a run."""

    overlaps: list[dict[str, Any]] = field(default_factory=list)
    members: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Ruled:
    """What the rules of a run came to, and their states after it."""

    outcome: Outcome
    states: pl.DataFrame


def _follow(
    news: Sequence[Verdict],
    handed_over: Sequence[HandedOver],
    inputs: HandoffInputs,
    *,
    desk: Desk,
    playbook: Playbook,
) -> _FollowUps:
    """Tasks, owners, notes, MQLs and audiences."""
    follow = _FollowUps(**vars(follow_up(handed_over, desk, playbook, as_of=inputs.as_of)))
    members = conform(inputs.members, MEMBER_SCHEMA)
    behind = {user_id for verdict in news for user_id in verdict.candidate.people}
    behind |= {person.id for v in news if (person := v.candidate.person(playbook.handoffs.triggers))}
    looked_at = inputs.users.select(FOLLOWED).filter(pl.col("user_id").is_in(list(behind | set(members["user_id"]))))
    follow.actions += _notes(news, inputs, playbook)
    overlaps = conform(inputs.overlaps, OVERLAP_SCHEMA)
    paused = set(overlaps.filter(pl.col("status") == WITH_SALES)["contact_id"])
    follow.overlaps += taken_over(handed_over, playbook, follow, paused=paused, as_of=inputs.as_of)
    may_end = overlaps.filter((pl.col("status") == RECYCLED) | pl.col("handoff_id").is_in(list(inputs.answers)))
    follow.overlaps += given_back(
        overlaps,
        inputs.answers,
        playbook,
        follow,
        people=inputs.whole("user", set(may_end["user_id"].drop_nulls())),
        accounts=inputs.whole("account", set(may_end["account_id"].drop_nulls())),
        taken=follow.overlaps,
        as_of=inputs.as_of,
    )
    blocked = with_block_reasons(looked_at, inputs.accounts).filter(pl.col("blocked").is_not_null())
    is_over = pl.col("status").is_in(ENDED).fill_null(False)
    rows, actions = audiences(
        news,
        members,
        {row["user_id"]: row for row in looked_at.select(AUDIENCE_COLUMNS).iter_rows(named=True)},
        blocked={**dict(blocked.select("user_id", "blocked").iter_rows()), **inputs.excluded},
        with_sales=set(conform(inputs.past, PAST_SCHEMA).filter(~is_over)["user_id"]),
        deleted=set(looked_at.filter("contact_deleted")["contact_id"]),
        playbook=playbook,
        as_of=inputs.as_of,
    )
    follow.members += rows
    follow.actions += actions
    return follow


def _notes(news: Sequence[Verdict], inputs: HandoffInputs, playbook: Playbook) -> list[Action]:
    """What is noted on open opportunities."""
    noted = [verdict for verdict in news if verdict.decision == table.OPEN_OPPORTUNITY]
    people = {user_id for verdict in noted for user_id in verdict.candidate.people}
    people |= {person.id for v in noted if (person := v.candidate.person(playbook.handoffs.triggers))}
    accounts = {v.candidate.account_id for v in noted if v.candidate.account_id}
    return opportunity_notes(noted, inputs.whole("user", people), inputs.whole("account", accounts), playbook)


def _holders(past: pl.DataFrame, handed_over: Sequence[HandedOver]) -> dict[Slot, str]:
    """Who has the newest handoff of an account, and of a person, that is not over."""
    going_on = conform(past, PAST_SCHEMA).filter(~pl.col("status").is_in(ENDED).fill_null(False)).sort("created_at")
    rows = [*going_on.iter_rows(named=True), *(handoff.row for handoff in handed_over)]
    by_person: dict[Slot, str] = {("user", row["user_id"]): row["recipient_id"] for row in rows}
    return by_person | {_slot(row): row["recipient_id"] for row in rows}


def _slot(handoff: Mapping[str, Any]) -> Slot:
    if handoff["account_id"] is not None:
        return "account", handoff["account_id"]
    return "user", handoff["user_id"]


def _rules(
    before: pl.DataFrame,
    inputs: HandoffInputs,
    holders: Mapping[Slot, str],
    *,
    run: Circumstances,
    desk: Desk,
    playbook: Playbook,
) -> _Ruled:
    """The rules that have a condition of their own."""
    current = rule_conditions(inputs.users, inputs.accounts, inputs.rises, playbook, silences=inputs.silences)
    edge = edges(current, before, inputs.as_of)
    fired = stood_before(edge.fired, inputs.baseline, inputs.baseline_at)
    firings = [Firing(**row) for row in fired.iter_rows(named=True)]
    behind = [firing.subject_id for firing in firings if firing.subject_type == "user"]
    theirs = inputs.users.select("user_id", "account_id").filter(pl.col("user_id").is_in(behind))["account_id"]
    concerned = {*theirs.drop_nulls(), *(firing.subject_id for firing in firings)}
    context = RuleRun(
        run=run,
        playbook=playbook,
        desk=desk,
        standings=standings_of(inputs.users, inputs.accounts, firings),
        users=RowsBy(inputs.users, "user_id", behind),
        accounts=RowsBy(inputs.accounts, "account_id", concerned),
        rises=dict(conform(inputs.rises, RISE_SCHEMA).iter_rows()),
        past=inputs.past_rules,
        held_since=inputs.held_rules,
        holders=holders,
    )
    outcome, held = decide_rules(fired, context)
    return _Ruled(outcome, without_held(edge.states, before, held))


# --- what there is to decide ----------------------------------------------------------------------


def _past_by_subject(past: pl.DataFrame) -> dict[Slot, list[PastHandoff]]:
    """Handoffs of each account, and of each person who had none at the time."""
    found: dict[Slot, list[PastHandoff]] = defaultdict(list)
    for row in conform(past, PAST_SCHEMA).drop("recipient_id", "status").iter_rows(named=True):
        handoff = PastHandoff(**{**row, "triggers": frozenset(row["triggers"])})
        found[_slot(row)].append(handoff)
    return found


def _other_ids(candidates: Mapping[str, Candidate], inputs: HandoffInputs) -> dict[str, list[str]]:
    """The other ids under which people were handed over who had no account then; nobody who has none."""
    past = conform(inputs.past, PAST_SCHEMA)
    earlier = set(past.filter(pl.col("account_id").is_null())["user_id"].drop_nulls())
    if not earlier:
        return {}
    now = {user_id for candidate in candidates.values() for user_id in candidate.people}
    known = inputs.users.filter(pl.col("user_id").is_in(list(now))).select("user_id", "email", "user_name")
    then = inputs.whole("user", earlier)
    people = {*known.iter_rows(), *((user_id, row["email"], row["user_name"]) for user_id, row in then.items())}
    found = same_people(people)
    return {user_id: sorted((found[user_id] & earlier) - {user_id}) for user_id in now & found.keys()}


# --- who receives it ------------------------------------------------------------------------------


def _route(verdicts: Mapping[str, Verdict], desk: Desk, rules: HandoffRules) -> dict[str, Assignment]:
    """An assignment for each candidate that no row stopped, by priority, first day, score (descending) and key.

    What has waited since an earlier day comes before what is new, of which there is some every day.
    """
    cleared = [verdict for verdict in verdicts.values() if verdict.decision is None]

    def urgency(verdict: Verdict) -> tuple[int, date, float, str]:
        candidate = verdict.candidate
        scored = candidate.scored(rules.triggers)
        priority = PRIORITIES.index(candidate.priority(rules.triggers))
        return priority, candidate.first_seen_at.date(), -(scored.score if scored else 0.0), candidate.key

    return {
        verdict.candidate.key: desk.assign(_request(verdict, desk, rules)) for verdict in sorted(cleared, key=urgency)
    }


def _request(verdict: Verdict, desk: Desk, rules: HandoffRules) -> Request:
    candidate = verdict.candidate
    person, account = candidate.person(rules.triggers), candidate.account
    whose = candidate.subject
    return Request(
        claims=(
            (person.owner_id if person else None, "contact"),
            (account.owner_id if account else None, "account"),
        ),
        team=team_for(
            verdict.handoff_type,
            desk.rules,
            segment=whose.segment if whose else None,
            is_customer=bool(whose and whose.is_customer),
        ),
        priority=candidate.priority(rules.triggers),
    )


def _settled(verdict: Verdict, assignment: Assignment | None) -> Verdict:
    """The verdict with the last two rows of the table: capacity, or sent."""
    if assignment is None:
        return verdict
    decision = table.SENT if assignment.recipient_id else table.HELD_CAPACITY
    left_out = f"; left out: {verdict.reason}" if verdict.reason else ""
    return replace(verdict, decision=decision, reason=assignment.reason + left_out)


# --- what is kept ---------------------------------------------------------------------------------


def _is_news(verdict: Verdict, candidate: Candidate, was: OpenCandidate | None) -> bool:
    """An open candidate is told of again only when its decision changed or another trigger has joined it."""
    return was is None or verdict.decision != was.last_decision or not was.firings.issuperset(candidate.firings)


def _decision_row(verdict: Verdict, as_of: datetime, rules: HandoffRules) -> dict[str, object]:
    candidate = verdict.candidate
    person = candidate.person(rules.triggers)
    decision = str(verdict.decision)
    return {
        "decision_id": "de_" + sha256(f"{candidate.key}{decision}{as_of.isoformat()}".encode()).hexdigest()[:16],
        "candidate_key": candidate.key,
        "handoff_id": handoff_id(candidate.key) if decision == table.SENT else None,
        "user_id": person.id if person else candidate.subject_id if candidate.subject_type == "user" else None,
        "account_id": candidate.account_id,
        "triggers": candidate.triggers(rules.triggers),
        "priority": candidate.priority(rules.triggers),
        "decision": decision,
        "reason": verdict.reason,
        "decided_at": as_of,
    }


def _joined_row(was: OpenCandidate, into: Candidate, as_of: datetime, rules: HandoffRules) -> dict[str, object]:
    """The end of an open candidate whose subject is another one's now: they will be one handoff."""
    gone = replace(into, key=was.key)
    whose = "account" if into.account_id else "person"
    reason = f"joined to candidate {into.key} of the same {whose}, which will be handed over once"
    return _decision_row(Verdict(table.SUPPRESSED_COOLDOWN, reason, gone, ""), as_of, rules)
