"""What looks like this? One answer for the job, the command and the page.

Belongs here: a query picture's vector, finding candidates, exact scores, relations. Not here: statements
(`domain.cypher`), drawing an answer (`domain.sheet`, the page), keeping the graph right (`domain.graph`).
"""

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from imgret_assets.domain import cypher
from imgret_assets.domain.database import Database, open_database
from imgret_assets.domain.decode import UnusableImageError, decode
from imgret_assets.domain.embedder import Embedder, embed_one
from imgret_assets.domain.engines import choose_embedder
from imgret_assets.domain.graph import REFRESHING, GraphState, read_state, require_ready
from imgret_assets.domain.home import Home, open_home
from imgret_assets.domain.models import resolve, resolve_space
from imgret_assets.domain.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.torch_engine import TorchEmbedder
from imgret_assets.errors import DatabaseError, ImageError, SettingError
from imgret_assets.settings import Settings

MODES = ("index", "exact", "rerank")
METRICS = ("cosine", "euclidean", "dot")
MAX_TOP_K = 1000
# The index is approximate and quantised: it is asked for more than wanted, and the candidates are scored exactly.
CANDIDATES_PER_HIT = 5
MIN_CANDIDATES = 50
_EXACT_SLACK = 20

_embedders: dict[tuple[str, str, str], Embedder] = {}
_embedders_lock = threading.Lock()


@dataclass(frozen=True)
class Relation:
    """One SIMILAR_TO relationship of a hit: `outgoing` where it leaves the hit."""

    path: str
    score: float
    label: str | None
    outgoing: bool


@dataclass(frozen=True)
class Hit:
    """One similar image.

    Attributes:
        path: under the image root.
        score: the raw cosine, float64, from the stored vectors, whatever ranked the hits.
        label: its folder.
        relations: its relations, where they were asked for.
        rank_score: what ranked it, where that is not `score`: the cosine of averaged vectors in mode `rerank`, the
            distance (the smaller the closer) with metric `euclidean`, the dot product with metric `dot`.
    """

    path: str
    score: float
    label: str | None
    relations: tuple[Relation, ...] | None = None
    rank_score: float | None = None


@dataclass(frozen=True)
class Query:
    """What is asked.

    Attributes:
        top_k: hits wanted, 1 to 1,000.
        mode: `index` (fast, candidates scored again exactly), `exact` (every node) or `rerank` (every image, ranked
            with the help of its neighbours, `domain.rerank`).
        min_score: hits have at least this raw cosine.
        label: hits have this label.
        exclude_self: leave the query picture itself out, where it is in the graph.
        relations: give each hit's relations, too.
        metric: what hits are ranked by: `cosine`, or in mode `exact` `euclidean` or `dot` over the stored vectors.
    """

    top_k: int = 5
    mode: str = "index"
    min_score: float | None = None
    label: str | None = None
    exclude_self: bool = True
    relations: bool = False
    metric: str = "cosine"

    def check(self) -> "Query":
        """This query, if it can be answered.

        Raises:
            SettingError: a value is out of range.
        """
        if not 1 <= self.top_k <= MAX_TOP_K:
            raise SettingError(f"top_k is {self.top_k}", expected=f"1 to {MAX_TOP_K}")
        if self.mode not in MODES:
            raise SettingError(f"mode is {self.mode!r}", expected=" or ".join(MODES))
        if self.metric not in METRICS:
            raise SettingError(f"metric is {self.metric!r}", expected=" or ".join(METRICS))
        if self.metric != "cosine" and self.mode != "exact":
            raise SettingError(
                f"metric {self.metric} with mode {self.mode}: the index and the neighbours are by cosine",
                remedy="ask with mode exact",
            )
        if self.min_score is not None and not -1.0 <= self.min_score <= 1.0:
            raise SettingError(f"min_score is {self.min_score}", expected="a cosine from -1 to 1")
        return self


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        query: the picture asked with.
        model: the embedding space of all scores.
        mode: how hits were found; `exact` where there is no index to ask.
        took_ms: from the picture's bytes to the answer, a model's loading left out.
        refreshing: a run was writing, so hits or relations may be incomplete.
        results: the hits, best first.
        metric: what they are ranked by.
        itself: paths under which the query picture is in the graph.
        vector: the query picture's, float32 (dim,); not part of the JSON.
    """

    query: str
    model: str
    mode: str
    took_ms: float
    refreshing: bool
    results: list[Hit]
    itself: list[str] = field(default_factory=list)
    metric: str = "cosine"
    vector: np.ndarray | None = field(default=None, repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The answer as `imgret query --json` prints it."""
        said = asdict(self)
        for name in ("itself", "vector"):
            said.pop(name)
        if self.metric == "cosine":
            said.pop("metric")
        for hit, row in zip(self.results, said["results"], strict=True):
            for name in ("relations", "rank_score"):
                if getattr(hit, name) is None:
                    row.pop(name)
        return said


