"""What SQL users read: the ledger's tables copied beside the scores, and the serving database itself."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import duckdb
import polars as pl

from dagster_project.daily import everything_at
from dagster_project.daily_scores import published_days
from dagster_project.defs.actions import crm_actions
from dagster_project.defs.activation import crm_fields
from dagster_project.defs.calibration import CALIBRATION_MARTS
from dagster_project.defs.delivery import delivered_handoffs
from dagster_project.defs.resources import WAREHOUSE_POOL, Workplace, begun_by
from dagster_project.defs.scoring import subjects_among
from dagster_project.defs.tables import replace_rows, replace_table, shown_tables
from dagster_project.defs.transform import OWNERS, mart_models, published_columns
from dagster_project.field_plans import OPERATION
from dagster_project.ledger import Ledger
from dagster_project.ledger_memory import note_copy
from dagster_project.portions import add_portion
from dagster_project.publishing import NOTHING, Excerpt, publish_changes, publish_serving_copy, spare_of
from dagster_project.refresh import (
    NEEDS_EVERYTHING,
    SCORE_EVERYTHING,
    current_refresh,
    finish_refresh,
    missing_tables,
)
from dagster_project.unpublished import (
    BOTH,
    DECIDED,
    SCORED,
    first_moment,
    forget_published,
    is_as_published,
    note_delta,
    note_published,
    scores_published_at,
)
from dagster_project.warehouse import clear_deleted_rows, is_worn, key_of, transaction

SCORE_TABLES = ("pql_scores", "pqa_scores", "score_history", "segment_history")
WEAR_BATCHES = 7
"""After so many batches it is asked whether files are worn, which takes a thirtieth of a batch; an odd number, so that
both serving copies have their turn where each batch is published once."""
LAST_BATCH = "select batch_id, started_at from raw.batches order by batch_id desc limit 1"
COPIED = {
    "handoff_decisions": "decision_id",
    "handoffs": "handoff_id",
    "handoff_feedback": "feedback_id",
    "deliveries": "delivery_id",
    "tool_calls": "call_id",
    "rule_decisions": "decision_id",
    "mql_overlap": "handoff_id",
    "audience_members": "member_id",
}
PUBLISHED_AS = {"audience_members": "audiences"}
"""The ledger's tables whose published one has another name: it shows only who is in an audience now, and as scored."""


def _unpublished(table: str) -> str:
    """The keys of changed rows of one of the ledger's tables, or of opportunities, that are not published."""
    return f"select row_key from publishing.changed where table_name = '{table}'"


_CHANGED_ROWS = pl.Schema({"table_name": pl.String(), "row_key": pl.String()})
_REFUSED_SINCE = (
    # Rows are only ever added. Their number tells which ones; times don't, since a clock may be set back.
    "file in (select file from raw.quarantine where rowid >= (select count(*) from serving.marts.quarantine))"
)
_MEMBERS_CHANGED = f"from ops.audience_members where member_id in ({_unpublished('audience_members')})"
_AUDIENCES_CONCERNED = (
    # Who is a member is in the ledger, the address among the scores; somebody who is excluded now has none.
    f"user_id in (select user_id from publishing.users union all select user_id {_MEMBERS_CHANGED})"
)
_USERS = "user_id in (select user_id from publishing.users)"
_ACCOUNTS = "account_id in (select account_id from publishing.accounts)"
_SUBJECTS = subjects_among("publishing.users", "publishing.accounts")
_USERS_BY_NUMBER = "user_key in (select user_key from publishing.users)"
"""The same users, where tables have the number."""
_SUBJECTS_BY_NUMBER = (
    "subject_key in (select user_key from publishing.users "
    f"union all select {key_of('account_id')} from publishing.accounts)"
)
_ADDED_SCORES = f"as_of >= $since and {_SUBJECTS}"
"""A delta adds to the history and changes nothing of what was before."""
_OF_SCORED = (_USERS, _ACCOUNTS, _ADDED_SCORES, _SUBJECTS)
"""The conditions that nobody meets where nobody was scored."""
CHANGED = {
    "pql_scores": _USERS,
    "pqa_scores": _ACCOUNTS,
    "score_history": _ADDED_SCORES,
    # A row holds until the next one of its subject.
    "segment_history": _SUBJECTS,
    "product_traits": _SUBJECTS,
    **{table: f"{key} in ({_unpublished(table)})" for table, key in COPIED.items() if table not in PUBLISHED_AS},
    "audiences": _AUDIENCES_CONCERNED,
    "funnel": "true",
    "exclusions": "user_id in (select user_id from publishing.touched_users)",
    "quarantine": _REFUSED_SINCE,
    "user_profiles": _USERS,
    "account_profiles": _ACCOUNTS,
    # Of an account that is called something else everybody is scored again.
    "leads": _USERS,
    # Of owners a full run alone takes something else.
    "crm_owners": NOTHING,
    "crm_opportunities": f"opportunity_id in ({_unpublished('crm_opportunities')})",
    # Calibration is measured by full runs alone, and challengers with it.
    **dict.fromkeys(("outcomes", "models", *CALIBRATION_MARTS), NOTHING),
}
"""Which published rows deltas may have changed: the same condition finds them in the warehouse and in the copy.

`$since` is the moment of the first of them, and what they have changed is in schema `publishing` (see `unpublished`).
"""

