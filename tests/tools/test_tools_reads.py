"""Every reading tool against the published tables: the same numbers, and only what was asked for."""

from pathlib import Path
from typing import Any, get_args

import duckdb
import pytest
from installation import Installation
from tool_shop import copied, playbook_with, tools_over

from dagster_project.core.assistant_rules import MetricName
from dagster_project.tools import Tools
from dagster_project.tools.errors import NotFound, ToolError, WrongArguments
from dagster_project.tools.questions import known_questions

Marts = duckdb.DuckDBPyConnection


def one(marts: Marts, query: str, *parameters: Any) -> tuple[Any, ...]:
    found = marts.execute(query, list(parameters)).fetchall()
    assert found, query
    return found[0]


def test_every_signal_of_the_score_is_a_metric() -> None:
    scoring = playbook_with().scoring.pql
    assert {*scoring.usage, *scoring.engagement, *scoring.intent} <= set(get_args(MetricName))


def test_metrics_are_the_published_numbers(tools: Tools, marts: Marts) -> None:
    user_id, explanation = one(
        marts, "select user_id, explanation from marts.pql_scores order by pql_score desc, user_id limit 1"
    )
    answer = tools.call("analytics.get_metrics", metrics=list(get_args(MetricName)), user_id=user_id)
    metrics = {metric.metric: metric for metric in answer.metrics}
    assert list(metrics) == list(get_args(MetricName))
    for entry in explanation:
        metric = metrics.get(entry["signal"])
        if metric is None:
            continue
        assert (metric.tier, metric.points) == (entry["tier"], entry["points"]), metric
    [row] = marts.sql("select * from marts.user_profiles where user_id = ?", params=[user_id]).pl().to_dicts()
    assert metrics["actions"].value == row["actions"]
    assert metrics["feature_usage_by_user"].names == row["features_used"]
    assert metrics["session_frequency"].value == pytest.approx(row["sessions_per_week"], abs=0.005)
    assert metrics["integration_connections"].value == row["integrations"]
    assert metrics["upgrade_page_views"].value == row["upgrade_page_view"]
    assert (answer.period, (answer.as_of.date() - answer.from_day).days) == ("30d", 29)


def test_of_an_account_only_the_parts_that_were_asked_for_are_told(tools: Tools, marts: Marts) -> None:
    account_id, users = one(
        marts,
        "select account_id, count(*) from marts.pql_scores where account_id is not null group by 1 order by 2 desc",
    )
    answer = tools.call("crm.get_customer_data", account_id=account_id, include=["users", "owner"])
    assert (answer.usage, answer.firmographics, answer.opportunities) == (None, None, None)
    assert answer.users.total == users
    scores = [user.pql_score for user in answer.users.shown]
    assert scores == sorted(scores, reverse=True)
    everything = tools.call(
        "crm.get_customer_data",
        account_id=account_id,
        include=["users", "usage", "firmographics", "opportunities", "owner"],
    )
    assert everything.users == answer.users
    score, employees = one(
        marts,
        "select pqa_score, employee_count from marts.pqa_scores join marts.account_profiles using (account_id) "
        "where account_id = ?",
        account_id,
    )
    assert (everything.usage.pqa_score, everything.firmographics.employee_count) == (score, employees)


def test_opportunities_are_told_as_they_stand(tools: Tools, marts: Marts) -> None:
    account_id, open_ones = one(
        marts,
        "select account_id, count(*) filter (where is_open) from marts.crm_opportunities group by 1 "
        "having count(*) filter (where is_open) > 0 order by 1",
    )
    told = tools.call("crm.get_customer_data", account_id=account_id, include=["opportunities"]).opportunities
    assert sum(opportunity.is_open for opportunity in told.shown) == open_ones


def test_a_segment_comes_with_its_motion_history_and_account(tools: Tools, marts: Marts) -> None:
    user_id, account_id = one(marts, "select user_id, account_id from marts.pql_scores where account_id is not null")
    plain = tools.call("lifecycle.get_segment", user_id=user_id)
    assert (plain.history, plain.account) == (None, None)
    assert plain.playbook == list(playbook_with().segments.motions[plain.motion].playbook)
    full = tools.call("lifecycle.get_segment", user_id=user_id, include_history=True, include_account=True)
    assert full.history[0].valid_to is None
    assert full.history[0].segment == full.segment
    assert full.account.account_id == account_id


