"""`pls`: the commands for people at a terminal. Each one parses, calls one function and prints."""

import io
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from dagster_project.clock import utc_now
from dagster_project.commands.about import assess, why
from dagster_project.commands.answer import answer
from dagster_project.commands.backfill import backfill
from dagster_project.commands.calibrate import calibrate
from dagster_project.commands.erase import erase
from dagster_project.commands.mcp import mcp
from dagster_project.commands.parked import parked
from dagster_project.commands.plan import plan
from dagster_project.commands.serve import serve
from dagster_project.commands.sync import sync
from dagster_project.core.playbook import PlaybookError
from dagster_project.errors import PlsError, is_of_a_store
from dagster_project.settings import PROJECT_ROOT, SettingsError, parse_moment

CONSOLE = Console()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="product-led-sales")
def pls() -> None:
    """Product-led sales on your own warehouse."""


pls.add_command(mcp)


@pls.command()
@click.option("--yes", is_flag=True, help="Change more records of the CRM than crm_fields.yml allows for one run.")
def run(yes: bool) -> None:
    """Score everything once: ingest, transform, score, decide, write back, publish."""
    from dagster_project.run import run_pipeline
    from dagster_project.summary import print_summary

    outcome = run_pipeline(CONSOLE, Path(os.environ["DAGSTER_HOME"]), yes=yes)
    if not outcome.success:
        raise click.ClickException(outcome.cause)
    print_summary(CONSOLE, outcome.settings, outcome.started_at, outcome.decided)


@pls.command()
@click.option("--poll", type=click.FloatRange(min=0.05), default=0.5, show_default=True, help="Seconds between looks.")
def watch(poll: float) -> None:
    """Score what lands within seconds, until stopped; each batch is a run in the UI."""
    from dagster_project.clients.connectors import LOCAL
    from dagster_project.crm_beside import CrmBeside
    from dagster_project.daily import Daily
    from dagster_project.defs.resources import Workplace
    from dagster_project.run import BatchRunner, everything_on
    from dagster_project.watch import Closed, Waiting, Worker, stop_on_signals
    from dagster_project.watch import watch as work

    workplace = Workplace()
    stop, closed = threading.Event(), Closed()

    def say(text: str) -> None:
        with suppress(OSError):  # a full disk under the log is no reason to alert nobody
            _say(f"{datetime.now(UTC):%H:%M:%S} {text}")

    is_connected = workplace.settings.crm != LOCAL
    beside = CrmBeside(Workplace, say, done=closed.changed.set, stop=stop) if is_connected else None
    runner = BatchRunner(Path(os.environ["DAGSTER_HOME"]))
    worker = Worker(
        landing=workplace.settings.landing,
        settle_seconds=workplace.playbook.sources.settle_seconds,
        run=runner.run,
        idle=runner.tidy,
        say=say,
        closed=closed,
        crm=beside,
        daily=Daily(lambda: everything_on(workplace)),
        waiting=Waiting(pause=lambda seconds: None if stop.wait(seconds) else None),
    )
    stop_on_signals(stop, closed)
    _say(f"Watching {worker.landing}; stop with Ctrl-C")
    try:
        work(worker, workplace.settings.watch_lease, poll_seconds=poll, stop=stop)
    finally:
        if beside is not None:
            beside.end()
    _say("Stopped")


@pls.command("demo-data")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed gives the same company.")
@click.option("--users", type=click.IntRange(min=50), default=3000, show_default=True)
@click.option("--accounts", type=click.IntRange(min=10), default=400, show_default=True)
@click.option("--days", type=click.IntRange(min=45), default=180, show_default=True, help="Days of history.")
@click.option("--end", default=None, help="Last moment of the simulation, ISO 8601 UTC.  [default: now]")
@click.option("--if-empty", is_flag=True, help="Do nothing when the landing folder already holds files.")
def demo_data(seed: int, users: int, accounts: int, days: int, end: str | None, if_empty: bool) -> None:
    """Write a simulated product-led company into the landing folder."""
    from dagster_project.demo.company import write_demo_company
    from dagster_project.settings import environment_settings

    landing = environment_settings().landing
    if if_empty and landing.exists() and any(path.is_file() for path in landing.rglob("*")):
        _say(f"{landing} holds files already: no demo data written.")
        return
    now = utc_now()
    report = write_demo_company(
        landing, seed, users=users, accounts=accounts, days=days, end=parse_moment(end, name="--end") if end else now
    )
    _say(f"Demo company written to {landing}: {report}")


pls.add_command(backfill)
pls.add_command(serve)
pls.add_command(calibrate)
pls.add_command(sync)
pls.add_command(parked)
pls.add_command(plan)
pls.add_command(answer)
pls.add_command(why)
pls.add_command(assess)
pls.add_command(erase)


def _say(text: str) -> None:
    """A line whose paths stay whole."""
    CONSOLE.print(text, markup=False, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors that a user can act on are one line on stderr, exit code 1; of a playbook, one line each.

    Args:
        arguments: The words after `pls`; None means the process's own.
    """
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT_ROOT))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal can't show is no reason to score nobody
            stream.reconfigure(errors="replace")
    try:
        pls(arguments, prog_name="pls", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (SettingsError, PlaybookError, PlsError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        if not is_of_a_store(error):
            raise
        click.echo(f"Error: a database can't be read or written: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
