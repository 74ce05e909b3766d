"""`pls calibrate`: the report about past scores as text, as a page, and its suggestion as a playbook to look at."""

from pathlib import Path

import click


@click.command()
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the report with its pictures.")
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as text.")
@click.option(
    "--propose",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the suggested changes as a playbook into a new folder. Nothing is applied.",
)
@click.option("--model", default=None, help="A challenger, or a model version; the champion without.")
def calibrate(html: Path | None, markdown: Path | None, propose: Path | None, model: str | None) -> None:
    """Were the scores right? The report of the last full run, on the champion or another model."""
    from dagster_project.calibration_report import last_report, write_proposal
    from dagster_project.settings import environment_settings

    settings = environment_settings()
    found = last_report(settings, model)
    if html:
        html.write_text(found.page(), encoding="utf-8")
        click.echo(f"Report written to {html}")
    if markdown:
        markdown.write_text(found.text(), encoding="utf-8")
        click.echo(f"Report written to {markdown}")
    if propose:
        files = write_proposal(found.tables, settings.playbook_dir, propose)
        click.echo(f"Proposal written to {propose}: {', '.join(files)}. Nothing is applied; look at it with")
        click.echo(f"  pls plan --playbook {propose}")
    if not (html or markdown or propose):
        click.echo(found.text())
