"""The playbook's rules and numbers as tables, for the SQL that needs them."""

from collections.abc import Mapping, Sequence

import duckdb

from dagster_project.core.identity_rules import IdentityRules
from dagster_project.warehouse import transaction


def write_rules(connection: duckdb.DuckDBPyConnection, identity: IdentityRules, settings: Mapping[str, str]) -> None:
    """Replace `raw.rule_domains`, `raw.rule_exclusions` and `raw.settings`.

    Args:
        connection: The warehouse, with no transaction begun.
        identity: `identity.yml`.
        settings: Name -> number, as text.
    """
    excluded = identity.excluded
    domains = [
        *((domain, "free_mail", "free-mail") for domain in identity.free_mail),
        *((domain, "disposable", "disposable") for domain in identity.disposable),
        *((rule.domain, "excluded", rule.reason) for rule in excluded.domains),
    ]
    exclusions = [
        *(("email_pattern", rule.pattern, rule.reason) for rule in excluded.email_patterns),
        *(("user_id_pattern", rule.pattern, rule.reason) for rule in excluded.user_id_patterns),
        *(("trait", f"{rule.name}={rule.value}", rule.reason) for rule in excluded.traits),
    ]
    with transaction(connection):
        _replace(connection, "raw.rule_domains", domains)
        _replace(connection, "raw.rule_exclusions", exclusions)
        _replace(connection, "raw.settings", list(settings.items()))


def _replace(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Leave a table alone that holds these rows: most runs change no rules."""
    if connection.sql(f"from {table}").fetchall() == rows:
        return
    connection.execute(f"delete from {table}")
    if rows:
        # In one statement: a statement for each row takes twenty times as long.
        places = ", ".join(f"({', '.join('?' for _ in row)})" for row in rows)
        connection.execute(f"insert into {table} values {places}", [value for row in rows for value in row])
