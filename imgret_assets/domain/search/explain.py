"""Why two pictures are joined, or copies, or neither: every figure that decides it, beside its limit.

Belongs here: measuring two files and judging them as runs do. Not here: the measures themselves
(`domain.duplicates.fingerprints`, `domain.similarity.pair_search`), the rules for many files
(`domain.duplicates.duplicates_table`, `domain.similarity.pairs_table`).

A file of the library counts with the vector that was stored for it, any other is embedded now.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.duplicates.duplicate_search import EXACT, MIN_CORRELATION, NEAR, RADIUS_BITS
from imgret_assets.domain.duplicates.duplicates_table import MIN_COSINE
from imgret_assets.domain.duplicates.fingerprints import Fingerprint, correlate, fingerprint_bytes
from imgret_assets.domain.embeddings.table_reader import find_embedding
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.images.decode import UnusableImageError, read_header
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.neo4j_server import lifecycle
from imgret_assets.domain.numerics.vectors import cosines
from imgret_assets.domain.review.decision_log import read_decisions
from imgret_assets.domain.review.decisions import File
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.search.query_embedding import embed_image, query_embedder
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, ImageError

SIMILAR, DIFFERENT = "similar", "different"
# The scores of a table and of its vectors agree to the last digits; more apart, the table is of other vectors.
_SAME_SCORE = 1e-6


@dataclass(frozen=True)
class Picture:
    """One of the two.

    Attributes:
        file: as it was given.
        path: in the library; None where it is not there, or its content has changed since the last run.
        sha256, bytes, format: of the file.
        width, height: in pixels, after EXIF rotation.
        label, group: in the library; the group's name is the image that stands for it, None where it is alone.
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


@dataclass(frozen=True)
class Criterion:
    """One figure that decides, and its limit: `needed` in words, `met` None where there is nothing to measure."""

    name: str
    value: float | int | bool | None
    needed: str
    met: bool | None


@dataclass(frozen=True)
class Explanation:
    """What two pictures have to do with each other.

    Attributes:
        model: id of the embedding space.
        a, b: the two.
        kind: `exact` (the same bytes), `near` (copies of one picture), `similar` (above the threshold), `different`.
        why: in words, which limit decided.
        cosine: raw, float64, of the two vectors, in [-1, 1].
        euclidean: distance of the two vectors as stored, not normalised; the smaller the closer.
        phash_bits, dhash_bits: bits of 256 in which perceptual hashes differ (ImageHash; `phash` decides); None where
            a picture has no structure to hash.
        correlation: of small grey pictures at the best of nine alignments, in [-1, 1]; None likewise.
        threshold: cosine above which images are joined.
        criteria: what decided, in order.
        rank_of_b, rank_of_a: place among the other's nearest neighbours, from 1; None beyond those kept.
        graph: relationships between the two in Neo4j; None where it was not asked.
        decision: what a person has decided about the two; None where nobody has.
        notes: what the reader should know, such as a file that changed since the last run.
    """

    model: str
    a: Picture
    b: Picture
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
        """Both are in one group."""
        return self.a.group is not None and self.a.group == self.b.group

    def as_json(self) -> dict[str, Any]:
        """As `imgret explain --json` prints it."""
        return asdict(self) | {"same_group": self.same_group}


@dataclass(frozen=True)
class _Seen:
    """A picture with its vector float32 (dim,), what copies are found by, and a second hash."""

    picture: Picture
    vector: np.ndarray
    look: Fingerprint
    dhash: np.ndarray | None


