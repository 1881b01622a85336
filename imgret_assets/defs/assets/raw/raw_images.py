"""The asset `raw_images`: the manifest of the image files.

Belongs here: the asset, its configuration and metadata. Not here: listing folders and reading files
(`domain.images.manifest`).
"""

import dagster as dg
from pydantic import Field

from imgret_assets.defs.asset_versions import manifest_version
from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import changes, column_schema, rate, status_counts, thumbnails, unusable_table
from imgret_assets.defs.partitions import selected_shards
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.images.manifest import ScanReport, ShardScan, refresh_manifest
from imgret_assets.domain.operations.complete_state import keep_complete_state
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import MANIFEST_SCHEMA, manifest_path


class ScanConfig(dg.Config):
    """Options of a listing."""

    verify: bool = Field(default=False, description="Open every file, even if its size and times have not changed.")
    allow_deletes: bool = Field(default=False, description="Continue although most known files are missing.")


def build_raw_images(shards: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset with these partitions."""

    @imgret_asset(
        partitions_def=shards,
        group="raw",
        kinds={"file", "parquet"},
        metadata={"dagster/column_schema": column_schema(MANIFEST_SCHEMA)},
    )
    def raw_images(context: dg.AssetExecutionContext, config: ScanConfig, warehouse: WarehouseResource) -> None:
        """The manifest: one row for each candidate image file of the shard, with its hash, size and status."""
        home = warehouse.open()
        # For readers, should this run not end.
        keep_complete_state(home)
        shards = selected_shards(context, home)
        report = refresh_manifest(home, shards, verify=config.verify, allow_deletes=config.allow_deletes)
        context.log.info(report.summary)
        context.set_data_version(context.asset_key, manifest_version(home))
        for scan in report.shards:
            context.add_asset_metadata(_metadata(home, report, scan), partition_key=scan.shard)

    return raw_images


def _metadata(home: Home, report: ScanReport, scan: ShardScan) -> dict[str, dg.MetadataValue | object]:
    unusable = len(scan.unusable)
    return {
        **changes(new=scan.added, changed=scan.changed, removed=scan.removed, state={"unusable": unusable}),
        "dagster/partition_row_count": scan.rows,
        "files_opened": scan.opened,
        "written": scan.written,
        "images_per_second": rate(sum(shard.opened for shard in report.shards), report.seconds),
        "ignored_files": report.ignored,
        "table": dg.MetadataValue.path(str(manifest_path(home.warehouse, scan.shard))),
        **status_counts(scan.statuses),
        **unusable_table(scan.unusable),
        **thumbnails(report.root, scan.examples),
    }
