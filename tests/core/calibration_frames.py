"""Simulated companies for calibration: real scores (`core/pql.py`) of people whose buying follows chosen signals."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import scoring_frames as frames

from dagster_project.core.calibration.points import MEASURES, points_by_signal, signals_of
from dagster_project.core.calibration.samples import DAILY_SCORES, OUTCOMES, Samples, take_samples
from dagster_project.core.pql import score_users

RULES = frames.PLAYBOOK.calibration
SCORING = frames.PLAYBOOK.scoring
NAMES = signals_of(SCORING.pql)
FIRST_DAY = date(2026, 1, 1)
OBSERVED = datetime(2026, 11, 1)
INTENT = list(SCORING.pql.intent)
DRIVERS = {"upgrade_click": 3.2, "team_invites": 2.6, "actions": 2.6, "plan_comparison": 2.4}
"""By how much the log-odds of a deal grow with a signal at its best, in the company that has something to find."""


def scored_company(
    seed: int, drivers: dict[str, float], *, accounts: int = 700, periods: int = 6, base: float = -7.5
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`DAILY_SCORES` of one day a period and `OUTCOMES`: an account wins by what its two people did that day."""

    def pull(users: pl.DataFrame, points: pl.DataFrame) -> np.ndarray:
        if not drivers:
            return np.zeros(len(users))
        best = np.array([max(points[name].max(), 1) for name in drivers])
        return points.select(list(drivers)).to_numpy() / best @ np.array(list(drivers.values()))

    return measured_company(seed, pull, accounts=accounts, periods=periods, base=base)[:2]


Pull = Callable[[pl.DataFrame, pl.DataFrame], np.ndarray]
"""By how much each person's log-odds of a deal grow: from what was measured of them, and from their points."""


def measured_company(
    seed: int, pull: Pull, *, accounts: int = 700, periods: int = 6, base: float = -7.5, steady: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """`scored_company` for any truth, and the `MEASURES` of its people; `steady` accounts act equally often, always."""
    rng = np.random.default_rng(seed)
    days = [FIRST_DAY + timedelta(days=30 * n) for n in range(periods)]
    scores, deals, measures = [], [], []
    open_accounts = np.arange(accounts)
    habits = np.random.default_rng(seed).poisson(np.random.default_rng(seed + 1).gamma(1.5, 9, accounts))
    segments = rng.choice(["smb", "mid-market", "enterprise"], accounts, p=[0.6, 0.3, 0.1])
    for day in days:
        who = np.repeat(open_accounts, 2)
        users = _users(rng, who, day)
        if steady:
            users = users.with_columns(actions=pl.Series(habits[who]))
        fit = pl.Series("fit_tier", segments[who])
        scored = score_users(users.with_columns(fit, segment=fit), SCORING)
        daily = _daily(scored, day)
        scores.append(daily)
        measured = users.with_columns(pl.col("features_used").list.len(), day=pl.lit(day))
        measures.append(measured.select(pl.col(name).cast(kind) for name, kind in MEASURES.items()))
        of_people = pull(measured, points_by_signal(daily, NAMES))
        log_odds = base + np.reshape(of_people, (-1, 2)).mean(axis=1)
        wins = rng.random(len(open_accounts)) < 1 / (1 + np.exp(-log_odds))
        for account in open_accounts[wins]:
            at = datetime.combine(day, datetime.min.time()) + timedelta(days=2 + 20 * rng.random())
            deals.append((f"a_{account}", None, f"o_{account}", at, at, at))
        open_accounts = open_accounts[~wins]
    return pl.concat(scores), pl.DataFrame(deals, schema=OUTCOMES, orient="row"), pl.concat(measures)


def samples_of(scores: pl.DataFrame, outcomes: pl.DataFrame, *, observed: datetime = OBSERVED) -> Samples:
    """Samples with their points in columns."""
    found = take_samples(scores, outcomes, RULES, observed_until=observed)
    return replace(found, matured=points_by_signal(found.matured, NAMES))


def _users(rng: np.random.Generator, who: np.ndarray, day: date) -> pl.DataFrame:
    count = len(who)
    empty = frames.users({}).drop("user_id", "account_id")
    usual = pl.concat([empty] * count)
    seen = {name: rng.binomial(1, 0.3, len(set(who)))[np.unique(who, return_inverse=True)[1]] for name in INTENT}
    return usual.with_columns(
        user_id=pl.Series([f"u_{account}_{n % 2}" for n, account in enumerate(who)]),
        account_id=pl.Series([f"a_{account}" for account in who]),
        sessions_per_week=pl.Series(rng.gamma(2, 1.5, count)),
        minutes_per_week=pl.Series(rng.gamma(2, 9, count)),
        actions=pl.Series(rng.poisson(rng.gamma(1.5, 5, count))),
        features_used=pl.Series([["a", "b", "c", "d", "e", "f"][:n] for n in rng.integers(0, 7, count)]),
        team_invites=pl.Series(rng.poisson(1.2, count)),
        integrations=pl.Series(rng.poisson(0.8, count)),
        setup_share=pl.Series(rng.integers(0, 5, count) / 4),
        data_imported=pl.Series(rng.choice(["none", "some", "full"], count)),
        **{name: pl.Series(values.astype(np.int64)) for name, values in seen.items()},
    )


def _daily(scored: pl.DataFrame, day: date) -> pl.DataFrame:
    entry = pl.element().struct
    return scored.select(
        subject_type=pl.lit("user"),
        subject_id="user_id",
        account_id="account_id",
        day=pl.lit(day),
        model_version=pl.lit("m1"),
        score="pql_score",
        classification="classification",
        segment="segment",
        signals=pl.col("explanation").list.eval(pl.struct(signal=entry.field("signal"), points=entry.field("points"))),
    ).select(pl.col(name).cast(kind) for name, kind in DAILY_SCORES.items())
