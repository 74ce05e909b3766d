"""The handoff package as a model: everything a seller is told, in plain text, before any layout.

Built from one person's facts, one account's facts and the handoff itself; sections and their order are
section 6's. How it looks in Markdown or elsewhere is a renderer's business, who gets it is ``routing``'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dagster_project.core.decisions import RESEARCH
from dagster_project.core.escaping import plain
from dagster_project.core.handoff_rules import HandoffRules, PackageRules
from dagster_project.core.routing import Owner

Row = Mapping[str, Any]
FEWEST_SIGNALS = 3
"""Section 6 asks for three or more key signals."""
_NOTHING = {"", "0", "0.0", "none", "no", "false", "null", "nan", "unknown"}
_NOT_SIGNALS = {"fit_multiplier", "cap", "rounding"}
_EXAMPLES = 3


@dataclass(frozen=True)
class Signal:
    """What was seen, how much of it, and what that means to a seller."""

    label: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Moment:
    """One dated step of the journey (UTC)."""

    at: datetime
    what: str


@dataclass(frozen=True)
class Line:
    """A labelled line of text."""

    label: str
    text: str


@dataclass(frozen=True)
class HandoffPackage:
    """The single source of every rendering of a handoff; all texts are plain and of one line."""

    title: str
    company: str
    score: float
    signals: tuple[Signal, ...]
    journey: tuple[Moment, ...]
    product: tuple[Line, ...]
    approach: tuple[Line, ...]
    contact: tuple[Line, ...]


@dataclass(frozen=True)
class HandoffFacts:
    """What a package is built from.

    ``person`` is a row of user features with scores, ``account`` one of account features with scores or None;
    ``fired`` are (trigger, whose, when), the headline first, whose being empty for the person that is named.
    """

    person: Row
    account: Row | None
    fired: Sequence[tuple[str, str, datetime]]
    is_about_the_account: bool
    priority: str
    handoff_type: str
    recipient_id: str
    owner: Owner | None
    due_at: datetime


def build_package(facts: HandoffFacts, rules: HandoffRules) -> HandoffPackage:
    """The package of a handoff."""
    told = _words(facts, rules.package)
    trigger = rules.triggers.by_key()[facts.fired[0][0]]
    return HandoffPackage(
        title=trigger.title,
        company=told["company"],
        score=_score(facts),
        signals=tuple(_signals(facts, rules.package)),
        journey=tuple(sorted(_journey(facts, rules, told), key=lambda moment: moment.at)),
        product=tuple(_product(facts, rules.package)),
        approach=tuple(_approach(facts, rules, told)),
        contact=tuple(_contact(facts)),
    )


def score_text(score: float) -> str:
    """A score as people write it: 95.3, and 80 rather than 80.0."""
    return f"{score:.1f}".removesuffix(".0")


def person_name(person: Row) -> str:
    """What to call a person: the CRM's name, the product's, the e-mail, the id."""
    return _first(person, "contact_name", "user_name", "email", "user_id")


def company_name(person: Row, account: Row | None) -> str:
    """The account's name, else its domain or id; a person without an account stands for themselves."""
    return _first(account, "name", "domain", "account_id").removeprefix("domain:") if account else person_name(person)


def _first(row: Row, *columns: str) -> str:
    return next((text for column in columns if (text := plain(row[column]))), "")


def _score(facts: HandoffFacts) -> float:
    if facts.is_about_the_account and facts.account:
        return facts.account["pqa_score"] or 0.0
    return facts.person["pql_score"] or 0.0


def _listing(items: Sequence[str], limit: int = _EXAMPLES) -> str:
    shown = list(items[:limit])
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _many(count: int, one: str, several: str | None = None) -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"


def _words(facts: HandoffFacts, rules: PackageRules) -> dict[str, str]:
    """The value of every field that a text of the playbook may mention; none is ever empty."""
    features = _features(facts.person)
    use_case, _ = _use_case(features, rules)
    team = facts.account["active_users_30d"] if facts.account else 1
    fallback = f"their use of {_listing(features)}" if features else "getting started"
    return {
        "person": person_name(facts.person),
        "company": company_name(facts.person, facts.account),
        "score": score_text(facts.person["pql_score"] or 0.0),
        "features": _listing(features) or "the product",
        "use_case": use_case or fallback,
        "active_users": str(team or 0),
        "pricing_visits": str(facts.person["pricing_visits"] or 0),
        "date": f"{facts.fired[0][2]:%Y-%m-%d}",
        "blockers": "; ".join(_blockers(facts.person)) or "nothing seen",
    }


