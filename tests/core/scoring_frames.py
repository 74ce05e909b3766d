"""Builders of what scoring reads: a user and an account without anything, which a test changes."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from dagster_project.core.playbook import Playbook
from dagster_project.core.stages import FIRST_PQL_SCHEMA
from dagster_project.playbook_files import read_playbook

AS_OF = datetime(2026, 5, 2, 10, 0)
PLAYBOOK: Playbook = read_playbook(None)
NO_PQL = FIRST_PQL_SCHEMA.to_frame()
_STEPS = pl.List(pl.Struct({"step": pl.String(), "reached_at": pl.Datetime("us")}))
_MOMENT = pl.Datetime("us")

USER: dict[str, tuple[pl.DataType | type[pl.DataType], Any]] = {
    "as_of": (_MOMENT, AS_OF),
    "user_id": (pl.String, "u_1"),
    "email": (pl.String, "ann@acme.com"),
    "contact_id": (pl.String, None),
    "account_id": (pl.String, None),
    "first_event_at": (_MOMENT, AS_OF - timedelta(days=60)),
    "last_active_at": (_MOMENT, AS_OF - timedelta(days=1)),
    "last_day_before_lately": (pl.Date(), None),
    "sessions_per_week": (pl.Float64, 0.0),
    "features_used": (pl.List(pl.String), []),
    "minutes_per_week": (pl.Float64, 0.0),
    "actions": (pl.Int64, 0),
    "team_invites": (pl.Int64, 0),
    "integrations": (pl.Int64, 0),
    "data_imported": (pl.String, "none"),
    "setup_share": (pl.Float64, 0.0),
    "setup_steps": (_STEPS, []),
    "setup_steps_total": (pl.Int64, 4),
    "pricing_page_view": (pl.Int64, 0),
    "upgrade_click": (pl.Int64, 0),
    "plan_comparison": (pl.Int64, 0),
    "limit_support_contact": (pl.Int64, 0),
    "invoice_download": (pl.Int64, 0),
    "api_key_generated": (pl.Int64, 0),
    "first_invite_at": (_MOMENT, None),
    "first_integration_at": (_MOMENT, None),
    "first_import_at": (_MOMENT, None),
    "reactivated_at": (_MOMENT, None),
    "subscription_status": (pl.String, None),
    "subscription_status_since": (_MOMENT, None),
    "has_open_opportunity": (pl.Boolean, False),
    "has_won_opportunity": (pl.Boolean, False),
    "first_paying_at": (_MOMENT, None),
    "had_opportunity": (pl.Boolean, False),
    "had_won_opportunity": (pl.Boolean, False),
}
ACCOUNT: dict[str, tuple[pl.DataType | type[pl.DataType], Any]] = {
    "as_of": (_MOMENT, AS_OF),
    "account_id": (pl.String, "a_1"),
    "name": (pl.String, "Acme"),
    "domain": (pl.String, "acme.com"),
    "employee_count": (pl.Int64, None),
    "industry": (pl.String, None),
    "tech_stack": (pl.List(pl.String), None),
    "estimated_acv": (pl.Float64, None),
    "segment_override": (pl.String, None),
    "subscription_status": (pl.String, None),
    "subscription_status_since": (_MOMENT, None),
    "active_users_30d": (pl.Int64, 0),
    "active_users_before": (pl.Int64, 0),
    "departments": (pl.Int64, 0),
    "catalogue_features_used": (pl.Int64, 0),
    "catalogue_features": (pl.Int64, 10),
    "mean_sessions_per_week": (pl.Float64, 0.0),
    "expansion_signals": (pl.Int64, 0),
    "has_won_opportunity": (pl.Boolean, False),
    "was_paying": (pl.Boolean, False),
}


def users(*changes: dict[str, Any]) -> pl.DataFrame:
    """Users that differ from the empty one by ``changes``; ids are u_1, u_2, ... unless given."""
    return _frame(USER, [{"user_id": f"u_{n}"} | changed for n, changed in enumerate(changes, start=1)])


def accounts(*changes: dict[str, Any]) -> pl.DataFrame:
    """Accounts that differ from the empty one by ``changes``; ids are a_1, a_2, ... unless given."""
    return _frame(ACCOUNT, [{"account_id": f"a_{n}"} | changed for n, changed in enumerate(changes, start=1)])


def _frame(columns: dict[str, tuple[Any, Any]], changes: list[dict[str, Any]]) -> pl.DataFrame:
    empty = {name: default for name, (_, default) in columns.items()}
    unknown = {key for changed in changes for key in changed} - set(empty)
    assert not unknown, f"no such column: {unknown}"
    schema = {name: kind for name, (kind, _) in columns.items()}
    return pl.DataFrame([empty | changed for changed in changes], schema=schema, orient="row")