def test_the_hottest_leads_are_the_best_that_may_be_called(tools: Tools, marts: Marts) -> None:
    answer = tools.call("leads.get_hottest", limit=25)
    expected = marts.sql(
        "select user_id from marts.pql_scores join marts.user_profiles using (user_id) "
        "where classification in ('hot', 'warm') and not (is_unsubscribed or email_opt_out or contact_do_not_contact "
        "or account_do_not_contact or contact_deleted or account_deleted) and suppression_reason is null "
        "order by pql_score desc, user_id limit 25"
    ).fetchall()
    assert [lead.user_id for lead in answer.leads] == [user_id for (user_id,) in expected]
    for lead in answer.leads:
        contributions = [reason.contribution for reason in lead.reasons]
        assert contributions == sorted(contributions, reverse=True)
        assert all(reason.meaning for reason in lead.reasons)


def test_an_owner_is_known_by_id_email_and_name(tools: Tools, marts: Marts) -> None:
    owner_id = next(lead.owner_id for lead in tools.call("leads.get_hottest", limit=25).leads if lead.owner_id)
    email, name = one(marts, "select email, name from marts.crm_owners where owner_id = ?", owner_id)
    by_id = tools.call("leads.get_hottest", owner=owner_id)
    assert {lead.owner_id for lead in by_id.leads} == {owner_id}
    assert tools.call("leads.get_hottest", owner=email.upper()) == by_id
    assert tools.call("leads.get_hottest", owner=name) == by_id


def test_why_an_alert_was_sent_or_not(tools: Tools, marts: Marts) -> None:
    user_id, reason = one(
        marts,
        "select user_id, reason from marts.handoff_decisions where decision = 'sent' and user_id is not null "
        "order by decided_at desc, decision_id",
    )
    told = tools.call("alerts.explain", subject=user_id)
    assert any(decision.decision == "sent" and decision.reason == reason for decision in told.decisions)
    assert any("confirmed" in delivery for handoff in told.handoffs for delivery in handoff.deliveries)
    account_id, decision = one(
        marts,
        "select account_id, decision from marts.handoff_decisions where decision = 'suppressed_open_opportunity'",
    )
    assert decision in {found.decision for found in tools.call("alerts.explain", subject=account_id).decisions}
    quiet, *_ = one(
        marts,
        "select user_id from marts.pql_scores where account_id is null and user_id not in "
        "(select user_id from marts.handoff_decisions where user_id is not null) order by user_id",
    )
    assert tools.call("alerts.explain", subject=quiet).summary.startswith("Nothing was decided")


@pytest.mark.parametrize("question", sorted(playbook_with().assistant.reads.ask.questions))
def test_a_listed_question_is_answered(question: str, tools: Tools) -> None:
    answer = tools.call("analytics.ask", question=question)
    assert answer.rows
    assert all(len(row) == len(answer.columns) for row in answer.rows)
    assert answer.question == known_questions()[question].title


def test_an_answer_has_the_rows_that_the_limit_allows(demo_copy: Any) -> None:
    with tools_over(demo_copy, limits={"rows": 2}) as tools:
        answer = tools.call("analytics.ask", question="who_is_worth_a_call_today")
    assert (len(answer.rows), answer.left_out) == (2, True)


def test_personal_data_are_masked_until_the_playbook_shows_them(tools: Tools, demo_copy: Any, marts: Marts) -> None:
    user_id, email, name = one(
        marts,
        "select user_id, scores.email, contact_name from marts.pql_scores as scores join marts.user_profiles "
        "using (user_id) where contact_name is not null and classification = 'hot' order by pql_score desc, user_id",
    )
    calls: list[tuple[str, dict[str, Any]]] = [
        ("leads.get_hottest", {"limit": 25}),
        ("alerts.explain", {"subject": user_id}),
        ("analytics.ask", {"question": "who_is_worth_a_call_today"}),
    ]
    masked = "".join(tools.call(name, arguments).model_dump_json() for name, arguments in calls)
    assert email not in masked and name not in masked
    assert f"{email[0]}…@{email.partition('@')[2]}" in masked
    with tools_over(demo_copy, personal_data={"masked": []}) as open_hearted:
        shown = "".join(open_hearted.call(name, arguments).model_dump_json() for name, arguments in calls)
    assert email in shown and name in shown


def test_an_address_in_the_name_of_a_feature_is_masked_and_ids_are_not(demo_run: Installation, tmp_path: Path) -> None:
    folder = copied(demo_run, tmp_path / "data")
    with duckdb.connect(str(folder / "serving.duckdb")) as serving:
        serving.execute("update marts.account_profiles set features_used = ['report of dave@h2.example']")
        account_id, user_id = one(
            serving, "select account_id, user_id from marts.pql_scores where account_id is not null"
        )
    asked = {"account_id": account_id, "include": ["usage", "users"]}
    with tools_over(folder) as tools:
        said = tools.call("crm.get_customer_data", asked)
    assert said.usage.features_used == ["report of d…@h2.example"]
    assert said.account_id == account_id and user_id in [person.user_id for person in said.users.shown]


