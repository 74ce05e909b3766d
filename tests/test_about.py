"""`pls why` and `pls assess` over a scored demo company, and the shape that section 8 asks for."""

import json
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner
from installation import Installation

from dagster_project.subjects import UnknownSubject, find_dossier

HEADINGS = [
    "## Product-Led Sales Assessment",
    "### Lead/Account:",
    "### Qualification Scores",
    "### Key Signals",
    "### Recommended Action",
    "### Sales Handoff Package",
    "### Segment:",
]


@pytest.fixture
def ask(demo_run: Installation, monkeypatch: pytest.MonkeyPatch) -> Any:
    from dagster_project.cli import pls

    monkeypatch.setenv("PLS_DATA_DIR", str(demo_run.data_dir))

    def run(*words: str) -> str:
        result = CliRunner().invoke(pls, list(words))
        assert result.exit_code == 0, result.output
        return result.output

    return run


def rows(serving: Path, query: str) -> list[Any]:
    with duckdb.connect(str(serving), read_only=True) as copy:
        return copy.sql(query).fetchall()


def one(installation: Installation, query: str) -> Any:
    [(value,)] = rows(installation.serving, query)[:1]
    return value


def test_a_domain_is_found_as_the_crm_writes_it_and_as_a_browser_shows_it(
    demo_run: Installation, tmp_path: Path
) -> None:
    serving = shutil.copy(demo_run.serving, tmp_path)
    domain = "select domain, account_id from marts.pqa_scores where account_id not like 'domain:%' and domain <> ''"
    [(host, account_id), *_] = rows(serving, f"{domain} order by account_id")
    with duckdb.connect(str(serving)) as copy:
        for table in ("pqa_scores", "account_profiles"):
            site = f"https://www.{host}/x"
            copy.execute(f"update marts.{table} set domain = ? where account_id = ?", [site, account_id])
    for asked in (host, host.upper(), f"www.{host}", f"https://{host}/pricing"):
        account = find_dossier(Path(serving), asked).account
        assert account is not None and account["account_id"] == account_id, asked


def test_who_has_no_account_is_one_person_under_all_ids_of_an_address(demo_run: Installation, tmp_path: Path) -> None:
    serving = Path(shutil.copy(demo_run.serving, tmp_path))
    ids = [name for (name,) in rows(serving, "select user_id from marts.pql_scores order by 1 limit 3")]
    changed = "email = 'ann@mail.example', account_id = null where list_contains(?, user_id)"
    with duckdb.connect(str(serving)) as copy:
        for table in ("pql_scores", "user_profiles"):
            copy.execute(f"update marts.{table} set {changed}", [ids[:2]])
        [(handoff_id,)] = copy.sql("select min(handoff_id) from marts.handoffs").fetchall()
        copy.execute("delete from marts.handoffs where handoff_id <> ?", [handoff_id])
        copy.execute("update marts.handoffs set user_id = ?, account_id = null, status = 'delivered'", [ids[0]])
    sent = [find_dossier(serving, name).sent() for name in ids]
    assert [one["handoff_id"] if one else None for one in sent] == [handoff_id, handoff_id, None]


def test_of_several_accounts_with_one_name_none_is_taken_for_another(demo_run: Installation, tmp_path: Path) -> None:
    serving = shutil.copy(demo_run.serving, tmp_path)
    ids = [account_id for (account_id,) in rows(serving, "select account_id from marts.pqa_scores order by 1 limit 2")]
    with duckdb.connect(str(serving)) as copy:
        for table in ("pqa_scores", "account_profiles"):
            copy.execute(f"update marts.{table} set name = 'Twin Group' where list_contains(?, account_id)", [ids])
    with pytest.raises(UnknownSubject, match=f"ask for one of them by its id: .*{re.escape(ids[0])}"):
        find_dossier(Path(serving), "twin group")


