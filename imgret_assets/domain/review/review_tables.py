"""The sets of duplicates and the similar pairs of the tables, whether decided or not, in the order of review.

Belongs here: reading the tables, the order of sets and pairs, keeping them in memory until a table changes. Not here:
which of them are left to decide (`domain.review.queue`), finding duplicates (`domain.duplicates.duplicates_table`).
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.duplicates.duplicate_search import (
    DUPLICATE_KINDS,
    EXACT,
    LOOK_KINDS,
    NEAR,
    read_difference,
    read_why_kept,
)
from imgret_assets.domain.duplicates.duplicates_table import require_current_duplicates, require_duplicates
from imgret_assets.domain.duplicates.usable_images import (
    UsableImage,
    coverage_of_images,
    freed_bytes,
    further_names,
    group_by_content,
    load_unusable_files,
    load_usable_images,
)
from imgret_assets.domain.embeddings.table_reader import embeddings_files
from imgret_assets.domain.review.decisions import File
from imgret_assets.domain.review.removals import find_protected
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import PAIRS
from imgret_assets.domain.storage.home import Home

# The most similar pairs that are listed: nobody decides about more, and more would fill the memory.
MAX_SIMILAR_PAIRS = 1_000_000


class DuplicateRow(NamedTuple):
    """A row of the duplicates table.

    Attributes:
        image: number of the duplicate in `ReviewTables.images`.
        kind, distance, correlation, cosine: as in the table.
        why_kept: why the table keeps the other image, where headers alone would rank this one first; otherwise empty.
    """

    image: int
    kind: str
    distance: int | None
    correlation: float | None
    cosine: float | None
    why_kept: str = ""


class LookFirstPair(NamedTuple):
    """A pair to look at: two images that are no duplicates.

    Attributes:
        kind: `look_first` (the same scene, but not the same picture), `mirrored` or `rotated`.
        keep, other: numbers of the images in `ReviewTables.images`; `keep` is the better one.
        distance, correlation, cosine: measures of the two.
        difference: what they differ by, for a reader.
    """

    kind: str
    keep: int
    other: int
    distance: int | None
    correlation: float | None
    cosine: float | None
    difference: str


@dataclass(frozen=True)
class DuplicateSet:
    """An image and its duplicates, as numbers of images.

    Attributes:
        keep: the image that the table keeps.
        rows: its duplicates.
        kind: `exact` if all have the same bytes, otherwise `near`.
        order: sort key within the kind, the closest set first.
    """

    keep: int
    rows: list[DuplicateRow]
    kind: str
    order: tuple[Any, ...] = ()

    @property
    def numbers(self) -> list[int]:
        """All images of the set, the one that the table keeps first."""
        return [self.keep, *(row.image for row in self.rows)]


@dataclass
class ReviewTables:
    """All sets of duplicates and similar pairs, decided or not, in the order of review.

    Exact sets are ordered by the bytes that removing their duplicates frees, near sets by their weakest correlation,
    similar pairs by their cosine.

    Attributes:
        images: all usable images, and other files whose bytes are known, sorted by path; everything else refers to
            them by number.
        duplicate_sets: the sets of duplicates, exact sets first.
        similar_pairs: int32 (n, 2), the images of each similar pair.
        scores: float64 (n,), cosines of the similar pairs, descending.
        omitted_pairs: similar pairs beyond `MAX_SIMILAR_PAIRS`, which are left out.
        protected_folders: folders from which nothing is proposed for removal.
        notes: messages for the reader, such as that a table is missing.
        look_first: the pairs to look at, of all kinds, the closest first; they are in no set.
        files: the images as files to decide about.
        by_content: the images of each content, links as well.
        protected: bool (images,), whether each image is protected (`removals.find_protected`).
        set_of: int64 (images,), number of the set of each image; -1 if it is in none.
    """

    images: list[UsableImage]
    duplicate_sets: list[DuplicateSet]
    similar_pairs: np.ndarray
    scores: np.ndarray
    omitted_pairs: int
    protected_folders: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    look_first: list[LookFirstPair] = field(default_factory=list)
    files: list[File] = field(init=False, repr=False)
    by_content: Mapping[str, Sequence[UsableImage]] = field(init=False, repr=False)
    protected: np.ndarray = field(init=False, repr=False)
    set_of: np.ndarray = field(init=False, repr=False)
    _number_of: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.files = [File(image.path, image.sha256) for image in self.images]
        self.by_content = group_by_content(self.images)
        protected_paths = find_protected(self.images, self.protected_folders)
        self.protected = np.array([image.path in protected_paths for image in self.images], bool)
        self._number_of = {image.path: number for number, image in enumerate(self.images)}
        self.set_of = np.full(len(self.images), -1, np.int64)
        for number, duplicate_set in enumerate(self.duplicate_sets):
            self.set_of[duplicate_set.numbers] = number

    def number_of(self, path: str) -> int | None:
        """Return the number of the image at a path; None if there is none."""
        return self._number_of.get(path)

    def file_count(self, sha256: str) -> int:
        """Return how many files have a content; links don't count."""
        return sum(image.link is None for image in self.by_content[sha256])

    def numbers_of(self, contents: Iterable[str], paths: Iterable[str] = ()) -> np.ndarray:
        """Return the numbers of all images with these contents or at these paths, int64 (n,), ascending."""
        all_paths = {image.path for sha256 in contents for image in self.by_content.get(sha256, ())} | set(paths)
        return np.array(sorted(self._number_of[path] for path in all_paths), np.int64)


