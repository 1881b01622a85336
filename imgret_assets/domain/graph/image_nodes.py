"""Keeping the graph equal to the tables: nodes from usable pictures, relationships from pairs.

Belongs here: comparing table and database, validating what is to be written, the graph's state. Not here: statements
(`domain.graph.cypher`), connections (`domain.graph.connection`), pairs themselves (`domain.similarity.pairs_table`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.embeddings.table_reader import usable_rows, vectors_of
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_state import REBUILDING, REFRESHING, _drain, _mark_refreshing, check_owner
from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.models import embedding_space
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError

NODE_ROWS = 500
INDEX_WAIT_S = 1800


@dataclass
class ShardNodes:
    """What one shard's nodes needed: `created`, `replaced` (another vector), `updated` (other facts), `deleted`."""

    shard: str
    nodes: int = 0
    created: int = 0
    replaced: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def writes(self) -> int:
        """Nodes touched."""
        return self.created + self.replaced + self.updated + self.deleted


@dataclass
class NodesReport:
    """What a refresh of nodes did.

    Of its `seconds`, `index_seconds` were spent on the vector index after the nodes: making it, where it was missing,
    and waiting until it had caught up.
    """

    shards: list[ShardNodes]
    rebuilt_from: str | None
    strays: int
    indexed: bool
    seconds: float
    index_seconds: float = 0.0

    @property
    def nodes_per_second(self) -> float:
        """Nodes written a second, the index left out; 0 where none was."""
        writes = sum(shard.writes for shard in self.shards)
        return round(writes / (self.seconds - self.index_seconds), 1) if writes else 0.0

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        nodes, created, replaced, updated, deleted = (
            sum(getattr(shard, name) for shard in self.shards)
            for name in ("nodes", "created", "replaced", "updated", "deleted")
        )
        before = f"The graph of {self.rebuilt_from} was cleared away. " if self.rebuilt_from else ""
        strays = f" {self.strays:,} nodes made by somebody else were deleted." if self.strays else ""
        if not (created or replaced or updated or deleted or strays):
            return f"{before}{nodes:,} nodes are as the tables say: nothing was written to Neo4j."
        return (
            f"{before}{nodes:,} nodes: {created:,} created, {replaced:,} replaced, {updated:,} updated, "
            f"{deleted:,} deleted in {self.seconds:.1f} s, {self.index_seconds:.1f} of them for the index.{strays}"
        )


def sync_nodes(
    home: Home, database: Database, space: EmbeddingSpace, shards: Sequence[str] | None = None
) -> NodesReport:
    """Make the shards' nodes equal to their usable rows, in batches; writes only what differs.

    A transaction that replaces a node's vector also deletes its relationships, so that no score outlives
    its two vectors.

    Args:
        home: the home, whose tables are read.
        database: where the nodes are.
        space: the embedding space the graph is to hold; another one there is replaced as a whole.
        shards: keys of the shards; all where None.

    Raises:
        TableError, StaleTableError: a shard's tables are missing, don't belong together, or hold a wrong vector.
        ForeignDatabaseError: the database is another home's.
        LockTimeoutError: another run works on a shard or on the graph.
    """
    selected = list(home.shards if shards is None else shards)
    names = [*(locks.shard_lock(shard) for shard in selected), locks.GRAPH]
    with home.hold(names, "writing image nodes"):
        started = time.monotonic()
        rebuilt_from = _prepare(home, database, space)
        done = [_sync_shard(home, database, space, shard) for shard in selected]
        strays = _delete_strays(home, database) if set(selected) == set(home.shards) else 0
        written = time.monotonic()
        indexed = _ensure_vector_index(database, space)
        ended = time.monotonic()
        return NodesReport(done, rebuilt_from, strays, indexed, ended - started, ended - written)


def _prepare(home: Home, database: Database, space: EmbeddingSpace) -> str | None:
    """Claim the database for this home and space; the former space, if it had to be cleared away."""
    state = check_owner(database, home)
    wanted = {"root": str(home.images), "model": space.id, "dim": space.dim}
    if state is None:
        for statement in cypher.CREATE_SCHEMA:
            database.schema(statement)
        said = {"home": home.record.id, "properties": {**wanted, "threshold": home.threshold, "state": REFRESHING}}
        database.write((cypher.WRITE_STATE, said))
        return None
    former = state.model if state.model != space.id else None
    if former:
        said = {"home": home.record.id, "properties": {**wanted, "state": REBUILDING}}
        database.write((cypher.WRITE_STATE, said))
    elif state.root != wanted["root"]:
        database.write((cypher.WRITE_STATE, {"home": home.record.id, "properties": {**wanted, "state": REFRESHING}}))
    if former or state.state == REBUILDING:
        # Each step may find itself done already: a killed rebuild goes on here.
        if database.rows(cypher.COUNT_OTHER_MODEL, {"model": space.id})[0]["nodes"]:
            _drain(database, cypher.DELETE_ANY_RELATIONSHIPS, {}, "relationships_deleted")
            database.schema(cypher.DROP_VECTOR_INDEX)
            _drain(database, cypher.DELETE_OTHER_MODEL, {"model": space.id}, "nodes_deleted")
        _drop_index_of_other_dim(database, space)
    return former


