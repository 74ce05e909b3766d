"""What is not on the list does not exist: not in the tool list, not in a schema, not by trying."""

from pathlib import Path
from typing import Any

import pytest
from tool_shop import WRITES, playbook_with, tools_over

from dagster_project.core.playbook import PlaybookError
from dagster_project.tools import Tools
from dagster_project.tools.errors import ToolError, UnknownTool, WrongArguments

READING = {
    "leads.get_hottest",
    "leads.assess",
    "alerts.explain",
    "analytics.get_metrics",
    "crm.get_customer_data",
    "lifecycle.get_segment",
    "analytics.ask",
}


def names(tools: Tools) -> set[str]:
    return {tool.name for tool in tools.listed()}


def test_the_packaged_whitelist_reads_and_does_not_write(tools: Tools) -> None:
    assert names(tools) == READING
    assert not any(tool.writes for tool in tools.listed())


def test_a_tool_that_is_not_listed_is_not_there(demo_copy: Path) -> None:
    with tools_over(demo_copy, reads={"lifecycle.get_segment": {}}) as tools:
        assert names(tools) == {"lifecycle.get_segment"}
        for name in READING - {"lifecycle.get_segment"}:
            with pytest.raises(UnknownTool, match=r"there is no tool .*; there are lifecycle\.get_segment"):
                tools.call(name, {})


def test_writing_tools_are_there_when_they_are_named(demo_copy: Path) -> None:
    with tools_over(demo_copy, writes=WRITES) as tools:
        assert names(tools) == READING | {"messaging.send_notification", "crm.update_record", "writes.confirm"}
    at_once = {name: {**rule, "confirm": False} for name, rule in WRITES.items()}
    with tools_over(demo_copy, writes=at_once) as tools:
        assert "writes.confirm" not in names(tools)
    with tools_over(demo_copy, writes={"crm.update_record": WRITES["crm.update_record"]}) as tools:
        assert names(tools) == READING | {"crm.update_record", "writes.confirm"}


def test_schemas_name_what_the_whitelist_leaves(demo_copy: Path) -> None:
    reads = {"analytics.get_metrics": {"metrics": ["actions"]}, "crm.get_customer_data": {"include": ["usage"]}}
    with tools_over(demo_copy, reads=reads, writes=WRITES) as tools:
        text = {tool.name: str(tool.input_schema()) for tool in tools.listed()}
        assert "team_invites" not in text["analytics.get_metrics"]
        assert "firmographics" not in text["crm.get_customer_data"]
        assert "'sales_slack'" in text["messaging.send_notification"]
        assert "#sales" not in text["messaging.send_notification"]
        assert "next_step" in text["crm.update_record"]
        with pytest.raises(WrongArguments, match="expected 'actions'"):
            tools.call("analytics.get_metrics", metrics=["team_invites"], user_id="u_000001")
        with pytest.raises(WrongArguments, match="expected 'usage'"):
            tools.call("crm.get_customer_data", account_id="A-000001", include=["firmographics"])


def test_every_tool_explains_itself(demo_copy: Path) -> None:
    with tools_over(demo_copy, writes=WRITES) as tools:
        for tool in tools.listed():
            assert len(tool.description) > 60, tool.name
            schema = tool.input_schema()
            assert (schema["type"], schema["additionalProperties"]) == ("object", False)
            assert [name for name, field in schema["properties"].items() if not field.get("description")] == []
            assert tool.output_schema()["type"] == "object"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"reads": {"analytics.get_metrics": {"metrics": ["revenue"]}}},
            "reads.analytics.get_metrics.metrics[0]: found",
        ),
        (
            {"reads": {"analytics.drop_tables": {}}},
            "reads.analytics.drop_tables: unknown key, expected one of analytics",
        ),
        ({"writes": {"crm.update_record": {"fields": {"contact": ["owner_id"]}}}}, "contact: owner_id can't be"),
        (
            {"writes": {"crm.update_record": {"fields": {"contact": ["title", "hs_email_optout"]}}}},
            "contact: hs_email_optout (email_opt_out, says crm_sources.yml) can't be",
        ),
        (
            {"writes": {"crm.update_record": {"fields": {"account": ["OWNERID"]}}}},
            "account: OWNERID (owner_id, says crm_sources.yml) can't be",
        ),
        (
            {
                "writes": {
                    "crm.update_record": {"fields": {"contact": ["title"]}, "signature": {"contact": "do_not_contact"}}
                }
            },
            "signature.contact: do_not_contact can't be",
        ),
        ({"writes": {"crm.update_record": {"fields": {"account": []}}}}, "account: expected at least one field"),
        (
            {"writes": {"crm.update_record": {"fields": {"deal": ["amount"]}}}},
            "assistant.yml: writes.crm.update_record",
        ),
        ({"writes": {"messaging.send_notification": {"channels": {}, "types": ["pql_alert"]}}}, "channels"),
        ({"limits": {"rows": 0}}, "assistant.yml: limits.rows"),
    ],
)
def test_a_whitelist_that_cannot_be_used_names_file_and_key(sections: dict[str, Any], said: str) -> None:
    with pytest.raises(PlaybookError) as error:
        playbook_with(**sections)
    assert "assistant.yml: " in str(error.value)
    assert said in str(error.value)


def test_a_question_that_no_document_has_is_named(demo_copy: Path) -> None:
    with pytest.raises(PlaybookError, match=r"assistant\.yml: reads\.analytics\.ask\.questions: .* who_is_tall"):
        tools_over(demo_copy, reads={"analytics.ask": {"questions": ["who_is_tall"]}})


def test_a_masked_column_that_is_nowhere_is_named(demo_copy: Path) -> None:
    with pytest.raises(PlaybookError, match=r"personal_data\.masked: no column is called emial; did you mean email\?"):
        tools_over(demo_copy, personal_data={"masked": ["emial", "person", "beginning"]})


def test_the_whitelist_is_no_reason_to_score_everybody_again() -> None:
    assert playbook_with().fingerprint() == playbook_with(writes=WRITES).fingerprint()


@pytest.mark.parametrize("name", ["", "analytics.get_metrics ", "__import__", "leads.get_hottest\n"])
def test_a_strange_name_is_no_tool(name: str, tools: Tools) -> None:
    with pytest.raises(ToolError, match="there is no tool"):
        tools.call(name, {})
