"""Keeping the graph equal to the tables: nodes from usable pictures, relationships from pairs.

Belongs here: comparing table and database, validating what is to be written, the graph's state. Not here:
statements (`domain.cypher`), connections (`domain.database`), pairs themselves (`domain.pairs`).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain import cypher, locks, tables
from imgret_assets.domain.batches import batches
from imgret_assets.domain.database import Database
from imgret_assets.domain.decode import Status
from imgret_assets.domain.embed import vectors_of
from imgret_assets.domain.embedder import unusable_vectors
from imgret_assets.domain.home import Home
from imgret_assets.domain.models import EmbeddingSpace
from imgret_assets.domain.pairs import check_shard, coverage_of, vector_keys
from imgret_assets.errors import DatabaseError, ForeignDatabaseError, GraphRebuildingError, StaleTableError, TableError

NODE_ROWS = 500
# Each transaction looks its images up once, so that a few large ones are quicker than many small ones.
RELATIONSHIP_ROWS = 25_000
DELETED_ROWS = 10_000
SCORE_TOLERANCE = 1e-9
INDEX_WAIT_S = 1800

READY, REFRESHING, REBUILDING = "ready", "refreshing", "rebuilding"


@dataclass(frozen=True)
class GraphState:
    """Whose graph a database holds, and in which space."""

    home: str
    root: str | None
    model: str
    dim: int
    threshold: float | None
    state: str


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


@dataclass
class RelationshipsReport:
    """What a refresh of relationships did: `created` and `deleted` as the server counted them."""

    relationships: int
    nodes: int
    created: int
    deleted: int
    seconds: float

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        if not self.created and not self.deleted:
            return f"{self.relationships:,} relationships are as the pairs table says: nothing was written to Neo4j."
        return (
            f"{self.relationships:,} relationships over {self.nodes:,} nodes: {self.created:,} created, "
            f"{self.deleted:,} deleted in {self.seconds:.1f} s."
        )


def read_state(database: Database) -> GraphState | None:
    """The database's state; None where imgret has built nothing.

    Raises:
        ForeignDatabaseError: several homes have written there.
    """
    rows = database.rows(cypher.READ_STATE)
    if len(rows) > 1:
        raise ForeignDatabaseError(
            f"The database at {database.uri} carries the state of {len(rows)} homes",
            remedy="run `imgret db adopt --wipe`",
        )
    return GraphState(**rows[0]) if rows else None


def check_owner(database: Database, home: Home) -> GraphState | None:
    """The state, if the database is this home's or empty of images.

    Raises:
        ForeignDatabaseError: it holds another home's images, or images without a home.
    """
    state = read_state(database)
    if state is None:
        images = database.rows(cypher.COUNT_IMAGES)[0]["nodes"]
        if images:
            raise ForeignDatabaseError(
                f"The database at {database.uri} holds {images:,} :Image nodes that no imgret home put there",
                expected="an empty database, or this home's graph",
                remedy="use another database, or `imgret db adopt --wipe`, which deletes them",
            )
    elif state.home != home.record.id:
        raise ForeignDatabaseError(
            f"The database at {database.uri} holds the graph of another home (built from {state.root})",
            expected=f"the graph of {home.path}",
            remedy="use another database, or `imgret db adopt --wipe`, which deletes it",
        )
    return state


def adopt(database: Database) -> int:
    """Delete every :Image node and state, so that a home can build its graph here; returns the nodes deleted."""
    database.schema(cypher.DROP_VECTOR_INDEX)
    _drain(database, cypher.DELETE_ANY_RELATIONSHIPS, {}, "relationships_deleted")
    deleted = _drain(database, cypher.DELETE_OTHER_MODEL, {"model": ""}, "nodes_deleted")
    database.write(("MATCH (s:ImgretState) DELETE s", {}))
    return deleted


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
    with locks.held(home.locks, names, timeout_s=home.settings.lock_timeout_s, purpose="writing image nodes"):
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


def _drain(database: Database, statement: str, parameters: dict[str, Any], counter: str) -> int:
    total = 0
    while True:
        [(counters, _)] = database.write((statement, {**parameters, "batch_rows": DELETED_ROWS}))
        deleted = getattr(counters, counter)
        total += deleted
        if not deleted:
            return total


def _drop_index_of_other_dim(database: Database, space: EmbeddingSpace) -> None:
    rows = database.rows(cypher.SHOW_VECTOR_INDEX)
    if rows and rows[0]["options"]["indexConfig"].get("vector.dimensions") != space.dim:
        database.schema(cypher.DROP_VECTOR_INDEX)


def _ensure_vector_index(database: Database, space: EmbeddingSpace) -> bool:
    """Make the vector index if it is missing; after the nodes, which is much faster than before them."""
    if space.dim > cypher.MAX_INDEXED_DIM:
        return False
    if not database.rows(cypher.SHOW_VECTOR_INDEX):
        options = {"indexConfig": {"vector.dimensions": space.dim, "vector.similarity_function": "cosine"}}
        database.schema(cypher.CREATE_VECTOR_INDEX, {"options": options})
    database.rows(cypher.AWAIT_INDEXES, {"timeout_s": INDEX_WAIT_S})
    return True


def _mark_refreshing(home: Home, database: Database) -> None:
    said = {"home": home.record.id, "from_state": READY, "state": REFRESHING}
    database.write((cypher.MARK_STATE, said))


@contextmanager
def refreshing(home: Home, database: Database, state: GraphState) -> Iterator[None]:
    """Call the graph `refreshing` while the block writes to it, and `ready` afterwards where `state` says it was.

    A block that fails or is killed leaves it `refreshing`, until the next run's SIMILAR_TO are complete.
    """
    _mark_refreshing(home, database)
    yield
    if state.state == READY:
        database.write((cypher.MARK_STATE, {"home": home.record.id, "from_state": REFRESHING, "state": READY}))


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


def usable_rows(home: Home, space: str, shard: str) -> pa.Table:
    """One shard's usable rows without their vectors: manifest and engine side by side, sorted by path.

    Raises:
        TableError, StaleTableError: the shard's tables are missing or don't belong together.
    """
    embeddings = check_shard(home, space, shard, columns=["path", "sha256", "engine", "status"])
    manifest = tables.read(tables.manifest_path(home.warehouse, shard))
    both = tables.where_equal(manifest, "status", Status.OK).drop_columns(["status", "error"])
    for column in ("engine", "status"):
        both = both.append_column(column, embeddings[column])
    return tables.where_equal(both, "status", Status.OK).drop_columns(["status"])


def _embedding_column(home: Home, space: str, shard: str) -> pa.ChunkedArray:
    """The vectors of a shard's `usable_rows`."""
    rows = tables.read(tables.embeddings_path(home.warehouse, space, shard), ["status", "embedding"])
    return tables.where_equal(rows, "status", Status.OK)["embedding"]


