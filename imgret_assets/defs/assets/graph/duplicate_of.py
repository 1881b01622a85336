"""The asset of DUPLICATE_OF relationships.

Belongs here: the asset and its metadata. Not here: Cypher (`domain.graph.cypher`), the comparison of table and
database (`domain.graph.duplicate_of`).
"""

import dagster as dg

from imgret_assets.defs.metadata import rate
from imgret_assets.defs.partitions import ONE_RUN
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.graph.duplicate_of import sync_duplicates


def build_duplicate_of() -> dg.AssetsDefinition:
    """The asset; it depends on all shards' nodes and on the duplicates."""

    @dg.asset(
        backfill_policy=ONE_RUN,
        deps=["duplicates", dg.AssetDep("image_nodes", partition_mapping=dg.AllPartitionMapping())],
        group_name="graph",
        kinds={"neo4j"},
        owners=["team:imgret"],
    )
    def duplicate_of(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        embedder: EmbedderResource,
        neo4j: Neo4jResource,
    ) -> dg.MaterializeResult:
        """One DUPLICATE_OF relationship for every row of the duplicates table, from the copy to the one to keep."""
        home = warehouse.open()
        with neo4j.open(home) as database:
            report = sync_duplicates(home, database, embedder.space(home))
        context.log.info(report.summary)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": report.relationships,
                **report.kinds,
                "created": report.created,
                "deleted": report.deleted,
                "relationships_per_second": rate(report.created + report.deleted, report.seconds),
            }
        )

    return duplicate_of
