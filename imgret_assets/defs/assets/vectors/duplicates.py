"""The asset `duplicates`: exact and near-duplicates of files, each with the file to keep.

Belongs here: the asset and its metadata. Not here: the search for duplicates
(`domain.duplicates.duplicates_table`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from imgret_assets.defs.asset_versions import table_version
from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import column_schema, net_changes, rows_by_kind, thumbnail_table
from imgret_assets.defs.partitions import all_shards
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.duplicates.duplicates_table import read_closest_duplicates, refresh_duplicates
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import DUPLICATES_SCHEMA, duplicates_path

DUPLICATES_SHOWN = 8


@imgret_asset(
    deps=[all_shards("embeddings")],
    group="vectors",
    kinds={"numpy", "parquet"},
    metadata={"dagster/column_schema": column_schema(DUPLICATES_SCHEMA)},
)
def duplicates(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, embedder: EmbedderResource
) -> dg.MaterializeResult:
    """One row for each duplicate, with the file to keep: exact (the same bytes) or near (the same image).

    Rows of the kind look_first are no duplicates: the two images differ in one place, or in colour. Nor are those of
    the kinds mirrored and rotated, which are searched if IMGRET_ORIENTATIONS is on.
    """
    home = warehouse.open()
    table, space = duplicates_path(home.warehouse), embedder.space(home).id
    before = rows_by_kind(table, "kind")
    report = refresh_duplicates(home, space)
    context.log.info(report.summary)
    return dg.MaterializeResult(
        data_version=table_version(home, "duplicates", space),
        metadata={
            **net_changes(before, rows_by_kind(table, "kind")),
            "dagster/row_count": report.rows,
            "exact": report.exact,
            "near": report.near,
            "look_first": report.look_first,
            "mirrored": report.mirrored,
            "rotated": report.rotated,
            "bytes_freed_by_removal": report.duplicate_bytes,
            "images": report.images,
            "fingerprinted": report.fingerprinted,
            "compared_pairs": report.compared_pairs,
            "left_out_pairs": report.left_out_pairs,
            "unreadable": report.pending,
            "written": report.written,
            "table": dg.MetadataValue.path(str(table)),
            **(_thumbnails(home) if report.written else {}),
        },
    )


def _thumbnails(home: Home) -> Mapping[str, Any]:
    root = home.images
    rows = [
        (root / row["path_from"], root / row["path_keep"], *(row[name] for name in ("path_from", "kind", "reason")))
        for row in read_closest_duplicates(home, DUPLICATES_SHOWN)
    ]
    return thumbnail_table(
        "thumbnails", rows, headers=("duplicate", "keep", "path of the duplicate", "kind", "reason"), size=48
    )
