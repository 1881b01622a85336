"""The asset `image_groups`: groups of similar images.

Belongs here: the asset, its configuration and metadata. Not here: the grouping (`domain.analysis.groups_table`), the
property of the nodes (`defs.assets.graph.relationships`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from imgret_assets.defs.asset_versions import table_version
from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import column_schema, groups_by_kind, net_changes, thumbnail_table
from imgret_assets.defs.partitions import all_shards
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.analysis.clustering import Agreement
from imgret_assets.domain.analysis.groups_table import read_largest_groups, refresh_groups
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import GROUPS_SCHEMA, groups_path
from imgret_assets.wording import score_text

GROUPS_SHOWN = 12


class GroupsConfig(dg.Config):
    """How similar the members of a group must be."""

    min_score: float | None = Field(
        default=None,
        description="Minimum raw cosine of a member with its group's representative, -1 to 1. If empty, it lies one "
        "fifth of the way from the cosine of two random images to 1.",
    )
    least_score: float | None = Field(default=None, description="Deprecated name of min_score.")


@imgret_asset(
    deps=["nearest_neighbours", all_shards("embeddings")],
    group="vectors",
    kinds={"numpy", "parquet"},
    metadata={
        "dagster/column_schema": column_schema(GROUPS_SCHEMA, score="raw cosine with the representative; 1 for itself")
    },
)
def image_groups(
    context: dg.AssetExecutionContext,
    config: GroupsConfig,
    warehouse: WarehouseResource,
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """One row for each image: its group, named by the group's representative, and its score with the representative."""
    home = warehouse.open()
    space = embedder.space(home).id
    table = groups_path(home.warehouse, space)
    before = groups_by_kind(table)
    report = refresh_groups(home, space, min_score=config.least_score if config.min_score is None else config.min_score)
    context.log.info(report.summary)
    return dg.MaterializeResult(
        data_version=table_version(home, "image_groups", space),
        metadata={
            **net_changes(before, groups_by_kind(table)),
            "dagster/row_count": report.images,
            "groups": report.groups,
            "single_images": report.single_images,
            "largest_group_size": report.largest,
            "communities_before_split": report.communities,
            "min_score": report.min_score,
            "written": report.written,
            "space": report.space,
            "table": dg.MetadataValue.path(str(table)),
            **_agreement("before_split", report.agreement_before_split),
            **_agreement("after_split", report.agreement_after_split),
            **(_thumbnails(home, report.space) if report.written else {}),
        },
    )


def _thumbnails(home: Home, space: str) -> Mapping[str, Any]:
    rows = [
        (home.images / row["group"], row["group"], f"{row['size']:,}", score_text(row["weakest_score"]))
        for row in read_largest_groups(home, space, GROUPS_SHOWN)
    ]
    return thumbnail_table("largest_groups", rows, headers=("", "representative", "images", "weakest score"), size=64)


def _agreement(stage: str, agreement: Agreement | None) -> dict[str, float]:
    if agreement is None:
        return {}
    parts = {"precision": agreement.precision, "recall": agreement.recall, "f1": agreement.f1}
    return {f"b_cubed_{name}_{stage}": round(value, 4) for name, value in parts.items()}
