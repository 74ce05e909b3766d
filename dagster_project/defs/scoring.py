"""The scores of the live moment and their histories: gather features, call the pure score functions, write."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg
import duckdb
import polars as pl

from dagster_project.core import pqa, pql
from dagster_project.core.changes import (
    SCORE_HISTORY,
    STANDING,
    SUBJECT,
    score_changes,
    segment_changes,
    standing,
    unchanged,
)
from dagster_project.core.handoff_plan import Subject
from dagster_project.core.playbook import Playbook
from dagster_project.core.scoring import PQA_COLUMNS, PQL_COLUMNS, SEEN_ON_USERS, accounts_that_moved
from dagster_project.core.scoring_rules import CLASSES
from dagster_project.daily_scores import ScoredDay, create_daily_scores, write_own_day
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace, begun_by
from dagster_project.defs.tables import bar_chart, markdown_table, shown_tables
from dagster_project.defs.transform import OWNERS, published_columns
from dagster_project.event_catalog import CATALOGUE
from dagster_project.portions import PORTION, add_portion
from dagster_project.refresh import LIVE, current_refresh, require_live_features
from dagster_project.score_histories import (
    HISTORIES,
    add_history,
    create_histories,
    forget_moment,
    keep_moment,
    kept_of_moment,
    latest_rows,
    number_rows,
)
from dagster_project.scored_features import RESCORED, among
from dagster_project.scored_moments import score_portions
from dagster_project.unpublished import forget_published
from dagster_project.warehouse import has_table, key_of, rows_where, transaction

DAILY_SCORES_KEY = dg.AssetKey(["scores", "daily_scores"])
"""Made day by day in `defs/past.py`; a full run adds its own day."""
HOTTEST = 15
NOT_PUBLISHED: Mapping[Subject, tuple[str, ...]] = {
    "user": ("is_pql", "funnel_stage", "user_key", "account_key"),
    "account": ("subscription_status", "subscription_status_since", "was_paying"),
}
"""What is kept with the scores beside what is published: what other published tables are made of, the rest of an
account's standing, and the numbers that users are looked for by."""


def subjects_among(users: str, accounts: str) -> str:
    """A condition on rows of tables that hold users and accounts.

    Args:
        users: A table with `user_id`.
        accounts: A table with `account_id`.
    """
    # The first half goes without saying; a scan is filtered by it.
    return (
        f"subject_id in (select user_id from {users} union all select account_id from {accounts}) "
        f"and case subject_type when 'user' then subject_id in (select user_id from {users}) "
        f"else subject_id in (select account_id from {accounts}) end"
    )


RESCORED_SUBJECTS = subjects_among("scores.rescored_users", "scores.rescored_accounts")
"""The same of the tables that hold users and accounts."""
_DESCRIPTIONS = {
    "pql_scores": "Users scored at the live moment, with segment, stage and explanation. One row per user.",
    "pqa_scores": "Accounts scored at the live moment, with quadrant and explanation. One row per account.",
    "score_history": "Scores as they changed, with what moved. One row per subject and change.",
    "segment_history": "Segments as they changed. One row per subject and change.",
}
_KEYS: Mapping[Subject, tuple[str, str]] = {"user": ("user_id", "pql_score"), "account": ("account_id", "pqa_score")}
_TABLES: Mapping[Subject, str] = {"user": "pql_scores", "account": "pqa_scores"}
_KEPT_COLUMNS: Mapping[Subject, tuple[str, ...]] = {
    "user": (*PQL_COLUMNS, *NOT_PUBLISHED["user"]),
    "account": (*PQA_COLUMNS, *NOT_PUBLISHED["account"]),
}


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
        refresh = current_refresh(connection, begun_by(context.run))
        is_full = refresh.is_full
        if is_full:
            require_live_features(connection)
            forget_published(connection)
            create_histories(connection, workplace.settings.serving)
            number_rows(connection)
            create_daily_scores(connection, workplace.settings.serving)
        else:
            select_rescored(connection, playbook)
        with transaction(connection):
            written = write_scores(connection, playbook, version, is_full=is_full)
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
    for subject in written.values():
        told = _score_metadata(subject, version, is_full=is_full)
        yield dg.MaterializeResult(["scores", subject.table], metadata={**told, **shown[f"scores.{subject.table}"]})
    for table in HISTORIES:
        added = sum(subject.added[table] for subject in written.values())
        yield dg.MaterializeResult(["scores", table], metadata={"rows added": added, **shown[f"scores.{table}"]})


