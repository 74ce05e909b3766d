"""The package in Markdown: seven headings, sections from data, and no markup from what users typed."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from handoff_frames import AS_OF, LATER, accounts, inputs, owners, playbook, scored, users
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dagster_project.core.escaping import EMAIL, LONGEST, markdown, plain
from dagster_project.core.handoff_plan import PAST_SCHEMA
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.wording import score_text

GOLDEN = Path(__file__).parent / "golden_handoff.md"
HEADINGS = ["Score:", "Key Signals", "User Journey", "Product Context", "Suggested Approach", "Contact"]


def ago(**how_long: int) -> datetime:
    return AS_OF - timedelta(**how_long)


def rendered(person: dict[str, Any], company: dict[str, Any] | None = None) -> str:
    team = owners(("o_7", "ae"), ("o_8", "sdr"), ("o_9", "sales"))
    plan = plan_handoffs(inputs(users(person), accounts(company or {}), team=team), playbook())
    assert len(plan.handoffs) == 1
    return plan.handoffs["package_markdown"][0]


def headings(text: str) -> list[str]:
    tokens = MarkdownIt("commonmark").parse(text)
    return [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]


def section(text: str, heading: str) -> list[str]:
    body = text.split(f"### {heading}\n")[1].split("\n### ")[0]
    return body.strip().splitlines()


EAGER: dict[str, Any] = {
    "pql_score": 95.3,
    "classification": "hot",
    "activation_stage": "pql",
    "contact_name": "Ann Lee",
    "contact_owner_id": "o_7",
    "pricing_visits": 4,
    "limit_hit": 2,
    "imports_failed": 1,
    "first_event_at": ago(days=41),
    "first_invite_at": ago(days=30),
    "first_integration_at": ago(days=22),
    "last_pricing_view_at": ago(days=1),
    "last_limit_hit_at": ago(days=2),
    "last_active_at": ago(minutes=20),
    "setup_steps": [{"step": "Workspace Created", "reached_at": ago(days=41)}],
    "setup_steps_done": ["Workspace Created"],
    "milestones": [
        {"name": "activated", "reached_at": ago(days=22)},
        {"name": "first_pql", "reached_at": ago(days=6)},
        {"name": "first_invite", "reached_at": ago(days=30)},
    ],
    "explanation": [
        scored("sessions_per_week", "6.5", "high", 10.0),
        scored("pricing_page_view", "7", "seen", 3.75),
        scored("team_invites", "0", "low", 1.5),
        scored("integrations", "2", "high", 7.5),
        scored("setup_share", "0.25", "low", 1.5),
        scored("api_key_generated", "1", "seen", 5.0),
        scored("fit_multiplier", "1.2", "mid-market", 12.0),
    ],
}


def test_a_whole_package_reads_like_the_golden_one() -> None:
    assert rendered(EAGER, {"active_users_30d": 6}) == GOLDEN.read_text(encoding="utf-8")


def test_the_headings_stand_in_their_order() -> None:
    first, *others = headings(rendered(EAGER))
    assert first == "🔥 Hot PQL Alert: Acme"
    assert [heading.split(" 95.3")[0] for heading in others] == HEADINGS
    assert others[0] == "Score: 95.3/100"


def test_key_signals_are_the_strongest_first() -> None:
    labels = re.findall(r"^- \*\*(.+?)\*\*", "\n".join(section(rendered(EAGER), "Key Signals")), re.MULTILINE)
    assert labels[:3] == ["Sessions per week", "Integrations connected", "Generated an API key"]


def test_numbers_are_those_that_were_published() -> None:
    told = rendered({**EAGER, "explanation": [scored("sessions_per_week", "8.65", "high", 10.0)]})
    assert "- **Sessions per week**: 8.65 (" in told


def test_facts_fill_up_when_the_score_explains_little() -> None:
    lonely: dict[str, Any] = {
        "account_id": None,
        "pql_score": 90.0,
        "segment": "mid-market",
        "explanation": [],
    }
    assert len(section(rendered(lonely), "Key Signals")) >= 3


def test_a_score_is_shown_without_a_needless_decimal() -> None:
    assert [score_text(score) for score in (95.3, 80.0, 100.0, 0.0)] == ["95.3", "80", "100", "0"]


def test_an_account_trigger_shows_the_accounts_score_and_its_best_user() -> None:
    text = rendered({"pql_score": 61.2}, {"active_users_30d": 6, "pqa_score": 71.0})
    assert headings(text)[:2] == ["Team Growth: Acme", "Score: 71/100"]
    assert "**Best user (PQL)**: 61.2/100 (Ann Lee" in text


def test_a_consumer_is_named_instead_of_a_company() -> None:
    alone = {
        "account_id": None,
        "contact_name": None,
        "user_name": " ",
        "email": "zoe@gmail.com",
        "contact_role": None,
    }
    text = rendered(alone | {"last_sales_request_at": ago(hours=1)})
    assert headings(text)[0] == "Sales Request: zoe@gmail.com"
    assert "**Role**" not in text
    assert "**Name**" not in text


def test_blockers_are_none_seen_when_there_are_none() -> None:
    done = {"pql_score": 90.0, "setup_steps_done": ["a", "b", "c", "d"]}
    assert "- **Blockers**: none seen" in section(rendered(done), "Product Context")


def test_an_unknown_use_case_names_the_features_it_is_built_on() -> None:
    text = rendered({"pql_score": 90.0, "features_used": ["search"]})
    assert "- **Use case**: not one we know; it is built on search" in text


def test_an_assumed_segment_says_what_to_look_up() -> None:
    unknown = {"segment": "smb", "motion": "self-serve", "segment_source": "unknown"}
    text = rendered({"pql_score": 90.0}, unknown | {"employee_count": None, "industry": None})
    assert "**Research first**: Look Acme up" in text
    assert "SDR research" in text


def test_what_held_when_scoring_began_has_no_date() -> None:
    became = {"milestones": [{"name": "first_pql", "reached_at": AS_OF}], "pql_score": 90.0}
    installed_now = replace(inputs(users(became)), scored_since=AS_OF)
    installed_before = replace(inputs(users(became)), scored_since=ago(days=30))
    texts = [
        plan_handoffs(given, playbook()).handoffs["package_markdown"][0] for given in (installed_now, installed_before)
    ]
    assert ["Became a product qualified lead" in text for text in texts] == [False, True]


@pytest.mark.parametrize("whose", ["person", "company"])
def test_who_pays_already_is_spoken_to_as_a_customer(whose: str) -> None:
    pays = {"is_customer": True}
    person = {"pql_score": 90.0, "activation_stage": "customer"} | (pays if whose == "person" else {})
    text = rendered(person, {"active_users_30d": 8} | (pays if whose == "company" else {}))
    approach = " ".join(section(text, "Suggested Approach"))
    assert "present plan keeps them from" in approach
    assert "As their account team" in approach
    assert not re.search(r"trial|demo|set-up session|checkout", approach)


def test_a_solved_ticket_is_not_asked_about_again() -> None:
    def told(*statuses: str) -> str:
        tickets = [{"created_at": ago(hours=30 - n), "status": status} for n, status in enumerate(statuses)]
        return rendered({"last_limit_contact_at": tickets[-1]["created_at"], "limit_tickets": tickets})

    waiting, solved = told("solved", "Open"), told("open", " Solved")
    assert "1 open ticket about limits" in waiting
    assert "Asked support about limits (latest)" in waiting
    assert "**Angle**: Answer the limit first" in waiting
    assert "Asked support about limits (latest, solved)" in solved
    assert "**Angle**: Support has solved the ticket" in solved
    assert "**Next step**: Answer" in waiting and "**Next step**: Answer" not in solved
    both_solved = told("solved", "solved")
    assert "ticket about limits" not in both_solved


@pytest.mark.parametrize(
    ("was", "company_was", "by_now", "company_by_now", "says"),
    [
        ({"pql_score": 90.0}, {}, {"pql_score": 28.8}, {}, "above the hot line on"),
        ({"pricing_visits": 3}, {}, {"pricing_visits": 0}, {}, "looked at pricing in"),
        (
            {"last_upgrade_click_at": ago(hours=3), "usage_tier": "high"},
            {},
            {"last_upgrade_click_at": ago(hours=3), "usage_tier": "low"},
            {},
            "uses the product heavily",
        ),
        ({}, {"active_users_30d": 6}, {}, {"active_users_30d": 1}, "has become a team"),
    ],
)
def test_what_had_to_wait_and_is_over_by_now_is_not_told_as_if_it_stood(
    was: dict[str, Any], company_was: dict[str, Any], by_now: dict[str, Any], company_by_now: dict[str, Any], says: str
) -> None:
    def sent(person: dict[str, Any], company: dict[str, Any]) -> str:
        held = plan_handoffs(inputs(users(was), accounts(company_was), hold="too old"), playbook())
        assert held.handoffs.is_empty()
        later = inputs(users(person), accounts(company), after=held, as_of=LATER)
        return str(plan_handoffs(later, playbook()).handoffs["package_markdown"][0])

    stands, over = sent(was, company_was), sent(by_now, company_by_now)
    assert says in stands and says not in over
    assert "holds no more: read the signals above" in over and "holds no more" not in stands
    assert "1 active users" not in over


def test_of_what_waited_what_holds_still_is_why_they_are_called() -> None:
    held = plan_handoffs(inputs(users({"pql_score": 91.0}), hold="too old"), playbook())
    clicks = {"pql_score": 60.0, "last_upgrade_click_at": LATER - timedelta(hours=1), "usage_tier": "high"}
    text = plan_handoffs(inputs(users(clicks), after=held, as_of=LATER), playbook()).handoffs["package_markdown"][0]
    assert "Hot PQL Alert" in text and "holds no more" not in text
    assert f"clicked upgrade on {LATER - timedelta(hours=1):%Y-%m-%d} and uses the product heavily" in text
    assert "**Angle**: Call about the upgrade" in text


@pytest.mark.parametrize(("name", "is_colleague"), [("Ann Lee", False), (None, False), ("Bob May", True)])
def test_who_has_two_ids_is_no_colleague_of_their_own(name: str | None, is_colleague: bool) -> None:
    asks = {"last_sales_request_at": ago(hours=2)}
    twice = users(
        asks, asks | {"user_id": "u_2", "user_name": name, "pql_score": 1.0, "last_sales_request_at": ago(hours=1)}
    )
    [text] = plan_handoffs(inputs(twice), playbook()).handoffs["package_markdown"]
    assert ("**Also**" in text) == is_colleague


def test_a_customer_of_unknown_size_is_not_researched() -> None:
    unknown = {"segment": "smb", "motion": "self-serve", "segment_source": "unknown", "is_customer": True}
    text = rendered({"pql_score": 90.0, "activation_stage": "customer"}, unknown | {"active_users_30d": 8})
    assert "SDR research" in text and "Research first" not in text
    assert "As their account team" in text


def test_a_request_in_the_product_after_a_solved_ticket_is_open() -> None:
    tickets = [{"created_at": ago(days=3), "status": "solved"}]
    text = rendered({"last_limit_contact_at": ago(hours=1), "limit_tickets": tickets})
    assert "**Angle**: Answer the limit first" in text


def test_a_long_journey_keeps_how_it_began_and_what_came_last() -> None:
    steps = [{"step": f"Step {n}", "reached_at": ago(days=40 - n)} for n in range(30)]
    journey = section(rendered({"pql_score": 90.0, "setup_steps": steps}), "User Journey")
    assert len(journey) == playbook().handoffs.package.journey_entries
    assert "First seen in the product" in journey[0]
    assert any(line.endswith("steps more") for line in journey)
    assert "PQL score seen above the hot line" in journey[-1]


NULLABLE = [
    "contact_name",
    "user_name",
    "email",
    "contact_role",
    "contact_department",
    "last_active_at",
    "first_event_at",
    "features_used",
    "setup_steps",
    "setup_steps_done",
    "setup_steps_total",
    "milestones",
    "explanation",
    "imports_failed",
    "limit_tickets",
    "limit_hit",
    "actions",
    "sessions",
]


@given(st.sets(st.sampled_from(NULLABLE)), st.booleans())
def test_what_is_unknown_is_left_out(unknown: set[str], alone: bool) -> None:
    nameless = {"name": None, "domain": None, "employee_count": None, "industry": None, "quadrant": None}
    person = {"pql_score": 90.0} | dict.fromkeys(unknown) | ({"account_id": None} if alone else {})
    text = rendered(person, nameless)
    assert not re.search(r"\b(None|null|nan|NaT)\b|[{}]", text)
    assert all(section(text, heading) for heading in HEADINGS[1:] if heading != "User Journey")
    assert len(headings(text)) == 7


NASTY = st.text(min_size=1) | st.lists(
    st.sampled_from(
        [
            "[a](http://x.io)",
            "![i](y)",
            "<b>",
            "<!--",
            "&lt;",
            "#",
            "\n",
            "\r",
            "\u2028",
            "**",
            "_",
            "`",
            "~~~",
            "|",
        ]
        + [
            "http://x.io",
            "www.x.io",
            "@here",
            "<@U1>",
            "<!channel>",
            "mailto:a@b.co",
            "- ",
            "1. ",
            "===",
            "\\",
            "](",
        ]
        + ["a@b.co", "{person}", "   ", "\u202e", "[x]: /u", "---", "    code", "\t"]
    ),
    min_size=1,
    max_size=6,
).map("".join)


@given(NASTY, NASTY, NASTY)
@example("<ép", "##@herewww.x.io", "Am")
@example("[x](http://evil.io)", "# Owned\n## Again", "<script>alert(1)</script>")
@example("<!channel> @here", "http://evil.io www.evil.io", "&lt;b&gt;")
def test_names_that_users_typed_stay_text(name: str, company: str, feature: str) -> None:
    person = {"contact_name": name, "user_name": name, "contact_role": feature, "features_used": [feature]}
    text = rendered(person | {"pql_score": 90.0}, {"name": company, "industry": feature})
    tokens = MarkdownIt("commonmark").parse(text)
    inline = [child.type for token in tokens for child in token.children or ()]
    assert len(headings(text)) == 7
    assert not {"link_open", "image", "html_inline", "code_inline", "em_open", "hardbreak"} & set(inline)
    assert not {"html_block", "fence", "code_block", "hr", "blockquote_open", "table_open"} & {t.type for t in tokens}
    assert not re.search(r"(?<!\\):\/\/|\bwww\.|(?<!\w)@(here|channel)|<[!@]", text.replace("\\<", ""))
    assert all(line.startswith(("#", "- **")) for line in text.splitlines() if line)


@given(NASTY)
def test_escaped_text_reads_as_it_was_typed(text: str) -> None:
    shown = "".join(
        child.content
        for token in MarkdownIt("commonmark").parse("x " + markdown(text))
        for child in token.children or ()
    )
    assert shown.replace("@\u2060", "@").removeprefix("x").strip() == plain(text)
    assert len(plain(text)) <= LONGEST


def test_an_address_can_be_copied_alone_and_from_a_sentence() -> None:
    assert markdown("ann_b.lee+x@acme.com") == "ann_b.lee+x@acme.com"
    nameless = {"contact_name": None, "user_name": None, "pql_score": 90.0}
    text = rendered(nameless)
    assert "**Why now**: ann@acme.com was seen above the hot line" in text
    assert "\u2060" not in text
    assert markdown("ask @here or bo@acme.com") == "ask @\u2060here or bo@acme.com"
    assert EMAIL.fullmatch("ann@here") is None
    assert plain(None) == ""


def test_a_person_of_several_is_told_by_name() -> None:
    others = [
        {"user_id": f"u_{number}", "user_name": "Bo Ray", "email": email, "pricing_visits": 3}
        for number, email in ((2, "bo@acme.com"), (3, None))
    ]
    text = plan_handoffs(inputs(users({"pql_score": 90.0}, *others)), playbook()).handoffs["package_markdown"][0]
    told = "Bo Ray, bo@acme.com: Pricing Interest (2026-05-02); Bo Ray: Pricing Interest (2026-05-02)"
    assert f"- **Also**: {told}" in text


def test_whoever_asked_is_named_before_a_colleague_who_is_hotter() -> None:
    asked = {"user_id": "u_2", "user_name": "Bo Ray", "email": "bo@acme.com", "last_sales_request_at": AS_OF}
    plan = plan_handoffs(inputs(users({"pql_score": 90.0}, asked)), playbook())
    assert plan.handoffs.select("trigger", "user_id", "triggers").rows() == [
        ("hand_raise", "u_2", ["hand_raise", "hot_pql"])
    ]
    text = plan.handoffs["package_markdown"][0]
    assert "They are expecting you" in text
    assert "- **Next step**: Reply to Bo Ray within the due time" in text
    assert "- **Also**: Ann Lee, ann@acme.com: Hot PQL Alert (2026-05-02)" in text


def test_who_has_a_handoff_of_theirs_already_is_named() -> None:
    before = {
        "account_id": "a_1", "user_id": "u_2", "triggers": ["pricing_visits"], "priority": "P2",
        "classification": "warm", "recipient_id": "o_8", "created_at": ago(days=2), "status": "claimed",
    }  # fmt: skip
    team = owners(("o_7", "ae"), ("o_8", "sdr"))

    def text(**changed: Any) -> str:
        past = pl.DataFrame([before | changed], schema=PAST_SCHEMA, orient="row")
        known = replace(inputs(users({"pql_score": 90.0}), team=team), past=past)
        return plan_handoffs(known, playbook()).handoffs["package_markdown"][0]

    assert "- **Also with**: Rep o_8, since 2026-04-30 (claimed)" in text()
    assert "Also with" not in text(status="closed")
    assert "Also with" not in text(recipient_id="o_7")
    assert "Also with" not in text(account_id="acc_9")
