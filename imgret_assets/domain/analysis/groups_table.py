"""The groups table: groups of similar images without chains.

Belongs here: refreshing and reading the table. Not here: the clustering (`domain.analysis.clustering`), nearest
neighbours (`domain.similarity.neighbours_table`), the node property (`domain.graph.node_groups`).

The method: of images with equal vectors, such as names of one content, the first stands for all, so that a group does
not depend on how often its images are stored. Every vector is averaged with its nearest neighbours, each weighted by
the square of its share, which pulls a family together and separates images that resemble only one of its members
(Arandjelovic and Zisserman, 2012). Two images are connected if one is among the nearest neighbours of the other, and if
the cosine of their averaged vectors is high enough above the background score, the median cosine of two random images.
The Leiden algorithm (Traag, Waltman and van Eck, 2019; graspologic-native, MIT) finds the communities of each connected
part of this graph by the constant Potts model, so that a group does not depend on images that are connected to none of
its members. A community may still be a chain, so each is split: its representative is the member closest to its mean,
and the members whose cosine with it is too low leave and are split again.

All shares, of the weights and of both limits, are of the way from the background score, which differs from model to
model, to 1.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    find_groups,
    measure_agreement,
    spread_grouping,
)
from imgret_assets.domain.analysis.sampling import SEED
from imgret_assets.domain.embeddings.table_reader import list_embeddings, read_vectors
from imgret_assets.domain.images.labels import labels_of
from imgret_assets.domain.similarity.equal_vectors import group_equal_rows, keep_first_rows
from imgret_assets.domain.similarity.neighbours_table import load_neighbours_of_groups
from imgret_assets.domain.similarity.query_expansion import GROUPING_NEIGHBOURS
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import GROUPS, NEAREST
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import GroupsMetadata
from imgret_assets.domain.storage.tables import GROUPS_SCHEMA
from imgret_assets.domain.storage.verification import discard_damaged
from imgret_assets.wording import counted

# Stored in the table's metadata: another text makes the next run group all images again.
METHOD = (
    f"averaged {GROUPING_NEIGHBOURS} by squared shares, linked {LINKED_FROM}, split {SPLIT_FROM}, "
    f"Leiden CPM {RESOLUTION} seed {SEED}, one image of each vector, 4"
)


@dataclass(frozen=True)
class GroupsReport:
    """The result of refreshing the groups table.

    Attributes:
        space: id of the embedding space.
        images: number of images.
        groups: groups of more than one image.
        single_images: images in no group.
        largest: images of the largest group.
        min_score: minimum cosine of every member with its representative.
        communities: number of communities, before they were split.
        agreement_before_split, agreement_after_split: with the labels; None without labels.
        written: False if nothing had changed.
        seconds: duration of the refresh.
        earlier_method: the method of the table that was replaced, if it was another; else empty.
    """

    space: str
    images: int
    groups: int
    single_images: int
    largest: int
    min_score: float
    communities: int
    agreement_before_split: Agreement | None
    agreement_after_split: Agreement | None
    written: bool
    seconds: float
    earlier_method: str = ""

    @property
    def summary(self) -> str:
        """The report in one line."""
        groups = (
            f"{counted(self.groups, 'group')} of {counted(self.images - self.single_images, 'image')}, "
            f"the largest of {self.largest:,}; "
            f"images in no group: {self.single_images:,}; every member's cosine with its representative is at "
            f"least {self.min_score:g}"
        )
        if self.earlier_method:
            groups = f"All images are grouped again, because the method of groups has changed. {groups}"
        return f"{groups}: {self.seconds:.1f} s." if self.written else f"{groups}: nothing changed."


def refresh_groups(home: Home, space: str, *, min_score: float | None = None) -> GroupsReport:
    """Refresh the groups table. Nothing is computed if the vectors and limits are the same as last time.

    Args:
        home: the home.
        space: id of the embedding space.
        min_score: as in `find_groups`.

    Raises:
        TableError: a table is missing.
        StaleTableError: tables don't belong together.
        LockTimeoutError: another run writes pairs or the graph.
    """
    with home.hold([locks.GRAPH], "grouping images"):
        started = time.monotonic()
        path = tables.groups_path(home.warehouse, space)
        discard_damaged(home, [path])
        listing = list_embeddings(home, space)
        searched = NEAREST.require_current(home.warehouse, space, listing.coverage).search
        labels = labels_of(home, listing.paths)
        current = GROUPS.current_metadata(home.warehouse, space, listing.coverage)
        state = METHOD, min_score, searched
        if current is not None and (current.method, current.requested_min_score, current.neighbours) == state:
            return _report(space, current.min_score, *_read_groupings(path), labels, None)
        earlier = GROUPS.metadata(home.warehouse, space)
        earlier_method = earlier.method if earlier is not None and earlier.method != METHOD else ""
        vectors = read_vectors(home, space, listing)
        equal = group_equal_rows(vectors)
        vectors = keep_first_rows(vectors, equal)
        neighbours = load_neighbours_of_groups(home, space, listing, vectors, equal)
        grouping = spread_grouping(find_groups(vectors, neighbours, min_score=min_score), equal)
        metadata = GroupsMetadata(
            space=space,
            coverage=listing.coverage,
            method=METHOD,
            requested_min_score=min_score,
            min_score=grouping.min_score,
            neighbours=searched,
        )
        tables.write(path, as_table(listing.paths, grouping), metadata.as_metadata())
        seconds = time.monotonic() - started
        report = _report(space, grouping.min_score, grouping.communities, grouping.groups, labels, seconds)
        return replace(report, earlier_method=earlier_method)


def as_table(paths: Sequence[str], grouping: Grouping) -> pa.Table:
    """Return one row for each image, in the order of `paths`.

    A group's name is the path of its representative. `community` is the number of the image's community.
    """
    _, inverse, sizes = np.unique(grouping.groups, return_inverse=True, return_counts=True)
    weakest = np.ones(len(sizes))
    np.minimum.at(weakest, inverse, grouping.scores)
    names = pa.array(list(paths), pa.string())
    columns = [
        names,
        names.take(pa.array(grouping.groups)),
        pa.array(grouping.groups == np.arange(len(names))),
        pa.array(grouping.scores),
        pa.array(sizes[inverse].astype(np.int32)),
        pa.array(weakest[inverse]),
        pa.array(grouping.communities.astype(np.int32)),
    ]
    return pa.Table.from_arrays(columns, schema=GROUPS_SCHEMA)


def read_largest_groups(home: Home, space: str, count: int) -> list[dict[str, Any]]:
    """Return the largest groups: `group` (path of the representative), `size` and `weakest_score`; ties by path."""
    columns = ["path", "group", "representative", "size", "weakest_score"]
    rows = tables.read(tables.groups_path(home.warehouse, space), columns)
    representatives = rows.filter(rows["representative"]).sort_by([("size", "descending"), ("group", "ascending")])
    groups = representatives.slice(0, count).select(["group", "size", "weakest_score"]).to_pylist()
    return [group for group in groups if group["size"] > 1]


def read_groups(home: Home, space: str, coverage: str) -> dict[str, str | None]:
    """Return each image's group by path; None for an image in no group.

    Raises:
        TableError: the table is missing.
        StaleTableError: the table was made from other embeddings.
    """
    GROUPS.require_current(home.warehouse, space, coverage)
    rows = tables.read(tables.groups_path(home.warehouse, space), ["path", "group", "size"]).to_pydict()
    return {
        path: group if size > 1 else None
        for path, group, size in zip(rows["path"], rows["group"], rows["size"], strict=True)
    }


def _read_groupings(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return communities and groups of the stored table, as in `Grouping`."""
    rows = tables.read(path, ["path", "group", "community"]).to_pydict()
    row_of = {name: row for row, name in enumerate(rows["path"])}
    return np.array(rows["community"], np.int64), np.array([row_of[name] for name in rows["group"]], np.int64)


def _report(
    space: str,
    min_score: float,
    communities: np.ndarray,
    groups: np.ndarray,
    labels: Sequence[str | None],
    seconds: float | None,
) -> GroupsReport:
    sizes = np.unique(groups, return_counts=True)[1]
    return GroupsReport(
        space=space,
        images=len(groups),
        groups=int(np.count_nonzero(sizes > 1)),
        single_images=int(np.count_nonzero(sizes == 1)),
        largest=int(sizes.max()) if len(sizes) else 0,
        min_score=min_score,
        communities=len(np.unique(communities)),
        agreement_before_split=measure_agreement(communities, labels),
        agreement_after_split=measure_agreement(groups, labels),
        written=seconds is not None,
        seconds=seconds or 0.0,
    )
