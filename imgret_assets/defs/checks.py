"""Asset checks: the findings of `domain.graph.consistency`, reported where an operator looks.

Belongs here: one factory for all, the list of checks, their limits. Not here: what is looked at
(`domain.graph.consistency`), and the validation that keeps wrong rows out, which the writing functions do themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.neo4j import Neo4jResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.embeddings import table_checks
from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.graph import consistency
from imgret_assets.domain.graph.relationship_kinds import KINDS, RelationshipKind
from imgret_assets.domain.graph.relationship_sync import table_of
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError

UNUSABLE_LIMIT = 0.1


@dataclass(frozen=True)
class Looking:
    """What a check may look at."""

    home: Home
    embedder: EmbedderResource
    neo4j: Neo4jResource

    @property
    def space(self) -> EmbeddingSpace:
        """The space in use."""
        return self.embedder.space(self.home)


def build_check(
    asset: str,
    name: str,
    look: Callable[[Looking], Finding],
    *,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetChecksDefinition:
    """A check of one asset that reports what `look` finds; its first docstring line is the description."""

    @dg.asset_check(asset=asset, name=name, description=(look.__doc__ or "").splitlines()[0])
    def check(warehouse: WarehouseResource, embedder: EmbedderResource, neo4j: Neo4jResource) -> dg.AssetCheckResult:
        try:
            finding = look(Looking(warehouse.open(), embedder, neo4j))
        except TableError as error:
            # No data fails: what is missing or stale is the finding, and no reason to stop a run of some shards.
            finding = Finding(False, str(error))
        return dg.AssetCheckResult(
            passed=finding.passed, severity=severity, description=finding.summary, metadata=finding.facts
        )

    return check


def _usable_files(looking: Looking) -> Finding:
    """Few enough files are unusable."""
    return table_checks.unusable_share(looking.home, looking.space.id, limit=UNUSABLE_LIMIT)


def _one_space(looking: Looking) -> Finding:
    """Every shard's embeddings are there and of one embedding space."""
    return table_checks.one_space(looking.home, looking.space.id)


def _usable_vectors(looking: Looking) -> Finding:
    """Every vector is finite and not zero."""
    return table_checks.usable_vectors(looking.home, looking.space.id)


def _nodes_equal_rows(looking: Looking) -> Finding:
    """The :Image nodes are the usable rows of manifest and embeddings."""
    with looking.neo4j.open(looking.home) as database:
        return consistency.nodes_equal_rows(looking.home, database, looking.space.id)


def _no_bad_relationships(looking: Looking) -> Finding:
    """No image is joined to itself or twice to the same."""
    with looking.neo4j.open(looking.home) as database:
        return consistency.no_bad_relationships(database)


def _relationships_equal_source(kind: RelationshipKind) -> Callable[[Looking], Finding]:
    def look(looking: Looking) -> Finding:
        with looking.neo4j.open(looking.home) as database:
            return table_of(kind).check_relationships(looking.home, database, looking.space.id)

    look.__doc__ = f"The {kind.name} relationships are {kind.source}."
    return look


def default_checks() -> list[dg.AssetChecksDefinition]:
    """All checks."""
    return [
        build_check("raw_images", "unusable_files_below_limit", _usable_files, severity=dg.AssetCheckSeverity.WARN),
        build_check("embeddings", "one_embedding_space", _one_space),
        build_check("embeddings", "finite_nonzero_vectors", _usable_vectors),
        build_check("image_nodes", "nodes_equal_usable_rows", _nodes_equal_rows),
        build_check("similar_to", "no_self_or_doubled_pair", _no_bad_relationships),
        *(build_check(kind.asset, kind.check, _relationships_equal_source(kind)) for kind in KINDS),
    ]
