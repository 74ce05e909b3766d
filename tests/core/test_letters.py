"""What letters say, in Markdown and in blocks: to whom, where, with which buttons."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from ledger_rows import NOW, handoff
from letter_rows import ANA, RULES

from dagster_project.core.letters import (
    BUTTON_BLOCK,
    STATUS_BLOCK,
    Letter,
    Recipient,
    Thread,
    alert,
    answered,
    buttons,
    escalation,
    line,
    notice,
    package_blocks,
    recipient_of,
    reminder,
    stop,
    title_of,
)
from dagster_project.core.reminders import Nudge

DUE = NOW + timedelta(hours=1)
SHOWN = "<!date^1777719600^{date_short_pretty} {time}|2026-05-02 11:00 UTC>"
TO_CHANNELS = RULES.model_copy(
    update={"slack": RULES.slack.model_copy(update={"send_to": "channel", "channels": {"ae": "#sales-ae"}})}
)
GONE = Recipient("team ae (Ana is not active any more)", "ae", None, False)
THREAD = Thread("ho_0", "P1", "D1", "m_1")


def types(letter: Letter) -> list[str]:
    return [block["type"] for block in letter.blocks]


def text(block: Any) -> str:
    return block["text"]["text"]


@pytest.mark.parametrize(
    ("recipient_id", "expected"),
    [
        ("team:ae", Recipient("team ae", "ae", None)),
        ("o_1", Recipient("Ana", "ae", "U1")),
        ("o_2", Recipient("o_2", None, None)),
        ("o_3", Recipient("team ae (Cy is not active any more)", "ae", None, False)),
        ("o_4", Recipient("anybody (o_4 is not active any more)", None, None, False)),
        ("o_9", Recipient("o_9", None, None)),
    ],
)
def test_a_recipient_is_a_team_an_owner_or_the_team_of_one_who_left(recipient_id: str, expected: Recipient) -> None:
    owners = {
        "o_1": {"name": "Ana", "team": "ae", "slack_user_id": "U1"},
        "o_2": {"name": None, "team": None, "slack_user_id": ""},
        "o_3": {"name": "Cy", "team": "ae", "slack_user_id": "U3", "is_active": False},
        "o_4": {"is_active": False},
    }
    assert recipient_of(recipient_id, owners) == expected


@pytest.mark.parametrize("has_buttons", [True, False])
def test_an_alert_says_who_it_is_for_and_until_when(has_buttons: bool) -> None:
    sent = alert(handoff(), ANA, RULES, thread=None, has_buttons=has_buttons)
    assert text(sent.blocks[0]) == f"<@U0000001> · *P0*, due {SHOWN}"
    assert types(sent) == ["section", "markdown", *(["actions"] if has_buttons else [])]
    assert (sent.person, sent.channel, sent.key) == ("U0000001", "#sales-alerts", "handoff/ho_1/alert")
    assert (sent.day, sent.about, sent.is_loud, sent.hands_over) == (NOW.date(), "u_1", False, handoff())
    assert (sent.title, sent.markdown) == ("🔥 Hot PQL Alert: Acme", handoff()["package_markdown"])


@pytest.mark.parametrize(("priority", "is_loud"), [("P0", True), ("P1", False), ("P2", False)])
def test_an_alert_in_a_thread_has_no_buttons_and_is_loud_where_it_is_more_urgent(priority: str, is_loud: bool) -> None:
    sent = alert(handoff(priority=priority), ANA, RULES, thread=THREAD, has_buttons=True)
    assert text(sent.blocks[0]) == f"<@U0000001> · new in this thread · *{priority}*"
    assert (types(sent), sent.thread, sent.is_loud) == (["section", "markdown"], THREAD, is_loud)


def test_what_somebody_who_left_would_have_got_goes_to_their_team_by_name() -> None:
    nudge = Nudge(handoff(), "remind", 0, DUE)
    alerted = alert(handoff(), GONE, TO_CHANNELS, thread=THREAD, has_buttons=True)
    said = stop(handoff(), "Ann", "legal", GONE, TO_CHANNELS, thread=THREAD, day=NOW.date())
    reminded = reminder(nudge, GONE, TO_CHANNELS, thread=THREAD, day=NOW.date(), has_buttons=True)
    for sent in (alerted, said, reminded):
        assert (sent.thread, sent.person, sent.channel) == (None, None, "#sales-ae")
        assert "For team ae (Ana is not active any more)" in sent.markdown.replace("\\", "")
    assert types(alerted)[-1] == "actions"


@pytest.mark.parametrize("send_to", ["direct", "channel"])
def test_letters_go_to_the_person_or_to_the_channel_with_a_mention(send_to: str) -> None:
    rules = RULES if send_to == "direct" else TO_CHANNELS
    told = {"notice_id": "no_1", "text": "Ann is back.", "created_at": NOW, "user_id": "u_1"}
    nudge = Nudge(handoff(), "remind", 0, DUE)
    letters = [
        alert(handoff(), ANA, rules, thread=None, has_buttons=True),
        reminder(nudge, ANA, rules, thread=None, day=NOW.date(), has_buttons=True),
        stop(handoff(), "Ann", "legal", ANA, rules, thread=THREAD, day=NOW.date()),
        notice(told, ANA, rules),
    ]
    for sent in letters:
        assert sent.person == ("U0000001" if send_to == "direct" else None)
        assert sent.channel == ("#sales-alerts" if send_to == "direct" else "#sales-ae")
        assert "<@U0000001>" in text(sent.blocks[0])
    assert [sent.about for sent in letters] == ["u_1", "u_1", None, "u_1"], "of a no it is told although they said no"
    assert [sent.is_loud for sent in letters] == [False, True, True, False]
    assert letters[2].thread == THREAD


@pytest.mark.parametrize("has_buttons", [True, False])
def test_a_team_hears_all_of_what_nobody_answered(has_buttons: bool) -> None:
    nudge = Nudge(handoff(), "escalate", 2, DUE)
    sent = escalation(nudge, ANA, TO_CHANNELS, day=NOW.date(), has_buttons=has_buttons)
    assert text(sent.blocks[0]) == f"🚨 *P0* overdue since {SHOWN}, not answered by <@U0000001>"
    assert types(sent) == ["section", "markdown", *(["actions"] if has_buttons else [])]
    assert (sent.person, sent.channel, sent.about, sent.operation) == (None, "#sales-ae", "u_1", "escalate:2")
    assert sent.title == "🚨 Overdue: 🔥 Hot PQL Alert: Acme"
    assert sent.markdown == (
        "🚨 Overdue since 2026-05-02 11:00 UTC, not answered by Ana.\n\n" + handoff()["package_markdown"]
    )


def test_a_reminder_says_since_when_and_what_to_do() -> None:
    def told(kind: Any, number: int, has_buttons: bool = True) -> Letter:
        nudge = Nudge(handoff(), kind, number, DUE)
        return reminder(nudge, ANA, RULES, thread=THREAD, day=NOW.date(), has_buttons=has_buttons)

    due, awake = told("remind", 0), told("wake", 1)
    assert text(due.blocks[0]) == f"<@U0000001> ⏰ *P0*, due {SHOWN}"
    assert text(awake.blocks[0]) == f"<@U0000001> ⏰ *P0*, snoozed until {SHOWN}"
    assert due.title == "⏰ 🔥 Hot PQL Alert: Acme is waiting for an answer"
    assert awake.title == "⏰ 🔥 Hot PQL Alert: Acme is awake again"
    assert due.markdown == (
        "## ⏰ 🔥 Hot PQL Alert: Acme is waiting for an answer\n\nFor Ana, due 2026-05-02 11:00 UTC.\n"
    )
    assert types(told("wake", 1, has_buttons=False)) == ["section", "section"]


def test_a_title_is_the_packages_first_line_as_plain_text() -> None:
    assert title_of(handoff(package_markdown="## Hot: A\\*B\\# \\n \\ C\n\nmore")) == "Hot: A*B# \\n \\ C"
    assert title_of(handoff(package_markdown="\nmore")) == "ho_1"


def test_a_package_is_shown_as_it_was_rendered_or_else_as_markdown_that_slack_takes() -> None:
    assert package_blocks(handoff(package_blocks='[{"type": "divider"}]')) == [{"type": "divider"}]
    for nothing in ("[]", None):
        [block] = package_blocks(handoff(package_blocks=nothing, package_markdown="x" * 12_000))
        assert (block["type"], len(block["text"])) == ("markdown", 11_000)


def test_the_buttons_are_claim_each_snooze_and_not_a_fit() -> None:
    block = buttons("ho_1", [1, 7])
    assert (block["type"], block["block_id"]) == ("actions", BUTTON_BLOCK)
    assert [(one["text"]["text"], one["action_id"], one.get("style"), one["value"]) for one in block["elements"]] == [
        ("Claim", "pls_claim", "primary", "ho_1"),
        ("Snooze 1 day", "pls_snooze_1", None, "ho_1"),
        ("Snooze 7 days", "pls_snooze_7", None, "ho_1"),
        ("Not a fit", "pls_not_a_fit", "danger", "ho_1"),
    ]


def test_an_answer_stands_above_the_buttons_in_the_place_of_the_one_before() -> None:
    first, last = {"type": "section"}, {"type": "divider"}
    choice = buttons("ho_1", [1])
    once = answered([first, choice, last], "claimed by Ana")
    assert [block.get("block_id") for block in once] == [None, STATUS_BLOCK, BUTTON_BLOCK, None]
    twice = answered(once, "not a fit")
    assert [block.get("block_id") for block in twice] == [None, STATUS_BLOCK, BUTTON_BLOCK, None]
    assert twice[1]["elements"] == [{"type": "mrkdwn", "text": "not a fit"}]
    assert answered([first, last], "claimed")[:2] == [first, last]


def test_a_line_is_no_longer_than_slack_takes_and_nothing_in_it_is_markup() -> None:
    key = ("notice", "no_1", "tell")
    told = line("*" * 3_000, key=key, day=NOW.date(), channel="#sales", about="u_1")
    assert (len(told.title), len(text(told.blocks[0])), told.about) == (2_900, 2_900, "u_1")
    assert told.blocks[0]["text"]["type"] == "plain_text"
    assert line("a *b*", key=key, day=NOW.date(), channel="#sales").markdown == "a \\*b\\*\n"


def test_a_name_is_no_mention() -> None:
    stranger = replace(ANA, person=None, name='<!channel> & "Co"')
    sent = alert(handoff(), stranger, RULES, thread=None, has_buttons=False)
    assert text(sent.blocks[0]).startswith('&lt;!channel&gt; &amp; "Co" · ')
    assert "<!channel>" not in json.dumps(sent.blocks)


def test_no_text_of_a_block_is_longer_than_slack_takes() -> None:
    longest = replace(ANA, person=None, name="x" * 3_000)
    sent = alert(handoff(), longest, RULES, thread=None, has_buttons=False, beware=["y" * 3_000])
    assert [len(text(block)) for block in sent.blocks[:2]] == [2_900, 2_900]