def explain(home: Home, space: EmbeddingSpace, a: QueryImage, b: QueryImage) -> Explanation:
    """Measure two pictures and judge them.

    Args:
        home: the home; its graph is asked only if its database runs.
        space: of the home's last run.
        a: a picture; `path` where it lies under the image root.
        b: the other one.

    Raises:
        ImageError: a picture can't be used.
        TableError: a table is damaged.
    """
    notes: list[str] = []
    one, other = (_see(home, space, image, notes) for image in (a, b))
    left, right = (seen.vector[np.newaxis] for seen in (one, other))
    cosine = float(cosines(left, right)[0])
    euclidean = float(np.linalg.norm(left.astype(np.float64) - right.astype(np.float64)))
    bits = correlation = dhash = None
    if one.look.hash is not None and other.look.hash is not None:
        x, y = (np.frombuffer(look.hash or b"", np.uint8) for look in (one.look, other.look))
        bits = int(np.bitwise_count(x ^ y).sum())
    if one.look.grey is not None and other.look.grey is not None:
        correlation = float(correlate(one.look.grey, other.look.grey[np.newaxis])[0])
    if one.dhash is not None and other.dhash is not None:
        dhash = int(np.count_nonzero(one.dhash != other.dhash))
    same = one.picture.sha256 == other.picture.sha256
    criteria = judge(same, bits, correlation, cosine, home.threshold)
    kind, why = verdict(criteria)
    names = (one.picture.path, other.picture.path)
    ranks: tuple[int | None, int | None] = (None, None)
    graph = None
    if names[0] is not None and names[1] is not None and names[0] != names[1]:
        ranks = _ranks(home, space, names[0], names[1], cosine)
        graph = _in_graph(home, names[0], names[1], notes)
    return Explanation(
        space.id,
        one.picture,
        other.picture,
        kind,
        why,
        cosine,
        euclidean,
        bits,
        dhash,
        correlation,
        home.threshold,
        criteria,
        *ranks,
        graph=graph,
        decision=_decision(home, one.picture, other.picture),
        notes=notes,
    )


def judge(
    same_bytes: bool, phash_bits: int | None, correlation: float | None, cosine: float, threshold: float
) -> list[Criterion]:
    """The figures that decide, in the order in which they do."""
    return [
        Criterion("same bytes", same_bytes, "yes, for exact", same_bytes),
        Criterion("phash bits", phash_bits, f"<= {RADIUS_BITS} of 256, for near", _met(phash_bits, most=RADIUS_BITS)),
        Criterion("correlation", correlation, f">= {MIN_CORRELATION:g}, for near", _met(correlation, MIN_CORRELATION)),
        Criterion("cosine of a copy", cosine, f">= {MIN_COSINE:g}, for near", cosine >= MIN_COSINE),
        Criterion("cosine", cosine, f"> {threshold:g}, for similar", cosine > threshold),
    ]


def _met(value: float | None, least: float | None = None, *, most: float | None = None) -> bool | None:
    if value is None:
        return None
    return (least is None or value >= least) and (most is None or value <= most)


def verdict(criteria: Sequence[Criterion]) -> tuple[str, str]:
    """The kind, and in words why it is no closer one."""
    exact, *near, similar = criteria
    if exact.met:
        return EXACT, "the same bytes"
    if all(one.met for one in near):
        return NEAR, "not the same bytes, but the same picture: " + ", ".join(map(_said, near))
    # The first that failed is the one that decided: later ones are not looked at by a run.
    failed = next(one for one in near if not one.met)
    no_copy = f"no copy: {_said(failed)}" if failed.met is not None else "no copy: a picture without structure"
    return (SIMILAR if similar.met else DIFFERENT), f"{no_copy}; {_said(similar)}"


def _said(one: Criterion) -> str:
    value = f"{one.value:.4f}" if isinstance(one.value, float) else str(one.value)
    return f"{one.name} {value}, {'as' if one.met else 'not'} {one.needed.partition(',')[0]}"


