"""Rewriting the tables into another number of shards, without embedding anything.

Belongs here: making the new files aside, and the swap that a kill can't break. Not here: which shard a path is
in (`domain.images.files`).
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.home_record import HomeRecord, read_record, shard_keys
from imgret_assets.domain.storage.reshard_swap import finish_swap, mark_ready, staging_folder
from imgret_assets.errors import SettingError
from imgret_assets.settings import MAX_SHARDS


def reshard(home: Home, shards: int, *, progress: Callable[[str], None] | None = None) -> HomeRecord:
    """Rewrite manifest and embeddings of every space into `shards` files each; the home's new record.

    The new files are made aside. Once all are there a marker says so, and from then on the swap is finished by
    whoever opens the home next.

    Raises:
        SettingError: the number is out of range.
        LockTimeoutError: a run is under way.
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise SettingError(f"The number of shards is {shards}", expected=f"1 to {MAX_SHARDS}")
    tell = progress or (lambda _: None)
    if shards == home.record.shards:
        return home.record
    keys = sorted({*home.shards, *shard_keys(shards)})
    names = [*(locks.shard_lock(key) for key in keys), locks.GRAPH]
    with home.hold(names, "resharding"):
        staging = staging_folder(home.path)
        shutil.rmtree(staging, ignore_errors=True)
        for folder in _table_folders(home):
            tell(f"rewriting {folder.relative_to(home.warehouse)}")
            _rewrite(folder, staging / folder.relative_to(home.warehouse), shards)
        mark_ready(home.path, shards)
        with home.hold([locks.HOME], "finishing a reshard"):
            return finish_swap(home.path) or read_record(home.path) or home.record


def _table_folders(home: Home) -> list[Path]:
    return sorted({file.parent for file in home.warehouse.rglob("shard=*.parquet")})


def _rewrite(folder: Path, target: Path, shards: int) -> None:
    """One table's files into as many others, a new shard at a time, so that memory holds one."""
    sources = sorted(folder.glob("shard=*.parquet"))
    metadata = tables.read_metadata(sources[0])
    # A manifest's fingerprint is of the old shard's files; without one the sensor asks for one listing.
    metadata = (
        {**metadata, "shards": str(shards), "fingerprint": ""}
        if "root" in metadata
        else {**metadata, "shards": str(shards)}
    )
    windows = [tables.read_metadata(source) for source in sources]
    for key, choose in (("listed_from_ns", min), ("listed_to_ns", max)):
        if key in metadata:
            metadata[key] = str(choose(int(window[key]) for window in windows))
    for key in shard_keys(shards):
        parts = []
        for source in sources:
            table = tables.read(source)
            mine = pa.array([shard_of(path, shards) == key for path in table["path"].to_pylist()], pa.bool_())
            parts.append(table.filter(mine))
        table = pa.concat_tables(parts).sort_by("path")
        said = {**metadata, "shard": key}
        with tables.writer(target / f"shard={key}.parquet", table.schema.remove_metadata(), said) as writer:
            writer.write_table(table, row_group_size=tables.EMBEDDING_GROUP_ROWS)
