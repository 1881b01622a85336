"""The asset `nearest_neighbours`: the nearest neighbours of each image, whatever their scores are.

Belongs here: the asset and its metadata. Not here: the search (`domain.similarity.neighbours_table`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from imgret_assets.defs.asset_versions import table_version
from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import column_schema, net_changes, rate, rows_by_kind, thumbnail_table
from imgret_assets.defs.partitions import all_shards
from imgret_assets.defs.resources.compute import ComputeResource
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.runtime.progress import progress_listener
from imgret_assets.domain.similarity.neighbours_table import KEPT, refresh_neighbours
from imgret_assets.domain.similarity.table_accuracy import accuracy_facts
from imgret_assets.domain.similarity.table_samples import sample_neighbours
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import NEAREST_SCHEMA, nearest_path
from imgret_assets.wording import score_text

IMAGES_SHOWN = 6
NEAREST_SHOWN = 4


@imgret_asset(
    deps=[all_shards("embeddings")],
    group="vectors",
    kinds={"numpy", "parquet"},
    metadata={"dagster/column_schema": column_schema(NEAREST_SCHEMA)},
)
def nearest_neighbours(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    embedder: EmbedderResource,
    compute: ComputeResource,
) -> dg.MaterializeResult:
    """One row for each of an image's 20 nearest other images, by exact cosine, rank 1 the nearest.

    With IMGRET_PAIR_SEARCH=approximate nearer ones may be missing; `exact` and `recall` in the metadata tell.
    """
    home = warehouse.open()
    log, space = context.log.info, embedder.space(home).id
    table = nearest_path(home.warehouse, space)
    before = rows_by_kind(table)
    report = refresh_neighbours(home, space, cluster=compute.connect(), log=log, progress=progress_listener(log))
    log(report.summary)
    return dg.MaterializeResult(
        data_version=table_version(home, "nearest_neighbours", space),
        metadata={
            **net_changes(before, rows_by_kind(table)),
            "dagster/row_count": report.rows,
            "images": report.images,
            "neighbours_per_image": KEPT,
            "compared_pairs": report.compared,
            "compared_per_second": rate(report.compared, report.seconds),
            "method": report.how,
            **accuracy_facts(report.metadata),
            "written": report.written,
            "space": report.space,
            "table": dg.MetadataValue.path(str(table)),
            **(_thumbnails(home, report.space) if report.written else {}),
        },
    )


def _thumbnails(home: Home, space: str) -> Mapping[str, Any]:
    """Return a few images, each in a row with its nearest neighbours and their scores."""
    rows = []
    for image, nearest in sample_neighbours(home, space, IMAGES_SHOWN, NEAREST_SHOWN):
        neighbours = [home.images / path for path, _ in nearest]
        scores = ", ".join(score_text(score) for _, score in nearest)
        # In a small collection an image has fewer neighbours, but each row needs all columns.
        empty_cells = [""] * (NEAREST_SHOWN - len(nearest))
        rows.append([home.images / image, *neighbours, *empty_cells, scores])
    headers = ("image", *(f"nearest {rank}" for rank in range(1, NEAREST_SHOWN + 1)), "scores")
    return thumbnail_table("some_neighbours", rows, headers=headers, size=56)
