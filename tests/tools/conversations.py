"""The conversations of docs/assistant.md: what is asked stands there, what is answered is written there by this.

PYTHONPATH=.:tests:tests/tools python tests/tools/conversations.py
"""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from installation import END, FIRST_SCORED, Installation
from tool_shop import WRITES, copied, tools_over

from dagster_project.tools import Tools
from dagster_project.tools.errors import ToolError

DOCUMENT = Path(__file__).parents[2] / "docs" / "assistant.md"
_ASKED = re.compile(
    r"(\*\*The assistant asks\*\* `(?P<tool>[\w.]+)`\n\n```json\n(?P<arguments>.+?)\n```\n)"
    r"(\n\*\*and is told\*\*\n\n````?\w+\n.*?\n````?\n)?",
    re.DOTALL,
)
_ITEMS, _LETTERS, _LINES = 3, 240, 24


def rewritten(text: str, tools: Tools) -> str:
    """The document with the answers that the tools give now."""
    tokens: list[str] = []

    def answered(found: re.Match[str]) -> str:
        arguments = json.loads(found["arguments"])
        if arguments.get("token") == "<token>":
            arguments["token"] = tokens[-1]
        try:
            answer = tools.call(found["tool"], arguments).model_dump(mode="json")
        except ToolError as error:
            return f"{found[1]}\n**and is told**\n\n```text\n{error}\n```\n"
        if answer.get("token"):
            tokens.append(answer["token"])
        return f"{found[1]}\n**and is told**\n\n{_shown(answer)}\n"

    return _ASKED.sub(answered, text)


def conversations(text: str) -> int:
    """How many of them there are."""
    return len(re.findall(r"^### \d+\. ", text, re.MULTILINE))


def _shown(answer: dict[str, Any]) -> str:
    if "markdown" in answer:
        lines = answer["markdown"].splitlines()
        return "\n".join(["````markdown", *lines[:_LINES], *(["…"] if len(lines) > _LINES else []), "````"])
    return f"```json\n{json.dumps(_excerpt(answer), indent=1, ensure_ascii=False)}\n```"


def _excerpt(value: Any, name: str = "") -> Any:
    """The same, with long lists and texts cut, no nulls, and a word for what is another one each time."""
    if isinstance(value, dict):
        return {key: _excerpt(item, key) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        most = _LINES if name == "preview" else _ITEMS
        return [*(_excerpt(item) for item in value[:most]), *(["…"] if len(value) > most else [])]
    if name in ("token", "delivery_id"):
        return f"<{name}>"
    if isinstance(value, str) and len(value) > _LETTERS:
        return value[:_LETTERS] + "…"
    return value


def demo_tools(data_dir: Path) -> Tools:
    """Tools over the demo company, with writing switched on."""
    return tools_over(data_dir, writes=WRITES)


def _scored(folder: Path) -> Iterator[Installation]:
    from dagster_project.demo.company import write_demo_company

    installation = Installation(folder)
    write_demo_company(installation.landing, 7, users=400, accounts=60, days=90, end=END)
    installation.run(as_of=FIRST_SCORED)
    installation.run()
    yield installation


def main() -> None:
    """Run the demo company and write the answers into the document."""
    with tempfile.TemporaryDirectory() as scratch:
        [installation] = _scored(Path(scratch) / "demo")
        with demo_tools(copied(installation, Path(scratch) / "data")) as tools:
            DOCUMENT.write_text(rewritten(DOCUMENT.read_text(encoding="utf-8"), tools), encoding="utf-8")


if __name__ == "__main__":
    main()
