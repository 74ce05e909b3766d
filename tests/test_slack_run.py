"""The step that hands over, with Slack connected: from the environment's names to people's conversations."""

import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from clients.slack_server import HUNG_UP, HUNG_UP_AFTERWARDS, TOKEN, slack_server
from installation import END, Installation
from ledger_rows import handoff, plan

from dagster_project.actions import action_request
from dagster_project.clock import utc_now
from dagster_project.core.actions import Action
from dagster_project.core.feedback import Answer
from dagster_project.ledger import Ledger


@pytest.fixture
def company(demo_run: Installation, tmp_path: Path) -> Installation:
    """A scored company of one's own."""
    copy = Installation(tmp_path / "company")
    shutil.copytree(demo_run.data_dir, copy.data_dir)
    return copy


def hand_over(company: Installation, **variables: str) -> None:
    from dagster_project.definitions import build_definitions
    from dagster_project.defs.resources import Workplace

    ledger_url = f"sqlite:///{company.data_dir / 'ledger.sqlite'}"
    places = {"PLS_DATA_DIR": str(company.data_dir), "PLS_LEDGER_URL": ledger_url, "PLS_AS_OF": END.isoformat()}
    job = build_definitions(workplace=Workplace(overrides=places | variables)).resolve_job_def("score_everything")
    with dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["handoffs", "delivered"]), dg.AssetKey(["crm", "actions"])]
        )


def an_owner_and_a_user(company: Installation) -> tuple[str, str, str]:
    """An active owner, their id in Slack, and a user who has not said no."""
    with duckdb.connect(str(company.warehouse), read_only=True) as warehouse:
        [found] = warehouse.sql(
            "select owner_id, slack_user_id, (select user_id from features.user_features where as_of = owners.as_of "
            "and not is_unsubscribed and suppression_reason is null and contact_id is null "
            "and not coalesce(account_do_not_contact or account_deleted, false) order by user_id limit 1) "
            "from features.owners where is_active order by as_of desc, owner_id limit 1"
        ).fetchall()
    return found


def test_handoffs_reach_their_recipients_and_whoever_is_unknown_by_then_is_left_out(company: Installation) -> None:
    owner, person, user = an_owner_and_a_user(company)
    with Ledger(f"sqlite:///{company.data_dir / 'ledger.sqlite'}") as ledger:
        known = {"user_id": user, "recipient_id": owner, "created_at": END, "due_at": END + timedelta(hours=1)}
        ledger.apply_handoff_plan(
            plan(
                handoff(handoff_id="ho_1", **known),
                handoff(handoff_id="ho_2", **known | {"account_id": "a_2"}),
                handoff(handoff_id="ho_3", user_id="nobody", recipient_id=owner),
            )
        )
    with slack_server() as slack:
        slack.people = {person: "D0000009"}
        slack.started_at = time.time()
        slack.faults["chat.postMessage"] += [HUNG_UP_AFTERWARDS, HUNG_UP]
        hand_over(
            company,
            PLS_SLACK_BOT_TOKEN=TOKEN,
            PLS_SLACK_BASE_URL=slack.base_url,
            PLS_SLACK_SIGNING_SECRET="secret",
            PLS_PLAYBOOK_DIR=str(impatient(company.data_dir)),
        )
        assert slack.keys() == ["handoff/ho_1/alert", "handoff/ho_2/alert"]
        assert [message["blocks"][-1]["type"] for message in slack.messages["D0000009"]] == ["actions", "actions"]
    with Ledger(f"sqlite:///{company.data_dir / 'ledger.sqlite'}") as ledger:
        ends = ledger.read_frame("handoffs").filter(candidate_key="ca_1").sort("handoff_id")["status"].to_list()
    assert ends == ["delivered", "delivered", "cancelled"]


