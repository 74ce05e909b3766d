"""How writing to a CRM fares beside the open-source reverse ETL drt-core: the same records, the same faults.

    python -m tests.bench.sync [--records 10000] [--planned 1000000]

The CRM is a HubSpot on this machine whose limit is never reached: what is compared is what arrives, how many requests
it takes and how long. Of all requests some get no answer although the work was done, some break off before it, some are
turned away with 429 or 503; some records have a value that the CRM refuses. drt writes with its own HubSpot
destination, its address pointed here, its pauses as short as ours and its pacing switched off
(`requests_per_second: 0`; otherwise it keeps to 9 requests a second at HubSpot, and 10 thousand records take it 18
minutes and more): it sends a record per request.

Then how much of HubSpot's documented limit (Professional and Enterprise, 190 requests in any 10 seconds) we use while
there is more to send, on a clock that the server's and our waiting move; and how long it takes to plan a million
contacts against a ledger that has confirmed them all.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "clients"))  # the servers that the tests use

from hubspot_server import TOKEN, HubSpotServer, Record, Refused  # noqa: E402
from loopback import Asked, Fault, Reply  # noqa: E402

POISONED = 0.005
"""Share of the records that the CRM refuses."""
FAULTS = {"lost": 0.01, "reset": 0.01, "429": 0.01, "503": 0.01}
"""Share of the requests that end so."""
PAUSE = 0.01


class BenchServer(HubSpotServer):
    """Also takes one record at a time by e-mail, as version 3 of the API does; finds it at once."""

    def __init__(self, records: int) -> None:
        super().__init__(limit=10**9, daily=10**9)
        self._draw = random.Random(7)
        self.failing = True
        self.by_email: dict[str, Record] = {}
        for number in range(records):
            email = f"u{number}@acme.com"
            self.add("contacts", f"c_{number:07}", email=email)
            self.by_email[email] = self.state.objects["contacts"][f"c_{number:07}"]

    def answer(self, asked: Asked) -> Reply:
        if asked.method != "PATCH":
            return super().answer(asked)
        record = self.by_email[asked.path.rpartition("/")[2]]
        try:
            self._check_properties("contacts", asked.body["properties"])
        except Refused as refused:
            return refused.reply
        self._put("contacts", record, asked.body["properties"])
        return Reply(200, record.shown(list(asked.body["properties"])))

    def _fault(self, asked: Asked) -> Fault | None:
        drawn = self._draw.random()
        if self.failing and asked.method in ("PATCH", "POST"):
            for kind, share in FAULTS.items():
                if drawn < share:
                    later = {"Retry-After": str(PAUSE)}
                    reply = Reply(int(kind), {"message": "later"}, later) if kind.isdigit() else Reply()
                    return Fault("answer" if kind.isdigit() else kind, "", reply=reply)  # type: ignore[arg-type]
                drawn -= share
        return None


def wanted(records: int) -> list[tuple[str, str, float, str]]:
    """Id, e-mail, score and class of each record."""
    every = int(1 / POISONED)
    return [
        (f"c_{number:07}", f"u{number}@acme.com", number % 1000 / 10, "poison" if number % every == 7 else "hot")
        for number in range(records)
    ]


def main() -> None:
    """Run both, and the plan of a million records, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--planned", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--child", nargs=3, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, folder, base_url = options.child
        CHILDREN[name](options, Path(folder), base_url)
        return
    print(
        f"\n{options.records:,} contacts, {sum(FAULTS.values()):.0%} of the requests fail, {POISONED:.1%} are refused\n"
    )
    print("| | records right at the end | requests | seconds | peak MB | requests when nothing changed |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in ("pls", "drt"):
        print(_compared(options, name), flush=True)
    print("\n| limit | of it used | turned away |\n|---|---:|---:|")
    print(_limit_used())
    with tempfile.TemporaryDirectory() as folder:
        print("\n| planning | seconds | of them on the processor | peak MB |\n|---|---:|---:|---:|")
        for label, seconds, on_processor, peak in _child(options, "plan", Path(folder), "-")["lines"]:
            print(f"| {label} | {seconds:.2f} | {on_processor:.2f} | {peak:,.0f} |")


def _compared(options: argparse.Namespace, name: str) -> str:
    """One engine's line of the table."""
    with BenchServer(options.records) as server, tempfile.TemporaryDirectory() as folder:
        server.failing = False
        _child(options, "set up", Path(folder), server.base_url)
        server.failing = True
        server.asked.clear()
        took = _child(options, name, Path(folder), server.base_url)
        requests = len(server.asked)
        right = sum(
            server.by_email[email].properties.get("pql_score") in (str(score), f"{score:g}")
            for _, email, score, of in wanted(options.records)
            if of != "poison"
        )
        server.asked.clear()
        server.failing = False
        _child(options, name, Path(folder), server.base_url)
        takeable = sum(of != "poison" for *_, of in wanted(options.records))
        return (
            f"| {name} | {right:,} of {takeable:,} | {requests:,} | {took['seconds']:.1f} | {took['megabytes']:,.0f} | "
            f"{len(server.asked):,} |"
        )


def _limit_used() -> str:
    """How close to the limit requests are sent, over ten windows and more."""
    from dagster_project.core.sync import FieldUpdate

    limit, window, windows = 190, 10.0, 10
    with HubSpotServer(limit=limit, seconds_per_request=0.02) as server:
        crm = _hubspot(server.base_url, clock=server.clock)
        ann = server.add("contacts", email="ann@acme.com", pql_score=0)
        began = server.clock.now()
        for number in range(limit * windows):
            crm.update("contact", [FieldUpdate(ann, {"email": f"ann{number}@acme.com"}, "fingerprint")])
        allowed = limit * (1 + (server.clock.now() - began) // window)
        return f"| {limit} requests in {window:.0f} s | {limit * windows / allowed:.1%} | {server.refused_for_speed} |"


def _child(options: argparse.Namespace, name: str, folder: Path, base_url: str) -> dict[str, Any]:
    """A phase in a process of its own, so that its memory is its own."""
    numbers = ["--records", str(options.records), "--planned", str(options.planned)]
    words = [sys.executable, "-m", "tests.bench.sync", *numbers, "--child", name, str(folder), base_url]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _told(seconds: float, **more: Any) -> None:
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "megabytes": megabytes, **more}))


