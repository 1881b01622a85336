"""The asset `similarity_pairs`: all pairs of images whose score is above the threshold.

Belongs here: the asset, its configuration and metadata. Not here: the search for pairs
(`domain.similarity.pairs_table`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from imgret_assets.defs.asset_versions import table_version
from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import column_schema, net_changes, rate, rows_by_kind, thumbnail_table
from imgret_assets.defs.partitions import all_shards
from imgret_assets.defs.resources.compute import ComputeResource
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.runtime.progress import progress_listener
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.similarity.table_accuracy import accuracy_facts
from imgret_assets.domain.similarity.table_samples import weakest_pairs
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import PAIRS_SCHEMA, pairs_path
from imgret_assets.settings import check_threshold
from imgret_assets.wording import score_text

PAIRS_SHOWN = 8


class PairsConfig(dg.Config):
    """Which pairs the table holds."""

    threshold: float | None = Field(
        default=None,
        description="Raw cosine, -1 to 1. If empty: IMGRET_THRESHOLD, else the home's last threshold, else 0.8.",
    )


@imgret_asset(
    deps=[all_shards("embeddings")],
    group="vectors",
    kinds={"numpy", "parquet"},
    metadata={"dagster/column_schema": column_schema(PAIRS_SCHEMA)},
)
def similarity_pairs(
    context: dg.AssetExecutionContext,
    config: PairsConfig,
    warehouse: WarehouseResource,
    embedder: EmbedderResource,
    compute: ComputeResource,
) -> dg.MaterializeResult:
    """One row for each unordered pair of images whose exact cosine is greater than the threshold.

    With IMGRET_PAIR_SEARCH=approximate pairs may be missing; `exact` and `recall` in the metadata tell.
    """
    home = warehouse.open()
    threshold = home.threshold if config.threshold is None else check_threshold(config.threshold)
    log, space = context.log.info, embedder.space(home).id
    table = pairs_path(home.warehouse, space)
    before = rows_by_kind(table)
    report = refresh_pairs(home, space, threshold, cluster=compute.connect(), log=log, progress=progress_listener(log))
    context.log.info(report.summary)
    return dg.MaterializeResult(
        data_version=table_version(home, "similarity_pairs", space),
        metadata={
            **net_changes(before, rows_by_kind(table)),
            "dagster/row_count": report.pairs,
            "images": report.images,
            "threshold": report.threshold,
            "pairs_per_image": round(2 * report.pairs / max(1, report.images), 3),
            "compared_pairs": report.compared,
            "compared_per_second": rate(report.compared, report.seconds),
            "method": report.how,
            **accuracy_facts(report.metadata),
            "algorithm": report.algorithm,
            "pairs_beyond_max_neighbours": report.left_out,
            "written": report.written,
            "space": report.space,
            "table": dg.MetadataValue.path(str(table)),
            **(_thumbnails(home, report.space) if report.written else {}),
        },
    )


def _thumbnails(home: Home, space: str) -> Mapping[str, Any]:
    """Return the pairs just above the threshold.

    If they look similar, the threshold can be lowered; if not, it should be raised.
    """
    rows = [
        (home.images / a, home.images / b, score_text(score, 4), f"{a} and {b}")
        for a, b, score in weakest_pairs(home, space, PAIRS_SHOWN)
    ]
    return thumbnail_table("weakest_pairs", rows, headers=("", "", "score", "pair"), size=64)
