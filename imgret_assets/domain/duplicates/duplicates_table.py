"""The duplicates table: every image that duplicates another, and the image to keep.

A duplicate has the same bytes as another image (exact), or is the same image resized, recompressed, brightened or
cropped (near). A row of the kind `look_first` is no duplicate: the two images show the same scene, but differ in one
place, or one of them has no colour. Nor is one of the kinds `mirrored` and `rotated`, which are searched only if the
setting `orientations` says so: the one image is the other in another orientation.

Belongs here: refreshing the table, its rows. Not here: the search
(`domain.duplicates.duplicate_search`), how two images are compared (`domain.duplicates.confirmation`), relationships
(`domain.graph.duplicate_of`), similar images (`domain.similarity.pairs_table`).

Contents are ranked by colour before grey (as measured, however a file stores it), most bits per channel, most pixels,
largest file, shortest path, path. The first content keeps every later one that is directly confirmed as its near-
duplicate; then the first of the rest does the same. A content that is an enlargement of one of its near-duplicates has
its turn after that one. So no row points to an image that is a duplicate itself, and every duplicate was compared with
the very image that it points to. A chain of near-duplicates that has drifted too far from the first content is kept by
one of its own members.

Candidates are contents whose 256-bit hashes differ in at most RADIUS_BITS bits, whose small grey images correlate and
whose proportions are alike. Their pixels confirm them, whatever the cosine of their embeddings: a network sees other
things in a thumbnail than in its original. Each run compares the hashes of all contents, except pairs of contents that
the last run compared and kept both (`fingerprint_store`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.duplicates.duplicate_search import (
    CHECKPOINT,
    CONFIRMATION_METHOD,
    EXACT,
    LOOK_FIRST,
    LOOK_KINDS,
    NEAR,
    PAIR_BATCH,
    RANKING_METHOD,
    Duplicate,
    find_near_duplicates,
    merge_duplicates,
)
from imgret_assets.domain.duplicates.enlargement import ENLARGEMENT_METHOD
from imgret_assets.domain.duplicates.fingerprint_store import FingerprintStore
from imgret_assets.domain.duplicates.fingerprints import COLOUR_METHOD, MAX_GREY_LEVELS, fingerprint_contents
from imgret_assets.domain.duplicates.keepers import RADIUS_BITS
from imgret_assets.domain.duplicates.orientation_search import (
    ORIENTATION_METHOD,
    OrientedCopies,
    find_oriented_copies,
)
from imgret_assets.domain.duplicates.orientations import MIRRORED, ROTATED
from imgret_assets.domain.duplicates.usable_images import (
    UsableImage,
    coverage_of_images,
    freed_bytes,
    load_unusable_files,
    load_usable_images,
    rank_contents,
    storage_digest,
    with_colours,
)
from imgret_assets.domain.embeddings.table_reader import vectors_of_paths
from imgret_assets.domain.images.decoder_crashes import watching
from imgret_assets.domain.images.image_status import RETRIED_STATUSES
from imgret_assets.domain.numerics.exact_scores import cosines
from imgret_assets.domain.runtime.progress import Listener, Progress
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import DUPLICATES
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import DuplicatesMetadata
from imgret_assets.domain.storage.verification import discard_damaged
from imgret_assets.settings import Settings
from imgret_assets.wording import counted

# Names how fingerprints are computed. Increment its number with any change to that: it empties the fingerprint store.
FINGERPRINT_METHOD = f"phash256-grey64-2 {RADIUS_BITS}"
METHOD = f"{FINGERPRINT_METHOD} {COLOUR_METHOD} {CONFIRMATION_METHOD} {ENLARGEMENT_METHOD} {RANKING_METHOD}"


@dataclass(frozen=True)
class DuplicatesReport:
    """The result of refreshing the duplicates table.

    Attributes:
        images: usable images.
        exact, near, look_first, mirrored, rotated: rows of each kind.
        duplicate_bytes: what removing all exact and near-duplicates would free.
        fingerprinted: contents that were decoded.
        compared_pairs: pairs of contents that were compared by their pixels.
        left_out_pairs: candidates that were not compared, because many closer ones were none.
        recomputed: what a changed method made this refresh compute again; empty otherwise.
        pending: contents that could not be read; the next run tries again.
        written: False if nothing had changed.
        seconds: duration of the refresh.
    """

    images: int
    exact: int
    near: int
    look_first: int
    duplicate_bytes: int
    fingerprinted: int
    compared_pairs: int
    left_out_pairs: int
    recomputed: str
    pending: int
    written: bool
    seconds: float
    mirrored: int = 0
    rotated: int = 0

    @property
    def rows(self) -> int:
        """Number of rows of all kinds."""
        return self.exact + self.near + self.look_first + self.mirrored + self.rotated

    @property
    def summary(self) -> str:
        """The report in one line."""
        duplicates = f"{counted(self.exact, 'exact duplicate')} and {counted(self.near, 'near-duplicate')}"
        total = f"{duplicates} among {counted(self.images, 'image')}, {self.duplicate_bytes / 1e6:,.1f} MB"
        total += f"; {self.look_first:,} to look at first" if self.look_first else ""
        total += f"; {self.mirrored:,} mirrored and {self.rotated:,} rotated" if self.mirrored + self.rotated else ""
        if not self.written:
            return f"{total}: nothing changed, nothing was computed."
        retry = f" {self.pending:,} could not be read: the next run tries again." if self.pending else ""
        left_out = (
            f" {self.left_out_pairs:,} pairs of many alike were left out: closer ones are no duplicates."
            if self.left_out_pairs
            else ""
        )
        recomputed = f" {self.recomputed}" if self.recomputed else ""
        return (
            f"{total}: {counted(self.fingerprinted, 'fingerprint')} computed, "
            f"{counted(self.compared_pairs, 'pair of images')} compared in {self.seconds:.1f} s."
            f"{recomputed}{left_out}{retry}"
        )


def refresh_duplicates(home: Home, space: str, *, progress: Listener | None = None) -> DuplicatesReport:
    """Refresh the duplicates table. Only new contents are decoded and compared.

    Args:
        home: the home.
        space: id of the embedding space whose cosines the rows state.
        progress: receives how many contents have been fingerprinted.

    Raises:
        TableError: a shard's tables are missing.
        StaleTableError: a shard's embeddings belong to another manifest.
        LockTimeoutError: another run writes pairs or the graph.
    """
    with home.hold([locks.GRAPH], "finding duplicates"), watching(home.work / "decoding"):
        started = time.monotonic()
        path = tables.duplicates_path(home.warehouse)
        discard_damaged(home, [path])
        images = load_usable_images(home, space)
        coverage = coverage_of_images(images)
        current = DUPLICATES.current_metadata(home.warehouse, space, coverage)
        unusable = load_unusable_files(home, images)
        storage = storage_digest([*images, *unusable])
        method = method_of(home.settings)
        if current is not None and (current.method, current.pending, current.storage) == (method, 0, storage):
            return _report(tables.read(path), len(images))
        store = FingerprintStore(home.work, FINGERPRINT_METHOD, CONFIRMATION_METHOD)
        groups = rank_contents(images)
        fingerprinted, pending = _fingerprint_new(home, store, groups, progress or (lambda _: None), started)
        grey = {sha256 for sha256, levels in store.colours().items() if levels <= MAX_GREY_LEVELS}
        groups = rank_contents(with_colours(images, grey))
        limits = {"max_pixels": home.settings.max_pixels, "max_bytes": home.settings.max_bytes}
        found = find_near_duplicates(groups, store, store.hashes(), home.images, **limits)
        oriented = _find_oriented(home, store, groups, found.duplicates) if home.settings.orientations else _NONE
        pending += found.unreadable + oriented.unreadable
        # Files with the same bytes duplicate each other, whether or not they can be decoded.
        all_groups = [*groups, *rank_contents(unusable)]
        near = _with_cosines(home, space, found.duplicates + found.look_first)
        table = as_table(merge_duplicates(all_groups, near, _with_cosines(home, space, oriented.copies)))
        metadata = DuplicatesMetadata(
            space=space, coverage=coverage, method=method, images=len(images), pending=pending, storage=storage
        )
        tables.write(path, table, metadata.as_metadata())
        return replace(
            _report(table, len(images)),
            fingerprinted=fingerprinted,
            compared_pairs=found.compared_pairs + oriented.compared_pairs,
            left_out_pairs=found.left_out_pairs,
            recomputed=store.recomputed,
            pending=pending,
            written=True,
            seconds=time.monotonic() - started,
        )


def method_of(settings: Settings) -> str:
    """Return the method of the table that a run with these settings makes."""
    return _with_orientations(METHOD) if settings.orientations else METHOD


def _with_orientations(method: str) -> str:
    return f"{method} {ORIENTATION_METHOD}"


_NONE = OrientedCopies([], 0, 0)


def _find_oriented(
    home: Home, store: FingerprintStore, groups: Sequence[Sequence[UsableImage]], near: Sequence[Duplicate]
) -> OrientedCopies:
    """Find the mirrored and rotated copies among the contents that are no near-duplicates."""
    duplicates = {row.image.sha256 for row in near}
    kept = [group for group in groups if group[0].sha256 not in duplicates]
    limits = {"max_pixels": home.settings.max_pixels, "max_bytes": home.settings.max_bytes}
    return find_oriented_copies(kept, store, store.hashes(), home.images, **limits)


def require_duplicates(home: Home) -> DuplicatesMetadata:
    """Return the metadata of the duplicates table, whether or not the table is current.

    Raises:
        TableError: the table is missing or damaged.
        StaleTableError: another version of the program wrote it.
    """
    DUPLICATES.require(home.warehouse, "")
    metadata = DUPLICATES.metadata(home.warehouse, "")
    if metadata is None:
        raise DUPLICATES.stale()
    return metadata


def require_current_duplicates(home: Home, space: str, coverage: str) -> None:
    """Check that the duplicates table was made from the embeddings with this coverage, by the present method.

    Raises:
        TableError: the table is missing or damaged.
        StaleTableError: the table was made from other embeddings or by another method.
    """
    # A process without the setting may read a table with mirrored and rotated copies, and the reverse.
    method = DUPLICATES.require_current(home.warehouse, space, coverage).method
    if method not in (METHOD, _with_orientations(METHOD)):
        raise DUPLICATES.stale()


def _fingerprint_new(
    home: Home, store: FingerprintStore, groups: Sequence[Sequence[UsableImage]], progress: Listener, started: float
) -> tuple[int, int]:
    """Fingerprint contents that the store does not have; return how many, and how many of them must be retried.

    The store of an earlier version lacks colours: contents that are stored in colour and have a hash get theirs.
    """
    stored, colours = store.hashes(), store.colours()
    unmeasured = {
        group[0].sha256
        for group in groups
        if stored.get(group[0].sha256) and group[0].sha256 not in colours and group[0].depth[0]
    }
    if unmeasured:
        measured = f"The colours of {counted(len(unmeasured), 'content')} are measured, once: earlier versions did not."
        store.recomputed = f"{store.recomputed} {measured}".strip()
    new = [
        (group[0].sha256, [image.path for image in group])
        for group in groups
        if group[0].sha256 not in stored or group[0].sha256 in unmeasured
    ]
    unsaved, done, pending = [], 0, 0
    try:
        limits = {"max_pixels": home.settings.max_pixels, "max_bytes": home.settings.max_bytes}
        for sha256, fingerprint in fingerprint_contents(new, home.images, **limits):
            done += 1
            if fingerprint.status in RETRIED_STATUSES:
                pending += 1
            else:
                unsaved.append((sha256, fingerprint))
            progress(Progress("fingerprints", done, len(new), time.monotonic() - started))
            if len(unsaved) >= CHECKPOINT:
                store.put_fingerprints(unsaved)
                unsaved = []
    finally:
        # A run that is stopped keeps its fingerprints, too.
        store.put_fingerprints(unsaved)
    return done, pending


def _with_cosines(home: Home, space: str, rows: Sequence[Duplicate]) -> list[Duplicate]:
    """Return the rows with the cosines of their embeddings. Row groups without any of the images are not read."""
    paths = {image.path for row in rows for image in (row.image, row.keep)}
    vectors = vectors_of_paths(home, space, paths)
    result = []
    for start in range(0, len(rows), PAIR_BATCH):
        part = rows[start : start + PAIR_BATCH]
        left = np.stack([vectors[row.image.path] for row in part])
        right = np.stack([vectors[row.keep.path] for row in part])
        result += [replace(row, cosine=cosine) for row, cosine in zip(part, cosines(left, right).tolist(), strict=True)]
    return result


def as_table(rows: Sequence[Duplicate]) -> pa.Table:
    """Return rows in the form in which they are stored.

    `bytes` is what removing all duplicates frees (`freed_bytes`); of an image that is no duplicate, the file's size.
    """
    freed = freed_bytes(row.image for row in rows if row.kind not in LOOK_KINDS)
    records = [
        {
            "path_from": row.image.path,
            "path_keep": row.keep.path,
            "kind": row.kind,
            "distance": row.bits,
            "correlation": row.correlation,
            "cosine": row.cosine,
            "reason": row.reason,
            "bytes": freed.get(row.image.path, row.image.bytes),
        }
        for row in rows
    ]
    return pa.Table.from_pylist(records, schema=tables.DUPLICATES_SCHEMA)


def read_closest_duplicates(home: Home, limit: int) -> list[dict[str, Any]]:
    """Return the first rows by confidence: near-duplicates by correlation, exact duplicates, then those to look at."""
    rows = tables.read(tables.duplicates_path(home.warehouse)).to_pylist()
    order = {NEAR: 0, EXACT: 1, MIRRORED: 2, ROTATED: 2, LOOK_FIRST: 3}
    return sorted(rows, key=lambda row: (order[row["kind"]], -(row["correlation"] or 0.0), row["path_from"]))[:limit]


def _report(table: pa.Table, images: int) -> DuplicatesReport:
    """Return the report of a refresh that computed nothing."""
    kinds, sizes = table["kind"].to_pylist(), table["bytes"].to_pylist()
    return DuplicatesReport(
        images=images,
        exact=kinds.count(EXACT),
        near=kinds.count(NEAR),
        look_first=kinds.count(LOOK_FIRST),
        mirrored=kinds.count(MIRRORED),
        rotated=kinds.count(ROTATED),
        duplicate_bytes=sum(size for kind, size in zip(kinds, sizes, strict=True) if kind not in LOOK_KINDS),
        fingerprinted=0,
        compared_pairs=0,
        left_out_pairs=0,
        recomputed="",
        pending=0,
        written=False,
        seconds=0.0,
    )
