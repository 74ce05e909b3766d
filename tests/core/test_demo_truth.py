"""Calibration on demo companies, whose truth is known: it finds what drives deals, and nothing where nothing does."""

from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
from calibration_frames import NAMES, RULES, SCORING, samples_of
from demo_scores import OBSERVED, demo_scores

from dagster_project.core.calibration.evidence import BACKWARDS, DRIVES
from dagster_project.core.calibration.intervals import Interval
from dagster_project.core.calibration.ranking import auc_interval
from dagster_project.core.calibration.samples import Samples, group_codes
from dagster_project.core.calibration.suggestions import advise

SEEDS = (1, 2, 3)
DRIVING = {"minutes_per_week", "actions", "team_invites", "pricing_page_view", "upgrade_click", "plan_comparison"}
"""Depth makes people use more, growth makes them invite, and who shops looks at prices, compares and clicks."""


@cache
def told(seed: int) -> Samples:
    return samples_of(*demo_scores(seed), observed=OBSERVED)


def ranked(samples: Samples) -> Interval:
    matured = samples.matured
    won = matured["won"].cast(pl.Float64).to_numpy()
    return auc_interval(matured["score"].to_numpy(), won, group_codes(matured), RULES.confidence)


def verdicts_of(samples: Samples) -> dict[str, str]:
    return dict(advise(samples, SCORING, RULES).evidence.select("signal", "verdict").iter_rows())


def shuffled_accounts(groups: pl.Series, seed: int) -> dict[str, str]:
    """Every account takes another one's place."""
    known = groups.unique().sort().to_list()
    return dict(zip(known, np.random.default_rng(seed).permutation(known).tolist(), strict=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_signals_that_drive_a_demo_companys_deals_are_found(seed: int) -> None:
    samples = told(seed)
    assert ranked(samples).low > 0.55
    found = verdicts_of(samples)
    assert {name for name in NAMES if found[name] == DRIVES} >= DRIVING
    # Invoices are of those who pay by card already, without a deal.
    assert {name for name in NAMES if found[name] == BACKWARDS} <= {"invoice_download"}
    assert found["invoice_download"] != DRIVES


@pytest.mark.parametrize("seed", SEEDS)
def test_what_another_company_did_drives_nothing(seed: int) -> None:
    """Real points with their real spread, of people of another account: whatever is found in them is chance."""
    samples = told(seed)
    matured = samples.matured.with_row_index("row")
    place = shuffled_accounts(matured["group"], seed)
    others = (
        matured.group_by("group", "period")
        .agg(pl.col(NAMES).mean())
        .with_columns(pl.col("group").replace_strict(place))
    )
    # The mean of a team that isn't theirs; nobody, where that team had nobody in this period.
    strange = (
        matured.drop(NAMES).join(others, on=["group", "period"], how="left").with_columns(pl.col(NAMES).fill_null(0))
    )
    mixed = strange.sort("row").drop("row").select(samples.matured.columns)
    found = verdicts_of(replace(samples, matured=mixed))
    assert [name for name, verdict in found.items() if verdict in (DRIVES, BACKWARDS)] == []


@pytest.mark.parametrize("seed", SEEDS)
def test_deals_dealt_out_at_random_are_a_coin_and_nothing_is_suggested(seed: int) -> None:
    scores, outcomes = demo_scores(seed)
    scores = scores.drop_nulls("account_id")  # whoever has none can win no deal, which scores know
    accounts = scores["account_id"].unique().sort().to_numpy()
    drawn = np.random.default_rng(seed).choice(accounts, outcomes.height)
    samples = samples_of(scores, outcomes.with_columns(account_id=pl.Series(drawn)), observed=OBSERVED)
    assert samples.won_accounts() > RULES.minimum.won_accounts
    found = ranked(samples)
    assert found.estimate == pytest.approx(0.5, abs=0.05)
    assert found.low < 0.5 < found.high
    advice = advise(samples, SCORING, RULES)
    assert advice.rules is None
    assert DRIVES not in set(advice.evidence["verdict"])
