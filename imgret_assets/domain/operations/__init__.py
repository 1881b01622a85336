"""Maintenance of a home: overview, totals, doctor, export, cleanup, resharding."""
