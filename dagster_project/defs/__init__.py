"""Dagster only, and thin: each asset gathers, calls one function from another room, writes, and returns metadata."""
