"""The asset `image_nodes`: the :Image nodes in Neo4j.

Belongs here: the asset and its metadata. Not here: Cypher (`domain.graph.cypher`), comparing rows with nodes
(`domain.graph.image_nodes`).
"""

import dagster as dg

from imgret_assets.defs.asset_versions import nodes_version
from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import changes
from imgret_assets.defs.partitions import selected_shards
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.graph.image_nodes import NodesReport, ShardNodes, sync_nodes


def build_image_nodes(shards: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """Return the asset with these partitions."""

    @imgret_asset(
        partitions_def=shards,
        deps=["raw_images", "embeddings"],
        group="graph",
        kinds={"neo4j"},
    )
    def image_nodes(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        embedder: EmbedderResource,
        neo4j: Neo4jResource,
    ) -> None:
        """One :Image node for each usable image of the shard, with its vector, in the vector index.

        With IMGRET_GRAPH_VECTORS=no the nodes have no vectors, and there is no index.
        """
        home = warehouse.open()
        shards = selected_shards(context, home)
        with neo4j.open_to_write(home) as database:
            space = embedder.space(home)
            report = sync_nodes(home, database, space, shards)
        context.log.info(report.summary)
        context.set_data_version(context.asset_key, nodes_version(home, space.id))
        for shard in report.shards:
            context.add_asset_metadata(_metadata(report, shard), partition_key=shard.shard)

    return image_nodes


def _metadata(report: NodesReport, shard: ShardNodes) -> dict[str, object]:
    return {
        **changes(created=shard.created, replaced=shard.replaced, updated=shard.updated, deleted=shard.deleted),
        "dagster/partition_row_count": shard.nodes,
        "vector_index": report.indexed,
        "nodes_per_second": report.nodes_per_second,
        "index_seconds": round(report.index_seconds, 1),
        **({"rebuilt_from": report.rebuilt_from} if report.rebuilt_from else {}),
        **({"orphan_nodes_deleted": report.orphan_nodes} if report.orphan_nodes else {}),
    }
