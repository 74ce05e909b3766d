"""handoffs.yml and routing.yml: what is refused, and that the message says what was expected."""

from collections.abc import Callable
from typing import Any

import pytest
from handoff_frames import packaged, playbook
from pydantic import ValidationError

from dagster_project.core.handoff_rules import HandoffRules, RoutingRules


def test_the_packaged_rules_are_those_of_the_specification() -> None:
    rules, routing = playbook().handoffs, playbook().routing
    assert {key: (rule.priority, rule.handoff_type) for key, rule in rules.triggers.by_key().items()} == {
        "hot_pql": ("P0", "immediate outreach"),
        "upgrade_intent": ("P0", "sales call"),
        "team_growth": ("P1", "account executive"),
        "enterprise_signup": ("P1", "SDR research"),
        "limit_ticket": ("P2", "CSM or sales"),
        "pricing_visits": ("P2", "automated and human"),
        "hand_raise": ("P0", "sales call"),
    }
    assert rules.due_hours == {"P0": 1, "P1": 24, "P2": 72}
    assert (rules.cooldown_days, rules.baseline_days, routing.daily_capacity) == (14, 7, 20)


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            data = data[key]
        if value is None:
            del data[last]
        else:
            data[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("triggers.hot_pql.priority", "P9"), "'P0', 'P1' or 'P2'"),
        (_set("triggers.hot_pql.handoff_type", "a chat"), "'immediate outreach', 'sales call'"),
        (_set("triggers.hot_pql.rearm_below", 90), "expected at most score_above (80)"),
        (_set("triggers.hot_pql.why_now", "{score:.0f} points"), "expected {score} with nothing after the name"),
        (_set("cooldown_days", 9_999_999), "less than or equal to 3650"),
        (
            _set("triggers.hot_pql.why_now", "{perso} is hot"),
            "unknown field {perso}, expected one of active_users",
        ),
        (_set("triggers.hot_pql.why_now", "{person is hot"), "expected balanced braces"),
        (_set("triggers.hot_pql.why_now", " "), "expected a text"),
        (_set("triggers.hot_pql.title", "Hot\n## Lead"), "expected a heading of one line"),
        (_set("triggers.upgrade_intent.usage_tier", "huge"), "'low', 'medium' or 'high'"),
        (_set("triggers.hot_pql.treshold", 80), "Extra inputs are not permitted"),
        (_set("due_hours", {"P0": 1}), "expected hours for each of P0, P1, P2; missing: P1, P2"),
        (_set("package.approach.motion.sales-led", None), "missing: sales-led"),
        (_set("package.approach.next_step.pql", None), "missing: pql"),
        (
            _set("expansion_signals", ["logins"]),
            "'team_invites', 'limit_hits', 'seats_added' or 'upgrade_clicks'",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_what_was_expected(
    change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    data = packaged("handoffs.yml")
    change(data)
    with pytest.raises(ValidationError) as refusal:
        HandoffRules.model_validate(data)
    assert expected in str(refusal.value)


def test_routing_needs_a_team_for_every_handoff_type() -> None:
    data = packaged("routing.yml")
    del data["teams"]["sales call"]
    with pytest.raises(ValidationError, match="expected a team for each of immediate outreach.*missing: sales call"):
        RoutingRules.model_validate(data)


def test_a_team_that_nobody_can_be_in_is_refused() -> None:
    data = packaged("routing.yml")
    data["teams"]["sales call"]["team"] = "aee"
    with pytest.raises(ValidationError, match=r"sales call.team\n.*'ae', 'sdr', 'enterprise_sdr', 'csm' or 'sales'"):
        RoutingRules.model_validate(data)
