"""What a changed playbook would do: who moves and why, alerts of a week and of the first day, limits."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import handoff_frames
import polars as pl
import pytest
import scoring_frames as frames
from scoring_frames import PLAYBOOK

from dagster_project.core.calibration.intervals import Interval
from dagster_project.core.calibration_rules import Limits
from dagster_project.core.handoff_plan import HandoffInputs
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.planning.alerts import Alerts, in_a_week, on_the_first_day
from dagster_project.core.planning.moves import Moves, moves
from dagster_project.core.planning.plan import BackTest, Plan, not_shown, passed_limits, sections
from dagster_project.core.playbook import Playbook
from dagster_project.core.pql import score_users
from dagster_project.core.scoring_rules import ScoringRules
from dagster_project.core.triggers import conditions

NOBODY = Moves(subjects=10, moved=0, classes=[], top=[], segments=[])
QUIET = Alerts({}, {})


def changed(**changes: dict[str, object]) -> Playbook:
    """The packaged playbook with other keys in parts of `scoring.yml`."""
    scoring = PLAYBOOK.scoring.model_dump(by_alias=True)
    for part, values in changes.items():
        scoring[part] = scoring[part] | values
    return replace(PLAYBOOK, scoring=ScoringRules.model_validate(scoring))


def scored(playbook: Playbook, *people: dict[str, object]) -> pl.DataFrame:
    fit = pl.lit("smb")
    return score_users(frames.users(*people).with_columns(fit_tier=fit, segment=fit), playbook.scoring)


def compared(proposed: Playbook, *people: dict[str, object], most: int = 10) -> Moves:
    return moves(
        scored(PLAYBOOK, *people), scored(proposed, *people), key="user_id", name="email", score="pql_score", most=most
    )


BUSY = {"sessions_per_week": 7.0, "features_used": ["a", "b", "c", "d", "e"], "minutes_per_week": 40.0, "actions": 20}
KEEN = {"upgrade_click": 1, "plan_comparison": 1, "limit_support_contact": 1, "pricing_page_view": 1}
ALL_INTENT = changed(pql=PLAYBOOK.scoring.pql.model_dump() | {"weights": {"usage": 0, "engagement": 0, "intent": 1}})


def test_the_same_playbook_moves_nobody():
    found = compared(PLAYBOOK, BUSY, KEEN, {})
    assert (found.subjects, found.moved, found.top) == (3, 0, [])
    assert all(before == after and not enter and not leave for _, before, after, enter, leave in found.classes)


def test_who_enters_and_leaves_each_class_adds_up():
    found = compared(ALL_INTENT, BUSY, KEEN, {})
    assert all(after == before + enter - leave for _, before, after, enter, leave in found.classes)
    assert sum(enter for *_, enter, _ in found.classes) == found.moved > 0


def test_a_mover_is_named_with_what_changes_the_score():
    [mover] = compared(ALL_INTENT, {**KEEN, "email": "ann@acme.com"}).top
    assert mover.name == "ann@acme.com"
    assert mover.after > mover.before
    assert mover.reason.startswith("upgrade_click 6.2 -> 20.8, limit_support_contact 6.2 -> 20.8")


def test_without_a_changed_score_it_is_the_bound_that_moves_people():
    lower = changed(classes={"developing": {"from": 20, "action": "nurture"}})
    [mover] = compared(lower, KEEN).top
    assert (mover.before, mover.reason) == (mover.after, "the class begins elsewhere")


def test_only_so_many_are_named():
    assert len(compared(ALL_INTENT, *[KEEN] * 5, most=2).top) == 2


def test_a_move_of_the_segment_is_told():
    before = scored(PLAYBOOK, BUSY)
    found = moves(
        before,
        before.with_columns(segment=pl.lit("enterprise")),
        key="user_id",
        name="email",
        score="pql_score",
        most=1,
    )
    assert found.segments == [("smb", "enterprise", 1)]


# --- alerts ----------------------------------------------------------------------------------------


def planned(*people: dict[str, object], **more: Any) -> HandoffInputs:
    return handoff_frames.inputs(handoff_frames.users(*people), **more)


def week(inputs: HandoffInputs, then: dict[str, float] | None, playbook: Playbook = PLAYBOOK) -> Alerts:
    known = None if then is None else pl.DataFrame({"user_id": list(then), "score": list(then.values())})
    return in_a_week(inputs, known, playbook)


def test_who_rose_above_the_line_in_the_week_is_an_alert_of_the_week():
    hot = planned({"pql_score": 90.0, "classification": "hot"})
    assert week(hot, {"u_1": 60.0}).sent == 1
    assert week(hot, {}).sent == 1
    assert week(hot, {"u_1": 85.0}).sent == 0
    assert week(hot, {"u_1": 80.0}).sent == 1, "80 is not above the line"
    assert week(hot, None).sent == 0


@pytest.mark.parametrize(("ago", "alerts"), [(1, 1), (7, 0), (8, 0)])
def test_an_event_counts_in_the_week_in_which_it_happened(ago, alerts):
    asked = {"last_sales_request_at": handoff_frames.AS_OF - timedelta(days=ago), "pql_score": 10.0}
    assert week(planned(asked), {}).sent == alerts


def test_a_lower_line_means_alerts_on_the_first_day_and_not_every_week():
    trigger = PLAYBOOK.handoffs.triggers.hot_pql.model_copy(update={"score_above": 50.0, "rearm_below": 45.0})
    triggers = PLAYBOOK.handoffs.triggers.model_copy(update={"hot_pql": trigger})
    lower = replace(PLAYBOOK, handoffs=PLAYBOOK.handoffs.model_copy(update={"triggers": triggers}))
    inputs = planned({"pql_score": 60.0, "classification": "warm"})
    assert on_the_first_day(inputs, PLAYBOOK).sent == 0
    assert on_the_first_day(inputs, lower).sent == 1
    assert week(inputs, {"u_1": 60.0}, lower).sent == 0


def test_a_person_has_room_for_seven_days_of_alerts():
    people = [
        {"user_id": f"u_{n}", "account_id": f"a_{n}", "pql_score": 90.0, "classification": "hot", "owner_id": None}
        for n in range(30)
    ]
    companies = handoff_frames.accounts(*({"account_id": f"a_{n}", "owner_id": None} for n in range(30)))
    inputs = handoff_frames.inputs(handoff_frames.users(*people), companies)
    two = PLAYBOOK.routing.model_copy(update={"daily_capacity": 2})
    found = week(inputs, {}, replace(PLAYBOOK, routing=two))
    assert (found.sent, found.without_room) == (14, 16)


@pytest.mark.parametrize(("ago", "alerts"), [(1, 1), (7, 0), (8, 0)])
def test_a_level_counts_when_the_ledger_says_that_it_fired_in_the_week(ago, alerts):
    visits = {"pricing_visits": 3, "pql_score": 10.0}
    fired_at = handoff_frames.AS_OF - timedelta(days=ago)
    states = on_states(planned(visits, as_of=fired_at))
    assert week(replace(planned(visits), states=states), {}).sent == alerts


def test_a_level_of_which_nobody_knows_since_when_it_stands_is_no_alert_of_the_week():
    visits = {"pricing_visits": 3, "pql_score": 10.0}
    assert on_the_first_day(planned(visits), PLAYBOOK).sent == 1
    assert week(planned(visits), {}).sent == 0


@pytest.mark.parametrize(("ago", "alerts"), [(3, 1), (7, 0), (10, 0)])
def test_a_week_is_cooled_down_by_what_was_before_it_and_not_by_what_it_plans_again(ago, alerts):
    before = handoff_frames.past({"created_at": handoff_frames.AS_OF - timedelta(days=ago)})
    hot = planned(handoff_frames.HOT, handed_over=before)
    assert week(hot, {"u_1": 60.0}).sent == alerts


def test_what_waits_already_is_no_alert_of_the_week():
    """It comes on the first day; a week like the last has none that wait from before."""
    waiting = plan_handoffs(planned(handoff_frames.HOT, hold="stale"), PLAYBOOK)
    later = planned(handoff_frames.HOT, after=waiting, as_of=handoff_frames.LATER)
    assert on_the_first_day(later, PLAYBOOK).sent == 1
    assert week(later, {"u_1": 85.0}).sent == 0


def test_a_week_has_no_first_run_whose_standing_conditions_are_held_back():
    hot = planned(handoff_frames.HOT)
    first = replace(hot, baseline=conditions(hot.users, hot.accounts, PLAYBOOK), baseline_at=hot.as_of)
    assert on_the_first_day(first, PLAYBOOK).sent == 0
    assert week(first, {"u_1": 60.0}).sent == 1


def on_states(inputs: HandoffInputs) -> pl.DataFrame:
    """What the ledger keeps after a run on these inputs."""
    return plan_handoffs(inputs, PLAYBOOK).states


# --- limits ----------------------------------------------------------------------------------------


def plan(**changes: object) -> Plan:
    made = Plan(
        users=NOBODY,
        accounts=NOBODY,
        first_day=(QUIET, QUIET),
        week=(QUIET, QUIET),
        back_test=None,
        untold=[],
        names={"o_1": "Ann"},
    )
    return replace(made, **changes)


STRICT = Limits(alerts_per_recipient_per_week=5, capacity_breaches=0, share_of_users_moved=0.1, backtest_loss=0.01)
WORSE = BackTest(Interval(0.7, 0.6, 0.8), Interval(0.6, 0.5, 0.7), Interval(-0.1, -0.15, -0.05), 500, 40)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (plan(week=(QUIET, Alerts({"o_1": 6}, {}))), "alerts_per_recipient_per_week: Ann gets 6 a week, at most 5"),
        (plan(week=(QUIET, Alerts({}, {}, without_room=3))), "capacity_breaches: nobody has room for 3 of a week's"),
        (
            plan(users=replace(NOBODY, moved=2)),
            "share_of_users_moved: 20.0% of users change their class, at most 10.0%",
        ),
        (plan(back_test=WORSE), "backtest_loss: the AUC falls by 0.100, at most 0.01"),
    ],
)
def test_a_passed_limit_is_named_with_what_passes_it(made, said):
    [passed] = passed_limits(made, STRICT)
    assert passed.startswith(said)
    assert passed_limits(made, Limits()) == []
    assert "1 of the limits" in sections(made, STRICT)[0].text


def test_within_all_limits_nothing_is_said_against_it():
    assert passed_limits(plan(week=(QUIET, Alerts({"o_1": 5}, {"sent": 5}))), STRICT) == []


def test_what_only_a_run_measures_is_named():
    assert not_shown(PLAYBOOK, PLAYBOOK) == []
    shorter = changed(measurement={"window_days": 14})
    other = replace(shorter, identity=PLAYBOOK.identity.model_copy(update={"free_mail": frozenset()}))
    assert [line.partition(" ")[0] for line in not_shown(PLAYBOOK, other)] == ["scoring.yml:", "identity.yml"]
    [said] = not_shown(PLAYBOOK, replace(PLAYBOOK, automation=PLAYBOOK.automation.switched_off()))
    assert said.startswith("automation.yml has changed: what its rules do beside handoffs")
