"""What a home holds, how fresh it is, and what could not be used.

Belongs here: looking at the tables' metadata and statuses. Not here: whether tables and graph are right
(`domain.graph.consistency`), counts after a run (`domain.operations.run_totals`), showing (`app.views.overview_page`).
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from imgret_assets.domain.embeddings.table_reader import embeddings_files, list_embeddings, read_shard
from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import DERIVED_TABLES
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError

# Of each reason so many files are named.
EXAMPLES = 20
MISSING, CURRENT, OLDER, DAMAGED = "missing", "current", "older", "damaged"


@dataclass(frozen=True)
class AssetTable:
    """A table by its asset.

    Attributes:
        asset: the asset's name.
        state: `current` where it covers the present embeddings (for the manifest and the embeddings: where all shards
            are there), `older` where it covers others, `missing` or `damaged`.
        rows: how many it has; None where it can't be read.
        written: when its newest file was written, UTC; None where there is none.
    """

    asset: str
    state: str
    rows: int | None = None
    written: datetime | None = None


@dataclass(frozen=True)
class Unusable:
    """Files that could not be used for one reason: the status, how many, and some of them with what was wrong."""

    status: str
    count: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Overview:
    """All of a home's tables of one space, and the files that are in none; `bytes` of all images together."""

    files: int
    bytes: int
    tables: list[AssetTable]
    unusable: list[Unusable]


def look_over(home: Home, space: str | None) -> Overview:
    """Look at a home's tables; missing or damaged ones are part of the answer.

    Args:
        home: the home.
        space: id of the embedding space; None where nothing has been embedded yet.
    """
    files, length, statuses, examples = 0, 0, Counter[str](), dict[str, list[tuple[str, str]]]()
    manifests = [tables.manifest_path(home.warehouse, shard) for shard in home.shards]
    parts: list[pa.Table] = []
    for path in manifests:
        with suppress(TableError):
            listed = tables.read(path, ["path", "status", "error", "bytes"])
            files += listed.num_rows
            length += sum(count or 0 for count in listed["bytes"].to_pylist())
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
                named = examples.setdefault(status, [])
                if len(named) < EXAMPLES:
                    named.append((path, error or ""))
    unusable = [
        Unusable(status, count, tuple(sorted(examples[status]))) for status, count in sorted(statuses.most_common())
    ]
    found = [_sharded("raw_images", manifests)]
    if space is not None:
        found += [_sharded("embeddings", embeddings_files(home, space)), *_covering(home, space)]
    return Overview(files, length, found, unusable)


def _sharded(asset: str, files: Sequence[Path]) -> AssetTable:
    there = [file for file in files if file.is_file()]
    if len(there) < len(files):
        return AssetTable(asset, MISSING, written=_written(there))
    try:
        return AssetTable(asset, CURRENT, sum(tables.count_rows(file) for file in there), _written(there))
    except TableError:
        return AssetTable(asset, DAMAGED, written=_written(there))


def _covering(home: Home, space: str) -> list[AssetTable]:
    """The tables that say which embeddings they were made of."""
    try:
        present = list_embeddings(home, space).coverage
    except TableError:
        present = None
    found = []
    for table in DERIVED_TABLES:
        path = table.path(home.warehouse, space)
        if not path.is_file():
            found.append(AssetTable(table.asset, MISSING))
            continue
        try:
            current = present is not None and table.current_metadata(home.warehouse, space, present) is not None
            state = CURRENT if current else OLDER
            found.append(AssetTable(table.asset, state, tables.count_rows(path), _written([path])))
        except TableError:
            found.append(AssetTable(table.asset, DAMAGED, written=_written([path])))
    return found


def _written(files: Sequence[Path]) -> datetime | None:
    newest = max((file.stat().st_mtime for file in files), default=None)
    return None if newest is None else datetime.fromtimestamp(newest, UTC)
