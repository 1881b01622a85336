"""The table module of SIMILAR_TO: relationships from the pairs table.

Belongs here: comparing table and database, writing what differs, the rows of an export. Not here: finding pairs
(`domain.similarity`), the other kinds (`domain.graph.relationship_sync`).

There may be millions of these relationships, so they are read and written in compact lists of positions and scores
instead of a map of properties each, and compared in arrays of 16 bytes a pair.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.embeddings.table_reader import Listing, list_embeddings, stored_vector_keys
from imgret_assets.domain.graph import cypher, limits
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
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs
from imgret_assets.domain.similarity.pairs_table import load_valid_pairs
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import PAIRS
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import StaleTableError, TableError

# Each transaction looks up its images once, so a few large transactions are faster than many small ones.
RELATIONSHIP_ROWS = 25_000
# Shards are read together up to about this number of relationships: a statement for each costs a round trip each, and
# the server holds those of one statement in memory.
READ_RELATIONSHIPS = 100_000
# Stored relationships that are looked up together.
_COMPARED_ROWS = 10_000
SCORE_TOLERANCE = 1e-9


def sync_relationships(home: Home, database: Database, space: EmbeddingSpace) -> RelationshipsReport:
    """Make the SIMILAR_TO relationships equal to the pairs table, by difference; then mark the graph as ready.

    Relationships that were created, duplicated, changed or deleted by hand are repaired. The report counts the nodes.

    Raises:
        TableError: the pairs are missing or hold what must not reach the graph.
        StaleTableError: pairs or nodes are older than the embeddings.
        DatabaseError: the relationships are more than the database may hold, or afterwards their number is not the
            expected one.
        ForeignDatabaseError: the database belongs to another home.
        LockTimeoutError: another run writes the graph.
    """
    with (
        home.hold([locks.GRAPH], "writing SIMILAR_TO relationships"),
        recorded(home, space.id, [SIMILAR_TO.asset]),
    ):
        started = time.monotonic()
        keys = stored_vector_keys(home, space.id)
        pairs, threshold = load_valid_pairs(home, space.id, keys)
        expected = _ExpectedPairs(sorted(keys), pairs)
        _check_nodes(database, check_owner(database, home), space, len(keys))
        limits.check_relationships(home, database, SIMILAR_TO, len(pairs))
        unwritten, extra_ids = _compare(expected, stored_relationships(home, database, space.id, len(pairs)))
        if extra_ids or len(unwritten):
            mark_refreshing(home, database)
        deleted = delete_relationships(database, SIMILAR_TO, extra_ids)
        created = sum(
            _write_pairs(
                database, space, unwritten.where(slice(start, start + RELATIONSHIP_ROWS)), expected.paths, keys
            )
            for start in range(0, len(unwritten), RELATIONSHIP_ROWS)
        )
        require_count(database, SIMILAR_TO, cypher.COUNT_SIMILAR_TO, len(pairs))
        _mark_ready(home, database, threshold)
        seconds = time.monotonic() - started
        return RelationshipsReport(SIMILAR_TO.name, len(pairs), created, deleted, seconds, {"nodes": len(keys)})


def _mark_ready(home: Home, database: Database, threshold: float) -> None:
    properties = {"root": str(home.images), "threshold": threshold, "state": READY}
    # Read again: writing has marked the graph as refreshing.
    state = read_state(database)
    if state is None or any(asdict(state)[key] != value for key, value in properties.items()):
        database.write((cypher.WRITE_STATE, {"home": home.record.id, "properties": properties}))


def check_relationships(home: Home, database: Database, space: str) -> Finding:
    """Compare the SIMILAR_TO relationships with the pairs table, scores within 1e-9; a table in disorder fails."""
    PAIRS.require(home.warehouse, space)
    listing = list_embeddings(home, space)
    try:
        pairs, _ = load_valid_pairs(home, space, listing.key_of)
    except TableError as error:
        return Finding(False, str(error), {})
    is_stored = np.zeros(len(pairs), bool)
    extra = wrong_scores = 0
    relationships = stored_relationships(home, database, space, len(pairs))
    for relationship, place in _ExpectedPairs(listing.paths, pairs).find(relationships):
        if place is None or is_stored[place]:
            extra += 1
        if place is not None:
            is_stored[place] = True
            wrong_scores += not abs((relationship.score or 0.0) - pairs.scores[place]) <= SCORE_TOLERANCE
    missing = int((~is_stored).sum())
    passed = not (missing or extra or wrong_scores)
    result = "all in the graph" if passed else f"{missing:,} missing, {extra:,} extra, {wrong_scores:,} wrong scores"
    return Finding(
        passed,
        f"{len(pairs):,} SIMILAR_TO relationships expected, {result}",
        {"pairs": len(pairs), "missing": missing, "extra": extra, "wrong_scores": wrong_scores},
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


def stored_relationships(home: Home, database: Database, space: str, expected: int) -> Iterator[StoredRelationship]:
    """Read every SIMILAR_TO relationship that starts at a node of the home's shards; about as many as `expected`."""
    together = max(1, len(home.shards) * READ_RELATIONSHIPS // max(1, expected))
    for shards in batches(home.shards, together):
        for row in database.stream(cypher.READ_SIMILAR_TO, {"shards": list(shards), "model": space}):
            for path, relationships in row["images"]:
                for end_path, score, is_of_model, id_ in relationships:
                    yield StoredRelationship((path, end_path), score, is_of_model, id_)


class _ExpectedPairs:
    """The pairs that should have a relationship, found by the paths of a stored one.

    Args:
        paths: of all usable images, sorted.
        pairs: the pairs, in numbers of paths.
    """

    def __init__(self, paths: Sequence[str], pairs: ScoredPairs) -> None:
        self.paths = paths
        self.pairs = pairs
        self._row_of = {path: row for row, path in enumerate(paths)}
        self._keys = pairs.a.astype(np.int64) << 32 | pairs.b

    def find(self, relationships: Iterator[StoredRelationship]) -> Iterator[tuple[StoredRelationship, int | None]]:
        """Yield each relationship with the place of its pair; None where there should be none."""
        while some := list(islice(relationships, _COMPARED_ROWS)):
            keys = np.array([self._key(relationship.pair) for relationship in some], np.int64)
            places = np.searchsorted(self._keys, keys)
            is_expected = places < len(self._keys)
            is_expected[is_expected] = self._keys[places[is_expected]] == keys[is_expected]
            for relationship, place, found in zip(some, places.tolist(), is_expected.tolist(), strict=True):
                yield relationship, place if found else None

    def _key(self, pair: PathPair) -> int:
        a, b = (self._row_of.get(path) for path in pair)
        return -1 if a is None or b is None else a << 32 | b


def _compare(expected: _ExpectedPairs, relationships: Iterator[StoredRelationship]) -> tuple[ScoredPairs, list[str]]:
    """Return the pairs that have no relationship, and the ids of all relationships that should not be there."""
    pairs = expected.pairs
    is_written = np.zeros(len(pairs), bool)
    extra_ids: list[str] = []
    for relationship, place in expected.find(relationships):
        # A second relationship of a pair is extra.
        if (
            place is not None
            and not is_written[place]
            and relationship.is_of_model
            and _equal_scores(relationship.score, float(pairs.scores[place]))
        ):
            is_written[place] = True
        else:
            extra_ids.append(relationship.id)
    return pairs.where(~is_written), extra_ids


def _write_pairs(
    database: Database, space: EmbeddingSpace, pairs: ScoredPairs, paths: Sequence[str], keys: Mapping[str, str]
) -> int:
    """Create the relationships of pairs that have none, in one transaction; return how many were created.

    Args:
        database: the graph.
        space: the embedding space of the scores.
        pairs: pairs of row numbers and their scores.
        paths: the path of each row.
        keys: the vector key of each path.

    Raises:
        StaleTableError: a node is missing or has another vector than the scored one; nothing was written.
    """
    rows = np.unique(np.concatenate([pairs.a, pairs.b]))
    a, b = (np.searchsorted(rows, side).tolist() for side in (pairs.a, pairs.b))
    named = [paths[int(row)] for row in rows]
    parameters = {
        "model": space.id,
        "nodes": [[path, keys[path], number] for number, path in enumerate(named)],
        "pairs": [list(pair) for pair in zip(a, b, pairs.scores.tolist(), strict=True)],
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
