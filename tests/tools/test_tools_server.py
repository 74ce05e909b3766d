"""The tools over MCP, as a real client meets them: on stdio, over HTTP with a token, and in process."""

import json
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from tool_shop import WRITES, tools_over

from dagster_project.settings import SettingsError, settings_from
from dagster_project.tools import Tools
from dagster_project.tools.server import asker_of, build_server, http_app

ANN, BOB = "a" * 20 + "nn", "b" * 20 + "ob"


def served(connect: Callable[[], Any], ask: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        async with Client(connect()) as client:
            return await ask(client)

    return anyio.run(run)


@pytest.fixture(scope="module")
def url(demo_copy: Path) -> Iterator[str]:
    """A server over HTTP; it accepts from the moment its socket listens."""
    with tools_over(demo_copy, writes=WRITES) as tools, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        app = http_app(tools, {ANN: "ann@acme.com", BOB: "bob@acme.com"}, host="127.0.0.1")
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        server.should_exit = True
        thread.join()


def over_http(url: str, token: str) -> Callable[[], Any]:
    client = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"})
    return lambda: streamable_http_client(url, http_client=client)


async def everything(client: Client) -> dict[str, Any]:
    """What a client sees: each tool listed, the hottest leads, and every reading tool called on the best of them."""
    listed = (await client.list_tools()).tools
    hottest = await client.call_tool("leads.get_hottest", {"limit": 3})
    lead = next(lead for lead in hottest.structured_content["leads"] if lead["account_id"])
    user_id, account_id = lead["user_id"], lead["account_id"]
    calls: dict[str, dict[str, Any]] = {
        "alerts.explain": {"subject": user_id},
        "analytics.get_metrics": {"user_id": user_id, "metrics": ["actions", "features_used"]},
        "crm.get_customer_data": {"account_id": account_id, "include": ["users", "usage", "owner"]},
        "lifecycle.get_segment": {"user_id": user_id, "include_account": True, "include_history": True},
        "analytics.ask": {"question": "where_do_people_stop_on_the_way_to_a_deal"},
    }
    answers = {name: await client.call_tool(name, arguments) for name, arguments in calls.items()}
    wrong = await client.call_tool("leads.get_hottest", {"limit": 3, "sql": "select 1"})
    unknown = await client.call_tool("shell.run", {"command": "ls"})
    return {"listed": listed, "hottest": hottest, "answers": answers, "wrong": wrong, "unknown": unknown}


def check(seen: dict[str, Any], *, writes: bool) -> None:
    listed = {tool.name: tool for tool in seen["listed"]}
    assert set(seen["answers"]) < set(listed)
    assert ("writes.confirm" in listed) is writes
    assert listed["leads.get_hottest"].annotations.read_only_hint is True
    for name, answer in {**seen["answers"], "leads.get_hottest": seen["hottest"]}.items():
        assert not answer.is_error, (name, answer.content)
        # Clients that know no structured content read the same as text.
        assert json.loads(answer.content[0].text) == answer.structured_content
    assert seen["wrong"].is_error and "there is no argument 'sql'" in seen["wrong"].content[0].text
    assert seen["unknown"].is_error and "there is no tool 'shell.run'" in seen["unknown"].content[0].text


def test_a_client_on_stdio(demo_copy: Path) -> None:
    program = "import sys; from dagster_project.cli import main; main(sys.argv[1:])"
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-c", program, "mcp", "--as", "ann@acme.com"],
        env={**os.environ, "PLS_DATA_DIR": str(demo_copy), "PLS_LEDGER_URL": "", "PLS_PLAYBOOK_DIR": ""},
    )
    check(served(lambda: parameters, everything), writes=False)
    with tools_over(demo_copy) as tools:
        asked = tools._ledger.read_frame("tool_calls")
    assert "shell.run" in asked.filter(asked["asked_by"] == "ann@acme.com")["tool"].to_list()


def test_a_client_over_http(url: str) -> None:
    check(served(over_http(url, ANN), everything), writes=True)


def test_a_client_of_an_older_protocol(tools: Tools) -> None:
    async def run() -> Any:
        async with Client(build_server(tools), mode="legacy") as client:
            return await everything(client)

    check(anyio.run(run), writes=False)


def test_a_token_says_who_asks_and_a_plan_is_theirs(url: str, demo_copy: Path, marts: Any) -> None:
    [(contact_id,), *_] = marts.sql(
        "select contact_id from marts.user_profiles where contact_id is not null and not (is_unsubscribed or "
        "email_opt_out or contact_do_not_contact or account_do_not_contact or contact_deleted or account_deleted) "
        "and suppression_reason is null order by contact_id desc"
    ).fetchall()
    write = {"object_type": "contact", "id": contact_id, "fields": {"next_step": "call"}}

    async def plan(client: Client) -> Any:
        return (await client.call_tool("crm.update_record", write)).structured_content

    async def confirm(client: Client) -> Any:
        return await client.call_tool("writes.confirm", {"token": planned["token"]})

    planned = served(over_http(url, ANN), plan)
    assert "asked for by ann@acme.com" in planned["summary"]
    assert served(over_http(url, BOB), confirm).is_error
    assert served(over_http(url, ANN), confirm).structured_content["decision"] == "written"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer " + "c" * 22},
        {"Authorization": f"Basic {ANN}"},
        {"Authorization": ANN},
        {"Authorization": f"Bearer {ANN[:-1]}"},
    ],
)
def test_without_a_token_there_is_nothing(headers: dict[str, str], url: str) -> None:
    answer = httpx2.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=headers)
    assert answer.status_code == 401
    assert "tools" not in answer.text


def test_a_page_in_a_browser_cannot_reach_it(url: str) -> None:
    """Another site's page that had learnt a token, or a name that leads to this machine, is turned away."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for header in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        answer = httpx2.post(url, json=body, headers={"Authorization": f"Bearer {ANN}", **header})
        assert answer.status_code in (403, 421)


def test_what_goes_wrong_inside_is_not_told(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Tools):
        def call(self, *arguments: Any, **named: Any) -> Any:
            raise RuntimeError("password=hunter2")

    async def ask(client: Client) -> Any:
        return await client.call_tool("leads.get_hottest", {})

    tools.__class__ = Broken
    try:
        answer = served(lambda: build_server(tools), ask)
    finally:
        tools.__class__ = Tools
    assert answer.is_error and "hunter2" not in answer.content[0].text


def test_tokens_are_read_from_one_variable_and_never_shown() -> None:
    settings = settings_from({"PLS_MCP_TOKENS": f" ann@acme.com={ANN}, bob@acme.com={BOB},"})
    assert settings.mcp_tokens == {ANN: "ann@acme.com", BOB: "bob@acme.com"}
    assert ANN not in repr(settings)
    find = asker_of(settings.mcp_tokens)
    assert (find(ANN), find(BOB), find(""), find(ANN + "x")) == ("ann@acme.com", "bob@acme.com", None, None)


@pytest.mark.parametrize("text", ["ann", "ann=short", f"={ANN}", f"ann={ANN},bob={ANN}"])
def test_tokens_that_cannot_be_used_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(SettingsError, match="PLS_MCP_TOKENS") as error:
        settings_from({"PLS_MCP_TOKENS": text})
    assert ANN not in str(error.value) and "short" not in str(error.value)
