"""Exact duplicates and near-duplicates: fingerprints, search, table."""
