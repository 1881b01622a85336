"""The asset of DECIDED relationships.

Belongs here: the asset and its metadata. Not here: Cypher (`domain.graph.cypher`), the comparison of file and database
(`domain.graph.decided`), the decisions themselves (`domain.review.decisions`).
"""

import dagster as dg

from imgret_assets.defs.metadata import rate
from imgret_assets.defs.partitions import ONE_RUN
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.graph.decided import sync_decisions
from imgret_assets.domain.review.decision_log import decisions_path


def build_decided() -> dg.AssetsDefinition:
    """The asset; it depends on all shards' nodes."""

    @dg.asset(
        backfill_policy=ONE_RUN,
        deps=[dg.AssetDep("image_nodes", partition_mapping=dg.AllPartitionMapping())],
        group_name="graph",
        kinds={"neo4j"},
        owners=["team:imgret"],
    )
    def decided(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        embedder: EmbedderResource,
        neo4j: Neo4jResource,
    ) -> dg.MaterializeResult:
        """One DECIDED relationship for every decision of a person that is in force, from the smaller path on."""
        home = warehouse.open()
        with neo4j.open(home) as database:
            report = sync_decisions(home, database, embedder.space(home))
        context.log.info(report.summary)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": report.relationships,
                **report.verdicts,
                "about_images_not_in_the_graph": report.absent,
                "created": report.created,
                "deleted": report.deleted,
                "relationships_per_second": rate(report.created + report.deleted, report.seconds),
                "file": dg.MetadataValue.path(str(decisions_path(home))),
            }
        )

    return decided
