"""Builds the handoff package: one person's facts, one account's facts and the handoff itself, as section 6 orders them.

Signals, journey and product context have modules of their own; here they meet, with the approach and the contact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from dagster_project.core.candidates import Candidate
from dagster_project.core.decisions import RESEARCH
from dagster_project.core.escaping import plain
from dagster_project.core.handoff_rules import HandoffRules, Triggers
from dagster_project.core.journeys import user_journey
from dagster_project.core.key_signals import key_signals
from dagster_project.core.package_model import HandoffFacts, HandoffPackage, Line, Told
from dagster_project.core.product_context import (
    blockers,
    features_of,
    is_import_in_the_way,
    is_limit_contact_solved,
    product_context,
    troubled_imports,
    use_case,
)
from dagster_project.core.routing import TEAM
from dagster_project.core.standings import same_people
from dagster_project.core.wording import Row, company_name, first_text, listing, person_name, score_text, short


def build_package(facts: HandoffFacts, rules: HandoffRules) -> HandoffPackage:
    """The package of a handoff."""
    told = words_about(facts.person, facts.account, rules, facts.fired[0][2])
    trigger = rules.triggers.by_key()[facts.fired[0][0]]
    return HandoffPackage(
        title=trigger.title,
        company=company_name(facts.person, facts.account),
        score=_score(facts),
        signals=tuple(key_signals(facts, rules.package)),
        journey=tuple(user_journey(facts, rules, told)),
        product=tuple(product_context(facts.person, rules.package)),
        approach=tuple(_approach(facts, rules, told)),
        contact=tuple(_contact(facts)),
    )


def _score(facts: HandoffFacts) -> float:
    if facts.is_about_the_account and facts.account:
        return facts.account["pqa_score"] or 0.0
    return facts.person["pql_score"] or 0.0


def words_about(person: Row, account: Row | None, rules: HandoffRules, at: datetime) -> dict[str, str]:
    """The value of every field that a text of the playbook may mention; none is ever empty or longer than a line.

    Args:
        person: A row of user features with scores.
        account: One of account features with scores, None without an account.
        rules: `handoffs.yml`.
        at: The moment that {date} is about.
    """
    features = [short(feature) for feature in features_of(person)]
    name, _ = use_case(features_of(person), rules.package)
    team = account["active_users_30d"] if account else 1
    return {
        "person": short(person_name(person)),
        "company": short(company_name(person, account)),
        "score": score_text(person["pql_score"] or 0.0),
        "features": listing(features) or "the product",
        "use_case": name or (f"their use of {listing(features)}" if features else "getting started"),
        "active_users": str(team or 0),
        "pricing_visits": str(person["pricing_visits"] or 0),
        "date": f"{at:%Y-%m-%d}",
        "imports": troubled_imports(person) or "no import",
        "blockers": "; ".join(blockers(person, rules.package)) or "nothing seen",
    }


def told_firings(candidate: Candidate, named: Row, people: Mapping[str, Row], triggers: Triggers) -> list[Told]:
    """What fired for a candidate, the headline first; of several episodes of one person's trigger the latest.

    Args:
        candidate: What was decided as one.
        named: The row of the person that is named.
        people: Rows of everybody behind it, by user id.
        triggers: Of `handoffs.yml`.
    """
    latest: dict[tuple[tuple[int, int], str, str], datetime] = {}
    own = {firing.trigger for firing in candidate.firings if firing.subject_id == named["user_id"]}
    for firing in candidate.firings:
        is_named = firing.subject_type == "account" or firing.subject_id == named["user_id"]
        is_named = is_named or (firing.trigger in own and _is_same_person(people[firing.subject_id], named))
        at = datetime.fromisoformat(firing.occurrence)
        if firing.trigger == "enterprise_signup":
            at = people[firing.subject_id]["first_event_at"]
        told = (triggers.urgency(firing.trigger), "" if is_named else firing.subject_id, firing.trigger)
        latest[told] = max(at, latest.get(told, at))
    return [
        (trigger, _how_to_reach(people[whose]) if whose else "", at)
        for (_, whose, trigger), at in sorted(latest.items())
    ]


def _is_same_person(person: Row, named: Row) -> bool:
    """Whether two ids in the product are one person's, who is no colleague of theirs."""
    return bool(same_people((row["user_id"], row["email"], row["user_name"]) for row in (person, named)))


def _how_to_reach(person: Row) -> str:
    """Name and address of somebody who is not the one that is named."""
    return ", ".join(dict.fromkeys(filter(None, (short(person_name(person)), short(plain(person["email"]))))))


