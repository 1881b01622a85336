"""Assets that write relationships and groups to Neo4j once the nodes exist: one factory and the four assets made by it.

Belongs here: the factory, and the description and metadata of each asset. Not here: Cypher (`domain.graph.cypher`),
comparing a table with the database (`domain.graph.similar_to`, `duplicate_of`, `decided`, `node_groups`), the tables
themselves (`defs.assets.vectors`), nodes (`defs.assets.graph.image_nodes`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import dagster as dg

from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import rate
from imgret_assets.defs.partitions import all_shards
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.decided import DecidedReport, sync_decisions
from imgret_assets.domain.graph.duplicate_of import DuplicateLinksReport, sync_duplicates
from imgret_assets.domain.graph.node_groups import NodeGroupsReport, sync_groups
from imgret_assets.domain.graph.similar_to import RelationshipsReport, sync_relationships
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.review.decision_log import decisions_path
from imgret_assets.domain.storage.home import Home


class SyncReport(Protocol):
    """What a synchronisation returns: at least one line for the log."""

    @property
    def summary(self) -> str:
        """Counts in one sentence."""
        ...


ReportT = TypeVar("ReportT", bound=SyncReport)


def build_graph_asset(
    name: str,
    *,
    description: str,
    tables: Sequence[str] = (),
    sync: Callable[[Home, Database, EmbeddingSpace], ReportT],
    metadata: Callable[[Home, ReportT], Mapping[str, Any]],
) -> dg.AssetsDefinition:
    """Return an asset that makes one part of the graph equal to its source.

    Args:
        name: key of the asset.
        description: what exists in the graph afterwards.
        tables: assets whose tables are the source; all shards' nodes are always a dependency.
        sync: the domain function that compares and writes.
        metadata: turns the report of `sync` into metadata of the materialisation.
    """

    @imgret_asset(
        name=name,
        description=description,
        deps=[*tables, all_shards("image_nodes")],
        group="graph",
        kinds={"neo4j"},
    )
    def sync_graph(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        embedder: EmbedderResource,
        neo4j: Neo4jResource,
    ) -> dg.MaterializeResult:
        home = warehouse.open()
        with neo4j.open(home) as database:
            report = sync(home, database, embedder.space(home))
        context.log.info(report.summary)
        return dg.MaterializeResult(metadata=metadata(home, report))

    return sync_graph


def _similar_to_metadata(_home: Home, report: RelationshipsReport) -> dict[str, Any]:
    return {
        "dagster/row_count": report.relationships,
        "nodes": report.nodes,
        "created": report.created,
        "deleted": report.deleted,
        "relationships_per_second": rate(report.created + report.deleted, report.seconds),
    }


def _duplicate_of_metadata(_home: Home, report: DuplicateLinksReport) -> dict[str, Any]:
    return {
        "dagster/row_count": report.relationships,
        **report.kinds,
        "created": report.created,
        "deleted": report.deleted,
        "relationships_per_second": rate(report.created + report.deleted, report.seconds),
    }


def _decided_metadata(home: Home, report: DecidedReport) -> dict[str, Any]:
    return {
        "dagster/row_count": report.relationships,
        **report.verdicts,
        "about_images_not_in_the_graph": report.absent,
        "created": report.created,
        "deleted": report.deleted,
        "relationships_per_second": rate(report.created + report.deleted, report.seconds),
        "file": dg.MetadataValue.path(str(decisions_path(home))),
    }


def _image_node_groups_metadata(_home: Home, report: NodeGroupsReport) -> dict[str, Any]:
    return {
        "nodes": report.nodes,
        "grouped": report.grouped,
        "changed": report.changed,
        "nodes_per_second": rate(report.changed, report.seconds),
    }


similar_to = build_graph_asset(
    "similar_to",
    description="One SIMILAR_TO relationship for every row of the pairs table; once they are there, the graph is "
    "ready.",
    tables=["similarity_pairs"],
    sync=sync_relationships,
    metadata=_similar_to_metadata,
)

duplicate_of = build_graph_asset(
    "duplicate_of",
    description="One DUPLICATE_OF relationship for every row of the duplicates table, from the copy to the one to "
    "keep.",
    tables=["duplicates"],
    sync=sync_duplicates,
    metadata=_duplicate_of_metadata,
)

decided = build_graph_asset(
    "decided",
    description="One DECIDED relationship for every decision of a person that is in force, from the smaller path on.",
    sync=sync_decisions,
    metadata=_decided_metadata,
)

image_node_groups = build_graph_asset(
    "image_node_groups",
    description="The property `group` of every :Image node that is not alone: the path of its group's representative.",
    tables=["image_groups"],
    sync=sync_groups,
    metadata=_image_node_groups_metadata,
)
