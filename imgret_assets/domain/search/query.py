"""A query and its answer.

Belongs here: their records and the modes. Not here: answering (`domain.search.find_similar`).
"""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imgret_assets.errors import ImageError, SettingError

MODES = ("index", "exact", "rerank")
METRICS = ("cosine", "euclidean", "dot")
MAX_TOP_K = 1000


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
            with the help of its neighbours, `domain.similarity.query_expansion`).
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
