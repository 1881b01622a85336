"""SIMILAR_TO relationships kept equal to the pairs table.

Belongs here: comparing and writing them. Not here: finding pairs (`domain.similarity`).
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from imgret_assets.domain.embeddings.table_reader import vector_keys
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_state import (
    DELETED_ROWS,
    READY,
    GraphState,
    _mark_refreshing,
    check_owner,
    check_space,
    read_state,
)
from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.similarity.pairs_table import validate_pairs
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, StaleTableError

# Each transaction looks its images up once, so that a few large ones are quicker than many small ones.
RELATIONSHIP_ROWS = 25_000
SCORE_TOLERANCE = 1e-9


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


def sync_relationships(home: Home, database: Database, space: EmbeddingSpace) -> RelationshipsReport:
    """Make the SIMILAR_TO relationships equal to the pairs table, by difference; then call the graph ready.

    What somebody created, doubled or removed by hand is repaired.

    Raises:
        TableError: the pairs are missing or hold what must not reach the graph.
        StaleTableError: pairs or nodes are older than the embeddings.
        ForeignDatabaseError: the database is another home's.
        LockTimeoutError: another run writes the graph.
    """
    with home.hold([locks.GRAPH], "writing SIMILAR_TO relationships"):
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
    threshold = validate_pairs(home, space, contents)
    columns = tables.read(tables.pairs_path(home.warehouse, space)).to_pydict()
    return dict(zip(zip(columns["path_a"], columns["path_b"], strict=True), columns["score"], strict=True)), threshold


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
