"""The map table: a position in two dimensions for every image, so that look-alikes lie together.

Belongs here: refreshing and reading the table. Not here: the layout (`domain.analysis.map_layout`), nearest neighbours
(`domain.similarity.neighbours_table`), drawing the map (`app`).

Images with equal vectors have one position. A refresh after few changes keeps all positions and places the new images
beside their neighbours, so that people find again what they have seen. When one image in five has been placed since the
last layout, all are laid out again, from the positions that they have.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from imgret_assets.domain.analysis.map_layout import EXAGGERATION, ROUNDS_FAR, ROUNDS_NEAR, lay_out, place
from imgret_assets.domain.embeddings.table_reader import Listing, list_embeddings, read_vectors
from imgret_assets.domain.similarity.equal_vectors import group_equal_rows, keep_first_rows
from imgret_assets.domain.similarity.neighbours_table import KEPT, load_neighbours_of_groups
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import MAP, NEAREST
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.input_snapshots import read_snapshot, snapshot_matches, snapshot_path, write_snapshot
from imgret_assets.domain.storage.table_metadata import MapMetadata
from imgret_assets.domain.storage.tables import MAP_SCHEMA
from imgret_assets.domain.storage.verification import discard_damaged
from imgret_assets.wording import counted

# Stored in the table's metadata: another text makes the next run lay out all images again.
METHOD = f"t-SNE of {KEPT} neighbours, {ROUNDS_FAR} rounds at {EXAGGERATION} and {ROUNDS_NEAR}, 1"
# Share of images that may have been placed beside others since the last layout.
PLACED_SHARE = 0.2
_KIND = "map"


@dataclass(frozen=True)
class MapReport:
    """The result of refreshing the map table.

    Attributes:
        space: id of the embedding space.
        images: number of images.
        placed: images that this refresh placed beside their neighbours.
        laid_out: whether all images were laid out.
        written: False if nothing had changed.
        seconds: duration of the refresh.
        earlier_method: the method of the table that was replaced, if it was another; else empty.
    """

    space: str
    images: int
    placed: int
    laid_out: bool
    written: bool
    seconds: float
    earlier_method: str = ""

    @property
    def summary(self) -> str:
        """The report in one line."""
        images = f"Map of {counted(self.images, 'image')}"
        if not self.written:
            return f"{images}: nothing changed."
        why = "because the method of the map has changed" if self.earlier_method else "neighbours lie together"
        done = f"all laid out, {why}" if self.laid_out else f"{self.placed:,} placed, the others kept"
        return f"{images}: {done}: {self.seconds:.1f} s."


def refresh_map(home: Home, space: str) -> MapReport:
    """Refresh the map table. Nothing is computed if the vectors are the same as last time.

    Args:
        home: the home.
        space: id of the embedding space.

    Raises:
        TableError: a table is missing.
        StaleTableError: tables don't belong together.
        LockTimeoutError: another run writes pairs or the graph.
    """
    with home.hold([locks.GRAPH], "drawing the map"):
        started = time.monotonic()
        path = tables.map_path(home.warehouse, space)
        discard_damaged(home, [path, snapshot_path(home, _KIND, space)])
        listing = list_embeddings(home, space)
        searched = NEAREST.require_current(home.warehouse, space, listing.coverage).search
        current = MAP.current_metadata(home.warehouse, space, listing.coverage)
        if current is not None and (current.method, current.neighbours) == (METHOD, searched):
            return MapReport(space, len(listing.paths), 0, laid_out=False, written=False, seconds=0.0)
        earlier = MAP.metadata(home.warehouse, space)
        vectors = read_vectors(home, space, listing)
        equal = group_equal_rows(vectors)
        vectors = keep_first_rows(vectors, equal)
        neighbours = load_neighbours_of_groups(home, space, listing, vectors, equal)
        known = _known_positions(home, space, listing, earlier)
        # A group lies where any of its images lies.
        of_groups = np.full((len(equal), 2), np.nan)
        has_position = np.isfinite(known[:, 0])
        of_groups[equal.group_of[has_position]] = known[has_position]
        is_new = ~np.isfinite(of_groups[:, 0])
        placed = int(is_new.sum())
        placed_in_all = placed + (0 if earlier is None else earlier.placed)
        is_same_method = earlier is not None and (earlier.method, earlier.neighbours) == (METHOD, searched)
        laid_out = not is_same_method or placed_in_all > PLACED_SHARE * len(equal)
        start = None if is_new.all() else place(of_groups, neighbours)
        positions = lay_out(vectors, neighbours, start) if laid_out or start is None else start
        # The snapshot comes first: its hash shows whether it belongs to the table.
        write_snapshot(home, _KIND, space, listing.paths, listing.vector_keys, listing.coverage)
        metadata = MapMetadata(
            space=space,
            coverage=listing.coverage,
            method=METHOD,
            placed=0 if laid_out else placed_in_all,
            neighbours=searched,
        )
        tables.write(path, _as_table(listing.paths, positions[equal.group_of]), metadata.as_metadata())
        return MapReport(
            space,
            len(listing.paths),
            0 if laid_out else placed,
            laid_out=laid_out,
            written=True,
            seconds=time.monotonic() - started,
            earlier_method=earlier.method if earlier is not None and not is_same_method else "",
        )


def read_map(home: Home, space: str) -> pa.Table:
    """Return the columns `path`, `x` and `y` of the map, sorted by path.

    Raises:
        TableError: the table is missing or damaged.
    """
    return tables.read(MAP.require(home.warehouse, space))


def _known_positions(home: Home, space: str, listing: Listing, earlier: MapMetadata | None) -> np.ndarray:
    """Return the position of each image in the earlier map, float64 (n, 2); NaN where its vector is another or new."""
    known = np.full((len(listing.paths), 2), np.nan)
    if earlier is None or earlier.space != space or not snapshot_matches(home, _KIND, space, earlier.coverage):
        return known
    table = read_map(home, space)
    columns = [table[name].to_pylist() for name in ("path", "x", "y")]
    positions = {path: (x, y) for path, x, y in zip(*columns, strict=True)}
    vector_of = dict(zip(*read_snapshot(home, _KIND, space), strict=True))
    for row, (path, vector) in enumerate(listing.key_of.items()):
        if vector_of.get(path) == vector and path in positions:
            known[row] = positions[path]
    return known


def _as_table(paths: Sequence[str], positions: np.ndarray) -> pa.Table:
    columns = [pa.array(paths, pa.string()), *(pa.array(column.astype(np.float32)) for column in positions.T)]
    return pa.Table.from_arrays(columns, schema=MAP_SCHEMA)
