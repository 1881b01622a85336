"""Why two images are related, duplicates, or neither: every measure that decides it, with its limit.

Belongs here: measuring two files and judging them as a run does. Not here: the measures themselves
(`domain.duplicates.fingerprints`, `domain.duplicates.confirmation`, `domain.numerics.vectors`), the rules for many
files (`domain.duplicates.duplicates_table`, `domain.similarity.pairs_table`).

A file of the library is compared by its stored vector; any other file is embedded now.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.duplicates.confirmation import LOOK_VERDICTS, NEAR_VERDICTS, Comparison
from imgret_assets.domain.duplicates.duplicate_search import (
    EXACT,
    LOOK_FIRST,
    MAX_SQUEEZE,
    MIN_CORRELATION,
    NEAR,
    have_like_proportions,
)
from imgret_assets.domain.duplicates.fingerprints import Fingerprint, fingerprint_bytes
from imgret_assets.domain.duplicates.keepers import RADIUS_BITS
from imgret_assets.domain.duplicates.orientation_search import find_orientation
from imgret_assets.domain.duplicates.pair_comparison import compare_fingerprints, may_be_near
from imgret_assets.domain.duplicates.pixel_comparison import compare_bytes
from imgret_assets.domain.duplicates.usable_images import UsableImage
from imgret_assets.domain.embeddings.table_reader import find_embedding
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.images.decode import read_header
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.images.image_status import UnusableImageError
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.neo4j_server import lifecycle
from imgret_assets.domain.numerics.exact_scores import cosines
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import File
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.search.query_embedding import embed_image, query_embedder
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, ImageError
from imgret_assets.wording import score_text

SIMILAR, DIFFERENT = "similar", "different"
# The scores of a table and of its vectors agree to the last digits. If they differ more, the table is of other vectors.
_SCORE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class ExplainedImage:
    """One of the two images.

    Attributes:
        file: the file as the caller named it.
        path: path in the library; None if the file is not there, or its content has changed since the last run.
        sha256: of the file.
        bytes: size of the file.
        format: of the file, from its content.
        width: pixels, after EXIF rotation.
        height: pixels, after EXIF rotation.
        label: in the library.
        group: in the library: the path of the group's representative; None if the image is alone.
        taken: when the photo was taken by the camera's clock, without a zone; None if the file does not say.
        camera: make and model; None likewise.
    """

    file: str
    path: str | None
    sha256: str
    bytes: int
    format: str
    width: int
    height: int
    label: str | None = None
    group: str | None = None
    taken: datetime | None = None
    camera: str | None = None


@dataclass(frozen=True)
class Criterion:
    """One measure that decides and its limit: `needed` in words, `met` None if there is nothing to measure."""

    name: str
    value: float | int | bool | str | None
    needed: str
    met: bool | None


@dataclass(frozen=True)
class Explanation:
    """How two images are related.

    Attributes:
        model: id of the embedding space.
        a: the first image.
        b: the second image.
        kind: `exact` (the same bytes), `near` (near-duplicates), `look_first` (the same scene, but different in one
            place or in colour), `mirrored` or `rotated` (the same image in another orientation), `similar` (above the
            threshold), `different`.
        why: in words, which limit decided.
        cosine: raw cosine, float64, of the two vectors, in [-1, 1].
        euclidean: distance of the two vectors as stored, not normalised; the smaller the closer.
        phash_bits: bits of 256 in which the perceptual hashes differ (ImageHash; these decide); None if an image has
            no structure to hash.
        dhash_bits: likewise of the difference hashes, which don't decide.
        correlation: of small grey images at the best of nine alignments, in [-1, 1]; None likewise.
        threshold: cosine above which images are related.
        criteria: what decided, in order.
        rank_of_b: rank among the nearest neighbours of `a`, from 1; None if it is not among those stored.
        rank_of_a: rank among the nearest neighbours of `b`, likewise.
        graph: relationships between the two in Neo4j; None if the graph was not read.
        decision: the decision in force about the two; None if there is none.
        notes: what the reader should know, such as a file that changed since the last run.
    """

    model: str
    a: ExplainedImage
    b: ExplainedImage
    kind: str
    why: str
    cosine: float
    euclidean: float
    phash_bits: int | None
    dhash_bits: int | None
    correlation: float | None
    threshold: float
    criteria: list[Criterion]
    rank_of_b: int | None = None
    rank_of_a: int | None = None
    graph: list[dict[str, Any]] | None = None
    decision: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def same_group(self) -> bool:
        """True if both are in one group."""
        return self.a.group is not None and self.a.group == self.b.group

    def as_json(self) -> dict[str, Any]:
        """Return the document that `imgret explain --json` prints."""
        images = {
            side: asdict(image) | {"taken": None if image.taken is None else image.taken.isoformat()}
            for side, image in (("a", self.a), ("b", self.b))
        }
        return asdict(self) | images | {"same_group": self.same_group}


@dataclass(frozen=True)
class _Measured:
    """An image with its vector, float32 (dim,), its fingerprint and its difference hash, bool (256,)."""

    image: ExplainedImage
    vector: np.ndarray
    fingerprint: Fingerprint
    dhash: np.ndarray | None


def explain(home: Home, space: EmbeddingSpace, a: QueryImage, b: QueryImage) -> Explanation:
    """Measure two images and judge them.

    Args:
        home: the home; its graph is read only if its database is running.
        space: the embedding space of the home's last run.
        a: the first image; it has a `path` if it lies under the image root.
        b: the second image.

    Raises:
        ImageError: an image can't be used.
        TableError: a table is damaged.
    """
    notes: list[str] = []
    first, second = (_measure(home, space, image, notes) for image in (a, b))
    left, right = (measured.vector[np.newaxis] for measured in (first, second))
    cosine = float(cosines(left, right)[0])
    euclidean = float(np.linalg.norm(left.astype(np.float64) - right.astype(np.float64)))
    phash_bits, correlation = compare_fingerprints(first.fingerprint, second.fingerprint)
    dhash_bits = None
    if first.dhash is not None and second.dhash is not None:
        dhash_bits = int(np.count_nonzero(first.dhash != second.dhash))
    same_bytes = first.image.sha256 == second.image.sha256
    like_proportions = have_like_proportions(_as_usable(first.image), _as_usable(second.image))
    comparison = None
    if not same_bytes and may_be_near(phash_bits, correlation) and like_proportions:
        # In the order in which a run compares two images.
        data = sorted([(first.image.sha256, a.data), (second.image.sha256, b.data)])
        comparison = compare_bytes(data[0][1], data[1][1], max_pixels=home.settings.max_pixels)
    criteria = judge(
        same_bytes,
        phash_bits,
        correlation,
        cosine,
        home.threshold,
        like_proportions=like_proportions,
        comparison=comparison,
    )
    kind, why = verdict(criteria, comparison)
    if kind in (SIMILAR, DIFFERENT):
        prints = first.fingerprint, second.fingerprint
        orientation = find_orientation(a.data, b.data, prints, max_pixels=home.settings.max_pixels)
        if orientation is not None:
            kind, why = orientation.kind, f"the second image is the first, {orientation.name}"
    path_a, path_b = first.image.path, second.image.path
    ranks: tuple[int | None, int | None] = (None, None)
    graph = None
    if path_a is not None and path_b is not None and path_a != path_b:
        ranks = _ranks(home, space, path_a, path_b, cosine)
        graph = _graph_relationships(home, path_a, path_b, notes)
    return Explanation(
        space.id,
        first.image,
        second.image,
        kind,
        why,
        cosine,
        euclidean,
        phash_bits,
        dhash_bits,
        correlation,
        home.threshold,
        criteria,
        *ranks,
        graph=graph,
        decision=_decision(home, first.image, second.image),
        notes=notes,
    )


def _as_usable(image: ExplainedImage) -> UsableImage:
    return UsableImage(image.file, image.sha256, image.bytes, image.width, image.height)


def judge(
    same_bytes: bool,
    phash_bits: int | None,
    correlation: float | None,
    cosine: float,
    threshold: float,
    *,
    like_proportions: bool = True,
    comparison: Comparison | None = None,
) -> list[Criterion]:
    """Return the measures that decide, in the order in which they do.

    Args:
        same_bytes: whether the two files have the same bytes.
        phash_bits: bits in which the hashes differ; None if an image has no structure.
        correlation: of the small grey images; None likewise.
        cosine: of the two embeddings.
        threshold: cosine above which images are related.
        like_proportions: whether the proportions allow one image to be the other.
        comparison: of the pixels; None if an earlier measure decided.
    """
    near_bits = None if phash_bits is None else phash_bits <= RADIUS_BITS
    near_correlation = None if correlation is None else correlation >= MIN_CORRELATION
    reason = None if comparison is None else comparison.reason
    same_picture = None if comparison is None else comparison.verdict in NEAR_VERDICTS
    return [
        Criterion("same bytes", same_bytes, "yes, for exact", same_bytes),
        Criterion("phash bits", phash_bits, f"<= {RADIUS_BITS} of 256, for near", near_bits),
        Criterion("correlation", correlation, f">= {MIN_CORRELATION:g}, for near", near_correlation),
        Criterion("like proportions", like_proportions, f"yes, within {MAX_SQUEEZE:.2f}, for near", like_proportions),
        Criterion("pixels", reason, "the same picture, for near", same_picture),
        Criterion("cosine", cosine, f"> {threshold:g}, for similar", cosine > threshold),
    ]


def verdict(criteria: Sequence[Criterion], comparison: Comparison | None = None) -> tuple[str, str]:
    """Return the kind and, in words, why it is not a closer one."""
    exact, *near, similar = criteria
    if exact.met:
        return EXACT, "the same bytes"
    if all(criterion.met for criterion in near):
        return NEAR, "other bytes, the same image: " + ", ".join(map(_in_words, near))
    if comparison is not None and comparison.verdict in LOOK_VERDICTS:
        return LOOK_FIRST, f"the same scene, but {comparison.reason}: look before you remove one"
    # The first that failed decided: a run does not measure the later ones.
    failed = next(criterion for criterion in near if not criterion.met)
    reason = _in_words(failed) if failed.met is False else "an image has no structure"
    return (SIMILAR if similar.met else DIFFERENT), f"no duplicate: {reason}; {_in_words(similar)}"


def _in_words(criterion: Criterion) -> str:
    if isinstance(criterion.value, str):
        return f"{criterion.name}: {criterion.value}"
    if isinstance(criterion.value, bool):
        return f"{criterion.name}: {'yes' if criterion.value else 'no'}"
    value = score_text(criterion.value, 4) if isinstance(criterion.value, float) else str(criterion.value)
    limit = criterion.needed.partition(",")[0]
    return f"{criterion.name} {value} {'is' if criterion.met else 'is not'} {limit}"


def _measure(home: Home, space: EmbeddingSpace, image: QueryImage, notes: list[str]) -> _Measured:
    try:
        header = read_header(BytesIO(image.data), max_pixels=home.settings.max_pixels)
    except UnusableImageError as problem:
        message = f"{image.name} can't be used: {problem.status} ({problem.reason})"
        raise ImageError(message, expected="an image file") from problem
    stored = None if image.path is None else _stored_vector(home, space, image.path, image.sha256, notes)
    if stored is None:
        vector = embed_image(query_embedder(home, space.id), image, max_pixels=home.settings.max_pixels)
        path = None
    else:
        vector, path = stored, image.path
    # From the bytes: on the page a name is a path under the image root, or an upload's.
    fingerprint = fingerprint_bytes(image.data, max_pixels=home.settings.max_pixels)
    facts = {} if path is None else _library_facts(home, space, path)
    shot = asdict(header.exif)
    sizes = (image.sha256, len(image.data), header.format, header.width, header.height)
    return _Measured(
        ExplainedImage(image.name, path, *sizes, **facts, **shot), vector, fingerprint, _dhash(fingerprint)
    )


def _dhash(fingerprint: Fingerprint) -> np.ndarray | None:
    """Return the difference hash of the small grey image, bool (256,)."""
    if fingerprint.grey is None:
        return None
    # Imported here: only this measure needs it.
    import imagehash
    from PIL import Image

    return imagehash.dhash(Image.fromarray(fingerprint.grey), hash_size=16).hash.reshape(-1)


def _stored_vector(home: Home, space: EmbeddingSpace, path: str, sha256: str, notes: list[str]) -> np.ndarray | None:
    """Return the stored vector of a file of the library; None and a note if the file is new or has changed."""
    if not tables.embeddings_path(home.warehouse, space.id, shard_of(path, home.record.shards)).is_file():
        return None
    stored = find_embedding(home, space.id, path)
    if stored is None:
        notes.append(f"{path} is not in the library yet: it was embedded now; `imgret run` adds it")
        return None
    if stored.sha256 != sha256:
        notes.append(f"{path} has changed since the last run: it was embedded now; `imgret run` stores that")
        return None
    return stored.vector


def _library_facts(home: Home, space: EmbeddingSpace, path: str) -> dict[str, str | None]:
    """Return label and group of a file of the library."""
    manifest = tables.manifest_path(home.warehouse, shard_of(path, home.record.shards))
    labels = tables.where_equal(tables.read(manifest, ["path", "label"]), "path", path)["label"].to_pylist()
    groups: list[str] = []
    if (file := tables.groups_path(home.warehouse, space.id)).is_file():
        rows = tables.where_equal(tables.read(file, ["path", "group", "size"]), "path", path).to_pydict()
        groups = [group for group, size in zip(rows["group"], rows["size"], strict=True) if size > 1]
    return {"label": labels[0] if labels else None, "group": groups[0] if groups else None}


def _ranks(home: Home, space: EmbeddingSpace, a: str, b: str, cosine: float) -> tuple[int | None, int | None]:
    """Return the rank of b among the nearest neighbours of a, and that of a among those of b."""
    file = tables.nearest_path(home.warehouse, space.id)
    if not file.is_file():
        return None, None
    ranks: dict[str, int] = {}
    with tables.open_parquet(file) as table:
        for batch in table.iter_batches(columns=["path", "neighbour", "rank", "score"]):
            part = pa.Table.from_batches([batch])
            for path, neighbour in ((a, b), (b, a)):
                rows = tables.where_equal(tables.where_equal(part, "path", path), "neighbour", neighbour)
                for rank, score in zip(rows["rank"].to_pylist(), rows["score"].to_pylist(), strict=True):
                    if abs(score - cosine) < _SCORE_TOLERANCE:
                        ranks[path] = rank
    return ranks.get(a), ranks.get(b)


def _decision(home: Home, a: ExplainedImage, b: ExplainedImage) -> dict[str, Any] | None:
    """Return the decision in force about the two contents, which may have had other paths then."""
    decision = read_decisions(home).decision_for(File(a.path or a.file, a.sha256), File(b.path or b.file, b.sha256))
    if decision is None:
        return None
    facts = {name: getattr(decision, name) for name in ("verdict", "at", "by", "reason", "batch")}
    return facts | {"keep": decision.keep_path}


def _graph_relationships(home: Home, a: str, b: str, notes: list[str]) -> list[dict[str, Any]] | None:
    if lifecycle.external_server(home.settings) is None and lifecycle.status(home.settings) is None:
        notes.append("the graph was not read: its database is not running (`imgret db start`)")
        return None
    try:
        with open_database(home.settings) as database:
            return database.rows(cypher.RELATIONSHIPS_BETWEEN, {"a": a, "b": b})
    except DatabaseError as error:
        notes.append(f"the graph was not read: {error}")
        return None
