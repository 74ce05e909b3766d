"""Whether a run computes everything anew or only what new events touch, and what the next run has to know of it.

A delta is exact as long as nothing but events and records of the CRM have changed: the same UTC day, rules and models,
and a run before it that came to its end. Everything else is a full refresh, which needs no memory of what was before.
What a delta recomputes is the business of the models tagged `delta`, of `crm_changes` and of `defs/`.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import duckdb

from dagster_project.crm_changes import FOR_DELTAS, TOUCHED
from dagster_project.warehouse import transaction

ROLLUP_TABLES = ("int_user_days", "rollup_mark", "rolled_up_identities")
"""What is kept between runs and has to go when its definition changes."""


SCORE_EVERYTHING = "score_everything"
"""The job that computes everything, calibration and what comes back from the CRM included."""
NEXT_MOMENTS = "raw.next_moments"
"""What `raw.moments` will be once features are computed: until then these rows stand for what the tables hold."""
LIVE = "as_of = (select as_of from raw.moments where is_live)"
"""Rows of the moment that is scored, in any table that is made for several."""
NEEDS_EVERYTHING = f"run {SCORE_EVERYTHING} once"
NOTHING_YET = "nothing was computed yet: run `pls run` once"
NO_FEATURES = (
    "the last run did not come to the end of the features, and who may be contacted is not known: run `pls run`"
)
"""What to say where `features_stand` says no."""


class NeedsEverything(RuntimeError):
    """A delta was asked for where there is nothing yet that it could change; the message says what to run."""


class NothingYet(RuntimeError):
    """Something was asked for that no run has made the inputs of; the message says what to run."""


@dataclass(frozen=True)
class Refresh:
    """What a run computes.

    Attributes:
        is_full: Whether everything is computed anew.
        reason: Why, in words.
        as_of: The moment of the full refresh that the tables stand on; the live moment's key, naive UTC.
        until: The moment scored: events and what the CRM says count until then, naive UTC.
        has_crm: Whether a delta takes what the CRM has delivered as well.
    """

    is_full: bool
    reason: str
    as_of: datetime
    until: datetime
    has_crm: bool = False


@dataclass(frozen=True)
class Standing:
    """What the tables were computed from.

    Attributes:
        until: The moment scored.
        as_of: The moment of the full refresh below it.
        batch_id: The last load in it.
        definition: A hash of the models.
        rules: A hash of the playbook.
        had_baseline: Whether an earlier moment was computed as well.
        next_crm_moment: The first moment after `until` at which the CRM says something else, None for never.
        is_finished: Whether that run came to its end.
    """

    until: datetime
    as_of: datetime
    batch_id: int
    definition: str
    rules: str
    had_baseline: bool
    next_crm_moment: datetime | None
    is_finished: bool


@dataclass(frozen=True)
class Arrivals:
    """What has come since: loads of CRM files, and identify or group events that took the place of others.

    Attributes:
        crm_files: Deliveries of the CRM that say something else than those before.
        replaced_identities: Identify and group events.
        silence_changes: How often feeds of events were found to have been silent at other times than was known.
        crm_is_for_all: Whether some of the CRM's deliveries are about more than single people and accounts.
    """

    crm_files: int
    replaced_identities: int
    silence_changes: int = 0
    crm_is_for_all: bool = False


def decide_refresh(
    before: Standing | None,
    arrived: Arrivals,
    *,
    until: datetime,
    definition: str,
    rules: str,
    has_baseline: bool,
) -> Refresh:
    """A full refresh unless a delta gives the same.

    Args:
        before: What the tables were computed from; None when there are none.
        arrived: What has come since.
        until: The moment to score, naive UTC.
        definition: A hash of the models.
        rules: A hash of the playbook.
        has_baseline: Whether an earlier moment is asked for as well.
    """

    def full(reason: str) -> Refresh:
        return Refresh(is_full=True, reason=reason, as_of=until, until=until)

    if before is None:
        return full("nothing was computed yet")
    if not before.is_finished:
        return full("the run before did not come to its end")
    if before.definition != definition:
        return full("the models have changed")
    if before.rules != rules:
        return full("the playbook has changed")
    if has_baseline or before.had_baseline:
        return full("the first run compares with an earlier moment")
    if until.date() != before.until.date():
        return full("another day: the windows slide")
    if until < before.until:
        return full("an earlier moment than before")
    if arrived.crm_is_for_all:
        return full("the CRM has delivered")
    if arrived.replaced_identities:
        return full("an identification was delivered again and says something else")
    if arrived.silence_changes:
        return full("a feed of events was silent at other times than was known")
    if before.next_crm_moment is not None and before.next_crm_moment <= until:
        return full("a date in the CRM has come")
    has_crm = arrived.crm_files > 0
    reason = "events and records of the CRM have come" if has_crm else "only events have come"
    return Refresh(is_full=False, reason=reason, as_of=before.as_of, until=until, has_crm=has_crm)


def plan_refresh(
    connection: duckdb.DuckDBPyConnection, *, definition: str, rules: str, may_be_delta: bool, run_id: str
) -> Refresh:
    """Decide what this run computes and write it down: the moments' keys, and that the run is under way.

    Args:
        connection: The warehouse, after loading.
        definition: A hash of the models; when it is new, the rollups start anew.
        rules: A hash of the playbook.
        may_be_delta: Whether a delta will do.
        run_id: The run; what it decided holds for its own steps alone, and for those of runs that go on with it.

    Raises:
        NeedsEverything: A delta was asked for where the models themselves have to be made first.
        NothingYet: There is no moment to compute anything for.
    """
    before = _standing(connection)
    # A run of some models alone has set none: it stays at the moments that there are.
    are_set = bool(connection.sql(f"select 1 from {NEXT_MOMENTS} limit 1").fetchall())
    moments = NEXT_MOMENTS if are_set else "raw.moments"
    _, until = live_moment(connection, moments)
    [(baselines,)] = connection.sql(f"select count(*) from {moments} where not is_live").fetchall()
    refresh = decide_refresh(
        before,
        arrivals(connection, before.batch_id if before else 0),
        until=until,
        definition=definition,
        rules=rules,
        has_baseline=baselines > 0,
    )
    is_new = before is None or before.definition != definition
    if may_be_delta and is_new:
        raise NeedsEverything(f"{refresh.reason}: {NEEDS_EVERYTHING}")
    if not may_be_delta:
        refresh = Refresh(is_full=True, reason="everything was asked for", as_of=until, until=until)
    if is_new:
        for table in ROLLUP_TABLES:
            connection.execute(f"drop table if exists intermediate.{table}")
    with transaction(connection):
        if are_set:
            connection.execute(f"delete from raw.moments; insert into raw.moments by name from {NEXT_MOMENTS}")
            connection.execute(f"delete from {NEXT_MOMENTS}")
        connection.execute("update raw.moments set as_of = ? where is_live", [refresh.as_of])
        connection.execute(f"delete from raw.refreshes; delete from {TOUCHED}")
        connection.execute(
            "insert into raw.refreshes (as_of, until, is_full, reason, batch_id, definition, rules, had_baseline, "
            "next_crm_moment, is_finished, run_id, has_features, has_crm) values "
            "(?, ?, ?, ?, (select max(batch_id) from raw.batches), ?, ?, ?, ?, false, ?, false, ?)",
            [
                refresh.as_of, refresh.until, refresh.is_full, refresh.reason,
                definition, rules, baselines > 0, before.next_crm_moment if before else None, run_id, refresh.has_crm,
            ],
        )  # fmt: skip
    return refresh


def take_everything(connection: duckdb.DuckDBPyConnection, refresh: Refresh, reason: str) -> Refresh:
    """Make a delta that has begun a full refresh, before any of its features are computed.

    Args:
        connection: The warehouse.
        refresh: As `plan_refresh` decided.
        reason: Why.
    """
    with transaction(connection):
        connection.execute("update raw.moments set as_of = ? where is_live", [refresh.until])
        connection.execute(
            "update raw.refreshes set is_full = true, has_crm = false, as_of = until, reason = ?", [reason]
        )
        connection.execute(f"delete from {TOUCHED}")
    return replace(refresh, is_full=True, has_crm=False, as_of=refresh.until, reason=reason)


def note_features(connection: duckdb.DuckDBPyConnection) -> None:
    """Write down that all features are made: until then some tables may be of this run and others of the one before."""
    connection.execute("update raw.refreshes set has_features = true")


def features_stand(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether all features are of one run; if not, somebody who said no may look like somebody who did not."""
    standing = connection.sql("select coalesce(has_features, is_finished) from raw.refreshes").fetchall()
    return bool(standing and standing[0][0])


