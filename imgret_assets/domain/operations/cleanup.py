"""Removing what nothing uses any more.

Belongs here: leftovers of killed runs, vectors that no table needs, tables of other spaces where asked. Not
here: anything a run could still need without being told.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imgret_assets.domain.embeddings.pending_vectors import PendingVectors
from imgret_assets.domain.images.thumbnail_cache import unused_thumbnails
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.home import Home


@dataclass(frozen=True)
class Collected:
    """What was removed: files and folders, the vectors in them that were on their way, and bytes."""

    removed: int
    vectors: int
    bytes: int


def collect(home: Home, *, keep_spaces: set[str] | None = None) -> Collected:
    """Remove leftovers; with `keep_spaces` also the tables of every other embedding space.

    Raises:
        LockTimeoutError: a run is under way.
    """
    names = [*(locks.shard_lock(shard) for shard in home.shards), locks.GRAPH]
    with home.hold(names, "removing leftovers"):
        doomed = [*home.work.glob("scan-*"), *home.warehouse.rglob(".*.tmp")]
        stores = sorted(home.work.glob("vectors/*.sqlite"))
        vectors = sum(PendingVectors(home.work, store.stem).count() for store in stores)
        doomed += stores
        keys = {f"shard={shard}.parquet" for shard in home.shards}
        doomed += [file for file in home.warehouse.rglob("shard=*.parquet") if file.name not in keys]
        if keep_spaces is not None:
            doomed += [
                folder
                for folder in home.warehouse.glob("*/model=*")
                if folder.name.removeprefix("model=") not in keep_spaces
            ]
            doomed += [
                path
                for kind in ("pairs", "nearest")
                for path in (home.work / kind).glob("*")
                if not any(path.name == space or path.name.startswith(f"{space}.") for space in keep_spaces)
            ]
        doomed += unused_thumbnails(home, _pictures(home))
        freed = sum(_size(path) for path in doomed)
        for path in doomed:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return Collected(len(doomed), vectors, freed)


def spaces_with_tables(home: Home) -> set[str]:
    """Ids of the embedding spaces that have tables."""
    return {folder.name.removeprefix("model=") for folder in tables.embeddings_folder(home.warehouse).glob("model=*")}


def _pictures(home: Home) -> Iterator[tuple[str, int, int]]:
    """Every known picture: its path, mtime in ns and length in bytes."""
    for shard in home.shards:
        file = tables.manifest_path(home.warehouse, shard)
        if file.is_file():
            columns = tables.read(file, ["path", "mtime_ns", "bytes"])
            yield from zip(*(columns[name].to_pylist() for name in ("path", "mtime_ns", "bytes")), strict=True)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
