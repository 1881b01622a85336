"""Images similar to a query: the one answer for the job, the command and the page.

A graph without vectors (`GraphState.vectors`) is searched by the vectors of the tables; which images are in the graph,
their labels and their relations are the graph's in either case.

Belongs here: finding candidates, scoring them exactly, reading their relations. Not here: statements
(`domain.graph.cypher`), comparing the vectors of the tables (`domain.search.table_search`), what a query is made of
(`domain.search.query_parts`), the vector of an image or text (`domain.search.query_embedding`), drawing an answer
(`domain.images.contact_sheets`, the page), keeping the graph up to date (`domain.graph.image_nodes`).
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database, open_database
from imgret_assets.domain.graph.graph_state import REFRESHING, GraphState, read_state, require_ready
from imgret_assets.domain.graph.vector_index import VectorIndex, usable_index
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.inference.text_engine import TextEncoder, TextVector
from imgret_assets.domain.models import embedding_space
from imgret_assets.domain.models.resolution import check_text_tower
from imgret_assets.domain.numerics.exact_scores import cosines, metric_ranks
from imgret_assets.domain.search.folders import check_folder
from imgret_assets.domain.search.query import Answer, Hit, Query, QueryImage, Relation
from imgret_assets.domain.search.query_embedding import embed_part, encode_texts, query_embedder, query_text_encoder
from imgret_assets.domain.search.query_parts import (
    QueryPart,
    QueryText,
    StoredImage,
    check_parts,
    combine_vectors,
    is_plain,
    query_name,
)
from imgret_assets.domain.search.shot_filters import paths_of_shots
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, ImageError, QueryError

# The index is approximate and quantised: it returns more candidates than hits, and these are scored exactly.
CANDIDATES_PER_HIT = 5
MIN_CANDIDATES = 50
_EXACT_SLACK = 20
# A graph that lacks more of the nearest images than this is being built.
_MAX_TABLE_IMAGES = 10_000


def find_similar(
    home: Home,
    image: QueryImage | Sequence[QueryPart],
    query: Query,
    *,
    database: Database | None = None,
    embedder: Embedder | None = None,
    text_encoder: TextEncoder | None = None,
    skip_unusable: bool = False,
) -> Answer:
    """Find the images that are similar to a query image, or to all parts of a query together.

    Images of the query that are in the graph, on either side, are no hits if `query.exclude_self`.

    Args:
        home: the home whose graph is searched.
        image: the query image, or the parts of the query.
        query: number of hits, mode and filters; `min_score` is about the score with the combined vector.
        database: an open connection; one is opened if None.
        embedder: an embedder of the graph's space; the process's own if None.
        text_encoder: a text encoder of the graph's space; the process's own if None.
        skip_unusable: an image that can't be used is left out of the query and named in `Answer.unusable`, as long as
            another is left.

    Raises:
        SettingError: the query is out of range, or the library has no such folder.
        QueryError: the parts contradict each other, there is a text and the graph's space has no text tower, or an
            image that is `less` can't be used: without it, the answer would be to another question.
        ImageError: a query image can't be used.
        DatabaseError: there is no graph, it is being rebuilt, or the server can't be reached.
        TableError: the graph has no vectors, and those of the tables are missing or damaged.
        ReshardedError: tables were read while a reshard replaced them.
    """
    query.check()
    if query.folder is not None:
        check_folder(home, query.folder)
    parts = [QueryPart(image)] if isinstance(image, QueryImage) else list(image)
    check_parts(parts)
    with nullcontext(database) if database else open_database(home.settings) as opened:
        state = require_ready(read_state(opened), opened.uri)
        chosen = embedder or query_embedder(home, state.model)
        known = _read_known(home, opened, state, parts)
        # Before the clock starts: loading is not part of the search.
        if any(isinstance(part.source, QueryImage) and not known.has_vector_of(part) for part in parts):
            chosen.load()
        encoder = None
        if any(isinstance(part.source, QueryText) for part in parts):
            check_text_tower(chosen.space)
            encoder = text_encoder or query_text_encoder(home, state.model)
            encoder.load()
        started = time.monotonic()
        texts = encode_texts(encoder, parts) if encoder else {}
        usable, vector, unusable = _query_vector(home, chosen, parts, known, texts, skip_unusable=skip_unusable)
        query_paths = known.paths_of(usable)
        excluded_paths = query_paths if query.exclude_self else []
        hits, mode = search(home, opened, state, vector, query, excluded_paths=excluded_paths)
        if query.relations:
            hits = _with_relations(opened, hits)
        # Read again at the end: a run may have begun in between.
        final_state = read_state(opened)
        refreshing = REFRESHING in (state.state, final_state.state if final_state else REFRESHING)
        took_ms = round((time.monotonic() - started) * 1000, 1)
    name, described = query_name(parts), [] if is_plain(usable) else [part.as_json() for part in usable]
    truncated = [QueryText(text).name for text, encoded in texts.items() if encoded.truncated]
    return Answer(
        query=name,
        model=state.model,
        mode=mode,
        took_ms=took_ms,
        refreshing=refreshing,
        results=hits,
        query_paths=query_paths,
        metric=query.metric,
        vector=vector,
        parts=described,
        unusable=unusable,
        truncated=truncated,
    )


@dataclass(frozen=True)
class _Known:
    """What the graph knows of the parts of a query.

    Attributes:
        stored: vectors float32 (dim,) of the parts that are images of the graph, by path.
        stored_contents: sha256 of these parts, by path.
        paths: of the query's image files: all paths in the graph with that content, by sha256.
        contents: of the query's image files: the stored vector float32 (dim,) of that content, by sha256.
    """

    stored: dict[str, np.ndarray]
    stored_contents: dict[str, str]
    paths: dict[str, list[str]]
    contents: dict[str, np.ndarray]

    def has_vector_of(self, part: QueryPart) -> bool:
        """Whether an image file needs no embedding."""
        return isinstance(part.source, QueryImage) and part.crop is None and part.source.sha256 in self.contents

    def paths_of(self, parts: Sequence[QueryPart]) -> list[str]:
        """Return the paths of the parts' images: of each its own path, else all paths with its content."""
        found: list[str] = []
        for part in parts:
            if isinstance(part.source, StoredImage):
                found.append(part.source.path)
            elif isinstance(part.source, QueryImage):
                image = part.source
                paths = self.paths.get(image.sha256, [])
                found += [image.path] if image.path is not None and image.path in paths else paths
        return list(dict.fromkeys(found))


