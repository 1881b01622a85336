"""The asset of groups of images that belong together.

Belongs here: the asset, its configuration and metadata. Not here: the grouping (`domain.analysis.groups_table`), the
node property (`defs.assets.graph.image_node_groups`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import column_schema, picture_table
from imgret_assets.defs.partitions import all_shards
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.analysis.clustering import Agreement
from imgret_assets.domain.analysis.groups_table import largest_groups, refresh_groups
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import GROUPS_SCHEMA, groups_path

SHOWN = 12


class GroupsConfig(dg.Config):
    """How alike the members of a group must be."""

    least_score: float | None = Field(
        default=None,
        description="Least raw cosine of a member with its group's representative, -1 to 1; a fifth of the way from "
        "the cosine of two random images to 1 where empty.",
    )


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
    """One row for every image: its group, named by the group's representative, and how near it is to that one."""
    home = warehouse.open()
    report = refresh_groups(home, embedder.space(home).id, least=config.least_score)
    context.log.info(report.summary)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.images,
            "groups": report.groups,
            "alone": report.alone,
            "largest": report.largest,
            "communities_before_split": report.communities,
            "least_score": report.least,
            "written": report.written,
            "space": report.space,
            "table": dg.MetadataValue.path(str(groups_path(home.warehouse, report.space))),
            **_agreement("before_split", report.before),
            **_agreement("after_split", report.after),
            **(_pictures(home, report.space) if report.written else {}),
        }
    )


def _pictures(home: Home, space: str) -> Mapping[str, Any]:
    shown = [
        (home.images / row["group"], row["group"], f"{row['size']:,}", f"{row['weakest_score']:.3f}")
        for row in largest_groups(home, space, SHOWN)
    ]
    return picture_table("largest_groups", shown, headers=("", "representative", "images", "weakest score"), size=64)


def _agreement(when: str, found: Agreement | None) -> dict[str, float]:
    if found is None:
        return {}
    parts = {"precision": found.precision, "recall": found.recall, "f1": found.f1}
    return {f"b_cubed_{name}_{when}": round(value, 4) for name, value in parts.items()}
