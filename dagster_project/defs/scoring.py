"""The scores of the live moment and their histories: gather features, call the pure score functions, write."""

from collections.abc import Iterator

import dagster as dg
import duckdb
import polars as pl

from dagster_project.core import pqa, pql
from dagster_project.core.changes import (
    SCORE_HISTORY,
    SEGMENT_HISTORY,
    SUBJECT,
    score_changes,
    segment_changes,
)
from dagster_project.core.playbook import Playbook
from dagster_project.core.scoring import PQA_COLUMNS, PQL_COLUMNS, Scores, score_everybody
from dagster_project.core.scoring_rules import CLASSES
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace
from dagster_project.defs.tables import bar_chart, column_schema, markdown_table, replace_table
from dagster_project.defs.transform import OWNERS
from dagster_project.landing.register import transaction
from dagster_project.settings import DBT_PROJECT_DIR

CATALOGUE = DBT_PROJECT_DIR / "seeds" / "event_catalog.csv"
HOTTEST = 15
_DESCRIPTIONS = {
    "pql_scores": "Users scored at the live moment, with segment, stage and explanation. One row per user.",
    "pqa_scores": "Accounts scored at the live moment, with quadrant and explanation. One row per account.",
    "score_history": "Scores as they changed, with what moved. One row per subject and change.",
    "segment_history": "Segments as they changed. One row per subject and change.",
}
_SUBJECTS = {"user": ("user_id", "pql_score", pql.PARTS), "account": ("account_id", "pqa_score", pqa.PARTS)}


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
def scores(workplace: Workplace) -> Iterator[dg.MaterializeResult]:
    """Score everybody at the live moment and add what changed to the histories."""
    playbook = workplace.playbook
    version = playbook.model_version(CATALOGUE.read_text(encoding="utf-8"))
    with workplace.connect() as connection:
        _create_histories(connection)
        scored = score_moment(connection, playbook, is_live=True, model_version=version)
        changed = _score_changes(connection, scored)
        moved = _segment_changes(connection, scored)
        published = {
            "pql_scores": scored.users.select(PQL_COLUMNS),
            "pqa_scores": scored.accounts.select(PQA_COLUMNS),
        }
        with transaction(connection):
            for table, frame in published.items():
                replace_table(connection, f"scores.{table}", frame)
            _replace_moment(connection, "score_history", changed, "as_of")
            _replace_moment(connection, "segment_history", moved, "valid_from")
    for table, frame in published.items():
        yield dg.MaterializeResult(["scores", table], metadata=_score_metadata(frame, version))
    for table, frame in (("score_history", changed), ("segment_history", moved)):
        yield dg.MaterializeResult(
            ["scores", table], metadata={"rows added": frame.height, "dagster/column_schema": column_schema(frame)}
        )


def score_moment(
    connection: duckdb.DuckDBPyConnection, playbook: Playbook, *, is_live: bool, model_version: str
) -> Scores:
    """Score the features of the live moment, or of the baseline."""
    moment = f"as_of = (select as_of from raw.moments where is_live = {is_live})"
    return score_everybody(
        connection.sql(f"select * from features.user_features where {moment}").pl(),
        connection.sql(f"select * from features.account_features where {moment}").pl(),
        _first_pql(connection, playbook, moment),
        playbook=playbook,
        model_version=model_version,
    )


def _first_pql(connection: duckdb.DuckDBPyConnection, playbook: Playbook, moment: str) -> pl.DataFrame:
    """Since when users have been known as PQLs, before the moment."""
    connection.register("pql_classes", pl.DataFrame({"classification": sorted(playbook.stages.pql_classes)}))
    before = moment.replace("as_of =", "as_of <", 1)
    found = connection.sql(
        "select subject_id as user_id, min(as_of) as first_pql_at from scores.score_history "
        f"semi join pql_classes using (classification) where subject_type = 'user' and {before} group by all"
    ).pl()
    connection.unregister("pql_classes")
    return found


def _create_histories(connection: duckdb.DuckDBPyConnection) -> None:
    """The histories exist from the first run on, empty or not."""
    connection.execute("create schema if not exists scores")
    for table, schema in (("score_history", SCORE_HISTORY), ("segment_history", SEGMENT_HISTORY)):
        connection.register("empty_frame", schema.to_frame())
        connection.execute(f"create table if not exists scores.{table} as from empty_frame")
        connection.unregister("empty_frame")


def _latest(connection: duckdb.DuckDBPyConnection, table: str, at: str) -> pl.DataFrame:
    """The latest row of each subject before the moment; rows of the moment itself are replaced, not continued."""
    return connection.sql(
        f"select * from scores.{table} where {at} < (select as_of from raw.moments where is_live) "
        f"qualify row_number() over (partition by {', '.join(SUBJECT)} order by {at} desc) = 1"
    ).pl()


def _score_changes(connection: duckdb.DuckDBPyConnection, scored: Scores) -> pl.DataFrame:
    latest = _latest(connection, "score_history", "as_of")
    return pl.concat(
        score_changes(
            frame.select(
                pl.lit(subject).alias("subject_type"),
                pl.col(key).alias("subject_id"),
                pl.col(score).alias("score"),
                *("classification", "as_of", "model_version", "parts"),
            ),
            latest,
            parts,
        )
        for frame, subject, (key, score, parts) in _by_subject(scored)
    )


def _segment_changes(connection: duckdb.DuckDBPyConnection, scored: Scores) -> pl.DataFrame:
    latest = _latest(connection, "segment_history", "valid_from")
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
        for frame, subject, (key, _, _) in _by_subject(scored)
    )


def _by_subject(scored: Scores) -> list[tuple[pl.DataFrame, str, tuple[str, str, tuple[str, ...]]]]:
    frames = {"user": scored.users, "account": scored.accounts}
    return [(frames[subject], subject, columns) for subject, columns in _SUBJECTS.items()]


def _replace_moment(connection: duckdb.DuckDBPyConnection, table: str, rows: pl.DataFrame, at: str) -> None:
    connection.register("new_rows", rows)
    connection.execute(f"delete from scores.{table} where {at} = (select as_of from raw.moments where is_live)")
    connection.execute(f"insert into scores.{table} by name from new_rows")
    connection.unregister("new_rows")


def _score_metadata(frame: pl.DataFrame, version: str) -> dict[str, dg.MetadataValue | dg.TableSchema | int | str]:
    counts = dict(frame.group_by("classification").len().iter_rows())
    sizes = [int(counts.get(name, 0)) for name in CLASSES]
    return {
        "dagster/row_count": frame.height,
        "dagster/column_schema": column_schema(frame),
        "model version": version,
        "classes": bar_chart(CLASSES, sizes, title="How many in each class"),
        "hottest": markdown_table(_hottest(frame)),
    }


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
        with workplace.connect() as connection:
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
