"""`pls why` and `pls assess`: answers about one user or account, from the serving copy."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dagster_project.core.whys import Dossier

_SUBJECT = "<user id, e-mail, account id, domain or account name>"


@click.command()
@click.argument("subject", metavar=_SUBJECT)
def why(subject: str) -> None:
    """Say why somebody was handed over, or why nobody heard of them."""
    from dagster_project.core.whys import why as answer
    from dagster_project.playbook_files import read_playbook
    from dagster_project.settings import environment_settings

    dossier = _dossier(subject)
    for line in answer(dossier, read_playbook(environment_settings().playbook_dir)):
        click.echo(line)


@click.command()
@click.argument("subject", metavar=_SUBJECT)
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of Markdown.")
def assess(subject: str, as_json: bool) -> None:
    """Assess a user or an account: scores, signals, what to do next, and the handoff package."""
    from dagster_project.core.assessments import assess as assessed
    from dagster_project.core.assessments import assessment_json, assessment_markdown
    from dagster_project.playbook_files import read_playbook
    from dagster_project.settings import environment_settings

    dossier = _dossier(subject)
    if dossier.excluded:
        raise click.ClickException(f"{subject} is not scored: {dossier.excluded['reason']}")
    assessment = assessed(dossier, read_playbook(environment_settings().playbook_dir))
    if as_json:
        click.echo(json.dumps(assessment_json(assessment), indent=2, ensure_ascii=False))
    else:
        click.echo(assessment_markdown(assessment), nl=False)


def _dossier(subject: str) -> "Dossier":
    from dagster_project.settings import environment_settings
    from dagster_project.subjects import UnknownSubject, find_dossier

    try:
        return find_dossier(environment_settings().serving, subject)
    except UnknownSubject as error:
        raise click.ClickException(str(error)) from None
