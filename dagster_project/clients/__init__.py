"""One thin module per outside system; nothing here knows Dagster or the warehouse."""