@dataclass
class Written:
    """What was written of users, or of accounts.

    Attributes:
        table: Where their scores are published.
        classes: How many of each class were scored.
        hottest: The best of them, as people are shown them.
        added: How many rows each history got.
    """

    table: str
    classes: Counter[str] = field(default_factory=Counter)
    hottest: pl.DataFrame = field(default_factory=pl.DataFrame)
    added: Counter[str] = field(default_factory=Counter)


def write_scores(
    connection: duckdb.DuckDBPyConnection, playbook: Playbook, version: str, *, is_full: bool, rows: int = PORTION
) -> dict[Subject, Written]:
    """Score the live moment into the published tables and the histories, a portion at a time, in one transaction.

    Args:
        connection: The warehouse, in a transaction.
        playbook: The rules.
        version: The model's.
        is_full: Everybody, or in a delta whoever `select_rescored` noted.
        rows: Users or accounts of a portion.
    """
    written = {subject: Written(table) for subject, table in _TABLES.items()}
    whose = "true" if is_full else RESCORED_SUBJECTS
    keep_moment(connection, whose)
    for table in HISTORIES:
        forget_moment(connection, table, whose)
    found = score_portions(
        connection,
        playbook,
        is_live=True,
        model_version=version,
        users="true" if is_full else rows_where("features.user_features", RESCORED["user"]),
        # Accounts of rescored users are among them: a touched user's is touched, and so is one that moved.
        accounts="true" if is_full else rows_where("features.account_features", RESCORED["account"]),
        rows=rows,
    )
    for subject, frame in found:
        told = written[subject]
        published = frame.select(_KEPT_COLUMNS[subject])
        add_portion(connection, f"scores.incoming_{told.table}", published)
        told.classes.update(dict(frame["classification"].value_counts().iter_rows()))
        best = _hottest(published)
        told.hottest = _best(pl.concat([told.hottest, best])) if told.hottest.width else best
        changes = {
            "score_history": _score_changes(connection, subject, frame, playbook),
            "segment_history": _segment_changes(connection, subject, frame),
        }
        for table, changed in changes.items():
            add_history(connection, table, changed)
            told.added[table] += changed.height
    for subject in written:
        _publish(connection, subject, is_full=is_full)
    return written


def _publish(connection: duckdb.DuckDBPyConnection, subject: Subject, *, is_full: bool) -> None:
    """What has been collected takes the place of what was published, in a delta of whoever is scored again."""
    table = _TABLES[subject]
    if is_full:
        connection.execute(f"drop table if exists scores.{table}")
        connection.execute(f"alter table scores.incoming_{table} rename to {table}")
    else:
        connection.execute(f"delete from scores.{table} where {RESCORED[subject]}")
        connection.execute(f"insert into scores.{table} by name from scores.incoming_{table}")
        connection.execute(f"drop table scores.incoming_{table}")


def select_rescored(connection: duckdb.DuckDBPyConnection, playbook: Playbook) -> None:
    """Note whom a delta scores again: touched users and accounts, and all users of accounts whose standing moved."""
    touched = "account_id in (select account_id from intermediate.int_accounts_touched)"
    accounts = connection.sql(
        f"select * from features.account_features where {LIVE} and " + rows_where("features.account_features", touched)
    ).pl()
    before = connection.sql(
        f"select account_id, {', '.join(SEEN_ON_USERS)} from scores.pqa_scores where {touched}"
    ).pl()
    connection.register("accounts_moved", accounts_that_moved(accounts, before, playbook))
    moved = f"account_key in (select {key_of('account_id')} from accounts_moved)"
    connection.execute(
        "create or replace table scores.rescored_users as "
        "select user_id, user_key from intermediate.int_users_touched union "
        "select user_id, user_key from features.user_features "
        f"where user_key in (select user_key from features.user_features where {moved})"
    )
    connection.execute("create or replace table scores.rescored_accounts as from intermediate.int_accounts_touched")
    connection.unregister("accounts_moved")


