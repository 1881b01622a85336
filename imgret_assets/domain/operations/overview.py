"""Overview of a home: its tables, what is behind, and the files that could not be used.

Belongs here: numbers of rows and statuses. Not here: which tables are behind (`domain.operations.backlog`), whether
tables and graph are consistent (`domain.graph.consistency`), counts after a run (`domain.operations.run_totals`), the
page (`app.views.overview_page`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from imgret_assets.domain.embeddings.table_reader import embeddings_files, read_shard
from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.operations.backlog import DAMAGED, MISSING, AssetState, Backlog, read_backlog
from imgret_assets.domain.similarity.table_accuracy import caveats
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import DERIVED_TABLES
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError

# Number of files that are named for each status.
EXAMPLES = 20


@dataclass(frozen=True)
class AssetTable:
    """The table of an asset.

    Attributes:
        asset: name of the asset.
        state: of `domain.operations.backlog`: `current`, `older`, `missing` or `damaged`.
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
    """The tables of a home and one space, what is behind, number and size of the files, and the unusable files.

    `raw_of_images` is the number of camera raw files that belong to the JPEG of the same shot. `caveats` are sentences
    about approximate tables.
    """

    files: int
    bytes: int
    tables: list[AssetTable]
    unusable: list[Unusable]
    backlog: Backlog
    raw_of_images: int = 0
    caveats: tuple[str, ...] = ()


def read_overview(home: Home, space: str | None) -> Overview:
    """Read the overview of a home; missing and damaged tables are part of it.

    Args:
        home: the home.
        space: id of the embedding space; None if nothing has been embedded yet.
    """
    raw_of_images = 0
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
            if status == Status.RAW_OF_IMAGE:
                raw_of_images += 1
            elif status != Status.OK:
                statuses[status] += 1
                named_files = examples.setdefault(status, [])
                if len(named_files) < EXAMPLES:
                    named_files.append((path, error or ""))
    unusable = [
        Unusable(status, count, tuple(sorted(examples[status]))) for status, count in sorted(statuses.most_common())
    ]
    backlog = read_backlog(home, space)
    asset_tables = [_asset_table(state, files) for state, files in _files_of_tables(home, space, backlog)]
    sentences = () if space is None else tuple(caveats(home, space))
    return Overview(files, size_bytes, asset_tables, unusable, backlog, raw_of_images, sentences)


def _files_of_tables(home: Home, space: str | None, backlog: Backlog) -> Iterator[tuple[AssetState, list[Path]]]:
    """Yield the state and the files of every asset that has tables."""
    files = {"raw_images": [tables.manifest_path(home.warehouse, shard) for shard in home.shards]}
    if space is not None:
        files["embeddings"] = embeddings_files(home, space)
        files |= {table.asset: [table.path(home.warehouse, space)] for table in DERIVED_TABLES}
    for state in backlog.assets:
        if state.asset in files:
            yield state, files[state.asset]


def _asset_table(state: AssetState, files: Sequence[Path]) -> AssetTable:
    present = [file for file in files if file.is_file()]
    if state.state in (MISSING, DAMAGED):
        return AssetTable(state.asset, state.state, written=_last_written(present))
    try:
        rows = sum(tables.count_rows(file) for file in present)
    except TableError:
        return AssetTable(state.asset, DAMAGED, written=_last_written(present))
    return AssetTable(state.asset, state.state, rows, _last_written(present))


def _last_written(files: Sequence[Path]) -> datetime | None:
    newest = max((file.stat().st_mtime for file in files), default=None)
    return None if newest is None else datetime.fromtimestamp(newest, UTC)
