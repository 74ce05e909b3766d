"""Finds a user or an account in the serving copy, and everything that was decided about them.

The copy is opened read-only, so that this works while the pipeline writes. What is said about them is decided in
`core/whys.py` and `core/assessments.py`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb

from dagster_project.core.whys import Dossier

Row = dict[str, Any]
Read = Callable[[str, Sequence[Any]], list[Row]]
"""Reads the serving copy: a query with a `?` for each of its parameters, or `$1` for the first, to rows."""
_NAMED = 5
"""Accounts that are named where several are called what was asked for."""

_USER = (
    "select * from marts.user_profiles join (select * exclude (email, account_id, contact_id, last_active_at, "
    "features_used) from marts.pql_scores) using (user_id)"
)
_ACCOUNT = (
    "select * from marts.account_profiles join (select * exclude (name, domain, active_users_30d) "
    "from marts.pqa_scores) using (account_id)"
)
_HOST = "regexp_extract(lower(trim({})), '^(?:[a-z]+://)?(?:www[.])?([^/:?#]*)', 1)"
IS_ACCOUNTS_DOMAIN = (
    f"{_HOST.format('domain')} = {_HOST.format('$1')} or account_id = 'domain:' || {_HOST.format('$1')}"
)
"""SQL of whether an account is asked for by its domain, however the CRM and whoever asks write it; one parameter."""
_IS_USER = ("user_id = $1", "lower(email) = lower($1)")
_IS_ACCOUNT = (
    "account_id = $1",
    IS_ACCOUNTS_DOMAIN,
    "lower(name) = lower($1)",
)
"""What somebody may be asked for by, in the order in which it is tried."""

_ABOUT_ACCOUNT = (
    "(account_id = ? or (user_id in (select user_id from marts.pql_scores where account_id = ?) "
    "and (account_id is null or account_id not in (select account_id from marts.pqa_scores))))"
)
"""SQL of what is about an account: under its id, and about its people from before they had it.

A company that a handoff was about may have become an account of the CRM since.
"""

DECISIONS_IN_ORDER = (
    "decided_at desc, coalesce(user_id = ?, false) desc, case when decision = 'sent' then 1 "
    "when decision = 'suppressed_no_contact' and user_id is not null then 4 "
    "when decision = 'suppressed_cooldown' then 3 else 2 end, decision_id"
)
"""SQL of the order of `marts.handoff_decisions` about somebody: the newest first, and the one that answers for them.

Its parameter is the user who was asked for, NULL for an account. Of one moment come first: what names that user; what
was sent; the account's own candidate, before one that was joined to it; colleagues who may not be contacted, each of
whom was decided apart.
"""


_ABOUT_USER = (
    "user_id in (select ? union all select other.user_id from marts.pql_scores as one join marts.pql_scores as other "
    "using (email) where one.user_id = ? and one.account_id is null and other.account_id is null)"
)
"""SQL of what is about a user: under their id, and under others with their address where no account unites them.

