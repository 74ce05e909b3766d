"""`raw.email_domains`: the registrable domain of every host that an address, an account or the suppression list names.

Which domains make an account, and which are free-mail, is decided in the dbt models.
"""

import ipaddress
from collections.abc import Sequence

import duckdb
import pyarrow as pa
from publicsuffixlist import PublicSuffixList

from dagster_project.warehouse import ALL_MEMORY, memory_limited, transaction

HOST_OF_EMAIL = (
    "split_part(lower(regexp_replace(regexp_replace(regexp_replace(nfc_normalize({}), '\\pC+', '', 'g'), "
    "'^.*<([^<>]*)>[^<>]*$', '\\1'), '[\\s\\pZ\\x27\".]+$', '')), '@', 2)"
)
HOST_OF_SITE = "regexp_replace(regexp_replace(lower(trim({})), '^[a-z][a-z0-9+.-]*://', ''), '[/:?#].*$', '')"

_NEW_HOSTS = f"""
with emails as (
  select {HOST_OF_EMAIL.format("traits ->> '$.email'")} as host
  from raw.events where batch_id > $batch_id and (type = 'identify' or identifies) and contains(traits, '"email"')
  union all
  select {HOST_OF_EMAIL.format("payload ->> '$.email'")}
  from raw.crm_versions where version_id > $version_id and entity = 'contacts'
),
sites as (
  select {HOST_OF_SITE.format("payload ->> '$.domain'")} as host
  from raw.crm_versions where version_id > $version_id and entity = 'accounts'
  union all
  select {HOST_OF_SITE.format("part")}
  from (
    select unnest(string_split_regex(payload ->> '$.domain', '[\\s,;|]+')) as part
    from raw.crm_versions where version_id > $version_id and entity = 'accounts'
  )
  union all
  select {HOST_OF_SITE.format("substr(key, 8)")}
  from raw.crm_versions where entity = 'suppression' and starts_with(key, 'domain:')
)
select distinct host from (from emails union all from sites) as named
where host <> '' and host not in (select domain from raw.email_domains)
"""


def update_email_domains(connection: duckdb.DuckDBPyConnection) -> int:
    """Add the hosts that are new: of what was loaded since the last time.

    `domain` is the host as SQL finds it, so that these join: for addresses what follows the @ (dbt's macro
    `email_of`), and for `accounts.domain` and suppressed domains `lower(trim(domain))` without scheme and without
    everything from the first of `/:?#` on (dbt's macro `host_of`). `registrable_domain` is in ASCII (`xn--...`),
    NULL where the public suffix list knows none.

    Args:
        connection: The warehouse.

    Returns:
        How many hosts were added.
    """
    seen = connection.sql("select batch_id, version_id from raw.hosts_seen").fetchall()
    batch_id, version_id = seen[0] if seen else (0, 0)
    # Hosts are few, but they are read out of whatever else is said with them.
    with memory_limited(connection, ALL_MEMORY):
        hosts = connection.execute(_NEW_HOSTS, {"batch_id": batch_id, "version_id": version_id}).fetchall()
    with transaction(connection):
        if hosts:
            _add(connection, [host for (host,) in hosts])
        connection.execute("delete from raw.hosts_seen")
        connection.execute(
            "insert into raw.hosts_seen select (select coalesce(max(batch_id), 0) from raw.batches), "
            "(select coalesce(max(version_id), 0) from raw.crm_versions)"
        )
    return len(hosts)


def _add(connection: duckdb.DuckDBPyConnection, hosts: Sequence[str]) -> None:
    suffixes = PublicSuffixList()
    found = pa.table(
        {
            "domain": pa.array(hosts, pa.string()),
            "registrable_domain": pa.array([registrable_domain(host, suffixes) for host in hosts], pa.string()),
        }
    )
    connection.register("new_email_domains", found)
    try:
        connection.execute("insert into raw.email_domains select * from new_email_domains")
    finally:
        connection.unregister("new_email_domains")


def registrable_domain(host: str, suffixes: PublicSuffixList) -> str | None:
    """What somebody registered of a host: `acme.co.uk` for `mail.acme.co.uk`; None for junk, never an error.

    Args:
        host: As people type it; Unicode is fine.
        suffixes: The public suffix list.
    """
    name = host.strip().strip(".").lower()
    if not name or len(name) > 253 or _is_address(name):
        return None
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    if not all(
        label and len(label) <= 63 and label.replace("-", "a").replace("_", "a").isalnum() for label in name.split(".")
    ):
        return None
    return suffixes.privatesuffix(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