def test_whoever_says_no_after_they_were_handed_over_is_told_of_in_the_thread_and_once(company: Installation) -> None:
    owner, person, user = an_owner_and_a_user(company)
    known = {"user_id": user, "recipient_id": owner, "created_at": utc_now() - timedelta(days=2), "due_at": utc_now()}
    later = known | {"handoff_id": "ho_2", "created_at": utc_now() - timedelta(days=1)}
    with slack_server() as slack:
        slack.people, slack.started_at = {person: "D0000009"}, time.time()
        settings = {"PLS_SLACK_BOT_TOKEN": TOKEN, "PLS_SLACK_BASE_URL": slack.base_url}
        for row in (
            handoff(**known),
            handoff(**later),
            handoff(**later | {"handoff_id": "ho_3", "status": "not_a_fit"}),
        ):
            with Ledger(f"sqlite:///{company.data_dir / 'ledger.sqlite'}") as ledger:
                ledger.apply_handoff_plan(plan(row))
            hand_over(company, **settings)
        with duckdb.connect(str(company.warehouse)) as warehouse:
            warehouse.execute(
                "update features.user_features set is_unsubscribed = true, contact_deleted = true where user_id = ?",
                [user],
            )
        hand_over(company, **settings)
        assert len(slack.keys()) == 2, "who said no in the past may have taken it back"
        settings["PLS_AS_OF"] = utc_now().isoformat()
        for _ in range(2):
            hand_over(company, **settings)
        with Ledger(f"sqlite:///{company.data_dir / 'ledger.sqlite'}") as ledger:
            ledger.keep_answer(Answer("ho_2", "not_a_fit", owner, utc_now(), "slack"), chat="slack")
        hand_over(company, **settings)
        assert slack.keys() == ["handoff/ho_1/alert", "handoff/ho_2/alert", "handoff/ho_2/stop"]
        begun, _, said = slack.messages["D0000009"]
        assert (said["thread_ts"], said["reply_broadcast"]) == (begun["ts"], True)
        assert said["blocks"][0]["text"]["text"] == f"<@{person}> 🛑"
        assert said["blocks"][1]["text"]["text"].startswith("Do not contact ")
        assert said["blocks"][1]["text"]["text"].endswith(
            " any more: the user unsubscribed in the product. (🔥 Hot PQL Alert: Acme)"
        )


def test_who_has_claimed_it_from_a_colleague_hears_that_somebody_says_no(company: Installation) -> None:
    owner, person, user = an_owner_and_a_user(company)
    known = {"user_id": user, "recipient_id": owner, "created_at": utc_now() - timedelta(days=2), "due_at": utc_now()}
    with slack_server() as slack:
        slack.people, slack.started_at = {person: "D0000009", "U7777777": "D0000007"}, time.time()
        settings = {"PLS_SLACK_BOT_TOKEN": TOKEN, "PLS_SLACK_BASE_URL": slack.base_url}
        with Ledger(f"sqlite:///{company.data_dir / 'ledger.sqlite'}") as ledger:
            ledger.apply_handoff_plan(plan(handoff(**known)))
        hand_over(company, **settings)
        with Ledger(f"sqlite:///{company.data_dir / 'ledger.sqlite'}") as ledger:
            ledger.keep_answer(Answer("ho_1", "claimed", "U7777777", utc_now(), "slack"), chat="slack")
        with duckdb.connect(str(company.warehouse)) as warehouse:
            warehouse.execute("update features.user_features set is_unsubscribed = true where user_id = ?", [user])
        hand_over(company, **settings, PLS_AS_OF=utc_now().isoformat())
        [told] = slack.messages["D0000007"]
        assert told["blocks"][0]["text"]["text"] == "<@U7777777> 🛑"
        assert [message["metadata"]["event_payload"]["key"] for message in slack.messages["D0000009"]] == [
            "handoff/ho_1/alert"
        ]


def test_a_handoff_waits_as_long_as_nobody_knows_who_may_be_contacted(company: Installation) -> None:
    with Ledger(f"sqlite:///{company.data_dir / 'ledger.sqlite'}") as ledger:
        user_id = ledger.read_frame("handoffs").filter(status="delivered").sort("handoff_id")["user_id"][0]
        ledger.apply_handoff_plan(plan(handoff(user_id=user_id)))
        ledger.apply_handoff_plan(plan(), requests=[action_request("crm:local", call(user_id))], now=END)
    with duckdb.connect(str(company.warehouse), read_only=True) as warehouse:
        [(delivered,)] = warehouse.sql(
            "select max(delivered_at) from raw.crm_extracts join raw.files using (file_id)"
        ).fetchall()

    def ends(as_of: datetime) -> tuple[bool, str, str]:
        hand_over(company, PLS_AS_OF=as_of.isoformat())
        with Ledger(f"sqlite:///{company.data_dir / 'ledger.sqlite'}") as ledger:
            [row] = ledger.read_frame("handoffs").filter(handoff_id="ho_1").to_dicts()
            [asked] = ledger.read_frame("deliveries").filter(action_key="call").to_dicts()
        return bool([*company.data_dir.rglob("ho_1.md")]), row["status"], asked["status"]

    assert ends(delivered + timedelta(days=9)) == (False, "pending", "pending")
    assert ends(delivered + timedelta(days=7)) == (True, "delivered", "confirmed")


def call(user_id: str) -> Action:
    return Action("call", "task", "contact", "c_1", {"subject": "Call", "body": "Now", "user_id": user_id})


def impatient(folder: Path) -> Path:
    """A playbook in which what is in doubt is looked up at once."""
    from dagster_project.playbook_files import PACKAGED

    own = folder / "playbook"
    own.mkdir()
    text = (PACKAGED / "delivery.yml").read_text(encoding="utf-8")
    (own / "delivery.yml").write_text(text.replace("look_up_after_seconds: 30", "look_up_after_seconds: 0"))
    return own
