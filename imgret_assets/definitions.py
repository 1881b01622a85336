"""The code location: the module that Dagster loads."""

from imgret_assets.defs.build import build_defs

defs = build_defs()
