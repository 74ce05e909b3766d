"""What a changed playbook would do, on current data: gathered from the warehouse and the ledger, changing neither."""

from collections.abc import Mapping
from datetime import timedelta

import duckdb
import polars as pl

from dagster_project.core.calibration.points import (
    measured_ones,
    points_by_signal,
    rescored,
    signals_of,
    untried,
    with_measures,
)
from dagster_project.core.calibration.samples import DAILY_SCORES, take_samples
from dagster_project.core.calibration.suggestions import compared
from dagster_project.core.handoff_plan import HandoffInputs
from dagster_project.core.planning.alerts import DAYS, in_a_week, on_the_first_day
from dagster_project.core.planning.moves import moves
from dagster_project.core.planning.plan import BackTest, Plan, not_shown
from dagster_project.core.playbook import Playbook
from dagster_project.core.routing import A_DAY_ANYWHERE
from dagster_project.core.scoring import Scores
from dagster_project.errors import PlsError
from dagster_project.event_catalog import CATALOGUE
from dagster_project.landing.freshness import crm_freshness
from dagster_project.ledger import Ledger
from dagster_project.past_accounts import by_accounts_in_warehouse
from dagster_project.past_scores import observed_until, read_past
from dagster_project.refresh import LIVE
from dagster_project.scored_moments import score_moment
from dagster_project.settings import Settings
from dagster_project.warehouse import Warehouse

TOP = 10


class PlanError(PlsError):
    """A plan can't be made; the message says what to do."""


def make_plan(settings: Settings, live: Playbook, proposed: Playbook, *, top: int = TOP) -> Plan:
    """Compare two playbooks on what the last run measured.

    Args:
        settings: The installation.
        live: Its playbook.
        proposed: The changed one.
        top: How many movers are named.

    Raises:
        PlanError: Nothing has been scored yet.
    """
    if not settings.warehouse.exists() or not settings.serving.exists():
        raise PlanError(f"nothing has been scored in {settings.data_dir} yet: `pls run` first, then plan")
    with Warehouse(settings.warehouse).read() as connection, Ledger(settings.ledger_url) as ledger:
        scored = {name: _scored(connection, rules) for name, rules in (("live", live), ("proposed", proposed))}
        longest = max(live.handoffs.cooldown_days, proposed.handoffs.cooldown_days)
        inputs = {name: _inputs(connection, ledger, scored[name], live, cooldown_days=longest) for name in scored}
        then = _scores_then(connection, inputs["live"], live)
        back_test, why_not = _back_test(connection, live, proposed)
        names = dict(inputs["live"].owners.select("owner_id", pl.coalesce("name", "owner_id")).iter_rows())
    rules = {"live": live, "proposed": proposed}
    before, after = scored["live"], scored["proposed"]
    young = "No score is a week old yet: whoever is above the line of `hot_pql` counts as having been there."
    return Plan(
        users=moves(before.users, after.users, key="user_id", name="email", score="pql_score", most=top),
        accounts=moves(before.accounts, after.accounts, key="account_id", name="name", score="pqa_score", most=top),
        first_day=tuple(on_the_first_day(inputs[name], rules[name]) for name in rules),  # type: ignore[arg-type]
        week=(
            in_a_week(inputs["live"], then, live),
            in_a_week(inputs["proposed"], _under(then, scored, live, proposed), proposed),
        ),
        back_test=back_test,
        untold=[*not_shown(live, proposed), *why_not, *([young] if then is None else [])],
        names=names,
    )


def _scored(connection: duckdb.DuckDBPyConnection, playbook: Playbook) -> Scores:
    return score_moment(connection, playbook, is_live=True, model_version="")


def _inputs(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, scored: Scores, live: Playbook, *, cooldown_days: int
) -> HandoffInputs:
    """What the next run's decisions would depend on. CRM data is judged by the live rules: it is what there is."""
    [(as_of,)] = connection.sql("select until from raw.moments where is_live").fetchall()
    [(since,)] = connection.sql("select min(as_of) from scores.score_history").fetchall()
    remembered = timedelta(days=max(cooldown_days, A_DAY_ANYWHERE) + DAYS)
    return HandoffInputs(
        as_of=as_of,
        users=scored.users,
        accounts=scored.accounts,
        baseline=None,
        owners=connection.sql(f"select * from features.owners where {LIVE}").pl(),
        crm_hold_reason=crm_freshness(connection, as_of, live.sources).hold_reason,
        states=ledger.read_frame("trigger_states"),
        open_candidates=ledger.read_frame("candidates"),
        past=by_accounts_in_warehouse(connection, ledger.past_handoffs(as_of - remembered)),
        past_notices=ledger.given_notices(as_of - timedelta(days=A_DAY_ANYWHERE)),
        turns=ledger.read_frame("routing_turns"),
        overlaps=pl.DataFrame(),  # whose nurture pauses is not shown
        scored_since=since,
    )


