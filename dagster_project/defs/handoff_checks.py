"""Checks of the guardrails after handoffs were delivered: what must never be so, asked of the stores."""

from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.core.guards import late_alerts, over_capacity
from dagster_project.core.letters import ALERT, HANDOFF
from dagster_project.core.routing import Desk, owners_by_id
from dagster_project.defs.delivery import delivered_handoffs
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.no_contact import blocked_people
from dagster_project.refresh import LIVE, live_moment

LOOKED_BACK = timedelta(days=2)
"""How far back handoffs are looked at: older ones were checked by the runs of their days."""
_NOT_SENT = ("pending", "cancelled")


@dg.asset_check(asset=delivered_handoffs, pool=WAREHOUSE_POOL)
def nobody_who_must_not_be_contacted_was_sent(workplace: Workplace) -> dg.AssetCheckResult:
    """No handoff that this run delivered is about somebody whom nobody may contact."""
    with workplace.connect() as connection, workplace.ledger() as ledger:
        _, until = live_moment(connection)
        handoffs = ledger.handoffs(since=until).filter(
            pl.col("created_at") == until, ~pl.col("status").is_in(_NOT_SENT)
        )
        blocked = blocked_people(connection, handoffs["user_id"].to_list())
    wrong = {row["handoff_id"]: blocked[row["user_id"]] for row in handoffs.to_dicts() if row["user_id"] in blocked}
    return _result(wrong, looked_at=handoffs.height)


@dg.asset_check(asset=delivered_handoffs, pool=WAREHOUSE_POOL)
def nobody_got_more_than_a_day_holds(workplace: Workplace) -> dg.AssetCheckResult:
    """Handoffs and notices of one person's day are within the daily capacity."""
    with workplace.connect() as connection, workplace.ledger() as ledger:
        _, until = live_moment(connection)
        owners = owners_by_id(connection.sql(f"select * from features.owners where {LIVE}").pl())
        past = ledger.past_handoffs(until - LOOKED_BACK).select("recipient_id", "created_at")
        given = pl.concat([past, ledger.given_notices(until - LOOKED_BACK)])
    over = over_capacity(given, Desk(owners, workplace.playbook.routing, until))
    return _result({f"{who} on {day}": str(count) for (who, day), count in over.items()}, looked_at=given.height)


@dg.asset_check(asset=delivered_handoffs, pool=WAREHOUSE_POOL)
def every_p0_was_there_in_time(workplace: Workplace) -> dg.AssetCheckResult:
    """Each P0 of the last day was delivered before it was due; what was scored for a past moment doesn't count."""
    now = workplace.now()
    with workplace.ledger() as ledger:
        handoffs = ledger.handoffs(since=now - LOOKED_BACK)
        arrived = ledger.arrivals(HANDOFF, ALERT, now - LOOKED_BACK)
    return _result(late_alerts(handoffs, arrived, now), looked_at=handoffs.height)


def _result(wrong: dict[str, str], *, looked_at: int) -> dg.AssetCheckResult:
    told: dict[str, Any] = {"looked at": looked_at}
    if wrong:
        told["which"] = "; ".join(f"{which}: {why}" for which, why in list(wrong.items())[:20])
    return dg.AssetCheckResult(passed=not wrong, metadata=told)


CHECKS = [nobody_who_must_not_be_contacted_was_sent, nobody_got_more_than_a_day_holds, every_p0_was_there_in_time]
