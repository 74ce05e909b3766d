"""docs/assistant.md says what the tools say."""

import json
import re
from pathlib import Path

from conversations import DOCUMENT, conversations, demo_tools, rewritten
from installation import Installation
from tool_shop import copied, playbook_with

from dagster_project.tools import Tools


def test_the_answers_are_those_of_the_demo_company(demo_run: Installation, tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    with demo_tools(copied(demo_run, tmp_path / "data")) as tools:
        now = rewritten(text, tools)
    assert text == now, "answers have changed: PYTHONPATH=.:tests:tests/tools python tests/tools/conversations.py"
    assert conversations(text) == 10


def test_every_tool_is_explained(demo_copy: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    with demo_tools(demo_copy) as tools:
        told = {tool.name: tool.arguments.model_fields for tool in tools.listed()}
    listed = dict(re.findall(r"^\| `([\w.]+)\((.*?)\)` \|", text, re.MULTILINE))
    assert {name: arguments.split(", ") for name, arguments in listed.items()} == {
        name: list(fields) for name, fields in told.items()
    }


def test_the_example_in_the_whitelist_can_be_used() -> None:
    import yaml

    from dagster_project.playbook_files import PACKAGED

    commented = (PACKAGED / "assistant.yml").read_text(encoding="utf-8").partition("example to start with:\n#\n")[2]
    lines = [line.removeprefix("#") for line in commented.partition("writes: {}")[0].splitlines() if line.strip()]
    writes = yaml.safe_load("\n".join(lines))
    assert playbook_with(writes=writes).assistant.writes.update_record is not None


def test_the_client_settings_are_json(tools: Tools) -> None:
    [block] = re.findall(r"   ```json\n(.+?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    [server] = json.loads(block)["mcpServers"].values()
    assert server["args"][0] == "mcp"