def require_live_features(connection: duckdb.DuckDBPyConnection) -> None:
    """See that there are features of the live moment, if there are any.

    Raises:
        NothingYet: Models were made in part, of which none are.
    """
    [(rows, live)] = connection.sql(f"select count(*), count(*) filter ({LIVE}) from features.user_features").fetchall()
    if rows and not live:
        raise NothingYet(f"features were made in part, and none are of the moment to score: {NEEDS_EVERYTHING}")


def odd_moment(connection: duckdb.DuckDBPyConnection, now: datetime) -> str | None:
    """What somebody has to know of the moment that is about to be scored; None for an ordinary one.

    Args:
        connection: The warehouse.
        now: Naive UTC.
    """
    [(asked, before)] = connection.sql(
        f"select (select until from {NEXT_MOMENTS} where is_live), (select until from raw.moments where is_live)"
    ).fetchall()
    if asked is not None and asked > now + timedelta(days=1):
        return f"{asked:%Y-%m-%d %H:%M} UTC is still to come (PLS_AS_OF): what is decided and written now is as of then"
    if asked is not None and before is not None and asked < before:
        return (
            f"{asked:%Y-%m-%d %H:%M} UTC is before {before:%Y-%m-%d %H:%M}, which was scored last (PLS_AS_OF, or the "
            "clock): sellers and the CRM get what stood then. To look at past days use `pls backfill`"
        )
    return None


