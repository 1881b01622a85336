"""Dagster objects only; every answer comes from `imgret_assets.domain`."""
