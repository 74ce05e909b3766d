"""What `pls run` shows while it works: a line per finished step, with its seconds.

Dagster hands every event of a run to the run's loggers; this one draws them for a person at a terminal and lets
the full log go to the instance, where the UI shows it.
"""

import logging
from collections.abc import Callable

import dagster as dg
from rich.console import Console
from rich.markup import escape

from dagster_project.core.escaping import plain
from dagster_project.transform import ROWS_FOUND

STEP_TITLES = {
    "raw__playbook_rules": "Playbook read",
    "raw__product_events": "Product events loaded",
    "raw__crm_records": "CRM extracts loaded",
    "raw__email_domains": "E-mail domains resolved",
    "raw__moments": "Moment set",
    "feature_models": "Usage, engagement and intent features computed",
    "scores": "Users and accounts scored",
    "scores__models": "Champion named, challengers scored",
    "scores__daily_scores": "Past days scored",
    "handoffs__answers": "Answers read back from the CRM",
    "handoffs__decisions": "Handoffs decided",
    "handoffs__delivered": "Handoffs delivered",
    "crm__plan": "CRM changes planned",
    "crm__fields": "CRM fields brought up to date",
    "crm__actions": "CRM asked to do what was decided",
    "ledger_copy": "Ledger copied for SQL",
    "mart_models": "Marts built",
    "product__traits": "Traits sent to the product",
    "serving__serving_database": "Serving copy replaced",
}
TELL_HOW_FAR = frozenset({"raw__product_events", "scores__daily_scores"})
"""Steps whose own words are shown while they last."""


class _StepHandler(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.DEBUG)
        self._say = say
        self._started: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event is None:
            said = meta.get("orig_message", record.getMessage())
            # What is left out after a failure goes without saying.
            if record.levelno >= logging.WARNING and not said.endswith("Not executing."):
                self._say(f"  [yellow]![/] {escape(said)}")
            elif record.levelno == logging.INFO and meta.get("step_key") in TELL_HOW_FAR:
                self._say(f"    [dim]{escape(said)}[/]")
            return
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            self._told_of_check(event.asset_check_evaluation_data)
            return
        step = event.step_key
        if event.event_type_value == "STEP_START":
            self._started[step] = record.created
        elif event.event_type_value in ("STEP_SUCCESS", "STEP_FAILURE"):
            succeeded = event.event_type_value == "STEP_SUCCESS"
            if succeeded and step not in STEP_TITLES:
                return  # a check, of which only failures are news
            mark = "[green]✓[/]" if succeeded else "[red]✗[/]"
            seconds = record.created - self._started.get(step, record.created)
            self._say(f"  {mark} {STEP_TITLES.get(step, step)} [dim]{seconds:.1f} s[/]")

    def _told_of_check(self, check: dg.AssetCheckEvaluation) -> None:
        if not check.passed:
            colour = "yellow" if check.severity == dg.AssetCheckSeverity.WARN else "red"
            asset = "/".join(check.asset_key.path)
            told = _told_by(check)
            self._say(f"  [{colour}]![/] check {check.check_name} of {asset} found {escape(told)}; see the UI")


def _told_by(check: dg.AssetCheckEvaluation) -> str:
    """How many rows a test of dbt's has found; else what a check says in words and numbers."""
    said = {name: value.value for name, value in check.metadata.items()}
    if isinstance(rows := said.get(ROWS_FOUND), int):
        return "1 row" if rows == 1 else f"{rows:,} rows"
    short = {name: value for name, value in said.items() if isinstance(value, str | int | float) and "/" not in name}
    return "; ".join(f"{name}: {plain(value)}" for name, value in short.items()) or "something"


def step_logger(console: Console) -> dg.LoggerDefinition:
    """A Dagster logger that prints a line per finished step to `console`."""

    def build(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("pls.progress", level=logging.DEBUG)
        logger.addHandler(_StepHandler(lambda line: console.print(line, highlight=False, soft_wrap=True)))
        return logger

    return dg.LoggerDefinition(build, description="One line per finished step, for a person at a terminal")