def live_moment(connection: duckdb.DuckDBPyConnection, table: str = "raw.moments") -> tuple[datetime, datetime]:
    """The live moment's key and the moment scored, both naive UTC.

    Raises:
        NothingYet: No run has set one.
    """
    found = connection.sql(f"select as_of, until from {table} where is_live").fetchall()
    if not found:
        raise NothingYet(NOTHING_YET)
    as_of, until = found[0]
    return as_of, until


def require_tables(connection: duckdb.DuckDBPyConnection, names: Collection[str]) -> None:
    """See that tables are there that other steps make.

    Args:
        connection: The warehouse.
        names: Tables or views, each with its schema.

    Raises:
        NothingYet: One of them is not.
    """
    if missing := missing_tables(connection, names):
        raise NothingYet(f"{NOTHING_YET} ({missing[0]} is not there)")


def missing_tables(connection: duckdb.DuckDBPyConnection, names: Collection[str]) -> list[str]:
    """Those of tables or views, each named with its schema, that are not there."""
    there = connection.sql("select table_schema || '.' || table_name from information_schema.tables").fetchall()
    return sorted(set(names) - {name for (name,) in there})


def current_refresh(connection: duckdb.DuckDBPyConnection, run_id: str) -> Refresh:
    """What this run computes: as its `plan_refresh` decided, and everything where it has not run the models.

    Raises:
        NothingYet: No run has set a moment.
    """
    planned = connection.execute(
        "select is_full, reason, as_of, until, coalesce(has_crm, false) from raw.refreshes where run_id = ?", [run_id]
    ).fetchall()
    if planned:
        return Refresh(*planned[0])
    as_of, until = live_moment(connection)
    return Refresh(is_full=True, reason="a run without the models", as_of=as_of, until=until)


def finish_refresh(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Write down that the run came to its end, so that the next one may be a delta; one without the models does not."""
    if not connection.execute("select 1 from raw.refreshes where run_id = ?", [run_id]).fetchall():
        return
    refresh = current_refresh(connection, run_id)
    if refresh.is_full or refresh.has_crm:
        connection.execute(
            "update raw.refreshes set next_crm_moment = (select min(moment) from ("
            "select known_from as moment from intermediate.int_crm_versions "
            "union all select created_at from staging.stg_crm__opportunities "
            "union all select closed_at from staging.stg_crm__opportunities "
            "union all select created_at from staging.stg_crm__tickets "
            # which may lack what the one before it has
            "union all select extract_at from staging.stg_crm__extracts) "
            "where moment > (select until from raw.refreshes))"
        )
    # Of models that were made in part, some features are of this run and others of the one before.
    connection.execute("update raw.refreshes set is_finished = true where coalesce(has_features, true)")


def _standing(connection: duckdb.DuckDBPyConnection) -> Standing | None:
    rows = connection.sql(
        "select until, as_of, batch_id, definition, rules, had_baseline, next_crm_moment, is_finished "
        "from raw.refreshes"
    ).fetchall()
    return Standing(*rows[0]) if rows else None


def arrivals(connection: duckdb.DuckDBPyConnection, since_batch: int) -> Arrivals:
    """What has been loaded since.

    Args:
        connection: The warehouse.
        since_batch: The last load that the tables were computed from.
    """
    delivered = connection.execute(
        "select source, status from raw.files where batch_id > ? and source <> 'events' "
        "and status in ('loaded', 'shrunk', 'empty')",
        [since_batch],
    ).fetchall()
    # Of an extract that has shrunk nobody knows yet what it says.
    is_for_all = any(source not in FOR_DELTAS or status != "loaded" for source, status in delivered)
    [(replaced,)] = connection.execute(
        "select count(*) from raw.replaced_identities where batch_id > ?", [since_batch]
    ).fetchall()
    [(silence_changes,)] = connection.execute(
        "select count(*) from raw.silence_changes where batch_id > ?", [since_batch]
    ).fetchall()
    return Arrivals(len(delivered), replaced, silence_changes, is_for_all)
