"""The calibration report from the serving copy, and the proposal that follows from it.

What it says is decided in `core/calibration/`, how it looks in `reports/`.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from dagster_project.core.calibration.changes import NotInTheFile, changed_text, changes_of
from dagster_project.core.calibration.report import Published, as_markdown, published_of, report
from dagster_project.core.playbook import FILES, load_playbook
from dagster_project.playbook_files import PACKAGED
from dagster_project.reports.charts import as_svg, pictures
from dagster_project.reports.page import html_page
from dagster_project.settings import Settings

TITLE = "Were the scores right?"
_TABLES = {
    "rates": "calibration",
    **{
        name: f"calibration_{name}"
        for name in ("summary", "curves", "signals", "drift", "coverage", "suggestions", "feedback")
    },
}


class CalibrationError(RuntimeError):
    """There is nothing to report or to propose; the message says why and what to do."""


@dataclass(frozen=True)
class LastReport:
    """What the last full run found out about one model."""

    tables: Published

    def text(self) -> str:
        """As Markdown, without pictures."""
        return as_markdown(report(self.tables), TITLE)

    def page(self) -> str:
        """As one HTML file with its pictures."""
        drawn = {name: as_svg(figure) for name, figure in pictures(self.tables).items()}
        known = self.tables.note("censored").partition("; ")[2]
        told = f"Model {self.tables.model_version or 'unknown'}{f'; {known}' if known else ''}"
        return html_page(report(self.tables), drawn, title=TITLE, told=told)


def last_report(settings: Settings, model: str | None) -> LastReport:
    """Read what the last full run published.

    Args:
        settings: Where the serving copy is.
        model: A model version; None is the one that the published scores are by.

    Raises:
        CalibrationError: Nothing has been published, or nothing about that model.
    """
    if not settings.serving.exists():
        raise CalibrationError(f"{settings.serving} is not there: nothing has been scored yet; start with `pls run`")
    with duckdb.connect(str(settings.serving), read_only=True) as serving:
        try:
            tables = {name: serving.sql(f"from marts.{table}").pl() for name, table in _TABLES.items()}
        except duckdb.CatalogException as error:
            raise CalibrationError(
                f"{settings.serving} was published by an older version without calibration: run `pls run`"
            ) from error
        live = serving.sql("select max(model_version) from marts.pql_scores").fetchall()[0][0]
    versions = sorted(set(tables["summary"]["model_version"]))
    if model is not None and model not in versions:
        known = ", ".join(versions) or "none"
        raise CalibrationError(f"no past day was scored by model {model}; models with scores of past days: {known}")
    return LastReport(published_of(tables, model or live or ""))


def write_proposal(found: Published, playbook_dir: Path | None, target: Path) -> list[str]:
    """Write the suggestion as a playbook: the user's files, and those that change, changed.

    Args:
        found: What was published about the live model.
        playbook_dir: The live playbook; None is the packaged one.
        target: A folder that isn't there yet, or is empty.

    Returns:
        The names of the changed files.

    Raises:
        CalibrationError: Nothing is suggested, the playbook has changed since, or the folder holds something.
    """
    changes = changes_of(found.suggestions)
    if not changes:
        raise CalibrationError(f"nothing is suggested. {found.note('suggestion')}".strip())
    if target.exists() and any(target.iterdir()):
        raise CalibrationError(f"{target} is not empty: name a new folder, so that nothing in it is lost")
    files = sorted({change.file for change in changes})
    try:
        texts = {
            name: changed_text(_live_text(name, playbook_dir), [c for c in changes if c.file == name]) for name in files
        }
    except NotInTheFile as error:
        raise CalibrationError(f"{error}. Run `pls run` with the present playbook, then propose again") from error
    load_playbook({name: texts.get(name) or _live_text(name, playbook_dir) for name in FILES})
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(playbook_dir.glob("*.y*ml")) if playbook_dir else []:
        shutil.copyfile(path, target / path.name)
    for name, text in texts.items():
        (target / name).write_text(_HEADER.format(reason=found.note("suggestion")) + text, encoding="utf-8")
    return files


_HEADER = "# A proposal of `pls calibrate`, not applied. {reason}\n"


def _live_text(name: str, playbook_dir: Path | None) -> str:
    own = playbook_dir / name if playbook_dir else None
    return (own if own and own.exists() else PACKAGED / name).read_text(encoding="utf-8")