def _see(home: Home, space: EmbeddingSpace, image: QueryImage, notes: list[str]) -> _Seen:
    try:
        header = read_header(BytesIO(image.data), max_pixels=home.settings.max_pixels)
    except UnusableImageError as problem:
        raise _unusable(image, problem.status, problem.reason) from problem
    stored = None if image.path is None else _stored(home, space, image.path, image.sha256, notes)
    if stored is None:
        vector = embed_image(query_embedder(home, space.id), image, max_pixels=home.settings.max_pixels)
        path = None
    else:
        vector, path = stored, image.path
    # From the bytes: on the page a name is a path under the image root, or an upload's.
    look = fingerprint_bytes(image.data, max_pixels=home.settings.max_pixels)
    facts = {} if path is None else _facts(home, space, path)
    sizes = (image.sha256, len(image.data), header.format, header.width, header.height)
    return _Seen(Picture(image.name, path, *sizes, **facts), vector, look, _dhash(look))


def _dhash(look: Fingerprint) -> np.ndarray | None:
    """Difference hash, bool (256,), of the small grey picture."""
    if look.grey is None:
        return None
    import imagehash
    from PIL import Image

    return imagehash.dhash(Image.fromarray(look.grey), hash_size=16).hash.reshape(-1)


def _unusable(image: QueryImage, status: str, reason: str) -> ImageError:
    return ImageError(f"{image.name} can't be used: {status} ({reason})", expected="an image file")


def _stored(home: Home, space: EmbeddingSpace, path: str, sha256: str, notes: list[str]) -> np.ndarray | None:
    """The stored vector of a file of the library, if it is still that file."""
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


def _facts(home: Home, space: EmbeddingSpace, path: str) -> dict[str, str | None]:
    """Label and group of a file of the library."""
    manifest = tables.manifest_path(home.warehouse, shard_of(path, home.record.shards))
    labels = tables.where_equal(tables.read(manifest, ["path", "label"]), "path", path)["label"].to_pylist()
    groups: list[str] = []
    if (file := tables.groups_path(home.warehouse, space.id)).is_file():
        rows = tables.where_equal(tables.read(file, ["path", "group", "size"]), "path", path).to_pydict()
        groups = [group for group, size in zip(rows["group"], rows["size"], strict=True) if size > 1]
    return {"label": labels[0] if labels else None, "group": groups[0] if groups else None}


def _ranks(home: Home, space: EmbeddingSpace, a: str, b: str, cosine: float) -> tuple[int | None, int | None]:
    """Of b among a's nearest neighbours, and of a among b's."""
    file = tables.nearest_path(home.warehouse, space.id)
    if not file.is_file():
        return None, None
    found: dict[str, int] = {}
    with tables.open_parquet(file) as table:
        for batch in table.iter_batches(columns=["path", "neighbour", "rank", "score"]):
            part = pa.Table.from_batches([batch])
            for one, other in ((a, b), (b, a)):
                mine = tables.where_equal(tables.where_equal(part, "path", one), "neighbour", other)
                for rank, score in zip(mine["rank"].to_pylist(), mine["score"].to_pylist(), strict=True):
                    if abs(score - cosine) < _SAME_SCORE:
                        found[one] = rank
    return found.get(a), found.get(b)


def _decision(home: Home, a: Picture, b: Picture) -> dict[str, Any] | None:
    """What is in force for the two contents; it may have been decided under other names."""
    found = read_decisions(home).decision_for(File(a.path or a.file, a.sha256), File(b.path or b.file, b.sha256))
    if found is None:
        return None
    said = {name: getattr(found, name) for name in ("verdict", "at", "by", "reason", "batch")}
    return said | {"keep": found.keep_path}


def _in_graph(home: Home, a: str, b: str, notes: list[str]) -> list[dict[str, Any]] | None:
    if lifecycle.external_server(home.settings) is None and lifecycle.status(home.settings) is None:
        notes.append("the graph was not asked: its database does not run (`imgret db start`)")
        return None
    try:
        with open_database(home.settings) as database:
            return database.rows(cypher.RELATIONSHIPS_BETWEEN, {"a": a, "b": b})
    except DatabaseError as error:
        notes.append(f"the graph was not asked: {error}")
        return None
