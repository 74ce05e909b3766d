"""Whom a delivery of the CRM concerns, so that a delta can take it: the models of what it says, before and after.

These models are small beside the product's, and are made anew; whose rows differ is who has to be computed again. What
is computed of them is the business of the models tagged `delta` (macros/scope.sql).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

TOUCHED = "raw.crm_touched"
"""What the CRM's deliveries of this run concern, as `kind` and `key`: each `user` and `account`, which
`int_users_touched` and `int_accounts_touched` add to those that events touch; each `opportunity`; and the records of
`contacts` and `accounts`, whatever has changed of them."""
FEW_USERS, FEW_OF_ALL = 1_000, 0.1
"""With more users than these, and than such a share of all, to compute everybody takes no longer."""
FOR_DELTAS = frozenset({"crm.accounts", "crm.contacts", "crm.opportunities", "crm.tickets", "suppression"})
"""The sources that a delta takes. Who sells what to whom is asked of all owners together."""


@dataclass(frozen=True)
class _Said:
    """What one model says of the CRM.

    Attributes:
        rows: A query for it, without the moment's key and the numbers of versions.
        about: By kind of key, SQL of the keys that a row is about; what is NULL is about nobody.
    """

    rows: str
    about: Mapping[str, str]

    @property
    def signed(self) -> str:
        """A query for the keys of each row, in columns named by their kinds, and `said`, which stands for all of it.

        It is a number of 64 bits: of a million rows, one change in ten trillion would be taken for none until the next
        run of everything.
        """
        keys = ", ".join(f"{key} as {kind}" for kind, key in self.about.items())
        return f"select {keys}, hash(whole) as said from ({self.rows}) as whole"


_WITHOUT_MOMENT = "select * exclude (as_of) from intermediate."
_WITHOUT_VERSION = "select * exclude (as_of, version_id) from intermediate."
_BY_SUBJECT = {
    kind: f"case when starts_with(subject, '{prefix}:') then substr(subject, {len(prefix) + 2}) end"
    for kind, prefix in (("email", "email"), ("domain", "domain"))
}
_SAID = {
    # What a contact says of an account shows in the models below, and in the features of its person.
    "contacts": _Said(f"{_WITHOUT_VERSION}int_crm_contacts", {"contact": "contact_id", "email": "email"}),
    "accounts": _Said(f"{_WITHOUT_VERSION}int_crm_accounts", {"account": "account_id", "domain": "registrable_domain"}),
    "domains": _Said(f"{_WITHOUT_MOMENT}int_crm_accounts_by_domain", {"domain": "registrable_domain"}),
    "opportunities": _Said(
        f"{_WITHOUT_MOMENT}int_crm_opportunities",
        {"contact": "contact_id", "account": "account_id", "opportunity": "opportunity_id"},
    ),
    "opportunities_ever": _Said(
        f"{_WITHOUT_MOMENT}int_crm_opportunities_ever", {"contact": "contact_id", "account": "account_id"}
    ),
    "tickets": _Said(
        "select is_deleted, tickets.* exclude (version_id) from intermediate.int_crm_records as records "
        "join staging.stg_crm__tickets as tickets using (version_id) where records.entity = 'tickets'",
        {"contact": "contact_id", "email": "email"},
    ),
    "no_contact": _Said(
        "select * exclude (version_id) from intermediate.int_crm_no_contact",
        {"contact": "case entity when 'contacts' then key end", "account": "case entity when 'accounts' then key end"},
    ),
    "records": _Said(
        "select entity, key, version_id, is_deleted from intermediate.int_crm_records",
        {entity: f"case entity when '{entity}' then key end" for entity in ("contacts", "accounts")},
    ),
    "objections": _Said("select * from intermediate.int_crm_objections", _BY_SUBJECT),
    "suppressions": _Said("select suppression_key as subject, reason from intermediate.int_suppressions", _BY_SUBJECT),
}
_USERS = f"""
with keys as (from changed),
accounts as (select key as account_id from {TOUCHED} where kind = 'account'),
people as (from intermediate.int_user_identities),
concerned as (
  select user_key from people where contact_id in (
    select key from keys where kind = 'contact'
    union all
    select contact_id from intermediate.int_crm_contacts
    where account_id in (from accounts)
  )
  union all
  select user_key from people where email in (select key from keys where kind = 'email')
  union all
  select user_key from people where account_id in (from accounts)
  union all
  select user_key from people where registrable_domain in (select key from keys where kind = 'domain')
  union all
  select user_key from people where host in (select key from keys where kind = 'domain')
  union all
  select user_key from (
    select user_key, unnest(list_transform(groups, lambda word: word.group_id)) as group_id
    from intermediate.int_user_measures where groups is not null
  ) where group_id in (from accounts)
)
select distinct 'user', user_id from people where user_key in (select user_key from concerned)
"""
_ACCOUNTS = """
with keys as (from changed),
domains as (select key as domain from keys where kind = 'domain')
select 'account', key from keys where kind = 'account'
union
select 'account', 'domain:' || domain from domains
union
select 'account', account_id from intermediate.int_crm_accounts
where registrable_domain in (from domains) or host in (from domains)
"""


def keep_what_was_said(connection: duckdb.DuckDBPyConnection) -> None:
    """Keep what the CRM has said so far, before its models are made anew.

    Args:
        connection: The warehouse.
    """
    connection.execute("create schema if not exists crm_before")
    for name, said in _SAID.items():
        connection.execute(f"create or replace table crm_before.{name} as {said.signed}")


def note_concerned(connection: duckdb.DuckDBPyConnection) -> bool:
    """Note whom the difference concerns, in `TOUCHED`, and let go of what was kept.

    Args:
        connection: The warehouse, after the CRM's models.

    Returns:
        Whether they are few enough for a delta.
    """
    connection.execute("create or replace temp table changed (kind varchar, key varchar)")
    for name, said in _SAID.items():
        connection.execute(
            f"insert into changed with now as ({said.signed}), before as (from crm_before.{name}), different as ("
            "from now where said not in (select said from before) union all "
            "from before where said not in (select said from now)) "
            "select distinct kind, key "
            "from (unpivot different on columns(* exclude (said)) into name kind value key)"
        )
    connection.execute(f"delete from {TOUCHED}")
    connection.execute(f"insert into {TOUCHED} from changed where kind in ('opportunity', 'contacts', 'accounts')")
    connection.execute(f"insert into {TOUCHED} {_ACCOUNTS}")
    # Of a member many things hang on the account that are no feature of his, such as whether he is shown as a lead.
    connection.execute(f"insert into {TOUCHED} {_USERS}")
    connection.execute("drop table changed; drop schema crm_before cascade")
    [(concerned, everybody)] = connection.sql(
        f"select (select count(*) from {TOUCHED} where kind = 'user'), "
        "(select count(*) from intermediate.int_user_identities)"
    ).fetchall()
    return bool(concerned <= max(FEW_USERS, FEW_OF_ALL * everybody))
