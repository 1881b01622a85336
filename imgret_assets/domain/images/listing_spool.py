"""Spool of a listing: the candidates of one walk, in one temporary file for each shard.

Belongs here: writing the candidates of a walk to these files and reading them back, so that a walk of any size needs
little memory. Not here: the walk (`domain.images.files`), what becomes of the candidates (`domain.images.manifest`).
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from imgret_assets.domain.images.files import Candidate, ListingFingerprint, label_of, shard_of
from imgret_assets.domain.images.raw_pairs import shot_text
from imgret_assets.domain.runtime import open_files
from imgret_assets.domain.storage.home_record import shard_keys
from imgret_assets.image_roots import ImageRoots

# Candidates of a shard that are held in memory before they are written.
BATCH_ROWS = 8192
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("location", pa.binary()),
        ("bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("ctime_ns", pa.int64()),
        ("inode", pa.uint64()),
        ("hard_links", pa.int64()),
        ("link", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("shot", pa.string()),
    ]
)


@dataclass
class Listing:
    """A finished walk.

    Attributes:
        folder: where the spool files are.
        unlistable_folders: folders that could not be listed, with a trailing slash: their known files stay known.
        fingerprints: of the candidates of every shard, selected or not.
        files: number of candidates by the name of their image root; one that has none is missing.
        unselected_files: the same of the shards that are not selected.
    """

    folder: Path
    unlistable_folders: list[str]
    fingerprints: dict[str, ListingFingerprint]
    files: Counter[str] = field(default_factory=Counter)
    unselected_files: Counter[str] = field(default_factory=Counter)

    def paths(self, shard: str) -> set[str]:
        """Return the paths of a shard's candidates."""
        with pa.ipc.open_stream(str(_spool_file(self.folder, shard))) as stream:
            return {path for batch in stream for path in batch["path"].to_pylist()}

    def rows(self, shard: str) -> Iterator[dict[str, Any]]:
        """Yield a shard's candidates as manifest rows, with the file's `location`, that nobody has inspected yet."""
        with pa.ipc.open_stream(str(_spool_file(self.folder, shard))) as stream:
            for batch in stream:
                for row in batch.to_pylist():
                    unknown = dict.fromkeys(("sha256", "width", "height", "format"))
                    yield {**row, **unknown, "label": label_of(row["path"])}


def spool_candidates(
    candidates: Iterable[Candidate], folder: Path, selected: Sequence[str], shards: int, roots: ImageRoots | None = None
) -> Listing:
    """Write the candidates of the selected shards to files in a folder.

    Args:
        candidates: of the whole walk.
        folder: an empty folder.
        selected: keys of the shards whose candidates are kept.
        shards: number of all shards.
        roots: of the walk; a plain root where None.
    """
    roots = roots or ImageRoots.plain(folder)
    pending: dict[str, list[Candidate]] = {shard: [] for shard in selected}
    sinks: dict[str, pa.ipc.RecordBatchStreamWriter] = {}
    listing = Listing(folder, [], {shard: ListingFingerprint() for shard in shard_keys(shards)})
    open_files.allow(2 * len(pending))  # with the locks that are held
    try:
        for shard in selected:
            sinks[shard] = pa.ipc.new_stream(str(_spool_file(folder, shard)), _SCHEMA)
        for candidate in candidates:
            if candidate.is_unlistable_folder:
                listing.unlistable_folders.append(candidate.path + "/")
            shard = shard_of(candidate.path, shards)
            listing.fingerprints[shard].add(candidate)
            root_name = roots.name_of(candidate.path)
            listing.files[root_name] += 1
            if shard not in pending:
                listing.unselected_files[root_name] += 1
                continue
            pending[shard].append(candidate)
            if len(pending[shard]) >= BATCH_ROWS:
                sinks[shard].write_batch(_as_batch(pending[shard]))
                pending[shard].clear()
        for shard, rest in pending.items():
            if rest:
                sinks[shard].write_batch(_as_batch(rest))
    finally:
        for sink in sinks.values():
            sink.close()
    return listing


def _spool_file(folder: Path, shard: str) -> Path:
    return folder / f"{shard}.arrow"


def _as_batch(candidates: Sequence[Candidate]) -> pa.RecordBatch:
    columns = [
        [candidate.path for candidate in candidates],
        [os.fsencode(candidate.location) for candidate in candidates],
        [candidate.bytes for candidate in candidates],
        [candidate.mtime_ns for candidate in candidates],
        [candidate.ctime_ns for candidate in candidates],
        [candidate.inode for candidate in candidates],
        [candidate.hard_links for candidate in candidates],
        [candidate.link for candidate in candidates],
        [candidate.status for candidate in candidates],
        [candidate.error for candidate in candidates],
        [shot_text(candidate.shot) for candidate in candidates],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)
