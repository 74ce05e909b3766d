"""Writing for somebody: planned, confirmed once, and stopped by whatever would stop the pipeline."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from clients.slack_server import HUNG_UP_AFTERWARDS, TOKEN, Fault, slack_server
from installation import Installation
from ledger_rows import plan
from tool_shop import NOW, WRITES, copied, playbook_with, tools_over

from dagster_project.clients.local_crm import LocalCrm
from dagster_project.core.automation import NOTICE_SCHEMA
from dagster_project.core.crm_field_rules import Policies
from dagster_project.core.sync import FieldUpdate
from dagster_project.ledger import CRM_HOLD, Ledger
from dagster_project.settings import settings_from
from dagster_project.tools import Tools
from dagster_project.tools.errors import NotFound, Refused, Unavailable, WrongArguments


class Clock:
    """The present moment, as long as nobody moves it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Shop:
    """A data folder of one test's own, with tools that may write."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir, self.clock = data_dir, Clock()

    def tools(self, who: str = "ann@acme.com", **sections: Any) -> Tools:
        return tools_over(self.data_dir, who=who, clock=self.clock, **{"writes": WRITES, **sections})

    def ledger(self) -> Ledger:
        return Ledger(f"sqlite:///{self.data_dir / 'ledger.sqlite'}")

    def alerts(self) -> list[str]:
        return [path.read_text() for path in sorted((self.data_dir / "outbox").rglob("*.md"))]

    def record(self, object_type: str, object_id: str) -> dict[str, Any]:
        names = ["next_step", "pql_score", "pls_changed_by"]
        return LocalCrm(self.data_dir / "crm.sqlite").read(object_type, [object_id], names)[object_id]

    def change(self, statement: str, *values: Any) -> None:
        """Publish a copy in which something has changed, as a run would."""
        fresh = self.data_dir / "fresh.duckdb"
        shutil.copyfile(self.data_dir / "serving.duckdb", fresh)
        with duckdb.connect(str(fresh)) as serving:
            serving.execute(statement, list(values))
        fresh.replace(self.data_dir / "serving.duckdb")

    def asked(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.data_dir / "serving.duckdb"), read_only=True) as serving:
            return serving.execute(query, list(values)).fetchall()


@pytest.fixture
def shop(demo_run: Installation, tmp_path: Path) -> Iterator[Shop]:
    yield Shop(copied(demo_run, tmp_path / "data"))


@pytest.fixture
def quiet(shop: Shop) -> tuple[str, list[str]]:
    """An account and triggers that stood before the first run, so that nobody was told: an alert may be asked for."""
    [(account_id, triggers), *_] = shop.asked(
        "select account_id, triggers from marts.handoff_decisions where decision = 'suppressed_baseline' "
        "and account_id is not null and not list_contains(triggers, 'team_growth') order by account_id"
    )
    return account_id, triggers


@pytest.fixture
def contact(shop: Shop) -> str:
    [(contact_id,), *_] = shop.asked(
        "select contact_id from marts.user_profiles where contact_id is not null and not (is_unsubscribed or "
        "email_opt_out or contact_do_not_contact or account_do_not_contact or contact_deleted or account_deleted) "
        "and suppression_reason is null order by contact_id"
    )
    return str(contact_id)


def alert(account_id: str, triggers: list[str], **content: Any) -> dict[str, Any]:
    return {
        "channel": "sales_slack",
        "type": "pql_alert",
        "content": {"account": account_id, "triggers": triggers, **content},
    }


def test_an_alert_is_planned_then_sent_once_and_signed(shop: Shop, quiet: tuple[str, list[str]]) -> None:
    with shop.tools() as tools:
        plan = tools.call("messaging.send_notification", alert(*quiet, context="They asked in chat."))
        assert (plan.decision, plan.delivery_id) == ("planned", None)
        assert any("They asked in chat." in line for line in plan.preview)
        before = shop.alerts()
        done = tools.call("writes.confirm", token=plan.token)
        assert done.decision == "written"
        with pytest.raises(NotFound, match="used, has expired, or is somebody else's"):
            tools.call("writes.confirm", token=plan.token)
    [sent] = [text for text in shop.alerts() if text not in before]
    assert "Asked for by ann" in sent and "They asked in chat." in sent
    with shop.ledger() as ledger:
        delivery = ledger.read_frame("deliveries").row(by_predicate=_is(delivery_id=done.delivery_id), named=True)
        handoff = ledger.read_frame("handoffs").row(by_predicate=_is(handoff_id=delivery["object_id"]), named=True)
        decisions = ledger.read_frame("handoff_decisions")
    assert (delivery["destination"], delivery["operation"], delivery["status"]) == ("outbox", "alert", "confirmed")
    assert (handoff["status"], handoff["account_id"]) == ("delivered", quiet[0])
    assert decisions.row(by_predicate=_is(handoff_id=handoff["handoff_id"]), named=True)["decision"] == "sent"


def _is(**values: Any) -> Any:
    import polars as pl

    return pl.all_horizontal(pl.col(name) == value for name, value in values.items())


def test_a_plan_shows_nobodys_name_and_the_alert_does(shop: Shop, quiet: tuple[str, list[str]]) -> None:
    with shop.tools() as tools:
        plan = tools.call("messaging.send_notification", alert(*quiet))
        before = shop.alerts()
        tools.call("writes.confirm", token=plan.token)
    [sent] = [text for text in shop.alerts() if text not in before]
    people = shop.asked("select contact_name, email from marts.user_profiles where account_id = ?", quiet[0])
    named = [value for person in people for value in person if value and value in sent]
    assert named
    assert not [value for value in named if any(value in line for line in plan.preview)]


def test_nothing_is_written_before_it_is_confirmed(shop: Shop, quiet: tuple[str, list[str]], contact: str) -> None:
    with shop.ledger() as ledger:
        before = ledger.read_frame("deliveries").height, ledger.read_frame("handoffs").height
    alerts, record = shop.alerts(), shop.record("contact", contact)
    with shop.tools() as tools:
        tools.call("messaging.send_notification", alert(*quiet))
        tools.call("crm.update_record", object_type="contact", id=contact, fields={"next_step": "call"})
    with shop.ledger() as ledger:
        assert (ledger.read_frame("deliveries").height, ledger.read_frame("handoffs").height) == before
    assert (shop.alerts(), shop.record("contact", contact)) == (alerts, record)


def test_a_plan_is_its_makers_and_does_not_keep(shop: Shop, contact: str) -> None:
    fields = {"object_type": "contact", "id": contact, "fields": {"next_step": "call"}}
    with shop.tools() as ann, shop.tools("bob@acme.com") as bob:
        plan = ann.call("crm.update_record", fields)
        with pytest.raises(NotFound):
            bob.call("writes.confirm", token=plan.token)
        shop.clock.now += timedelta(minutes=11)
        with pytest.raises(NotFound):
            ann.call("writes.confirm", token=plan.token)
        again = ann.call("crm.update_record", fields)
        assert ann.call("writes.confirm", token=again.token).decision == "written"


def test_without_a_second_step_it_is_done_at_once(shop: Shop, contact: str) -> None:
    writes = {"crm.update_record": {**WRITES["crm.update_record"], "confirm": False}}
    with shop.tools(writes=writes) as tools:
        done = tools.call("crm.update_record", object_type="contact", id=contact, fields={"next_step": "call"})
    assert (done.decision, done.token) == ("written", None)
    assert shop.record("contact", contact)["next_step"] == "call"


def test_a_record_is_written_and_signed(shop: Shop, contact: str) -> None:
    with shop.tools() as tools:
        plan = tools.call("crm.update_record", object_type="contact", id=contact, fields={"next_step": " call\nnow "})
        assert plan.preview[0] == "next_step: None -> 'call now'"
        done = tools.call("writes.confirm", token=plan.token)
        with pytest.raises(Refused, match="holds exactly that already"):
            tools.call("crm.update_record", object_type="contact", id=contact, fields={"next_step": "call now"})
    record = shop.record("contact", contact)
    assert (record["next_step"], record["pls_changed_by"]) == ("call now", "assistant for ann@acme.com")
    with shop.ledger() as ledger:
        delivery = ledger.read_frame("deliveries").row(by_predicate=_is(delivery_id=done.delivery_id), named=True)
    assert (delivery["destination"], delivery["operation"], delivery["status"]) == (
        "crm:local",
        "assistant",
        "confirmed",
    )
    assert json.loads(delivery["payload"])["asked_by"] == "ann@acme.com"


@pytest.mark.parametrize("flag", ["email_opt_out", "contact_do_not_contact", "is_unsubscribed", "account_deleted"])
def test_no_contact_stops_every_write(flag: str, shop: Shop, contact: str) -> None:
    with shop.tools() as tools:
        plan = tools.call("crm.update_record", object_type="contact", id=contact, fields={"next_step": "call"})
        shop.change(f"update marts.user_profiles set {flag} = true where contact_id = ?", contact)
        with pytest.raises(Refused, match="suppressed_no_contact"):
            tools.call("writes.confirm", token=plan.token)
    assert shop.record("contact", contact)["next_step"] is None


@pytest.mark.parametrize("said", ["suppression_reason = 'lawsuit'", "do_not_contact = true"])
def test_a_company_that_says_no_says_it_for_its_contacts(said: str, shop: Shop) -> None:
    [(contact, account_id), *_] = shop.asked(
        "select contact_id, users.account_id from marts.user_profiles as users join marts.account_profiles as accounts "
        "using (account_id) where contact_id is not null and in_crm and not (is_unsubscribed or email_opt_out or "
        "contact_do_not_contact or users.account_do_not_contact or contact_deleted or users.account_deleted) and "
        "users.suppression_reason is null and accounts.suppression_reason is null order by contact_id"
    )
    shop.change(f"update marts.account_profiles set {said} where account_id = ?", account_id)
    with shop.tools() as tools:
        for object_type, object_id in (("contact", contact), ("account", account_id)):
            with pytest.raises(Refused, match=f"suppressed_no_contact: {object_type} {object_id}"):
                tools.call("crm.update_record", object_type=object_type, id=object_id, fields={"next_step": "call"})


def test_an_alert_about_somebody_who_may_not_be_contacted_is_refused(shop: Shop, quiet: tuple[str, list[str]]) -> None:
    with shop.tools() as tools:
        plan = tools.call("messaging.send_notification", alert(*quiet))
        shop.change("update marts.user_profiles set email_opt_out = true where account_id = ?", quiet[0])
        with pytest.raises(Refused, match="suppressed_no_contact: .*opted out"):
            tools.call("writes.confirm", token=plan.token)


@pytest.fixture
def mql(shop: Shop, quiet: tuple[str, list[str]]) -> tuple[str, list[str]]:
    """The same account, whose people marketing holds."""
    shop.change("update marts.user_profiles set contact_lifecycle_stage = 'MQL' where account_id = ?", quiet[0])
    return quiet


def left_for_marketing(shop: Shop) -> tuple[list[str], int, list[tuple[str, str]]]:
    """Of an alert: the status of MQLs, how many notices wait, and field changes that the next run will make."""
    with shop.ledger() as ledger:
        waiting = [row for row in ledger.pending_notices() if row["recipient_id"] == "marketing"]
        overlaps = ledger.read_frame("mql_overlap").filter(_is(paused_at=shop.clock.now))["status"].to_list()
        actions = [json.loads(payload) for payload in ledger.open_actions("crm:local").values()]
    fields = [(action["object_id"], json.dumps(action["payload"]["fields"])) for action in actions]
    return overlaps, len(waiting), fields


def test_marketing_is_told_of_an_mql_and_nurture_pauses(shop: Shop, mql: tuple[str, list[str]]) -> None:
    with shop.tools() as tools:
        plan = tools.call("messaging.send_notification", alert(*mql))
        assert left_for_marketing(shop) == ([], 0, [])
        tools.call("writes.confirm", token=plan.token)
    overlaps, notices, [(contact_id, fields)] = left_for_marketing(shop)
    assert (overlaps, notices, fields) == (["with_sales"], 1, '{"pause_nurture": true}')
    assert shop.asked("select account_id from marts.user_profiles where contact_id = ?", contact_id) == [(mql[0],)]


def test_an_mql_that_nobody_got_stays_with_marketing(shop: Shop, mql: tuple[str, list[str]]) -> None:
    (shop.data_dir / "outbox").write_text("in the way")
    with shop.tools() as tools:
        plan = tools.call("messaging.send_notification", alert(*mql))
        with pytest.raises(Unavailable, match="it did not arrive"):
            tools.call("writes.confirm", token=plan.token)
    assert left_for_marketing(shop) == (["withdrawn"], 0, [])


def test_what_was_handed_over_rests(shop: Shop, quiet: tuple[str, list[str]]) -> None:
    with shop.tools() as tools:
        plan = tools.call("messaging.send_notification", alert(*quiet))
        tools.call("writes.confirm", token=plan.token)
        with pytest.raises(Refused, match=r"suppressed_cooldown: .* within 14 days"):
            tools.call("messaging.send_notification", alert(*quiet))


def test_a_company_that_the_crm_knows_by_now_rests_as_well(shop: Shop, quiet: tuple[str, list[str]]) -> None:
    account_id, triggers = quiet
    with shop.tools() as tools:
        tools.call("writes.confirm", token=tools.call("messaging.send_notification", alert(*quiet)).token)
        for table in ("pql_scores", "pqa_scores", "user_profiles", "account_profiles"):
            shop.change(f"update marts.{table} set account_id = 'A-1' where account_id = ?", account_id)
        with pytest.raises(Refused, match="suppressed_cooldown"):
            tools.call("messaging.send_notification", alert("A-1", triggers))


def test_notices_count_towards_what_an_assistant_may_ask_of_somebody(shop: Shop, quiet: tuple[str, list[str]]) -> None:
    owners = [owner_id for (owner_id,) in shop.asked("select owner_id from marts.crm_owners")]
    notice = {"topic": "score_rise", "user_id": None, "account_id": None, "text": "-", "status": "delivered"}
    rows = [
        {**notice, "notice_id": f"no_{owner}_{n}", "recipient_id": owner, "created_at": NOW - timedelta(minutes=n)}
        for owner in owners
        for n in range(1, 21)
    ]
    with shop.ledger() as ledger:
        ledger.apply_handoff_plan(replace(plan(), notices=pl.DataFrame(rows, schema=NOTICE_SCHEMA)), decided=())
    with shop.tools() as tools, pytest.raises(Refused, match="held_capacity"):
        tools.call("messaging.send_notification", alert(*quiet))


@pytest.mark.parametrize("decision", ["suppressed_open_opportunity", "suppressed_no_contact", "suppressed_self_serve"])
def test_what_the_pipeline_suppressed_an_assistant_cannot_send(decision: str, shop: Shop) -> None:
    rows = shop.asked(
        "select user_id, account_id, triggers from marts.handoff_decisions where decision = ? and account_id is not "
        "null and decided_at = (select max(decided_at) from marts.handoff_decisions where decision = ?)",
        decision,
        decision,
    )
    with shop.tools() as tools:
        for _, account_id, triggers in rows:
            kind = "pqa_alert" if "team_growth" in triggers else "pql_alert"
            with pytest.raises(Refused):
                tools.call("messaging.send_notification", {**alert(account_id, triggers), "type": kind})
    assert rows


def test_a_trigger_has_to_hold_in_the_data(shop: Shop) -> None:
    [(account_id,), *_] = shop.asked(
        "select account_id from marts.pql_scores where account_id is not null group by 1 having max(pql_score) < 40 "
        "order by 1"
    )
    with shop.tools() as tools, pytest.raises(Refused, match="none of hot_pql holds for"):
        tools.call("messaging.send_notification", alert(account_id, ["hot_pql"]))


def test_a_score_that_was_made_up_is_refused(shop: Shop, quiet: tuple[str, list[str]]) -> None:
    with shop.tools() as tools, pytest.raises(Refused, match=r"not 99\.9: use those, or none"):
        tools.call("messaging.send_notification", alert(*quiet, pql_score=99.9))


def test_a_computed_field_takes_only_what_was_computed(shop: Shop, contact: str) -> None:
    [(score,)] = shop.asked("select max(pql_score) from marts.pql_scores where contact_id = ?", contact)
    LocalCrm(shop.data_dir / "crm.sqlite").update("contact", [])
    with shop.tools() as tools, pytest.raises(Refused, match="pql_score is computed by the pipeline"):
        tools.call("crm.update_record", object_type="contact", id=contact, fields={"pql_score": score + 1})


def test_what_a_policy_leaves_to_people_an_assistant_leaves_too(shop: Shop, contact: str) -> None:
    [(score,)] = shop.asked("select max(pql_score) from marts.pql_scores where contact_id = ?", contact)
    LocalCrm(shop.data_dir / "crm.sqlite").update("contact", [FieldUpdate(contact, {"pql_score": 1.0}, "by hand")])
    careful = playbook_with(writes=WRITES)
    policies = Policies(contact={"pql_score": "if_empty"})
    careful = replace(careful, crm_fields=careful.crm_fields.model_copy(update={"policies": policies}))
    settings = settings_from({"PLS_DATA_DIR": str(shop.data_dir)})
    with (
        Tools(settings, careful, who="ann@acme.com", clock=shop.clock) as tools,
        pytest.raises(Refused, match="leaves what stands in the CRM to people, and it holds 1"),
    ):
        tools.call("crm.update_record", object_type="contact", id=contact, fields={"pql_score": score})


def test_a_plan_keeps_while_nobody_can_look(shop: Shop, contact: str) -> None:
    with shop.tools() as tools:
        plan = tools.call("crm.update_record", object_type="contact", id=contact, fields={"next_step": "call"})
        serving = shop.data_dir / "serving.duckdb"
        serving.rename(shop.data_dir / "away")
        with pytest.raises(Unavailable):
            tools.call("writes.confirm", token=plan.token)
        (shop.data_dir / "away").rename(serving)
        assert tools.call("writes.confirm", token=plan.token).decision == "written"
        with pytest.raises(NotFound):
            tools.call("writes.confirm", token=plan.token)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"object_type": "contact", "fields": {"owner_id": "OW-001"}}, WrongArguments),
        ({"object_type": "account", "fields": {"pql_score": 1.0}}, Refused),
        ({"object_type": "deal", "fields": {"next_step": "x"}}, WrongArguments),
        ({"object_type": "contact", "fields": {"next_step": None}}, WrongArguments),
        ({"object_type": "contact", "fields": {"next_step": ""}}, WrongArguments),
        ({"object_type": "contact", "fields": {}}, WrongArguments),
        ({"object_type": "contact", "fields": {"next_step": {"a": 1}}}, WrongArguments),
        ({"object_type": "contact", "fields": {"next_step": float("inf")}}, WrongArguments),
        ({"object_type": "contact", "fields": {"next_step": 2**70}}, WrongArguments),
        ({"object_type": "contact", "fields": {"next_step": "\x00"}}, Refused),
        ({"object_type": "contact", "fields": {"next_step": ["call", "\u200b"]}}, Refused),
    ],
)
def test_what_is_not_on_the_list_is_not_written(
    arguments: dict[str, Any], error: type[Exception], shop: Shop, contact: str
) -> None:
    with shop.tools() as tools, pytest.raises(error):
        tools.call("crm.update_record", {**arguments, "id": contact})


def test_somebody_writes_so_often_and_no_more(shop: Shop, contact: str) -> None:
    with shop.tools(limits={"writes_per_hour": 2}) as tools, shop.tools("bob@acme.com") as bob:

        def write(by: Tools, text: str) -> None:
            plan = by.call("crm.update_record", object_type="contact", id=contact, fields={"next_step": text})
            by.call("writes.confirm", token=plan.token)

        write(tools, "one")
        write(tools, "two")
        with pytest.raises(Refused, match="2 writes within an hour"):
            write(tools, "three")
        write(bob, "four")
        shop.clock.now += timedelta(minutes=61)
        write(tools, "five")


def test_the_limit_holds_for_calls_at_once(shop: Shop, contact: str) -> None:
    with shop.tools(limits={"writes_per_hour": 2}) as tools:
        plans = [
            tools.call("crm.update_record", object_type="contact", id=contact, fields={"next_step": f"step {number}"})
            for number in range(8)
        ]

        def confirm(plan: Any) -> bool:
            try:
                tools.call("writes.confirm", token=plan.token)
            except Refused:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(confirm, plans)) == 2


def test_a_list_is_written_as_it_can_be_seen(shop: Shop, contact: str) -> None:
    with shop.tools() as tools:
        fields = {"next_step": ["a\nb\u202e<b>\x00"]}
        plan = tools.call("crm.update_record", object_type="contact", id=contact, fields=fields)
        tools.call("writes.confirm", token=plan.token)
    assert shop.record("contact", contact)["next_step"] == ["a b<b>"]


def test_nothing_is_written_on_old_scores_or_when_flags_cannot_be_trusted(shop: Shop, contact: str) -> None:
    fields = {"object_type": "contact", "id": contact, "fields": {"next_step": "call"}}
    with shop.tools() as tools, shop.ledger() as ledger:
        ledger.set_meta(CRM_HOLD, "the contacts file was last delivered long ago")
        with pytest.raises(Refused, match="held_stale_crm: the contacts file"):
            tools.call("crm.update_record", fields)
        ledger.set_meta(CRM_HOLD, "")
        shop.clock.now += timedelta(hours=40)
        with pytest.raises(Refused, match="more than 26 h old"):
            tools.call("crm.update_record", fields)


def test_an_alert_that_does_not_arrive_can_be_sent_later(shop: Shop, quiet: tuple[str, list[str]]) -> None:
    (shop.data_dir / "outbox").write_text("in the way")
    with shop.tools() as tools:
        plan = tools.call("messaging.send_notification", alert(*quiet))
        with pytest.raises(Unavailable, match="it did not arrive"):
            tools.call("writes.confirm", token=plan.token)
        (shop.data_dir / "outbox").unlink()
        shop.clock.now += timedelta(minutes=1)
        plan = tools.call("messaging.send_notification", alert(*quiet))
        assert tools.call("writes.confirm", token=plan.token).decision == "written"
    assert len(shop.alerts()) == 1


@pytest.fixture
def event(shop: Shop) -> tuple[str, list[str]]:
    """An account with an event behind its alert, which is the same one whenever it is asked about."""
    [(account_id, trigger), *_] = shop.asked(
        "select account_id, triggers[1] from marts.handoff_decisions where decision = 'suppressed_baseline' "
        "and account_id is not null and list_has_any(triggers, ['hand_raise', 'upgrade_intent', 'limit_ticket']) "
        "and len(triggers) = 1 order by account_id"
    )
    shop.change("update marts.user_profiles set contact_lifecycle_stage = 'MQL' where account_id = ?", account_id)
    return account_id, [trigger]


def test_what_did_not_arrive_is_the_same_handoff_when_it_is_sent_later(
    shop: Shop, event: tuple[str, list[str]]
) -> None:
    writes = {name: {**rule, "confirm": False} for name, rule in WRITES.items()}
    with shop.ledger() as ledger:
        before = set(ledger.read_frame("handoffs")["handoff_id"])
    (shop.data_dir / "outbox").write_text("in the way")
    with shop.tools(writes=writes) as tools:
        for _ in range(2):
            with pytest.raises(Unavailable, match="it did not arrive .* plan it again later"):
                tools.call("messaging.send_notification", alert(*event))
            shop.clock.now += timedelta(minutes=10)
        (shop.data_dir / "outbox").unlink()
        tools.call("messaging.send_notification", alert(*event))
        with pytest.raises(Refused):
            tools.call("messaging.send_notification", alert(*event))
    assert len(shop.alerts()) == 1
    with shop.ledger() as ledger:
        [handoff] = [row for row in ledger.read_frame("handoffs").to_dicts() if row["handoff_id"] not in before]
        decisions = ledger.read_frame("handoff_decisions").filter(_is(handoff_id=handoff["handoff_id"]))
    assert (handoff["status"], handoff["created_at"]) == ("delivered", shop.clock.now)
    assert decisions["decided_at"].to_list() == [shop.clock.now]
    assert left_for_marketing(shop) == (["with_sales"], 1, [(_contact(handoff, shop), '{"pause_nurture": true}')])


def _contact(handoff: dict[str, Any], shop: Shop) -> str:
    [(contact_id,)] = shop.asked("select contact_id from marts.user_profiles where user_id = ?", handoff["user_id"])
    return str(contact_id)


def test_what_was_withdrawn_because_somebody_said_no_is_not_sent_later(
    shop: Shop, event: tuple[str, list[str]]
) -> None:
    (shop.data_dir / "outbox").write_text("in the way")
    with shop.tools() as tools, shop.ledger() as ledger:
        plan = tools.call("messaging.send_notification", alert(*event))
        with pytest.raises(Unavailable):
            tools.call("writes.confirm", token=plan.token)
        [failed] = ledger.read_frame("deliveries").filter(_is(destination="outbox", status="failed")).to_dicts()
        handoff = ledger.read_frame("handoffs").row(by_predicate=_is(handoff_id=failed["object_id"]), named=True)
        ledger.cancel_handoff(handoff, failed["delivery_id"], "opted out", shop.clock.now)
        (shop.data_dir / "outbox").unlink()
        plan = tools.call("messaging.send_notification", alert(*event))
        with pytest.raises(Refused, match="handed over before"):
            tools.call("writes.confirm", token=plan.token)
    assert shop.alerts() == []


def test_an_alert_that_may_have_arrived_is_not_sent_again(shop: Shop, event: tuple[str, list[str]]) -> None:
    with slack_server() as slack:
        variables = {"PLS_SLACK_BOT_TOKEN": TOKEN, "PLS_SLACK_BASE_URL": slack.base_url}
        slack.channels["C0000003"] = "sales"
        playbook = playbook_with(writes=WRITES)
        at_once = playbook.delivery.slack.model_copy(update={"look_up_after_seconds": 0})
        playbook = replace(playbook, delivery=playbook.delivery.model_copy(update={"slack": at_once}))
        settings = settings_from({"PLS_DATA_DIR": str(shop.data_dir), **variables})
        with Tools(settings, playbook, who="ann@acme.com", clock=shop.clock) as tools, shop.ledger() as ledger:
            plan = tools.call("messaging.send_notification", alert(*event))
            slack.faults["chat.postMessage"].append(HUNG_UP_AFTERWARDS)
            slack.faults["conversations.history"] += [Fault(503)] * 9
            with pytest.raises(Unavailable, match="nobody knows yet whether it arrived"):
                tools.call("writes.confirm", token=plan.token)
            with pytest.raises(Refused, match="suppressed_cooldown"):
                tools.call("messaging.send_notification", alert(*event))
            ledger.adopt_asked_for(shop.clock.now + timedelta(minutes=20))
            [waiting] = ledger.pending_handoffs()
    assert waiting["account_id"] == event[0]
    assert sum(len(messages) for messages in slack.messages.values()) == 1
    assert left_for_marketing(shop)[:2] == (["with_sales"], 1)


def test_an_alert_whose_sender_died_is_sent_by_the_next_run(shop: Shop, quiet: tuple[str, list[str]]) -> None:
    class Died(BaseException):
        pass

    with shop.tools() as tools:
        plan = tools.call("messaging.send_notification", alert(*quiet))
        (shop.data_dir / "outbox").mkdir()
        (shop.data_dir / "outbox" / f"{NOW:%Y-%m-%d}").write_text("in the way")
        settle = tools._ledger.settle

        def die(*arguments: Any, **named: Any) -> None:
            raise Died

        tools._ledger.settle = die  # type: ignore[method-assign]
        with pytest.raises(Died):
            tools.call("writes.confirm", token=plan.token)
        tools._ledger.settle = settle  # type: ignore[method-assign]
        assert [row["status"] for row in tools._ledger.pending_handoffs()] == []
        tools._ledger.adopt_asked_for(NOW + timedelta(minutes=20))
        [waiting] = tools._ledger.pending_handoffs()
    assert waiting["account_id"] == quiet[0]


def test_a_plan_masks_what_stands_in_the_crm(shop: Shop, contact: str) -> None:
    asked = {"object_type": "contact", "id": contact, "fields": {"next_step": "call Ann"}}
    with shop.tools() as tools:
        tools.call("writes.confirm", token=tools.call("crm.update_record", asked).token)
    with shop.tools(personal_data={"masked": ["next_step"]}) as tools:
        plan = tools.call("crm.update_record", asked | {"fields": {"next_step": "wait"}})
    assert "wait" in plan.preview[0] and "call Ann" not in plan.preview[0]