def _facts(row: dict[str, Any], shard: str, space: EmbeddingSpace) -> dict[str, Any]:
    kept = {key: row[key] for key in ("sha256", "engine", "bytes", "width", "height", "format", "label")}
    return {**kept, "shard": shard, "model": space.id}


def sync_relationships(home: Home, database: Database, space: EmbeddingSpace) -> RelationshipsReport:
    """Make the SIMILAR_TO relationships equal to the pairs table, by difference; then call the graph ready.

    What somebody created, doubled or removed by hand is repaired.

    Raises:
        TableError: the pairs are missing or hold what must not reach the graph.
        StaleTableError: pairs or nodes are older than the embeddings.
        ForeignDatabaseError: the database is another home's.
        LockTimeoutError: another run writes the graph.
    """
    with locks.held(
        home.locks, [locks.GRAPH], timeout_s=home.settings.lock_timeout_s, purpose="writing SIMILAR_TO relationships"
    ):
        started = time.monotonic()
        contents = _contents(home, space.id)
        lacking, threshold = _checked_pairs(home, space.id, contents)
        expected = len(lacking)
        _check_nodes(database, check_owner(database, home), space, len(contents))
        wrong = _take_out_what_is_there(home, database, space, lacking)
        if wrong or lacking:
            _mark_refreshing(home, database)
        deleted = sum(
            database.write((cypher.DELETE_RELATIONSHIPS, {"ids": part}))[0][0].relationships_deleted
            for part in batches(wrong, DELETED_ROWS)
        )
        created = sum(
            _write_pairs(database, space, part, contents) for part in batches(list(lacking.items()), RELATIONSHIP_ROWS)
        )
        total = database.rows(cypher.COUNT_RELATIONSHIPS)[0]["relationships"]
        if total != expected:
            raise DatabaseError(
                f"The database holds {total:,} SIMILAR_TO relationships after writing",
                expected=f"{expected:,}, the rows of the pairs table",
                remedy="something else writes there; stop it and run again",
            )
        said = {"root": str(home.images), "threshold": threshold, "state": READY}
        # Read again: writing has marked it as refreshing.
        state = read_state(database)
        if state is None or any(asdict(state)[key] != value for key, value in said.items()):
            database.write((cypher.WRITE_STATE, {"home": home.record.id, "properties": said}))
        return RelationshipsReport(total, len(contents), created, deleted, time.monotonic() - started)


