"""What the CRM should know about contacts and accounts. Source of the fields: section 7.1 of the specification.

Frames in, frames out, under our own field names; which of them differ is ``sync``'s business.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import polars as pl

from dagster_project.core.scoring_rules import RISING_CLASSES

_NOT_SIGNALS = frozenset({"fit_multiplier", "cap", "rounding"})
_DAY, _MOMENT = "%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"
BY_EMAIL = "email:"
"""How a contact is called that the CRM may not have yet."""
PORTION = 100_000
"""Users whose explanations are taken apart at a time."""

FieldKind = Literal["number", "text", "date", "moment", "list", "flag"]
FIELDS: Mapping[str, tuple[str, FieldKind]] = {
    "pql_score": ("PQL score", "number"),
    "pql_classification": ("PQL class", "text"),
    "last_active": ("Last active in the product", "date"),
    "features_used": ("Features used", "list"),
    "activation_status": ("Activation status", "text"),
    "activation_milestones": ("Activation milestones", "list"),
    "usage_tier": ("Usage tier", "text"),
    "pls_segment": ("Segment", "text"),
    "pls_motion": ("Sales motion", "text"),
    "pls_top_signals": ("Strongest signals", "list"),
    "pls_scored_at": ("Scored at", "moment"),
    "pause_nurture": ("Pause nurture", "flag"),
    "pls_playbook": ("Self-serve playbook", "text"),
    "pls_next_step": ("Self-serve next step", "text"),
    "pqa_score": ("PQA score", "number"),
    "pqa_quadrant": ("PQA quadrant", "text"),
    "active_users_30d": ("Active users in 30 days", "number"),
    "account_tier": ("Account tier", "text"),
}
"""Our fields: what people see as their name, and of what kind their values are."""

ORDERS: Mapping[str, Sequence[str]] = {
    "pql_classification": RISING_CLASSES,
    "usage_tier": ("low", "medium", "high"),
    "activation_status": (
        "churned", "signed_up", "activated", "reactivated", "pql", "opportunity", "customer",
    ),
}  # fmt: skip
"""Fields whose texts have an order, the lowest first."""


def contact_fields(
    users: pl.DataFrame, top_signals: int, *, made_of: Collection[str] = (), made: Collection[str] = ()
) -> pl.DataFrame:
    """Our fields of every contact that has a user.

    Args:
        users: Scored users. Of several with one contact, the one with the highest score
            speaks for it, then the smallest id.
        top_signals: How many of the strongest signals are told.
        made_of: Classes of users who get a contact when the CRM has none; only those with `may_be_made`, a
            column that is needed only then.
        made: What the contacts are called that were made so before: they stay up to date in every class.

    Returns:
        `object_id`, `create_as` (JSON, null for a contact that is known by its id), our fields; null is unknown.
    """
    return fields_of(contacts_of(users, made_of=made_of, made=made), top_signals)


def contacts_of(users: pl.DataFrame, *, made_of: Collection[str] = (), made: Collection[str] = ()) -> pl.DataFrame:
    """The users who speak for a contact, with `object_id` and `create_as`.

    Args:
        users: `user_id, contact_id, email, pql_score, classification` of scored users, and whatever else.
        made_of: See `contact_fields`.
        made: See `contact_fields`.
    """
    if made_of:
        address = pl.col("email").str.strip_chars().str.to_lowercase()
        name = pl.lit(BY_EMAIL) + address
        is_wanted = pl.col("classification").is_in(list(made_of)) | name.is_in(list(made))
        is_new = pl.col("contact_id").is_null()
        users = users.with_columns(
            object_id=pl.coalesce("contact_id", pl.when(is_wanted & pl.col("may_be_made")).then(name)),
            create_as=pl.when(is_new).then(pl.struct(email=address).struct.json_encode()),
        )
    else:
        users = users.with_columns(object_id="contact_id", create_as=pl.lit(None, pl.String))
    return (
        users.filter(pl.col("object_id").is_not_null())
        .sort("pql_score", "user_id", descending=[True, False])
        .unique("object_id", keep="first", maintain_order=True)
    )


def fields_of(speaking: pl.DataFrame, top_signals: int) -> pl.DataFrame:
    """Our fields of contacts, see `contact_fields`.

    Args:
        speaking: Scored users with `object_id` and `create_as`.
        top_signals: How many of the strongest signals are told.
    """
    strongest = pl.concat([_strongest(part, top_signals) for part in speaking.iter_slices(PORTION)] or [_NOBODY])
    return speaking.join(strongest, on="object_id", how="left", maintain_order="left").select(
        "object_id",
        "create_as",
        "pql_score",
        pql_classification="classification",
        last_active=pl.col("last_active_at").dt.strftime(_DAY),
        features_used="features_used",
        activation_status="activation_stage",
        activation_milestones=pl.col("milestones").list.eval(
            pl.struct(
                name=pl.element().struct.field("name"),
                date=pl.element().struct.field("reached_at").dt.strftime(_DAY),
            )
        ),
        usage_tier="usage_tier",
        pls_segment="segment",
        pls_motion="motion",
        pls_top_signals=pl.when(pl.col("explanation").is_not_null()).then(pl.col("strongest").fill_null([])),
        pls_scored_at=pl.col("as_of").dt.strftime(_MOMENT),
    )


def account_fields(accounts: pl.DataFrame) -> pl.DataFrame:
    """Our fields of every account that the CRM knows (`in_crm`); `object_id` is its id."""
    return accounts.filter("in_crm").select(
        "pqa_score",
        "active_users_30d",
        object_id="account_id",
        pqa_quadrant="quadrant",
        pls_segment="segment",
        pls_scored_at=pl.col("as_of").dt.strftime(_MOMENT),
    )


_NOBODY = pl.DataFrame(schema={"object_id": pl.String(), "strongest": pl.List(pl.String())})


def _strongest(users: pl.DataFrame, count: int) -> pl.DataFrame:
    """`signal: value` of what adds most to each score; what adds nothing is not told."""
    return (
        users.select("object_id", "explanation")
        .explode("explanation")
        .drop_nulls("explanation")
        .unnest("explanation")
        .filter(pl.col("contribution") > 0, ~pl.col("signal").is_in(list(_NOT_SIGNALS)))
        .sort("contribution", "signal", descending=[True, False])
        .group_by("object_id", maintain_order=True)
        .agg(strongest=pl.concat_str("signal", pl.lit(": "), pl.col("value").fill_null("")).head(count))
    )