def firing_titles(fired: Iterable[Told], triggers: Triggers) -> str:
    """What fired, in running text: when, and where it was not the person that is named, for whom."""
    by_person: dict[str, list[str]] = {}
    for key, whose, at in fired:
        by_person.setdefault(whose, []).append(f"{_bare(triggers.by_key()[key].title)} ({at:%Y-%m-%d})")
    return "; ".join(f"{f'{whose}: ' if whose else ''}{', '.join(titles)}" for whose, titles in by_person.items())


def _bare(title: str) -> str:
    """The title without its emoji, for running text."""
    return " ".join(word for word in title.split() if any(character.isalnum() for character in word))


def _approach(facts: HandoffFacts, rules: HandoffRules, told: Mapping[str, str]) -> Iterator[Line]:
    triggers, texts = rules.triggers.by_key(), rules.package.approach
    own = [one for one in facts.fired if not one[1]]
    standing = [one for one in own if not _is_over(one[0], facts, rules.triggers)]
    # What is held waits for days now and then: why they are called is what holds still.
    is_over = facts.fired[0] in own and facts.fired[0] not in standing
    trigger, _, at = standing[0] if is_over and standing else facts.fired[0]
    why_now = texts.is_over if is_over and not standing else triggers[trigger].why_now
    yield Line("Why now", why_now.format_map({**told, "date": f"{at:%Y-%m-%d}"}))
    if others := firing_titles(facts.fired[1:], rules.triggers):
        yield Line("Also", others)
    yield Line("Angle", _angle(trigger, facts, rules).format_map(told))
    if is_import_in_the_way(facts.person):
        yield Line("Help first", texts.unblock.format_map(told))
    scored = facts.account or facts.person
    how = texts.customer if facts.is_customer else texts.motion.get(scored["motion"])
    if facts.handoff_type == RESEARCH and scored["segment_source"] == "unknown" and not facts.is_customer:
        # What their motion is nobody knows either.
        yield Line("Research first", texts.research.format_map(told))
    elif how:
        yield Line("How", how.format_map(told))
    asked_for = (
        triggers[key].next_step for key, *_ in (standing if is_over else own) if not _is_solved(key, facts, rules)
    )
    by_stage = texts.next_step.get(facts.person["activation_stage"]) or texts.next_step["signed_up"]
    yield Line("Next step", next(filter(None, asked_for), by_stage).format_map(told))


def _is_over(trigger: str, facts: HandoffFacts, triggers: Triggers) -> bool:
    """Whether what fired of the one who is named is a level that does not hold any more."""
    person = facts.person
    match trigger:
        case "hot_pql":
            return bool((person["pql_score"] or 0.0) <= triggers.hot_pql.score_above)
        case "pricing_visits":
            return bool((person["pricing_visits"] or 0) < triggers.pricing_visits.visits)
        case "upgrade_intent":
            return bool(person["usage_tier"] != triggers.upgrade_intent.usage_tier)
        case "team_growth":
            return bool(facts.account and facts.account["active_users_30d"] < triggers.team_growth.active_users)
        case _:
            return False


def _angle(trigger: str, facts: HandoffFacts, rules: HandoffRules) -> str:
    """What to talk about: whoever pays already is spoken to as a customer, and a solved ticket isn't answered again."""
    if _is_solved(trigger, facts, rules):
        return rules.package.approach.solved_limit
    headline = rules.triggers.by_key()[trigger]
    return headline.customer_angle if facts.is_customer else headline.angle


def _is_solved(trigger: str, facts: HandoffFacts, rules: HandoffRules) -> bool:
    return trigger == "limit_ticket" and is_limit_contact_solved(facts.person, rules.package)


def _contact(facts: HandoffFacts) -> Iterator[Line]:
    person = facts.person
    name, email = first_text(person, "contact_name", "user_name"), plain(person["email"])
    if name:
        yield Line("Name", name)
    if email:
        yield Line("E-mail", email)
    if not name and not email:
        yield Line("User", plain(person["user_id"]))
    if role := ", ".join(text for column in ("contact_role", "contact_department") if (text := plain(person[column]))):
        yield Line("Role", role)
    owner = plain(facts.owner.name) or plain(facts.owner.owner_id) if facts.owner else ""
    yield Line("Owner", owner or facts.recipient_id.replace(TEAM, "team "))
    if facts.also_with:
        yield Line("Also with", facts.also_with)
    yield Line("Priority", f"{facts.priority}, {facts.handoff_type}")
    yield Line("Due", facts.due_text)
