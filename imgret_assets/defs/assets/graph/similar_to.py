"""The asset of SIMILAR_TO relationships.

Belongs here: the asset and its metadata. Not here: Cypher (`domain.graph.cypher`), the comparison of table and
database (`domain.graph.image_nodes`).
"""

import dagster as dg

from imgret_assets.defs.metadata import rate
from imgret_assets.defs.partitions import ONE_RUN
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.graph.similar_to import sync_relationships


def build_similar_to() -> dg.AssetsDefinition:
    """The asset; it depends on all shards' nodes and on the pairs."""

    @dg.asset(
        backfill_policy=ONE_RUN,
        deps=["similarity_pairs", dg.AssetDep("image_nodes", partition_mapping=dg.AllPartitionMapping())],
        group_name="graph",
        kinds={"neo4j"},
        owners=["team:imgret"],
    )
    def similar_to(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        embedder: EmbedderResource,
        neo4j: Neo4jResource,
    ) -> dg.MaterializeResult:
        """One SIMILAR_TO relationship for every row of the pairs table; once they are there, the graph is ready."""
        home = warehouse.open()
        with neo4j.open(home) as database:
            report = sync_relationships(home, database, embedder.space(home))
        context.log.info(report.summary)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": report.relationships,
                "nodes": report.nodes,
                "created": report.created,
                "deleted": report.deleted,
                "relationships_per_second": rate(report.created + report.deleted, report.seconds),
            }
        )

    return similar_to