_CACHE: dict[Path, tuple[tuple[Any, ...], ReviewTables]] = {}
_CACHE_LOCK = threading.Lock()


def read_review_tables(home: Home) -> ReviewTables:
    """Return all sets and pairs of the tables; they are kept in memory until a table changes.

    Raises:
        TableError: the duplicates table is missing.
        StaleTableError: it is older than the embeddings.
    """
    with _CACHE_LOCK:
        stamp = _tables_stamp(home)
        cached = _CACHE.get(home.path)
        if cached is None or cached[0] != stamp:
            cached = _CACHE[home.path] = (stamp, load_review_tables(home))
        return cached[1]


def _tables_stamp(home: Home) -> tuple[Any, ...]:
    """Return a value that changes whenever a table, or a setting, that the sets are made from changes."""
    space = require_duplicates(home).space
    files = [tables.duplicates_path(home.warehouse), tables.pairs_path(home.warehouse, space)]
    files += [tables.manifest_path(home.warehouse, shard) for shard in home.shards]
    files += embeddings_files(home, space)
    return (home.settings.protected, home.record.shards, *map(_file_stamp, files))


def _file_stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def load_review_tables(home: Home) -> ReviewTables:
    """Read all sets and pairs from the tables.

    Raises:
        TableError: the duplicates table is missing.
        StaleTableError: it is older than the embeddings.
    """
    space = require_duplicates(home).space
    images = load_usable_images(home, space)
    coverage = coverage_of_images(images)
    require_current_duplicates(home, space, coverage)
    images = sorted([*images, *load_unusable_files(home, images)], key=lambda image: image.path)
    rows = tables.read(tables.duplicates_path(home.warehouse)).to_pylist()
    duplicate_sets, is_duplicate = _duplicate_sets(rows, images)
    notes: list[str] = []
    pairs, scores, omitted = _similar_pairs(home, space, coverage, images, is_duplicate, notes)
    look_first = _look_first_pairs(rows, images)
    return ReviewTables(images, duplicate_sets, pairs, scores, omitted, home.settings.protected, notes, look_first)


