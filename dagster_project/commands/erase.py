"""`pls erase`: take a person out of what the ledger, the embedded CRM and the outbox keep."""

import click


@click.command()
@click.argument("user_id")
@click.option("--also", multiple=True, metavar="TEXT", help="Another name or address of theirs.")
@click.option("--yes", is_flag=True, help="Without asking: it can't be undone.")
def erase(user_id: str, also: tuple[str, ...], yes: bool) -> None:
    """Take a person out of all texts that are kept for good, and say where else they are named."""
    from dagster_project.clients.local_crm import LocalCrm
    from dagster_project.defs.resources import Workplace
    from dagster_project.erasing import (
        erase_from_ledger,
        erase_from_local_crm,
        erase_from_outbox,
        files_that_name,
        person_of,
    )

    workplace = Workplace()
    settings = workplace.settings
    with workplace.locked():
        person = person_of(settings.serving, user_id, also)
        if not yes:
            click.confirm(f"Erase {', '.join(sorted(person.texts))} ({user_id})?", abort=True)
        with workplace.ledger() as ledger:
            files = erase_from_outbox(settings.outbox, ledger, person)
            crm = LocalCrm(settings.local_crm) if settings.local_crm.exists() else None
            records = erase_from_local_crm(crm, ledger, person) if crm else 0
            rows = erase_from_ledger(ledger, person)
        named_in = files_that_name(settings.warehouse, person)
    click.echo(
        f"Erased from {rows:,} rows of the ledger, {records:,} records and tasks of the embedded CRM and {files:,} "
        "files of the outbox. Left for you to do:"
    )
    for path in named_in:
        click.echo(f"  take the person's rows out of landing/{path}")
    click.echo(f"  remove {settings.warehouse} and its .keys, and run `pls run`: both are made anew")
    click.echo("  wipe older runs from Dagster's storage: `dagster run wipe`, or `dagster run delete`")
    click.echo(
        "  delete them in the product, the CRM and Slack; keep them on the suppression list if they ever said no"
    )
