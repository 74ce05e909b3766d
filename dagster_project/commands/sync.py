"""`pls sync`: the CRM brought up to date from what was scored last, shown beforehand, set up."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dagster_project.core.sync import PLAN_SCHEMA, counts_of, differences

if TYPE_CHECKING:
    from dagster_project.activation import SyncResult
    from dagster_project.defs.resources import Workplace

SHOWN = 50
"""Differences that are printed; `activation.crm_plan` in the warehouse has all of the last run's."""


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would change, field by field, and send nothing.")
@click.option("--retry-parked", is_flag=True, help="Try again what the CRM has refused for good.")
@click.option("--rewrite", is_flag=True, help="Write everything again: the CRM lost what was written to it.")
@click.option("--yes", is_flag=True, help="Change more records than crm_fields.yml allows for one run.")
@click.option("--crm", default=None, help="Another CRM than PLS_CRM.")
@click.option("--setup", is_flag=True, help="Make the fields that the CRM lacks and say which rights are missing.")
def sync(dry_run: bool, retry_parked: bool, rewrite: bool, yes: bool, crm: str | None, setup: bool) -> None:
    """Write to the CRM what was scored last, where it differs."""
    from dagster_project.defs.resources import Workplace

    console = Console()
    workplace = Workplace(overrides={"PLS_CRM": crm} if crm else {})
    with workplace.locked():
        if setup:
            _set_up(console, workplace, dry_run=dry_run)
        else:
            _sync(console, workplace, dry_run=dry_run, retry_parked=retry_parked, rewrite=rewrite, yes=yes)


def _sync(
    console: Console, workplace: "Workplace", *, dry_run: bool, retry_parked: bool, rewrite: bool, yes: bool
) -> None:
    from dagster_project.activation import SendRules, send_plan
    from dagster_project.clients.crm import CrmError
    from dagster_project.clients.local_crm import LocalCrm
    from dagster_project.core.moments import resolve_as_of
    from dagster_project.crm_troubles import still_refused, too_many, troubles_of
    from dagster_project.field_plans import plan_fields, without_unknown
    from dagster_project.landing.feeds import silence_hold
    from dagster_project.ledger_memory import check_memory
    from dagster_project.refresh import NO_FEATURES, features_stand
    from dagster_project.wanted_fields import made_contacts, wanted_fields
    from dagster_project.warehouse import has_table

    rules = workplace.playbook.crm_fields
    if not workplace.settings.warehouse.exists():
        raise click.ClickException(f"nothing has been scored in {workplace.settings.data_dir} yet: pls run")
    with workplace.connect() as connection:
        if not has_table(connection, "scores.pql_scores"):
            raise click.ClickException("nothing is scored yet: run `pls run` first")
        if not features_stand(connection):
            raise click.ClickException(NO_FEATURES)
        with workplace.ledger() as ledger:
            check_memory(ledger, connection, workplace.settings)
            made = made_contacts(ledger, rules, workplace.settings.crm_destination)
        desired = wanted_fields(connection, rules, workplace.settings.crm, is_full=True, made=made)
        as_of = resolve_as_of(workplace.settings.as_of, workplace.now())
        hold = silence_hold(connection, as_of, workplace.playbook.sources.feed_silence)
    known = {kind: rows.height for kind, rows in desired.items()}
    if hold and rewrite:
        raise click.ClickException(
            f"{hold}; what stood there before is not known with --rewrite: wait until it delivers"
        )
    if hold:
        console.print(hold, markup=False, highlight=False, soft_wrap=True)
    plan_kind = partial(plan_fields, retry_parked=retry_parked, rewrite=rewrite, hold_decreases=hold)
    client = workplace.crm()
    with workplace.ledger() as ledger, TemporaryDirectory() as folder:
        try:
            if isinstance(client, LocalCrm) and any(known.values()) and client.is_empty():
                settings = workplace.settings
                raise click.ClickException(f"{settings.local_crm} has no records: `pls run` brings them back")
            there = {kind: without_unknown(client, kind, target) for kind, target in rules.targets().items()}
            plans = {
                kind: _Plan(Path(folder) / kind, plan_kind(ledger, client, kind, desired.pop(kind), target=target))
                for kind, (target, _) in there.items()
            }
        except CrmError as error:
            raise click.ClickException(str(error)) from None
        unwritten = [trouble for _, trouble in there.values() if trouble]
        if dry_run:
            for kind, plan in plans.items():
                _show(console, kind, plan, known[kind])
            for trouble in unwritten:
                console.print(trouble, markup=False, highlight=False, soft_wrap=True)
            return
        planned = sum(plan.counts["create"] + plan.counts["update"] for plan in plans.values())
        if (why := too_many(planned, rules, workplace.settings.crm, yes=yes)) is not None:
            raise click.ClickException(why)
        sending = SendRules(rules.resends, rules.verify_sample)
        results = {
            kind: send_plan(ledger, client, kind, plan.parts(), rules=sending, now=workplace.now())
            for kind, plan in plans.items()
        }
        again = 0
        if retry_parked:
            days = workplace.playbook.delivery.reminders.give_up_after_days
            again = ledger.retry_actions(client.name, workplace.now(), since=workplace.now() - timedelta(days=days))
    _tell(console, results)
    if again:
        console.print(f"{again:,} tasks, notes and other actions that were refused are tried again by the next run")
    before = [still_refused(kind, plan.counts, known[kind], rules) for kind, plan in plans.items()]
    if troubles := [*unwritten, *troubles_of(results, rules, None), *filter(None, before)]:
        raise click.ClickException("\n".join(troubles))


