"""imgret: find look-alike images in a collection that keeps changing.

Importing this package loads nothing else. The code location is `imgret_assets.definitions`;
what an image, a pair or a query *is* lives in `imgret_assets.domain`, which knows no Dagster.
"""

__version__ = "0.1.0"