def _contents(home: Home, space: str) -> dict[str, str]:
    """Which vector every usable picture has, by path (`pairs.vector_keys`)."""
    found: dict[str, str] = {}
    for shard in home.shards:
        path = tables.require(
            tables.embeddings_path(home.warehouse, space, shard), f"The embeddings of shard {shard}", "embeddings"
        )
        rows = tables.read(path, ["path", "sha256", "engine", "status"])
        rows = tables.where_equal(rows, "status", Status.OK)
        found.update(zip(rows["path"].to_pylist(), vector_keys(rows), strict=True))
    return found


def _checked_pairs(home: Home, space: str, contents: dict[str, str]) -> tuple[dict[tuple[str, str], float], float]:
    """Scores by pair, after checking that they may reach the graph; and their threshold."""
    path = tables.require(tables.pairs_path(home.warehouse, space), "The pairs table", "similarity_pairs")
    threshold = validate_pairs(path, space, contents)
    columns = tables.read(path).to_pydict()
    return dict(zip(zip(columns["path_a"], columns["path_b"], strict=True), columns["score"], strict=True)), threshold


def validate_pairs(path: Path, space: str, contents: dict[str, str]) -> float:
    """Check that a pairs table may reach the graph; its threshold.

    Raises:
        TableError: it is of another space, or has a self pair, a doubled or reversed one, or a wrong score.
        StaleTableError: it was made from other embeddings.
    """
    metadata = tables.read_metadata(path)
    if metadata.get("space") != space:
        raise TableError(
            f"{path} is of space {metadata.get('space')}", expected=space, remedy="materialise `similarity_pairs`"
        )
    if metadata.get("coverage") != coverage_of(list(contents), list(contents.values())):
        raise StaleTableError(
            "The pairs are older than the embeddings", remedy="materialise `similarity_pairs`, or run `imgret run`"
        )
    threshold = float(metadata["threshold"])
    table = tables.read(path)
    scores = table["score"].to_numpy()
    if not (np.isfinite(scores) & (scores > threshold) & (scores <= 1.0)).all():
        raise TableError(f"{path} has scores outside ({threshold}, 1]", remedy="remove it and run again")
    keys = list(zip(table["path_a"].to_pylist(), table["path_b"].to_pylist(), strict=True))
    if any(a >= b for a, b in keys) or len(set(keys)) != len(keys):
        raise TableError(f"{path} has a self, doubled or reversed pair", remedy="remove it and run again")
    if any(a not in contents or b not in contents for a, b in keys):
        raise TableError(f"{path} names images that have no embedding", remedy="remove it and run again")
    return threshold


def check_space(state: GraphState | None, space: EmbeddingSpace) -> GraphState:
    """The state, if the graph holds this space.

    Raises:
        StaleTableError: it holds another, or nothing.
    """
    if state is None or state.model != space.id:
        raise StaleTableError(
            f"The graph holds {state.model if state else 'nothing'}",
            expected=space.id,
            remedy="materialise `image_nodes` for all shards",
        )
    return state