def test_reasons_name_nobody(tools: Tools, marts: Marts) -> None:
    rows = marts.sql(
        "select decisions.user_id, contact_name from marts.handoff_decisions as decisions join marts.user_profiles "
        "using (user_id) where decision = 'suppressed_no_contact' and contains(reason, contact_name)"
    ).fetchall()
    assert rows
    for user_id, name in rows:
        assert name not in tools.call("alerts.explain", subject=user_id).model_dump_json()


def test_a_question_about_everybody_names_nobody(demo_run: Installation, tmp_path: Path) -> None:
    data_dir = copied(demo_run, tmp_path / "data")
    with duckdb.connect(str(data_dir / "serving.duckdb")) as copy:
        [(name,)] = copy.sql("select max(contact_name) from marts.user_profiles").fetchall()
        copy.execute("update marts.handoff_decisions set reason = ?", [f"{name}: the contact opted out of e-mail"])
    with tools_over(data_dir) as tools:
        question = "what_happened_to_the_candidates_of_the_last_run_and_why"
        said = tools.call("analytics.ask", question=question).model_dump_json()
    assert ": the contact opted out" in said
    assert name not in said


def test_whoever_is_called_otherwise_now_is_not_named_either(demo_run: Installation, tmp_path: Path) -> None:
    data_dir = copied(demo_run, tmp_path / "data")
    with duckdb.connect(str(data_dir / "serving.duckdb")) as copy:
        [(user_id, name, email)] = copy.sql(
            "select user_id, contact_name, email from marts.user_profiles where contact_name is not null "
            "and user_id in (select user_id from marts.handoffs where contains(package_markdown, contact_name)) "
            "order by user_id limit 1"
        ).fetchall()
        for table in ("user_profiles", "pql_scores"):
            copy.execute(f"update marts.{table} set email = 'new@else.example' where user_id = ?", [user_id])
        copy.execute("update marts.user_profiles set contact_name = 'New Name' where user_id = ?", [user_id])
    with tools_over(data_dir) as tools:
        told = tools.call("leads.assess", subject=user_id).model_dump_json()
    assert "Sales Handoff Package" in told
    assert name not in told
    assert email not in told


def test_nobody_is_found_by_a_wrong_name_and_the_way_out_is_told(tools: Tools, marts: Marts) -> None:
    account_id, name, domain = one(
        marts, "select account_id, name, domain from marts.pqa_scores where domain is not null order by account_id"
    )
    with pytest.raises(NotFound, match=f"did you mean '{account_id}'"):
        tools.call("crm.get_customer_data", account_id=domain, include=["usage"])
    assert tools.call("alerts.explain", subject=domain.upper()).subject_id == account_id
    with pytest.raises(NotFound, match="no user has the id"):
        tools.call("lifecycle.get_segment", user_id=name)
    with pytest.raises(NotFound, match="the CRM has no owner 'nobody'"):
        tools.call("leads.get_hottest", owner="nobody")


def test_somebody_who_is_left_out_is_told_so(tools: Tools, marts: Marts) -> None:
    user_id, reason = one(marts, "select user_id, reason from marts.exclusions order by user_id")
    with pytest.raises(NotFound) as error:
        tools.call("lifecycle.get_segment", user_id=user_id)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("analytics.get_metrics", {"user_id": "u", "metrics": []}, "metrics: list should have at least 1 item"),
        (
            "analytics.get_metrics",
            {"user_id": "u", "metrics": ["actions"], "period": "90d"},
            "period is '90d'; expected",
        ),
        ("analytics.get_metrics", {"metrics": ["actions"]}, "user_id is missing"),
        ("leads.get_hottest", {"limit": 26}, "less than or equal to 25"),
        ("leads.get_hottest", {"limit": "5"}, "valid integer"),
        ("leads.get_hottest", {"owner": "x" * 201}, "at most 200 characters"),
        ("lifecycle.get_segment", {"user_id": "u", "where": "1=1"}, "there is no argument 'where'; there are user_id"),
        ("crm.get_customer_data", {"account_id": "a", "include": ["passwords"]}, "include[0] is 'passwords'; expected"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_right(
    name: str, arguments: dict[str, Any], said: str, tools: Tools
) -> None:
    with pytest.raises(WrongArguments) as error:
        tools.call(name, arguments)
    assert said in str(error.value)
    assert isinstance(error.value, ToolError)