def _read_known(home: Home, database: Database, state: GraphState, parts: Sequence[QueryPart]) -> _Known:
    """Read what the graph knows of the parts of a query; vectors of another dimension are those of a run since."""
    by_path = [part.source.path for part in parts if isinstance(part.source, StoredImage)]
    by_content = {part.source.sha256 for part in parts if isinstance(part.source, QueryImage)}
    stored, images = [], []
    if by_path:
        filters = {**Query().filters, "excluded_paths": []}
        stored = _with_vectors(home, state, database.rows(cypher.CANDIDATES_BY_PATH, {"paths": by_path, **filters}))
    if by_content:
        images = database.rows(cypher.IMAGES_OF_CONTENTS, {"contents": sorted(by_content)})
    firsts = _with_vectors(home, state, [{**row, "path": row["paths"][0]} for row in images])
    return _Known(
        stored={row["path"]: np.array(row["embedding"], np.float32) for row in stored},
        stored_contents={row["path"]: row["sha256"] for row in stored},
        paths={row["sha256"]: row["paths"] for row in images},
        contents={
            row["sha256"]: np.array(row["embedding"], np.float32)
            for row in firsts
            if row["embedding"] is not None and len(row["embedding"]) == state.dim
        },
    )


def _with_vectors(home: Home, state: GraphState, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of the graph with their vectors: as they are, or those that the tables have for their contents."""
    if state.vectors or not rows:
        return rows
    # Not at module level: a graph with vectors needs none of the tables.
    from imgret_assets.domain.search.table_search import with_stored_vectors

    with home.unchanged_shards():
        return with_stored_vectors(home, state.model, rows)


def _query_vector(
    home: Home,
    embedder: Embedder,
    parts: Sequence[QueryPart],
    known: _Known,
    texts: Mapping[str, TextVector],
    *,
    skip_unusable: bool,
) -> tuple[list[QueryPart], np.ndarray, list[str]]:
    """Return the usable parts, the vector of the query float32 (dim,), and the messages about unusable parts."""
    check_parts(parts, known.stored_contents)
    limit = home.settings.max_pixels
    usable: list[QueryPart] = []
    vectors: list[np.ndarray] = []
    errors: list[ImageError] = []
    for part in parts:
        try:
            vector = embed_part(
                embedder, part, max_pixels=limit, stored=known.stored, contents=known.contents, texts=texts
            )
        except ImageError as error:
            if part.less:
                raise QueryError(f"Of what the hits shall not resemble, {error}", remedy="leave it out") from error
            if not skip_unusable:
                raise
            errors.append(error)
            continue
        usable.append(part)
        vectors.append(vector)
    if all(part.less for part in usable):
        raise errors[0]
    return usable, combine_vectors(usable, vectors), [str(error) for error in errors]


def search(
    home: Home,
    database: Database,
    state: GraphState,
    vector: np.ndarray,
    query: Query,
    *,
    excluded_paths: Sequence[str] = (),
) -> tuple[list[Hit], str]:
    """Find the best hits for a vector, in the database or the tables.

    Args:
        home: the home.
        database: the graph.
        state: its state.
        vector: the query's vector, float32 (dim,).
        query: number of hits, mode and filters.
        excluded_paths: images that are no hits.

    Returns:
        hits with exact scores, and the mode that found them.

    Raises:
        TableError: tables are needed, and missing or damaged.
        ReshardedError: tables were read while a reshard replaced them.
    """
    if query.mode == "rerank":
        with home.unchanged_shards():
            return _rerank(home, database, state, vector, query, excluded_paths), query.mode
    if state.vectors:
        return nearest(database, state, vector, query, excluded_paths=excluded_paths)
    with home.unchanged_shards():
        return _nearest_of_tables(home, database, state, vector, query, excluded_paths), "exact"


def _nearest_of_tables(
    home: Home, database: Database, state: GraphState, vector: np.ndarray, query: Query, excluded_paths: Sequence[str]
) -> list[Hit]:
    """Compare every vector of the tables; hits are the images whose content is that of their node."""
    from imgret_assets.domain.search.table_search import nearest_images

    limit = query.top_k + _EXACT_SLACK
    parameters = {**query.filters, "excluded_paths": list(excluded_paths)}
    while True:
        found = nearest_images(home, state.model, vector, query, limit=limit, excluded_paths=excluded_paths)
        vectors = {(image.path, image.sha256): image.vector for image in found}
        rows = database.rows(cypher.CANDIDATES_BY_PATH, {**parameters, "paths": [image.path for image in found]})
        candidates = [
            {**row, "embedding": vectors[row["path"], row["sha256"]]}
            for row in rows
            if (row["path"], row["sha256"]) in vectors
        ]
        hits = _score(candidates, vector, query)
        # Repeated with more images if a graph older than the tables leaves too few hits.
        if len(hits) >= query.top_k or len(found) < limit or limit >= _MAX_TABLE_IMAGES:
            return hits
        limit = min(8 * limit, _MAX_TABLE_IMAGES)


def nearest(
    database: Database, state: GraphState, vector: np.ndarray, query: Query, *, excluded_paths: Sequence[str] = ()
) -> tuple[list[Hit], str]:
    """Find the best hits for a vector in a database whose nodes have their vectors.

    Args:
        database: the graph.
        state: its state.
        vector: the query's vector, float32 (dim,).
        query: number of hits, mode (`index` or `exact`) and filters.
        excluded_paths: images that are no hits.

    Returns:
        hits with exact scores, and the mode that found them.
    """
    parameters: dict[str, Any] = {
        "vector": vector.astype(np.float64).tolist(),
        "excluded_paths": list(excluded_paths),
        **query.filters,
    }
    if query.mode == "index" and state.dim <= embedding_space.MAX_INDEXED_DIM:
        candidates = _index_candidates(database, parameters, query)
        if candidates is not None:
            return _score(candidates, vector, query), "index"
    statement = _exact_statement(database, query.metric)
    rows = database.rows(statement, {**parameters, "limit": query.top_k + _EXACT_SLACK, "dim": len(vector)})
    return _score(rows, vector, query), "exact"


def _exact_statement(database: Database, metric: str) -> str:
    """Return this server's statement that compares every node by a metric."""
    if metric == "cosine":
        return cypher.NEAREST_OF_ALL_GDS if database.has_gds else cypher.NEAREST_OF_ALL
    if metric == "euclidean" and database.has_gds:
        return cypher.NEAREST_BY_EUCLIDEAN_GDS
    if not database.takes_packed_vectors:
        raise DatabaseError(
            f"Neo4j {database.version} at {database.uri} can't rank by metric {metric}",
            expected="Neo4j 2025.10 or newer",
            remedy="use metric cosine" + ("" if metric == "dot" else ", or install Graph Data Science"),
        )
    return cypher.NEAREST_BY_EUCLIDEAN if metric == "euclidean" else cypher.NEAREST_BY_DOT


def _index_candidates(database: Database, parameters: dict[str, Any], query: Query) -> list[dict[str, Any]] | None:
    """Read candidates from the vector index; return None if there is none that can be queried."""
    index = usable_index(database)
    while index is not None:
        try:
            return _candidates_of(index, database, parameters, query)
        except DatabaseError:
            # A run may have replaced the index in between.
            failed, index = index, usable_index(database)
            if index == failed:
                raise
    return None


def _candidates_of(
    index: VectorIndex, database: Database, parameters: dict[str, Any], query: Query
) -> list[dict[str, Any]]:
    """Read candidates from an index; request more while filters that it does not know leave too few."""
    used = [each for each in cypher.FILTERS if parameters[each.parameter] is not None]
    of_property = {each.indexed_by: each for each in reversed(used) if each.indexed_by in index.properties}
    indexed = tuple(each for each in used if each in of_property.values()) if database.has_search else ()
    is_exact = indexed == tuple(used) and all(each.range is None for each in indexed)
    statement = cypher.nearest_by_search(index.name, indexed) if database.has_search else cypher.NEAREST_BY_PROCEDURE
    nodes = matching = -1
    candidates = max(MIN_CANDIDATES, CANDIDATES_PER_HIT * query.top_k)
    asked = {**parameters, "index": index.name, "limit": candidates}
    while True:
        rows = database.rows(statement, {**asked, "candidates": candidates})
        if len(rows) >= query.top_k:
            return rows
        if used and is_exact and len(rows) + len(parameters["excluded_paths"]) < candidates:
            # The index has no more nodes that match.
            return rows
        if nodes < 0:
            [counts] = database.rows(cypher.COUNT_MATCHING, parameters)
            nodes, matching = counts["nodes"], counts["matching"]
        if len(rows) >= matching or candidates >= nodes:
            return rows
        candidates *= 8


def _rerank(
    home: Home, database: Database, state: GraphState, vector: np.ndarray, query: Query, excluded_paths: Sequence[str]
) -> list[Hit]:
    """Rank the images of the tables with the help of their neighbours; scores and labels are the graph's."""
    # Not at module level: the other modes need none of the tables.
    from imgret_assets.domain.search.vector_cache import cached_vectors

    vectors = cached_vectors(home, state.model)
    limit = query.top_k + _EXACT_SLACK
    allowed = vectors.allowed_rows(label=query.label, start=query.filters["folder"], excluded_paths=excluded_paths)
    if query.has_shot_filters:
        matching = paths_of_shots(home, query)
        allowed &= np.fromiter((path in matching for path in vectors.paths), bool, len(vectors.paths))
    while True:
        rank_scores = dict(vectors.rerank(vector, limit=limit, allowed=allowed))
        parameters = {"paths": list(rank_scores), **query.filters, "excluded_paths": list(excluded_paths)}
        rows = _with_vectors(home, state, database.rows(cypher.CANDIDATES_BY_PATH, parameters))
        hits = _score(rows, vector, query, rank_scores)
        # Repeated with more images if a lowest score, or a graph older than the tables, leaves too few hits.
        if len(hits) >= query.top_k or len(rank_scores) < limit:
            return hits
        limit *= 8


def _score(
    rows: Sequence[dict[str, Any]], vector: np.ndarray, query: Query, rank_scores: Mapping[str, float] | None = None
) -> list[Hit]:
    """Return candidates as hits with their raw cosine in float64, best first, ties by path.

    Args:
        rows: the candidates, with their stored vectors.
        vector: the query's vector, float32 (dim,).
        query: number of hits, metric and lowest score.
        rank_scores: rank scores by path, best first, if these decide on the order.
    """
    if not rows:
        return []
    stored = np.array([row["embedding"] for row in rows], dtype=np.float64)
    query_vector = vector.astype(np.float64)
    scores = cosines(stored, np.broadcast_to(query_vector, stored.shape))
    ranks: list[float | None] = [None] * len(rows)
    if rank_scores is not None:
        ranks = [rank_scores[row["path"]] for row in rows]
    elif query.metric != "cosine":
        ranks = metric_ranks(stored, vector, query.metric).tolist()
    hits = [
        Hit(row["path"], float(score), row["label"], rank_score=rank)
        for row, score, rank in zip(rows, scores, ranks, strict=True)
        if query.min_score is None or score >= query.min_score
    ]
    if rank_scores is not None:
        position = {path: number for number, path in enumerate(rank_scores)}
        return sorted(hits, key=lambda hit: position[hit.path])[: query.top_k]
    sign = 1 if query.metric == "euclidean" else -1
    hits.sort(key=lambda hit: (sign * (hit.score if hit.rank_score is None else hit.rank_score), hit.path))
    return hits[: query.top_k]


def _with_relations(database: Database, hits: Sequence[Hit]) -> list[Hit]:
    relations: dict[str, tuple[Relation, ...]] = {hit.path: () for hit in hits}
    for row in database.rows(cypher.SIMILAR_TO_OF, {"paths": list(relations)}):
        relations[row["path"]] = tuple(Relation(*values) for values in row["relations"])
    return [replace(hit, relations=relations[hit.path]) for hit in hits]
