"""Features of one moment to scores of everybody: the order in which segments, scores and stages build on each other.

Each step is a module of its own; nothing is computed here.
"""

from dataclasses import dataclass

import polars as pl

from dagster_project.core.playbook import Playbook
from dagster_project.core.pqa import score_accounts
from dagster_project.core.pql import score_users
from dagster_project.core.segments import segment_accounts, segment_users
from dagster_project.core.stages import customers, stage_users

PQL_COLUMNS = (
    "user_id", "account_id", "contact_id", "email", "usage_score", "engagement_score", "intent_score", "fit_tier",
    "fit_multiplier", "pql_score", "classification", "segment", "motion", "segment_source", "activation_stage",
    "usage_tier", "last_active_at", "features_used", "explanation", "as_of", "model_version", "activated_at",
    "milestones", "is_customer",
)  # fmt: skip
"""Of a scored user, what is published; section 12 of the specification, then ours."""
PQA_COLUMNS = (
    "account_id", "name", "domain", "breadth_score", "depth_score", "fit_score", "momentum_score", "usage_score",
    "pqa_score", "classification", "quadrant", "segment", "motion", "active_users_30d", "explanation", "as_of",
    "model_version", "segment_source", "team_size", "is_customer",
)  # fmt: skip
ACCOUNT_STANDING = (
    "segment", "motion", "segment_source", "is_customer", "subscription_status", "subscription_status_since",
    "was_paying",
)  # fmt: skip
"""What users' scores and stages take from their account; kept with its score, so that a delta sees a change of it."""
SEEN_ON_USERS = (*ACCOUNT_STANDING, "name")
"""And what is published beside them."""


@dataclass(frozen=True)
class Scores:
    """Features with scores: `users` one row per user, `accounts` one per account, sorted by id.

    The columns are those of the features, `PQL_COLUMNS` or `PQA_COLUMNS`, and `parts`.
    """

    users: pl.DataFrame
    accounts: pl.DataFrame


def accounts_that_moved(accounts: pl.DataFrame, before: pl.DataFrame, playbook: Playbook) -> pl.DataFrame:
    """The accounts whose users have to be scored again, although nothing was heard of them.

    Args:
        accounts: Account features.
        before: `account_id` and `SEEN_ON_USERS` as they were scored last.
        playbook: The rules.

    Returns:
        One column, `account_id`.
    """
    placed = place_accounts(accounts, playbook)
    now = placed.select("account_id", *SEEN_ON_USERS)
    same = before.select(pl.col(name).cast(kind) for name, kind in now.schema.items())
    return now.join(same, on=now.columns, how="anti", nulls_equal=True).select("account_id")


def place_accounts(accounts: pl.DataFrame, playbook: Playbook) -> pl.DataFrame:
    """Account features with whether they are customers, and their segment: what the scores of their users build on."""
    return segment_accounts(customers(accounts), playbook.segments)


def score_placed(placed: pl.DataFrame, *, playbook: Playbook, model_version: str) -> pl.DataFrame:
    """Score accounts of one moment.

    Args:
        placed: Account features, see `place_accounts`.
        playbook: The rules.
        model_version: What stands on each score.
    """
    version = pl.lit(model_version).alias("model_version")
    return score_accounts(placed, playbook.scoring).with_columns(version, team_size="active_users_30d")


def score_people(
    users: pl.DataFrame, placed: pl.DataFrame, first_pql: pl.DataFrame, *, playbook: Playbook, model_version: str
) -> pl.DataFrame:
    """Score users of one moment.

    Args:
        users: `features.user_features` of the moment.
        placed: `account_id` and `ACCOUNT_STANDING` of their accounts, see `place_accounts`.
        first_pql: Since when users have been known as PQLs (`stages.FIRST_PQL_SCHEMA`).
        playbook: The rules.
        model_version: What stands on each score.
    """
    scored = score_users(segment_users(users, placed, playbook.segments), playbook.scoring)
    staged = stage_users(
        scored,
        placed,
        first_pql,
        rules=playbook.stages,
        inactive_days=playbook.scoring.measurement.inactive_days,
    )
    return staged.with_columns(model_version=pl.lit(model_version))
