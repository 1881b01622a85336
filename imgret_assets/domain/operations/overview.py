"""Overview of a home: its tables, whether they are up to date, and the files that could not be used.

Belongs here: reading the tables' metadata and statuses. Not here: whether tables and graph are consistent
(`domain.graph.consistency`), counts after a run (`domain.operations.run_totals`), the page (`app.views.overview_page`).
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from imgret_assets.domain.embeddings.table_reader import embeddings_files, list_embeddings, read_shard
from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import DERIVED_TABLES
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError

# Number of files that are named for each status.
EXAMPLES = 20
MISSING, CURRENT, OLDER, DAMAGED = "missing", "current", "older", "damaged"


@dataclass(frozen=True)
class AssetTable:
    """The table of an asset.

    Attributes:
        asset: name of the asset.
        state: `current` if it was made from the present embeddings (manifest and embeddings: if all shards exist),
            `older` if it was made from others, `missing` or `damaged`.
        rows: number of rows; None if the table can't be read.
        written: time at which its newest file was written, UTC; None if there is no file.
    """

    asset: str
    state: str
    rows: int | None = None
    written: datetime | None = None


@dataclass(frozen=True)
class Unusable:
    """Files that could not be used: their status, their number, and examples of paths with the error."""

    status: str
    count: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Overview:
    """The tables of a home and one space, the number and size of its files, and the files that could not be used."""

    files: int
    bytes: int
    tables: list[AssetTable]
    unusable: list[Unusable]


def read_overview(home: Home, space: str | None) -> Overview:
    """Read the overview of a home; missing and damaged tables are part of it.

    Args:
        home: the home.
        space: id of the embedding space; None if nothing has been embedded yet.
    """
    files, size_bytes, statuses, examples = 0, 0, Counter[str](), dict[str, list[tuple[str, str]]]()
    manifests = [tables.manifest_path(home.warehouse, shard) for shard in home.shards]
    parts: list[pa.Table] = []
    for path in manifests:
        with suppress(TableError):
            listed = tables.read(path, ["path", "status", "error", "bytes"])
            files += listed.num_rows
            size_bytes += sum(count or 0 for count in listed["bytes"].to_pylist())
            parts.append(listed)
    if space is not None:
        for shard in home.shards:
            with suppress(TableError):
                parts.append(read_shard(home, space, shard, ["path", "status", "error"]))
    for part in parts:
        columns = part.select(["path", "status", "error"]).to_pydict()
        for path, status, error in zip(*columns.values(), strict=True):
            if status != Status.OK:
                statuses[status] += 1
                named_files = examples.setdefault(status, [])
                if len(named_files) < EXAMPLES:
                    named_files.append((path, error or ""))
    unusable = [
        Unusable(status, count, tuple(sorted(examples[status]))) for status, count in sorted(statuses.most_common())
    ]
    asset_tables = [_sharded_table("raw_images", manifests)]
    if space is not None:
        asset_tables += [_sharded_table("embeddings", embeddings_files(home, space)), *_derived_tables(home, space)]
    return Overview(files, size_bytes, asset_tables, unusable)


def _sharded_table(asset: str, files: Sequence[Path]) -> AssetTable:
    present = [file for file in files if file.is_file()]
    if len(present) < len(files):
        return AssetTable(asset, MISSING, written=_last_written(present))
    try:
        return AssetTable(asset, CURRENT, sum(tables.count_rows(file) for file in present), _last_written(present))
    except TableError:
        return AssetTable(asset, DAMAGED, written=_last_written(present))


def _derived_tables(home: Home, space: str) -> list[AssetTable]:
    """Return the tables that were made from the embeddings."""
    try:
        coverage = list_embeddings(home, space).coverage
    except TableError:
        coverage = None
    asset_tables = []
    for table in DERIVED_TABLES:
        path = table.path(home.warehouse, space)
        if not path.is_file():
            asset_tables.append(AssetTable(table.asset, MISSING))
            continue
        try:
            current = coverage is not None and table.current_metadata(home.warehouse, space, coverage) is not None
            state = CURRENT if current else OLDER
            asset_tables.append(AssetTable(table.asset, state, tables.count_rows(path), _last_written([path])))
        except TableError:
            asset_tables.append(AssetTable(table.asset, DAMAGED, written=_last_written([path])))
    return asset_tables


def _last_written(files: Sequence[Path]) -> datetime | None:
    newest = max((file.stat().st_mtime for file in files), default=None)
    return None if newest is None else datetime.fromtimestamp(newest, UTC)
