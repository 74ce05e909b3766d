"""A synthetic product of any size, written as Parquet in bounded memory, a day at a time.

Unlike the demo company it has no story: it exists to have the volume and the shape of a real event stream (a share
of the users active each day, a handful of events per session, one identify per user, a few anonymous visits), fast to
write and the same for the same size. Hashes stand for chance, so that no row depends on the order of the others.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb

EVENTS_PER_USER = 118
EVENTS_PER_SESSION = 5
USERS_PER_ACCOUNT = 20
TEAM_OWNERS = 20
KEY_ACCOUNTS, KEY_ACCOUNTS_PER_OWNER = 200, 5
"""The first accounts belong to owners who have few of them and are in no team. However much waits for the teams of a
large company, these have room: whoever asks for sales there is told of at once."""
BATCH_SECONDS = 300
CHANGED_CONTACTS = 100
"""About as many contacts have another role in each extract after the first."""

# name, type, signal-bearing or not: weights add up to 1000
_EVENTS = (
    ("Task Completed", "track", 340),
    ("Search Performed", "track", 200),
    ("Dashboard Created", "track", 120),
    ("Report Exported", "track", 80),
    ("File Uploaded", "track", 70),
    ("Home", "page", 110),
    ("Pricing", "page", 12),
    ("Upgrade Clicked", "track", 4),
    ("Plans Compared", "track", 5),
    ("Team Member Invited", "track", 12),
    ("Integration Connected", "track", 6),
    ("Data Imported", "track", 8),
    ("Workspace Created", "track", 6),
    ("Profile Completed", "track", 6),
    ("Teammate Added", "track", 6),
    ("Integration Configured", "track", 6),
    ("Limit Reached", "track", 4),
    ("API Key Generated", "track", 5),
)


@dataclass(frozen=True)
class Size:
    """How much to write.

    Attributes:
        events: Product events, all days together.
        days: Days of history that end with `end`.
        end: The last day.
    """

    events: int
    days: int = 180
    end: date = date(2026, 6, 30)

    @property
    def users(self) -> int:
        return max(1, self.events // EVENTS_PER_USER)

    @property
    def accounts(self) -> int:
        return max(1, self.users // USERS_PER_ACCOUNT)

    def dates(self) -> Iterator[date]:
        return (self.end - timedelta(days=back) for back in range(self.days - 1, -1, -1))


def write_history(landing: Path, size: Size) -> None:
    """Write one Parquet file of events per day, and the CRM's files."""
    folder = landing / "events"
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("set memory_limit = '1GB'; set threads = 2; set TimeZone = 'UTC'")
        for number, day in enumerate(size.dates()):
            rows = _rows_of_day(size, number)
            query = _events_sql(
                size, start=datetime.combine(day, datetime.min.time()), spread=86_400, first=rows[0], count=rows[1]
            )
            _copy(connection, f"{query} union all {_identifies_sql(size, number, day)}", folder / f"{day}.parquet")
        _write_crm(connection, landing / "crm", size)


def write_batch(
    path: Path, size: Size, *, number: int, events: int, start: datetime, asks_for_sales: int | None = None
) -> datetime:
    """Write further events in one file, complete at once.

    Args:
        path: The file.
        size: Of the history.
        number: Of the batch: no two have the same events.
        events: How many; they happen within `BATCH_SECONDS`.
        start: When the first one may happen.
        asks_for_sales: A number that chooses the key account one of whose contacts asks for sales.

    Returns:
        When the file was moved into place, naive UTC.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    query = _events_sql(size, start=start, spread=BATCH_SECONDS, first=(number + 1) * 1_000_000_000_000, count=events)
    if asks_for_sales is not None:
        query += f" union all {_request_sql(size, asks_for_sales, number, start)}"
    with duckdb.connect() as connection:
        return _copy(connection, query, path)


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> datetime:
    fresh = path.with_name(f".{path.name}.part")
    connection.execute(f"copy ({query}) to '{fresh}' (format parquet, compression zstd)")
    moved = datetime.now(UTC).replace(tzinfo=None)
    fresh.replace(path)
    return moved


def _rows_of_day(size: Size, number: int) -> tuple[int, int]:
    first = size.events * number // size.days
    return first, size.events * (number + 1) // size.days - first


def _events_sql(size: Size, *, start: datetime, spread: int, first: int, count: int) -> str:
    """`count` events in sessions: each session has one user, one start and a few events some minutes apart."""
    bounds, total = [], 0
    for name, kind, weight in _EVENTS:
        total += weight
        bounds.append(f"when pick < {total} then {{'event': '{name}', 'type': '{kind}'}}")
    return f"""
