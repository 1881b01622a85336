"""Groups of images that belong together, without chains: communities, split until all are near a representative.

Belongs here: the grouping, its measure against labels, the groups table. Not here: nearest neighbours
(`domain.similarity.neighbours_table`), the node property (`domain.graph.node_groups`).

Every vector is averaged with its nearest neighbours, which pulls a family together and lets go of what only resembles
one member (Arandjelovic and Zisserman, 2012). Images are linked where one is among the other's nearest and the cosine
of their averaged vectors stands high enough above that of two random images; the Leiden algorithm (Traag, Waltman and
van Eck, 2019; graspologic-native, MIT) finds the communities. A community may still hang together by links alone, so
each is split: its representative is the member nearest to its mean, what is further from it than a stated cosine
leaves and is split again.

Both limits are shares of the way from the cosine of two random images, which differs from model to model, to 1.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imgret_assets.domain.analysis.clustering import (
    LINKED_FROM,
    RESOLUTION,
    SPLIT_FROM,
    Agreement,
    Grouping,
    agreement,
    find_groups,
)
from imgret_assets.domain.analysis.sampling import SEED
from imgret_assets.domain.embeddings.table_reader import list_embeddings, read_vectors
from imgret_assets.domain.images.labels import labels_of
from imgret_assets.domain.similarity.neighbours_table import load_neighbours
from imgret_assets.domain.similarity.query_expansion import AVERAGED_OVER
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import GROUPS, NEAREST
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import GroupsMetadata
from imgret_assets.domain.storage.tables import GROUPS_SCHEMA

_METHOD = f"averaged {AVERAGED_OVER}, linked {LINKED_FROM}, split {SPLIT_FROM}, Leiden {RESOLUTION} seed {SEED}, 2"


@dataclass(frozen=True)
class GroupsReport:
    """What a refresh of the groups did. `before` and `after` the split are None where there are no labels."""

    space: str
    images: int
    groups: int
    alone: int
    largest: int
    least: float
    communities: int
    before: Agreement | None
    after: Agreement | None
    written: bool
    seconds: float

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        there = (
            f"{self.groups:,} groups of {self.images - self.alone:,} images, the largest of {self.largest:,}; "
            f"{self.alone:,} images are alone; every member's cosine with its representative is at least {self.least:g}"
        )
        return f"{there}: {self.seconds:.1f} s." if self.written else f"{there}: nothing changed."


def refresh_groups(home: Home, space: str, *, least: float | None = None) -> GroupsReport:
    """Bring the groups table up to date; nothing is computed where vectors and limits are the same.

    Args:
        home: the home.
        space: id of the embedding space.
        least: see `find_groups`.

    Raises:
        TableError, StaleTableError: tables are missing or don't belong together.
        LockTimeoutError: another run writes pairs or the graph.
    """
    with home.hold([locks.GRAPH], "grouping images"):
        started = time.monotonic()
        listing = list_embeddings(home, space)
        NEAREST.require_current(home.warehouse, space, listing.coverage)
        labels = labels_of(home, listing.paths)
        path = tables.groups_path(home.warehouse, space)
        current = GROUPS.current_metadata(home.warehouse, space, listing.coverage)
        if current is not None and (current.method, current.requested_min_score) == (_METHOD, least):
            return _report(space, current.min_score, *_read_numbers(path), labels, None)
        found = find_groups(read_vectors(home, space, listing), load_neighbours(home, space), least=least)
        metadata = GroupsMetadata(
            space=space,
            coverage=listing.coverage,
            method=_METHOD,
            requested_min_score=least,
            min_score=found.least,
        )
        tables.write(path, as_table(listing.paths, found), metadata.as_metadata())
        return _report(space, found.least, found.communities, found.groups, labels, time.monotonic() - started)


def as_table(paths: Sequence[str], found: Grouping) -> pa.Table:
    """One row an image, sorted by path. A group's name is its representative's path; `community` its number before."""
    _, inverse, sizes = np.unique(found.groups, return_inverse=True, return_counts=True)
    weakest = np.ones(len(sizes))
    np.minimum.at(weakest, inverse, found.scores)
    names = pa.array(list(paths), pa.string())
    columns = [
        names,
        names.take(pa.array(found.groups)),
        pa.array(found.groups == np.arange(len(names))),
        pa.array(found.scores),
        pa.array(sizes[inverse].astype(np.int32)),
        pa.array(weakest[inverse]),
        pa.array(found.communities.astype(np.int32)),
    ]
    return pa.Table.from_arrays(columns, schema=GROUPS_SCHEMA)


def largest_groups(home: Home, space: str, count: int) -> list[dict[str, Any]]:
    """The largest groups: `group` (path of the representative), `size` and `weakest_score`; ties by path."""
    columns = ["path", "group", "representative", "size", "weakest_score"]
    rows = tables.read(tables.groups_path(home.warehouse, space), columns)
    heads = rows.filter(rows["representative"]).sort_by([("size", "descending"), ("group", "ascending")])
    found = heads.slice(0, count).select(["group", "size", "weakest_score"]).to_pylist()
    return [row for row in found if row["size"] > 1]


def read_groups(home: Home, space: str, coverage: str) -> dict[str, str | None]:
    """Each image's group by path; None for an image that is alone.

    Raises:
        TableError: the table is missing.
        StaleTableError: it was made from other embeddings.
    """
    GROUPS.require_current(home.warehouse, space, coverage)
    rows = tables.read(tables.groups_path(home.warehouse, space), ["path", "group", "size"]).to_pydict()
    return {
        name: group if size > 1 else None
        for name, group, size in zip(rows["path"], rows["group"], rows["size"], strict=True)
    }


def _read_numbers(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = tables.read(path, ["path", "group", "community"]).to_pydict()
    row_of = {name: row for row, name in enumerate(rows["path"])}
    return np.array(rows["community"], np.int64), np.array([row_of[name] for name in rows["group"]], np.int64)


def _report(
    space: str,
    least: float,
    before: np.ndarray,
    after: np.ndarray,
    labels: Sequence[str | None],
    seconds: float | None,
) -> GroupsReport:
    sizes = np.unique(after, return_counts=True)[1]
    return GroupsReport(
        space=space,
        images=len(after),
        groups=int(np.count_nonzero(sizes > 1)),
        alone=int(np.count_nonzero(sizes == 1)),
        largest=int(sizes.max()) if len(sizes) else 0,
        least=least,
        communities=len(np.unique(before)),
        before=agreement(before, labels),
        after=agreement(after, labels),
        written=seconds is not None,
        seconds=seconds or 0.0,
    )