def test_an_assessment_has_the_headings_of_section_8_in_their_order(demo_run: Installation, ask: Any) -> None:
    sent = one(demo_run, "select user_id from marts.handoffs where account_id is not null order by 1 limit 1")
    for subject in (sent, one(demo_run, f"select account_id from marts.pql_scores where user_id = '{sent}'")):
        text = ask("assess", subject)
        found = re.findall(r"^#{2,3} .*$", text, re.MULTILINE)
        assert [heading for heading in found if not any(heading.startswith(known) for known in HEADINGS)] == []
        assert [h.split(":")[0] for h in found] == [h.rstrip(":") for h in HEADINGS]
        assert re.search(r"^\| PQL Score \| [\d.]+/100 \| (hot|warm|developing|not_ready)", text, re.MULTILINE)
        assert re.search(r"^\| PQA Score \| [\d.]+/100 \|", text, re.MULTILINE)
        assert re.search(r"^\| Account Fit \| [\d.]+/100 \| (enterprise|mid-market|smb)", text, re.MULTILINE)
        parts = ("**Usage:**", "**Engagement:**", "**Intent:**", "**Motion:**", "**Next Step:**", "**Timing:**")
        assert [part for part in (*parts, "**Playbook:**") if part not in text] == []
        assert "#### " in text.split("### Sales Handoff Package")[1]


@pytest.mark.parametrize("of", ["email", "upper(email)", "user_id"])
def test_a_user_is_found_by_mail_and_id(of: str, demo_run: Installation, ask: Any) -> None:
    who = "(select user_id from marts.pql_scores where email is not null order by pql_score desc, user_id limit 1)"
    subject = one(demo_run, f"select {of} from marts.pql_scores where user_id = {who}")
    told = json.loads(ask("assess", "--json", subject))
    assert told["scores"][0]["score"].endswith("/100")
    assert set(told) == {
        "name", "scores", "signals", "motion", "next_step", "timing", "package_markdown", "no_package", "segment",
        "playbook",
    }  # fmt: skip
    assert list(told["signals"]) == ["Usage", "Engagement", "Intent"]


@pytest.mark.parametrize("of", ["account_id", "domain", "name"])
def test_an_account_is_found_by_id_domain_and_name(of: str, demo_run: Installation, ask: Any) -> None:
    subject = one(
        demo_run, f"select {of} from marts.pqa_scores where domain is not null order by pqa_score desc limit 1"
    )
    text = ask("assess", subject)
    name = one(demo_run, "select name from marts.pqa_scores where domain is not null order by pqa_score desc limit 1")
    assert f"### Lead/Account: {name}" in text


def test_why_says_the_decision_its_reason_and_what_became_of_the_handoff(demo_run: Installation, ask: Any) -> None:
    query = "select {} from marts.handoff_decisions where decision = '{}' order by decision_id limit 1"
    for decision in ("sent", "suppressed_self_serve", "suppressed_baseline"):
        user_id = one(demo_run, query.format("user_id", decision))
        told = ask("why", user_id)
        assert decision in told
        assert one(demo_run, query.format("reason", decision)) in told
    sent = one(demo_run, query.format("user_id", "sent"))
    assert "alert by outbox: confirmed" in ask("why", sent)


def test_a_company_that_the_crm_knows_by_now_keeps_what_was_decided_about_it(
    demo_run: Installation, tmp_path: Path
) -> None:
    [(user_id, account_id), *_] = rows(
        demo_run.serving, "select user_id, account_id from marts.handoffs where account_id is not null order by 1"
    )
    copy = tmp_path / "serving.duckdb"
    shutil.copyfile(demo_run.serving, copy)
    with duckdb.connect(str(copy)) as serving:
        for table in ("pql_scores", "pqa_scores", "user_profiles", "account_profiles"):
            serving.execute(f"update marts.{table} set account_id = 'A-1' where account_id = ?", [account_id])
    for asked in (user_id, "A-1"):
        dossier = find_dossier(copy, asked)
        sent = dossier.sent()
        assert sent and (sent["user_id"], sent["account_id"]) == (user_id, account_id)
        assert dossier.decisions


