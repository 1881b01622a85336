"""Dagster's own storage and the runs in it."""
