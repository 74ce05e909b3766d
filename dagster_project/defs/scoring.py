"""The scores of the live moment and their histories: gather features, call the pure score functions, write."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl

from dagster_project.core import pqa, pql
from dagster_project.core.changes import (
    SCORE_HISTORY,
    SEGMENT_HISTORY,
    STANDING,
    SUBJECT,
    score_changes,
    segment_changes,
    standing,
)
from dagster_project.core.feeds import may_have_been_active
from dagster_project.core.playbook import Playbook
from dagster_project.core.scoring import (
    ACCOUNT_STANDING,
    PQA_COLUMNS,
    PQL_COLUMNS,
    Scores,
    accounts_that_moved,
    score_everybody,
)
from dagster_project.core.scoring_rules import CLASSES
from dagster_project.daily_scores import ScoredDay, create_daily_scores, write_own_day
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.defs.tables import bar_chart, markdown_table, replace_rows, replace_table, shown_tables
from dagster_project.defs.transform import OWNERS, published_columns
from dagster_project.landing.feeds import known_silences
from dagster_project.landing.register import transaction
from dagster_project.refresh import current_refresh
from dagster_project.settings import DBT_PROJECT_DIR

CATALOGUE = DBT_PROJECT_DIR / "seeds" / "event_catalog.csv"
DAILY_SCORES_KEY = dg.AssetKey(["scores", "daily_scores"])
"""Made day by day in `defs/past.py`; a full run adds its own day."""
HOTTEST = 15
STANDING_SINCE = ("subscription_status", "subscription_status_since")
"""What of an account's standing is not published."""
RESCORED = {
    "pql_scores": "user_id in (select user_id from scores.rescored_users)",
    "pqa_scores": "account_id in (select account_id from scores.rescored_accounts)",
}
"""Which scores a delta replaces."""
RESCORED_SUBJECTS = (
    "case subject_type when 'user' then subject_id in (select user_id from scores.rescored_users) "
    "else subject_id in (select account_id from scores.rescored_accounts) end"
)
"""The same of the tables that hold users and accounts."""
_DESCRIPTIONS = {
    "pql_scores": "Users scored at the live moment, with segment, stage and explanation. One row per user.",
    "pqa_scores": "Accounts scored at the live moment, with quadrant and explanation. One row per account.",
    "score_history": "Scores as they changed, with what moved. One row per subject and change.",
    "segment_history": "Segments as they changed. One row per subject and change.",
}
_SUBJECTS = {"user": ("user_id", "pql_score"), "account": ("account_id", "pqa_score")}


@dg.multi_asset(
    name="scores",
    specs=[
        dg.AssetSpec(
            ["scores", table],
            deps=[["features", "user_features"], ["features", "account_features"]],
            group_name="scoring",
            owners=OWNERS,
            kinds={"duckdb", "polars"},
            description=description,
        )
        for table, description in _DESCRIPTIONS.items()
    ],
    pool=WAREHOUSE_POOL,
)
def scores(context: dg.AssetExecutionContext, workplace: Workplace) -> Iterator[dg.MaterializeResult]:
    """Score everybody at the live moment and add what changed to the histories."""
    playbook = workplace.playbook
    version = playbook.model_version(CATALOGUE.read_text(encoding="utf-8"))
    with workplace.connect(stays_open=True) as connection:
        _create_histories(connection, workplace.settings.serving)
        create_daily_scores(connection, workplace.settings.serving)
        refresh = current_refresh(connection, context.run.run_id)
        is_full = refresh.is_full
        if not is_full:
            select_rescored(connection, playbook)
        scored = score_moment(connection, playbook, is_live=True, model_version=version, is_full=is_full)
        changed = _score_changes(connection, scored, playbook)
        moved = _segment_changes(connection, scored)
        published = {
            "pql_scores": scored.users.select(PQL_COLUMNS),
            "pqa_scores": scored.accounts.select(*PQA_COLUMNS, *STANDING_SINCE),
        }
        with transaction(connection):
            for table, frame in published.items():
                if is_full:
                    replace_table(connection, f"scores.{table}", frame)
                else:
                    replace_rows(connection, f"scores.{table}", frame, RESCORED[table])
            _replace_moment(connection, "score_history", changed, "as_of", is_full=is_full)
            _replace_moment(connection, "segment_history", moved, "valid_from", is_full=is_full)
            if refresh.is_full:
                write_own_day(connection, ScoredDay(refresh.until.date(), version, refresh.until))
        shown = shown_tables(
            connection, {f"scores.{table}": published_columns(table) for table in (*_DESCRIPTIONS, "daily_scores")}
        )
    if is_full:
        day = str(refresh.until.date())
        context.log_event(
            dg.AssetMaterialization(DAILY_SCORES_KEY, partition=day, metadata=shown["scores.daily_scores"])
        )
    for table, frame in published.items():
        told = _score_metadata(frame, version, is_full=is_full)
        yield dg.MaterializeResult(["scores", table], metadata={**told, **shown[f"scores.{table}"]})
    for table, frame in (("score_history", changed), ("segment_history", moved)):
        yield dg.MaterializeResult(["scores", table], metadata={"rows added": frame.height, **shown[f"scores.{table}"]})


