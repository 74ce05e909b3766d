"""What marketing has to know of handoffs: whose nurture is paused, and who is in an audience of self-serve."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
from handoff_frames import AS_OF, EVERY_TEAM, HOT, LATER, SMALL, accounts, inputs, past, planned, users

from dagster_project.core.follow_ups import OVERLAP_SCHEMA, SalesAnswer, pause_key
from dagster_project.core.handoff_plan import HandoffPlan

# --- whose nurture is paused ------------------------------------------------------------------------


def test_a_handoff_to_an_mql_pauses_nurture_and_tells_marketing() -> None:
    plan = planned(inputs(users(HOT | {"contact_lifecycle_stage": "MarketingQualifiedLead"})))
    [pause] = [action for action in plan.actions if action.kind == "set_field"]
    assert (pause.object_id, pause.payload) == ("c_1", {"fields": {"pause_nurture": True}})
    assert plan.notices.select("topic", "recipient_id", "text").row(0) == (
        "marketing",
        "marketing",
        "Sales has taken over Ann Lee (Acme), an MQL: nurture is paused.",
    )
    assert plan.overlaps.select("status", "contact_id", "lifecycle_stage").row(0) == (
        "with_sales",
        "c_1",
        "MarketingQualifiedLead",
    )
    assert planned(inputs(users(HOT))).overlaps.is_empty()


def overlap(handoff_id: str, contact_id: str = "c_1") -> dict[str, Any]:
    at = AS_OF - timedelta(days=1)
    whose = {"contact_id": contact_id, "user_id": "u_1", "account_id": "a_1", "email": "ann@acme.com"}
    ended = {"recycled_at": None, "recycled_reason": None}
    return {
        "handoff_id": handoff_id,
        **whose,
        "lifecycle_stage": "MQL",
        "status": "with_sales",
        "paused_at": at,
    } | ended


def nurtured(*ids: str, no: tuple[str, ...] = (), unsent: tuple[str, ...] = (), **whoever: Any) -> HandoffPlan:
    """The plan of a run that finds these handoffs with sales, and sales having said no or nothing having been sent."""
    answers = {handoff_id: SalesAnswer(handoff_id, True, "not a fit", AS_OF) for handoff_id in no}
    answers |= {handoff_id: SalesAnswer(handoff_id, False, "it was not sent", AS_OF) for handoff_id in unsent}
    overlaps = pl.DataFrame([overlap(handoff_id) for handoff_id in ids], schema=OVERLAP_SCHEMA, orient="row")
    return planned(inputs(users(whoever)), overlaps=overlaps, answers=answers)


def pauses(plan: HandoffPlan) -> list[bool]:
    return [action.payload["fields"]["pause_nurture"] for action in plan.actions if action.kind == "set_field"]


def test_nurture_goes_on_with_the_last_answer_and_marketing_hears_of_it_once() -> None:
    one, both = nurtured("ho_1", "ho_2", no=("ho_1",)), nurtured("ho_1", "ho_2", no=("ho_1", "ho_2"))
    assert (pauses(one), one.notices.height) == ([], 0)
    assert one.overlaps.select("handoff_id", "status").rows() == [("ho_1", "recycled")]
    assert (pauses(both), both.notices.height) == ([False], 1)
    assert both.overlaps["status"].to_list() == ["recycled", "recycled"]
    assert pauses(nurtured("ho_2", no=("ho_2",))) == [False]


def test_nurture_stays_paused_for_what_is_handed_over_while_sales_says_no() -> None:
    plan = nurtured("ho_1", no=("ho_1",), contact_lifecycle_stage="MQL", **HOT)
    assert pauses(plan) == [True]
    assert set(plan.overlaps["status"]) == {"recycled", "with_sales"}
    assert plan.notices.is_empty(), "sales has had them all the time"


def test_whom_nobody_may_write_to_stays_out_of_nurture_whatever_else_sales_says() -> None:
    assert pauses(nurtured("ho_1", "ho_2", no=("ho_1",), unsent=("ho_2",))) == []


def test_what_is_handed_over_while_nurture_is_paused_is_one_more_reason_for_it() -> None:
    """Sales has somebody, and the CRM calls them its own by now, no MQL."""
    plan = nurtured("ho_1", contact_lifecycle_stage="sql", **HOT)
    assert plan.overlaps.select("status", "contact_id", "lifecycle_stage").rows() == [("with_sales", "c_1", "sql")]
    assert (pauses(plan), plan.notices.height) == ([], 0)
    [new] = plan.overlaps["handoff_id"]
    both = nurtured("ho_1", new, no=("ho_1",))
    assert pauses(both) == []
    unsaid = nurtured("ho_1", contact_lifecycle_stage=None, **HOT)
    assert unsaid.overlaps["lifecycle_stage"].to_list() == ["unknown"], "the ledger takes no empty stage"


def test_what_was_given_back_and_taken_up_after_all_is_with_sales_again() -> None:
    row = overlap("ho_1") | {"status": "recycled", "recycled_at": AS_OF, "recycled_reason": "not a fit"}
    overlaps = pl.DataFrame([row], schema=OVERLAP_SCHEMA, orient="row")
    plan = planned(inputs(users({})), overlaps=overlaps)
    assert plan.overlaps.select("status", "paused_at", "recycled_at").rows() == [("with_sales", AS_OF, None)]
    assert (pauses(plan), plan.notices.height) == ([True], 1)


def test_of_whom_nurture_goes_on_for_it_is_asked_once_more_whether_they_may_be_written_to() -> None:
    [resume] = nurtured("ho_1", no=("ho_1",)).actions
    assert resume.key != pause_key("ho_1"), "what has been done under a key is not done again"
    assert resume.payload == {"fields": {"pause_nurture": False}, "user_id": "u_1"}


def test_marketing_hears_of_people_by_their_names_and_of_who_is_gone_by_what_is_left() -> None:
    def given_back(**changed: Any) -> list[str]:
        overlaps = pl.DataFrame([overlap("ho_1") | changed], schema=OVERLAP_SCHEMA, orient="row")
        answers = {"ho_1": SalesAnswer("ho_1", True, "not a fit", AS_OF)}
        return planned(inputs(users({})), overlaps=overlaps, answers=answers).notices["text"].to_list()

    gone = {"user_id": "u_9", "account_id": "a_9"}
    assert given_back() == ["Sales gave Ann Lee (Acme) back to nurture: not a fit."]
    assert given_back(**gone) == ["Sales gave ann@acme.com (a_9) back to nurture: not a fit."]
    unknown = gone | {"account_id": None, "email": None}
    assert given_back(**unknown) == ["Sales gave u_9 (no company) back to nurture: not a fit."]
    [shortened] = given_back(**gone | {"email": f"{'a' * 500}@acme.com"})
    assert len(shortened) < 300


def test_who_is_given_back_a_second_time_is_another_word_to_marketing() -> None:
    def given_back(at: datetime) -> str:
        overlaps = pl.DataFrame([overlap("ho_1")], schema=OVERLAP_SCHEMA, orient="row")
        answers = {"ho_1": SalesAnswer("ho_1", True, "not a fit", at)}
        return planned(inputs(users({})), overlaps=overlaps, answers=answers).notices["notice_id"].item()

    assert given_back(AS_OF) == given_back(AS_OF) != given_back(LATER), "the ledger keeps a word once"


# --- audiences of self-serve ------------------------------------------------------------------------


def test_users_who_share_a_contact_are_one_in_its_fields() -> None:
    both = users(HOT | {"activation_stage": "pql"}, HOT | {"user_id": "u_2"})
    first = planned(inputs(both, accounts(SMALL)))
    assert first.members.height == 2
    [told] = first.actions
    one_of_them = first.members.sort("joined_at", "member_id")["next_step"][-1]
    assert told.payload["fields"]["pls_next_step"] == one_of_them
    left = users(HOT | {"is_unsubscribed": True}, HOT | {"user_id": "u_2"})
    second = planned(inputs(left, accounts(SMALL), after=first, as_of=LATER), members=first.members)
    assert second.members.filter(pl.col("left_at").is_not_null())["user_id"].to_list() == ["u_1"]
    assert [action.payload["fields"]["pls_next_step"] for action in second.actions] == ["invite the team"]


def test_who_shops_in_self_serve_is_in_an_audience_until_they_leave_it() -> None:
    company = accounts(SMALL)
    first = planned(inputs(users(HOT), company))
    assert first.members.select("user_id", "playbook", "next_step").row(0) == (
        "u_1",
        "in-app upgrade prompts",
        "invite the team",
    )
    assert [action.payload["fields"] for action in first.actions] == [
        {"pls_playbook": "in-app upgrade prompts", "pls_next_step": "invite the team"}
    ]
    same = planned(inputs(users(HOT), company, after=first, as_of=LATER), members=first.members)
    assert (same.members.height, same.actions) == (0, ())
    moved = users(HOT | {"activation_stage": "pql"})
    on = planned(inputs(moved, company, after=first, as_of=LATER), members=first.members)
    assert [action.payload["fields"]["pls_next_step"] for action in on.actions] == ["choose a plan"]
    gone = planned(
        inputs(users(HOT | {"is_unsubscribed": True}), company, after=first, as_of=LATER), members=first.members
    )
    assert gone.members["left_at"].to_list() == [LATER]
    assert gone.actions[0].payload["fields"] == {"pls_playbook": "none", "pls_next_step": "none"}
    month = AS_OF + timedelta(days=30)
    expired = planned(inputs(users(HOT), company, after=first, as_of=month), members=first.members)
    assert expired.members["left_at"].to_list() == [month]


def test_who_asks_for_a_person_leaves_the_audience_with_the_handoff() -> None:
    first = planned(inputs(users(HOT), accounts(SMALL)))
    asked = users(HOT | {"last_sales_request_at": LATER})
    plan = planned(inputs(asked, accounts(SMALL), after=first, as_of=LATER), members=first.members)
    assert plan.handoffs["triggers"].to_list() == [["hand_raise"]]
    assert plan.members["left_at"].to_list() == [LATER]


def test_automated_and_human_is_both() -> None:
    plan = planned(inputs(users({"pricing_visits": 3})))
    assert plan.handoffs["handoff_type"].to_list() == ["automated and human"]
    assert plan.members["playbook"].to_list() == ["automated e-mail sequences"]


def test_nobody_who_must_not_be_contacted_is_in_an_audience() -> None:
    people = users(HOT | {"email_opt_out": True}, {"user_id": "u_2", "pql_score": 85.0})
    plan = planned(inputs(people, accounts(SMALL), team=EVERY_TEAM))
    assert plan.members["user_id"].to_list() == ["u_2"]


def test_no_automation_writes_to_somebody_whom_a_seller_has() -> None:
    ago = {"created_at": AS_OF - timedelta(days=1)}
    members = {
        status: planned(inputs(users(HOT), accounts(SMALL), handed_over=past(ago | {"status": status}))).members.height
        for status in ("delivered", "claimed", "not_a_fit", "closed")
    }
    assert members == {"delivered": 0, "claimed": 0, "not_a_fit": 1, "closed": 1}


def test_members_follow_their_contact_and_leave_an_audience_that_is_no_more() -> None:
    company = accounts(SMALL)
    first = planned(inputs(users(HOT), company))

    def later(person: dict[str, Any], changed: dict[str, Any] | None = None, **more: Any) -> HandoffPlan:
        members = first.members.with_columns(**{name: pl.lit(value) for name, value in (changed or {}).items()})
        return planned(inputs(users(HOT | person), company, after=first, as_of=LATER), members=members, **more)

    moved = later({"contact_id": "c_new"})
    assert moved.members.select("contact_id", "left_at").rows() == [("c_new", None)]
    assert [action.object_id for action in moved.actions] == ["c_new"]
    unknown = later({}, {"playbook": "no automation"})
    assert unknown.members["left_at"].to_list() == [LATER]
    excluded = later({}, excluded={"u_1": "competitor"})
    assert excluded.members["left_at"].to_list() == [LATER]
    deleted = later({"contact_deleted": True})
    assert (deleted.members["left_at"].to_list(), deleted.actions) == ([LATER], ())
