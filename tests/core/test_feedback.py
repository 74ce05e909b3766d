"""What a click and a closed task say."""

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.core.delivery_rules import TaskOutcomes
from dagster_project.core.feedback import Answer, NoAnswer, read_click, task_answer
from dagster_project.core.signatures import sign, why_refused

AT = datetime(2026, 5, 2, 10, 0)
RULES = TaskOutcomes(claimed=("Meeting booked",), not_a_fit=("unqualified",))
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("payload", ["[" * 100_000, '{"type": ' * 50_000])
def test_what_is_nested_too_deeply_is_no_click(payload: str) -> None:
    with pytest.raises(NoAnswer):
        read_click(payload)


def test_half_a_character_names_nobody() -> None:
    action = {"action_id": "pls_snooze_1000", "value": "ho_1", "action_ts": "1777716000.000000"}
    told = {"type": "block_actions", "container": {"channel_id": "C", "message_ts": "1"}, "message": {}}
    read = read_click(json.dumps({**told, "user": {"id": "U1"}, "actions": [action]}))
    assert read is not None and read.answer.until == datetime(2029, 1, 26, 10, 0)
    with pytest.raises(NoAnswer):
        read_click(json.dumps({**told, "user": {"id": "U\ud800"}, "actions": [action]}))


@given(JSON, st.sampled_from(["user", "actions", "container", "message", "type"]))
def test_whatever_comes_is_a_click_or_is_refused(junk: object, broken: str) -> None:
    told = {
        "type": "block_actions",
        "user": {"id": "U1"},
        "container": {"channel_id": "C1", "message_ts": "1.0"},
        "message": {"text": "t", "blocks": []},
        "actions": [{"action_id": "pls_claim", "value": "ho_1", "action_ts": "1777716000.000000"}],
    }
    whole = read_click(json.dumps(told))
    assert whole is not None and whole.answer == Answer("ho_1", "claimed", "U1", AT, "slack")
    try:
        read_click(json.dumps({**told, broken: junk}))
    except NoAnswer as refused:
        assert str(refused).startswith("this is no click on a handoff")


@pytest.mark.parametrize(
    ("outcome", "label"),
    [("meeting BOOKED ", "claimed"), ("Unqualified", "not_a_fit"), ("won the lottery", "closed"), (None, "closed")],
)
def test_the_outcome_of_a_closed_task_is_an_answer(outcome: str | None, label: str) -> None:
    answer = task_answer("ho_1", outcome, "o_1", at=AT, rules=RULES)
    assert (answer.label, answer.by, answer.source) == (label, "o_1", "crm")


def test_a_task_that_is_seen_closed_again_is_the_same_answer_and_another_click_is_another() -> None:
    later = datetime(2026, 5, 3)
    seen = [task_answer("ho_1", None, "o_1", at=at, rules=RULES).feedback_id for at in (AT, later)]
    clicked = [Answer("ho_1", "claimed", "U1", at, "slack").feedback_id for at in (AT, later)]
    assert (len(set(seen)), len(set(clicked))) == (1, 2)


def test_slacks_own_example_is_signed_as_slack_signs_it() -> None:
    """From Slack's documentation on verifying requests."""
    secret, timestamp = "8f742231b10e8888abcd99yyyzzz85a5", "1531420618"
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
        b"channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&"
        b"response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&"
        b"trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    assert sign(secret, timestamp, body) == signature
    assert why_refused(body, timestamp, signature, secret=secret, now=1531420618 + 300) is None
    assert why_refused(body, timestamp, signature, secret=secret, now=1531420618 + 301) is not None
