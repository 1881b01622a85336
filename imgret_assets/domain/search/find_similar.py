"""What looks like this? One answer for the job, the command and the page.

Belongs here: a query picture's vector, finding candidates, exact scores, relations. Not here: statements
(`domain.graph.cypher`), drawing an answer (`domain.images.contact_sheets`, the page), keeping the graph right
(`domain.graph.image_nodes`).
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database, open_database
from imgret_assets.domain.graph.graph_state import REFRESHING, GraphState, read_state, require_ready
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.models import embedding_space
from imgret_assets.domain.numerics.vectors import cosines
from imgret_assets.domain.search.query import Answer, Hit, Query, QueryImage, Relation
from imgret_assets.domain.search.query_embedding import embed_image, query_embedder, warm
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError

# The index is approximate and quantised: it is asked for more than wanted, and the candidates are scored exactly.
CANDIDATES_PER_HIT = 5
MIN_CANDIDATES = 50
_EXACT_SLACK = 20


def find_similar(
    home: Home,
    image: QueryImage,
    query: Query,
    *,
    database: Database | None = None,
    embedder: Embedder | None = None,
) -> Answer:
    """Find the images that look like this one.

    Args:
        home: the home whose graph is asked.
        image: the picture.
        query: what is asked.
        database: an open connection; one is opened where None.
        embedder: of the graph's space; the process's own where None.

    Raises:
        SettingError: the query is out of range.
        ImageError: the picture can't be used.
        DatabaseError: there is no graph, or it is being rebuilt, or the server can't be asked.
    """
    query.check()
    lent: AbstractContextManager[Database] = nullcontext(database) if database else open_database(home.settings)
    with lent as opened:
        state = require_ready(read_state(opened), opened.uri)
        chosen = embedder or query_embedder(home, state.model)
        warm(chosen)
        started = time.monotonic()
        vector = embed_image(chosen, image, max_pixels=home.settings.max_pixels)
        itself = _itself(opened, image)
        leave_out = itself if query.exclude_self else []
        if query.mode == "rerank":
            hits, mode = _reranked(home, opened, state, vector, query, leave_out), query.mode
        else:
            hits, mode = nearest(opened, state, vector, query, leave_out=leave_out)
        if query.relations:
            hits = _with_relations(opened, hits)
        # Asked again at the end: a run may have begun in between.
        after = read_state(opened)
        refreshing = REFRESHING in (state.state, after.state if after else REFRESHING)
        took_ms = (time.monotonic() - started) * 1000
    return Answer(image.name, state.model, mode, round(took_ms, 1), refreshing, hits, itself, query.metric, vector)


def _itself(database: Database, image: QueryImage) -> list[str]:
    """Paths under which the picture is in the graph: its own path, else wherever its content is."""
    same = [row["path"] for row in database.rows(cypher.PATHS_OF_CONTENT, {"sha256": image.sha256})]
    return [image.path] if image.path is not None and image.path in same else same


def nearest(
    database: Database, state: GraphState, vector: np.ndarray, query: Query, *, leave_out: Sequence[str] = ()
) -> tuple[list[Hit], str]:
    """The best hits for a vector float32 (dim,), exactly scored, and the mode that found them."""
    parameters: dict[str, Any] = {
        "vector": vector.astype(np.float64).tolist(),
        "label": query.label,
        "excluded_paths": list(leave_out),
    }
    if (
        query.mode == "index"
        and state.dim <= embedding_space.MAX_INDEXED_DIM
        and database.rows(cypher.SHOW_VECTOR_INDEX)
    ):
        return _scored(_by_index(database, parameters, query), vector, query), "index"
    statement = _exact_statement(database, query.metric)
    rows = database.rows(statement, {**parameters, "limit": query.top_k + _EXACT_SLACK, "dim": len(vector)})
    return _scored(rows, vector, query), "exact"


def _exact_statement(database: Database, metric: str) -> str:
    """The statement that looks at every node by a metric, for this server."""
    if metric == "cosine":
        return cypher.NEAREST_OF_ALL_GDS if database.has_gds else cypher.NEAREST_OF_ALL
    if metric == "euclidean" and database.has_gds:
        return cypher.NEAREST_BY_EUCLIDEAN_GDS
    if not database.takes_packed_vectors:
        raise DatabaseError(
            f"Neo4j {database.version} at {database.uri} can't rank by metric {metric}",
            expected="Neo4j 2025.10 or newer",
            remedy="ask with metric cosine" + ("" if metric == "dot" else ", or install Graph Data Science"),
        )
    return cypher.NEAREST_BY_EUCLIDEAN if metric == "euclidean" else cypher.NEAREST_BY_DOT


def _reranked(
    home: Home, database: Database, state: GraphState, vector: np.ndarray, query: Query, leave_out: Sequence[str]
) -> list[Hit]:
    """Hits ranked with the help of their neighbours, from the tables; scores and labels are the graph's."""
    # Not at the top: the other modes need none of the tables.
    from imgret_assets.domain.search.vector_cache import load_collection

    collection = load_collection(home, state.model)
    limit = query.top_k + _EXACT_SLACK
    allowed = collection.allowed(label=query.label, leave_out=leave_out)
    while True:
        ranked = dict(collection.reranked(vector, limit=limit, allowed=allowed))
        parameters = {"paths": list(ranked), "label": query.label, "excluded_paths": list(leave_out)}
        hits = _scored(database.rows(cypher.CANDIDATES_BY_PATH, parameters), vector, query, ranked)
        # More where a lowest score, or a graph behind the tables, has left too few.
        if len(hits) >= query.top_k or len(ranked) < limit:
            return hits
        limit *= 8


