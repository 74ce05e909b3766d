"""The checks of the guardrails find what must never be so."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
from handoff_frames import AS_OF, owners, playbook

from dagster_project.core.guards import late_alerts, over_capacity
from dagster_project.core.routing import Desk, owners_by_id


def test_more_than_a_day_holds_is_found_per_person_and_day() -> None:
    desk = Desk(owners_by_id(owners(("o_1", "ae"), ("o_2", "ae"))), playbook().routing, AS_OF)
    given = (
        [("o_1", AS_OF)] * 21 + [("o_2", AS_OF)] * 20 + [("o_2", AS_OF - timedelta(days=1))] + [("team:ae", AS_OF)] * 40
    )
    frame = pl.DataFrame(given, schema={"recipient_id": pl.String, "created_at": pl.Datetime("us")}, orient="row")
    assert over_capacity(frame, desk) == {("o_1", AS_OF.date()): 21}


def handoff(**changed: Any) -> pl.DataFrame:
    row = {"handoff_id": "ho", "priority": "P0", "status": "pending", "created_at": AS_OF}
    return pl.DataFrame([row | {"due_at": AS_OF + timedelta(hours=1)} | changed])


def test_a_p0_is_late_when_it_was_not_there_before_it_was_due() -> None:
    now = AS_OF + timedelta(hours=2)
    assert late_alerts(handoff(), {}, now) == {"ho": "due at 2026-05-02 11:00, not delivered"}
    assert late_alerts(handoff(), {"ho": now}, now) == {"ho": "due at 2026-05-02 11:00, delivered at 2026-05-02 12:00"}
    assert late_alerts(handoff(), {"ho": AS_OF}, now) == {}
    assert late_alerts(handoff(), {}, AS_OF + timedelta(minutes=59)) == {}
    assert late_alerts(handoff(priority="P1"), {}, now) == {}
    assert late_alerts(handoff(status="cancelled"), {}, now) == {}


def test_what_was_scored_for_a_past_moment_is_not_late() -> None:
    assert late_alerts(handoff(), {}, datetime(2026, 11, 25)) == {}
