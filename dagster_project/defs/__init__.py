"""Dagster only, and thin: each asset gathers, calls one function from another room, writes, and returns metadata."""

import warnings

from dagster import BetaWarning

# Backfill policies are still called beta; whoever runs a command can't do anything about it.
warnings.filterwarnings("ignore", category=BetaWarning)
