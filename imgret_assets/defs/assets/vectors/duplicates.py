"""The asset of duplicates: which files are copies of which.

Belongs here: the asset and its metadata. Not here: finding copies (`domain.duplicates.duplicates_table`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import column_schema, picture_table
from imgret_assets.defs.partitions import all_shards
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.duplicates.duplicates_table import read_closest_duplicates, refresh_duplicates
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import DUPLICATES_SCHEMA, duplicates_path

SHOWN = 8


@imgret_asset(
    deps=[all_shards("embeddings")],
    group="vectors",
    kinds={"numpy", "parquet"},
    metadata={"dagster/column_schema": column_schema(DUPLICATES_SCHEMA)},
)
def duplicates(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, embedder: EmbedderResource
) -> dg.MaterializeResult:
    """One row for every file that is a copy of another, with the one to keep: same bytes, or the same picture."""
    home = warehouse.open()
    report = refresh_duplicates(home, embedder.space(home).id)
    context.log.info(report.summary)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.exact + report.near,
            "exact": report.exact,
            "near": report.near,
            "bytes_freed_by_removal": report.duplicate_bytes,
            "images": report.images,
            "looked_at": report.fingerprinted,
            "compared_pairs": report.compared_pairs,
            "not_readable": report.pending,
            "written": report.written,
            "table": dg.MetadataValue.path(str(duplicates_path(home.warehouse))),
            **(_pictures(home) if report.written else {}),
        }
    )


def _pictures(home: Home) -> Mapping[str, Any]:
    root = home.images
    shown = [
        (root / row["path_from"], root / row["path_keep"], *(row[name] for name in ("path_from", "kind", "reason")))
        for row in read_closest_duplicates(home, SHOWN)
    ]
    return picture_table("pictures", shown, headers=("copy", "keep", "path of the copy", "kind", "reason"), size=48)
