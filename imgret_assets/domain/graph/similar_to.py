"""The table module of SIMILAR_TO: relationships from the pairs table.

Belongs here: comparing table and database, writing what differs, the rows of an export. Not here: finding pairs
(`domain.similarity`), the other kinds (`domain.graph.relationship_sync`).

There may be millions of these relationships, so they are read and written in compact lists of positions and scores
instead of a map of properties each.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.embeddings.table_reader import Listing, list_embeddings, stored_vector_keys
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_record import recorded
from imgret_assets.domain.graph.graph_state import (
    READY,
    GraphState,
    check_owner,
    check_space,
    mark_refreshing,
    read_state,
)
from imgret_assets.domain.graph.relationship_kinds import SIMILAR_TO
from imgret_assets.domain.graph.relationship_sync import (
    EXPORT_ROWS,
    PathPair,
    RelationshipsReport,
    delete_relationships,
    require_count,
)
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.similarity.pairs_table import validate_pairs
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import PAIRS
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import StaleTableError, TableError

# Each transaction looks up its images once, so a few large transactions are faster than many small ones.
RELATIONSHIP_ROWS = 25_000
SCORE_TOLERANCE = 1e-9


def sync_relationships(home: Home, database: Database, space: EmbeddingSpace) -> RelationshipsReport:
    """Make the SIMILAR_TO relationships equal to the pairs table, by difference; then mark the graph as ready.

    Relationships that were created, duplicated, changed or deleted by hand are repaired. The report counts the nodes.

    Raises:
        TableError: the pairs are missing or hold what must not reach the graph.
        StaleTableError: pairs or nodes are older than the embeddings.
        DatabaseError: afterwards the number of relationships is not the expected one.
        ForeignDatabaseError: the database belongs to another home.
        LockTimeoutError: another run writes the graph.
    """
    with (
        home.hold([locks.GRAPH], "writing SIMILAR_TO relationships"),
        recorded(home, space.id, [SIMILAR_TO.asset]),
    ):
        started = time.monotonic()
        keys = stored_vector_keys(home, space.id)
        unwritten, threshold = _validated_scores(home, space.id, keys)
        expected = len(unwritten)
        _check_nodes(database, check_owner(database, home), space, len(keys))
        extra_ids = _remove_present_pairs(unwritten, stored_relationships(home, database, space.id))
        if extra_ids or unwritten:
            mark_refreshing(home, database)
        deleted = delete_relationships(database, SIMILAR_TO, extra_ids)
        created = sum(
            _write_pairs(database, space, part, keys) for part in batches(list(unwritten.items()), RELATIONSHIP_ROWS)
        )
        require_count(database, SIMILAR_TO, cypher.COUNT_SIMILAR_TO, expected)
        _mark_ready(home, database, threshold)
        seconds = time.monotonic() - started
        return RelationshipsReport(SIMILAR_TO.name, expected, created, deleted, seconds, {"nodes": len(keys)})


def _mark_ready(home: Home, database: Database, threshold: float) -> None:
    properties = {"root": str(home.images), "threshold": threshold, "state": READY}
    # Read again: writing has marked the graph as refreshing.
    state = read_state(database)
    if state is None or any(asdict(state)[key] != value for key, value in properties.items()):
        database.write((cypher.WRITE_STATE, {"home": home.record.id, "properties": properties}))


def check_relationships(home: Home, database: Database, space: str) -> Finding:
    """Compare the SIMILAR_TO relationships with the pairs table, scores within 1e-9; a table in disorder fails."""
    path = PAIRS.require(home.warehouse, space)
    listing = list_embeddings(home, space)
    try:
        validate_pairs(home, space, listing.key_of)
    except TableError as error:
        return Finding(False, str(error), {})
    expected = _scores_by_pair(path)
    stored: Counter[PathPair] = Counter()
    wrong_scores = 0
    for relationship in stored_relationships(home, database, space):
        stored[relationship.pair] += 1
        score = expected.get(relationship.pair)
        if score is not None and not abs((relationship.score or 0.0) - score) <= SCORE_TOLERANCE:
            wrong_scores += 1
    missing = len(expected.keys() - stored.keys())
    extra = sum(count - (pair in expected) for pair, count in stored.items())
    passed = not (missing or extra or wrong_scores)
    result = "all in the graph" if passed else f"{missing:,} missing, {extra:,} extra, {wrong_scores:,} wrong scores"
    return Finding(
        passed,
        f"{len(expected):,} SIMILAR_TO relationships expected, {result}",
        {"pairs": len(expected), "missing": missing, "extra": extra, "wrong_scores": wrong_scores},
    )


def exported_rows(home: Home, space: str, listing: Listing) -> Iterator[Mapping[str, pa.Array]]:
    """Return the rows of the pairs table in parts.

    Raises:
        TableError: the table is missing.
        StaleTableError: it was made from other embeddings.
    """
    PAIRS.require_current(home.warehouse, space, listing.coverage)
    return _table_rows(tables.pairs_path(home.warehouse, space))


def _table_rows(path: Path) -> Iterator[Mapping[str, pa.Array]]:
    with tables.open_parquet(path) as file:
        for batch in file.iter_batches(EXPORT_ROWS):
            yield {"source": batch["path_a"], "target": batch["path_b"], "score": batch["score"]}


def _validated_scores(home: Home, space: str, keys: dict[str, str]) -> tuple[dict[PathPair, float], float]:
    """Return the scores of the pairs table by pair, and its threshold, after checking that they may be written."""
    threshold = validate_pairs(home, space, keys)
    return _scores_by_pair(tables.pairs_path(home.warehouse, space)), threshold


def _scores_by_pair(path: Path) -> dict[PathPair, float]:
    columns = tables.read(path).to_pydict()
    return dict(zip(zip(columns["path_a"], columns["path_b"], strict=True), columns["score"], strict=True))


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
    """A SIMILAR_TO relationship as the database holds it, written by any program: any value may be missing or wrong.

    Attributes:
        pair: paths of its start and end node.
        score: its score.
        is_of_model: True if its property `model` is the embedding space asked for.
        id: the server's id, valid until the relationship is deleted.
    """

    pair: PathPair
    score: Any
    is_of_model: bool | None
    id: str


def stored_relationships(home: Home, database: Database, space: str) -> Iterator[StoredRelationship]:
    """Read every SIMILAR_TO relationship that starts at a node of the home's shards."""
    for shard in home.shards:
        for row in database.stream(cypher.READ_SIMILAR_TO, {"shard": shard, "model": space}):
            for path, relationships in row["images"]:
                for end_path, score, is_of_model, id_ in relationships:
                    yield StoredRelationship((path, end_path), score, is_of_model, id_)


