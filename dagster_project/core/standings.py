"""What a decision knows of a person or an account, and why somebody may not be contacted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from dagster_project.core.escaping import plain


@dataclass(frozen=True, slots=True)
class Standing:
    """What a decision needs to know of a person or an account; ``score`` is the PQL or the PQA score.

    ``blocked`` is why nobody may contact them, ``expansion`` counts expansion signals in the window by name.
    """

    id: str
    name: str
    score: float
    classification: str | None
    motion: str | None
    segment: str | None
    segment_source: str | None
    is_customer: bool
    owner_id: str | None
    blocked: str | None
    has_open_opportunity: bool
    has_won_opportunity: bool
    open_opportunity_id: str | None
    expansion: Mapping[str, int]
    account_id: str | None


_COMMON = (
    "classification",
    "motion",
    "segment",
    "segment_source",
    "is_customer",
    "blocked",
    "has_open_opportunity",
    "has_won_opportunity",
)
_SEVERAL = 2
_FLAGS = ("is_customer", "has_open_opportunity", "has_won_opportunity")
_USER_EXPANSION = {
    "team_invites": "team_invites",
    "limit_hits": "limit_hit",
    "seats_added": "seat_added",
    "upgrade_clicks": "upgrade_click",
}


def _first_filled(*columns: str) -> pl.Expr:
    """The first of the text columns that is neither null nor blank."""
    return pl.coalesce(pl.when(pl.col(name).str.strip_chars() != "").then(pl.col(name)) for name in columns)


def people_standing(users: pl.DataFrame) -> dict[str, Standing]:
    """Standing of each row of user features and scores with ``blocked``, by user id."""
    slim = users.select(
        *_COMMON,
        name=_first_filled("contact_name", "user_name", "email", "user_id"),
        id="user_id",
        score="pql_score",
        owner_id="contact_owner_id",
        open_opportunity_id=pl.lit(None, pl.String),
        account_id="account_id",
        expansion=pl.struct(pl.col(column).alias(signal) for signal, column in _USER_EXPANSION.items()),
    )
    return {row["id"]: _standing(row) for row in slim.iter_rows(named=True)}


def accounts_standing(accounts: pl.DataFrame) -> dict[str, Standing]:
    """Standing of each row of account features and scores with ``blocked``, by account id."""
    slim = accounts.select(
        *_COMMON,
        name=_first_filled("name", "domain", "account_id").str.strip_prefix("domain:"),
        id="account_id",
        score="pqa_score",
        owner_id="owner_id",
        open_opportunity_id="open_opportunity_id",
        account_id="account_id",
        expansion=pl.struct(*_USER_EXPANSION),
    )
    return {row["id"]: _standing(row) for row in slim.iter_rows(named=True)}


def _standing(row: Mapping[str, object]) -> Standing:
    """Null flags are no; a null score is 0, so that an unscored subject is served last."""
    known = dict(row)
    known.update({flag: bool(row[flag]) for flag in _FLAGS})
    known.update(name=plain(row["name"]) or str(row["id"]), score=row["score"] or 0.0)
    return Standing(**known)  # type: ignore[arg-type]


USER_FLAGS = {
    "contact_deleted": "the contact was deleted in the CRM",
    "account_deleted": "the account was deleted in the CRM",
    "email_opt_out": "the contact opted out of e-mail",
    "contact_do_not_contact": "the contact is marked do-not-contact",
    "account_do_not_contact": "the account is marked do-not-contact",
    "is_unsubscribed": "the user unsubscribed in the product",
}
ACCOUNT_FLAGS = {
    "is_deleted": "the account was deleted in the CRM",
    "do_not_contact": "the account is marked do-not-contact",
}


_OF_BOTH = (*(name for name in _COMMON if name != "blocked"), "suppression_reason")
STANDING_OF_USERS = (
    "user_id", "account_id", "pql_score", "contact_name", "user_name", "email", "contact_owner_id", *_OF_BOTH,
    *USER_FLAGS, *_USER_EXPANSION.values(),
)  # fmt: skip
STANDING_OF_ACCOUNTS = (
    "account_id", "pqa_score", "name", "domain", "owner_id", "open_opportunity_id", *_OF_BOTH, *ACCOUNT_FLAGS,
    *_USER_EXPANSION,
)  # fmt: skip
"""What a standing is made of: copies of everything else would be many times as large."""


def user_block_reason(but: Collection[str] = frozenset()) -> pl.Expr:
    """Why a row of user features may not be contacted, null if it may; a sender asks it again.

    Args:
        but: Flags that don't count.
    """
    return _block_reason(USER_FLAGS, but)


def account_block_reason(but: Collection[str] = frozenset()) -> pl.Expr:
    """Why a row of account features may not be contacted, null if it may; `but` as above."""
    return _block_reason(ACCOUNT_FLAGS, but)


def _block_reason(flags: Mapping[str, str], but: Collection[str]) -> pl.Expr:
    raised = [pl.when(pl.col(column)).then(pl.lit(reason)) for column, reason in flags.items() if column not in but]
    return pl.coalesce(*raised, pl.lit("on the suppression list: ") + pl.col("suppression_reason"))


def with_block_reasons(users: pl.DataFrame, accounts: pl.DataFrame) -> pl.DataFrame:
    """``users`` with ``blocked``: why somebody may not be contacted, as a person or through their account."""
    by_account = accounts.select("account_id", block=account_block_reason())
    joined = users.join(by_account, on="account_id", how="left", maintain_order="left")
    return joined.with_columns(blocked=pl.coalesce(user_block_reason(), "block")).drop("block")


def same_people(users: Iterable[tuple[str, str | None, str | None]]) -> dict[str, frozenset[str]]:
    """By id, all ids of whoever has several; who has one is missing.

    An address tells who somebody is, unless several names are said of it: then it is one that several people share.

    Args:
        users: Id, e-mail and name.
    """
    ids: dict[str, set[str]] = defaultdict(set)
    names: dict[str, set[str]] = defaultdict(set)
    for user_id, email, name in users:
        if email:
            ids[email.casefold()].add(user_id)
            names[email.casefold()].update([name.casefold()] if name else [])
    found = [frozenset(known) for email, known in ids.items() if len(known) > 1 and len(names[email]) < _SEVERAL]
    return {user_id: known for known in found for user_id in known}


CHAMPION_COLUMNS = ("user_id", "account_id", "email", "pql_score", "blocked")


def best_contactable(users: pl.DataFrame) -> pl.DataFrame:
    """Of the rows of each account the best one that may be contacted, of those with an address if there are any.

    ``users`` has ``CHAMPION_COLUMNS`` and whatever else.
    """
    return (
        users.filter(pl.col("blocked").is_null() & pl.col("account_id").is_not_null())
        .sort(pl.col("email").is_null(), pl.col("pql_score").fill_null(0.0), "user_id", descending=[False, True, False])
        .unique("account_id", keep="first", maintain_order=True)
    )
