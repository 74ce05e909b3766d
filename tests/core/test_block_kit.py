"""The package in Block Kit: what Slack's own models accept, whatever people typed, in the order of the Markdown."""

import json
from typing import Any

from handoff_frames import accounts as companies
from handoff_frames import inputs, playbook, users
from hypothesis import given
from slack_sdk.models.blocks import Block, RichTextListElement
from test_rendering import EAGER, HEADINGS, NASTY, NULLABLE, st

from dagster_project.core.block_kit import HEADER_LENGTH, SECTION_LENGTH
from dagster_project.core.handoffs import plan_handoffs

MOST_BLOCKS = 50
MOST_CHARACTERS = 12_000


def blocks(person: dict[str, Any], company: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    plan = plan_handoffs(inputs(users(person), companies(company or {})), playbook())
    return json.loads(plan.handoffs["package_blocks"][0])


def texts(found: Any) -> list[str]:
    """Every text below, in its order."""
    if isinstance(found, dict):
        own = [found["text"]] if isinstance(found.get("text"), str) else []
        return own + [text for key, value in found.items() if key != "text" or not own for text in texts(value)]
    return [text for item in found for text in texts(item)] if isinstance(found, list) else []


def kinds(found: Any) -> set[str]:
    if isinstance(found, dict):
        own = {found["type"]} if "type" in found else set()
        return own.union(*(kinds(value) for value in found.values()))
    return set().union(*map(kinds, found)) if isinstance(found, list) else set()


def check(found: list[dict[str, Any]]) -> None:
    """What Slack's models check, and what only Slack's documentation says."""
    for parsed, block in zip(Block.parse_all(found), found, strict=True):
        assert parsed is not None
        parsed.validate_json()
        assert parsed.to_dict() == block
        for part in getattr(parsed, "elements", None) or []:
            part.validate_json()
            if isinstance(part, RichTextListElement):
                assert part.elements
    assert len(found) <= MOST_BLOCKS
    assert len(found[0]["text"]["text"]) <= HEADER_LENGTH
    assert all(text and "\n" not in text for text in texts(found))
    assert all(sum(map(len, texts(block))) <= SECTION_LENGTH + 100 for block in found)
    assert sum(map(len, texts(found))) <= MOST_CHARACTERS


def test_the_headings_stand_in_the_order_of_the_markdown() -> None:
    found = blocks(EAGER)
    assert found[0]["text"]["text"] == "🔥 Hot PQL Alert: Acme"
    headings = [block["elements"][0]["elements"][0]["text"] for block in found[1:]]
    assert [heading.split(" 95.3")[0] for heading in headings] == HEADINGS
    assert headings[0] == "Score: 95.3/100"


def test_it_says_what_the_markdown_says() -> None:
    lines = texts(blocks(EAGER))
    assert ": Ann Lee was seen above the hot line on 2026-05-02; the PQL score is now 95.3." in lines
    assert "Sessions per week" in lines
    assert ": ann@acme.com" in lines


@given(NASTY, NASTY, NASTY)
def test_what_people_typed_is_text_in_elements_that_know_no_markup(name: str, company: str, feature: str) -> None:
    person = {"contact_name": name, "user_name": name, "contact_role": feature, "features_used": [feature] * 40}
    found = blocks(person | {"pql_score": 90.0}, {"name": company, "industry": feature})
    check(found)
    assert kinds(found) == {"header", "plain_text", "rich_text", "rich_text_section", "rich_text_list", "text"}


@given(st.sets(st.sampled_from(NULLABLE)), st.text("x@<*_", min_size=150, max_size=400))
def test_it_fits_whatever_is_unknown_or_long(unknown: set[str], long: str) -> None:
    many_steps = [{"step": f"{long} {n}", "reached_at": EAGER["first_event_at"]} for n in range(60)]
    person: dict[str, Any] = {
        "pql_score": 90.0,
        "contact_name": long,
        "features_used": [f"{long}{n}" for n in range(60)],
    }
    check(blocks(person | {"setup_steps": many_steps} | dict.fromkeys(unknown), {"name": long}))
