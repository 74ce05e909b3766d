"""The key signals of a person or an account: the strongest entries of a score, in a seller's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dagster_project.core.escaping import plain
from dagster_project.core.handoff_rules import PackageRules
from dagster_project.core.package_model import HandoffFacts, Signal
from dagster_project.core.wording import Row, many, number, percent, person_name, score_text

FEWEST_SIGNALS = 3
"""Section 6 asks for three or more key signals."""
_NOTHING = {"", "0", "0.0", "none", "no", "false", "null", "nan", "unknown"}
_NOT_SIGNALS = {"fit_multiplier", "cap", "rounding"}


def key_signals(facts: HandoffFacts, rules: PackageRules) -> list[Signal]:
    """Three or more: the strongest of the score, what the account adds, and plain facts where both say little."""
    scored = facts.account if facts.is_about_the_account and facts.account else facts.person
    strongest = telling_entries(scored["explanation"] or ())
    telling = [entry for entry in strongest if entry["tier"] != "low"][: rules.key_signals]
    # what is low is no reason to call, so it only fills up
    telling += [entry for entry in strongest if entry["tier"] == "low"][: max(0, FEWEST_SIGNALS - len(telling))]
    signals = [scored_signal(entry, rules) for entry in telling]
    if facts.account:
        signals += _account_signals(facts, facts.account)
    facts_left = _plain_facts(facts.person)
    while len(signals) < FEWEST_SIGNALS and (filler := next(facts_left, None)):
        signals.append(filler)
    return signals


def telling_entries(explanation: Iterable[Row]) -> list[Row]:
    """The entries of an explanation in which something was seen, the strongest first."""
    return sorted(
        (entry for entry in explanation if _says_something(entry)),
        key=lambda entry: (-entry["contribution"], entry["signal"]),
    )


def _says_something(entry: Row) -> bool:
    value = plain(entry["value"]).lower()
    return entry["signal"] not in _NOT_SIGNALS and (entry["contribution"] or 0) > 0 and value not in _NOTHING


def scored_signal(entry: Row, rules: PackageRules) -> Signal:
    """An entry of an explanation under the playbook's name for it, with what its tier means."""
    key, tier = entry["signal"], plain(entry["tier"])
    text = rules.signals.get(key)
    label = text.label if text else key.replace("_", " ").capitalize()
    means = text.means if text else {}
    meaning = means if isinstance(means, str) else means.get(tier, "")
    value = percent(entry["value"]) if text and text.is_share else number(entry["value"])
    return Signal(label, value, meaning or f"adds {score_text(entry['contribution'])} points to the score")


def _account_signals(facts: HandoffFacts, account: Row) -> Iterator[Signal]:
    if account["pqa_score"] is not None and not facts.is_about_the_account:
        quadrant = plain(account["quadrant"]).replace("_", " ") or "unscored"
        yield Signal("Account score (PQA)", f"{score_text(account['pqa_score'])}/100", f"quadrant: {quadrant}")
    if facts.is_about_the_account and facts.person["pql_score"] is not None:
        best = score_text(facts.person["pql_score"])
        yield Signal("Best user (PQL)", f"{best}/100", f"{person_name(facts.person)}, the one to talk to")
    firm = [many(account["employee_count"], "employee")] if account["employee_count"] is not None else []
    firm += [plain(account["industry"])] if plain(account["industry"]) else []
    if firm and not facts.is_about_the_account:  # an account's own score names its size and industry already
        segment, motion = plain(account["segment"]), plain(account["motion"])
        yield Signal("Company", ", ".join(firm), f"{segment} segment, {motion} motion")


def _plain_facts(person: Row) -> Iterator[Signal]:
    sessions = person["sessions"] or 0
    yield Signal("Sessions in the window", str(sessions), "is using it now" if sessions else "no recent session")
    for label, column in (("Last active", "last_active_at"), ("First seen", "first_event_at")):
        if at := person[column]:
            days = (person["as_of"].date() - at.date()).days
            yield Signal(label, f"{at:%Y-%m-%d}", f"{many(days, 'day')} ago" if days > 0 else "today")
    yield Signal("Actions in the window", str(person["actions"] or 0), "what they did, beyond looking")
