"""The asset of the nodes' property `group`.

Belongs here: the asset and its metadata. Not here: Cypher and the comparison (`domain.graph.node_groups`), the groups
themselves (`defs.assets.vectors.image_groups`).
"""

import dagster as dg

from imgret_assets.defs.metadata import rate
from imgret_assets.defs.partitions import ONE_RUN
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.graph.node_groups import sync_groups


def build_image_node_groups() -> dg.AssetsDefinition:
    """The asset; it depends on all shards' nodes and on the groups."""

    @dg.asset(
        backfill_policy=ONE_RUN,
        deps=["image_groups", dg.AssetDep("image_nodes", partition_mapping=dg.AllPartitionMapping())],
        group_name="graph",
        kinds={"neo4j"},
        owners=["team:imgret"],
    )
    def image_node_groups(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        embedder: EmbedderResource,
        neo4j: Neo4jResource,
    ) -> dg.MaterializeResult:
        """The property `group` of every :Image node that is not alone: the path of its group's representative."""
        home = warehouse.open()
        with neo4j.open(home) as database:
            report = sync_groups(home, database, embedder.space(home))
        context.log.info(report.summary)
        return dg.MaterializeResult(
            metadata={
                "nodes": report.nodes,
                "grouped": report.grouped,
                "changed": report.changed,
                "nodes_per_second": rate(report.changed, report.seconds),
            }
        )

    return image_node_groups