def _remove_present_pairs(expected: dict[PathPair, float], relationships: Iterator[StoredRelationship]) -> list[str]:
    """Remove every pair that has its relationship from `expected`; return the ids of all other relationships."""
    extra_ids: list[str] = []
    for relationship in relationships:
        # The pair of a second relationship is no longer in `expected`, so that the second one is extra.
        score = expected.get(relationship.pair)
        if score is not None and relationship.is_of_model and _equal_scores(relationship.score, score):
            del expected[relationship.pair]
        else:
            extra_ids.append(relationship.id)
    return extra_ids


def _write_pairs(
    database: Database, space: EmbeddingSpace, pairs: Sequence[tuple[PathPair, float]], keys: Mapping[str, str]
) -> int:
    """Create the relationships of pairs that have none, in one transaction; return how many were created.

    Args:
        database: the graph.
        space: the embedding space of the scores.
        pairs: pairs of paths and their scores.
        keys: the vector key of each path.

    Raises:
        StaleTableError: a node is missing or has another vector than the scored one; nothing was written.
    """
    paths = sorted({path for pair, _ in pairs for path in pair})
    position = {path: number for number, path in enumerate(paths)}
    parameters = {
        "model": space.id,
        "nodes": [[path, keys[path], number] for path, number in position.items()],
        "pairs": [[position[a], position[b], score] for (a, b), score in pairs],
    }
    # CREATE need not look for a relationship that the comparison, under the same lock, has not found; it takes half of
    # the time of MERGE. If its answer is lost, the transaction may have been done. The one that is sent again merges
    # with it, after waiting for its locks if it is still being done. So no pair is written twice in either case.
    [(counters, [answer])] = database.write(
        (cypher.CREATE_SIMILAR_TO, parameters), again=[(cypher.MERGE_SIMILAR_TO, parameters)]
    )
    if answer["written"] != len(pairs):
        raise StaleTableError(
            f"Of {len(pairs):,} pairs some belong to images whose nodes have another vector or are missing",
            remedy="materialise `image_nodes` for all shards, or run `imgret run`",
        )
    return counters.relationships_created


def _equal_scores(stored: Any, expected: float) -> bool:
    return isinstance(stored, float) and abs(stored - expected) <= SCORE_TOLERANCE
