"""Asset checks, which report the findings of the domain in the UI.

Belongs here: the factory of checks, the list of checks, their limits. Not here: finding faults in tables
(`domain.embeddings.table_checks`) and in the graph (`domain.graph.consistency`, `duplicate_of`, `decided`), and
validation before writing, which the writing functions do themselves.
"""

from collections.abc import Callable
from functools import partial

import dagster as dg

from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.embeddings import table_checks
from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.graph import consistency
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.relationship_kinds import KINDS
from imgret_assets.domain.graph.relationship_sync import table_of
from imgret_assets.domain.similarity.approximate.recall import CONFIDENCE, LEAST_RECALL
from imgret_assets.domain.similarity.table_accuracy import COMPARED_TABLES, check_recall
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError

MAX_UNUSABLE_SHARE = 0.1

# Both take the id of the embedding space in use as their last argument.
FindInTables = Callable[[Home, str], Finding]
FindInGraph = Callable[[Home, Database, str], Finding]


def build_table_check(
    asset: str,
    name: str,
    find: FindInTables,
    *,
    description: str,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetChecksDefinition:
    """Return a check of an asset that reports what `find` finds in the tables."""

    @dg.asset_check(asset=asset, name=name, description=description)
    def check(warehouse: WarehouseResource, embedder: EmbedderResource) -> dg.AssetCheckResult:
        home = warehouse.open()
        return _result(lambda: find(home, embedder.space(home).id), severity)

    return check


def build_graph_check(asset: str, name: str, find: FindInGraph, *, description: str) -> dg.AssetChecksDefinition:
    """Return a check of an asset that reports what `find` finds in the graph."""

    @dg.asset_check(asset=asset, name=name, description=description)
    def check(warehouse: WarehouseResource, embedder: EmbedderResource, neo4j: Neo4jResource) -> dg.AssetCheckResult:
        home = warehouse.open()

        def find_in_graph() -> Finding:
            with neo4j.open(home) as database:
                return find(home, database, embedder.space(home).id)

        return _result(find_in_graph, dg.AssetCheckSeverity.ERROR)

    return check


def _result(find: Callable[[], Finding], severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    try:
        finding = find()
    except TableError as error:
        # A missing or outdated table is a finding: it must not stop a run over some shards.
        finding = Finding(False, str(error))
    return dg.AssetCheckResult(
        passed=finding.passed, severity=severity, description=finding.summary, metadata=finding.facts
    )


def _no_self_or_doubled_pair(_home: Home, database: Database, _space: str) -> Finding:
    return consistency.no_bad_relationships(database)


def default_checks() -> list[dg.AssetChecksDefinition]:
    """Return all checks."""
    return [
        build_table_check(
            "raw_images",
            "unusable_files_below_limit",
            partial(table_checks.check_unusable_share, limit=MAX_UNUSABLE_SHARE),
            description=f"Less than {MAX_UNUSABLE_SHARE:.0%} of the files are unusable.",
            severity=dg.AssetCheckSeverity.WARN,
        ),
        build_table_check(
            "embeddings",
            "one_embedding_space",
            table_checks.check_one_space,
            description="The embeddings of all shards exist and belong to one embedding space.",
        ),
        build_table_check(
            "embeddings",
            "finite_nonzero_vectors",
            table_checks.check_vectors,
            description="All vectors are finite and not zero.",
        ),
        *(
            build_table_check(
                table.asset,
                f"{rows}_recall_above_limit",
                partial(check_recall, table=table),
                description=f"The {table.title} is exact, or approximate with a recall of at least {LEAST_RECALL:.0%}, "
                f"with {CONFIDENCE:.0%} confidence by a random sample of images that were compared with all.",
                severity=dg.AssetCheckSeverity.WARN,
            )
            for rows, table in zip(("pairs", "neighbours"), COMPARED_TABLES, strict=True)
        ),
        build_graph_check(
            "image_nodes",
            "nodes_equal_usable_rows",
            consistency.nodes_equal_rows,
            description="The :Image nodes equal the usable rows of manifest and embeddings.",
        ),
        build_graph_check(
            "similar_to",
            "no_self_or_doubled_pair",
            _no_self_or_doubled_pair,
            description="No image is related to itself, or to another image more than once.",
        ),
        *(
            build_graph_check(
                kind.asset,
                kind.check,
                table_of(kind).check_relationships,
                description=f"The {kind.name} relationships equal {kind.source}.",
            )
            for kind in KINDS
        ),
    ]


def check_keys() -> list[dg.AssetCheckKey]:
    """Return the keys of all checks."""
    return [key for checks in default_checks() for key in checks.check_keys]