LONG_TABLES = ("handoff_decisions", "deliveries", "rule_decisions")
"""Those of the ledger that grow from day to day, and whose published ones have their columns."""
EXCERPT = Excerpt(
    views=(*SCORE_TABLES, "product_traits", "user_profiles", "account_profiles", "leads", "audiences", *LONG_TABLES),
    rows={
        "scores.pql_scores": (
            # those scored again are among them
            "user_key in (select user_key from publishing.users union all "
            f"select {key_of('user_id')} {_MEMBERS_CHANGED})"
        ),
        "scores.pqa_scores": _ACCOUNTS,
        "scores.score_history": f"as_of >= $since and {_SUBJECTS_BY_NUMBER}",
        "scores.segment_history": _SUBJECTS_BY_NUMBER,
        "features.user_features": _USERS_BY_NUMBER,
        # Accounts of rescored users are among them.
        "features.account_features": _ACCOUNTS,
        "ops.audience_members": _AUDIENCES_CONCERNED,
        **{f"ops.{table}": CHANGED[table] for table in LONG_TABLES},
    },
)
"""What those of them are made of that are about users and accounts scored again, or long."""

PUBLISHED = (
    "pql_scores", "pqa_scores", "score_history", "segment_history", "handoff_decisions", "handoffs",
    "deliveries", "product_traits", "funnel", "exclusions", "quarantine", "outcomes", *CALIBRATION_MARTS,
    "user_profiles", "account_profiles", "leads", "crm_owners", "crm_opportunities", "tool_calls",
    "daily_scores", "models", "handoff_feedback",
    "rule_decisions", "mql_overlap", "audiences",
)  # fmt: skip
"""The tables of section 12 of the specification, then ours: they exist from the first run on."""


@dg.multi_asset(
    name="ledger_copy",
    specs=[
        dg.AssetSpec(
            ["ops", table],
            deps=[delivered_handoffs, crm_fields, crm_actions],
            group_name="ledger",
            owners=OWNERS,
            kinds={"duckdb"},
            description=f"The ledger's {table}, copied so that SQL can join it. One row as in the ledger.",
        )
        for table in COPIED
    ],
    pool=WAREHOUSE_POOL,
)
def ledger_copy(context: dg.AssetExecutionContext, workplace: Workplace) -> Iterator[dg.MaterializeResult]:
    """Copy the ledger's tables into the warehouse, in a delta what has changed since; it tells of no other tables."""
    with workplace.connect(stays_open=True) as connection, workplace.ledger() as ledger:
        is_full = current_refresh(connection, begun_by(context.run)).is_full
        if is_full and (days := workplace.settings.keep_updates_days):
            dropped = ledger.drop_overtaken(OPERATION, workplace.now() - timedelta(days=days))
            context.log.info(
                f"{dropped} writes that others have followed are older than {days:g} days and are deleted."
            )
        copied = _copy_everything(connection, ledger) if is_full else _copy_changes(connection, ledger)
        if copied:
            note_copy(ledger, connection)
        told = {f"ops.{table}": published_columns(PUBLISHED_AS.get(table, table)) for table in copied}
        shown = shown_tables(connection, told)
    for table, metadata in copied.items():
        yield dg.MaterializeResult(["ops", table], metadata={**metadata, **shown[f"ops.{table}"]})


