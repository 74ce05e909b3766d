"""The calibration report from the serving copy, and the proposal that follows from it.

What it says is decided in `core/calibration/`, how it looks in `reports/`.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from dagster_project.core.calibration.changes import NotInTheFile, changed_text, changes_of
from dagster_project.core.calibration.published import Published, published_of
from dagster_project.core.calibration.report import report
from dagster_project.core.challenger_rules import CHAMPION, FOLDER
from dagster_project.core.playbook import FILES, load_playbook
from dagster_project.core.sections import as_markdown
from dagster_project.errors import PlsError
from dagster_project.playbook_files import PACKAGED, challenger_files
from dagster_project.reports.charts import as_svg, pictures
from dagster_project.reports.page import html_page
from dagster_project.settings import Settings

TITLE = "Were the scores right?"
_TABLES = {
    "rates": "calibration",
    **{
        name: f"calibration_{name}"
        for name in ("summary", "curves", "signals", "drift", "coverage", "suggestions", "challengers", "feedback")
    },
}


class CalibrationError(PlsError):
    """There is nothing to report or to propose; the message says why and what to do."""


@dataclass(frozen=True)
class LastReport:
    """What the last full run found out about one model.

    Attributes:
        tables: What was published about it.
        name: champion, the challenger's name, or nothing for a model of the past.
        about: What the playbook says of it.
    """

    tables: Published
    name: str
    about: str

    def text(self) -> str:
        """As Markdown, without pictures."""
        return as_markdown(report(self.tables), TITLE)

    def page(self) -> str:
        """As one HTML file with its pictures."""
        drawn = {name: as_svg(figure) for name, figure in pictures(self.tables).items()}
        known = self.tables.note("censored").partition("; ")[2]
        who = {"": "A model of the past", CHAMPION: "The champion"}.get(self.name, f"Challenger {self.name}")
        judged = self.tables.note("judged_on")
        told = [
            f"{who}{f': {self.about}' if self.about else ''}",
            f"model {self.tables.model_version or 'unknown'}",
            *([f"judged on {judged}"] if judged else []),
            *([known] if known else []),
        ]
        return html_page(report(self.tables), drawn, title=TITLE, told="; ".join(told))


def last_report(settings: Settings, model: str | None) -> LastReport:
    """Read what the last full run published.

    Args:
        settings: Where the serving copy is.
        model: A challenger's name or a model version; None is the champion, whose scores are published.

    Raises:
        CalibrationError: Nothing has been published, or nothing about that model.
    """
    if not settings.serving.exists():
        raise CalibrationError(f"{settings.serving} is not there: nothing has been scored yet; start with `pls run`")
    with duckdb.connect(str(settings.serving), read_only=True) as serving:
        try:
            tables = {name: serving.sql(f"from marts.{table}").pl() for name, table in _TABLES.items()}
            present = serving.sql("select model_version, name, about from marts.models").fetchall()
        except duckdb.CatalogException as error:
            raise CalibrationError(
                f"{settings.serving} was published by an older version without calibration: run `pls run`"
            ) from error
    models = {version: (name, about) for version, name, about in present}
    versions = {name: version for version, (name, _) in models.items()}
    wanted = versions.get(model or CHAMPION, model or "")
    known = sorted({*tables["summary"]["model_version"], *models})
    if wanted not in known:
        named = ", ".join([*versions, *(version for version in known if version not in models)])
        raise CalibrationError(f"no day was scored by model {model}; there are {named}")
    name, about = models.get(wanted, ("", ""))
    return LastReport(published_of(tables, wanted), name, about)


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
    for path in challenger_files(playbook_dir) if playbook_dir else []:
        (target / FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(path, target / FOLDER / path.name)
    for name, text in texts.items():
        (target / name).write_text(_HEADER.format(reason=found.note("suggestion")) + text, encoding="utf-8")
    return files


_HEADER = "# A proposal of `pls calibrate`, not applied. {reason}\n"


def _live_text(name: str, playbook_dir: Path | None) -> str:
    own = playbook_dir / name if playbook_dir else None
    return (own if own and own.exists() else PACKAGED / name).read_text(encoding="utf-8")
