"""Dagster definitions; the work itself is done by `imgret_assets.domain`."""