def _check_nodes(database: Database, state: GraphState | None, space: EmbeddingSpace, usable: int) -> None:
    check_space(state, space)
    nodes = database.rows(cypher.COUNT_IMAGES)[0]["nodes"]
    if nodes != usable:
        raise StaleTableError(
            f"The graph has {nodes:,} :Image nodes, the tables {usable:,} usable images",
            remedy="materialise `image_nodes` for all shards, or run `imgret run`",
        )


@dataclass(frozen=True)
class StoredRelationship:
    """One SIMILAR_TO relationship as the database holds it, whoever made it: any value may be missing or odd.

    Attributes:
        pair: paths of the images it leaves and reaches.
        score: its score.
        own: True where it says that it is of the model asked for.
        id: the server's, for this moment.
    """

    pair: tuple[str, str]
    score: Any
    own: bool | None
    id: str


def stored_relationships(home: Home, database: Database, space: str) -> Iterator[StoredRelationship]:
    """Every SIMILAR_TO relationship that leaves a node of the home's shards."""
    for shard in home.shards:
        for row in database.stream(cypher.READ_RELATIONSHIPS, {"shard": shard, "model": space}):
            for path, links in row["images"]:
                for other, score, own, link in links:
                    yield StoredRelationship((path, other), score, own, link)


def _take_out_what_is_there(
    home: Home, database: Database, space: EmbeddingSpace, wanted: dict[tuple[str, str], float]
) -> list[str]:
    """Remove from `wanted` every pair whose relationship is there; the ids of relationships that should not be."""
    wrong: list[str] = []
    for found in stored_relationships(home, database, space.id):
        # A pair that is met again has left `wanted`, so that the second relationship is wrong.
        score = wanted.get(found.pair)
        if score is not None and found.own and _same_score(found.score, score):
            del wanted[found.pair]
        else:
            wrong.append(found.id)
    return wrong


def _write_pairs(
    database: Database,
    space: EmbeddingSpace,
    pairs: Sequence[tuple[tuple[str, str], float]],
    contents: dict[str, str],
) -> int:
    """Create the relationships of pairs that have none, in one transaction; how many.

    Raises:
        StaleTableError: a node is missing or has another vector than the one scored; nothing was written.
    """
    paths = sorted({path for pair, _ in pairs for path in pair})
    place = {path: number for number, path in enumerate(paths)}
    parameters = {
        "model": space.id,
        "nodes": [[path, contents[path], number] for path, number in place.items()],
        "pairs": [[place[a], place[b], score] for (a, b), score in pairs],
    }
    # CREATE needn't look for what the comparison, under the same lock, has not found; it takes half of MERGE's time.
    # Where the answer is lost the transaction may have been done: what is sent again merges with it, after waiting
    # for its locks if it is still being done. So no pair is doubled in either case.
    [(counters, [answer])] = database.write(
        (cypher.CREATE_RELATIONSHIPS, parameters), again=[(cypher.MERGE_RELATIONSHIPS, parameters)]
    )
    if answer["written"] != len(pairs):
        raise StaleTableError(
            f"Of {len(pairs):,} pairs some belong to images whose nodes have another vector or are missing",
            remedy="materialise `image_nodes` for all shards, or run `imgret run`",
        )
    return counters.relationships_created


def _same_score(found: Any, wanted: float) -> bool:
    return isinstance(found, float) and abs(found - wanted) <= SCORE_TOLERANCE


def require_ready(state: GraphState | None, uri: str) -> GraphState:
    """The state, if there is something to ask.

    Raises:
        DatabaseError: nothing was built yet.
        GraphRebuildingError: it is being rebuilt for another space.
    """
    if state is None:
        raise DatabaseError(f"The database at {uri} holds no graph yet", remedy="run `imgret run` first")
    if state.state == REBUILDING:
        raise GraphRebuildingError(
            f"The graph is being rebuilt for {state.model}",
            remedy="wait for that run, or start it again if it was stopped",
        )
    return state
