"""Finds whom a call is about, by what people call them. Whatever was typed is a parameter, never SQL."""

from typing import Any, Literal

from dagster_project.subjects import IS_ACCOUNTS_DOMAIN
from dagster_project.tools.errors import NotFound, WrongArguments
from dagster_project.tools.serving import ServingCopy

Row = dict[str, Any]
Kind = Literal["user", "account"]
USERS = (
    "select scores.*, profiles.* exclude (user_id, email, contact_id, account_id, last_active_at, features_used) "
    "from marts.pql_scores as scores join marts.user_profiles as profiles using (user_id) "
)
"""Everything that is known of users: their scores and what these were made from."""
ACCOUNTS = (
    "select scores.*, profiles.* exclude (account_id, name, domain, active_users_30d) "
    "from marts.pqa_scores as scores join marts.account_profiles as profiles using (account_id) "
)
"""The same of accounts."""
_EXAMPLES = 5


def user(serving: ServingCopy, user_id: str) -> Row:
    """Everything that is known of a user.

    Raises:
        NotFound: Nobody has this id; somebody who is not scored is told why.
    """
    return _user(serving, user_id, f"{USERS} where scores.user_id = ? and profiles.user_id = ?")


def scored_user(serving: ServingCopy, user_id: str) -> Row:
    """A user's row of `marts.pql_scores`; raises as `user`."""
    return _user(serving, user_id, "select * from marts.pql_scores where user_id = ?")


def _user(serving: ServingCopy, user_id: str, query: str) -> Row:
    found = serving.row(query, [user_id] * query.count("?"))
    if found:
        return found
    excluded = serving.row("select reason from marts.exclusions where user_id = ?", [user_id])
    if excluded:
        raise NotFound(f"user {user_id!r} is not scored: {excluded['reason']}")
    raise NotFound(f"no user has the id {user_id!r}: ids are those of the product; leads.assess also takes an e-mail")


def account(serving: ServingCopy, account_id: str) -> Row:
    """Everything that is known of an account.

    Raises:
        NotFound: No account has this id; accounts with such a name or domain are named.
    """
    found = serving.row(f"{ACCOUNTS} where scores.account_id = ? and profiles.account_id = ?", [account_id, account_id])
    if found:
        return found
    alike = _accounts_called(serving, account_id)
    hint = f": did you mean {' or '.join(repr(row['account_id']) for row in alike)}?" if alike else ""
    raise NotFound(f"no account has the id {account_id!r}{hint or ': ids are those of the CRM, else of the product'}")


def find(serving: ServingCopy, text: str) -> tuple[Kind, Row]:
    """A user by id or e-mail, or an account by id, domain or name; the first of these that fits.

    Raises:
        NotFound: Nobody is called that.
        WrongArguments: Several accounts are.
    """
    by_id = "select user_id from marts.pql_scores where user_id = ? limit 1"
    by_email = "select user_id from marts.pql_scores where email = lower(?) order by pql_score desc, user_id limit 1"
    for query in (by_id, by_email) if "@" in text else (by_id,):
        if found := serving.row(query, [text]):
            return "user", user(serving, found["user_id"])
    if found := serving.row("select account_id from marts.pqa_scores where account_id = ?", [text]):
        return "account", account(serving, found["account_id"])
    called = _accounts_called(serving, text)
    if len(called) > 1:
        ids = ", ".join(f"{row['account_id']!r} ({row['name']})" for row in called)
        raise WrongArguments(f"several accounts are called {text!r}: ask for one of them by its id: {ids}")
    if called:
        return "account", account(serving, called[0]["account_id"])
    excluded = serving.row("select reason from marts.exclusions where user_id = ? or email = lower(?)", [text, text])
    if excluded:
        raise NotFound(f"{text!r} is not scored: {excluded['reason']}")
    raise NotFound(f"nobody is called {text!r}: expected a user's id or e-mail, or an account's id, domain or name")


def people_of(serving: ServingCopy, *, user_id: str | None, account_id: str | None) -> list[Row]:
    """E-mails and names of everybody whom a text about a user or an account may name."""
    # One or the other, never both: only then is most of the table passed over.
    column, value = ("account_id", account_id) if account_id is not None else ("user_id", user_id)
    return serving.rows(f"select email, user_name, contact_name from marts.user_profiles where {column} = ?", [value])


def _accounts_called(serving: ServingCopy, text: str) -> list[Row]:
    return serving.rows(
        f"select account_id, name from marts.pqa_scores where {IS_ACCOUNTS_DOMAIN} or lower(name) = lower($1) "
        "order by pqa_score desc, account_id",
        [text],
        at_most=_EXAMPLES,
    )
