"""How long an assistant waits for an answer: every reading tool over a serving copy of many users, warm.

    python -m tests.bench.assistant --data data --users 1e6

The copy is an installation's own, many times over, each time with other ids. Calls go through the Python API with the
ledger behind it, so that keeping the call is part of the time.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from dagster_project.playbook_files import read_playbook
from dagster_project.settings import settings_from
from dagster_project.tools import Tools

IDS = ("user_id", "account_id", "contact_id", "subject_id", "handoff_id", "candidate_key", "decision_id", "delivery_id",
       "object_id", "opportunity_id", "open_opportunity_id")  # fmt: skip
"""Columns whose values are other ones in each repetition."""
TYPED = ("email", "name", "domain")
"""What people are found by, besides ids; other values in each repetition too."""
SORTED_BY = ("user_id", "account_id", "subject_id")
ONCE = ("crm_owners", "funnel", "calibration", "quarantine", "tool_calls")
"""Tables that don't grow with users."""


@dataclass(frozen=True)
class Measured:
    """How long the calls of one tool took, in milliseconds."""

    tool: str
    calls: int
    median: float
    p95: float


def grow(serving: Path, into: Path, users: int) -> int:
    """Write a serving copy of at least so many users; returns how many there are."""
    with duckdb.connect(str(into)) as grown:
        grown.execute(f"attach '{serving}' as small (read_only)")
        grown.execute("create schema marts")
        [(held,)] = grown.sql("select count(*) from small.marts.pql_scores").fetchall()
        repetitions = -(-users // held)
        tables = grown.sql(
            "select table_name, list(column_name) from duckdb_columns() "
            "where database_name = 'small' and schema_name = 'marts' group by all"
        ).fetchall()
        for table, columns in tables:
            times = 1 if table in ONCE else repetitions
            changed = [f"{name} || '-' || lpad(n::varchar, 5, '0') as {name}" for name in columns if name in IDS]
            changed += [f"n::varchar || {name} as {name}" for name in columns if name in TYPED and times > 1]
            replaced = f"replace ({', '.join(changed)})" if changed and times > 1 else ""
            order = [name for name in SORTED_BY if name in columns][:1]
            grown.execute(
                f"create table marts.{table} as select * exclude (n) {replaced} "
                f"from small.marts.{table}, range({times}) as repetitions(n)"
                + (f" order by {order[0]}" if order else "")
            )
        return int(held * repetitions)


def measure(serving: Path, folder: Path, *, calls: int = 200) -> list[Measured]:
    """Ask every reading tool about many people, each about somebody else.

    Args:
        serving: A serving copy.
        folder: An empty folder, for the ledger that the calls are kept in; the copy is linked into it.
        calls: Of each tool, after a tenth as many that warm it.
    """
    (folder / "serving.duckdb").symlink_to(serving)
    settings = settings_from({"PLS_DATA_DIR": str(folder)})
    with duckdb.connect(str(serving), read_only=True) as copy:
        people = copy.sql(
            "select user_id, account_id from marts.pql_scores where account_id is not null using sample 2000 rows"
        ).fetchall()
        owners = [owner for (owner,) in copy.sql("select owner_id from marts.crm_owners order by 1").fetchall()]
    chosen = random.Random(7)
    with Tools(settings, read_playbook(None), who="bench") as tools:
        asked = _asked(people, owners, chosen)
        return [_measured(tools, tool.name, asked[tool.name], calls) for tool in tools.listed()]


def _asked(
    people: list[tuple[str, str]], owners: list[str], chosen: random.Random
) -> Mapping[str, Callable[[], dict[str, Any]]]:
    """Arguments for each tool, other ones each time."""
    parts = ["users", "usage", "firmographics", "opportunities", "owner"]
    metrics = ["feature_usage_by_user", "session_frequency", "team_invites", "upgrade_click"]

    def user() -> str:
        return chosen.choice(people)[0]

    def account() -> str:
        return chosen.choice(people)[1]

    return {
        "leads.get_hottest": lambda: {"owner": chosen.choice(owners), "limit": 10},
        "leads.assess": lambda: {"subject": chosen.choice((user, account))()},
        "alerts.explain": lambda: {"subject": chosen.choice((user, account))()},
        "analytics.get_metrics": lambda: {"user_id": user(), "metrics": metrics},
        "crm.get_customer_data": lambda: {"account_id": account(), "include": parts},
        "lifecycle.get_segment": lambda: {"user_id": user(), "include_history": True, "include_account": True},
        "analytics.ask": lambda: {"question": "who_is_worth_a_call_today"},
    }


def _measured(tools: Tools, name: str, asked: Callable[[], dict[str, Any]], calls: int) -> Measured:
    took = []
    for number in range(calls + calls // 10):
        arguments = asked()
        began = time.perf_counter()
        tools.call(name, arguments)
        if number >= calls // 10:
            took.append(1000 * (time.perf_counter() - began))
    return Measured(name, calls, statistics.median(took), statistics.quantiles(took, n=20)[-1])


def main() -> None:
    """Grow a copy, ask, print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="the data folder of an installation that has scored")
    parser.add_argument("--users", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=None, help="where the copy goes; by default a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        grown = Path(scratch) / "grown.duckdb"
        users = grow(options.data / "serving.duckdb", grown, options.users)
        (Path(scratch) / "data").mkdir()
        found = measure(grown, Path(scratch) / "data", calls=options.calls)
    print(f"\n{users:,} users\n\n| tool | calls | median ms | p95 ms |\n|---|---:|---:|---:|")
    for line in found:
        print(f"| `{line.tool}` | {line.calls} | {line.median:.1f} | {line.p95:.1f} |")


if __name__ == "__main__":
    main()