def _look_first_pairs(rows: Iterable[Mapping[str, Any]], images: Sequence[UsableImage]) -> list[LookFirstPair]:
    """Return the rows of the duplicates table that need a look, the best correlated first, then by path."""
    number_of = {image.path: number for number, image in enumerate(images)}
    pairs = [
        LookFirstPair(
            row["kind"],
            number_of[row["path_keep"]],
            number_of[row["path_from"]],
            row["distance"],
            row["correlation"],
            row["cosine"],
            read_difference(row["reason"]),
        )
        for row in rows
        if row["kind"] in LOOK_KINDS
    ]
    return sorted(pairs, key=lambda pair: (-(pair.correlation or 0.0), pair.keep, pair.other))


def _duplicate_sets(
    rows: Iterable[Mapping[str, Any]], images: Sequence[UsableImage]
) -> tuple[list[DuplicateSet], np.ndarray]:
    """Return the sets of duplicates, closest first, and bool (images,): whether each image is a duplicate."""
    number_of = {image.path: number for number, image in enumerate(images)}
    is_duplicate = np.zeros(len(images), dtype=bool)
    rows_of: dict[int, list[DuplicateRow]] = {}
    for row in rows:
        if row["kind"] not in DUPLICATE_KINDS:
            continue
        number, keep = number_of[row["path_from"]], number_of[row["path_keep"]]
        measures = row["kind"], row["distance"], row["correlation"], row["cosine"]
        why_kept = read_why_kept(row["reason"]) if images[number].rank < images[keep].rank else ""
        rows_of.setdefault(keep, []).append(DuplicateRow(number, *measures, why_kept))
        is_duplicate[number] = True
    sets = []
    for keep, members in rows_of.items():
        correlations = [row.correlation or 0.0 for row in members if row.kind != EXACT]
        freed = sum(freed_bytes(images[row.image] for row in members).values())
        order = (-min(correlations),) if correlations else ()
        kind = NEAR if correlations else EXACT
        sets.append(DuplicateSet(keep, members, kind, (*order, -freed, images[keep].path)))
    return sorted(sets, key=lambda item: (item.kind, item.order)), is_duplicate


def _similar_pairs(
    home: Home,
    space: str,
    coverage: str,
    images: Sequence[UsableImage],
    is_duplicate: np.ndarray,
    notes: list[str],
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the similar pairs without duplicates, links and further hard links, by cosine descending, then by path.

    Returns:
        The images of each pair, int32 (n, 2); their cosines, float64 (n,); how many pairs are left out.
    """
    path = tables.pairs_path(home.warehouse, space)
    pairs, scores = np.zeros((0, 2), np.int32), np.zeros(0)
    if not path.is_file():
        notes.append("There is no table of pairs: materialise `similarity_pairs`, or run `imgret run`.")
        return pairs, scores, 0
    if PAIRS.current_metadata(home.warehouse, space, coverage) is None:
        notes.append(
            "The pairs table is older than the embeddings: materialise `similarity_pairs`, or run `imgret run`."
        )
        return pairs, scores, 0
    paths = pa.array([image.path for image in images])
    further = further_names(images)
    left_out = is_duplicate | np.array([image.path in further for image in images], bool)
    total = 0
    with tables.open_parquet(path) as file:
        for batch in file.iter_batches(1 << 18):
            sides = [
                pc.call_function("index_in", [batch[side]], pc.SetLookupOptions(value_set=paths)).to_numpy()
                for side in ("path_a", "path_b")
            ]
            numbers = np.stack(sides, axis=1).astype(np.int32)
            listed = ~left_out[numbers].any(axis=1)
            total += int(listed.sum())
            pairs = np.concatenate([pairs, numbers[listed]])
            scores = np.concatenate([scores, batch["score"].to_numpy()[listed]])
            if len(pairs) > 2 * MAX_SIMILAR_PAIRS:
                pairs, scores = _closest_pairs(pairs, scores)
    pairs, scores = _closest_pairs(pairs, scores)
    return pairs, scores, total - len(pairs)


def _closest_pairs(pairs: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -scores))[:MAX_SIMILAR_PAIRS]
    return pairs[order], scores[order]
