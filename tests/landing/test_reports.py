"""What is told while a long step works."""

from dagster_project.landing.reports import TELL_SECONDS, FileOutcome, tell_at_times


def test_how_far_a_load_has_come_is_told_every_few_seconds() -> None:
    now, told = [0.0], []
    progress = tell_at_times(told.append, clock=lambda: now[0])
    for seconds in (1.0, TELL_SECONDS, TELL_SECONDS + 1, 2 * TELL_SECONDS):
        now[0] = seconds
        progress(FileOutcome("events", "a.parquet", "loaded", rows_in=600, loaded=600))
    assert told == ["1,200 events of 2 files", "2,400 events of 4 files"]
