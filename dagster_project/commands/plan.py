"""`pls plan`: what a changed playbook would do, before it does it."""

import sys
from pathlib import Path

import click

LIMIT_PASSED = 3
"""The exit code when the proposal passes a limit, for continuous integration."""


@click.command()
@click.option(
    "--playbook",
    "proposal",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The changed playbook, read as PLS_PLAYBOOK_DIR would be: a file that it lacks is the packaged one.",
)
@click.option("--challenger", default=None, help="Instead of a changed playbook: this challenger as the champion.")
@click.option("--markdown", is_flag=True, help="As Markdown, for a pull request.")
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, help="How many movers to name.")
def plan(proposal: Path | None, challenger: str | None, markdown: bool, top: int) -> None:
    """Compare a playbook with the live one on current data; exit code 3 when it passes a limit of calibration.yml."""
    if (proposal is None) == (challenger is None):
        raise click.UsageError("expected either --playbook DIR or --challenger NAME")
    import duckdb
    from polars.exceptions import ColumnNotFoundError
    from rich.console import Console

    from dagster_project.core.models import promoted
    from dagster_project.core.planning.plan import passed_limits, sections
    from dagster_project.core.sections import as_markdown
    from dagster_project.playbook_files import read_playbook
    from dagster_project.playbook_plan import make_plan
    from dagster_project.reports.terminal import print_sections
    from dagster_project.settings import environment_settings

    settings = environment_settings()
    live = read_playbook(settings.playbook_dir)
    proposed = read_playbook(proposal) if challenger is None else promoted(live, challenger)
    try:
        made = make_plan(settings, live, proposed, top=top)
    except (duckdb.CatalogException, duckdb.BinderException, ColumnNotFoundError) as error:
        raise click.ClickException(f"the tables were made by another version: run `pls run` once ({error})") from error
    # The live limits hold: a proposal can't loosen the ones that it is judged by.
    shown = sections(made, live.calibration.limits)
    if markdown:
        click.echo(as_markdown(shown, "What this playbook would do"))
    else:
        print_sections(Console(), shown)
    if passed_limits(made, live.calibration.limits):
        sys.exit(LIMIT_PASSED)
