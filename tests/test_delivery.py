"""Handoffs in Slack: each arrives once, whatever breaks, and nobody is told of whom nobody may be told."""

from datetime import timedelta
from typing import Any

import pytest
from clients.slack_server import HUNG_UP, HUNG_UP_AFTERWARDS, SLOW_DOWN, Fault, SlackServer, slack_server
from ledger_rows import NOW, handoff, plan
from letter_rows import RULES, Clock, letter, slack_bot

from dagster_project.clients.slack import SlackWebhook
from dagster_project.core.feedback import Answer
from dagster_project.core.letters import HANDOFF, Recipient, Thread, line, recipient_of
from dagster_project.core.threads import open_thread
from dagster_project.delivery import DeliveryReport, deliver
from dagster_project.ledger import Ledger
from dagster_project.parked import parked_messages, settle_parked

POST, HISTORY = "chat.postMessage", "conversations.history"
KEY = "handoff/ho_1/alert"
DIRECT, SALES = "D0000001", "C0000001"


class PowerCut(BaseException):
    """The process ends here."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


def send(ledger: Ledger, slack: SlackServer, clock: Clock, **also: Any) -> DeliveryReport:
    """What a run does with everything that waits."""
    letters = [letter(row) for row in ledger.pending_handoffs()]
    bot = slack_bot(slack.base_url, clock)
    return deliver(ledger, bot, letters, pace=clock.pace, look_up_after=30, **({"blocked": {}} | also))


def deliveries(ledger: Ledger) -> list[tuple[str, str, int]]:
    rows = ledger.read_frame("deliveries").sort("object_id", "requested_at")
    return list(rows.select("object_id", "status", "attempts").iter_rows())


def status(ledger: Ledger) -> list[str]:
    return ledger.read_frame("handoffs").sort("handoff_id")["status"].to_list()


def cut_at(point: str) -> dict[str, Any]:
    def at(passed: str) -> None:
        if passed == point:
            raise PowerCut

    return {"at": at}


def test_a_handoff_arrives_once_with_its_package_its_recipient_and_its_buttons(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    assert send(ledger, slack, clock) == DeliveryReport(1, 0, {}, {})
    [message] = slack.messages[DIRECT]
    assert message["text"] == "🔥 Hot PQL Alert: Acme"
    assert message["metadata"]["event_payload"] == {"key": KEY}
    assert message["blocks"][0]["text"]["text"].startswith("<@U0000001> · *P0*, due <!date^1777719600^")
    buttons = message["blocks"][-1]["elements"]
    assert [button["action_id"] for button in buttons] == [
        "pls_claim", "pls_snooze_1", "pls_snooze_7", "pls_snooze_30", "pls_not_a_fit",
    ]  # fmt: skip
    assert {button["value"] for button in buttons} == {"ho_1"}
    assert (deliveries(ledger), status(ledger)) == ([("ho_1", "confirmed", 1)], ["delivered"])
    assert send(ledger, slack, clock) == DeliveryReport(0, 0, {}, {})
    assert slack.keys() == [KEY]


def test_a_person_without_slack_is_told_of_in_the_teams_channel(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    nobody = letter(handoff(), Recipient("Bo <!channel>", "ae", None))
    deliver(ledger, slack_bot(slack.base_url, clock), [nobody], blocked={}, pace=clock.pace)
    [message] = slack.messages[SALES]
    assert message["blocks"][0]["text"]["text"].startswith("Bo &lt;!channel&gt; · *P0*")


def test_what_waited_for_somebody_who_is_not_active_any_more_is_told_to_their_team(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    ana = {"name": "Ana", "team": "ae", "slack_user_id": "U0000001", "is_active": False}
    gone = recipient_of("o_1", {"o_1": ana})
    direct = Thread("ho_0", "P0", DIRECT, "1.0")
    letters = [letter(row, gone, thread=direct) for row in ledger.pending_handoffs()]
    assert deliver(ledger, slack_bot(slack.base_url, clock), letters, blocked={}, pace=clock.pace).delivered == 1
    [message] = slack.messages[SALES]
    assert message["blocks"][0]["text"]["text"].startswith("team ae (Ana is not active any more) · *P0*, due")
    assert message["blocks"][-1]["type"] == "actions"
    assert slack.messages[DIRECT] == []
    assert letters[0].markdown.startswith("For team ae (Ana is not active any more).\n\n## 🔥 Hot PQL Alert: Acme")
    assert recipient_of("o_1", {"o_1": ana | {"is_active": True}}) == Recipient("Ana", "ae", "U0000001")
    assert recipient_of("o_1", {"o_1": ana | {"team": None}}).name == "anybody (Ana is not active any more)"


def test_a_person_whom_slack_does_not_know_is_told_of_in_the_teams_channel(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    gone = letter(handoff(), Recipient("Cy", "ae", "U0000009"))
    deliver(ledger, slack_bot(slack.base_url, clock), [gone], blocked={}, pace=clock.pace)
    assert [len(slack.messages[place]) for place in (DIRECT, SALES)] == [0, 1]
    assert status(ledger) == ["delivered"]


def test_slack_is_waited_for_as_long_as_it_asks(ledger: Ledger, slack: SlackServer, clock: Clock) -> None:
    slack.faults[POST] += [SLOW_DOWN, SLOW_DOWN]
    assert send(ledger, slack, clock).delivered == 1
    assert clock.waits == [7, 7]
    assert slack.keys() == [KEY]


def test_who_asks_to_wait_too_long_gets_the_rest_in_the_next_run(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    ledger.apply_handoff_plan(plan(handoff(handoff_id="ho_2")))
    slack.faults[POST] += [Fault(429, "ratelimited", retry_after="3600")]
    report = send(ledger, slack, clock)
    assert (report.delivered, clock.waits) == (0, [])
    assert report.failed["handoff/ho_1/alert"] == "chat.postMessage: Slack asks to wait 3600 s"
    assert report.failed["handoff/ho_2/alert"].startswith("not tried: ")
    assert status(ledger) == ["pending", "pending"]
    assert send(ledger, slack, clock).delivered == 2
    assert slack.keys() == ["handoff/ho_1/alert", "handoff/ho_2/alert"]


IN_DOUBT = {
    "broken off": HUNG_UP,
    "broken off afterwards": HUNG_UP_AFTERWARDS,
    "error 500": Fault(500),
    "error 503 after it was done": Fault(503, is_done=True, body="upstream"),
    "fatal error after it was done": Fault(200, "fatal_error", is_done=True),
    "no JSON": Fault(200, body="<html>"),
    "no JSON after it was done": Fault(200, body="<html>", is_done=True),
}


@pytest.mark.parametrize("fault", IN_DOUBT.values(), ids=IN_DOUBT)
def test_what_may_have_arrived_is_looked_up_before_it_is_posted_again(
    ledger: Ledger, slack: SlackServer, clock: Clock, fault: Fault
) -> None:
    slack.faults[POST].append(fault)
    assert send(ledger, slack, clock) == DeliveryReport(1, 0, {}, {})
    assert slack.keys() == [KEY]
    assert slack.methods().count(POST) == (1 if fault.is_done else 2)
    assert clock.waits == [30]
    assert status(ledger) == ["delivered"]


def test_an_answer_that_is_found_stands_where_its_thread_begins(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    for text in range(5):  # so that it is not on the first page
        slack.answer(POST, {"channel": DIRECT, "text": f"before {text}"}, "Bearer xoxb-test")
    slack.faults[POST].append(HUNG_UP_AFTERWARDS)
    slack.page = 1
    send(ledger, slack, clock)
    [message] = [m for m in slack.messages[DIRECT] if "metadata" in m]
    assert ledger.confirmed("slack", HANDOFF) == {"ho_1": {"channel": DIRECT, "message": message["ts"], "root": None}}


@pytest.mark.parametrize("point", ["intent recorded", "in doubt", "posted"])
def test_after_a_crash_history_is_asked_first(ledger: Ledger, slack: SlackServer, clock: Clock, point: str) -> None:
    if point == "in doubt":
        slack.faults[POST].append(HUNG_UP_AFTERWARDS)
    with pytest.raises(PowerCut):
        send(ledger, slack, clock, **cut_at(point))
    slack.calls.clear()
    assert send(ledger, slack, clock).delivered == 1
    assert slack.methods()[0] == HISTORY
    assert slack.keys() == [KEY]
    assert status(ledger) == ["delivered"]


def test_a_message_that_another_app_wrote_with_our_title_is_not_ours(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    with pytest.raises(PowerCut):
        send(ledger, slack, clock, **cut_at("intent recorded"))
    other = {"event_type": "other", "event_payload": {"key": KEY}}
    slack.answer(POST, {"channel": DIRECT, "text": "🔥", "metadata": other}, "Bearer xoxb-test")
    send(ledger, slack, clock)
    assert len(slack.messages[DIRECT]) == 2


def test_where_history_cannot_be_read_it_is_parked_until_it_can(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    slack.scopes -= {"im:history"}
    slack.faults[POST].append(HUNG_UP_AFTERWARDS)
    report = send(ledger, slack, clock)
    assert report.parked == {
        KEY: "whether it arrived in D0000001 can't be read: conversations.history: missing_scope: "
        "the app needs the scope im:history"
    }
    assert (deliveries(ledger), status(ledger)) == ([("ho_1", "parked", 1)], ["parked"])
    assert list(send(ledger, slack, clock).parked) == [KEY]
    assert slack.keys() == [KEY]
    slack.scopes |= {"im:history"}
    assert send(ledger, slack, clock) == DeliveryReport(1, 0, {}, {})
    assert (deliveries(ledger), status(ledger)) == ([("ho_1", "confirmed", 1)], ["delivered"])
    assert slack.keys() == [KEY]


def test_what_was_parked_and_never_arrived_is_sent_once_history_can_be_read(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    slack.scopes -= {"im:history"}
    slack.faults[POST].append(HUNG_UP)
    assert send(ledger, slack, clock).parked
    slack.scopes |= {"im:history"}
    assert send(ledger, slack, clock).delivered == 1
    assert (deliveries(ledger), status(ledger)) == ([("ho_1", "confirmed", 2)], ["delivered"])
    assert slack.keys() == [KEY]


def test_a_history_that_cannot_be_read_now_leaves_the_question_open(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    slack.faults[POST].append(HUNG_UP_AFTERWARDS)
    slack.faults[HISTORY].append(Fault(500))
    assert list(send(ledger, slack, clock).failed) == [KEY]
    assert (deliveries(ledger), status(ledger)) == ([("ho_1", "pending", 1)], ["pending"])
    assert send(ledger, slack, clock).delivered == 1
    assert slack.keys() == [KEY]


def test_no_contact_is_asked_at_the_moment_of_sending(ledger: Ledger, slack: SlackServer, clock: Clock) -> None:
    assert send(ledger, slack, clock, blocked={"u_1": "opted out"}) == DeliveryReport(0, 1, {}, {})
    assert slack.methods() == []
    assert status(ledger) == ["cancelled"]


def test_while_nobody_knows_who_may_be_contacted_letters_about_people_wait(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    why = "the contacts file is 9 days old"
    assert send(ledger, slack, clock, hold=why) == DeliveryReport(0, 0, {}, {}, held={KEY: why})
    assert (slack.methods(), deliveries(ledger), status(ledger)) == ([], [], ["pending"])
    bot = slack_bot(slack.base_url, clock)
    told = line("3 feeds are late", key=("digest", "d_1", "tell"), day=NOW.date(), channel="#sales-alerts")
    assert deliver(ledger, bot, [told], blocked={}, pace=clock.pace, hold=why).delivered == 1
    assert send(ledger, slack, clock).delivered == 1


def test_who_is_known_to_say_no_is_not_held_but_withdrawn(ledger: Ledger, slack: SlackServer, clock: Clock) -> None:
    assert send(ledger, slack, clock, hold="stale", blocked={"u_1": "opted out"}).cancelled == 1
    assert status(ledger) == ["cancelled"]


def test_what_may_have_arrived_is_looked_up_although_it_is_held(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    with pytest.raises(PowerCut):
        send(ledger, slack, clock, **cut_at("posted"))
    assert send(ledger, slack, clock, hold="stale").delivered == 1
    assert status(ledger) == ["delivered"]


def test_who_opts_out_between_a_crash_and_the_next_run_is_not_told_of(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    with pytest.raises(PowerCut):
        send(ledger, slack, clock, **cut_at("intent recorded"))
    assert send(ledger, slack, clock, blocked={"u_1": "opted out"}).cancelled == 1
    assert slack.keys() == []
    assert send(ledger, slack, clock) == DeliveryReport(0, 0, {}, {})


def test_what_has_arrived_counts_as_arrived_although_it_may_not_be_sent_any_more(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    with pytest.raises(PowerCut):
        send(ledger, slack, clock, **cut_at("posted"))
    assert send(ledger, slack, clock, blocked={"u_1": "opted out"}).delivered == 1
    assert status(ledger) == ["delivered"]


def test_a_token_that_is_refused_stops_the_round_and_says_what_to_set(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    letters = [letter(row) for row in ledger.pending_handoffs()]
    bot = slack_bot(slack.base_url, clock, "xoxb-old")
    report = deliver(ledger, bot, letters, blocked={}, pace=clock.pace)
    said = "conversations.open: invalid_auth: Slack does not accept PLS_SLACK_BOT_TOKEN"
    assert report.failed == {KEY: said}
    assert status(ledger) == ["pending"]
    assert ledger.read_frame("deliveries").select("status", "error").rows() == [("failed", said)]


def test_what_has_become_needless_meanwhile_is_not_posted(ledger: Ledger, slack: SlackServer, clock: Clock) -> None:
    letters = [letter(row) for row in ledger.pending_handoffs()]
    answered = Answer("ho_1", "claimed", "U_BO", NOW, "slack", None)
    assert not ledger.is_answered("ho_1", NOW)
    ledger.keep_answer(answered, chat="slack")
    assert ledger.is_answered("ho_1", NOW) and not ledger.is_answered("ho_1", NOW + timedelta(seconds=1))
    report = deliver(
        ledger,
        slack_bot(slack.base_url, clock),
        letters,
        blocked={},
        pace=clock.pace,
        needless=lambda one: ledger.is_answered(one.object_id, NOW),
    )
    assert (report.delivered, report.failed, slack.messages) == (0, {}, {})


def test_a_channel_that_is_not_there_keeps_no_other_handoff_back(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    ledger.apply_handoff_plan(plan(handoff(handoff_id="ho_2")))
    slack.channels = {}
    first, second = ledger.pending_handoffs()
    letters = [letter(first, Recipient("Bo", "ae", None)), letter(second)]
    report = deliver(ledger, slack_bot(slack.base_url, clock), letters, blocked={}, pace=clock.pace)
    said = "#sales-alerts: conversations.list: channel_not_found: invite the app to it, or give its id"
    assert (report.delivered, report.failed) == (1, {KEY: said})
    assert deliveries(ledger) == [("ho_1", "failed", 1), ("ho_2", "confirmed", 1)]


def test_blocks_that_slack_refuses_cost_the_layout_and_not_the_handoff(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    broken = handoff(package_blocks='[{"type": "no such block"}]')
    deliver(ledger, slack_bot(slack.base_url, clock), [letter(broken)], blocked={}, pace=clock.pace)
    [message] = slack.messages[DIRECT]
    assert message["text"] == "## 🔥 Hot PQL Alert: Acme\n"
    assert "blocks" not in message


def test_slack_that_cannot_be_reached_has_certainly_got_nothing(ledger: Ledger, clock: Clock) -> None:
    with slack_server() as gone:
        pass
    report = send(ledger, gone, clock)
    assert "Slack can't be reached" in report.failed[KEY]
    assert clock.waits == []


# --- threads --------------------------------------------------------------------------------------


def threaded(ledger: Ledger, clock: Clock, **changed: Any) -> Thread | None:
    """The thread that another handoff would join."""
    new = handoff(handoff_id="ho_2", trigger="upgrade_intent", created_at=NOW + timedelta(days=2)) | changed
    messages = ledger.confirmed("slack", HANDOFF)
    return open_thread(new, ledger.read_frame("handoffs").to_dicts(), messages, since=NOW - timedelta(days=1))


def test_what_fires_for_an_open_handoff_joins_its_thread(ledger: Ledger, slack: SlackServer, clock: Clock) -> None:
    send(ledger, slack, clock)
    new = handoff(handoff_id="ho_2", user_id="u_2", priority="P1", package_markdown="## Team Growth: Acme\n")
    ledger.apply_handoff_plan(plan(new))
    thread = threaded(ledger, clock)
    assert thread is not None
    joined = letter(ledger.pending_handoffs()[0], thread=thread)
    assert deliver(ledger, slack_bot(slack.base_url, clock), [joined], blocked={}, pace=clock.pace).delivered == 1
    alert, reply = slack.messages[DIRECT]
    assert (reply["thread_ts"], reply["reply_broadcast"]) == (alert["ts"], False)
    assert [block["type"] for block in reply["blocks"]] == ["section", "markdown"]  # the buttons are in the alert
    assert ledger.confirmed("slack", HANDOFF)["ho_2"]["root"] == "ho_1"
    assert status(ledger) == ["delivered", "delivered"]
    after = threaded(ledger, clock, handoff_id="ho_3")
    assert after is not None and after.handoff_id == "ho_1"


def test_what_is_more_urgent_than_its_thread_is_shown_outside_of_it(ledger: Ledger) -> None:
    thread = Thread("ho_1", "P1", DIRECT, "1.0")
    assert [letter(handoff(priority=p), thread=thread).is_loud for p in ("P0", "P1", "P2")] == [True, False, False]


@pytest.mark.parametrize("fault", [HUNG_UP, HUNG_UP_AFTERWARDS], ids=["before", "after"])
def test_what_may_have_joined_a_thread_is_looked_up_there(
    ledger: Ledger, slack: SlackServer, clock: Clock, fault: Fault
) -> None:
    send(ledger, slack, clock)
    ledger.apply_handoff_plan(plan(handoff(handoff_id="ho_2")))
    slack.scopes |= {"channels:history"}
    slack.faults[POST].append(fault)
    joined = letter(ledger.pending_handoffs()[0], thread=threaded(ledger, clock))
    deliver(ledger, slack_bot(slack.base_url, clock), [joined], blocked={}, pace=clock.pace)
    assert slack.keys() == ["handoff/ho_1/alert", "handoff/ho_2/alert"]


def test_a_thread_whose_alert_was_deleted_is_a_new_alert(ledger: Ledger, slack: SlackServer, clock: Clock) -> None:
    send(ledger, slack, clock)
    ledger.apply_handoff_plan(plan(handoff(handoff_id="ho_2")))
    joined = letter(ledger.pending_handoffs()[0], thread=threaded(ledger, clock))
    slack.messages.clear()
    assert deliver(ledger, slack_bot(slack.base_url, clock), [joined], blocked={}, pace=clock.pace).delivered == 1
    assert "thread_ts" not in slack.messages[DIRECT][0]
    assert ledger.confirmed("slack", HANDOFF)["ho_2"]["root"] is None


@pytest.mark.parametrize(
    "changed",
    [{"account_id": "a_2"}, {"recipient_id": "o_2"}, {"account_id": None}],
    ids=["another account", "another recipient", "no account"],
)
def test_what_is_somebody_elses_does_not_join(
    ledger: Ledger, slack: SlackServer, clock: Clock, changed: dict[str, Any]
) -> None:
    send(ledger, slack, clock)
    assert threaded(ledger, clock) is not None
    assert threaded(ledger, clock, **changed) is None


@pytest.mark.parametrize("over", ["not_a_fit", "closed", "cancelled", "pending", "parked"])
def test_what_is_done_with_has_no_thread(ledger: Ledger, slack: SlackServer, clock: Clock, over: str) -> None:
    send(ledger, slack, clock)
    ledger.settle([], NOW, handoffs={"ho_1": over})
    assert threaded(ledger, clock) is None


def test_an_old_thread_is_over(ledger: Ledger, slack: SlackServer, clock: Clock) -> None:
    send(ledger, slack, clock)
    rows, messages = ledger.read_frame("handoffs").to_dicts(), ledger.confirmed("slack", HANDOFF)
    assert open_thread(handoff(handoff_id="ho_2"), rows, messages, since=NOW) is not None
    assert open_thread(handoff(handoff_id="ho_2"), rows, messages, since=NOW + timedelta(seconds=1)) is None


# --- the lesser way -------------------------------------------------------------------------------


def test_a_webhook_posts_once_and_parks_what_it_cannot_look_up(
    ledger: Ledger, slack: SlackServer, clock: Clock
) -> None:
    ledger.apply_handoff_plan(plan(handoff(handoff_id="ho_2"), handoff(handoff_id="ho_3")))
    letters = [letter(row, has_buttons=False) for row in ledger.pending_handoffs()]
    way = "/services/T0/B0/secret"
    slack.faults[way] += [HUNG_UP_AFTERWARDS, Fault(404, body="no_team")]
    report = deliver(ledger, SlackWebhook(slack.webhook_url), letters, blocked={}, pace=clock.pace)
    assert report == DeliveryReport(
        delivered=1,
        cancelled=0,
        failed={"handoff/ho_2/alert": "webhook: status 404: no_team"},
        parked={KEY: "a webhook can't look up whether it arrived"},
    )
    again = [letter(row, has_buttons=False) for row in ledger.pending_handoffs()]
    assert [row["handoff_id"] for row in ledger.pending_handoffs()] == ["ho_1", "ho_2"]
    assert deliver(ledger, SlackWebhook(slack.webhook_url), again, blocked={}, pace=clock.pace).delivered == 1
    assert len(slack.messages["webhook"]) == 3
    assert status(ledger) == ["parked", "delivered", "delivered"]


# --- lines ----------------------------------------------------------------------------------------


def test_a_line_is_told_once_and_nothing_in_it_is_markup(ledger: Ledger, slack: SlackServer, clock: Clock) -> None:
    told = line(
        "<!channel> Acme is in sales' hands",
        key=("contact", "c_1", "mql"),
        day=NOW.date(),
        channel=RULES.slack.marketing_channel,
    )
    bot = slack_bot(slack.base_url, clock)
    assert [deliver(ledger, bot, [told], blocked={}, pace=clock.pace).delivered for _ in range(2)] == [1, 0]
    [message] = slack.messages["C0000002"]
    assert message["text"] == "&lt;!channel&gt; Acme is in sales' hands"
    assert message["blocks"] == [
        {"type": "section", "text": {"type": "plain_text", "text": "<!channel> Acme is in sales' hands"}}
    ]


# --- what a person has to look at -----------------------------------------------------------------


@pytest.fixture
def in_doubt(ledger: Ledger, slack: SlackServer, clock: Clock) -> Ledger:
    """A webhook's message that may have arrived."""
    slack.faults["/services/T0/B0/secret"].append(HUNG_UP)
    letters = [letter(row, has_buttons=False) for row in ledger.pending_handoffs()]
    deliver(ledger, SlackWebhook(slack.webhook_url), letters, blocked={}, pace=clock.pace)
    return ledger