# --- Key Signals ----------------------------------------------------------------------------------


def _signals(facts: HandoffFacts, rules: PackageRules) -> list[Signal]:
    scored = facts.account if facts.is_about_the_account and facts.account else facts.person
    strongest = sorted(
        (entry for entry in scored["explanation"] or () if _says_something(entry)),
        key=lambda entry: (-entry["contribution"], entry["signal"]),
    )
    telling = [entry for entry in strongest if entry["tier"] != "low"][: rules.key_signals]
    # what is low is no reason to call, so it only fills up
    telling += [entry for entry in strongest if entry["tier"] == "low"][: max(0, FEWEST_SIGNALS - len(telling))]
    signals = [_scored_signal(entry, rules) for entry in telling]
    if facts.account:
        signals += _account_signals(facts, facts.account)
    facts_left = _plain_facts(facts.person)
    while len(signals) < FEWEST_SIGNALS and (filler := next(facts_left, None)):
        signals.append(filler)
    return signals


def _says_something(entry: Row) -> bool:
    value = plain(entry["value"]).lower()
    return entry["signal"] not in _NOT_SIGNALS and (entry["contribution"] or 0) > 0 and value not in _NOTHING


def _scored_signal(entry: Row, rules: PackageRules) -> Signal:
    key, tier = entry["signal"], plain(entry["tier"])
    text = rules.signals.get(key)
    label = text.label if text else key.replace("_", " ").capitalize()
    means = text.means if text else {}
    meaning = means if isinstance(means, str) else means.get(tier, "")
    value = _percent(entry["value"]) if text and text.is_share else _number(entry["value"])
    return Signal(label, value, meaning or f"adds {score_text(entry['contribution'])} points to the score")


def _number(value: object) -> str:
    text = plain(value)
    try:
        return score_text(float(text))
    except ValueError:
        return text


def _percent(value: object) -> str:
    text = plain(value)
    try:
        return f"{float(text):.0%}"
    except ValueError:
        return text


def _account_signals(facts: HandoffFacts, account: Row) -> Iterator[Signal]:
    if account["pqa_score"] is not None and not facts.is_about_the_account:
        quadrant = plain(account["quadrant"]).replace("_", " ") or "unscored"
        yield Signal("Account score (PQA)", f"{score_text(account['pqa_score'])}/100", f"quadrant: {quadrant}")
    if facts.is_about_the_account and facts.person["pql_score"] is not None:
        best = score_text(facts.person["pql_score"])
        yield Signal("Best user (PQL)", f"{best}/100", f"{person_name(facts.person)}, the one to talk to")
    firm = [_many(account["employee_count"], "employee")] if account["employee_count"] is not None else []
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
            yield Signal(label, f"{at:%Y-%m-%d}", f"{_many(days, 'day')} ago" if days > 0 else "today")
    yield Signal("Actions in the window", str(person["actions"] or 0), "what they did, beyond looking")


# --- User Journey ---------------------------------------------------------------------------------

_FIRSTS = {
    "first_event_at": "First seen in the product",
    "first_invite_at": "Invited a first teammate",
    "first_integration_at": "Connected a first integration",
    "first_import_at": "Imported data for the first time",
}
_LATEST = {
    "last_pricing_view_at": "Viewed pricing (latest)",
    "last_plan_comparison_at": "Compared plans (latest)",
    "last_upgrade_click_at": "Clicked upgrade (latest)",
    "last_limit_hit_at": "Hit a plan limit (latest)",
    "last_limit_contact_at": "Asked support about limits (latest)",
    "last_sales_request_at": "Asked to talk to sales",
    "last_active_at": "Last active",
}


def _journey(facts: HandoffFacts, rules: HandoffRules, told: Mapping[str, str]) -> Iterator[Moment]:
    person = facts.person
    for column, what in _FIRSTS.items():
        if person[column]:
            yield Moment(person[column], what)
    steps = {plain(step["step"]): step["reached_at"] for step in person["setup_steps"] or ()}
    for step, reached_at in steps.items():
        yield Moment(reached_at, f"Set-up step done: {step}")
    for milestone in person["milestones"] or ():
        if milestone["reached_at"] and (named := rules.package.milestones.get(milestone["name"])):
            yield Moment(milestone["reached_at"], named)
    for trigger, whose, at in facts.fired:
        if not whose and (entry := rules.triggers.by_key()[trigger].journey):
            yield Moment(at, entry.format_map(told))
    for column, what in _LATEST.items():
        if person[column]:
            yield Moment(person[column], what)


