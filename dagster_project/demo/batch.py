"""A few minutes of news for a running installation: drop it in and watch the sensor react.

Colleagues at one of the CRM's large accounts sign up, and one of them looks at the prices, clicks upgrade and
asks for sales. It needs nothing from the simulation but the CRM files in the landing folder.
"""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from dagster_project.demo.names import Addresses, person_names
from dagster_project.demo.size import naive_utc
from dagster_project.demo.writer import LandingWriter

COLLEAGUES = 3
ENTERPRISE_FROM_EMPLOYEES = 1001
WELCOME = (
    ("track", "Signed Up", None),
    ("track", "Workspace Created", None),
    ("track", "Profile Completed", None),
)
WANTS_MORE = (
    ("track", "Dashboard Created", None),
    ("page", "Pricing", "/pricing"),
    ("track", "Plans Compared", None),
    ("track", "Upgrade Clicked", None),
    ("track", "Contact Sales Clicked", None),
)


def write_demo_batch(landing: Path, seed: int, at: datetime, minutes: int = 15) -> Path:
    """Writes one NDJSON file with what happened in the `minutes` before `at` (UTC when naive); returns its
    path.

    Another moment, or another seed, gives another company and other people. Raises ValueError without
    accounts in `landing/crm/accounts.csv`: the demo company comes first.
    """
    if minutes < 1:
        raise ValueError("minutes must be at least 1")
    at = naive_utc(at)
    rng = np.random.default_rng([seed, int((at - datetime(1970, 1, 1)) / timedelta(seconds=1))])
    account_id, domain = _account(rng, landing)
    people = person_names(rng, COLLEAGUES)
    addresses = Addresses()
    stamp = f"{at:%Y%m%dT%H%M%S}"
    rows: list[dict[str, object]] = []
    for place, name in enumerate(people):
        user, anonymous = f"u_more_{seed}_{stamp}_{place}", f"an_more_{seed}_{stamp}_{place}"
        ids = {"user_id": user, "anonymous_id": anonymous, "session_id": f"s_more_{seed}_{stamp}_{place}"}
        traits = {"email": addresses.give(name, domain), "name": " ".join(name)}
        rows.append({"type": "identify", **ids, "traits": traits})
        rows.append({"type": "group", **ids, "group_id": account_id})
        for kind, what, path in WELCOME + (WANTS_MORE if place == 0 else ()):
            named: dict[str, object] = (
                {"event": what} if kind == "track" else {"name": what, "properties": {"path": path}}
            )
            rows.append({"type": kind, **named, **ids})
    begins, step = at - timedelta(minutes=minutes), timedelta(minutes=minutes) / len(rows)
    lines = []
    for number, row in enumerate(rows, 1):
        moment = (begins + step * number).isoformat(timespec="milliseconds") + "Z"
        known = {
            "message_id": f"msg_more_{seed}_{stamp}_{number}",
            "timestamp": moment,
            "received_at": moment,
        }
        lines.append(json.dumps({**known, **row}))
    writer = LandingWriter(landing)
    path = f"events/more/{stamp}-{seed}.ndjson"
    writer.lines(path, lines, modified_at=at)
    return landing / path


def _account(rng: np.random.Generator, landing: Path) -> tuple[str, str]:
    """Id and domain of a large account that sales may contact and doesn't talk to yet; any account without
    such.
    """
    folder = landing / "crm"
    if not (folder / "accounts.csv").is_file():
        raise ValueError(f"{folder / 'accounts.csv'} is missing: write the demo company first")
    accounts = pl.read_csv(folder / "accounts.csv", infer_schema_length=None)
    busy = pl.Series([], dtype=pl.String)
    if (folder / "opportunities.csv").is_file():
        busy = pl.read_csv(folder / "opportunities.csv", infer_schema_length=None)["account_id"]
    accounts = accounts.filter(pl.col("domain").is_not_null()).sort("account_id")
    if accounts.is_empty():
        raise ValueError(f"{folder / 'accounts.csv'} has no account with a domain: write the demo company first")
    large = accounts.filter(
        (pl.col("employee_count") >= ENTERPRISE_FROM_EMPLOYEES)
        & ~pl.col("do_not_contact")
        & ~pl.col("account_id").is_in(busy.implode())
    )
    chosen = (large if len(large) else accounts).row(int(rng.integers(0, len(large) or len(accounts))), named=True)
    return chosen["account_id"], chosen["domain"]
