"""Rewriting of the tables into another number of shards, without embedding anything.

Belongs here: writing the new files into a staging folder. Not here: the swap, which a kill can't break
(`domain.storage.reshard_swap`), which shard a path belongs to (`domain.images.files`).
"""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.runtime import open_files
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.home_record import HomeRecord, read_record, shard_keys
from imgret_assets.domain.storage.reshard_swap import finish_swap, mark_ready, staging_folder
from imgret_assets.errors import SettingError
from imgret_assets.settings import MAX_SHARDS


def reshard(home: Home, shards: int, *, progress: Callable[[str], None] | None = None) -> HomeRecord:
    """Rewrite manifest and embeddings of every space into `shards` files each; return the home's new record.

    The new files are written into a staging folder. A marker is written once all are complete. From then on, the next
    process that opens the home finishes the swap.

    Args:
        home: the home.
        shards: the new number of shards.
        progress: receives a line for each folder of tables.

    Raises:
        SettingError: the number is out of range.
        LockTimeoutError: another run is working.
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise SettingError(f"The number of shards is {shards}", expected=f"1 to {MAX_SHARDS}")
    report = progress or (lambda _: None)
    # Before any other lock: runs share this one for as long as they last.
    with home.hold([locks.LAYOUT], "resharding"):
        with home.hold([locks.HOME], "finishing a reshard"):
            # Another reshard may have ended, or been killed, since this home was opened.
            home = replace(home, record=finish_swap(home.path) or read_record(home.path) or home.record)
        if shards == home.record.shards:
            return home.record
        keys = sorted({*home.shards, *shard_keys(shards)})
        with home.hold([*(locks.shard_lock(key) for key in keys), locks.GRAPH], "resharding"):
            staging = staging_folder(home.path)
            shutil.rmtree(staging, ignore_errors=True)
            for folder in _table_folders(home):
                report(f"rewriting {folder.relative_to(home.warehouse)}")
                _rewrite(folder, staging / folder.relative_to(home.warehouse), shards)
            mark_ready(home.path, shards)
            with home.hold([locks.HOME], "finishing a reshard"):
                return finish_swap(home.path) or read_record(home.path) or home.record


def _table_folders(home: Home) -> list[Path]:
    return sorted({file.parent for file in home.warehouse.rglob("shard=*.parquet")})


def _rewrite(folder: Path, target: Path, shards: int) -> None:
    """Rewrite the files of one table; memory holds one shard, and each file is read once.

    The rows of each old shard go to one temporary file per new shard; those are sorted by path afterwards.
    """
    sources = sorted(folder.glob("shard=*.parquet"))
    metadata = tables.read_metadata(sources[0])
    # A manifest's fingerprint belongs to the old shard's files; without one the sensor requests one listing.
    metadata = (
        {**metadata, "shards": str(shards), "fingerprint": ""}
        if "root" in metadata
        else {**metadata, "shards": str(shards)}
    )
    windows = [tables.read_metadata(source) for source in sources]
    # What an older version left in one shard is read again in all.
    versions = (("decoder", min, "1"), ("inspection", min, "1"))
    for key, choose, absent in (("listed_from_ns", min, "0"), ("listed_to_ns", max, "0"), *versions):
        if any(key in window for window in windows):
            metadata[key] = str(choose(int(window.get(key, absent)) for window in windows))
    if len({window.get("decoders") for window in windows}) > 1:
        metadata["decoders"] = ""
    target.mkdir(parents=True)
    with TemporaryDirectory(prefix="rows-", dir=target) as rows:
        parts = _distribute(sources, Path(rows), shards)
        for key, part in parts.items():
            table = pa.ipc.open_stream(part).read_all().sort_by("path")
            part.unlink()
            shard_metadata = {**metadata, "shard": key}
            with tables.writer(target / f"shard={key}.parquet", table.schema, shard_metadata) as writer:
                writer.write_table(table, row_group_size=tables.EMBEDDING_GROUP_ROWS)


def _distribute(sources: list[Path], folder: Path, shards: int) -> dict[str, Path]:
    """Write the rows of the sources into one file per new shard, by their paths; return the files by shard."""
    schemas = []
    for source in sources:
        with tables.open_parquet(source) as file:
            schemas.append(file.schema_arrow.remove_metadata())
    # A table of an older version may lack columns that others have.
    schema = pa.unify_schemas(schemas)
    parts = {key: folder / f"{key}.arrow" for key in shard_keys(shards)}
    open_files.allow(2 * len(parts))  # with the locks that are held
    with ExitStack() as stack:
        writers = {}
        for key, part in parts.items():
            file = stack.enter_context(part.open("wb"))
            writers[key] = stack.enter_context(pa.ipc.new_stream(file, schema))
        for source in sources:
            table = pa.concat_tables([schema.empty_table(), tables.read(source)], promote_options="default")
            table = table.select(schema.names).replace_schema_metadata().combine_chunks()
            keys = pa.array([shard_of(path, shards) for path in table["path"].to_pylist()], pa.string())
            for key, writer in writers.items():
                writer.write_table(table.filter(pc.call_function("equal", [keys, pa.scalar(key)])))
    return parts
