"""The :Image nodes, kept equal to the usable rows of the tables by difference.

With IMGRET_GRAPH_VECTORS=no they have no vectors. A change of the setting adds the vectors to all nodes, or removes
them, at the next run; contents and relationships stay.

Belongs here: comparing tables and nodes, validating and writing what differs. Not here: statements
(`domain.graph.cypher`), connections (`domain.graph.connection`), the vector index (`domain.graph.vector_index`),
relationships (`domain.graph.similar_to`, `domain.graph.relationship_sync`), the property `group`
(`domain.graph.node_groups`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.embeddings.table_reader import usable_rows, usable_vectors
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_record import node_entry, recorded
from imgret_assets.domain.graph.graph_state import (
    IMPORTED,
    REBUILDING,
    REFRESHING,
    GraphState,
    check_owner,
    delete_in_batches,
    mark_refreshing,
)
from imgret_assets.domain.graph.limits import check_nodes
from imgret_assets.domain.graph.vector_index import (
    await_indexes,
    drop_index,
    drop_index_of_other_dim,
    ensure_index,
    has_index,
)
from imgret_assets.domain.models import embedding_space
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.storage import locks
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError
from imgret_assets.wording import counted

NODE_ROWS = 500
# Nodes without vectors are small.
SMALL_NODE_ROWS = 5_000
# Shards are read together up to this number of images: a statement for each shard costs a round trip each.
READ_ROWS = 20_000


@dataclass
class ShardNodes:
    """Changes of one shard's nodes: `created`, `replaced` (another content), `updated` (other facts), `deleted`.

    `vectors_changed` of the updated ones got their vector or lost it, because IMGRET_GRAPH_VECTORS has changed.
    """

    shard: str
    nodes: int = 0
    created: int = 0
    replaced: int = 0
    updated: int = 0
    deleted: int = 0
    vectors_changed: int = 0

    @property
    def writes(self) -> int:
        """Number of changed nodes."""
        return self.created + self.replaced + self.updated + self.deleted


@dataclass
class StoredNodes:
    """The nodes of one shard in the database.

    Attributes:
        facts: the facts (`cypher.NODE_FACTS`) of each node by its path.
        other_vectors: paths of nodes that have a vector and should not, or the other way round.
    """

    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    other_vectors: set[str] = field(default_factory=set)


@dataclass
class NodesReport:
    """What a refresh of nodes did.

    Attributes:
        shards: the changes of each shard.
        rebuilt_from: the embedding space whose graph was deleted first; None if there was none.
        orphan_nodes: how many nodes that no shard accounts for were deleted.
        indexed: True if the nodes are under the vector index.
        seconds: the whole refresh.
        index_seconds: of these, the time for the vector index after the nodes: creating it if it was missing, and
            waiting until it was up to date.
    """

    shards: list[ShardNodes]
    rebuilt_from: str | None
    orphan_nodes: int
    indexed: bool
    seconds: float
    index_seconds: float = 0.0

    @property
    def nodes_per_second(self) -> float:
        """Nodes written per second, without the time for the index; 0 if none was written."""
        writes = sum(shard.writes for shard in self.shards)
        return round(writes / (self.seconds - self.index_seconds), 1) if writes else 0.0

    @property
    def summary(self) -> str:
        """The result in one line."""
        nodes, created, replaced, updated, deleted = (
            sum(getattr(shard, name) for shard in self.shards)
            for name in ("nodes", "created", "replaced", "updated", "deleted")
        )
        rebuilt = f"The graph of {self.rebuilt_from} was deleted. " if self.rebuilt_from else ""
        orphans = f" Orphan nodes deleted: {self.orphan_nodes:,}." if self.orphan_nodes else ""
        if not (created or replaced or updated or deleted or orphans):
            return f"{rebuilt}{counted(nodes, 'node')} up to date: nothing was written to Neo4j."
        return (
            f"{rebuilt}{counted(nodes, 'node')}: {created:,} created, {replaced:,} replaced, {updated:,} updated, "
            f"{deleted:,} deleted in {self.seconds:.1f} s, {self.index_seconds:.1f} s of them for the index.{orphans}"
        )


def sync_nodes(
    home: Home, database: Database, space: EmbeddingSpace, shards: Sequence[str] | None = None
) -> NodesReport:
    """Make the shards' nodes equal to their usable rows, in batches; write only what differs.

    A transaction that replaces a node's vector also deletes the node's relationships, so that no score outlives the two
    vectors it was computed from.

    Args:
        home: the home, whose tables are read.
        database: where the nodes are.
        space: the embedding space that the graph is to hold; a graph of another space is replaced as a whole.
        shards: keys of the shards; all if None.

    Raises:
        TableError, StaleTableError: a shard's tables are missing, don't belong together, or hold a wrong vector.
        ForeignDatabaseError: the database belongs to another home.
        DatabaseError: the nodes are more than the database may hold.
        LockTimeoutError: another run works on a shard or on the graph.
    """
    selected = list(home.shards if shards is None else shards)
    names = [*(locks.shard_lock(shard) for shard in selected), locks.GRAPH]
    entries = [node_entry(shard) for shard in selected]
    with home.hold(names, "writing image nodes"), recorded(home, space.id, entries):
        started = time.monotonic()
        state = check_owner(database, home)
        rebuilt_from = _prepare(home, database, space, state)
        check_nodes(home, database, space.id, selected)
        begin_writing = cache(lambda: mark_refreshing(home, database))
        changes = [
            _sync_shard(home, database, space, shard, table, stored, begin_writing)
            for shard, table, stored in rows_and_nodes(home, database, space.id, selected)
        ]
        orphan_nodes = _delete_orphan_nodes(home, database) if set(selected) == set(home.shards) else 0
        written = time.monotonic()
        lacked_vectors = state is not None and not state.vectors and rebuilt_from is None
        indexed = home.settings.neo4j.vectors and _index_vectors(home, database, space, lacked_vectors=lacked_vectors)
        ended = time.monotonic()
        return NodesReport(changes, rebuilt_from, orphan_nodes, indexed, ended - started, ended - written)


def _prepare(home: Home, database: Database, space: EmbeddingSpace, state: GraphState | None) -> str | None:
    """Claim the database for this home and space; return the former space if its graph had to be deleted."""
    properties = {"root": str(home.images), "model": space.id, "dim": space.dim}
    vectors = {"vectors": None if home.settings.neo4j.vectors else False}
    if state is None:
        _create_schema(database)
        _write_state(home, database, {**properties, **vectors, "threshold": home.threshold, "state": REFRESHING})
        return None
    if state.state == IMPORTED:
        _create_schema(database)
        # Otherwise the comparison would read all nodes once for each shard.
        await_indexes(database)
        _write_state(home, database, {"state": REFRESHING})
    former_space = state.model if state.model != space.id else None
    if former_space:
        _write_state(home, database, {**properties, **vectors, "state": REBUILDING})
    elif state.vectors and not home.settings.neo4j.vectors:
        # From now on queries read the tables: they never find half of the vectors.
        kept = REBUILDING if state.state == REBUILDING else REFRESHING
        _write_state(home, database, {**properties, **vectors, "state": kept})
    elif state.root != properties["root"]:
        _write_state(home, database, {**properties, "state": REFRESHING})
    if former_space or state.state == REBUILDING:
        # Each step may find itself done already: a killed rebuild goes on here.
        if database.rows(cypher.COUNT_OTHER_MODEL, {"model": space.id})[0]["nodes"]:
            delete_in_batches(database, cypher.DELETE_ANY_RELATIONSHIPS, {}, "relationships_deleted")
            drop_index(database)
            delete_in_batches(database, cypher.DELETE_OTHER_MODEL, {"model": space.id}, "nodes_deleted")
        drop_index_of_other_dim(database, space.dim)
    if not home.settings.neo4j.vectors and has_index(database):
        drop_index(database)
    return former_space


def _create_schema(database: Database) -> None:
    for statement in cypher.CREATE_SCHEMA:
        database.schema(statement)


def _index_vectors(home: Home, database: Database, space: EmbeddingSpace, *, lacked_vectors: bool) -> bool:
    """Make the vector index if the space can have one; return whether the nodes are indexed.

    A graph that lacked vectors is searched by them from now on, unless the nodes of other shards still have none.
    """
    if lacked_vectors and database.rows(cypher.COUNT_WITHOUT_VECTOR)[0]["nodes"]:
        return False
    indexed = space.dim <= embedding_space.MAX_INDEXED_DIM
    if indexed:
        # After the nodes, which is much faster than before them.
        ensure_index(database, space.dim)
    if lacked_vectors:
        _write_state(home, database, {"vectors": None})
    return indexed


def _write_state(home: Home, database: Database, properties: dict[str, Any]) -> None:
    database.write((cypher.WRITE_STATE, {"home": home.record.id, "properties": properties}))


def _delete_orphan_nodes(home: Home, database: Database) -> int:
    """Delete nodes that no shard accounts for: created by hand, or left from another number of shards."""
    if not database.rows(cypher.COUNT_ORPHAN_NODES, {"shards": home.shards})[0]["nodes"]:
        return 0
    mark_refreshing(home, database)
    return delete_in_batches(database, cypher.DELETE_ORPHAN_NODES, {"shards": home.shards}, "nodes_deleted")


def _sync_shard(
    home: Home,
    database: Database,
    space: EmbeddingSpace,
    shard: str,
    table: pa.Table,
    stored: StoredNodes,
    begin_writing: Callable[[], None],
) -> ShardNodes:
    paths = table["path"].to_pylist()
    facts = [_facts(row, shard, space) for row in table.to_pylist()]
    nodes = stored.facts
    new_vector = np.array(
        [path not in nodes or any(nodes[path][key] != fact[key] for key in ("sha256", "engine", "model"))
         for path, fact in zip(paths, facts, strict=True)],
        dtype=bool,
    )  # fmt: skip
    other_facts = [
        row
        for row, path in enumerate(paths)
        if not new_vector[row] and any(nodes[path][key] != facts[row][key] for key in nodes[path])
    ]
    other_vectors = [row for row, path in enumerate(paths) if not new_vector[row] and path in stored.other_vectors]
    removed_paths = sorted(nodes.keys() - set(paths))
    result = ShardNodes(shard, nodes=len(paths), deleted=len(removed_paths), vectors_changed=len(other_vectors))
    result.updated = len({*other_facts, *other_vectors})
    result.created = sum(path not in nodes for path in paths)
    result.replaced = int(new_vector.sum()) - result.created
    if not result.writes:
        return result
    begin_writing()
    result.deleted = sum(
        database.write((cypher.DELETE_NODES, {"paths": part, "shard": shard}))[0][0].nodes_deleted
        for part in batches(removed_paths, NODE_ROWS)
    )
    for part in batches(other_facts, NODE_ROWS):
        rows = [{"path": paths[row], "properties": facts[row]} for row in part]
        database.write((cypher.UPDATE_NODES, {"rows": rows}))
    new_rows = np.flatnonzero(new_vector).tolist()
    if not home.settings.neo4j.vectors:
        _write_without_vectors(database, paths, facts, new_rows, other_vectors)
    elif new_rows or other_vectors:
        _, vectors = usable_vectors(home, space.id, shard)
        for part in batches(new_rows, NODE_ROWS):
            part_paths, part_facts = [paths[row] for row in part], [facts[row] for row in part]
            _write_vectors(database, space, part_paths, part_facts, vectors[part])
        for part in batches(other_vectors, NODE_ROWS):
            _write_vectors(database, space, [paths[row] for row in part], None, vectors[part])
    return result


def _write_without_vectors(
    database: Database,
    paths: Sequence[str],
    facts: Sequence[dict[str, Any]],
    new_rows: Sequence[int],
    other_vectors: Sequence[int],
) -> None:
    """Write the new rows as nodes without vectors, and remove the vectors of others."""
    for part in batches(new_rows, SMALL_NODE_ROWS):
        rows = [{"path": paths[row], "properties": facts[row]} for row in part]
        database.write((cypher.WRITE_NODES_WITHOUT_VECTORS, {"rows": rows}))
    for part in batches(other_vectors, SMALL_NODE_ROWS):
        database.write((cypher.REMOVE_VECTORS, {"paths": [paths[row] for row in part]}))


def rows_and_nodes(
    home: Home, database: Database, space: str, shards: Sequence[str]
) -> Iterator[tuple[str, pa.Table, StoredNodes]]:
    """Yield each shard's usable rows and its :Image nodes.

    Raises:
        TableError, StaleTableError: a shard's tables are missing or don't belong together.
    """
    rows: dict[str, pa.Table] = {}
    for shard in shards:
        rows[shard] = usable_rows(home, space, shard)
        if shard != shards[-1] and sum(table.num_rows for table in rows.values()) < READ_ROWS:
            continue
        nodes = _stored_nodes(database, list(rows), vectors=home.settings.neo4j.vectors)
        for read in list(rows):
            yield read, rows.pop(read), nodes.pop(read)


def _stored_nodes(database: Database, shards: Sequence[str], *, vectors: bool) -> dict[str, StoredNodes]:
    nodes = {shard: StoredNodes() for shard in shards}
    for row in database.stream(cypher.READ_NODES, {"shards": list(shards), "vectors": vectors}):
        stored = nodes[row["shard"]]
        stored.facts.update(
            (values[0], dict(zip(cypher.NODE_FACTS[1:], values[1:], strict=True))) for values in row["nodes"]
        )
        stored.other_vectors.update(row["others"])
    return nodes


def _write_vectors(
    database: Database,
    space: EmbeddingSpace,
    paths: Sequence[str],
    facts: Sequence[dict[str, Any]] | None,
    vectors: np.ndarray,
) -> None:
    """Write nodes with their vectors, float32 (n, dim), and delete their relationships, in one statement.

    Without `facts` the nodes are there with their content, lack the vector alone, and keep their relationships.

    Raises:
        TableError: a vector is zero, not finite, or of another length.
    """
    bad = unusable_vectors(vectors) if vectors.shape == (len(paths), space.dim) else np.ones(len(paths), dtype=bool)
    if bad.any():
        raise TableError(
            f"The embedding of {paths[int(np.argmax(bad))]} is zero, not finite or not of {space.dim} numbers",
            remedy="remove the shard's embeddings file and run again",
        )
    packed = database.takes_packed_vectors
    if packed:
        from neo4j.vector import Vector

        values: list[Any] = [Vector(row.astype(">f4").tobytes(), "f32", byteorder="big") for row in vectors]
    else:
        values = vectors.astype(np.float64).tolist()
    rows = [{"path": path, "embedding": value} for path, value in zip(paths, values, strict=True)]
    if facts is None:
        database.write((cypher.ADD_VECTORS_PACKED if packed else cypher.ADD_VECTORS, {"rows": rows}))
        return
    rows = [{**row, "properties": properties} for row, properties in zip(rows, facts, strict=True)]
    database.write((cypher.WRITE_NODES_PACKED if packed else cypher.WRITE_NODES, {"rows": rows}))


def _facts(row: dict[str, Any], shard: str, space: EmbeddingSpace) -> dict[str, Any]:
    facts = {key: row[key] for key in ("sha256", "engine", "bytes", "width", "height", "format", "label")}
    # A manifest of an earlier version has no columns of date and camera.
    taken, camera = row.get("taken"), row.get("camera")
    date = None if taken is None else taken.isoformat()
    return {**facts, "taken": date, "camera": camera, "shard": shard, "model": space.id}