def _tell(console: Console, results: Mapping[str, "SyncResult"]) -> None:
    """What became of each object type."""
    for kind, result in results.items():
        console.print(
            f"{kind}s: {result.written:,} written ({result.created:,} made), {len(result.refused):,} refused, "
            f"{result.failed:,} to be tried again; {result.requests:,} requests, {result.verified:,} read back",
            soft_wrap=True,
        )
        for object_id, words in list(result.refused.items())[:SHOWN]:
            console.print(f"  refused {object_id}: {words}", markup=False, highlight=False, soft_wrap=True)
        for why, count in sorted(result.skipped.items()):
            console.print(f"  {count:,} skipped: {why}", markup=False, highlight=False, soft_wrap=True)


def _set_up(console: Console, workplace: "Workplace", *, dry_run: bool) -> None:
    from dagster_project.clients.crm import CrmError, FieldSpec
    from dagster_project.core.crm_fields import FIELDS

    client = workplace.crm()
    try:
        missing_rights = client.missing_scopes()
        for kind, target in workplace.playbook.crm_fields.targets().items():
            there = client.describe_fields(kind)
            lacking = [
                FieldSpec(theirs, *FIELDS[ours]) for ours, theirs in target.written.items() if theirs not in there
            ]
            if not dry_run:
                client.create_fields(kind, lacking)
            names = ", ".join(spec.name for spec in lacking) or "none"
            console.print(f"{kind}: {'would be made' if dry_run else 'made'}: {names}", markup=False, soft_wrap=True)
    except CrmError as error:
        raise click.ClickException(str(error)) from None
    if missing_rights:
        raise click.ClickException(f"these rights are missing: {', '.join(missing_rights)}")
    console.print("All rights that are needed are there.")


class _Plan:
    """A plan on disk: it has to be known whole before any of it is sent, and may be of a million records.

    Args:
        folder: Its own; made here.
        parts: See `plan_fields`.

    Attributes:
        counts: See `counts_of`.
    """

    def __init__(self, folder: Path, parts: Iterable[pl.DataFrame]) -> None:
        folder.mkdir()
        self.counts: Counter[str] = Counter()
        self._paths: list[Path] = []
        for number, part in enumerate(parts):
            self._paths.append(folder / f"{number}.arrow")
            part.write_ipc(self._paths[-1])
            self.counts += counts_of(part)

    def parts(self) -> Iterator[pl.DataFrame]:
        """What it was made of, a part at a time in memory."""
        return (pl.read_ipc(path) for path in self._paths)


def _show(console: Console, kind: str, plan: _Plan, known: int) -> None:
    first, differing = differences(pl.DataFrame(schema=PLAN_SCHEMA)), 0
    for part in plan.parts():
        found = differences(part)
        differing += found.height
        first = pl.concat([first, found]).head(SHOWN)
    if differing:
        table = Table("record", "", "field", "before", "after", title=f"{kind}s", title_justify="left")
        for row in first.iter_rows():
            table.add_row(*(escape(cell or "") for cell in row))  # what people typed is no markup
        console.print(table)
    if differing > SHOWN:
        console.print(f"… and {differing - SHOWN:,} more differences")
    said = "".join(f", {count:,} {label}" for label, count in sorted(plan.counts.items()))
    console.print(f"{kind}s: {known - plan.counts.total():,} unchanged{said}", markup=False)