def _scores_then(connection: duckdb.DuckDBPyConnection, inputs: HandoffInputs, live: Playbook) -> pl.DataFrame | None:
    """`user_id, score` a week ago, with points by signal where the live model scored a day of about then.

    None when nothing is known that is a week old.
    """
    since = inputs.as_of - timedelta(days=DAYS)
    days = "from scores.daily_scores where subject_type = 'user' and model_version = $version and day <= $day"
    daily = connection.sql(
        f"select {', '.join(DAILY_SCORES)} {days} and day = (select max(day) {days})",
        params={"version": _version(live), "day": since.date()},
    ).pl()
    if daily.height:
        kept = daily.select(pl.col(name).cast(kind) for name, kind in DAILY_SCORES.items())
        return points_by_signal(kept, signals_of(live.scoring.pql)).rename({"subject_id": "user_id"})
    known = connection.sql(
        "select subject_id as user_id, max_by(score, as_of) as score from scores.score_history "
        "where subject_type = 'user' and as_of <= $since group by all",
        params={"since": since},
    ).pl()
    return known if known.height else None


def _under(
    then: pl.DataFrame | None, scored: Mapping[str, Scores], live: Playbook, proposed: Playbook
) -> pl.DataFrame | None:
    """The scores of a week ago under the proposal: from their points, or where those can't tell shifted as today's."""
    if then is None:
        return None
    has_points = set(signals_of(live.scoring.pql)) <= set(then.columns)
    if has_points and not untried(live.scoring, proposed.scoring) and live.segments == proposed.segments:
        return rescored(then, live.scoring, proposed.scoring)
    now = scored["live"].users.select("user_id", now="pql_score")
    tried = scored["proposed"].users.select("user_id", tried="pql_score")
    shifted = then.join(now, on="user_id").join(tried, on="user_id")
    return shifted.with_columns(score=pl.col("score") + pl.col("tried") - pl.col("now"))


def _back_test(
    connection: duckdb.DuckDBPyConnection, live: Playbook, proposed: Playbook
) -> tuple[BackTest | None, list[str]]:
    """Both playbooks on matured scores of past days, or why that can't be told."""
    if keys := untried(live.scoring, proposed.scoring, is_measured=True):
        return None, [
            f"Back-test: {', '.join(keys)} can't be tried on past days, of which points and a few measures are kept. "
            "As a challenger it can: `pls backfill` scores past days by it."
        ]
    if live.segments != proposed.segments:
        return None, ["Back-test: segments.yml has changed, and past days keep the segment of their time."]
    rules = live.calibration
    past = read_past(connection, pl.DataFrame(), period_days=rules.period_days)
    mine = past.scores.filter((pl.col("subject_type") == "user") & (pl.col("model_version") == _version(live)))
    samples = take_samples(mine, past.outcomes, rules, observed_until=observed_until(connection))
    if samples.matured.is_empty() or samples.matured["won"].n_unique() < 2:
        return None, [
            f"Back-test: no scores of past days by the live model have matured with deals won and lost "
            f"({samples.matured.height:,} matured, {samples.won_accounts():,} accounts won). Score past days with "
            "`pls backfill`."
        ]
    matured = with_measures(points_by_signal(samples.matured, signals_of(live.scoring.pql)), past.measures)
    if keys := untried(live.scoring, proposed.scoring):
        matured = measured_ones(matured)  # other bounds, which points alone don't tell
        if matured["won"].n_unique() < 2:
            return None, [
                f"Back-test: of too few matured scores is known what was measured, which {', '.join(keys)} asks for: "
                "`pls backfill` measures past days."
            ]
    tried = matured.with_columns(tried=rescored(matured, live.scoring, proposed.scoring)["score"])
    found = compared(tried, rules)
    test = BackTest(found.now, found.new, found.gain, matured.height, samples.won_accounts(matured))
    return test, []


def _version(playbook: Playbook) -> str:
    return playbook.model_version(CATALOGUE.read_text(encoding="utf-8"))
