"""Assets that write relationships and groups to Neo4j after the nodes: one factory and its four assets.

Belongs here: the factory, and the description and metadata of each asset. Not here: Cypher (`domain.graph.cypher`),
comparing a table with the database (`domain.graph.similar_to`, `duplicate_of`, `decided`, `node_groups`), the tables
themselves (`defs.assets.vectors`), nodes (`defs.assets.graph.image_nodes`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import dagster as dg

from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import changes, rate
from imgret_assets.defs.partitions import all_shards
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.node_groups import NodeGroupsReport, sync_groups
from imgret_assets.domain.graph.relationship_kinds import DECIDED, DUPLICATE_OF, SIMILAR_TO, RelationshipKind
from imgret_assets.domain.graph.relationship_sync import RelationshipsReport, table_of
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
        with neo4j.open_to_write(home) as database:
            report = sync(home, database, embedder.space(home))
        context.log.info(report.summary)
        return dg.MaterializeResult(metadata=metadata(home, report))

    return sync_graph


def build_relationship_asset(
    kind: RelationshipKind,
    *,
    description: str,
    metadata: Callable[[Home], Mapping[str, Any]] = lambda _: {},
) -> dg.AssetsDefinition:
    """Return the asset that makes the relationships of a kind equal to their source.

    Args:
        kind: the entry of the list of relationship kinds.
        description: what exists in the graph afterwards.
        metadata: further metadata of the materialisation.
    """

    def sync(home: Home, database: Database, space: EmbeddingSpace) -> RelationshipsReport:
        return table_of(kind).sync_relationships(home, database, space)

    def report_metadata(home: Home, report: RelationshipsReport) -> dict[str, Any]:
        return {
            **changes(created=report.created, deleted=report.deleted),
            "dagster/row_count": report.relationships,
            **report.counts,
            "relationships_per_second": rate(report.created + report.deleted, report.seconds),
            **metadata(home),
        }

    return build_graph_asset(
        kind.asset,
        description=description,
        tables=[kind.table_asset] if kind.table_asset else [],
        sync=sync,
        metadata=report_metadata,
    )


def _image_node_groups_metadata(_home: Home, report: NodeGroupsReport) -> dict[str, Any]:
    return {
        **changes(changed=report.changed),
        "nodes": report.nodes,
        "grouped": report.grouped,
        "nodes_per_second": rate(report.changed, report.seconds),
    }


similar_to = build_relationship_asset(
    SIMILAR_TO,
    description="One SIMILAR_TO relationship for each row of the pairs table. When they are written, the graph is "
    "ready.",
)

duplicate_of = build_relationship_asset(
    DUPLICATE_OF,
    description="One DUPLICATE_OF relationship for each row of the duplicates table, from the duplicate to the image "
    "to keep.",
)

decided = build_relationship_asset(
    DECIDED,
    description="One DECIDED relationship for each decision in force, from the smaller path to the larger.",
    metadata=lambda home: {"file": dg.MetadataValue.path(str(decisions_path(home)))},
)

relationship_assets = [similar_to, duplicate_of, decided]

image_node_groups = build_graph_asset(
    "image_node_groups",
    description="The property `group` of each :Image node in a group of at least two images: the path of the group's "
    "representative.",
    tables=["image_groups"],
    sync=sync_groups,
    metadata=_image_node_groups_metadata,
)