def _hubspot(base_url: str, **more: Any) -> Any:
    from dagster_project.clients.http import RetryPolicy
    from dagster_project.clients.hubspot import connect
    from dagster_project.playbook_files import read_playbook

    variables = {"PLS_HUBSPOT_TOKEN": TOKEN, "PLS_HUBSPOT_BASE_URL": base_url}
    return connect(variables, read_playbook(None).crm_sources, policy=RetryPolicy(first_pause=PAUSE), **more)


def _set_up(options: argparse.Namespace, folder: Path, base_url: str) -> None:
    from dagster_project.clients.crm import FieldSpec

    specs = [FieldSpec("pql_score", "PQL score", "number"), FieldSpec("pql_classification", "Class", "text")]
    _hubspot(base_url).create_fields("contact", specs)
    _told(0.0)


def _pls(options: argparse.Namespace, folder: Path, base_url: str) -> None:
    from datetime import datetime

    import polars as pl

    from dagster_project.activation import SendRules, send_plan
    from dagster_project.core.sync import Target
    from dagster_project.field_plans import plan_fields
    from dagster_project.ledger import Ledger

    columns = ["object_id", "email", "pql_score", "pql_classification"]
    desired = pl.DataFrame(wanted(options.records), schema=columns, orient="row").drop("email")
    target = Target({"pql_score": "pql_score", "pql_classification": "pql_classification"})
    crm = _hubspot(base_url)
    began = time.perf_counter()
    with Ledger(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        for _ in range(2):  # the next run takes up what this one left
            plan = plan_fields(ledger, crm, "contact", desired, target=target)
            result = send_plan(ledger, crm, "contact", plan, rules=SendRules(2), now=datetime(2026, 5, 2))
            if not result.failed:
                break
    _told(time.perf_counter() - began)


def _drt(options: argparse.Namespace, folder: Path, base_url: str) -> None:
    import duckdb
    from drt.config.models import SyncConfig
    from drt.config.profiles import DuckDBProfile
    from drt.destinations import hubspot
    from drt.engine.sync import run_sync
    from drt.sources.duckdb import DuckDBSource

    hubspot._HUBSPOT_API = f"{base_url}/crm/v3/objects"
    database = folder / "warehouse.duckdb"
    if not database.exists():
        with duckdb.connect(str(database)) as connection:
            connection.execute("create table contacts (email varchar, pql_score double, pql_classification varchar)")
            connection.executemany(
                "insert into contacts values (?, ?, ?)", [row[1:] for row in wanted(options.records)]
            )
    retry = {"max_attempts": 5, "initial_backoff": PAUSE}
    sync = SyncConfig.model_validate(
        {
            "name": "contacts",
            "model": "select * from contacts order by email",
            "destination": {
                "type": "hubspot",
                "object_type": "contacts",
                "id_property": "email",
                "auth": {"type": "bearer", "token": TOKEN},
            },
            "sync": {
                "mode": "full",
                "match_policy": "update_only",
                "on_error": "skip",
                "batch_size": 100,
                "rate_limit": {"requests_per_second": 0},
                "retry": retry,
            },
        }
    )
    began = time.perf_counter()
    profile = DuckDBProfile(type="duckdb", database=str(database))
    run_sync(sync, DuckDBSource(), hubspot.HubSpotDestination(), profile, folder)
    _told(time.perf_counter() - began)


def _plan(options: argparse.Namespace, folder: Path, base_url: str) -> None:
    """A plan of contacts with all their fields, against a ledger that has confirmed them."""
    from datetime import datetime

    import polars as pl

    from dagster_project.activation import SendRules, send_plan
    from dagster_project.clients.crm import Receipt
    from dagster_project.field_plans import plan_fields
    from dagster_project.ledger import Ledger
    from dagster_project.playbook_files import read_playbook

    class Anything:
        """Takes whatever it is sent."""

        name, max_batch = "crm:anything", 20_000

        def update(self, object_type: str, updates: Any) -> list[Receipt]:
            return [Receipt(update.object_id) for update in updates]

        def read(self, object_type: str, ids: Any, names: Any) -> dict[str, dict[str, Any]]:
            return {}

    number = pl.int_range(options.planned, eager=True)
    text = number.cast(pl.String)
    milestone = pl.struct(name=pl.lit("first_invite"), date=pl.lit("2026-05-01"))
    desired = pl.select(
        object_id="c_" + text.str.zfill(9), pql_score=number % 1000 / 10, pql_classification=pl.lit("warm"),
        last_active=pl.lit("2026-05-01"), features_used=pl.concat_list(pl.lit("alerts"), text),
        activation_status=pl.lit("activated"), activation_milestones=pl.concat_list(milestone, milestone),
        usage_tier=pl.lit("high"), pls_segment=pl.lit("smb"), pls_motion=pl.lit("self-serve"),
        pls_top_signals=pl.concat_list(pl.lit("invites: 3"), pl.lit("exports: 2")), pls_scored_at=pl.lit("monday"),
    )  # fmt: skip
    target = read_playbook(None).crm_fields.targets()["contact"]
    lines = []
    with Ledger(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        first = plan_fields(ledger, Anything(), "contact", desired, target=target)
        send_plan(ledger, Anything(), "contact", first, rules=SendRules(0), now=datetime(2026, 5, 2))
        for share in (0.0, 0.01, 0.1):
            moved = pl.col("pql_score") + pl.when(number < options.planned * share).then(0.5).otherwise(0.0)
            now_wanted = desired.with_columns(pql_score=moved)
            began, on_processor = time.perf_counter(), time.process_time()
            planned = sum(part.height for part in plan_fields(ledger, Anything(), "contact", now_wanted, target=target))
            took, on_processor = time.perf_counter() - began, time.process_time() - on_processor
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            lines.append((f"{options.planned:,} contacts, {planned:,} of them changed", took, on_processor, peak))
    _told(0.0, lines=lines)


CHILDREN: dict[str, Callable[[argparse.Namespace, Path, str], None]] = {
    "set up": _set_up,
    "pls": _pls,
    "drt": _drt,
    "plan": _plan,
}

if __name__ == "__main__":
    main()
