"""Past scores of the demo company, from what its simulation plans: no files, no SQL, the real score function.

Measures are those of section 3 in short; every person of a company counts from the day on which they signed up.
"""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import scoring_frames as frames

from dagster_project.core.calibration.samples import DAILY_SCORES, OUTCOMES
from dagster_project.core.pql import grade_users
from dagster_project.demo.catalog import catalog
from dagster_project.demo.company import demo_truth, plan_events, population
from dagster_project.demo.people import VISITOR
from dagster_project.demo.sessions import WEEK, week_of_sessions
from dagster_project.demo.size import DAY_MS, DemoSize
from dagster_project.demo.timeline import Happenings

END = datetime(2026, 6, 30, 18)
SIZE = {"users": 7000, "accounts": 2500, "days": 330}
OBSERVED = END
FIRST_SAMPLE, WINDOW, TO_JUDGE = 60, 30, 95
FLAGS = {
    "pricing_page_view": "pricing page",
    "upgrade_click": "Upgrade Clicked",
    "plan_comparison": "Plans Compared",
    "limit_support_contact": "Limit Support Requested",
    "invoice_download": "Invoice Downloaded",
    "api_key_generated": "API Key Generated",
}
KEYS = {**FLAGS, "team_invites": "invite", "steps": "setup", "connect": "connect", "disconnect": "disconnect",
        "import": "import", "acts": "feature action"}  # fmt: skip


def demo_scores(seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`DAILY_SCORES` of a day in each period and `OUTCOMES` of a demo company."""
    size = DemoSize(seed, SIZE["users"], SIZE["accounts"], SIZE["days"], END)
    companies, people, buying = population(size)
    planned, _ = plan_events(size, companies, people, buying=buying)
    weeks = [week_of_sessions(size, people, buying, week=week) for week in range(-(-size.days // WEEK))]
    happened = pl.concat(_frame(part) for part in [planned, *weeks])
    truth = demo_truth(seed, **SIZE, end=END)
    segments = dict(truth.companies.select("account_id", "segment").iter_rows())
    who = pl.DataFrame(
        {
            "person": np.arange(len(people)),
            "user_id": people.user_ids,
            "account_id": pl.Series([companies.account_ids[c] if c >= 0 else None for c in people.company.tolist()]),
            "joined": people.joined,
        }
    ).filter(pl.Series(people.kind != VISITOR))
    placed = who.with_columns(
        segment=pl.col("account_id").replace_strict(segments, default=None, return_dtype=pl.String)
    )
    days = range(FIRST_SAMPLE, size.days - TO_JUDGE, 30)
    scores = [_on_day(placed.filter(pl.col("joined") < day + 1), happened, size, day) for day in days]
    won = truth.deals.filter(pl.col("is_won") & pl.col("closes_at").is_not_null())
    deals = won.select(
        "account_id",
        contact_id=pl.lit(None, pl.String),
        opportunity_id=pl.int_range(pl.len()).cast(pl.String),
        won_at="closes_at",
        created_at="created_at",
        known_from="closes_at",
    )
    return pl.concat(scores), deals.select(pl.col(name).cast(kind) for name, kind in OUTCOMES.items())


def _frame(part: Happenings) -> pl.DataFrame:
    return pl.DataFrame(
        {"person": part.person, "template": part.template, "at": part.at_ms, "session": part.session}
    ).filter(~pl.Series(part.is_anonymous))


def _on_day(who: pl.DataFrame, happened: pl.DataFrame, size: DemoSize, day: int) -> pl.DataFrame:
    known = happened.filter(pl.col("at") < (day + 1) * DAY_MS)
    window = known.filter(pl.col("at") >= (day + 1 - WINDOW) * DAY_MS)
    seen = {name: pl.col("template").is_in(catalog().find(key)) for name, key in KEYS.items()}
    session = pl.when(pl.col("session") >= 0).then("session").otherwise(pl.col("at") // DAY_MS)
    minutes = (
        window.group_by("person", session)
        .agg(minutes=((pl.col("at").max() - pl.col("at").min()) / 60_000).clip(lower_bound=1))
        .group_by("person")
        .agg(sessions=pl.len(), minutes=pl.col("minutes").sum())
    )
    counted = window.group_by("person").agg(
        *(seen[name].sum().alias(name) for name in (*FLAGS, "team_invites")),
        actions=pl.any_horizontal(seen[name] for name in ("acts", "team_invites", "steps", "connect", "import")).sum(),
        features_used=pl.col("template").filter(seen["acts"]).n_unique(),
    )
    complete, partial, _ = catalog().find("import")
    to_date = known.group_by("person").agg(
        integrations=(pl.col("template").filter(seen["connect"]).n_unique()),
        setup_share=pl.col("template").filter(seen["steps"]).n_unique() / 4,
        complete=(pl.col("template") == complete).any(),
        partial=(pl.col("template") == partial).any(),
    )
    weeks = (pl.lit(day + 1) - pl.col("joined")).clip(7, WINDOW) / 7
    joined = who.join(minutes, on="person", how="left").join(counted, on="person", how="left")
    users = joined.join(to_date, on="person", how="left").with_columns(
        pl.col(pl.UInt32, pl.Int64, pl.Float64).fill_null(0),
        fit_tier=pl.col("segment").fill_null("consumer"),
        segment=pl.col("segment").fill_null("smb"),
        sessions_per_week=pl.col("sessions").fill_null(0) / weeks,
        minutes_per_week=pl.col("minutes").fill_null(0) / weeks,
        data_imported=pl.when("complete")
        .then(pl.lit("full"))
        .when("partial")
        .then(pl.lit("some"))
        .otherwise(pl.lit("none")),
    )
    graded = grade_users(users, frames.PLAYBOOK.scoring)
    names = [name for name in graded.columns if name not in ("score", "classification")]
    signals = pl.concat_list(pl.struct(signal=pl.lit(name), points=pl.col(name)) for name in names)
    rows = pl.concat([users.select("user_id", "account_id", "segment"), graded], how="horizontal").select(
        "account_id", "score", "classification", "segment",
        subject_type=pl.lit("user"), subject_id="user_id", model_version=pl.lit("m1"), signals=signals,
        day=pl.lit((size.start + timedelta(days=day)).date()),
    )  # fmt: skip
    return rows.select(pl.col(name).cast(kind) for name, kind in DAILY_SCORES.items())
