"""The asset `embeddings`: the vector of each usable image.

Belongs here: the asset and its metadata. Not here: choosing the images that need a vector
and computing it (`domain.embeddings.embeddings_table`).
"""

from dataclasses import asdict

import dagster as dg

from imgret_assets.defs.asset_versions import embeddings_version
from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import (
    changes,
    column_schema,
    skipped_thumbnails,
    status_counts,
    thumbnails,
    unusable_table,
)
from imgret_assets.defs.partitions import selected_shards
from imgret_assets.defs.resources.compute import ComputeResource
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.run_counts import RunCounts
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.embeddings.embedding_spaces import exact_only_notice, record_speed
from imgret_assets.domain.embeddings.embeddings_table import EmbeddingsReport, ShardEmbeddings, refresh_embeddings
from imgret_assets.domain.runtime.progress import progress_listener
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import embeddings_path, embeddings_schema

# A thumbnail takes milliseconds. A run over many shards shows fewer per shard, so that the thumbnails never take longer
# than the embedding of a small collection.
THUMBNAILS_PER_RUN = 64
MIN_THUMBNAILS_PER_SHARD = 4
# With fewer images the measured speed of an engine means nothing.
MIN_IMAGES_FOR_SPEED = 64


def build_embeddings(shards: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset with these partitions."""

    @imgret_asset(
        partitions_def=shards,
        deps=["raw_images"],
        group="vectors",
        kinds={"openvino", "pytorch", "parquet"},
    )
    def embeddings(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        embedder: EmbedderResource,
        compute: ComputeResource,
        run_counts: dg.ResourceParam[RunCounts],
    ) -> None:
        """One row for each usable manifest row of the shard, with its vector in the chosen embedding space."""
        home = embedder.record_models(warehouse.open())
        shards = selected_shards(context, home)
        model = embedder.provide(home)
        if notice := exact_only_notice(model.space):
            context.log.warning(notice)
        reports = [
            refresh_embeddings(
                home, one, shards, cluster=compute.connect(), progress=progress_listener(context.log.info)
            )
            for one in (model, *embedder.provide_additional(home))
        ]
        run_counts.embedded += reports[0].embedded
        for report in reports:
            context.log.info(report.summary)
            if report.engine and report.embedded >= MIN_IMAGES_FOR_SPEED:
                record_speed(home, report.space, report.engine, report.images_per_second)
        context.set_data_version(context.asset_key, embeddings_version(home, model.space.id))
        additional_spaces = ", ".join(report.space for report in reports[1:])
        for shard in reports[0].shards:
            metadata = _metadata(home, reports[0], shard, model.space.dim)
            if additional_spaces:
                metadata["additional_spaces"] = additional_spaces
            context.add_asset_metadata(metadata, partition_key=shard.shard)

    return embeddings


def _metadata(home: Home, report: EmbeddingsReport, shard: ShardEmbeddings, dim: int) -> dict[str, object]:
    return {
        **changes(embedded=shard.rows - shard.reused - len(shard.unusable), state={"unusable": len(shard.unusable)}),
        "dagster/partition_row_count": shard.rows,
        "dagster/column_schema": column_schema(embeddings_schema(dim)),
        "space": report.space,
        "engine": report.engine or "nothing to embed",
        "reused": shard.reused,
        "embedded_in_this_run": report.embedded,
        "images_per_second": round(report.images_per_second, 1),
        **{f"seconds_{stage}": round(seconds, 2) for stage, seconds in asdict(report.times).items()},
        "written": shard.written,
        "table": dg.MetadataValue.path(str(embeddings_path(home.warehouse, report.space, shard.shard))),
        **status_counts(shard.statuses),
        **unusable_table(shard.unusable),
        **skipped_thumbnails(home.images, shard.unusable),
        **thumbnails(
            home.images, shard.examples[: max(MIN_THUMBNAILS_PER_SHARD, THUMBNAILS_PER_RUN // len(report.shards))]
        ),
    }
