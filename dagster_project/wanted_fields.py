"""What the CRM's contacts and accounts should hold, gathered from what was scored.

What our fields are is `core/crm_fields.py`'s business, which of them differ that of `field_plans.py`.
"""

from collections.abc import Mapping
from types import MappingProxyType

import duckdb
import polars as pl

from dagster_project.clients.connectors import LOCAL
from dagster_project.core.crm_field_rules import CrmFieldRules
from dagster_project.core.crm_fields import BY_EMAIL, account_fields, contacts_of, fields_of
from dagster_project.core.sync import MADE_AS
from dagster_project.ledger import Ledger
from dagster_project.left_over import taken
from dagster_project.no_contact import contactable
from dagster_project.portions import PORTION, on_its_own, portions
from dagster_project.refresh import LIVE
from dagster_project.scored_features import RESCORED
from dagster_project.warehouse import rows_where

_RESCORED = f"from scores.pql_scores where {RESCORED['user']}"
_ACCOUNTS_CONCERNED = "account_id in (select account_id from scores.rescored_accounts union all {again})"


def made_contacts(ledger: Ledger, rules: CrmFieldRules, destination: str) -> dict[str, str | None]:
    """What the contacts are called that were made in the CRM, and its own id of each as far as it told.

    None where none is made.
    """
    if not rules.create_contacts_of:
        return {}
    known = ledger.confirmed_of(destination, "contact", BY_EMAIL)
    return {name: fields.get(MADE_AS) for name, fields in known.items()}


def wanted_fields(
    connection: duckdb.DuckDBPyConnection,
    rules: CrmFieldRules,
    crm: str,
    *,
    is_full: bool,
    made: Mapping[str, str | None] = MappingProxyType({}),
    rows: int = PORTION,
) -> dict[str, pl.DataFrame]:
    """What contacts and accounts should hold, by object type.

    Args:
        connection: The warehouse.
        rules: `crm_fields.yml`.
        crm: Which one.
        is_full: All of them; otherwise those that the last delta touched, and what it has taken up (`left_over`).
        made: See `made_contacts`.
        rows: Users who are in memory with all that is known of them, at a time.
    """
    concerned = "true" if is_full else _contacts_concerned(connection, crm, by_email=bool(rules.create_contacts_of))
    users = connection.sql(
        f"select user_id, contact_id, email, pql_score, classification from scores.pql_scores where {concerned}"
    ).pl()
    accounts = connection.sql(
        "select scores.* exclude (explanation), features.in_crm from scores.pqa_scores as scores "
        "join features.account_features as features using (account_id) "
        f"where features.{LIVE} and " + ("true" if is_full else _ACCOUNTS_CONCERNED.format(again=taken(crm, "account")))
    ).pl()
    if rules.create_contacts_of or rules.no_contact == "skip":
        those = rows_where(
            "features.user_features", f"user_key in (select user_key from scores.pql_scores where {concerned})"
        )
        may = contactable(connection, whose="true" if is_full else those)
        users = users.with_columns(may_be_made=pl.col("user_id").is_in(may["user_id"].implode()))
        if rules.no_contact == "skip":
            users = users.filter("may_be_made")
    contacts = contacts_of(users, made_of=rules.create_contacts_of, made=made.keys()).filter(
        ~pl.col("object_id").is_in(_known_by_id(connection, made, crm))
    )
    contacts = contacts.select("user_id", "object_id", "create_as")
    parts = [
        on_its_own(fields_of(part.join(contacts, on="user_id"), rules.top_signals))
        for part in portions(connection, f"select * from scores.pql_scores where {concerned}", rows=rows)
    ]
    return {
        "contact": pl.concat(parts),
        "account": account_fields(accounts),
    }


def _known_by_id(connection: duckdb.DuckDBPyConnection, made: Mapping[str, str | None], crm: str) -> list[str]:
    """The made contacts that the CRM's extracts know: whoever has another e-mail there now is not written to by the old
    one, which would put that back or make them a second time."""
    ids = [theirs for theirs in made.values() if theirs]
    known = connection.sql(
        "select distinct key from intermediate.int_crm_records where entity = 'contacts' "
        "and key in (select unnest(?::varchar[]))",
        params=[ids],
    ).fetchall()
    there = {key for (key,) in known}
    # What an earlier version made in a CRM elsewhere has no id here: it is left to the extracts.
    return [name for name, theirs in made.items() if theirs in there or (theirs is None and crm != LOCAL)]


def _contacts_concerned(connection: duckdb.DuckDBPyConnection, crm: str, *, by_email: bool) -> str:
    """In a delta: everybody who shares a contact with somebody scored again, before or now, or with one taken up.

    Args:
        connection: The warehouse.
        crm: Which one.
        by_email: Whether contacts are made, so that who has none may share one all the same.
    """
    again = taken(crm, "contact")
    namesakes = ""
    if by_email:
        namesakes = (
            "union all select rowid from scores.pql_scores where contact_id is null and lower(trim(email)) in "
            f"(select lower(trim(email)) {_RESCORED} and contact_id is null)"
        )
    if connection.sql(f"select 1 from ({again}) where starts_with(object_id, '{BY_EMAIL}') limit 1").fetchall():
        namesakes += (
            " union all select rowid from scores.pql_scores where contact_id is null "
            f"and '{BY_EMAIL}' || lower(trim(email)) in ({again})"
        )
    # Found by one narrow column after the other; see `rows_where`.
    return (
        f"scores.pql_scores.rowid in (select rowid {_RESCORED} union all select rowid from scores.pql_scores "
        f"where contact_id in (select contact_id {_RESCORED} "
        f"union all select previous_contact_id from intermediate.int_users_touched union all {again}) {namesakes})"
    )
