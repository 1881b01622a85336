"""What looks like this? One answer for the job, the command and the page.

Belongs here: a query picture's vector, finding candidates, exact scores, relations. Not here: statements
(`domain.cypher`), drawing an answer (`domain.sheet`, the page), keeping the graph right (`domain.graph`).
"""

import hashlib
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
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
from imgret_assets.errors import ImageError, SettingError
from imgret_assets.settings import Settings

MODES = ("index", "exact")
MAX_TOP_K = 1000
# The index is approximate and quantised: it is asked for more than wanted, and the candidates are scored exactly.
CANDIDATES_PER_HIT = 10
MIN_CANDIDATES = 100
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
    """One similar image; `score` is the raw cosine, float64, from the stored vectors."""

    path: str
    score: float
    label: str | None
    relations: tuple[Relation, ...] | None = None


@dataclass(frozen=True)
class Query:
    """What is asked.

    Attributes:
        top_k: hits wanted, 1 to 1,000.
        mode: `index` (fast, candidates scored again exactly) or `exact` (every node).
        min_score: hits have at least this raw cosine.
        label: hits have this label.
        exclude_self: leave the query picture itself out, where it is in the graph.
        relations: give each hit's relations, too.
    """

    top_k: int = 5
    mode: str = "index"
    min_score: float | None = None
    label: str | None = None
    exclude_self: bool = True
    relations: bool = False

    def check(self) -> "Query":
        """This query, if it can be answered.

        Raises:
            SettingError: a value is out of range.
        """
        if not 1 <= self.top_k <= MAX_TOP_K:
            raise SettingError(f"top_k is {self.top_k}", expected=f"1 to {MAX_TOP_K}")
        if self.mode not in MODES:
            raise SettingError(f"mode is {self.mode!r}", expected=" or ".join(MODES))
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
        itself: paths under which the query picture is in the graph.
    """

    query: str
    model: str
    mode: str
    took_ms: float
    refreshing: bool
    results: list[Hit]
    itself: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The answer as `imgret query --json` prints it."""
        said = asdict(self)
        said.pop("itself")
        for hit, row in zip(self.results, said["results"], strict=True):
            if hit.relations is None:
                row.pop("relations")
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
        hits, mode = nearest(opened, state, vector, query, leave_out=itself if query.exclude_self else [])
        if query.relations:
            hits = _with_relations(opened, hits)
        # Asked again at the end: a run may have begun in between.
        after = read_state(opened)
        refreshing = REFRESHING in (state.state, after.state if after else REFRESHING)
        took_ms = (time.monotonic() - started) * 1000
    return Answer(image.name, state.model, mode, round(took_ms, 1), refreshing, hits, itself)


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
    statement = cypher.NEAREST_OF_ALL_GDS if database.has_gds else cypher.NEAREST_OF_ALL
    rows = database.rows(statement, {**parameters, "limit": query.top_k + _EXACT_SLACK})
    return _scored(rows, vector, query), "exact"


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


def _scored(rows: Sequence[dict[str, Any]], vector: np.ndarray, query: Query) -> list[Hit]:
    """Candidates as hits with their raw cosine in float64, best first, ties by path."""
    if not rows:
        return []
    stored = np.array([row["embedding"] for row in rows], dtype=np.float64)
    wanted = vector.astype(np.float64)
    norms = np.linalg.norm(stored, axis=1) * np.linalg.norm(wanted)
    scores = np.clip(stored @ wanted / norms, -1.0, 1.0)
    hits = [Hit(row["path"], float(score), row["label"]) for row, score in zip(rows, scores, strict=True)]
    if query.min_score is not None:
        hits = [hit for hit in hits if hit.score >= query.min_score]
    return sorted(hits, key=lambda hit: (-hit.score, hit.path))[: query.top_k]


def _with_relations(database: Database, hits: Sequence[Hit]) -> list[Hit]:
    found: dict[str, list[Relation]] = {hit.path: [] for hit in hits}
    for row in database.rows(cypher.RELATIONS_OF, {"paths": list(found)}):
        found[row["path"]].append(Relation(row["other"], row["score"], row["label"], row["outgoing"]))
    return [Hit(hit.path, hit.score, hit.label, tuple(found[hit.path])) for hit in hits]