def _drop_index_of_other_dim(database: Database, space: EmbeddingSpace) -> None:
    rows = database.rows(cypher.SHOW_VECTOR_INDEX)
    if rows and rows[0]["options"]["indexConfig"].get("vector.dimensions") != space.dim:
        database.schema(cypher.DROP_VECTOR_INDEX)


def _ensure_vector_index(database: Database, space: EmbeddingSpace) -> bool:
    """Make the vector index if it is missing; after the nodes, which is much faster than before them."""
    if space.dim > embedding_space.MAX_INDEXED_DIM:
        return False
    if not database.rows(cypher.SHOW_VECTOR_INDEX):
        options = {"indexConfig": {"vector.dimensions": space.dim, "vector.similarity_function": "cosine"}}
        database.schema(cypher.CREATE_VECTOR_INDEX, {"options": options})
    database.rows(cypher.AWAIT_INDEXES, {"timeout_s": INDEX_WAIT_S})
    return True


def _delete_strays(home: Home, database: Database) -> int:
    """Delete nodes that no shard accounts for: made by hand, or left of another number of shards."""
    if not database.rows(cypher.COUNT_STRAYS, {"shards": home.shards})[0]["strays"]:
        return 0
    _mark_refreshing(home, database)
    return _drain(database, cypher.DELETE_STRAYS, {"shards": home.shards}, "nodes_deleted")


def _sync_shard(home: Home, database: Database, space: EmbeddingSpace, shard: str) -> ShardNodes:
    table = usable_rows(home, space.id, shard)
    paths = table["path"].to_pylist()
    facts = [_facts(row, shard, space) for row in table.to_pylist()]
    there = stored_nodes(database, shard)
    new_vector = np.array(
        [path not in there or any(there[path][key] != fact[key] for key in ("sha256", "engine", "model"))
         for path, fact in zip(paths, facts, strict=True)],
        dtype=bool,
    )  # fmt: skip
    other_facts = [
        row
        for row, path in enumerate(paths)
        if not new_vector[row] and any(there[path][key] != facts[row][key] for key in there[path])
    ]
    gone = sorted(there.keys() - set(paths))
    result = ShardNodes(shard, nodes=len(paths), updated=len(other_facts), deleted=len(gone))
    result.created = sum(path not in there for path in paths)
    result.replaced = int(new_vector.sum()) - result.created
    if not result.writes:
        return result
    _mark_refreshing(home, database)
    for part in batches(gone, NODE_ROWS):
        database.write((cypher.DELETE_NODES, {"paths": part}))
    for part in batches(other_facts, NODE_ROWS):
        rows = [{"path": paths[row], "properties": facts[row]} for row in part]
        database.write((cypher.UPDATE_NODES, {"rows": rows}))
    if new_vector.any():
        vectors = _embedding_column(home, space.id, shard)
        for part in batches(np.flatnonzero(new_vector).tolist(), NODE_ROWS):
            named, its_facts = [paths[row] for row in part], [facts[row] for row in part]
            _write_vectors(database, space, named, its_facts, vectors.take(part))
    return result


def stored_nodes(database: Database, shard: str) -> dict[str, dict[str, Any]]:
    """The facts (`cypher.NODE_FACTS`) of every :Image node of a shard, by path."""
    return {
        values[0]: dict(zip(cypher.NODE_FACTS[1:], values[1:], strict=True))
        for row in database.stream(cypher.READ_NODES, {"shard": shard})
        for values in row["nodes"]
    }


def _write_vectors(
    database: Database,
    space: EmbeddingSpace,
    paths: Sequence[str],
    facts: Sequence[dict[str, Any]],
    column: pa.ChunkedArray,
) -> None:
    vectors = vectors_of(column)
    bad = unusable_vectors(vectors) if vectors.shape == (len(paths), space.dim) else np.ones(len(paths), dtype=bool)
    if bad.any():
        name = paths[int(np.argmax(bad))]
        raise TableError(
            f"The embedding of {name} is zero, not finite or not of {space.dim} numbers",
            remedy="remove the shard's embeddings file and run again",
        )
    packed = database.takes_packed_vectors
    if packed:
        from neo4j.vector import Vector

        values: list[Any] = [Vector(row.astype(">f4").tobytes(), "f32", byteorder="big") for row in vectors]
    else:
        values = vectors.astype(np.float64).tolist()
    rows = [
        {"path": path, "properties": fact, "embedding": value}
        for path, fact, value in zip(paths, facts, values, strict=True)
    ]
    database.write(
        (cypher.DELETE_RELATIONSHIPS_OF, {"paths": list(paths)}),
        (cypher.WRITE_NODES_PACKED if packed else cypher.WRITE_NODES, {"rows": rows}),
    )


def _embedding_column(home: Home, space: str, shard: str) -> pa.ChunkedArray:
    """The vectors of a shard's `usable_rows`."""
    rows = tables.read(tables.embeddings_path(home.warehouse, space, shard), ["status", "embedding"])
    return tables.where_equal(rows, "status", Status.OK)["embedding"]


def _facts(row: dict[str, Any], shard: str, space: EmbeddingSpace) -> dict[str, Any]:
    kept = {key: row[key] for key in ("sha256", "engine", "bytes", "width", "height", "format", "label")}
    return {**kept, "shard": shard, "model": space.id}
