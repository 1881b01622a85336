"""The asset that gives every usable picture its vector.

Belongs here: the asset and its metadata. Not here: what needs a vector and how it comes (`domain.embed`).
"""

import dagster as dg

from imgret_assets.defs.metadata import column_schema, rate, status_counts, thumbnails, unusable_table
from imgret_assets.defs.partitions import ONE_RUN
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.embed import EmbedReport, ShardEmbeddings, refresh_embeddings
from imgret_assets.domain.home import Home
from imgret_assets.domain.tables import embeddings_path, embeddings_schema


def build_embeddings(shards: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset, over these partitions."""

    @dg.asset(
        partitions_def=shards,
        backfill_policy=ONE_RUN,
        deps=["raw_images"],
        group_name="vectors",
        kinds={"pytorch", "parquet"},
        owners=["team:imgret"],
        pool="imgret_embedding",
    )
    def embeddings(context: dg.AssetExecutionContext, warehouse: WarehouseResource, embedder: EmbedderResource) -> None:
        """One row for every usable manifest row of the shard, with its vector in the chosen embedding space."""
        home = warehouse.open()
        model = embedder.lend(home)
        report = refresh_embeddings(home, model, context.partition_keys)
        context.log.info(report.summary)
        for shard in report.shards:
            context.add_asset_metadata(_metadata(home, report, shard, model.space.dim), partition_key=shard.shard)

    return embeddings


def _metadata(home: Home, report: EmbedReport, shard: ShardEmbeddings, dim: int) -> dict[str, object]:
    return {
        "dagster/partition_row_count": shard.rows,
        "dagster/column_schema": column_schema(embeddings_schema(dim)),
        "space": report.space,
        "engine": report.engine or "nothing to embed",
        "reused": shard.reused,
        "embedded_in_this_run": report.embedded,
        "images_per_second": rate(report.embedded, report.seconds),
        "written": shard.written,
        "table": dg.MetadataValue.path(str(embeddings_path(home.warehouse, report.space, shard.shard))),
        **status_counts(shard.statuses),
        **unusable_table(shard.unusable),
        **thumbnails(home.images, shard.examples),
    }