def _copy_everything(connection: duckdb.DuckDBPyConnection, ledger: Ledger) -> dict[str, dict[str, int]]:
    """All tables; what to tell of each."""
    forget_published(connection)
    for table in COPIED:
        with transaction(connection):
            connection.execute(f"create schema if not exists ops; drop table if exists ops.{table}")
            for part in ledger.read_portions(table):
                add_portion(connection, f"ops.{table}", part)
    replace_table(connection, "ops.changed", _CHANGED_ROWS.to_frame())
    return {table: {} for table in COPIED}


def _copy_changes(connection: duckdb.DuckDBPyConnection, ledger: Ledger) -> dict[str, dict[str, int]]:
    """The rows that were written since the last copy; what to tell of each table that has some."""
    known = connection.sql(
        " union all ".join(f"select '{table}', coalesce(max(change), 0) from ops.{table}" for table in COPIED)
    ).fetchall()
    read = {table: ledger.read_frame(table, after=change) for table, change in known}
    changed = {table: rows for table, rows in read.items() if rows.height}
    keys = [rows.select(table_name=pl.lit(table), row_key=COPIED[table]) for table, rows in changed.items()]
    with transaction(connection):
        replace_table(connection, "ops.changed", pl.concat([_CHANGED_ROWS.to_frame(), *keys]))
        for table, rows in changed.items():
            those = f"select row_key from ops.changed where table_name = '{table}'"
            replace_rows(connection, f"ops.{table}", rows, f"{COPIED[table]} in ({those})")
    return {table: {"rows changed": rows.height} for table, rows in changed.items()}


@dg.asset(
    key=["serving", "serving_database"],
    # Not through the marts alone, which are views and stay as they are in a delta.
    deps=[mart_models, *(["scores", table] for table in SCORE_TABLES), *(["ops", table] for table in COPIED)],
    group_name="serving",
    owners=OWNERS,
    kinds={"duckdb", "file"},
    pool=WAREHOUSE_POOL,
)
def serving_database(context: dg.AssetExecutionContext, workplace: Workplace) -> dg.MaterializeResult:
    """`serving.duckdb`, replaced in one piece: analysts read it while the next run writes the warehouse."""
    settings, begun = workplace.settings, begun_by(context.run)
    with workplace.connect(stays_open=True) as connection:
        is_delta = not current_refresh(connection, begun).is_full
        is_full = not (is_delta and is_as_published(connection, settings.serving))
        scores_at = scores_published_at(connection, context.run.run_id)
        [(batch, began_at)] = connection.sql(LAST_BATCH).fetchall()
    may_be_worn = batch % WEAR_BATCHES == 0
    what = DECIDED if scores_at else BOTH
    in_spare = False if is_full else _publish_delta(workplace, what, may_be_worn=may_be_worn)
    if is_full:
        with workplace.connect(stays_open=True) as connection:
            if missing := missing_tables(connection, [f"marts.{table}" for table in PUBLISHED]):
                raise dg.Failure(f"{missing[0]} is not there, so that nothing is published: {NEEDS_EVERYTHING}")
        views = {"daily_scores": published_days(workplace.playbook.models.published_days)}
        publish_serving_copy(settings.warehouse, settings.serving, views)
    with workplace.connect(stays_open=True) as connection:
        note_published(connection, settings.serving, is_full=is_full)
        finish_refresh(connection, begun)
        if is_full or (may_be_worn and is_worn(connection, f"{settings.warehouse.stem}.features.user_features")):
            clear_deleted_rows(connection)
    if context.run.job_name == SCORE_EVERYTHING:
        with workplace.ledger() as ledger:
            ledger.set_meta(everything_at(settings.data_dir), began_at.isoformat())
    told: dict[str, dg.MetadataValue | str | float | bool] = {
        "path": str(settings.serving),
        "megabytes": round(settings.serving.stat().st_size / 1e6, 1),
        "copied whole": not in_spare,
    }
    if scores_at:
        told["scores published"] = dg.MetadataValue.timestamp(scores_at.replace(tzinfo=UTC))
    return dg.MaterializeResult(metadata=told)


