"""The query and its answer.

Belongs here: their records, the modes and metrics, reading a query image. Not here: finding the answer
(`domain.search.find_similar`).
"""

import hashlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from imgret_assets.domain.images.file_reading import read_image_file
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_assets.domain.search.dates import first_second, last_second
from imgret_assets.domain.search.folders import folder_path
from imgret_assets.errors import ImageError, SettingError
from imgret_assets.image_roots import AnyRoot, as_roots
from imgret_assets.object_url import ImageFile
from imgret_assets.settings import DEFAULT_MAX_BYTES

MODES = ("index", "exact", "rerank")
METRICS = ("cosine", "euclidean", "dot")
MAX_TOP_K = 1000


@dataclass(frozen=True)
class Relation:
    """One SIMILAR_TO relationship of a hit: the other image, and `outgoing` True if it starts at the hit."""

    path: str
    score: float
    label: str | None
    outgoing: bool


@dataclass(frozen=True)
class Hit:
    """One similar image.

    Attributes:
        path: path under the image root.
        score: the raw cosine, float64, of the stored vectors, whatever ranked the hits.
        label: its folder.
        relations: its relations; None if the query did not ask for them.
        rank_score: what ranked it, if that is not `score`: the cosine of averaged vectors in mode `rerank`, the
            distance (the smaller the closer) with metric `euclidean`, the dot product with metric `dot`.
    """

    path: str
    score: float
    label: str | None
    relations: tuple[Relation, ...] | None = None
    rank_score: float | None = None


@dataclass(frozen=True)
class Query:
    """The parameters of a search.

    Attributes:
        top_k: number of hits, 1 to 1,000.
        mode: `index` (fast; candidates are scored again exactly), `exact` (every node) or `rerank` (every image, ranked
            with the help of its neighbours, `domain.similarity.query_expansion`).
        min_score: lowest raw cosine of a hit.
        label: label of the hits: the folder that they lie in themselves.
        exclude_self: leave out the query image itself if it is in the graph.
        relations: return the relations of each hit, too.
        metric: what ranks the hits: `cosine`, or in mode `exact` `euclidean` or `dot` over the stored vectors.
        since: hits were taken at this date and time or later (`domain.search.dates`); one without a date is no hit.
        until: hits were taken at this date and time, or in this year, month, day or minute, or earlier.
        camera: camera of the hits; upper and lower case are the same.
        folder: folder of the library that the hits lie in or below (`domain.search.folders`).
    """

    top_k: int = 5
    mode: str = "index"
    min_score: float | None = None
    label: str | None = None
    exclude_self: bool = True
    relations: bool = False
    metric: str = "cosine"
    since: str | None = None
    until: str | None = None
    camera: str | None = None
    folder: str | None = None

    @property
    def filters(self) -> dict[str, Any]:
        """The value of every filter of `domain.graph.cypher.FILTERS`; None where hits are not filtered by it."""
        return {
            "label": self.label,
            "folder": None if self.folder is None else f"{folder_path(self.folder)}/",
            "since": None if self.since is None else first_second(self.since, "since"),
            "until": None if self.until is None else last_second(self.until, "until"),
            "camera": None if self.camera is None else " ".join(self.camera.split()),
        }

    @property
    def has_shot_filters(self) -> bool:
        """Whether hits are filtered by date or camera."""
        return any(value is not None for value in (self.since, self.until, self.camera))

    def check(self) -> "Query":
        """Return this query if its values are in range.

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
                f"metric {self.metric} with mode {self.mode}: the index and the neighbours use the cosine",
                remedy="use mode exact",
            )
        if self.min_score is not None and not -1.0 <= self.min_score <= 1.0:
            raise SettingError(f"min_score is {self.min_score}", expected="a cosine from -1 to 1")
        since, until = (self.filters[name] for name in ("since", "until"))
        if since is not None and until is not None and since > until:
            raise SettingError(
                f"since is {self.since} and until is {self.until}", expected="since before until, or the same"
            )
        return self


@dataclass(frozen=True)
class Answer:
    """The result of a search.

    Attributes:
        query: name of the query image, or of all parts of the query.
        model: the embedding space of all scores.
        mode: how the hits were found; `exact` if there is no vector index.
        took_ms: time from the image's bytes to the answer, without loading the model.
        refreshing: a run was writing, so hits or relations may be incomplete.
        results: the hits, best first.
        query_paths: paths under which the query image, or any image of the query, is in the graph.
        metric: what ranked the hits.
        vector: the query's vector, float32 (dim,); not part of the JSON.
        parts: what the query was made of, as `QueryPart.as_json`; empty for one whole image.
        unusable: the messages about images that could not be used and were left out of the query.
        truncated: names of texts that are longer than the model's context, whose end has no part in the scores.
    """

    query: str
    model: str
    mode: str
    took_ms: float
    refreshing: bool
    results: list[Hit]
    query_paths: list[str] = field(default_factory=list)
    metric: str = "cosine"
    vector: np.ndarray | None = field(default=None, repr=False, compare=False)
    parts: list[dict[str, Any]] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the answer as `imgret query --json` prints it."""
        document = asdict(self)
        for name in ("query_paths", "vector"):
            document.pop(name)
        if self.metric == "cosine":
            document.pop("metric")
        for name in ("parts", "unusable", "truncated"):
            if not document[name]:
                document.pop(name)
        for hit, row in zip(self.results, document["results"], strict=True):
            for name in ("relations", "rank_score"):
                if getattr(hit, name) is None:
                    row.pop(name)
        return document


@dataclass(frozen=True)
class QueryImage:
    """A query image: its name, the bytes of its file and, if it lies under the image root, its path there."""

    name: str
    data: bytes
    path: str | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of the file's bytes."""
        return hashlib.sha256(self.data).hexdigest()


def read_query(file: ImageFile, root: AnyRoot | None = None, *, max_bytes: int = DEFAULT_MAX_BYTES) -> QueryImage:
    """Read a query image.

    Args:
        file: the image file or object.
        root: the image roots, for the path below it.
        max_bytes: a larger file is refused.

    Raises:
        ImageError: the file does not exist, can't be read, is no regular file or has too many bytes.
    """
    try:
        data = read_image_file(file, max_bytes=max_bytes)
    except OSError as error:
        raise ImageError(f"{file} can't be read ({error.strerror})", expected="an image file") from error
    except UnusableImageError as error:
        raise ImageError(f"{file} can't be used ({error.status}): {error.reason}", expected="an image file") from error
    path = None if root is None else as_roots(root).path_of(file, real=True)
    return QueryImage(str(file), data, path)