def select_rescored(connection: duckdb.DuckDBPyConnection, playbook: Playbook) -> None:
    """Note whom a delta scores again: touched users and accounts, and all users of accounts whose standing moved."""
    accounts = connection.sql(
        "select * from features.account_features where as_of = (select as_of from raw.moments where is_live) "
        "and account_id in (select account_id from intermediate.int_accounts_touched)"
    ).pl()
    before = connection.sql(
        f"select account_id, {', '.join(ACCOUNT_STANDING)} from scores.pqa_scores "
        "where account_id in (select account_id from intermediate.int_accounts_touched)"
    ).pl()
    connection.register("accounts_moved", accounts_that_moved(accounts, before, playbook))
    connection.execute(
        "create or replace table scores.rescored_users as select user_id from intermediate.int_users_touched union "
        "select user_id from features.user_features where account_id in (select account_id from accounts_moved)"
    )
    connection.execute("create or replace table scores.rescored_accounts as from intermediate.int_accounts_touched")
    connection.unregister("accounts_moved")


def score_moment(
    connection: duckdb.DuckDBPyConnection,
    playbook: Playbook,
    *,
    is_live: bool,
    model_version: str,
    is_full: bool = True,
) -> Scores:
    """Score the features of the live moment, or of the baseline; in a delta of whoever is scored again."""
    moment = f"select as_of, until from raw.moments where is_live = {is_live}"
    users, accounts = "true", "true"
    if not is_full:
        users = "user_id in (select user_id from scores.rescored_users)"
        # Accounts of rescored users are among them: a touched user's is touched, and so is one that moved.
        accounts = "account_id in (select account_id from scores.rescored_accounts)"
    measured = (
        f"select * exclude (until) replace (until as as_of) from features.{{}} join ({moment}) using (as_of) where {{}}"
    )
    return score_everybody(
        without_doubtful_returns(connection, connection.sql(measured.format("user_features", users)).pl(), playbook),
        connection.sql(measured.format("account_features", accounts)).pl(),
        _first_pql(connection, playbook, users=users, until=f"(select until from ({moment}))"),
        playbook=playbook,
        model_version=model_version,
    )


def without_doubtful_returns(
    connection: duckdb.DuckDBPyConnection, users: pl.DataFrame, playbook: Playbook
) -> pl.DataFrame:
    """Who seemed inactive while a feed was silent has not come back, as far as anybody knows. Section 7.1."""
    inactive_days = playbook.scoring.measurement.inactive_days
    doubtful = may_have_been_active(pl.col("reactivated_at"), known_silences(connection), inactive_days)
    return users.with_columns(reactivated_at=pl.when(~doubtful).then("reactivated_at"))


def _first_pql(connection: duckdb.DuckDBPyConnection, playbook: Playbook, *, users: str, until: str) -> pl.DataFrame:
    """Since when users have been known as PQLs, before the moment."""
    connection.register("pql_classes", pl.DataFrame({"classification": sorted(playbook.stages.pql_classes)}))
    found = connection.sql(
        "select subject_id as user_id, min(as_of) as first_pql_at from scores.score_history "
        "semi join pql_classes using (classification) "
        f"where subject_type = 'user' and as_of < {until} and {users} group by all"
    ).pl()
    connection.unregister("pql_classes")
    return found


