"""Why arguments can't be used, in words that say what can."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dagster_project.core.escaping import plain
from dagster_project.tools.desk import Tool


def explained(tool: Tool, error: ValidationError) -> str:
    """One line for each problem.

    Args:
        tool: The tool that was called.
        error: What its arguments said.
    """
    known = ", ".join(tool.arguments.model_fields)
    return f"{tool.name}: " + "; ".join(dict.fromkeys(_problem(detail, known) for detail in error.errors()))


def _problem(detail: ErrorDetails, known: str) -> str:
    steps = [step for step in detail["loc"] if step != "[key]"]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    where = plain(path.removeprefix("."))
    match detail["type"]:
        case "extra_forbidden":
            return f"there is no argument {where!r}; there are {known}"
        case "missing":
            return f"{where} is missing"
        case "literal_error":
            return f"{where} is {plain(detail['input'])!r}; expected {detail['ctx']['expected']}"
        case "value_error":
            return f"{where}: {detail['ctx']['error']}"
        case _:
            return f"{where}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