def test_what_is_parked_is_listed_with_its_reason(in_doubt: Ledger) -> None:
    [message] = parked_messages(in_doubt)
    assert (message.key, message.reason) == (KEY, "a webhook can't look up whether it arrived")


def test_what_somebody_has_seen_has_arrived(in_doubt: Ledger) -> None:
    settle_parked(in_doubt, arrived=[KEY], missing=[], now=NOW)
    assert (status(in_doubt), in_doubt.pending_handoffs(), parked_messages(in_doubt)) == (["delivered"], [], [])


def test_what_is_not_there_is_sent_by_the_next_run(in_doubt: Ledger, slack: SlackServer, clock: Clock) -> None:
    settle_parked(in_doubt, arrived=[], missing=[KEY], now=NOW)
    letters = [letter(row, has_buttons=False) for row in in_doubt.pending_handoffs()]
    assert deliver(in_doubt, SlackWebhook(slack.webhook_url), letters, blocked={}, pace=clock.pace).delivered == 1
    assert len(slack.messages["webhook"]) == 1
    assert deliveries(in_doubt) == [("ho_1", "confirmed", 2)]


def test_what_is_not_parked_cannot_be_settled(in_doubt: Ledger) -> None:
    with pytest.raises(LookupError, match="handoff/ho_9/alert is not parked; `pls parked` lists what is"):
        settle_parked(in_doubt, arrived=[KEY], missing=["handoff/ho_9/alert"], now=NOW)
    with pytest.raises(LookupError, match="handoff/ho_1/alert has either arrived or not"):
        settle_parked(in_doubt, arrived=[KEY], missing=[KEY], now=NOW)
    assert status(in_doubt) == ["parked"]
