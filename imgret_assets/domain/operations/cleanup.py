"""Removal of files that nothing uses any more.

Belongs here: leftovers of killed runs, vectors that no table needs, on request tables of other spaces. Not here:
anything that a later run could need, unless the caller names it.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imgret_assets.domain.embeddings.pending_vectors import PendingVectors
from imgret_assets.domain.images.thumbnail_cache import unused_thumbnails
from imgret_assets.domain.inference.converted_network import CONVERSION_LEFTOVERS, CONVERSION_LOCK
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.home import Home


@dataclass(frozen=True)
class Removed:
    """What was removed: numbers of files and folders, of pending vectors in them, and of bytes."""

    entries: int
    vectors: int
    bytes: int


def remove_leftovers(home: Home, *, keep_spaces: set[str] | None = None) -> Removed:
    """Remove leftovers; with `keep_spaces` also the tables of every other embedding space.

    Raises:
        LockTimeoutError: another run is working.
    """
    names = [*(locks.shard_lock(shard) for shard in home.shards), locks.GRAPH]
    with home.hold(names, "removing leftovers"), _conversions(home) as converting:
        unused = [*converting, *home.work.glob("scan-*"), *home.warehouse.rglob(".*.tmp")]
        # Earlier versions compiled all models into one folder.
        unused += [folder for folder in [home.path / "models" / "compiled"] if folder.is_dir()]
        stores = sorted(home.work.glob("vectors/*.sqlite"))
        vectors = sum(PendingVectors(home.work, store.stem).count() for store in stores)
        unused += stores
        keys = {f"shard={shard}.parquet" for shard in home.shards}
        unused += [file for file in home.warehouse.rglob("shard=*.parquet") if file.name not in keys]
        if keep_spaces is not None:
            unused += [
                folder
                for folder in home.warehouse.glob("*/model=*")
                if folder.name.removeprefix("model=") not in keep_spaces
            ]
            unused += [
                path
                for kind in ("pairs", "nearest", "map")
                for path in (home.work / kind).glob("*")
                if not any(path.name == space or path.name.startswith(f"{space}.") for space in keep_spaces)
            ]
        unused += unused_thumbnails(home, _listed_images(home))
        size = sum(_size(path) for path in unused)
        for path in unused:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return Removed(len(unused), vectors, size)


@contextmanager
def _conversions(home: Home) -> Iterator[list[Path]]:
    """Provide what killed conversions of models have left, under the locks of conversions."""
    leftovers = sorted((home.path / "models").glob(f"*/{CONVERSION_LEFTOVERS}"))
    with ExitStack() as stack:
        for folder in sorted({path.parent for path in leftovers}):
            timeout_s = home.settings.lock_timeout_s
            stack.enter_context(
                locks.hold(folder, [CONVERSION_LOCK], timeout_s=timeout_s, purpose="removing leftovers")
            )
        # What a conversion in progress had there is in its place by now.
        yield [path for path in leftovers if path.exists()]


def spaces_with_tables(home: Home) -> set[str]:
    """Return the ids of the embedding spaces that have tables."""
    return {folder.name.removeprefix("model=") for folder in tables.embeddings_folder(home.warehouse).glob("model=*")}


def _listed_images(home: Home) -> Iterator[tuple[str, int, int]]:
    """Yield path, modification time in ns and size in bytes of every file of the manifest."""
    for shard in home.shards:
        file = tables.manifest_path(home.warehouse, shard)
        if file.is_file():
            columns = tables.read(file, ["path", "mtime_ns", "bytes"])
            yield from zip(*(columns[name].to_pylist() for name in ("path", "mtime_ns", "bytes")), strict=True)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
