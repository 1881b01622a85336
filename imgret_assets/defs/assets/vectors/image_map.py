"""The asset `image_map`: a position in two dimensions for every image.

Belongs here: the asset and its metadata. Not here: the layout (`domain.analysis.map_layout`), the table
(`domain.analysis.map_table`).
"""

import dagster as dg

from imgret_assets.defs.asset_versions import table_version
from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import column_schema, net_changes, rows_by_kind
from imgret_assets.defs.partitions import all_shards
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.analysis.map_table import refresh_map
from imgret_assets.domain.storage.tables import MAP_SCHEMA, map_path


@imgret_asset(
    deps=["nearest_neighbours", all_shards("embeddings")],
    group="vectors",
    kinds={"numpy", "parquet"},
    metadata={"dagster/column_schema": column_schema(MAP_SCHEMA)},
)
def image_map(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, embedder: EmbedderResource
) -> dg.MaterializeResult:
    """One row for each image: its position on a map where look-alikes lie together. Few changes keep the others."""
    home = warehouse.open()
    space = embedder.space(home).id
    table = map_path(home.warehouse, space)
    before = rows_by_kind(table)
    report = refresh_map(home, space)
    context.log.info(report.summary)
    return dg.MaterializeResult(
        data_version=table_version(home, "image_map", space),
        metadata={
            **net_changes(before, rows_by_kind(table)),
            "dagster/row_count": report.images,
            "placed": report.placed,
            "laid_out": report.laid_out,
            "written": report.written,
            "space": report.space,
            "table": dg.MetadataValue.path(str(table)),
        },
    )