def _create_histories(connection: duckdb.DuckDBPyConnection, serving: Path) -> None:
    """The histories exist from the first run on; a warehouse that is rebuilt takes them over from the serving copy.

    Everything else comes from the landing folder again. What was scored then does not.
    """
    connection.execute("create schema if not exists scores")
    for table, schema in (("score_history", SCORE_HISTORY), ("segment_history", SEGMENT_HISTORY)):
        if connection.sql(
            f"select 1 from duckdb_tables() where schema_name = 'scores' and table_name = '{table}'"
        ).fetchall():
            _add_columns(connection, table, schema)
            continue
        connection.register("history", published_history(serving, table, schema))
        connection.execute(f"create table scores.{table} as from history")
        connection.unregister("history")


def _add_columns(connection: duckdb.DuckDBPyConnection, table: str, schema: pl.Schema) -> None:
    """A history that an earlier version began gets the columns that it did not know."""
    connection.register("like_it", schema.to_frame())
    for name, kind, *_ in connection.sql("describe from like_it").fetchall():
        connection.execute(f'alter table scores.{table} add column if not exists "{name}" {kind}')
    connection.unregister("like_it")


def published_history(serving: Path, table: str, schema: pl.Schema) -> pl.DataFrame:
    """A history as it was published last, empty when there is no serving copy; what isn't published is unknown."""
    if not serving.exists():
        return schema.to_frame()
    with duckdb.connect(str(serving), read_only=True) as copy:
        published = copy.sql(f"select * from marts.{table}").pl()
    unknown = [pl.lit(None).alias(name) for name in schema if name not in published.columns]
    return published.with_columns(unknown).select(pl.col(name).cast(kind) for name, kind in schema.items())


def _latest(connection: duckdb.DuckDBPyConnection, scored: Scores, table: str, at: str) -> pl.DataFrame:
    """The latest row of each subject before the moment; rows of the moment itself are replaced, not continued."""
    connection.register("subjects", _subjects(scored))
    found = connection.sql(
        f"select * from scores.{table} semi join subjects using ({', '.join(SUBJECT)}) "
        f"where {at} < (select until from raw.moments where is_live) "
        f"qualify row_number() over (partition by {', '.join(SUBJECT)} order by {at} desc) = 1"
    ).pl()
    connection.unregister("subjects")
    return found


def _score_changes(connection: duckdb.DuckDBPyConnection, scored: Scores, playbook: Playbook) -> pl.DataFrame:
    latest = standing(_latest(connection, scored, "score_history", "as_of"), _published(connection, scored))
    kinds = {"user": pql.kinds(playbook.scoring), "account": pqa.kinds(playbook.scoring)}
    contribution = pl.element().struct.field("contribution")
    return pl.concat(
        score_changes(
            frame.select(
                pl.lit(subject).alias("subject_type"),
                pl.col(key).alias("subject_id"),
                pl.col(score).alias("score"),
                *("classification", "as_of", "model_version", "parts"),
                pl.col("explanation").list.eval(contribution).alias("contributions"),
            ),
            latest,
            kinds[subject],
        )
        for frame, subject, (key, score) in _by_subject(scored)
    )


def _subjects(scored: Scores) -> pl.DataFrame:
    return pl.concat(
        frame.select(pl.lit(subject).alias("subject_type"), pl.col(key).alias("subject_id"))
        for frame, subject, (key, _) in _by_subject(scored)
    )


def _published(connection: duckdb.DuckDBPyConnection, scored: Scores) -> pl.DataFrame:
    """What the scores that an earlier moment published of the same subjects consist of; none on the first run."""
    rows = [
        f"select '{subject}' as subject_type, {key} as subject_id, {score} as score, model_version, "
        "list_transform(explanation, lambda entry: entry.contribution) as contributions "
        f"from scores.{table} where as_of < (select until from raw.moments where is_live) "
        f"and {key} in (select subject_id from subjects where subject_type = '{subject}')"
        for table, (subject, key, score) in {
            "pql_scores": ("user", "user_id", "pql_score"),
            "pqa_scores": ("account", "account_id", "pqa_score"),
        }.items()
        if connection.sql(
            f"select 1 from duckdb_tables() where schema_name = 'scores' and table_name = '{table}'"
        ).fetchall()
    ]
    if not rows:
        return pl.Schema({name: SCORE_HISTORY[name] for name in STANDING}).to_frame()
    connection.register("subjects", _subjects(scored))
    found = connection.sql(" union all ".join(rows)).pl()
    connection.unregister("subjects")
    return found