select
  'm' || lpad(id::varchar, 18, '0') as message_id,
  what.type as type,
  case when what.type = 'track' then what.event end as event,
  case when what.type = 'page' then what.event end as name,
  case when is_anonymous then null else 'u' || lpad(user_number::varchar, 9, '0') end as user_id,
  'a' || lpad(user_number::varchar, 9, '0') as anonymous_id,
  case when user_number % 4 = 0 then 'g' || lpad((user_number // {USERS_PER_ACCOUNT})::varchar, 8, '0') end as group_id,
  's' || session::varchar as session_id,
  happened_at as timestamp,
  happened_at + interval 1 second as received_at,
  case when what.event = 'Data Imported' then '{{"status":"complete"}}'
    when what.event = 'Integration Connected' then '{{"integration":"tool' || (pick % 3)::varchar || '"}}'
  end as properties,
  null::varchar as traits
from (
  select id, session, user_number, is_anonymous, pick, case {" ".join(bounds)} end as what,
    timestamp '{start}' + to_microseconds(least(
      {spread * 1_000_000 - 1},
      (session_hash >> 8) % {spread * 1_000_000} + (id % {EVENTS_PER_SESSION}) * {min(90_000_000, spread * 10_000)}
    )::bigint) as happened_at
  from (
    select id, id // {EVENTS_PER_SESSION} as session, hash(id // {EVENTS_PER_SESSION}, 1) as session_hash,
      (pow((hash(id // {EVENTS_PER_SESSION}, 2) % 1000003) / 1000003.0, 1.6) * {size.users})::bigint as user_number,
      hash(id // {EVENTS_PER_SESSION}, 3) % 100 < 2 as is_anonymous,
      (hash(id, 4) % 1000)::integer as pick
    from (select {first} + range as id from range({count}))
  )
)"""


def _identifies_sql(size: Size, number: int, day: date) -> str:
    """Each user is identified once, on a day of its own, with an e-mail of the account's domain or a free one."""
    return f"""
select 'i' || lpad(user_number::varchar, 18, '0'), 'identify', null, null, 'u' || lpad(user_number::varchar, 9, '0'),
  'a' || lpad(user_number::varchar, 9, '0'), null, null, timestamp '{day} 00:00:01', timestamp '{day} 00:00:02', null,
  '{{"email":"p' || user_number::varchar || '@' || case when user_number % 10 = 9 then 'gmail.com'
    else 'company' || (user_number // {USERS_PER_ACCOUNT})::varchar || '.com' end || '"}}'
from (select range as user_number from range({size.users})) where user_number % {size.days} = {number}"""


def _request_sql(size: Size, asks: int, number: int, at: datetime) -> str:
    """The first user of an account, who is a contact, asks for sales."""
    user_number = asks % min(KEY_ACCOUNTS, size.accounts) * USERS_PER_ACCOUNT
    return f"""
select 'r' || lpad('{number}', 18, '0'), 'track', 'Contact Sales Clicked', null, 'u' || lpad('{user_number}', 9, '0'),
  'a' || lpad('{user_number}', 9, '0'), null, 'r{number}', timestamp '{at}', timestamp '{at}', null, null"""


def write_contacts(folder: Path, size: Size, number: int) -> None:
    """Write the contacts as the CRM shows them, with a newer role of some in each extract after the first.

    Args:
        folder: Of the CRM's files.
        size: Of the history.
        number: Of the extract; it is of that minute of the last day.
    """
    with duckdb.connect() as connection:
        _copy(
            connection,
            f"""select 'c' || lpad(range::varchar, 9, '0') as contact_id, 'P' || range::varchar || '@company'
              || (range // {USERS_PER_ACCOUNT})::varchar || '.com' as email, 'Person ' || range::varchar as name,
              'g' || lpad((range // {USERS_PER_ACCOUNT})::varchar, 8, '0') as account_id, false as email_opt_out,
              false as do_not_contact, timestamp '2025-12-01' as updated_at,
              case when {number} > 0 and hash(range) % greatest({size.users} * 2 // 5 // {CHANGED_CONTACTS}, 1) = 0
                then 'Role {number}' end as role
              from range({size.users}) where range % 5 < 2 order by range""",
            folder / "contacts.parquet",
        )
    _dated(folder / "contacts.parquet", size, number)


def _dated(path: Path, size: Size, minutes: int = 0) -> None:
    """A CRM file is of the moment at which it was written: here of the last day of the history."""
    at = datetime.combine(size.end, datetime.min.time(), UTC) + timedelta(minutes=minutes)
    os.utime(path, (at.timestamp(), at.timestamp()))


def _write_crm(connection: duckdb.DuckDBPyConnection, folder: Path, size: Size) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _copy(
        connection,
        f"""select 'g' || lpad(range::varchar, 8, '0') as account_id, 'Company ' || range::varchar as name,
          'company' || range::varchar || '.com' as domain, (hash(range, 5) % 2000)::integer as employee_count,
          'software' as industry, 'snowflake;dbt' as tech_stack,
          'o' || (case when range < {KEY_ACCOUNTS} then {TEAM_OWNERS} + range // {KEY_ACCOUNTS_PER_OWNER}
            else range % {TEAM_OWNERS} end)::varchar as owner_id,
          false as do_not_contact, timestamp '2025-12-01' as updated_at from range({size.accounts}) order by range""",
        folder / "accounts.parquet",
    )
    write_contacts(folder, size, 0)
    _copy(
        connection,
        "select 'o' || range::varchar as owner_id, 'Owner ' || range::varchar as name, 'o' || range::varchar "
        "|| '@us.example' as email, "
        f"case when range < {TEAM_OWNERS} "
        "then ['ae', 'sdr', 'enterprise_sdr', 'csm', 'sales'][1 + range % 5] end as team, "
        f"true as is_active from range({TEAM_OWNERS + KEY_ACCOUNTS // KEY_ACCOUNTS_PER_OWNER})",
        folder / "owners.parquet",
    )
    for name in ("accounts", "owners"):
        _dated(folder / f"{name}.parquet", size)
