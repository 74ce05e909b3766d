"""The decision table: each candidate gets the first row that applies, with the facts that made it apply.

Here are the rows that need no recipient. How triggers become candidates is in ``candidates``; the rows about
capacity and recipients come from ``routing``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from dagster_project.core.candidates import Candidate, is_explicit_request
from dagster_project.core.handoff_rules import ACCOUNT_TRIGGERS, HandoffRules
from dagster_project.core.scoring_rules import RISING_CLASSES

SENT, HELD_CAPACITY, HELD_STALE_CRM = "sent", "held_capacity", "held_stale_crm"
HELD = frozenset({HELD_CAPACITY, HELD_STALE_CRM})
"""Decisions that leave a candidate open, to be decided again by the next run."""
SUPPRESSED_COOLDOWN = "suppressed_cooldown"
NO_CONTACT, BASELINE = "suppressed_no_contact", "suppressed_baseline"
SELF_SERVE, OPEN_OPPORTUNITY, CUSTOMER = (
    "suppressed_self_serve", "suppressed_open_opportunity", "suppressed_customer"
)  # fmt: skip
RESEARCH = "SDR research"


@dataclass(frozen=True)
class PastHandoff:
    """A handoff that was sent, as far as the cooldown looks at it."""

    account_id: str | None
    user_id: str | None
    triggers: frozenset[str]
    priority: str
    classification: str | None
    created_at: datetime


_NAMED = 3
"""Firings that a reason names; of more it says how many."""


@dataclass(frozen=True)
class Circumstances:
    """The same for all candidates of a run; ``past`` is looked up by ``(subject type, subject id)``.

    ``other_ids`` has the other ids under which people were handed over who had no account then.
    """

    as_of: datetime
    rules: HandoffRules
    hold_reason: str | None
    past: Mapping[tuple[str, str], Sequence[PastHandoff]]
    other_ids: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision with its reason, about ``candidate`` narrowed to the firings that were decided on.

    ``decision`` is None when no row applied: the candidate is to be routed, as ``handoff_type``.
    """

    decision: str | None
    reason: str
    candidate: Candidate
    handoff_type: str


def decide(candidate: Candidate, run: Circumstances) -> Verdict:
    """The first row of section 6's table that applies; None where it is up to who can take the candidate."""
    fresh = tuple(firing for firing in candidate.firings if not firing.stood_before)
    if not fresh or fresh == candidate.firings:
        return _decided(candidate, run)
    verdict = _decided(replace(candidate, firings=fresh), run)
    stood = [f"{firing.trigger} of {firing.subject_id}" for firing in candidate.firings if firing.stood_before]
    more = f" and {len(stood) - _NAMED} more" if len(stood) > _NAMED else ""
    said = f"{', '.join(stood[:_NAMED])}{more} already stood {run.rules.baseline_days} days before the first run"
    if verdict.decision is None:  # whoever settles it says what was left out
        return replace(verdict, reason="; ".join(filter(None, (verdict.reason, said))))
    return replace(verdict, reason=f"{verdict.reason}; left out: {said}")


def _decided(decided_on: Candidate, run: Circumstances) -> Verdict:
    """The same of firings all of which count."""
    if verdict := _first_row(decided_on, run):
        return verdict
    rested, reason = _without_cooling(decided_on, run)
    if not rested.firings:
        return Verdict(SUPPRESSED_COOLDOWN, reason, decided_on, handoff_type(decided_on, run.rules))
    # A request that rests asks for nobody: what is left stands for itself.
    if rested is not decided_on and (verdict := _first_row(rested, run)):
        return replace(verdict, reason=f"{verdict.reason}; left out: {reason}")
    return Verdict(None, reason, rested, handoff_type(rested, run.rules))


def _first_row(candidate: Candidate, run: Circumstances) -> Verdict | None:
    """The first of `ROWS` that applies."""
    for decision, applies in ROWS.items():
        if reason := applies(candidate, run):
            return Verdict(decision, reason, candidate, handoff_type(candidate, run.rules))
    return None


def handoff_type(candidate: Candidate, rules: HandoffRules) -> str:
    """The type of the most urgent trigger; research where self-serve is only assumed and nobody asked."""
    subject = candidate.subject
    if subject and _is_left_to_self_serve(candidate, rules) and subject.segment_source == "unknown":
        return RESEARCH
    return rules.triggers.by_key()[candidate.triggers(rules.triggers)[0]].handoff_type


def _is_left_to_self_serve(candidate: Candidate, rules: HandoffRules) -> bool:
    subject = candidate.subject
    return subject is not None and subject.motion == "self-serve" and not is_explicit_request(candidate, rules)


