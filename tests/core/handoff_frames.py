"""Builders of what a handoff run reads: an ordinary user and account, which a test changes."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import yaml

import dagster_project
from dagster_project.core.handoff_plan import HandoffInputs, HandoffPlan
from dagster_project.core.handoffs import plan_handoffs
from dagster_project.core.playbook import Playbook
from dagster_project.playbook_files import read_playbook

AS_OF = datetime(2026, 5, 2, 10, 0)
FILES = Path(dagster_project.__file__).parent / "playbook"
_EXPLANATION = pl.List(
    pl.Struct(
        {
            "signal": pl.String(),
            "value": pl.String(),
            "tier": pl.String(),
            "points": pl.Float64(),
            "contribution": pl.Float64(),
        }
    )
)
_MILESTONES = pl.List(pl.Struct({"name": pl.String(), "reached_at": pl.Datetime("us")}))
_TICKETS = pl.List(pl.Struct({"created_at": pl.Datetime("us"), "status": pl.String()}))
_STEPS = pl.List(pl.Struct({"step": pl.String(), "reached_at": pl.Datetime("us")}))
_LISTS = {
    "explanation": _EXPLANATION,
    "milestones": _MILESTONES,
    "setup_steps": _STEPS,
    "limit_tickets": _TICKETS,
}


def packaged(name: str) -> dict[str, Any]:
    """A playbook file as plain data."""
    return yaml.safe_load((FILES / name).read_text(encoding="utf-8"))


@cache
def playbook() -> Playbook:
    """The packaged playbook."""
    return read_playbook(None)


def scored(signal: str, value: str, tier: str, contribution: float) -> dict[str, Any]:
    """An entry of an explanation."""
    return {"signal": signal, "value": value, "tier": tier, "points": 0.0, "contribution": contribution}


def _user(**changed: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "as_of": AS_OF,
        "user_id": "u_1",
        "email": "ann@acme.com",
        "user_name": "Ann Lee",
        "contact_id": "c_1",
        "contact_name": None,
        "contact_role": "Head of Operations",
        "contact_department": None,
        "contact_lifecycle_stage": "lead",
        "contact_owner_id": None,
        "account_id": "a_1",
        "first_event_at": AS_OF - timedelta(days=60),
        "last_active_at": AS_OF - timedelta(hours=3),
        "sessions": 12,
        "features_used": ["automations", "alerts", "reports"],
        "actions": 40,
        "team_invites": 0,
        "limit_hit": 0,
        "seat_added": 0,
        "upgrade_click": 0,
        "pricing_visits": 0,
        "setup_steps_done": ["Workspace Created", "Profile Completed"],
        "setup_steps_total": 4,
        "setup_steps": [
            {"step": "Workspace Created", "reached_at": AS_OF - timedelta(days=59)},
            {"step": "Profile Completed", "reached_at": AS_OF - timedelta(days=58)},
        ],
        "limit_tickets": [],
        "data_imported": "none",
        "imports_failed": 0,
        "imports_partial": 0,
        "first_invite_at": None,
        "first_integration_at": None,
        "first_import_at": None,
        "last_upgrade_click_at": None,
        "last_sales_request_at": None,
        "last_limit_contact_at": None,
        "last_limit_hit_at": None,
        "last_pricing_view_at": None,
        "last_plan_comparison_at": None,
        "milestones": [],
        "reactivated_at": None,
        "previous_active_day": None,
        "subscription_status": None,
        "subscription_status_since": None,
        "has_open_opportunity": False,
        "has_won_opportunity": False,
        "is_unsubscribed": False,
        "email_opt_out": False,
        "contact_do_not_contact": False,
        "account_do_not_contact": False,
        "suppression_reason": None,
        "contact_deleted": False,
        "account_deleted": False,
        "pql_score": 50.0,
        "classification": "developing",
        "segment": "mid-market",
        "motion": "sales-assist",
        "segment_source": "computed",
        "usage_tier": "medium",
        "activation_stage": "activated",
        "is_customer": False,
        "explanation": [
            scored("sessions_per_week", "6.5", "high", 10.0),
            scored("features_used", "3", "medium", 6.0),
            scored("cap", "100", "", 1.0),
        ],
    }
    return row | changed


def _account(**changed: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "account_id": "a_1",
        "name": "Acme",
        "in_crm": True,
        "account_tier": "B",
        "subscription_status": None,
        "subscription_status_since": None,
        "domain": "acme.com",
        "employee_count": 240,
        "industry": "logistics",
        "owner_id": None,
        "is_target_account": False,
        "do_not_contact": False,
        "suppression_reason": None,
        "is_deleted": False,
        "active_users_30d": 1,
        "team_invites": 0,
        "limit_hits": 0,
        "seats_added": 0,
        "upgrade_clicks": 0,
        "has_open_opportunity": False,
        "open_opportunity_id": None,
        "has_won_opportunity": False,
        "pqa_score": 55.5,
        "classification": "developing",
        "quadrant": "develop",
        "segment": "mid-market",
        "motion": "sales-assist",
        "segment_source": "computed",
        "is_customer": False,
        "explanation": [
            scored("active_users", "5", "medium", 12.0),
            scored("employees", "240", "medium", 8.0),
        ],
    }
    return row | changed


def _typed(rows: list[dict[str, Any]], like: dict[str, Any]) -> pl.DataFrame:
    """A frame whose columns have a type even when every value is null, as features from the warehouse do."""
    kinds: dict[str, pl.DataType] = {}
    for name in like:
        if name.endswith(("_at", "_since")) or name == "as_of":
            kinds[name] = pl.Datetime("us")
        elif name.endswith("_day"):
            kinds[name] = pl.Date()
        elif name in _LISTS:
            kinds[name] = _LISTS[name]
        elif name in ("features_used", "setup_steps_done"):
            kinds[name] = pl.List(pl.String())
        elif isinstance(like[name], bool):
            kinds[name] = pl.Boolean()
        elif isinstance(like[name], float):
            kinds[name] = pl.Float64()
        elif isinstance(like[name], int):
            kinds[name] = pl.Int64()
        else:
            kinds[name] = pl.String()
    return pl.DataFrame(rows, schema=kinds, orient="row")


def users(*changes: dict[str, Any]) -> pl.DataFrame:
    """Users that differ from the ordinary one by ``changes``."""
    return _typed([_user(**changed) for changed in changes], _user())


def accounts(*changes: dict[str, Any]) -> pl.DataFrame:
    """Accounts that differ from the ordinary one by ``changes``."""
    return _typed([_account(**changed) for changed in changes], _account())


def owners(*people: tuple[str, str] | tuple[str, str, bool]) -> pl.DataFrame:
    """Owners as (id, team) or (id, team, is active)."""
    rows = [
        {
            "owner_id": p[0],
            "name": f"Rep {p[0]}",
            "email": f"{p[0]}@us.com",
            "team": p[1],
            "is_active": (*p, True)[2],
        }
        for p in people
    ]
    kinds = {
        "owner_id": pl.String,
        "name": pl.String,
        "email": pl.String,
        "team": pl.String,
        "is_active": pl.Boolean,
    }
    return pl.DataFrame(rows, schema=kinds, orient="row")


LATER = AS_OF + timedelta(days=1)
HOT: dict[str, Any] = {"pql_score": 91.0, "classification": "hot"}
SMALL: dict[str, Any] = {"segment": "smb", "motion": "self-serve"}
EVERY_TEAM = owners(
    ("o_ae", "ae"), ("o_sdr", "sdr"), ("o_esdr", "enterprise_sdr"), ("o_csm", "csm"), ("o_sales", "sales")
)
NOTHING = pl.DataFrame()


def past(*rows: dict[str, Any]) -> pl.DataFrame:
    """Earlier handoffs, of the hot PQL trigger for the ordinary account unless changed."""
    like = {
        "account_id": "a_1",
        "user_id": "u_1",
        "triggers": ["hot_pql"],
        "priority": "P0",
        "classification": "hot",
        "recipient_id": "o_ae",
        "created_at": AS_OF - timedelta(days=3),
        "status": "delivered",
    }
    return pl.DataFrame([like | row for row in rows], infer_schema_length=None)


def inputs(
    people: pl.DataFrame,
    companies: pl.DataFrame | None = None,
    *,
    as_of: datetime = AS_OF,
    baseline: pl.DataFrame | None = None,
    team: pl.DataFrame = EVERY_TEAM,
    hold: str | None = None,
    handed_over: pl.DataFrame = NOTHING,
    after: HandoffPlan | None = None,
) -> HandoffInputs:
    """The inputs of a run; ``after`` is the plan of the run before, as the ledger kept it."""
    earlier = [frame for frame in (handed_over, after.handoffs if after else NOTHING) if frame.width]
    columns = [
        "account_id",
        "user_id",
        "triggers",
        "priority",
        "classification",
        "recipient_id",
        "created_at",
        "status",
    ]
    return HandoffInputs(
        as_of=as_of,
        users=people,
        accounts=accounts({}) if companies is None else companies,
        baseline=baseline,
        baseline_at=None if baseline is None else AS_OF - timedelta(days=7),
        owners=team,
        crm_hold_reason=hold,
        states=after.states if after else NOTHING,
        open_candidates=after.candidates if after else NOTHING,
        past=pl.concat([frame.select(columns) for frame in earlier], how="vertical_relaxed") if earlier else NOTHING,
        turns=after.turns if after else NOTHING,
        past_notices=NOTHING,
        overlaps=NOTHING,
    )


def planned(given: HandoffInputs, **more: Any) -> HandoffPlan:
    """The plan of a run under the packaged playbook."""
    return plan_handoffs(replace(given, **more), playbook())