def publish_scores(run: dg.DagsterRun, workplace: Workplace) -> None:
    """Publish what a delta has scored, if that is much, while others decide what comes of it.

    Args:
        run: Whose scores they are.
        workplace: Where; others may use it at the same time.
    """
    settings = workplace.settings
    # One connection all the time: where this opened the file, DuckDB's own threads would have the rank of this one.
    with workplace.connect(stays_open=True) as connection:
        if current_refresh(connection, begun_by(run)).is_full or not is_as_published(connection, settings.serving):
            return
        [(users,)] = connection.sql(f"select count(*) from ({SCORED['users']})").fetchall()
        if users < workplace.scores_first_from:
            return
        [(batch, _)] = connection.sql(LAST_BATCH).fetchall()
        _publish_delta(workplace, SCORED, may_be_worn=batch % WEAR_BATCHES == 0)
        note_published(connection, settings.serving, is_full=False, scores_of=(run.run_id, workplace.now()))


def _publish_delta(workplace: Workplace, what: Mapping[str, str], *, may_be_worn: bool) -> bool:
    """Publish what has changed; whether that was done in the spare."""
    settings = workplace.settings
    with workplace.connect(stays_open=True) as connection:
        in_spare = note_delta(connection, spare_of(settings.serving), what)
        unchanged, since = _unchanged(connection), first_moment(connection)
    changed = _since(since, CHANGED) | dict.fromkeys(unchanged, NOTHING)
    excerpt = _excerpt_of(changed, since)
    publish_changes(settings.warehouse, settings.serving, changed, excerpt, in_spare=in_spare, may_be_worn=may_be_worn)
    return in_spare


def _excerpt_of(changed: Mapping[str, str], since: datetime) -> Excerpt:
    """What changed tables are made of."""
    views = [view for view in EXCERPT.views if changed[view] != NOTHING]
    long = {f"ops.{table}" for table in LONG_TABLES}
    of_scores = [table for table in EXCERPT.rows if table not in long]
    rows = [
        *(of_scores if set(views) - set(LONG_TABLES) else ()),
        *(f"ops.{view}" for view in views if view in LONG_TABLES),
    ]
    return Excerpt(views, _since(since, {table: EXCERPT.rows[table] for table in rows}))


def _unchanged(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The published tables of which there is nothing to publish."""
    changed = {table for (table,) in connection.sql("select distinct table_name from publishing.changed").fetchall()}
    [(are_scored, are_touched)] = connection.sql(
        "select exists(from publishing.users) or exists(from publishing.accounts), "
        "exists(from publishing.touched_users)"
    ).fetchall()
    unchanged = [t for t in (*COPIED, "crm_opportunities") if t not in changed and t not in PUBLISHED_AS]
    if not are_scored:
        unchanged += [table for table, rows in CHANGED.items() if rows in _OF_SCORED]
        unchanged += [PUBLISHED_AS[table] for table in PUBLISHED_AS if table not in changed]
    return [*unchanged, *([] if are_touched else ["exclusions"])]


def _since(moment: datetime, conditions: Mapping[str, str]) -> dict[str, str]:
    """Conditions with the moment as a literal: by one, and not by a query, DuckDB tells what it need not read."""
    return {table: rows.replace("$since", f"timestamp '{moment}'") for table, rows in conditions.items()}


@dg.asset_check(asset=["serving", "serving_database"], blocking=False)
def every_published_table_is_there(workplace: Workplace) -> dg.AssetCheckResult:
    """All tables of the contract can be read from the serving copy."""
    with duckdb.connect(str(workplace.settings.serving), read_only=True) as serving:
        found = {
            name
            for (name,) in serving.sql(
                "select table_name from information_schema.tables where table_schema = 'marts'"
            ).fetchall()
        }
    missing = sorted(set(PUBLISHED) - found)
    return dg.AssetCheckResult(passed=not missing, metadata={"missing": missing})


CHECKS = [every_published_table_is_there]