def _segment_changes(connection: duckdb.DuckDBPyConnection, scored: Scores) -> pl.DataFrame:
    latest = _latest(connection, scored, "segment_history", "valid_from")
    return pl.concat(
        segment_changes(
            frame.select(
                pl.lit(subject).alias("subject_type"),
                pl.col(key).alias("subject_id"),
                *("segment", "motion"),
                pl.col("segment_source").alias("source"),
                pl.col("as_of").alias("valid_from"),
            ),
            latest,
        )
        for frame, subject, (key, _) in _by_subject(scored)
    )


def _by_subject(scored: Scores) -> list[tuple[pl.DataFrame, str, tuple[str, str]]]:
    frames = {"user": scored.users, "account": scored.accounts}
    return [(frames[subject], subject, columns) for subject, columns in _SUBJECTS.items()]


def _replace_moment(
    connection: duckdb.DuckDBPyConnection, table: str, rows: pl.DataFrame, at: str, *, is_full: bool
) -> None:
    """What was written for the same moment before goes, in a delta that of whoever is scored again."""
    whose = "true" if is_full else RESCORED_SUBJECTS
    connection.register("new_rows", rows)
    connection.execute(
        f"delete from scores.{table} where {at} = (select until from raw.moments where is_live) and {whose}"
    )
    connection.execute(f"insert into scores.{table} by name from new_rows")
    connection.unregister("new_rows")


def _score_metadata(frame: pl.DataFrame, version: str, *, is_full: bool) -> dict[str, dg.MetadataValue | int | str]:
    counts = dict(frame.group_by("classification").len().iter_rows())
    sizes = [int(counts.get(name, 0)) for name in CLASSES]
    told: dict[str, dg.MetadataValue | int | str] = {
        "scored": frame.height,
        "model version": version,
        "hottest": markdown_table(_hottest(frame)),
    }
    if is_full:
        # A picture of everybody is worth drawing; one of the few that a delta scored takes longer than scoring them.
        told["classes"] = bar_chart(CLASSES, sizes, title="How many in each class")
    return told


def _hottest(frame: pl.DataFrame) -> pl.DataFrame:
    """The best of a frame of published scores, in the words of whoever looks at them."""
    if "user_id" in frame.columns:
        shown = ["user_id", "email", "account_id", "pql_score", "classification", "segment", "activation_stage"]
        key, score = "user_id", "pql_score"
    else:
        shown = ["account_id", "name", "pqa_score", "classification", "quadrant", "segment", "active_users_30d"]
        key, score = "account_id", "pqa_score"
    best = frame.sort(score, key, descending=[True, False]).head(HOTTEST)
    return best.select(*shown, why=_strongest())


def _strongest() -> pl.Expr:
    """The three signals that add most to a score."""
    told = pl.element().struct.field("signal").is_in(["fit_multiplier", "cap", "rounding"]).not_()
    adds = (
        pl.element()
        .filter(told)
        .sort_by(pl.element().filter(told).struct.field("contribution"), descending=True, maintain_order=True)
    )
    return pl.col("explanation").list.eval(adds.struct.field("signal")).list.head(3)


def _check_sums(table: str, score: str, key: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["scores", table],
        name="contributions_sum_to_the_score",
        description="The entries of every explanation sum to the published score.",
        pool=WAREHOUSE_POOL,
    )
    def check(workplace: Workplace) -> dg.AssetCheckResult:
        with workplace.connect(stays_open=True) as connection:
            wrong = connection.sql(
                f"select {key} from scores.{table} where "
                f"abs(list_sum(list_transform(explanation, lambda entry: entry.contribution)) - {score}) > 1e-6"
            ).fetchall()
        return dg.AssetCheckResult(
            passed=not wrong, metadata={"rows that don't": len(wrong), "for example": str([w[0] for w in wrong[:5]])}
        )

    return check


CHECKS = [
    _check_sums("pql_scores", "pql_score", "user_id"),
    _check_sums("pqa_scores", "pqa_score", "account_id"),
]