What was decided about one of these was decided about the person.
"""


def about(user_id: str | None, account_id: str | None) -> tuple[str, list[str]]:
    """SQL of what is about a user or an account, in any published table that names both, and its parameters.

    What was decided about a user's account was decided about the user, whoever it names.

    Args:
        user_id: None for what is about the account alone.
        account_id: None where the user has none.
    """
    conditions, parameters = [], []
    if user_id is not None:
        conditions, parameters = [_ABOUT_USER], [user_id, user_id]
    if account_id is not None:
        conditions, parameters = [*conditions, _ABOUT_ACCOUNT], [*parameters, account_id, account_id]
    return f"({' or '.join(conditions)})", parameters


class UnknownSubject(LookupError):
    """Nobody is called that; the message says what may be asked for."""


def find_dossier(serving: Path, asked: str) -> Dossier:
    """What is known of a user or an account.

    Args:
        serving: The serving copy.
        asked: A user id, an e-mail, an account id, a domain or an account's name, the first that fits.

    Raises:
        UnknownSubject: Nobody fits, several accounts do, or there is no serving copy of this version yet.
    """
    if not serving.exists():
        raise UnknownSubject(f"{serving} is not there yet: run `pls run` first")
    asked = asked.strip()
    with duckdb.connect(str(serving), read_only=True) as copy:

        def read(query: str, parameters: Sequence[Any]) -> list[Row]:
            return copy.sql(query, params=list(parameters)).pl().to_dicts()

        try:
            found = _found(read, asked)
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            raise UnknownSubject(f"{serving} was published by another version: run `pls run` once ({error})") from error
    if found is not None:
        return found
    raise UnknownSubject(
        f"nobody is called {asked!r}: ask for a user id, an e-mail, an account id, a domain or an account's name"
    )


def _found(read: Read, asked: str) -> Dossier | None:
    for condition in _IS_USER:
        if user := _best(read, f"{_USER} where {condition} order by pql_score desc, user_id", asked):
            return dossier_of(read, "user", user)
    for condition in _IS_ACCOUNT:
        accounts = read(f"{_ACCOUNT} where {condition} order by users desc, account_id limit {_NAMED}", [asked])
        if len(accounts) > 1:
            called = ", ".join(f"{row['account_id']} ({row['name'] or row['domain']})" for row in accounts)
            raise UnknownSubject(f"several accounts are called {asked!r}: ask for one of them by its id: {called}")
        if accounts:
            return dossier_of(read, "account", accounts[0])
    excluded = _best(read, "select * from marts.exclusions where user_id = $1 or lower(email) = lower($1)", asked)
    return Dossier(user=None, account=None, is_account=False, excluded=excluded) if excluded else None


def _best(read: Read, query: str, asked: str) -> Row | None:
    rows = read(f"{query} limit 1", [asked])
    return rows[0] if rows else None


def _account(read: Read, account_id: str | None) -> Row | None:
    return _best(read, f"{_ACCOUNT} where account_id = $1", account_id) if account_id else None


def _champion(read: Read, account_id: str) -> Row | None:
    """The account's best user, those who may be contacted first, of them those with an address."""
    blocked = (
        "is_unsubscribed or email_opt_out or contact_do_not_contact or account_do_not_contact or contact_deleted "
        "or account_deleted or suppression_reason is not null"
    )
    order = f"({blocked}), email is null, pql_score desc, user_id"
    return _best(read, f"{_USER} where account_id = $1 order by {order}", account_id)


def dossier_of(read: Read, kind: str, found: Row) -> Dossier:
    """What was decided about a user, or in an account.

    Args:
        read: Reads the serving copy.
        kind: `user` or `account`.
        found: Everything that is known of them: profile and scores.
    """
    user = found if kind == "user" else _champion(read, found["account_id"])
    account = found if kind == "account" else _account(read, found["account_id"])
    asked_for = found["user_id"] if kind == "user" else None
    whose, which = about(asked_for, account["account_id"] if account else None)
    decisions = f"select * from marts.handoff_decisions where {whose} order by {DECISIONS_IN_ORDER}"
    handoffs = read(f"select * from marts.handoffs where {whose} order by created_at desc, handoff_id", which)
    owners = {row["owner_id"]: row["name"] for row in read("select owner_id, name from marts.crm_owners", [])}
    ids = [row["handoff_id"] for row in handoffs]
    return Dossier(
        user=user,
        account=account,
        is_account=kind == "account",
        decisions=tuple(read(decisions, [*which, asked_for])),
        handoffs=tuple(handoffs),
        rules=tuple(
            read(f"select * from marts.rule_decisions where {whose} order by decided_at desc, decision_id", which)
        ),
        deliveries=tuple(
            read(
                "select * from marts.deliveries where object_type = 'handoff' and list_contains(?, object_id)",
                [ids],
            )
        ),
        audiences=tuple(read(f"select * from marts.audiences where {whose}", which)),
        owners=owners,
    )
