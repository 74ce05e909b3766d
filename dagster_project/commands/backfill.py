"""`pls backfill`: the scores of days that are over."""

import os
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--from", "first", type=_DAY, default=None, help="First day, UTC.  [default: the day of the first event]")
@click.option("--to", "last", type=_DAY, default=None, help="Last day, UTC.  [default: the last that is over]")
def backfill(first: datetime | None, last: datetime | None) -> None:
    """Score days that are over, by what was known then. Stopped, it goes on where it was."""
    from dagster_project.run import run_backfill

    console = Console()
    outcome = run_backfill(
        console,
        Path(os.environ["DAGSTER_HOME"]),
        first=first.date() if first else None,
        last=last.date() if last else None,
    )
    if not outcome.success:
        raise click.ClickException(outcome.cause)
    console.print(f"marts.daily_scores in {outcome.settings.serving}", markup=False, highlight=False, soft_wrap=True)