def _bare(title: str) -> str:
    """The title without its emoji, for running text."""
    return " ".join(word for word in title.split() if any(character.isalnum() for character in word))


# --- Product Context ------------------------------------------------------------------------------


def _features(person: Row) -> list[str]:
    return [text for feature in person["features_used"] or () if (text := plain(feature))]


def _use_case(features: Sequence[str], rules: PackageRules) -> tuple[str | None, list[str]]:
    """The use case that most features speak for, and those features; None when too few do."""
    used = {feature.lower(): feature for feature in features}
    best: tuple[str | None, list[str]] = (None, [])
    for case in rules.use_cases:
        matching = [used[feature] for feature in case.features if feature in used]
        if len(matching) >= rules.use_case_min_features and len(matching) > len(best[1]):
            best = (case.name, matching)
    return best


def _product(facts: HandoffFacts, rules: PackageRules) -> Iterator[Line]:
    features = _features(facts.person)
    yield Line("Features used", ", ".join(features) or "none in the window")
    use_case, matching = _use_case(features, rules)
    if use_case:
        yield Line("Use case", f"{use_case} (inferred from {_listing(matching, len(matching))})")
    elif features:
        yield Line("Use case", f"not one we know; it is built on {_listing(features, len(features))}")
    else:
        yield Line("Use case", "nothing to infer it from yet: ask what they came for")
    yield Line("Blockers", "; ".join(_blockers(facts.person)) or "none seen")


def _blockers(person: Row) -> Iterator[str]:
    if hits := person["limit_hit"]:
        latest = f", last on {person['last_limit_hit_at']:%Y-%m-%d}" if person["last_limit_hit_at"] else ""
        yield f"{_many(hits, 'plan limit hit', 'plan limits hit')}{latest}"
    imports = Counter(failed=person["imports_failed"] or 0, partial=person["imports_partial"] or 0)
    for kind in ("failed", "partial"):
        if imports[kind]:
            yield _many(imports[kind], f"{kind} import")
    done, total = len(person["setup_steps_done"] or ()), person["setup_steps_total"] or 0
    if done < total:
        yield f"set-up unfinished: {done} of {_many(total, 'step')} done"


# --- Suggested Approach and Contact ---------------------------------------------------------------


def _approach(facts: HandoffFacts, rules: HandoffRules, told: Mapping[str, str]) -> Iterator[Line]:
    triggers, texts = rules.triggers.by_key(), rules.package.approach
    headline = triggers[facts.fired[0][0]]
    yield Line("Why now", headline.why_now.format_map(told))
    others = [_bare(triggers[key].title) + (f" ({whose})" if whose else "") for key, whose, _ in facts.fired[1:]]
    if others:
        yield Line("Also", ", ".join(dict.fromkeys(others)))
    yield Line("Angle", headline.angle.format_map(told))
    if facts.person["imports_failed"] or facts.person["imports_partial"]:
        yield Line("Help first", texts.unblock.format_map(told))
    scored = facts.account or facts.person
    if how := texts.motion.get(scored["motion"]):
        yield Line("How", how.format_map(told))
    if facts.handoff_type == RESEARCH and scored["segment_source"] == "unknown":
        yield Line("Research first", texts.research.format_map(told))
    next_step = texts.next_step.get(facts.person["activation_stage"]) or texts.next_step["signed_up"]
    yield Line("Next step", next_step.format_map(told))


def _contact(facts: HandoffFacts) -> Iterator[Line]:
    person = facts.person
    name, email = _first(person, "contact_name", "user_name"), plain(person["email"])
    if name:
        yield Line("Name", name)
    if email:
        yield Line("E-mail", email)
    if not name and not email:
        yield Line("User", plain(person["user_id"]))
    if role := ", ".join(text for column in ("contact_role", "contact_department") if (text := plain(person[column]))):
        yield Line("Role", role)
    owner = plain(facts.owner.name) or plain(facts.owner.owner_id) if facts.owner else ""
    yield Line("Owner", owner or facts.recipient_id.replace("team:", "team "))
    yield Line("Priority", f"{facts.priority}, {facts.handoff_type}")
    yield Line("Due", f"{facts.due_at:%Y-%m-%d %H:%M} UTC")
