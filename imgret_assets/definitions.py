"""The code location: the one module Dagster is pointed at."""

from imgret_assets.defs.build import build_defs

defs = build_defs()
