"""`pls parked`: messages of which nobody can tell whether they arrived, until a person does."""

import click

from dagster_project.clock import utc_now


@click.command()
@click.option("--arrived", multiple=True, metavar="MESSAGE", help="It is there: you have seen it.")
@click.option("--resend", multiple=True, metavar="MESSAGE", help="It is not there: the next run sends it.")
def parked(arrived: tuple[str, ...], resend: tuple[str, ...]) -> None:
    """List messages of which nobody can tell whether they arrived, or say what became of them."""
    from dagster_project.ledger import Ledger
    from dagster_project.parked import parked_messages, settle_parked
    from dagster_project.settings import environment_settings

    now = utc_now()
    with Ledger(environment_settings().ledger_url) as ledger:
        try:
            settle_parked(ledger, arrived=arrived, missing=resend, now=now)
        except LookupError as error:
            raise click.ClickException(str(error.args[0])) from error
        waiting = parked_messages(ledger)
    for message in waiting:
        click.echo(f"{message.key}  since {message.since:%Y-%m-%d %H:%M} UTC: {message.reason}")
    if not waiting:
        click.echo("Nothing is parked.")