def _by_index(database: Database, parameters: dict[str, Any], query: Query) -> list[dict[str, Any]]:
    """Candidates from the vector index; asked for more while a filter leaves too few."""
    nodes = database.rows(cypher.COUNT_IMAGES)[0]["nodes"]
    candidates = max(MIN_CANDIDATES, CANDIDATES_PER_HIT * query.top_k)
    limit = candidates
    while True:
        rows = database.rows(cypher.NEAREST_BY_INDEX, {**parameters, "candidates": candidates, "limit": limit})
        if len(rows) >= query.top_k or candidates >= nodes:
            return rows
        candidates *= 8


def _scored(
    rows: Sequence[dict[str, Any]], vector: np.ndarray, query: Query, ranked: Mapping[str, float] | None = None
) -> list[Hit]:
    """Candidates as hits with their raw cosine in float64, best first, ties by path.

    Where `ranked` gives rank scores by path, best first, that is the order.
    """
    if not rows:
        return []
    stored = np.array([row["embedding"] for row in rows], dtype=np.float64)
    wanted = vector.astype(np.float64)
    products = stored @ wanted
    scores = cosines(stored, np.broadcast_to(wanted, stored.shape))
    ranks: list[float | None] = [None] * len(rows)
    if ranked is not None:
        ranks = [ranked[row["path"]] for row in rows]
    elif query.metric == "euclidean":
        ranks = np.linalg.norm(stored - wanted, axis=1).tolist()
    elif query.metric == "dot":
        ranks = products.tolist()
    hits = [
        Hit(row["path"], float(score), row["label"], rank_score=rank)
        for row, score, rank in zip(rows, scores, ranks, strict=True)
        if query.min_score is None or score >= query.min_score
    ]
    if ranked is not None:
        place = {path: place for place, path in enumerate(ranked)}
        return sorted(hits, key=lambda hit: place[hit.path])[: query.top_k]
    sign = 1 if query.metric == "euclidean" else -1
    return sorted(hits, key=lambda hit: (sign * (hit.score if hit.rank_score is None else hit.rank_score), hit.path))[
        : query.top_k
    ]


def _with_relations(database: Database, hits: Sequence[Hit]) -> list[Hit]:
    found: dict[str, list[Relation]] = {hit.path: [] for hit in hits}
    for row in database.rows(cypher.SIMILAR_TO_OF, {"paths": list(found)}):
        found[row["path"]] = [Relation(*facts) for facts in row["relations"]]
    return [replace(hit, relations=tuple(found[hit.path])) for hit in hits]