def _whose(candidate: Candidate, run: Circumstances) -> str:
    if candidate.account:
        return f"account {candidate.account.name}"
    person = candidate.person(run.rules.triggers)
    return person.name if person else candidate.subject_id


def _no_contact(candidate: Candidate, run: Circumstances) -> str | None:
    return candidate.blocked


def _stale_crm(candidate: Candidate, run: Circumstances) -> str | None:
    return run.hold_reason


def _self_serve(candidate: Candidate, run: Circumstances) -> str | None:
    subject = candidate.subject
    if not subject or not _is_left_to_self_serve(candidate, run.rules) or subject.segment_source == "unknown":
        return None
    how = "by override" if subject.segment_source == "override" else f"segment {subject.segment}"
    return f"self-serve motion ({how}) of {_whose(candidate, run)} and no explicit request: left to automation"


def _open_opportunity(candidate: Candidate, run: Circumstances) -> str | None:
    for standing in (candidate.account, candidate.person(run.rules.triggers)):
        if standing and standing.has_open_opportunity:
            which = f" {standing.open_opportunity_id}" if standing.open_opportunity_id else ""
            return f"open opportunity{which} of {_whose(candidate, run)}: its owner works on it already"
    return None


def _customer(candidate: Candidate, run: Circumstances) -> str | None:
    subject = candidate.account or candidate.person(run.rules.triggers)
    if not subject or not subject.has_won_opportunity:
        return None
    if any(subject.expansion.get(signal) for signal in run.rules.expansion_signals):
        return None
    return f"{_whose(candidate, run)} is closed-won and shows no expansion signal in the window"


def _baseline(candidate: Candidate, run: Circumstances) -> str | None:
    if not all(firing.stood_before for firing in candidate.firings):
        return None
    names = ", ".join(candidate.triggers(run.rules.triggers))
    days = run.rules.baseline_days
    return f"{names} of {_whose(candidate, run)} already stood {days} days before the first run"


ROWS: Mapping[str, Callable[[Candidate, Circumstances], str | None]] = {
    NO_CONTACT: _no_contact,
    HELD_STALE_CRM: _stale_crm,
    SELF_SERVE: _self_serve,
    OPEN_OPPORTUNITY: _open_opportunity,
    CUSTOMER: _customer,
    BASELINE: _baseline,
}
"""The decisions of the table in its order, and what makes each apply: the reason, or None where it does not."""


def _without_cooling(candidate: Candidate, run: Circumstances) -> tuple[Candidate, str]:
    """The candidate without the triggers that were handed over too recently, and which those were.

    Repeated until nothing changes: the priority that excuses a trigger must not be that of one that is left
    out.
    """
    left_out: dict[str, str] = {}
    while candidate.firings:
        cooling = {
            trigger: past
            for trigger in candidate.triggers(run.rules.triggers)
            if (past := _still_cooling(trigger, candidate, run))
        }
        if not cooling:
            break
        for trigger, past in cooling.items():
            left_out[trigger] = f"{trigger} of {_whose(candidate, run)} was handed over on {past.created_at:%Y-%m-%d}"
        kept = tuple(firing for firing in candidate.firings if firing.trigger not in cooling)
        candidate = replace(candidate, firings=kept)
    if not left_out:
        return candidate, ""
    return candidate, f"{'; '.join(left_out.values())}, within {run.rules.cooldown_days} days"


def _still_cooling(trigger: str, candidate: Candidate, run: Circumstances) -> PastHandoff | None:
    since = run.as_of - timedelta(days=run.rules.cooldown_days)
    same = [past for past in _earlier(candidate, run) if trigger in past.triggers and past.created_at > since]
    if not same:
        return None
    last = max(same, key=lambda past: past.created_at)
    # A handoff of the account's own triggers kept the account's class, any other one that of the person it names.
    was_the_accounts = last.account_id is not None and last.triggers <= ACCOUNT_TRIGGERS
    scored = candidate.account if was_the_accounts else candidate.person(run.rules.triggers)
    rose = _rank(scored.classification if scored else None) > _rank(last.classification)
    more_urgent = candidate.priority(run.rules.triggers) < last.priority  # P0 sorts before P1
    return None if (rose and last.classification) or more_urgent else last


def _earlier(candidate: Candidate, run: Circumstances) -> Iterator[PastHandoff]:
    """Handoffs of the same account, and those of the same people from before they had one."""
    if candidate.account_id is not None:
        yield from run.past.get(("account", candidate.account_id), ())
    for user_id in candidate.people:
        for same in (user_id, *run.other_ids.get(user_id, ())):
            yield from run.past.get(("user", same), ())


def _rank(classification: str | None) -> int:
    return RISING_CLASSES.index(classification) if classification in RISING_CLASSES else -1
