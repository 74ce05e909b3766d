"""The user journey: what somebody did, dated, the oldest first and never longer than a seller reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dagster_project.core.escaping import plain
from dagster_project.core.handoff_rules import HandoffRules
from dagster_project.core.package_model import HandoffFacts, Moment
from dagster_project.core.product_context import is_limit_contact_solved
from dagster_project.core.wording import Row, many

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
    "last_sales_request_at": "Asked to talk to sales",
    "last_active_at": "Last active",
}
FIRST_PQL = "first_pql"


def user_journey(facts: HandoffFacts, rules: HandoffRules, told: Mapping[str, str]) -> list[Moment]:
    """The steps of a journey by their dates.

    Args:
        facts: What the package is about.
        rules: Texts, and how many steps are shown.
        told: The values of the fields that a text may mention.
    """
    steps = sorted(_steps(facts, rules, told), key=lambda moment: moment.at)
    return _the_ends(steps, rules.package.journey_entries)


def _the_ends(steps: list[Moment], limit: int) -> list[Moment]:
    """How it began and what happened last; what is between is counted."""
    if len(steps) <= limit:
        return steps
    first, last = (limit - 1) // 3, limit - 1 - (limit - 1) // 3
    left_out = steps[first : len(steps) - last]
    return [*steps[:first], Moment(left_out[0].at, f"{many(len(left_out), 'step')} more"), *steps[-last:]]


def _steps(facts: HandoffFacts, rules: HandoffRules, told: Mapping[str, str]) -> Iterator[Moment]:
    person = facts.person
    for column, what in _FIRSTS.items():
        if person[column]:
            yield Moment(person[column], what)
    steps = {plain(step["step"]): step["reached_at"] for step in person["setup_steps"] or ()}
    for step, reached_at in steps.items():
        yield Moment(reached_at, f"Set-up step done: {step}")
    for milestone in person["milestones"] or ():
        named = rules.package.milestones.get(milestone["name"])
        if named and milestone["reached_at"] and not _is_a_guess(milestone, facts):
            yield Moment(milestone["reached_at"], named)
    for trigger, whose, at in facts.fired:
        if not whose and (entry := rules.triggers.by_key()[trigger].journey):
            yield Moment(at, entry.format_map(_at_least(trigger, told, rules)))
    if person["last_limit_contact_at"]:
        solved = ", solved" if is_limit_contact_solved(person, rules.package) else ""
        yield Moment(person["last_limit_contact_at"], f"Asked support about limits (latest{solved})")
    for column, what in _LATEST.items():
        if person[column]:
            yield Moment(person[column], what)


def _at_least(trigger: str, told: Mapping[str, str], rules: HandoffRules) -> Mapping[str, str]:
    """The words of a trigger's step: a team that had grown by then may be a smaller one by now."""
    if trigger != "team_growth":
        return told
    return {**told, "active_users": str(max(int(told["active_users"]), rules.triggers.team_growth.active_users))}


def _is_a_guess(milestone: Row, facts: HandoffFacts) -> bool:
    """Who is a PQL at the first moment that was ever scored became one on a day that nobody knows."""
    since = facts.scored_since
    return milestone["name"] == FIRST_PQL and since is not None and milestone["reached_at"] <= since
