"""`analytics.ask`: the questions of docs/sql.md, by name. The SQL is the document's; nobody else's is run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import Field

from dagster_project.core.assistant_rules import AskRule
from dagster_project.core.playbook import PlaybookError
from dagster_project.settings import PROJECT_ROOT
from dagster_project.tools.desk import Desk, Result, Tool, arguments, one_of

NAME = "analytics.ask"
DOCUMENT = PROJECT_ROOT / "docs" / "sql.md"
_QUERY = re.compile(r"^## \d+\. (.+?)$.*?```sql\n(.+?)```", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Question:
    """A question and the query that answers it."""

    title: str
    query: str


class Answer(Result):
    """The rows that answer a question."""

    question: str
    columns: list[str]
    rows: list[list[Any]]
    left_out: bool = Field(description="Whether there are more rows than are shown")


@cache
def known_questions() -> Mapping[str, Question]:
    """The questions of docs/sql.md by name: the heading in small letters, words joined."""
    found = _QUERY.findall(DOCUMENT.read_text(encoding="utf-8"))
    return {"_".join(re.findall(r"[a-z0-9]+", title.lower())): Question(title, query) for title, query in found}


def ask_tool(rule: AskRule) -> Tool:
    """The tool with the questions that the whitelist names.

    Raises:
        PlaybookError: docs/sql.md has no such question.
    """
    known = known_questions()
    if unknown := [name for name in rule.questions if name not in known]:
        raise PlaybookError(
            f"assistant.yml: reads.analytics.ask.questions: docs/sql.md has no question {', '.join(unknown)}; expected "
            f"some of {', '.join(known)}"
        )
    listed = "; ".join(f"{name}: {known[name].title}" for name in rule.questions)
    return Tool(
        name=NAME,
        title="A question about everybody",
        description=f"Answers one of these questions with a table, from the newest scores. {listed}",
        arguments=arguments(
            NAME,
            question=(one_of(rule.questions), Field(description="Its name")),
        ),
        result=Answer,
        run=ask,
    )


def _named_in(desk: Desk, text: str) -> list[dict[str, Any]]:
    """Everybody whose name or address stands in a text, whatever column it is in."""
    columns = ("email", "user_name", "contact_name")
    stands = " or ".join(f"(length({column}) > 1 and contains($1, {column}))" for column in columns)
    return desk.serving.rows(f"select {', '.join(columns)} from marts.user_profiles where {stands}", [text])


def _shown(desk: Desk, name: str, value: Any, people: list[dict[str, Any]]) -> Any:
    if name in desk.mask.columns or not isinstance(value, str) or not value.strip().count(" "):
        return desk.mask.value(name, value)  # what has no blank is an id, by which other tools are asked
    return desk.mask.text(value, people)


def ask(desk: Desk, *, question: str) -> Answer:
    """The rows of a documented query."""
    limit = desk.playbook.assistant.limits.rows
    found = desk.serving.rows(known_questions()[question].query, at_most=limit + 1)
    people = _named_in(desk, "\n".join(value for row in found for value in row.values() if isinstance(value, str)))
    rows = [{name: _shown(desk, name, value, people) for name, value in row.items()} for row in found]
    return Answer(
        question=known_questions()[question].title,
        columns=list(rows[0]) if rows else [],
        rows=[list(row.values()) for row in rows[:limit]],
        left_out=len(rows) > limit,
    )
