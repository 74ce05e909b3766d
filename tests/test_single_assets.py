"""One asset alone, as from the UI, where no run has been yet: it says what to run."""

from pathlib import Path

import pytest
from installation import Installation

NEED_A_RUN = (
    ["reference/event_catalog"],
    ["staging/stg_product__events"],
    ["intermediate/int_user_days"],
    ["features/user_features"],
    ["scores/pql_scores", "scores/pqa_scores", "scores/score_history", "scores/segment_history"],
    ["scores/models"],
    ["handoffs/decisions"],
    ["handoffs/delivered"],
    ["crm/plan"],
    ["crm/fields"],
    ["marts/pql_scores"],
    ["marts/handoffs"],
    ["marts/funnel"],
    ["serving/serving_database"],
)


@pytest.mark.parametrize("assets", NEED_A_RUN, ids=lambda assets: assets[0])
def test_an_asset_on_a_fresh_folder_says_what_to_run(assets: list[str], tmp_path: Path) -> None:
    result = Installation(tmp_path).run(only=assets, raise_on_error=False)
    failures = [event for event in result.all_events if event.is_step_failure]
    assert failures
    for event in failures:
        error = event.step_failure_data.error
        assert error
        assert "nothing was computed yet: run `pls run` once" in (error.cause or error).message