def test_why_says_how_far_triggers_are_from_firing_where_none_has(demo_run: Installation, ask: Any) -> None:
    quiet = one(
        demo_run,
        "select user_id from marts.pql_scores as s where account_id is null and not exists (select 1 from "
        "marts.handoff_decisions as d where d.user_id = s.user_id) order by 1 limit 1",
    )
    told = ask("why", quiet)
    assert "nothing has fired" in told
    assert "fires above 80" in told
    assert "**Next Step:**" in ask("assess", quiet)


def test_who_is_excluded_is_told_so_and_a_stranger_gets_the_ways_to_ask(demo_run: Installation, ask: Any) -> None:
    from dagster_project.cli import pls

    excluded = one(demo_run, "select user_id from marts.exclusions order by 1 limit 1")
    assert "is not scored: " in ask("why", excluded)
    for words in (["assess", excluded], ["why", "nobody@nowhere.example"]):
        result = CliRunner().invoke(pls, words)
        assert result.exit_code == 1
        assert "not scored" in result.output or "ask for a user id, an e-mail, an account id" in result.output


def test_before_a_first_run_the_way_out_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster_project.cli import pls

    monkeypatch.setenv("PLS_DATA_DIR", str(tmp_path))
    result = CliRunner().invoke(pls, ["why", "anybody"])
    assert (result.exit_code, "run `pls run` first" in result.output) == (1, True)


def test_a_handoff_long_past_is_no_next_step(demo_run: Installation) -> None:
    from dataclasses import replace

    from dagster_project.core.assessments import assess
    from dagster_project.playbook_files import read_playbook
    from dagster_project.subjects import find_dossier

    sent = one(demo_run, "select user_id from marts.handoffs order by created_at desc, 1 limit 1")
    dossier = find_dossier(demo_run.serving, sent)
    assert assess(dossier, read_playbook(None)).timing.startswith("due ")
    over = [{**row, "status": "not_a_fit"} for row in dossier.handoffs]
    answered = assess(replace(dossier, handoffs=tuple(over)), read_playbook(None))
    assert re.fullmatch(r"None for now: handed over on 20..-..-.., and answered with not_a_fit\.", answered.next_step)
    old = [{**row, "created_at": row["created_at"] - timedelta(days=40)} for row in dossier.handoffs]
    aged = assess(replace(dossier, handoffs=tuple(old), audiences=()), read_playbook(None))
    assert not aged.timing.startswith("due ")
    assert aged.package_markdown


def test_nobody_is_sent_to_whom_others_work_on_or_who_said_no(demo_run: Installation) -> None:
    from dataclasses import replace

    from dagster_project.core.assessments import assess
    from dagster_project.playbook_files import read_playbook
    from dagster_project.subjects import find_dossier

    sent = one(demo_run, "select user_id from marts.handoffs order by created_at desc, 1 limit 1")
    dossier, rules = find_dossier(demo_run.serving, sent), read_playbook(None)
    assert dossier.user and dossier.account
    left = {**dossier.decisions[0], "decision": "suppressed_customer", "reason": "they pay already"}
    elsewhere = replace(dossier, handoffs=(), audiences=(), decisions=(left, *dossier.decisions))
    assert assess(elsewhere, rules).next_step == "None for now: they pay already."
    aged = replace(elsewhere, decisions=({**left, "decided_at": left["decided_at"] - timedelta(days=40)},))
    assert "None for now" not in assess(aged, rules).next_step
    dealt_with = replace(aged, account={**dossier.account, "has_open_opportunity": True})
    assert "its owner works on it already" in assess(dealt_with, rules).next_step
    of_a_colleague = tuple({**row, "user_id": "a colleague"} for row in dossier.handoffs)
    assert "who was handed a colleague" in assess(replace(dossier, handoffs=of_a_colleague), rules).next_step
    said_no = assess(replace(dossier, user={**dossier.user, "email_opt_out": True}), rules)
    assert said_no.package_markdown is None
    assert said_no.no_package and said_no.no_package.startswith("nobody may contact them: ")
