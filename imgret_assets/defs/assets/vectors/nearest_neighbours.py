"""The asset of every image's nearest neighbours, whatever their score.

Belongs here: the asset and its metadata. Not here: the search (`domain.neighbours`).
"""

import dagster as dg

from imgret_assets.defs.metadata import column_schema, rate
from imgret_assets.defs.partitions import ONE_RUN
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.neighbours import KEPT, refresh_neighbours
from imgret_assets.domain.progress import told_to
from imgret_assets.domain.tables import NEAREST_SCHEMA, nearest_path


def build_nearest_neighbours() -> dg.AssetsDefinition:
    """The asset; it depends on all shards."""

    @dg.asset(
        backfill_policy=ONE_RUN,
        deps=[dg.AssetDep("embeddings", partition_mapping=dg.AllPartitionMapping())],
        group_name="vectors",
        kinds={"numpy", "parquet"},
        owners=["team:imgret"],
        metadata={"dagster/column_schema": column_schema(NEAREST_SCHEMA)},
    )
    def nearest_neighbours(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, embedder: EmbedderResource
    ) -> dg.MaterializeResult:
        """One row for each of an image's 20 nearest other images, by exact cosine, rank 1 the nearest."""
        home = warehouse.open()
        log = context.log.info
        report = refresh_neighbours(home, embedder.space(home).id, say=log, progress=told_to(log))
        log(report.summary)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": report.rows,
                "images": report.images,
                "kept_of_each": KEPT,
                "compared_pairs": report.compared,
                "compared_per_second": rate(report.compared, report.seconds),
                "how": report.how,
                "written": report.written,
                "space": report.space,
                "table": dg.MetadataValue.path(str(nearest_path(home.warehouse, report.space))),
            }
        )

    return nearest_neighbours