def _score_changes(
    connection: duckdb.DuckDBPyConnection, subject: Subject, scored: pl.DataFrame, playbook: Playbook
) -> pl.DataFrame:
    key, score = _KEYS[subject]
    contribution = pl.element().struct.field("contribution")
    now = scored.select(
        pl.lit(subject).alias("subject_type"),
        pl.col(key).alias("subject_id"),
        pl.col(score).alias("score"),
        *("classification", "as_of", "model_version", "parts"),
        pl.col("explanation").list.eval(contribution).alias("contributions"),
    )
    who = now.select("subject_id")
    published = _published(connection, subject, who)
    is_of_now = pl.col("as_of") == pl.lit(scored["as_of"].max())
    again = unchanged(now, published.filter(is_of_now))
    latest = standing(latest_rows(connection, subject, who, "score_history"), published.filter(~is_of_now))
    kinds = pql.kinds(playbook.scoring) if subject == "user" else pqa.kinds(playbook.scoring)
    new = score_changes(now.join(again, on=SUBJECT, how="anti", maintain_order="left"), latest, kinds)
    return pl.concat([new, kept_of_moment(connection, again)])


def _segment_changes(connection: duckdb.DuckDBPyConnection, subject: Subject, scored: pl.DataFrame) -> pl.DataFrame:
    latest = latest_rows(connection, subject, scored.select(subject_id=_KEYS[subject][0]), "segment_history")
    return segment_changes(
        scored.select(
            pl.lit(subject).alias("subject_type"),
            pl.col(_KEYS[subject][0]).alias("subject_id"),
            *("segment", "motion"),
            pl.col("segment_source").alias("source"),
            pl.col("as_of").alias("valid_from"),
        ),
        latest,
    )


def _published(connection: duckdb.DuckDBPyConnection, subject: Subject, who: pl.DataFrame) -> pl.DataFrame:
    """What the scores consist of that an earlier moment published of them (`subject_id`), with `as_of`; none at first.

    Of whose change at this very moment was kept (`keep_moment`), what this moment published.
    """
    table, (key, score) = _TABLES[subject], _KEYS[subject]
    if not has_table(connection, f"scores.{table}"):
        return pl.Schema({name: SCORE_HISTORY[name] for name in (*STANDING, "as_of")}).to_frame()
    until = "(select until from raw.moments where is_live)"
    changed = f"select subject_id from said_of_moment where subject_type = '{subject}'"
    those = f"{among(subject, 'subject_id', 'who')} and (as_of < {until} or (as_of = {until} and {key} in ({changed})))"
    return connection.sql(
        f"select '{subject}' as subject_type, {key} as subject_id, {score} as score, model_version, "
        "list_transform(explanation, lambda entry: entry.contribution) as contributions, as_of "
        f"from scores.{table} where {rows_where(f'scores.{table}', those)}"
    ).pl()


def _score_metadata(written: Written, version: str, *, is_full: bool) -> dict[str, dg.MetadataValue | int | str]:
    told: dict[str, dg.MetadataValue | int | str] = {
        "scored": written.classes.total(),
        "model version": version,
        "hottest": markdown_table(written.hottest),
    }
    if is_full:
        # A picture of everybody is worth drawing; one of the few that a delta scored takes longer than scoring them.
        sizes = [written.classes[name] for name in CLASSES]
        told["classes"] = bar_chart(CLASSES, sizes, title="How many in each class")
    return told


def _hottest(published: pl.DataFrame) -> pl.DataFrame:
    """The best of published scores, in the words of whoever looks at them."""
    if "user_id" in published.columns:
        shown = ["user_id", "email", "account_id", "pql_score", "classification", "segment", "activation_stage"]
    else:
        shown = ["account_id", "name", "pqa_score", "classification", "quadrant", "segment", "active_users_30d"]
    best = _best(published.select(*shown, "explanation")).select(*shown, why=_strongest())
    # Made anew, because texts that were picked from a frame keep all of its texts in memory.
    return pl.DataFrame(best.rows(), schema=best.schema, orient="row")


def _best(scored: pl.DataFrame) -> pl.DataFrame:
    key, score = _KEYS["user" if "user_id" in scored.columns else "account"]
    enough = pl.col(score) >= pl.col(score).top_k(HOTTEST).min()
    return scored.filter(enough).sort(score, key, descending=[True, False]).head(HOTTEST)


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
