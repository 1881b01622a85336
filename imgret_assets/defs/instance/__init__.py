"""Dagster's own home, and the runs in it."""
