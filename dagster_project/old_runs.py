"""Runs of micro-batches that are over for long: Dagster keeps every run, and a worker makes thousands a day.

All other jobs are left alone: they are few, and of past days the UI knows by them which there are.
"""

from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage

KEPT_ANYWAY = 100
"""The newest runs, however old: what the UI shows where little comes."""
PORTION = 5
"""Runs that are deleted at a time, some hundredths of a second each: somebody may wait for what lands meanwhile."""
_OVER = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def delete_old_runs(
    instance: dg.DagsterInstance,
    job_name: str,
    *,
    days: float,
    now: datetime,
    most: int = PORTION,
    kept_anyway: int = KEPT_ANYWAY,
) -> int:
    """Delete the oldest runs of a job that are over, with all that Dagster keeps of them.

    Args:
        instance: Knows the runs.
        job_name: The job.
        days: How many days runs are kept; 0 for ever.
        now: Naive UTC.
        most: How many are deleted at most.
        kept_anyway: How many of the newest are kept, however old.

    Returns:
        How many were deleted.
    """
    over = dg.RunsFilter(job_name=job_name, statuses=_OVER)
    most = min(most, instance.get_runs_count(over) - kept_anyway) if days else 0
    if most <= 0:
        return 0
    old = dg.RunsFilter(job_name=job_name, statuses=_OVER, created_before=now - timedelta(days=days))
    runs = [record.dagster_run.run_id for record in instance.get_run_records(old, limit=most, ascending=True)]
    for run_id in runs:
        instance.delete_run(run_id)
        # Dagster empties the run's own database and leaves the file, which is most of what a run takes.
        storage = instance.event_log_storage
        if isinstance(storage, SqliteEventLogStorage):
            shard = Path(storage.path_for_shard(run_id))
            for path in shard.parent.glob(f"{shard.name}*"):
                path.unlink(missing_ok=True)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    return len(runs)
