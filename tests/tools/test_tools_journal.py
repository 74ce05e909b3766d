"""Every call is in the ledger, with what came of it and without secrets."""

import json
from pathlib import Path
from typing import Any

import pytest
from tool_shop import WRITES, tools_over

from dagster_project.tools import Tools
from dagster_project.tools.errors import ToolError


def calls(tools: Tools) -> list[dict[str, Any]]:
    return tools._ledger.read_frame("tool_calls").sort("change").to_dicts()


def test_each_call_is_kept_with_its_decision_and_the_size_of_the_answer(demo_copy: Path) -> None:
    with tools_over(demo_copy, writes=WRITES) as tools:
        before = len(calls(tools))
        answer = tools.call("leads.get_hottest", limit=2)
        for name, arguments in (("leads.get_hottest", {"limit": 99}), ("drop.tables", {"all": True})):
            with pytest.raises(ToolError):
                tools.call(name, arguments, who="bob@acme.com")
        answered, refused, unknown = calls(tools)[before:]
    assert (answered["asked_by"], answered["tool"], answered["decision"]) == (
        "ann@acme.com",
        "leads.get_hottest",
        "answered",
    )
    assert json.loads(answered["arguments"]) == {"limit": 2}
    assert answered["result_bytes"] == len(answer.model_dump_json())
    assert (refused["asked_by"], refused["decision"]) == ("bob@acme.com", "refused")
    assert "less than or equal to 25" in refused["reason"]
    assert (unknown["decision"], json.loads(unknown["arguments"])) == ("refused", {"all": "(hidden)"})


@pytest.mark.parametrize(
    "secret",
    [
        "xoxb-123456-abcdef",
        "Bearer abcdefghijklmnop",
        "ghp_0123456789abcdef0123",
        "https://hooks.slack.com/services/T0/B0/x",
    ],
)
def test_secrets_are_not_kept(secret: str, demo_copy: Path) -> None:
    with tools_over(demo_copy, writes=WRITES) as tools:
        for name, arguments in (
            ("alerts.explain", {"subject": f"who is {secret}"}),
            ("alerts.explain", {"subject": "x", "password": "hunter2"}),
            ("writes.confirm", {"token": "a-token-that-somebody-guessed"}),
            (f"tool {secret}", {}),
        ):
            with pytest.raises(ToolError):
                tools.call(name, arguments)
        kept = json.dumps(calls(tools), default=str)
    for told in (secret, "hunter2", "a-token-that-somebody-guessed"):
        assert told not in kept


def test_an_error_inside_is_kept_as_a_failure_that_tells_nothing(demo_copy: Path) -> None:
    with tools_over(demo_copy) as tools:
        tools._serving = None  # type: ignore[assignment]
        with pytest.raises(AttributeError):
            tools.call("leads.get_hottest", limit=1)
        last = calls(tools)[-1]
        tools._serving = type("Closed", (), {"close": lambda self: None})()  # type: ignore[assignment]
    assert (last["decision"], last["reason"]) == ("failed", "it ended in an error that is not the caller's")


def test_a_long_argument_is_cut(demo_copy: Path) -> None:
    with tools_over(demo_copy) as tools:
        with pytest.raises(ToolError):
            tools.call("alerts.explain", subject="x" * 5000)
        assert len(calls(tools)[-1]["arguments"]) < 2100