@dataclass(frozen=True)
class QueryImage:
    """A picture to ask with: its bytes' hash and, where it lies under the image root, its path there."""

    name: str
    data: bytes
    path: str | None = None

    @property
    def sha256(self) -> str:
        """Hash of the file's bytes."""
        return hashlib.sha256(self.data).hexdigest()


def read_query(file: Path, root: Path | None = None) -> QueryImage:
    """Read a query picture.

    Raises:
        ImageError: there is no such file, or it can't be read.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ImageError(f"{file} can't be read ({error.strerror})", expected="an image file") from error
    inside = None
    if root is not None and file.resolve().is_relative_to(root.resolve()):
        inside = file.resolve().relative_to(root.resolve()).as_posix()
    return QueryImage(str(file), data, inside)


def query_embedder(home: Home, space: str | None) -> Embedder:
    """The embedder of a space, loaded once for the process; the home's own model where `space` is None.

    Raises:
        ModelError: the home doesn't know the space.
    """
    key = (str(home.path), space or "", home.settings.device)
    with _embedders_lock:
        if key not in _embedders:
            model = resolve_space(home, space) if space else resolve(home)
            # One picture is quick on any CPU, and looking for a GPU would import torch.
            device = "cpu" if home.settings.device == "auto" else home.settings.device
            _embedders[key] = choose_embedder(home, model, device=device, engine=_query_engine(home, device))
        return _embedders[key]


def _query_engine(home: Home, device: str) -> str:
    # A collection embedded on a GPU is asked from machines without one: there OpenVINO is quicker than torch in a
    # format made for GPUs, and as near to the reference.
    on_gpu = home.record.engine == "torch" and home.record.precision not in (None, "float32")
    return "openvino" if home.settings.engine == "auto" and on_gpu and device == "cpu" else home.settings.engine


def embed_image(embedder: Embedder, image: QueryImage, *, max_pixels: int) -> np.ndarray:
    """Vector float32 (dim,) of a query picture.

    Raises:
        ImageError: it is not a usable picture.
    """
    try:
        enough = embedder.space.preprocessing.decoded_at_least
        return embed_one(embedder, decode(image.data, max_pixels=max_pixels, at_least=enough))
    except UnusableImageError as problem:
        raise ImageError(
            f"{image.name} can't be used as a query: {problem.status} ({problem.reason})", expected="an image file"
        ) from problem


def embed_query(settings: Settings, file: Path) -> np.ndarray:
    """Vector float32 (dim,) of a file in the space the graph holds, or in the home's own where there is no graph."""
    home = open_home(settings)
    with open_database(settings) as database:
        state = read_state(database)
    embedder = query_embedder(home, state.model if state else None)
    return embed_image(embedder, read_query(file), max_pixels=settings.max_pixels)


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


def warm(embedder: Embedder) -> None:
    """Load the embedder's model now, so that loading is not counted as asking."""
    if isinstance(embedder, TorchEmbedder | OpenVinoEmbedder) and not embedder.loaded:
        embedder.load()


def _itself(database: Database, image: QueryImage) -> list[str]:
    """Paths under which the picture is in the graph: its own path, else wherever its content is."""
    same = [row["path"] for row in database.rows(cypher.SAME_CONTENT, {"sha256": image.sha256})]
    return [image.path] if image.path is not None and image.path in same else same


def nearest(
    database: Database, state: GraphState, vector: np.ndarray, query: Query, *, leave_out: Sequence[str] = ()
) -> tuple[list[Hit], str]:
    """The best hits for a vector float32 (dim,), exactly scored, and the mode that found them."""
    parameters: dict[str, Any] = {
        "vector": vector.astype(np.float64).tolist(),
        "label": query.label,
        "leave_out_paths": list(leave_out),
    }
    if query.mode == "index" and state.dim <= cypher.MAX_INDEXED_DIM and database.rows(cypher.SHOW_VECTOR_INDEX):
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
    from imgret_assets.domain.collection import load_collection

    collection = load_collection(home, state.model)
    limit = query.top_k + _EXACT_SLACK
    allowed = collection.allowed(label=query.label, leave_out=leave_out)
    while True:
        ranked = dict(collection.reranked(vector, limit=limit, allowed=allowed))
        parameters = {"paths": list(ranked), "label": query.label, "leave_out_paths": list(leave_out)}
        hits = _scored(database.rows(cypher.NEAREST_OF_PATHS, parameters), vector, query, ranked)
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
    scores = np.clip(products / (np.linalg.norm(stored, axis=1) * np.linalg.norm(wanted)), -1.0, 1.0)
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
    for row in database.rows(cypher.RELATIONS_OF, {"paths": list(found)}):
        found[row["path"]] = [Relation(*facts) for facts in row["relations"]]
    return [replace(hit, relations=tuple(found[hit.path])) for hit in hits]
