"""`pls answer`: says what became of a handoff where there is neither a button nor a CRM task to say it with."""

from datetime import timedelta

import click

from dagster_project.clock import utc_now


@click.command()
@click.argument("handoff_id")
@click.argument("label", type=click.Choice(["claimed", "snoozed", "not_a_fit", "closed"]))
@click.option("--days", type=click.IntRange(1, 9999), default=7, show_default=True, help="How long a snooze is.")
@click.option("--by", default=None, help="Who says so.")
def answer(handoff_id: str, label: str, days: int, by: str | None) -> None:
    """Answer a handoff (its id is the name of its file in the outbox): claimed, snoozed, not_a_fit or closed."""
    from dagster_project.clients.slack import SlackBot
    from dagster_project.core.feedback import Answer
    from dagster_project.ledger import Ledger
    from dagster_project.settings import environment_settings

    now = utc_now()
    until = now + timedelta(days=days) if label == "snoozed" else None
    with Ledger(environment_settings().ledger_url) as ledger:
        try:
            said = Answer(handoff_id, label, by, now, "cli", until)  # type: ignore[arg-type]
            ledger.keep_answer(said, chat=SlackBot.name)
        except LookupError as error:
            raise click.ClickException(str(error.args[0])) from error
    click.echo(f"{handoff_id}: {label}" + (f" until {until:%Y-%m-%d %H:%M} UTC" if until else ""))
